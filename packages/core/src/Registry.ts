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

/** One nursery, or one of its children, in the live tree; plain data that encodes to JSON. */
export interface Node {
  readonly kind: "nursery" | "child"
  readonly name: string
  /**
   * A nursery is `open` (its body runs), `joining` (the body has ended, children go on) or `ending` (it was cut). A child
   * is `pending` (waits for a place), `starting` (has not said that it is ready), `running`, `waiting` (for something of
   * Fairlead's) or `ending` (it was cut and cleans up).
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
  readonly children: ReadonlyArray<Node>
}

interface Entry {
  readonly kind: string
  readonly name: string
  readonly read: () => object
}

class RegistryImpl {
  private readonly entries = new Set<Entry>()
  /** How many live under a name, and the last number that was given. */
  private readonly names = new Map<string, { live: number; last: number }>()

  register(kind: string, name: string, read: () => object): () => void {
    const key = `${kind} ${name}`
    let names = this.names.get(key)
    if (names === undefined) this.names.set(key, (names = { live: 0, last: 0 }))
    names.live++
    names.last++
    const entry = { kind, name: names.last === 1 ? name : `${name}#${names.last}`, read }
    this.entries.add(entry)
    return () => {
      if (this.entries.delete(entry) && --names.live === 0) this.names.delete(key)
    }
  }

  snapshot(): ReadonlyArray<Snapshot> {
    return Array.from(this.entries, ({ kind, name, read }) => ({ kind, name, statistics: read() }))
  }
}

export interface Registry {
  /** All that lives now, in the order in which it came. */
  snapshot(): ReadonlyArray<Snapshot>
  /** Adds an instance; gives back what takes it out again. */
  register(kind: string, name: string, read: () => object): () => void
}

/** An empty registry. */
export const make = (): Registry => new RegistryImpl()

/** The registry of the current fiber: the process's own unless another is provided. */
export const Registry: Context.Reference<Registry> = Context.Reference<Registry>("@fairlead/core/Registry", {
  defaultValue: make
})

/** Registers an instance for as long as the scope lives. `read` must be cheap and give plain data. */
export const register = (kind: string, name: string, read: () => object): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Registry, (registry) =>
    Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => registry.register(kind, name, read)),
        (remove) => Effect.sync(remove)
      )
    )
  )

/** What lives now. */
export const snapshot: Effect.Effect<ReadonlyArray<Snapshot>> = Effect.map(Registry, (registry) => registry.snapshot())

/** The nurseries that have no other around them, and all that is in them. */
export const tree: Effect.Effect<ReadonlyArray<Node>> = Effect.map(snapshot, (all) =>
  all.flatMap(({ kind, name, statistics }) => (kind === "nursery" ? [{ ...(statistics as Node), name }] : []))
)
