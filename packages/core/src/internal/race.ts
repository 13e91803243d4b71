/**
 * An attempt, and a second one beside it when the first is slow.
 *
 *     first ──────────────────────────────► cut, and its clean-up waited for
 *        at its moment ─► second ──► success: what it comes to
 *
 * Each is a region of its own, started on the spot. The first success wins; the other is cut, and nothing of either outlives the
 * race. One that fails leaves it to the other; where both have failed, it is what the first has come to.
 *
 * A second that is refused on the spot has not been: no door let it wait, and no answer can have come back to it. One that is
 * refused later may have asked the other side before, so it has failed.
 *
 * A first that ends before its moment costs one entry in the timer, and none where it ends at once. Interrupting the caller
 * cuts both, and waits for them.
 */
import { Cause, Context, Effect, Exit } from "effect"
import type { Clock, Fiber } from "effect"
import * as Reason from "../Reason.ts"
import * as Refused from "../Refused.ts"
import * as boundary from "./boundary.ts"
import { Patient } from "./patience.ts"
import * as stack from "./stack.ts"
import * as timer from "./timer.ts"

type AnyExit = Exit.Exit<any, any>
type AnyEffect = Effect.Effect<any, any, any>

/** Whose attempts they are. */
export interface Host {
  /** The moment of the second has come: whether it may begin. */
  hedge(): boolean
  /** It was refused on the spot: it has not been. */
  unhedged(): void
  /** The second has succeeded, and the first had not. */
  overtook(): void
  /** The first has succeeded, or would have taken longer than until now. */
  took(): void
  /** What is to be done before the race ends, with the failure of one that it does not come to. */
  lost(error: unknown, which: "first" | "second"): AnyEffect | undefined
}

/** Runs `attempt`, and once more beside it if it goes on at the instant `at`. */
export const run = (
  caller: Fiber.Fiber<unknown, unknown>,
  host: Host,
  attempt: AnyEffect,
  clock: Clock.Clock,
  at: number
): AnyEffect =>
  // All in one `callback`: between a start and the finalizer there is no place where an interrupt could land.
  Effect.callback((resume) => new Race(caller, host, attempt, clock, at, resume).begin())

class Racer extends boundary.Inner {
  exit: AnyExit | undefined = undefined
  /** It has ended in the step in which it began. */
  onTheSpot = false
}

class Race implements timer.Entry {
  readonly at: number
  index = -1
  order = 0
  private readonly caller: Fiber.Fiber<unknown, unknown>
  private readonly host: Host
  private readonly attempt: AnyEffect
  private readonly clock: Clock.Clock
  private readonly resume: (outcome: AnyEffect) => void
  private readonly first: Racer
  private second: Racer | undefined = undefined
  /** How many go on. */
  private going = 0
  /** Decided: what it comes to is certain, and the other is being cut. Abandoned: its caller was interrupted. */
  private state: "Open" | "Decided" | "Over" | "Abandoned" = "Open"
  private winner: Racer | undefined = undefined
  private onEnd: ((exit: Exit.Exit<void>) => void) | undefined = undefined

  constructor(
    caller: Fiber.Fiber<unknown, unknown>,
    host: Host,
    attempt: AnyEffect,
    clock: Clock.Clock,
    at: number,
    resume: (outcome: AnyEffect) => void
  ) {
    this.caller = caller
    this.host = host
    this.attempt = attempt
    this.clock = clock
    this.at = at
    this.resume = resume
    this.first = new Racer(boundary.current(caller))
  }

  begin(): Effect.Effect<void> | undefined {
    if (this.start(this.first, this.caller.context as Context.Context<any>)) {
      this.ended(this.first)
      return undefined
    }
    timer.of(this.clock).set(this, this.caller)
    return stack.flat(Effect.suspend(() => this.abandon()))
  }

  /** It is time for the second. */
  ring(): void {
    if (!this.host.hedge()) return
    this.second = new Racer(boundary.current(this.caller))
    const context = Context.add(this.caller.context, Patient, false)
    if (this.start(this.second, context as Context.Context<any>)) this.ended(this.second)
  }

