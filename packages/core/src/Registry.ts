/**
 * The live list of everything with state: gates, and the tree of nurseries and their children.
 *
 * An instance registers under its name for as long as its scope lives; equal names get a number (`github`, `github#2`).
 * The registry is read only: it shows, and nothing steers by it. There is one per process unless another is provided.
 */
import { Context, Effect } from "effect"
import type { Scope } from "effect"

/** One snapshot of one instance, as plain data that encodes to JSON. */
export interface Snapshot {
  /** What it is, e.g. `gate`. */
  readonly kind: string
  readonly name: string
  readonly statistics: object
}

/** One nursery, or one of its children, or calls that something answers, in the live tree; plain data that encodes to JSON. */
export interface Node {
  readonly kind: "nursery" | "child" | "calls" | "call"
  readonly name: string
  /** What it can be asked for by: see `explain`. */
  readonly id?: string
  /**
   * A nursery, or what answers calls, is `open` (its body runs), `joining` (the body has ended, children go on) or `ending` (it was
   * cut). A child or a call is `pending` (waits for a place), `starting` (has not said that it is ready), `running`, `waiting` (for
   * something of Fairlead's) or `ending` (it was cut and cleans up).
   */
  readonly state: "open" | "joining" | "ending" | "pending" | "starting" | "running" | "waiting"
  readonly ageMillis: number
  /** What it waits for, e.g. `gate github`; `null` where that is nothing of Fairlead's. */
  readonly waitingFor: string | null
  /** What is left of the deadline in force; `null` where there is none. */
  readonly deadlineMillis: number | null
  /** Why it is being cut. */
  readonly reason: string | null
  /** How often children were started again, where a join does that. */
  readonly restarts?: number
  /** Why it may live for long, where that is known. */
  readonly meant?: string
  /** How many children are left out here, where that is not none. */
  readonly left?: number
  readonly children: ReadonlyArray<Node>
}

/** A permit that is held until a scope closes; plain data that encodes to JSON. */
export interface Hold {
  /** At the least: where no clock was read when it began, since somebody asked first. */
  readonly ageMillis: number
  /** The id of the fiber that took it, and whether that has ended. */
  readonly fiber: number
  readonly ended: boolean
}

/** What an instance tells beside its statistics. Asked for by people: it may take longer than those. */
export interface Details {
  /** What goes on in it, as a part of the tree; of each kind those that have gone on longest, so many at most. */
  readonly nodes?: (most: number) => ReadonlyArray<Node>
  /** Why what is called so has not ended, a sentence each; `undefined` where nothing in it ever was, or is known any more. */
  readonly explain?: (id: string) => Effect.Effect<ReadonlyArray<string> | undefined>
  /** The permits that are held in scopes, the oldest first, so many at most. */
  readonly holds?: (most: number) => ReadonlyArray<Hold>
}

interface Entry {
  readonly kind: string
  readonly name: string
  readonly read: () => object
  readonly details: Details
}

const noDetails: Details = {}

class RegistryImpl {
  private readonly entries = new Set<Entry>()
  /** How many live under a name, and the last number that was given. */
  private readonly names = new Map<string, { live: number; last: number }>()

  register(kind: string, name: string, read: () => object, details = noDetails): () => void {
    const key = `${kind} ${name}`
    let names = this.names.get(key)
    if (names === undefined) this.names.set(key, (names = { live: 0, last: 0 }))
    names.live++
    names.last++
    const entry = { kind, name: names.last === 1 ? name : `${name}#${names.last}`, read, details }
    this.entries.add(entry)
    return () => {
      if (this.entries.delete(entry) && --names.live === 0) this.names.delete(key)
    }
  }

  snapshot(): ReadonlyArray<Snapshot> {
    return Array.from(this.entries, ({ kind, name, read }) => ({ kind, name, statistics: read() }))
  }

  details(): ReadonlyArray<Details & { readonly kind: string; readonly name: string }> {
    return Array.from(this.entries, ({ details, kind, name }) => ({ ...details, kind, name }))
  }
}

export interface Registry {
  /** All that lives now, in the order in which it came. */
  snapshot(): ReadonlyArray<Snapshot>
  /** What each of them tells beside its statistics, in the same order. */
  details(): ReadonlyArray<Details & { readonly kind: string; readonly name: string }>
  /** Adds an instance; gives back what takes it out again. */
  register(kind: string, name: string, read: () => object, details?: Details): () => void
}

/** An empty registry. */
export const make = (): Registry => new RegistryImpl()

/** The registry of the current fiber: the process's own unless another is provided. */
export const Registry: Context.Reference<Registry> = Context.Reference<Registry>("@fairlead/core/Registry", {
  defaultValue: make
})

/** Registers an instance for as long as the scope lives. `read` must be cheap and give plain data. */
export const register = (
  kind: string,
  name: string,
  read: () => object,
  details?: Details
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Registry, (registry) =>
    Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => registry.register(kind, name, read, details)),
        (remove) => Effect.sync(remove)
      )
    )
  )

/**
 * Says why something that would be a finding is meant, for as long as the scope lives: `Inspect.lint` keeps quiet about it then, and the
 * registry shows it, as `meant`. `subject` is what a finding calls it (`pool upstreams`), with or without the number of an equal name;
 * with a `*` at its end all that begin so.
 */
export const meant = (rule: string, subject: string, because: string): Effect.Effect<void, never, Scope.Scope> =>
  register("meant", `${rule}: ${subject}`, () => ({ rule, subject, because }))

/** What lives now. */
export const snapshot: Effect.Effect<ReadonlyArray<Snapshot>> = Effect.map(Registry, (registry) => registry.snapshot())

/** How many of one kind are shown in one place of the tree, unless said. */
const usual = 1_000

/** The nurseries that have no other around them and all that is in them; then what others tell of theirs, `most` in one place. */
export const treeOf = (most = usual): Effect.Effect<ReadonlyArray<Node>> =>
  Effect.map(Registry, (registry) => {
    const nurseries = registry
      .snapshot()
      .flatMap(({ kind, name, statistics }) => (kind === "nursery" ? [{ ...(statistics as Node), name }] : []))
    return [...nurseries, ...registry.details().flatMap(({ nodes }) => nodes?.(most) ?? [])]
  })

/** As `treeOf`, a thousand in one place. */
export const tree: Effect.Effect<ReadonlyArray<Node>> = treeOf()

/** Why what is called so has not ended, by all who know of it; empty where nobody does. */
export const explain = (id: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.flatMap(Registry, (registry) =>
    Effect.map(
      Effect.forEach(registry.details(), ({ explain }) => explain?.(id) ?? Effect.succeed([])),
      (all) => all.flatMap((sentences) => sentences ?? [])
    )
  )
