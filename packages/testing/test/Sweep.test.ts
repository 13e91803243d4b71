import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Semaphore } from "effect"
import { Sweep } from "@fairlead/testing"
import { turnstile } from "./faulty.ts"
import type { Turnstile } from "./faulty.ts"

describe("Sweep", () => {
  it.live("finds nothing wrong with acquireUseRelease, and hits many places", () =>
    Effect.gen(function* () {
      const modes = new Set<string>()
      const hits = yield* Sweep.sweep({
        setup: Effect.sync(() => ({ open: 0 })),
        subject: (state) =>
          Effect.acquireUseRelease(
            Effect.sync(() => state.open++),
            () => Effect.andThen(Effect.yieldNow, Effect.sleep("1 hour")),
            () => Effect.sync(() => state.open--)
          ),
        check: (state, _, { mode }) => {
          modes.add(mode)
          expect(state.open).toBe(0)
        }
      })
      expect(hits).toBeGreaterThan(10)
      expect([...modes]).toEqual(["running", "parked"])
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

  it.live("finds what does not end, and what is left over", () =>
    Effect.gen(function* () {
      const sweep = (subject: Effect.Effect<unknown>) =>
        Effect.map(
          Effect.exit(Sweep.sweep({ setup: Effect.void, subject: () => subject, check: () => {} })),
          (exit) => Exit.isFailure(exit) && (Cause.squash(exit.cause) as Error).message
        )
      expect(yield* sweep(Effect.forkDetach(Effect.never))).toContain("it has ended, but not all of it:")
      expect(yield* sweep(Effect.uninterruptible(Effect.never))).toContain("nothing can run and nobody sleeps")
    })
  )
})

/** Three callers from outside at a turnstile: no interrupt of one is an interrupt of another. */
const queue = (forgets: Parameters<typeof turnstile>[0]): Sweep.Options<Turnstile, unknown, never> => ({
  setup: Effect.sync(() => turnstile(forgets)),
  subject: (gate) =>
    Effect.forEach([10, 1, 5], (time) => Effect.forkDetach(gate.run(Effect.sleep(time)))).pipe(
      Effect.flatMap(Effect.forEach((fiber) => Fiber.await(fiber))),
      Effect.uninterruptible
    ),
  check: (gate) => expect(gate.free()).toBe(1)
})

describe("a program that goes wrong by itself", () => {
  it.live("is not blamed on an interrupt", () =>
    Effect.gen(function* () {
      const wrong = yield* Effect.exit(
        Sweep.sweep({
          setup: Effect.void,
          subject: () => Effect.void,
          check: () => {
            throw new Error("always")
          }
        })
      )
      const [reason] = Exit.isFailure(wrong) ? wrong.cause.reasons : []
      expect(reason?._tag === "Die" && String(reason.defect)).toBe("SweepFailed: without any interrupt: always")
    })
  )
})

describe("Sweep.pairs", () => {
  const found = (exit: Exit.Exit<unknown>) => {
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : exit
    expect(error).toBeInstanceOf(Sweep.SweepFailed)
    return (error as Sweep.SweepFailed).point
  }

  it.live("finds nothing wrong with a turnstile that hands its permit on", () =>
    Effect.gen(function* () {
      const { of, pairs } = yield* Sweep.pairs(queue(false), { limit: 2000 })
      expect(pairs).toBeGreaterThan(1000)
      expect(pairs).toBeLessThanOrEqual(2000)
      expect(of).toBeGreaterThan(5000)
    })
  )

  it.live("finds a permit that is lost by one who waits, which single points do not", () =>
    Effect.gen(function* () {
      const forgetful = queue(true)
      expect(yield* Sweep.sweep(forgetful)).toBeGreaterThan(100)
      expect(found(yield* Effect.exit(Sweep.pairs(forgetful)))).toMatchObject({ mode: "waiting" })
    })
  )

  it.live("finds a permit that is lost only when two leave, one after the other", () =>
    Effect.gen(function* () {
      const forgetful = queue("the second time")
      yield* Sweep.sweep(forgetful)
      expect(found(yield* Effect.exit(Sweep.pairs(forgetful)))).toMatchObject({ second: { mode: "waiting" } })
    })
  )

  it.live("tries every pair of a small program, and says so", () =>
    Effect.gen(function* () {
      const struck: Array<string> = []
      const { of, pairs } = yield* Sweep.pairs({
        setup: Effect.void,
        subject: () => Effect.all([Effect.yieldNow, Effect.yieldNow], { concurrency: "unbounded" }),
        check: (_, __, point) => void struck.push(JSON.stringify(point))
      })
      expect(of).toBe(pairs)
      expect(new Set(struck.filter((point) => /waiting|second/.test(point))).size).toBe(pairs)
      expect(pairs).toBeGreaterThan(100)
    })
  )

  it.live("tries no more than it may, and says of how many", () =>
    Effect.gen(function* () {
      const two = { setup: Effect.void, subject: () => Effect.all([Effect.sleep(1), Effect.sleep(2)]), check: () => {} }
      const all = yield* Sweep.pairs(two)
      const some = yield* Sweep.pairs(two, { limit: 20 })
      expect(some.pairs).toBeLessThanOrEqual(20)
      expect(some.of).toBeGreaterThan(all.of / 2)
      expect(some.of).toBeLessThan(all.of * 2)
    })
  )
})
