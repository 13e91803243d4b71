import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Semaphore } from "effect"
import { Sweep } from "@fairlead/testing"

describe("Sweep", () => {
  it.live("finds nothing wrong with acquireUseRelease, and hits many places", () =>
    Effect.gen(function* () {
      const hits = yield* Sweep.sweep({
        setup: Effect.sync(() => ({ open: 0 })),
        subject: (state) =>
          Effect.acquireUseRelease(
            Effect.sync(() => state.open++),
            () => Effect.andThen(Effect.yieldNow, Effect.sleep("1 hour")),
            () => Effect.sync(() => state.open--)
          ),
        check: (state) => expect(state.open).toBe(0)
      })
      expect(hits).toBeGreaterThan(10)
    })
  )

  it.live("finds a release that an interrupt can skip", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Sweep.sweep({
          setup: Effect.sync(() => ({ open: 0 })),
          subject: (state) =>
            Effect.sync(() => state.open++).pipe(
              Effect.andThen(Effect.void),
              Effect.andThen(Effect.sync(() => state.open--))
            ),
          check: (state) => expect(state.open).toBe(0)
        })
      )
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toBeInstanceOf(Sweep.SweepFailed)
    })
  )

  it.live("finds a hand-over that only goes wrong while the fiber is parked", () =>
    Effect.gen(function* () {
      // The permit is taken in one step and its release installed in the next.
      const naive = (semaphore: Semaphore.Semaphore) =>
        Effect.flatMap(semaphore.take(1), () => Effect.ensuring(Effect.void, semaphore.release(1)))
      const exit = yield* Effect.exit(
        Sweep.sweep({
          setup: Semaphore.make(1),
          subject: naive,
          check: (semaphore) =>
            Effect.map(semaphore.withPermitsIfAvailable(1)(Effect.void), (got) => expect(got._tag).toBe("Some"))
        })
      )
      expect(Exit.isFailure(exit)).toBe(true)
    })
  )

  it.live("gives the subject virtual time", () =>
    Effect.gen(function* () {
      const started = Date.now()
      yield* Sweep.sweep({
        setup: Effect.void,
        subject: () => Effect.sleep("1 day"),
        check: () => {}
      })
      expect(Date.now() - started).toBeLessThan(10_000)
    })
  )
})
