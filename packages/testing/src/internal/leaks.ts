/** The check behind `Leaks.expectNoLeaks`, here and in `@fairlead/testing/node`. */
import { Cause, Context, Duration, Effect, Exit, Fiber, Scheduler } from "effect"
import type { Scope } from "effect"
import { describe, Fibers } from "./fibers.ts"
import * as host from "./host.ts"

/** Looks for more than fibers, from when it is made until it has ended. */
export interface Probe {
  /** Starts the effect. */
  readonly in: <A>(body: () => A) => A
  /** What is there that was not there when the probe was made; one line each. */
  readonly left: () => ReadonlyArray<string>
  readonly end: () => void
}

export const none: Probe = { in: (body) => body(), left: () => [], end: () => {} }

export interface Options {
  /** For how long, in real time, what is on its way out is waited for; a second unless said. */
  readonly within?: Duration.Input
}

/** Something is left; the message lists it. */
export class LeaksFound extends Error {
  readonly left: ReadonlyArray<string>
  constructor(left: ReadonlyArray<string>) {
    super(["it has ended, but not all of it:", ...left].join("\n  "))
    this.name = "LeaksFound"
    this.left = left
  }
}

/**
 * Runs `effect`, with its own scope, and looks what is left: of fibers, and of what the probe of `begin` sees. On a fiber
 * of its own, so that its children have ended when it has.
 */
export const expectNoLeaks = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  { within = "1 second" }: Options,
  begin: () => Probe
): Effect.Effect<A, E, Exclude<R, Scope.Scope>> =>
  Effect.withFiber((caller) => {
    const fibers = new Fibers()
    const { scheduler } = caller.cache
    const watching: Scheduler.Scheduler = {
      executionMode: scheduler.executionMode,
      shouldYield: (fiber) => {
        fibers.note(fiber)
        return scheduler.shouldYield(fiber)
      },
      makeDispatcher: () => scheduler.makeDispatcher()
    }
    const context = caller.context.pipe(
      Context.add(Scheduler.Scheduler, watching),
      // Fibers that never ask would not be seen.
      Context.add(Scheduler.PreventSchedulerYield, false)
    ) as Context.Context<Exclude<R, Scope.Scope>>
    const probe = begin()
    const left = () => [
      ...fibers.unfinished.map(([number, fiber]) => `fiber ${number}, ${describe(fiber)}`),
      ...probe.left()
    ]
    const look = (exit: Exit.Exit<A, E>): Effect.Effect<A, E> =>
      Effect.flatMap(
        Effect.promise(async () => {
          // Whoever was forked last has not taken a step yet, and is not seen before.
          await host.turn()
          await host.until(() => left().length === 0, Duration.toMillis(Duration.fromInputUnsafe(within)))
          return left()
        }),
        (left) => {
          if (left.length === 0) return exit
          const found = Cause.die(new LeaksFound(left))
          return Effect.failCause(Exit.isFailure(exit) ? Cause.combine(exit.cause, found) : found)
        }
      )
    const run = Effect.callback<A, E>((resume) => {
      const fiber = probe.in(() => Effect.runForkWith(context)(Effect.scoped(effect)))
      fiber.addObserver((exit) => resume(look(exit)))
      // What else it ended with is the caller's own interrupt.
      return Fiber.interrupt(fiber).pipe(
        Effect.andThen(Fiber.await(fiber)),
        Effect.flatMap(look),
        Effect.catchCause((cause) => (Cause.hasDies(cause) ? Effect.failCause(cause) : Effect.void))
      ) as Effect.Effect<void>
    })
    return Effect.ensuring(run, Effect.sync(probe.end))
  })
