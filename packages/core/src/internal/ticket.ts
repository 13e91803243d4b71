/**
 * One caller at one gate: the state machine that makes every cancel exact.
 */
import { Duration, Effect, Exit, Scope } from "effect"
import type { Fiber } from "effect"
import type { Permit } from "../Gate.ts"
import type { Verdict } from "../ConcurrencyLimit.ts"
import * as Priority from "../Priority.ts"
import type * as RateWindow from "../RateWindow.ts"
import type * as Reason from "../Reason.ts"
import * as Refused from "../Refused.ts"
import * as Tenant from "../Tenant.ts"
import type { Kind } from "../Wait.ts"
import * as Boost from "./boost.ts"
import * as boundary from "./boundary.ts"
import { Claim } from "./claim.ts"
import type { Terms } from "./claim.ts"
import type { Engine } from "./gate.ts"
import { Patient } from "./patience.ts"
import * as wait from "./wait.ts"

export type AnyEffect = Effect.Effect<any, any, any>

/**
 * Admission, the work, and what undoes either. The frame that gives back stands before anything is taken: wherever an
 * interrupt lands, it finds the ticket's state and undoes just that. See "passes the sweep".
 */
export const guarded = (ticket: Ticket): AnyEffect =>
  // Bound, not a closure: in a long line what a waiter retains is most of what it costs.
  Effect.onExitPrimitive(ticket as unknown as AnyEffect, ticket.leave.bind(ticket))

export class Ticket extends Claim implements wait.Listed, Boost.Boosted {
  readonly gate: Engine
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly terms: Terms
  /** What its caller goes on with: the work, or the refusal. */
  body: AnyEffect
  earlier: wait.Listed | undefined = undefined
  later: wait.Listed | undefined = undefined
  note: unknown = undefined
  private resume: ((effect: AnyEffect) => void) | undefined = undefined
  /** Around it when it came. */
  private region: boundary.Region | undefined = undefined
  private boost: Boost.Boost | undefined = undefined

  constructor(gate: Engine, fiber: Fiber.Fiber<unknown, unknown>, terms: Terms, body: AnyEffect) {
    super()
    this.gate = gate
    this.fiber = fiber
    this.terms = terms
    this.body = body
  }

  // Ambient things are read where they are: a field for each would weigh on every line.

  get asked(): number {
    return Boost.raise(this.boost, this.fiber.getRef(Priority.Priority))
  }

  get tenant(): string {
    return this.fiber.getRef(Tenant.Tenant)
  }

  get deadline(): number {
    return this.region?.deadline ?? Infinity
  }

  override get patient(): boolean {
    return this.fiber.getRef(Patient)
  }

  get kind(): Kind {
    return this.gate.waitsAs
  }

  get what(): string {
    return this.own?.parked === undefined ? this.gate.what : `${this.own.parked.what} at ${this.gate.what}`
  }

  override arrive(): void {
    this.region = boundary.current(this.fiber)
    this.boost = this.fiber.getRef(Boost.Current)
  }

  boosted(): void {
    this.gate.move(this, this.asked)
  }

  enter(): AnyEffect {
    this.gate.ask(this)
    // It may have been handed a permit already, by putting out the one who held it up.
    if (this.state === "Waiting" || this.state === "Admitted") return Effect.callback((resume) => this.suspend(resume))
    return this.body
  }

  leave(exit: Exit.Exit<unknown, unknown>): undefined {
    this.gate.leave(this, exit)
  }

  turnAway(refused: Refused.Refused): void {
    this.body = Effect.fail(refused)
  }

  /**
   * An effect whose deadline has passed never starts. To say so is the region's, whose timer has only not come round to it
   * yet; the refusal is for those who cannot be cut.
   */
  override lapse(): void {
    const region = this.region!
    wait.begin(region, this)
    region.lapse()
    wait.end(region, this)
    this.body = Effect.andThen(Effect.yieldNow, this.body)
  }

  /** It could not be interrupted at its deadline: it is refused instead. */
  told(reason: Reason.Reason): void {
    if (this.state === "Waiting" && reason._tag === "Deadline") {
      this.gate.putOut(this, new Refused.TooLate({ short: Duration.zero }))
    }
  }

  override await(now: number): void {
    super.await(now)
    if (this.region !== undefined) wait.begin(this.region, this)
    this.boost?.begin(this)
  }

  override endWait(): void {
    if (this.region !== undefined) wait.end(this.region, this)
    this.boost?.end(this)
    super.endWait()
  }

  begin(): void {
    const { resume } = this
    if (resume === undefined || this.state === "Gone") return
    this.resume = undefined
    if (this.state === "Admitted") this.begins()
    resume(this.body)
  }

  /** Suspends the caller until `begin`; goes on at once if its turn came before it got here. */
  private suspend(resume: (effect: AnyEffect) => void): void {
    this.resume = resume
    if (this.state !== "Waiting") this.begin()
  }
}

