/**
 * Cancels what belongs together, from inside or outside, for a reason that everybody below can read.
 *
 *     scope.cancel(reason) ──► all that runs in the scope is interrupted ──► its clean-up is waited for
 *                                                                      └──► whoever ran it gets Cancelled { reason }
 *
 * A scope is a handle: whatever is run in it, in one place or in many, is cut with it. `scope.run` gives an `Outcome`
 * (`Completed`, `Cancelled` or `DeadlineExceeded`) and so tells a cancel of this scope from an interruption that comes
 * from outside, which interrupts as ever. What fails in the clean-up is not lost: it stands in the cause in place of the
 * outcome.
 *
 * The first reason wins. `CancelScope.reason` gives it to any finalizer, at any depth. `CancelScope.shield` keeps work
 * from being cut for a grace.
 *
 * Each run is a region on a fiber of its own, started on the spot. A scope holds nothing but its running regions: it
 * needs no release. To wait for several children and lose none of their failures is a `Nursery`'s work.
 */
import { Clock, Data, Effect, Exit, Option } from "effect"
import type { Duration, Fiber } from "effect"
import { dual } from "effect/Function"
import * as Deadline from "./Deadline.ts"
import * as Reason from "./Reason.ts"
import * as boundary from "./internal/boundary.ts"
import * as millis from "./internal/millis.ts"
import { Shield } from "./internal/shield.ts"
import * as stack from "./internal/stack.ts"
import * as timer from "./internal/timer.ts"

/** It ended by itself. */
export class Completed<A> extends Data.TaggedClass("Completed")<{ readonly value: A }> {}
/** It was cut with its scope. */
export class Cancelled extends Data.TaggedClass("Cancelled")<{ readonly reason: Reason.Reason }> {}

/** How a run in a scope ended; a failure of its own, or an interruption from outside, is neither of these. */
export type Outcome<A> = Completed<A> | Cancelled | Deadline.DeadlineExceeded

export interface Options {
  /** The scope's own deadline, from the moment it is made. Default: none. */
  readonly within?: Duration.Input | undefined
}

export interface CancelScope {
  /**
   * Runs `effect` in the scope. A scope that was cut before starts nothing.
   *
   * Interrupting the caller interrupts `effect` and waits for its clean-up.
   */
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<Outcome<A>, E, R>
  /**
   * Cuts all that runs in the scope and waits for its clean-up; from inside it waits for nothing, since it would wait for
   * itself. A second cancel changes nothing and waits too. A string is `Reason.Manual`.
   *
   * Interrupting it stops the waiting, and nothing else.
   */
  readonly cancel: (reason?: Reason.Reason | string) => Effect.Effect<void>
  /** As `cancel`, and waits for nothing. */
  readonly cancelUnsafe: (reason?: Reason.Reason | string) => void
  /** Ends the scope within `budget` from now at the latest. Never later than it would have ended. */
  readonly narrow: (budget: Duration.Input) => Effect.Effect<void>
  /** Takes the scope's own deadline away; those around its runs stay. */
  readonly lift: Effect.Effect<void>
  /** Why it was cut; `None` while it was not. */
  readonly reason: Option.Option<Reason.Reason>
}

/** A scope in which nothing runs yet. */
export const make = (options: Options = {}): Effect.Effect<CancelScope> => {
  const budget = options.within === undefined ? Infinity : millis.from(options.within)
  return Effect.map(Clock.Clock, (clock) => new Scope(clock, timer.now(clock) + budget))
}

/** Makes a scope and runs `body` in it. */
export const run = <A, E, R>(
  body: (scope: CancelScope) => Effect.Effect<A, E, R>,
  options?: Options
): Effect.Effect<Outcome<A>, E, R> => Effect.flatMap(make(options), (scope) => scope.run(body(scope)))

/**
 * Why the work around it is being cut: the reason of the nearest scope, deadline or nursery that was. For finalizers.
 *
 * `None` when nothing was cut, or when the interrupt came from a fiber that gave no reason.
 */
export const reason: Effect.Effect<Option.Option<Reason.Reason>> = Effect.withFiber((fiber) =>
  Effect.succeed(Option.fromUndefinedOr(boundary.current(fiber)?.reasonInForce))
)

/**
 * Keeps `self` running when what is around it is cut, for at most `grace` from the cut; then it is cut itself, and fails
 * with `DeadlineExceeded`. In code that cannot be interrupted, such as a finalizer, the grace counts from the start.
 *
 * Inside, the ambient deadline is the one around it and the grace; deadlines that have passed do not count any more. An
 * interrupted caller waits for it.
 */
export const shield: {
  (options: {
    readonly grace: Duration.Input
  }): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Deadline.DeadlineExceeded, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    options: { readonly grace: Duration.Input }
  ): Effect.Effect<A, E | Deadline.DeadlineExceeded, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, options: { readonly grace: Duration.Input }) => {
  const grace = millis.from(options.grace)
  return Effect.uninterruptibleMask((restore) =>
    Effect.withFiber<A, E | Deadline.DeadlineExceeded, R>((fiber) => {
      const clock = fiber.getRef(Clock.Clock)
      const around = boundary.current(fiber)
      const region = new Shield(around, clock, timer.now(clock), grace)
      // Where an interrupt cannot be told from its absence, `restore` has nothing to restore.
      if (restore(Effect.void) === Effect.void || around?.cutting === true) {
        region.count()
        // A grace of 0 is none: nothing begins.
        if (grace <= 0) region.ring()
      }
      return restore(boundary.run(fiber, region, self))
    })
  )
})