  /** Whether it has ended on the spot. */
  private start(racer: Racer, context: Context.Context<any>): boolean {
    // Before it begins: what it does at once may end the other.
    this.going++
    const fiber = boundary.fork(context, racer, this.attempt)
    racer.exit = fiber.pollUnsafe()
    if (racer.exit !== undefined) {
      this.going--
      racer.onTheSpot = true
      return true
    }
    racer.attach()
    fiber.addObserver((exit) => {
      racer.detach()
      racer.exit = exit
      this.going--
      this.ended(racer)
    })
    return false
  }

  private ended(racer: Racer): void {
    if (this.state === "Open") this.judge(racer)
    if (this.going > 0) return
    if (this.state === "Abandoned") this.onEnd?.(this.unclean)
    else if (this.state === "Decided") {
      // To cut a loser may have ended it, and so all of this, on this stack.
      this.state = "Over"
      stack.nest(() => this.resume(stack.flat(this.outcome)))
    }
  }

  /** What the end of one decides. */
  private judge(racer: Racer): void {
    const exit = racer.exit!
    if (racer === this.second && racer.onTheSpot && isRefused(exit)) {
      this.second = undefined
      this.host.unhedged()
      // The first may have failed, and left it to this one.
      if (this.going === 0) this.decide(this.first)
    } else if (Exit.isSuccess(exit)) {
      if (racer === this.second) this.host.overtook()
      if (racer === this.first || this.first.exit === undefined) this.host.took()
      this.decide(racer)
    } else if (!hasFailed(exit)) this.decide(racer)
    else if (this.going === 0) this.decide(this.first)
  }

  private decide(winner: Racer): void {
    this.state = "Decided"
    this.winner = winner
    timer.of(this.clock).clear(this, this.caller)
    const { loser } = this
    if (loser !== undefined && loser.exit === undefined) loser.cut(new Reason.Manual({ text: "another attempt won" }))
  }

  private get loser(): Racer | undefined {
    return this.winner === this.first ? this.second : this.first
  }

  /** What went wrong when a loser cleaned up is not lost: it stands beside the failure, or in place of the value. */
  private get outcome(): AnyEffect {
    const { exit } = this.winner!
    const { loser } = this
    if (loser === undefined || Exit.isSuccess(loser.exit!)) return exit!
    const defects = Cause.fromReasons(loser.exit!.cause.reasons.filter(Cause.isDieReason))
    if (defects.reasons.length > 0) {
      return Exit.failCause(Exit.isFailure(exit!) ? Cause.combine(exit!.cause, defects) : defects)
    }
    const error = loser.exit!.cause.reasons.find(Cause.isFailReason)
    const lost = error && this.host.lost(error.error, loser === this.first ? "first" : "second")
    if (lost === undefined) return exit!
    return Effect.andThen(Exit.isFailure(exit!) ? beside(lost, exit!.cause) : lost, exit!)
  }

  /** The caller was interrupted. */
  private abandon(): Effect.Effect<void> {
    this.state = "Abandoned"
    timer.of(this.clock).clear(this, this.caller)
    for (const racer of [this.first, this.second]) {
      if (racer?.exit === undefined && racer?.interrupted === false) racer.interrupt()
    }
    return Effect.callback((resume) => {
      if (this.going === 0) return resume(this.unclean)
      this.onEnd = (exit) => stack.nest(() => resume(stack.flat(exit)))
    })
  }

  /** What went wrong beside the interrupt. */
  private get unclean(): Exit.Exit<void> {
    const cut = [this.first, this.second].filter((racer) => racer?.interrupted === true)
    return Exit.asVoidAll(cut.map((racer) => boundary.cleanUp(racer!.exit!)))
  }
}

/** What goes wrong in `effect` stands beside `cause`. */
export const beside = (effect: AnyEffect, cause: Cause.Cause<unknown>): AnyEffect =>
  Effect.catchCause(effect, (why) => Effect.failCause(Cause.combine(cause, why)))

/** Whether it is nothing but a failure of the world: that of one leaves it to the other. */
const hasFailed = (exit: Exit.Failure<unknown, unknown>): boolean => exit.cause.reasons.every(Cause.isFailReason)

const isRefused = (exit: AnyExit): boolean =>
  Exit.isFailure(exit) && hasFailed(exit) && Cause.squash(exit.cause) instanceof Refused.Refused
