import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Leaks, Simulation } from "@fairlead/testing"

const leaksOf = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isFailure(exit)
    ? exit.cause.reasons.flatMap((reason) =>
        Cause.isDieReason(reason) && reason.defect instanceof Leaks.LeaksFound ? reason.defect.left : []
      )
    : []

const soon = { within: "10 millis" } as const

const leaks = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.map(Effect.exit(Leaks.expectNoLeaks(effect, soon)), leaksOf)

describe("Leaks.expectNoLeaks", () => {
  it.effect("lets through what ends, fails or is interrupted, and leaves nothing", () =>
    Effect.gen(function* () {
      const tidy = Effect.andThen(Effect.forkScoped(Effect.never), Effect.forkChild(Effect.sleep("1 hour")))
      expect(yield* Leaks.expectNoLeaks(Effect.as(tidy, 1))).toBe(1)
      expect(yield* Effect.flip(tidy.pipe(Effect.andThen(Effect.fail("no")), Leaks.expectNoLeaks(soon)))).toBe("no")
      const fiber = yield* Effect.forkChild(Leaks.expectNoLeaks(Effect.andThen(tidy, Effect.never)))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      expect(yield* Fiber.await(fiber).pipe(Effect.map(leaksOf))).toEqual([])
      expect(yield* Fiber.await(fiber).pipe(Effect.map(Exit.hasInterrupts))).toBe(true)
    })
  )

  it.effect("finds an orphan, by the span and the place it stands in", () =>
    Effect.gen(function* () {
      const work = Effect.fn("Orders.work")(function* () {
        yield* Effect.never
      })
      const [one, ...others] = yield* leaks(Effect.forkDetach(work()))
      expect(one).toMatch(/^fiber 2, in "Orders.work" at .*Leaks\.test\.ts:\d+:\d+\)?$/)
      expect(others).toEqual([])
    })
  )

  it.effect("finds one that is forked at the very end, and has not taken a step", () =>
    Effect.gen(function* () {
      expect(yield* leaks(Effect.forkDetach(Effect.never))).toEqual(["fiber 2, without a span"])
    })
  )

  it.effect("finds a forgotten sleep, under TestClock", () =>
    Effect.gen(function* () {
      // The second is the one in which TestClock waits to warn.
      expect(yield* leaks(Effect.forkDetach(Effect.sleep("1 second")))).toHaveLength(2)
      yield* TestClock.adjust("1 second")
      yield* Leaks.expectNoLeaks(
        Effect.gen(function* () {
          yield* Effect.forkDetach(Effect.sleep("1 second"))
          yield* TestClock.adjust("1 second")
        })
      )
    })
  )

  it.live("finds a forgotten sleep, under the real clock, and waits for a short one", () =>
    Effect.gen(function* () {
      const slow = yield* Deferred.make<void>()
      expect(yield* leaks(Effect.forkDetach(Deferred.await(slow)))).toHaveLength(1)
      yield* Deferred.succeed(slow, undefined)
      yield* Leaks.expectNoLeaks(Effect.forkDetach(Effect.sleep("20 millis")))
    })
  )

  it.effect("finds what goes on in a scope that outlives the effect, and in one that nobody closes", () =>
    Effect.gen(function* () {
      const outer = yield* Effect.scope
      expect(yield* leaks(Effect.forkIn(Effect.never, outer))).toHaveLength(1)
      const forgotten = Scope.makeUnsafe()
      expect(yield* leaks(Effect.forkIn(Effect.never, forgotten))).toHaveLength(1)
      yield* Scope.close(forgotten, Exit.void)
    })
  )

  it.effect("says it beside what else went wrong", () =>
    Effect.gen(function* () {
      const program = Effect.andThen(Effect.forkDetach(Effect.never), Effect.fail("no"))
      const exit = yield* Effect.exit(Leaks.expectNoLeaks(program, soon))
      expect(leaksOf(exit)).toHaveLength(1)
      expect(Exit.isFailure(exit) && Cause.findErrorOption(exit.cause)).toEqual(Option.some("no"))
    })
  )

  it.effect("says what an interrupted effect has left", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Leaks.expectNoLeaks(Effect.andThen(Effect.forkDetach(Effect.never), Effect.never), soon),
        { startImmediately: true }
      )
      yield* Fiber.interrupt(fiber)
      expect(leaksOf(yield* Fiber.await(fiber))).toHaveLength(1)
    })
  )

  it.effect("says what the region waits for that a fiber is part of", () =>
    Effect.gen(function* () {
      const Region = Context.Reference<{ readonly what: string } | undefined>("@fairlead/core/Region", {
        defaultValue: () => undefined
      })
      const waiting = Effect.provideService(Effect.never, Region, { what: "gate github" })
      expect(yield* leaks(Effect.forkDetach(waiting))).toEqual([
        "fiber 2, without a span, in a region that waits for gate github"
      ])
    })
  )

  it.effect("does not mind fibers that were there before, nor those in the background", () =>
    Effect.gen(function* () {
      const Background = Context.Reference<boolean>("fairlead/Background", { defaultValue: () => false })
      const before = yield* Effect.forkChild(Effect.forever(Effect.yieldNow))
      const driver = Effect.forkDetach(Effect.never).pipe(Effect.provideService(Background, true))
      expect(yield* leaks(driver)).toEqual([])
      yield* Fiber.interrupt(before)
    })
  )

  it.effect("holds none of a hundred thousand fibers that ended", () =>
    Effect.gen(function* () {
      yield* Leaks.expectNoLeaks(
        Effect.repeat(Effect.forkChild(Effect.void, { startImmediately: true }), { times: 100_000 })
      )
    })
  )

  it.live("works inside a simulation", () =>
    Effect.gen(function* () {
      yield* Simulation.simulate(20, Leaks.expectNoLeaks(Effect.forkScoped(Effect.sleep(5))))
      const exit = yield* Effect.exit(
        Simulation.simulate(1, Leaks.expectNoLeaks(Effect.forkDetach(Effect.never), soon))
      )
      expect(Exit.isFailure(exit) && (Cause.squash(exit.cause) as Error).message).toContain("fiber 2, without a span\n")
    })
  )
})