class Scope implements CancelScope {
  private readonly clock: Clock.Clock
  private at: number
  private struck: Reason.Reason | undefined = undefined
  private readonly members = new Set<Member>()
  private readonly waiters = new Set<() => void>()

  constructor(clock: Clock.Clock, at: number) {
    this.clock = clock
    this.at = at
    // `pipe(scope.run)` is what one writes.
    this.run = this.run.bind(this)
    this.cancel = this.cancel.bind(this)
    this.cancelUnsafe = this.cancelUnsafe.bind(this)
    this.narrow = this.narrow.bind(this)
  }

  get reason(): Option.Option<Reason.Reason> {
    this.expire()
    return Option.fromUndefinedOr(this.struck)
  }

  run<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Outcome<A>, E, R> {
    return Effect.withFiber((fiber) => {
      this.expire()
      const member = new Member(this, boundary.current(fiber), this.clock, timer.now(this.clock), this.at)
      if (this.struck !== undefined) return Effect.succeed(this.ended(member, this.struck))
      return boundary.run(fiber, member, effect)
    })
  }

  cancel(reason?: Reason.Reason | string): Effect.Effect<void> {
    return stack.step((fiber) => {
      this.cancelUnsafe(reason)
      // From inside it must not wait for itself. To give way lets the interrupt strike before anything else is done.
      return this.contains(fiber) ? Effect.yieldNow : this.empty
    })
  }

  cancelUnsafe(reason: Reason.Reason | string = "cancelled"): void {
    this.expire()
    this.cut(Reason.from(reason))
  }

  narrow(budget: Duration.Input): Effect.Effect<void> {
    const time = millis.from(budget)
    return Effect.sync(() => {
      this.expire()
      this.at = Math.min(this.at, timer.now(this.clock) + time)
      for (const member of this.members) member.endBy(this.at)
    })
  }

  get lift(): Effect.Effect<void> {
    return Effect.sync(() => {
      this.expire()
      this.at = Infinity
      for (const member of this.members) member.liftUnsafe()
    })
  }

  cut(reason: Reason.Reason): void {
    if (this.struck !== undefined) return
    this.struck = reason
    for (const member of this.members) member.strike(reason)
  }

  /** Its deadline may have passed while nothing ran in it. */
  private expire(): void {
    if (this.at <= timer.now(this.clock)) this.cut(new Reason.Deadline())
  }

  /** What people see of it in a log. */
  toJSON(): object {
    return { running: this.members.size, reason: this.struck ?? null }
  }

  [Symbol.for("nodejs.util.inspect.custom")](): object {
    return this.toJSON()
  }

  private ended(member: Member, reason: Reason.Reason): Cancelled | Deadline.DeadlineExceeded {
    member.strike(reason)
    return Deadline.exceededBy(member) ?? new Cancelled({ reason })
  }

  entered(member: Member): void {
    this.members.add(member)
    // Between the question and the start there is a step: see "a cancel on the way in is not missed".
    if (this.struck !== undefined) member.strike(this.struck)
  }

  outcome(member: Member, exit: Exit.Exit<any, any>): Exit.Exit<any, any> {
    this.members.delete(member)
    if (this.members.size === 0) for (const waiter of this.waiters) waiter()
    const completed = Exit.map(exit, (value) => new Completed({ value }))
    if (this.struck === undefined) return completed
    return boundary.cutInto(completed, Exit.succeed(this.ended(member, this.struck)))
  }

  /** Waits until nothing runs in it. */
  private readonly empty: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.members.size === 0) return resume(Effect.void)
    const waiter = () => {
      this.waiters.delete(waiter)
      stack.resume(resume, Effect.void)
    }
    this.waiters.add(waiter)
    return Effect.sync(() => this.waiters.delete(waiter))
  })

  private contains(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    for (let region = boundary.current(fiber); region !== undefined; region = region.parent) {
      if (region instanceof Member && region.scope === this) return true
    }
    return false
  }
}

/** One run in a scope: cut with it, and it with the run, whose timer stands for the scope's deadline. */
class Member extends boundary.Timed {
  readonly scope: Scope

  constructor(scope: Scope, parent: boundary.Region | undefined, clock: Clock.Clock, since: number, at: number) {
    super(parent, clock, since, at)
    this.scope = scope
  }

  override begin(fiber: Fiber.Fiber<unknown, unknown>): void {
    super.begin(fiber)
    this.scope.entered(this)
  }

  override cut(reason: Reason.Reason): void {
    this.scope.cut(reason)
  }

  strike(reason: Reason.Reason): void {
    super.cut(reason)
  }

  override outcome(exit: Exit.Exit<any, any>): Exit.Exit<any, any> {
    return this.scope.outcome(this, exit)
  }
}
