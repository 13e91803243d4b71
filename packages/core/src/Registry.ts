/**
 * The live list of everything with state: gates now, and later queues, pools and the tree of nurseries.
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

interface Entry {
  readonly kind: string
  readonly name: string
  readonly read: () => object
}

class RegistryImpl {
  private readonly entries = new Map<string, Entry>()

  register(kind: string, name: string, read: () => object): () => void {
    let unique = name
    for (let n = 2; this.entries.has(`${kind} ${unique}`); n++) unique = `${name}#${n}`
    const key = `${kind} ${unique}`
    this.entries.set(key, { kind, name: unique, read })
    return () => this.entries.delete(key)
  }

  snapshot(): ReadonlyArray<Snapshot> {
    return Array.from(this.entries.values(), ({ kind, name, read }) => ({ kind, name, statistics: read() }))
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