/** A caller with a permit in hand: for as long as its work goes on, or until a scope closes. */
export class Holder extends Ticket {
  /** Its rate grant counts as now until `sent`. */
  private readonly pending: boolean
  /** How long it stood in line. */
  stood = 0
  /** -1: before anybody asked what time it was. */
  private begunAt: number | undefined = undefined
  private heardAt: number | undefined = undefined
  /** What it really cost, where that has been said. */
  private actual: number | undefined = undefined
  private judged = false
  /** Whether it is held in a scope, and so in the gate's chain of those. */
  private scoped = false
  /** When somebody looked at those first; what is held reads no clock for that. */
  private seenAt = -1

  constructor(
    gate: Engine,
    fiber: Fiber.Fiber<unknown, unknown>,
    terms: Terms,
    pending: boolean,
    work?: (permit: Permit) => AnyEffect
  ) {
    super(gate, fiber, terms, Effect.void)
    this.pending = pending
    if (work !== undefined) this.body = Effect.suspend(() => work(new Held(this)))
  }

  override get cost(): number {
    return this.actual ?? this.terms.cost
  }

  override get unused(): boolean {
    return this.begunAt === undefined
  }

  override begins(): void {
    this.state = "Running"
    this.gate.unsettled++
    if (this.at >= 0) this.stood = this.gate.now - this.at
    if (!this.pending) this.sent()
  }

  override ends(exit: Exit.Exit<unknown, unknown>, now: number): void {
    this.answer(now)
    if (this.begunAt! >= 0) this.gate.ended(this, now, this.begunAt!, exit)
    this.judge(this.gate.verdict(exit), now)
  }

  /** It is held until `scope` closes. */
  heldIn(scope: Scope.Scope): Effect.Effect<Permit> {
    this.scoped = true
    this.gate.held.push(this)
    // `Effect.addFinalizer` would capture the context, and copy it when it runs.
    const added = Scope.addFinalizerExit(scope, (exit) => {
      this.leave(exit)
      return Effect.void
    })
    return Effect.as(added, new Held(this))
  }

  /** Since when it is held, as far as that is known. */
  since(now: number): number {
    if (this.begunAt! >= 0) return this.begunAt!
    return this.seenAt < 0 ? (this.seenAt = now) : this.seenAt
  }

  sent(): void {
    if (this.begunAt !== undefined || this.state !== "Running") return
    this.begunAt = this.gate.timed ? this.gate.now : -1
    this.gate.stamp(this, this.begunAt)
  }

  answered(verdict: Verdict = "ok", latencyMillis?: number): void {
    if (this.state !== "Running" || !this.gate.timed) return
    this.sent()
    const { now } = this.gate
    this.answer(now)
    this.judge(verdict, now, latencyMillis)
    this.gate.reckon(this, now)
  }

  settle(cost: number): void {
    if (!(cost >= 0 && cost < Infinity)) throw new RangeError(`Expected a cost of at least 0, got ${cost}`)
    if (this.state !== "Running" || this.actual !== undefined) return
    this.gate.unsettled--
    this.gate.settle(this, this.begunAt, this.heardAt, cost)
    // What is above the reservation is a debt of the windows, and nothing it could give back.
    this.actual = Math.min(this.cost, cost)
  }

  override leave(exit: Exit.Exit<unknown, unknown>): undefined {
    if (this.state === "Running" && this.actual === undefined) this.gate.unsettled--
    if (this.scoped) {
      this.scoped = false
      this.gate.held.remove(this)
    }
    super.leave(exit)
  }

  release(verdict?: Verdict): void {
    if (this.state !== "Running") return
    if (verdict !== undefined) this.judge(verdict, this.gate.now)
    this.leave(Exit.void)
  }

  private answer(now: number): void {
    if (this.heardAt !== undefined) return
    this.heardAt = now
    this.gate.answer(this, now)
  }

  private judge(verdict: Verdict, now: number, latencyMillis?: number): void {
    if (this.judged || !this.gate.timed) return
    this.judged = true
    // Nobody asked what time it was when it began, or it has not.
    if (latencyMillis === undefined && !(this.begunAt! >= 0)) return
    this.gate.learn(now, latencyMillis ?? now - this.begunAt!, verdict, this.fiber)
  }
}

class Held implements Permit {
  readonly waited: Duration.Duration
  private readonly holder: Holder

  constructor(holder: Holder) {
    this.holder = holder
    this.waited = Duration.millis(holder.stood)
  }

  sent(): void {
    this.holder.sent()
  }

  answered(verdict?: Verdict, latencyMillis?: number): void {
    this.holder.answered(verdict, latencyMillis)
  }

  settle(cost: number): void {
    this.holder.settle(cost)
  }

  tighten(hint: RateWindow.Hint): void {
    this.holder.gate.tightenNow(hint, this.holder.terms.key, this.holder.fiber)
  }

  release(verdict?: Verdict): void {
    this.holder.release(verdict)
  }
}
