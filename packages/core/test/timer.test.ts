import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Clock } from "effect"
import * as fc from "fast-check"
import { TestClock } from "effect/testing"
import * as timer from "../src/internal/timer.ts"

/** The test's clock, with a count of who sleeps on it. */
const watched = Effect.map(Effect.clockWith(Effect.succeed), (clock) => {
  const state = { asleep: 0 }
  const sleep: Clock.Clock["sleep"] = (duration) =>
    Effect.suspend(() => {
      state.asleep++
      return Effect.ensuring(
        clock.sleep(duration),
        Effect.sync(() => state.asleep--)
      )
    })
  return { state, timer: timer.of({ ...clock, sleep }) }
})

const thisFiber = Effect.withFiber((fiber) => Effect.succeed(fiber))

/** Lets everything run that can. */
const settle = Effect.andThen(Effect.yieldNow, TestClock.adjust(0))

describe("the timer", () => {
  it.effect("fires what was not taken back: by instant, and for one instant in the order of setting", () =>
    Effect.gen(function* () {
      const fiber = yield* thisFiber
      const plan = fc.array(fc.record({ at: fc.integer({ min: 1, max: 20 }), clear: fc.boolean() }), { maxLength: 60 })
      for (const entries of fc.sample(plan, { numRuns: 200, seed: 1 })) {
        const { timer } = yield* watched
        const start = yield* Effect.clockWith((clock) => Effect.succeed(Number(clock.monotonicTimeNanosUnsafe()) / 1e6))
        const fired: Array<number> = []
        const set = entries.map(({ at }, i) => timer.set(fiber, start + at, () => fired.push(i)))
        const kept = entries.flatMap((entry, i) => {
          if (entry.clear) timer.clear(set[i]!, fiber)
          return entry.clear ? [] : [{ i, at: entry.at }]
        })
        yield* TestClock.adjust(20)
        expect(fired).toEqual(kept.toSorted((a, b) => a.at - b.at || a.i - b.i).map(({ i }) => i))
        expect(timer.size).toBe(0)
      }
    })
  )

  it.effect("sleeps to the earliest, also to one that is set later, and not when nothing waits", () =>
    Effect.gen(function* () {
      const fiber = yield* thisFiber
      const { state, timer } = yield* watched
      const fired: Array<string> = []
      const late = timer.set(fiber, 1000, () => fired.push("late"))
      yield* settle
      const soon = timer.set(fiber, 10, () => fired.push("soon"))
      yield* settle
      expect(state.asleep).toBe(1)
      yield* TestClock.adjust(10)
      expect([fired, state.asleep]).toEqual([["soon"], 1])
      // Taken back after it fired, it stays what it was.
      timer.clear(soon, fiber)
      timer.clear(late, fiber)
      yield* settle
      expect(state.asleep).toBe(0)
      timer.set(fiber, 20, () => fired.push("again"))
      yield* TestClock.adjust(10)
      expect([fired, state.asleep, timer.size]).toEqual([["soon", "again"], 0, 0])
      yield* TestClock.adjust(2000)
      expect(fired).toEqual(["soon", "again"])
    })
  )
})
