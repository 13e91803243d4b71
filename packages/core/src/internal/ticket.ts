/**
 * One caller at one gate, from its first step to its last: the state machine that makes every cancel exact.
 */
import { Duration, Effect, Exit, Scope } from "effect"
import type { Fiber } from "effect"
import type { Permit } from "../Gate.ts"
import type * as Reason from "../Reason.ts"
import * as Refused from "../Refused.ts"
import * as boundary from "./boundary.ts"
import type { Engine } from "./gate.ts"
import type { Link } from "./chain.ts"
import type { Place } from "./line.ts"
import * as timer from "./timer.ts"
import * as wait from "./wait.ts"
import type { Waiter } from "./wake.ts"

/** What an `Ask` comes to. */
export interface Terms {
  readonly cost: number
  readonly bytes: number
  readonly maxWaitMillis: number
}

export type AnyEffect = Effect.Effect<any, any, any>

/**
 * Admission, the work, and what undoes either. The frame that gives back stands before anything is taken: wherever an
 * interrupt lands, it finds the ticket's state and undoes just that. See "passes the sweep".
 */
export const guarded = (ticket: Ticket): AnyEffect => {
  // One closure for both ends: in a long line what a waiter retains is most of what it costs.
  const step = (exit?: Exit.Exit<unknown, unknown>): any =>
    exit === undefined ? ticket.gate.enter(ticket) : ticket.gate.leave(ticket, exit)
  return Effect.onExitPrimitive(Effect.suspend(step), step)
}

/**
 * One caller at one gate, from its first step to its last. As lean as it goes: a line of 100,000 is 100,000 of these,
 * and what they take is collected before what they do.
 */
export class Ticket implements Place, Waiter, wait.Wait {
  /**
   * New → (Waiting → Admitted →) Running → Gone, or New → (Waiting →) Refused → Gone. `Admitted`: a permit was handed to
   * it and it has not begun. Invariant: in the line in `Waiting` only; holds a permit in `Admitted` and `Running` only.
   */
  state: "New" | "Waiting" | "Admitted" | "Running" | "Refused" | "Gone" = "New"
  readonly gate: Engine
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly terms: Terms
  /** Its rate grant counts as now until `sent`. */
  unsent: boolean
  /** What its caller goes on with: the work, or the refusal. */
  body: AnyEffect
  urgency = 0
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  /** When it came to a door that was not open; -1 if it was. */
  since = -1
  private expiry: timer.Alarm | undefined = undefined
  private resume: ((effect: AnyEffect) => void) | undefined = undefined

  constructor(gate: Engine, fiber: Fiber.Fiber<unknown, unknown>, terms: Terms, unsent: boolean, body: AnyEffect) {
    this.gate = gate
    this.fiber = fiber
    this.terms = terms
    this.unsent = unsent
    this.body = body
  }

  get cost(): number {
    return this.terms.cost
  }

  get bytes(): number {
    return this.terms.bytes
  }

  get maxWaitMillis(): number {
    return this.terms.maxWaitMillis
  }

  get what(): string {
    return this.gate.what
  }

  /** It could not be interrupted at its deadline: it is refused instead. */
  told(reason: Reason.Reason): void {
    if (this.state === "Waiting" && reason._tag === "Deadline")
      this.putOut(new Refused.TooLate({ short: Duration.zero }))
  }

  /** How long it has stood in the line by now. */
  get waited(): Duration.Duration {
    return Duration.millis(this.since < 0 ? 0 : timer.now(this.gate.clock) - this.since)
  }

  /** Enters the line. */
  await(now: number): void {
    this.state = "Waiting"
    this.gate.line.enter(this)
    const region = boundary.current(this.fiber)
    if (region !== undefined) wait.begin(region, this)
    if (this.maxWaitMillis !== Infinity) {
      this.expiry = new timer.Alarm(now + this.maxWaitMillis, () => this.putOut(this.waitExceeded()))
      timer.of(this.gate.clock).set(this.expiry, this.fiber)
    }
  }

  /** Suspends the caller until `begin`; goes on at once if its turn came before it got here. */
  suspend(resume: (effect: AnyEffect) => void): void {
    this.resume = resume
    if (this.state !== "Waiting") this.begin()
  }

  /** Leaves the line, for whatever reason. */
  endWait(): void {
    this.gate.line.leave(this)
    if (this.gate.line.items === 0) this.gate.rest()
    boundary.endWait(this.fiber, this)
    if (this.expiry !== undefined) {
      timer.of(this.gate.clock).clear(this.expiry, this.fiber)
      this.expiry = undefined
    }
  }

  /** Its turn has come, or it was put out: the caller goes on. */
  begin(): void {
    const resume = this.resume
    if (resume === undefined || this.state === "Gone") return
    this.resume = undefined
    if (this.state === "Admitted") this.start(this.gate.hasWindows ? timer.now(this.gate.clock) : 0)
    resume(this.body)
  }

  start(now: number): void {
    this.state = "Running"
    if (this.gate.hasWindows && !this.unsent) this.gate.stamp(this, now)
  }

  sent(): void {
    if (!this.unsent || this.state !== "Running") return
    this.unsent = false
    this.gate.stamp(this, timer.now(this.gate.clock))
  }

  /** It is held until `scope` closes. */
  heldIn(scope: Scope.Scope): Effect.Effect<Permit> {
    const permit = new Held(this)
    // `Effect.addFinalizer` would capture the context, and copy it when it runs.
    const added = Scope.addFinalizerExit(scope, (exit) => {
      this.gate.leave(this, exit)
      return Effect.void
    })
    return Effect.as(added, permit)
  }

  waitExceeded(): Refused.WaitExceeded {
    return new Refused.WaitExceeded({ maxWait: Duration.millis(this.maxWaitMillis) })
  }

  private putOut(reason: Refused.Reason): void {
    const wasHead = this.gate.line.head === this
    this.gate.putOut(this, reason)
    if (wasHead) this.gate.next(this.fiber)
  }
}

class Held implements Permit {
  readonly waited: Duration.Duration
  private readonly ticket: Ticket

  constructor(ticket: Ticket) {
    this.ticket = ticket
    this.waited = ticket.waited
  }

  sent(): void {
    this.ticket.sent()
  }

  release(): void {
    this.ticket.gate.leave(this.ticket, Exit.void)
  }
}
