/**
 * Backpressure: work that others put in, done n at a time, and as much of it as has room.
 *
 *     offer, submit ──► line (urgency, tenant, deadline; bounded in items and bytes) ──► n at a time ──► run(item)
 *         │                └──► pressure: high, low                                                        │
 *         └──► no room: suspended in order of arrival, or refused, or somebody is evicted                  ▼
 *                                                        submit: its result or its own error · offer: onFailure
 *
 * A queue is a `Gate` with a nursery of its own: who is next, how many wait and who has to go is the gate's; here the work
 * has a fiber of its own, in the queue's scope and with the queue's services, and may outlive whoever put it in.
 *
 * `offer` hands an item over: it returns when the item has been accepted. `submit` waits for its result. Urgency and tenant
 * are the caller's; of one who submits, his deadline and his span too.
 *
 * Interrupting an `offer` that waits for room takes the item back. Interrupting a `submit` takes its item out of the line,
 * or interrupts it and waits for its clean-up.
 *
 * An item that fails is its submitter's affair and nobody else's. Where nobody waits for it, `onFailure` is told: of every
 * item that was accepted and not done, whether it failed, was evicted, came too late, or was cut. None is lost in silence.
 *
 * `end` lets nothing more in and waits until all is done. `fail` tells everyone. Closing the scope cuts what is left.
 *
 * Idle, it holds no fiber, no timer and no permit. Work that must have a result per item but no queue of its own is
 * `Gate.forEach`; work that survives the process is `effect/persistence`'s `PersistedQueue`.
 */
import { Clock, Effect } from "effect"
import type { ByteSize, Cause, Scope, Stream } from "effect"
import * as Gate from "./Gate.ts"
import * as boundary from "./internal/boundary.ts"
import { Engine } from "./internal/gate.ts"
import { Jobs } from "./internal/jobs.ts"
import type { Policy } from "./internal/jobs.ts"
import * as means from "./internal/means.ts"
import * as terms from "./internal/terms.ts"
import type { Overflow } from "./Overflow.ts"
import type * as Priority from "./Priority.ts"
import type * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"

export interface Line extends Omit<Gate.Line, "overflow"> {
  /**
   * What happens when it is full and one more comes: `suspend` holds up whoever brings it, in order of arrival; the others
   * as in a `Gate`. Default: `suspend`.
   */
  readonly overflow?: Overflow | "suspend" | undefined
}

export interface Options<A, B, E, R, R2> extends Omit<Gate.Options, "limit" | "line" | "store"> {
  /** What an item comes to. Runs in the queue's scope, with the services the queue was made with. */
  readonly run: (item: A) => Effect.Effect<B, E, R>
  /** How many run at once. Default: 1. */
  readonly limit?: Gate.Options["limit"]
  /** How many wait. Default: 1,000 items. */
  readonly line?: Line | undefined
  /** What is held in memory for an item while it waits, where its `ask` does not say. Default: 0. */
  readonly weigh?: ((item: A) => ByteSize.Input) | undefined
  /**
   * There is pressure from when `high` items wait until no more than `low` do. Default: from a full line to one that is
   * half full.
   */
  readonly watermarks?: { readonly high: number; readonly low: number } | undefined
  /**
   * What becomes of an accepted item that nobody waits for and that is not done: it failed, or was cut (with its cause), or
   * never began (`Refused` in it, or what `fail` said). An item that failed keeps its permit meanwhile; of those that never
   * began one is told at a time, and offers are held up while 64 are not. Default: it is logged as an error, by its number
   * and what was asked for it, without the item itself.
   */
  readonly onFailure?:
    | ((item: A, cause: Cause.Cause<E | Refused.Refused>) => Effect.Effect<void, never, R2>)
    | undefined
}

/** What an item asks for; see `Gate.BulkAsk`. */
export type Ask = Gate.BulkAsk

