/**
 * How long something may take, from the first hop to the last.
 *
 * A *timeout* is relative and belongs to one call; a *deadline* is an instant and belongs to all that happens on the
 * way. `Deadline.within` sets one around a region; whatever runs below inherits it, and of nested ones the earliest
 * holds. At the deadline the region is interrupted, its clean-up is waited for, and the region (nobody else) fails with
 * `DeadlineExceeded`.
 *
 * The region runs on a fiber of its own, started on the spot. Where a deadline bites: at its own boundary, at Fairlead's
 * waits, and at the next hop. It is no check between two steps: code that does not suspend is not cut short.
 *
 * Interrupting the caller interrupts the region and waits for its clean-up.
 */
import { Clock, Context, Data, Duration, Effect, Exit, Option } from "effect"
import type { Fiber } from "effect"
import { dual } from "effect/Function"
import type * as Reason from "./Reason.ts"
import * as boundary from "./internal/boundary.ts"
import * as millis from "./internal/millis.ts"
import * as timer from "./internal/timer.ts"

/** A region did not end within its time. Raised by the region that set the deadline. */
export class DeadlineExceeded extends Data.TaggedError("DeadlineExceeded")<{
  /** What the region was given: its own time, or what was left of an earlier deadline around it. */
  readonly timeBudget: Duration.Duration
  /** From the region's start to its end, clean-up included. */
  readonly spent: Duration.Duration
  /** What the region waited for when it was cut, e.g. `gate github`; `None` where that was no wait of Fairlead's. */
  readonly waitingFor: Option.Option<string>
}> {
  override get message(): string {
    const waiting = Option.match(this.waitingFor, { onNone: () => "", onSome: (what) => `, waiting for ${what}` })
    return `not done within ${millis.format(this.timeBudget)} (${millis.format(this.spent)} spent${waiting})`
  }
}

/** The deadline of a region, to be set from within it. */
export interface Region {
  /** Ends the region within `budget` from now at the latest. Never later than it would have ended. */
  narrow(budget: Duration.Input): Effect.Effect<void>
  /** As `narrow`, in milliseconds. */
  narrowUnsafe(millis: number): void
  /** Takes this region's own deadline away; those around it stay. */
  readonly lift: Effect.Effect<void>
  /** As `lift`. */
  liftUnsafe(): void
  /** Why it was cut; `undefined` while it was not. */
  readonly reason: Reason.Reason | undefined
  /** Likewise, or why a region around it is being cut. */
  readonly reasonInForce: Reason.Reason | undefined
  /** What goes on waiting in it, e.g. `gate github`; `undefined` where nothing of Fairlead's does. */
  readonly what: string | undefined
  /** How long ago it began, in milliseconds. */
  readonly ageMillis: number
  /** Interrupts all that runs in the region, for `reason`. Does nothing when it was cut before or has ended. */
  cut(reason: Reason.Reason): void
}

/**
 * Runs `self` as a region that ends within `budget`, or earlier where an earlier deadline is in force.
 *
 * Fails with `DeadlineExceeded` when it was cut. An effect whose deadline has passed never starts; a budget of 0 has.
 */
export const within: {
  (budget: Duration.Input): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | DeadlineExceeded, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, budget: Duration.Input): Effect.Effect<A, E | DeadlineExceeded, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, budget: Duration.Input) => {
  const time = millis.from(budget)
  return run(time, () => self, Exit.fail<DeadlineExceeded>)
})

/** As `within`, with `None` in place of the error. */
export const option: {
  (budget: Duration.Input): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<Option.Option<A>, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, budget: Duration.Input): Effect.Effect<Option.Option<A>, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, budget: Duration.Input) => {
  const time = millis.from(budget)
  return run(
    time,
    () => Effect.asSome(self),
    () => Exit.succeed(Option.none<A>())
  )
})

/** Runs `body` as a region whose deadline is set from within: it has none of its own at first. */
export const region = <A, E, R>(
  body: (region: Region) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | DeadlineExceeded, R> => run(Infinity, body, Exit.fail<DeadlineExceeded>)

/**
 * As `region`, begun from outside of Effect: a server's calls come from nowhere, and need no second fiber that waits for
 * the region. The fiber ends as `body` does, by an interrupt where the region was cut: see `exceededBy`.
 */
export const start = <A, E, R>(
  context: Context.Context<R>,
  body: (region: Region) => Effect.Effect<A, E, R>
): Fiber.Fiber<A, E> => {
  const clock = Context.get(context, Clock.Clock)
  const region = new boundary.Timed(Context.get(context, boundary.Current), clock, timer.now(clock), Infinity)
  return boundary.start(context, region, body(region))
}

/**
 * Runs `self` with the services of `context` and no others, but in the region around it: for who answers calls with the services of
 * another place, as a server does that an app is handed to.
 */
export const provide = <A, E, R>(self: Effect.Effect<A, E, R>, context: Context.Context<R>): Effect.Effect<A, E> =>
  Effect.updateContext(self, (around: Context.Context<never>) =>
    Context.add(context, boundary.Current, Context.get(around, boundary.Current))
  )

/** How a region exceeded its deadline; `undefined` where it was not cut for that. */
export const exceededBy = (region: Region): DeadlineExceeded | undefined =>
  region.reason?._tag === "Deadline" ? exceeded(region as boundary.Timed) : undefined

/** What is left of the deadline in force; infinite where none is set. Never negative. */
export const remaining: Effect.Effect<Duration.Duration> = Effect.withFiber((fiber) => {
  const deadline = boundary.current(fiber)?.deadline ?? Infinity
  if (deadline === Infinity) return Effect.succeed(Duration.infinity)
  return Effect.succeed(Duration.millis(Math.max(0, deadline - timer.now(fiber.getRef(Clock.Clock)))))
})

const run = <A, E, R, B, E2>(
  millis: number,
  body: (region: boundary.Timed) => Effect.Effect<A, E, R>,
  onExceeded: (error: DeadlineExceeded) => Exit.Exit<B, E2>
): Effect.Effect<A | B, E | E2, R> =>
  Effect.withFiber((fiber) => {
    const clock = fiber.getRef(Clock.Clock)
    const since = timer.now(clock)
    const region = new Limited(boundary.current(fiber), clock, since, since + millis, onExceeded)
    if (region.deadline <= since) return onExceeded(exceeded(region))
    return boundary.run(fiber, region, body(region))
  })

/** A region whose passed deadline is its outcome. */
class Limited extends boundary.Timed {
  private readonly onExceeded: (error: DeadlineExceeded) => Exit.Exit<any, any>

  constructor(
    parent: boundary.Region | undefined,
    clock: Clock.Clock,
    since: number,
    at: number,
    onExceeded: (error: DeadlineExceeded) => Exit.Exit<any, any>
  ) {
    super(parent, clock, since, at)
    this.onExceeded = onExceeded
  }

  override outcome(exit: Exit.Exit<any, any>): Exit.Exit<any, any> {
    return this.reason?._tag === "Deadline" ? boundary.cutInto(exit, this.onExceeded(exceeded(this))) : exit
  }
}

const exceeded = (region: boundary.Timed): DeadlineExceeded =>
  new DeadlineExceeded({
    timeBudget: Duration.millis(Math.max(0, region.met - region.since)),
    spent: Duration.millis(timer.now(region.clock) - region.since),
    waitingFor: Option.fromUndefinedOr(region.waitedFor)
  })
