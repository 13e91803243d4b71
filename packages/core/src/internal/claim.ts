/**
 * What stands at a gate, from its first step to its last: a caller's ticket, or an item of a bulk call.
 *
 *     New ──► Waiting ──► Admitted ──► Running ──► Gone
 *      │         └──► Refused                        ▲
 *      └──► Running, or Refused ─────────────────────┘
 *
 * As lean as it goes: a line of 100,000 is 100,000 of these, and what they take is collected before what they do.
 */
import { Duration } from "effect"
import type { Effect, Exit, Fiber } from "effect"
import * as Refused from "../Refused.ts"
import type { Link } from "./chain.ts"
import type { Engine } from "./gate.ts"
import type { Slot } from "./lane.ts"
import type { Place } from "./line.ts"
import type { Owner } from "./owner.ts"
import { Step } from "./step.ts"
import * as timer from "./timer.ts"
import type { Waiter } from "./wake.ts"

/** What an `Ask` comes to. */
export interface Terms {
  readonly cost: number
  readonly bytes: number
  /** What of them is drawn from the byte budget while it waits. */
  readonly draws: number
  readonly maxWaitMillis: number
  readonly key: string | undefined
  /** Of an item that is not as urgent as whoever brings it. */
  readonly urgency: number | undefined
}

/** Those besides the gate that it takes from, and the one of them that it is parked with. */
export interface Own {
  readonly owners: ReadonlyArray<Owner>
  parked: Owner | undefined
  /** Since when it waits for what all share, where it was parked before. */
  readySince: number | undefined
}

/** A claim is itself the effect of its first step. */
export abstract class Claim extends Step implements Place, Waiter {
  /**
   * `Admitted`: a permit was handed to it and it has not begun. Invariant: in the line in `Waiting` only; holds a permit
   * in `Admitted` and `Running` only.
   */
  state: "New" | "Waiting" | "Admitted" | "Running" | "Refused" | "Gone" = "New"
  urgency = 0
  order = 0
  before: Link | undefined = undefined
  behind: Link | undefined = undefined
  slot: Slot<any> | undefined = undefined
  own: Own | undefined = undefined
  /** When it came to a door that was not open, or -1; then, where latencies are measured, when it began. */
  at = -1
  private expiry: Expiry | undefined = undefined

  abstract get gate(): Engine
  abstract get terms(): Terms
  /** Lends its scheduler. */
  abstract get fiber(): Fiber.Fiber<unknown, unknown>
  /** The urgency with which it comes. */
  abstract get asked(): number
  abstract get tenant(): string
  /** In milliseconds of the gate's clock; infinite where there is none. */
  abstract get deadline(): number
  /** It has come to its end before it began; one who waits is told by `begin`. */
  abstract turnAway(refused: Refused.Refused): void
  /** Its turn has come, or it was turned away. */
  abstract begin(): void

  /** What it begins with. */
  abstract enter(): Effect.Effect<any, any, any>

  /** It stands at the door. */
  arrive(): void {}

  /** Its deadline passed before it came. */
  lapse(): void {}

  /** Whether it may stand in line at all. Asked only where it would have to. */
  get patient(): boolean {
    return true
  }

  /** How long it waits at the most. */
  get maxWaitMillis(): number {
    return this.patient ? this.terms.maxWaitMillis : 0
  }

  get cost(): number {
    return this.terms.cost
  }

  get bytes(): number {
    return this.terms.bytes
  }

  get draws(): number {
    return this.terms.draws
  }

  /** How long it has stood in the line by now. */
  get waited(): Duration.Duration {
    return Duration.millis(this.at < 0 ? 0 : timer.now(this.gate.clock) - this.at)
  }

  /** Stands in line from now on. */
  await(now: number): void {
    this.state = "Waiting"
    const { maxWaitMillis } = this.terms
    if (maxWaitMillis === Infinity) return
    this.expiry = new Expiry(now + maxWaitMillis, this)
    timer.of(this.gate.clock).set(this.expiry, this.fiber)
  }

  /** Stands in line no more, for whatever reason. */
  endWait(): void {
    if (this.expiry === undefined) return
    timer.of(this.gate.clock).clear(this.expiry, this.fiber)
    this.expiry = undefined
  }

  waitExceeded(): Refused.WaitExceeded {
    return new Refused.WaitExceeded({ maxWait: Duration.millis(this.maxWaitMillis) })
  }

  /** Its work begins. */
  begins(): void {
    this.state = "Running"
    const { gate } = this
    if (gate.exact) gate.stamp(this, (this.at = gate.now))
    else this.at = gate.timed ? gate.lately : -1
  }

  /** It leaves, having run; its permit is still its own. Only where the gate is timed. */
  ends(exit: Exit.Exit<unknown, unknown>, now: number): void {
    const { at, gate } = this
    if (gate.exact) gate.answer(this, now)
    // Nobody asked what time it was when it began.
    if (at < 0) return
    gate.ended(this, now, at, exit)
    if (gate.exact) gate.learn(now, now - at, gate.verdict(exit), this.fiber)
  }

  /** Whether whoever held the permit of `from` goes on with it by itself: then it is not woken. */
  takesOver(_from: Claim): boolean {
    return false
  }

  /** What it was granted has not been used, and goes back as if it had never been taken. */
  get unused(): boolean {
    return this.state === "Admitted"
  }
}

class Expiry implements timer.Entry {
  readonly at: number
  private readonly claim: Claim
  index = -1
  order = 0

  constructor(at: number, claim: Claim) {
    this.at = at
    this.claim = claim
  }

  ring(): void {
    this.claim.gate.putOut(this.claim, this.claim.waitExceeded())
  }
}

/** Whether `a` goes before `b` where they wait for one and the same. */
export const precedes = (a: Place, b: Place): boolean =>
  a.urgency !== b.urgency
    ? a.urgency < b.urgency
    : a.deadline !== b.deadline
      ? a.deadline < b.deadline
      : // A newcomer, which stands nowhere yet, comes after all equals.
        a.slot !== undefined && a.order < b.order