export interface WorkQueue<in A, out B, in out E = never> {
  readonly name: string
  /**
   * Hands an item over; ends when it has been accepted. Fails with `Refused` where it is not, and with what `fail` said.
   * A deadline around it bounds the waiting for room, and is nothing of the item; see `Ask.within`. From inside an item of
   * the same queue it does not wait for room, which it would with a permit in hand: it is refused (`QueueFull`).
   */
  readonly offer: (item: A, ask?: Ask) => Effect.Effect<void, E | Refused.Refused>
  /** Offers all, one after another; takes no more from `items` than has room. */
  readonly offerAll: (items: Iterable<A>, ask?: Ask) => Effect.Effect<void, E | Refused.Refused>
  /** Hands an item over and waits for what it comes to. An item that is cut with the queue interrupts its submitter. */
  readonly submit: (item: A, ask?: Ask) => Effect.Effect<B, E | Refused.Refused>
  /** Another limit from now on; see `Gate.resize`. */
  readonly resize: Gate.Gate["resize"]
  /** Whether there is pressure: too many wait. */
  readonly pressure: Effect.Effect<boolean>
  /** Waits until there is no pressure. */
  readonly whenLow: Effect.Effect<void>
  /** Whether there is pressure, now and whenever it changes, until the queue has ended. Who is slow sees the latest. */
  readonly pressures: Stream.Stream<boolean>
  /** For `Gate.Options.protect.shed`: while there is pressure, calls of this urgency and less urgent ones are shed. */
  readonly signal: (urgency: Priority.Urgency) => Gate.Signal
  /**
   * Lets nothing more in (`ShuttingDown`, for those who wait for room too), and waits until all that was accepted is done.
   * Again, it waits too; from inside an item it waits for nothing. Interrupting it stops the waiting, and nothing else.
   */
  readonly end: Effect.Effect<void>
  /**
   * Tells everyone: who submits, or waits for room, or comes later, fails with `error`; what runs is cut. Waits for the
   * clean-up. Does nothing to a queue that has failed or ended before.
   */
  readonly fail: (error: E) => Effect.Effect<void>
  readonly failCause: (cause: Cause.Cause<E>) => Effect.Effect<void>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** `ending`: nothing more comes in, and not all is done. `closed`: its scope was closed before it had ended. */
export type State = "open" | "ending" | "ended" | "failed" | "closed"

export interface Statistics extends Gate.Statistics {
  readonly state: State
  /** How many wait for room in the line. */
  readonly suspended: number
  readonly pressure: boolean
  /** How many accepted items that nobody waited for were not done; `onFailure` was told of each. */
  readonly lost: number
}

/** What is wrong with a snapshot, as sentences; empty when all invariants hold. */
export const check = (self: Statistics): ReadonlyArray<string> => {
  const left = self.running + self.waiting + self.suspended
  return self.state !== "ended" || left === 0
    ? Gate.check(self)
    : [...Gate.check(self), `${self.name}: expected nothing left when it has ended, got ${left}`]
}

/** Makes a queue that lives as long as the scope. */
export const make = <A, B = void, E = never, R = never, R2 = never>(
  name: string,
  options: Options<A, B, E, R, R2>
): Effect.Effect<WorkQueue<A, B, E>, never, R | R2 | Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const { limit = 1, line = {} } = options
    const overflow = line.overflow === undefined || line.overflow === "suspend" ? "reject" : line.overflow
    const gateOptions = { ...options, limit, line: { ...line, overflow } }
    const gate = new Engine(name, gateOptions, fiber.getRef(Clock.Clock), "queue", means.of(fiber))
    const jobs = new Jobs(boundary.current(fiber), gate, fiber, policy(options))
    return Effect.acquireRelease(Effect.succeed(jobs), () => jobs.close).pipe(
      Effect.andThen(Registry.register("queue", name, () => jobs.snapshot())),
      Effect.as(jobs as WorkQueue<A, B, E>)
    )
  })

const policy = <A, B, E, R, R2>(options: Options<A, B, E, R, R2>): Policy => {
  const { line = {}, onFailure, run, watermarks, weigh } = options
  const maxItems = line.maxItems ?? 1000
  // A line in which nobody waits is under no pressure.
  const { high, low } = watermarks ?? { high: maxItems > 0 ? maxItems : Infinity, low: Math.floor(maxItems / 2) }
  if (!(high >= 1)) throw new RangeError(`Expected a high watermark of at least 1, got ${high}`)
  if (!(low >= 0 && (low < high || watermarks === undefined))) {
    throw new RangeError(`Expected a low watermark from 0 to below ${high}, got ${low}`)
  }
  return {
    run,
    onFailure,
    weigh: weigh === undefined ? undefined : (item) => terms.bytes(weigh(item)),
    suspends: line.overflow === undefined || line.overflow === "suspend",
    high,
    low
  }
}
