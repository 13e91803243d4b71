/**
 * What work waits for, by name and by kind: Fairlead's own waits say so by themselves, and here is how others do.
 *
 *     Wait.on(query, "rows of orders")            the region around it waits for `rows of orders`
 *                                                   ├─► `DeadlineExceeded` says it, and so does the tree
 *                                                   └─► a ledger is told: who measures where time goes
 *
 * A wait belongs to the region around it (a `Deadline`, a child of a `Nursery`, a call of a server); outside of any it is known to
 * nobody. It changes nothing: what runs, ends and is interrupted is the effect alone.
 */
import { Clock, Effect } from "effect"
import type { Fiber } from "effect"
import { dual } from "effect/Function"
import * as boundary from "./internal/boundary.ts"
import * as timer from "./internal/timer.ts"
import * as wait from "./internal/wait.ts"

/**
 * What sort of thing is waited for.
 *
 * - `gate`: a permit · `window`: a rate window that is shut · `queue`: an item of a work queue, or room for it
 * - `batch`: a batch, from its first item to its outcome · `shared`: a call that several share · `child`: a child of a nursery, or a
 *   place for one
 * - `pool`: a connection · `dns`, `connect`, `tls`: a new one · `firstByte`: the head of an answer · `body`: the rest of it
 * - `sleep`: time, as between two attempts · `other`: what has no kind of its own
 */
export type Kind =
  | "gate"
  | "window"
  | "queue"
  | "batch"
  | "shared"
  | "child"
  | "pool"
  | "dns"
  | "connect"
  | "tls"
  | "firstByte"
  | "body"
  | "sleep"
  | "other"

/** One wait that goes on. */
export interface Wait {
  /** E.g. `gate github`; `undefined` when that is not known. */
  readonly what: string | undefined
  /** It may change while it goes on: at a gate a window shuts and opens. `undefined` of a region in which others wait. */
  readonly kind: Kind | undefined
  /** For its ledger, which may keep here what it likes while the wait goes on. */
  note?: unknown
}

/** Who is told of the waits in a region. Called on the stack of whoever waits, or ends the wait: it must be quick, and not throw. */
export interface Ledger {
  began(wait: Wait): void
  ended(wait: Wait): void
  /** It goes on as another, and is already what it is now. Where this is not given, it has ended, and began. */
  became?(wait: Wait): void
}

/** Runs `self`; while that goes on, the region around it waits for `what`, or for what `self` itself waits for. */
export const on: {
  (what: string, kind?: Kind): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, what: string, kind?: Kind): Effect.Effect<A, E, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, what: string, kind?: Kind) =>
    Effect.suspend(() => {
      let handle: Handle | undefined
      return Effect.onExitPrimitive(
        Effect.withFiber<A, E, R>((fiber) => {
          handle = beginUnsafe(fiber, what, kind)
          return self
        }),
        () => void handle?.end()
      )
    })
)

/** A wait in hand. */
export interface Handle {
  /** From now on it is for this. */
  become(what: string, kind?: Kind): void
  /** It is over. Only the first call counts. */
  end(): void
}

/**
 * For who waits by callbacks: the region around `fiber` waits for `what` from now until the handle's `end`, which must come however that
 * ends. `undefined` where there is no region.
 */
export const beginUnsafe = (
  fiber: Fiber.Fiber<unknown, unknown>,
  what: string,
  kind: Kind = "other"
): Handle | undefined => {
  const region = boundary.current(fiber)
  return region === undefined ? undefined : new Named(region, what, kind)
}

/**
 * Runs `self` as a region of its own, and tells `ledger` of every wait that begins in it and in all regions inside it: of nested
 * ledgers the innermost. Interrupting the caller interrupts it and waits for its clean-up.
 */
export const observed: {
  (ledger: Ledger): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, ledger: Ledger): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, ledger: Ledger) =>
  Effect.withFiber<A, E, R>((fiber) => {
    const clock = fiber.getRef(Clock.Clock)
    const region = new boundary.Timed(boundary.current(fiber), clock, timer.now(clock), Infinity)
    region.ledger = ledger
    return boundary.run(fiber, region, self)
  })
)

/** Likewise, for the region that the fiber is in, and for those that begin in it from now on. Does nothing outside of any. */
export const observeUnsafe = (fiber: Fiber.Fiber<unknown, unknown>, ledger: Ledger): void => {
  const region = boundary.current(fiber)
  if (region !== undefined) region.ledger = ledger
}

/** Who is told of the waits of `fiber`: the ledger of the region that it is in. */
export const ledgerUnsafe = (fiber: Fiber.Fiber<unknown, unknown>): Ledger | undefined =>
  boundary.current(fiber)?.ledger

class Named implements wait.Listed, Handle {
  what: string
  kind: Kind
  earlier: wait.Listed | undefined = undefined
  later: wait.Listed | undefined = undefined
  // Declared where waits are many: so one that is observed does not change its shape.
  note: unknown = undefined
  private region: boundary.Region | undefined

  constructor(region: boundary.Region, what: string, kind: Kind) {
    this.region = region
    this.what = what
    this.kind = kind
    wait.begin(region, this)
  }

  become(what: string, kind: Kind = "other"): void {
    const { region } = this
    if (region === undefined) return
    const { ledger } = region
    const toldOfBoth = ledger !== undefined && ledger.became === undefined
    if (toldOfBoth) wait.end(region, this)
    this.what = what
    this.kind = kind
    if (toldOfBoth) return wait.begin(region, this)
    wait.last(region, this)
    ledger?.became!(this)
  }

  end(): void {
    const { region } = this
    if (region === undefined) return
    this.region = undefined
    wait.end(region, this)
  }

  /** Whoever waits leaves by himself. */
  told(): void {}
}
