/**
 * The one error of every door: what was asked has not begun, so anything may be tried again.
 *
 * `Refused` carries a `reason` (one of the classes below; match it with `Effect.catchReason`), the name of the gate
 * that refused, how long the caller had waited, and when it may be worth coming back.
 */
import { Data } from "effect"
import type { Duration, Option } from "effect"
import * as millis from "./internal/millis.ts"

/**
 * The line holds all it may: so many callers, what they cost together, or bytes held by them (see `bound`); or a `GateMap`
 * as many keys, a `Coalesce` as many runs or callers, or a `Batcher` as many items. `urgency` is there where it is the bound of that level alone.
 */
export class QueueFull extends Data.TaggedError("QueueFull")<{
  readonly bound: "items" | "cost" | "bytes" | "tenants" | "keys" | "runs" | "callers"
  readonly limit: number
  readonly urgency?: number | undefined
}> {}

/** Was in the line and made room for someone of urgency `by`. */
export class Evicted extends Data.TaggedError("Evicted")<{ readonly by: number }> {}

/** The process protects itself; `signal` names what it protects (a slow line, memory, the event loop). */
export class Shed extends Data.TaggedError("Shed")<{ readonly signal: string }> {}

/** Stood in the line for as long as the gate, or the caller, allows. */
export class WaitExceeded extends Data.TaggedError("WaitExceeded")<{ readonly maxWait: Duration.Duration }> {}

/** The turn would come after the caller's deadline, as the line drains now or as the windows open; `short` is by how much. */
export class TooLate extends Data.TaggedError("TooLate")<{ readonly short: Duration.Duration }> {}

/** The caller's own allowance is spent; `window` names it, e.g. `80 per 1m`. */
export class RateLimited extends Data.TaggedError("RateLimited")<{ readonly window: string }> {}

/** The circuit in front of a dependency is open: it has failed `failures` times since it last worked. */
export class CircuitOpen extends Data.TaggedError("CircuitOpen")<{ readonly failures: number }> {}

/** The edge is closed, or the gate's scope is. */
export class ShuttingDown extends Data.TaggedError("ShuttingDown")<{}> {}

/** Why a door said no. */
export type Reason = QueueFull | Evicted | Shed | WaitExceeded | TooLate | RateLimited | CircuitOpen | ShuttingDown

/** Not let in, or put out again before it began. */
export class Refused extends Data.TaggedError("Refused")<{
  readonly reason: Reason
  /** The name of the gate that refused, or of the nursery. */
  readonly gate: string
  /** How long the caller stood in the line. */
  readonly waited: Duration.Duration
  /** When to come back, from depth and drain rate; `None` when there is nothing to say. */
  readonly retryAfter: Option.Option<Duration.Duration>
}> {
  override get message(): string {
    return `${this.gate} refused: ${this.reason._tag} after ${millis.format(this.waited)}`
  }
}
