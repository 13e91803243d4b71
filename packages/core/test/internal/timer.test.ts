import { describe, expect, it } from "@effect/vitest"
import { vi } from "vitest"
import { Clock, Effect } from "effect"
import type { Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Simulation } from "@fairlead/testing"
import * as timer from "../../src/internal/timer.ts"

const make = Effect.withFiber((fiber) => Effect.succeed([timer.of(fiber.getRef(Clock.Clock)), fiber] as const))

/** Sets what runs `ring` at `at`. */
const set = (t: timer.Timer, fiber: Fiber.Fiber<unknown, unknown>, at: number, ring: () => unknown) => {
  const alarm = new timer.Alarm(at, ring)
  t.set(alarm, fiber)
  return alarm
}

describe("timer", () => {
  it.effect("fires in order of instants, and of setting where these are equal", () =>
    Effect.gen(function* () {
      const [t, fiber] = yield* make
      const seen: Array<string> = []
      set(t, fiber, 30, () => seen.push("30"))
      set(t, fiber, 10, () => seen.push("10a"))
      set(t, fiber, 20, () => seen.push("20"))
      set(t, fiber, 10, () => seen.push("10b"))
      yield* TestClock.adjust(9)
      expect(seen).toEqual([])
      yield* TestClock.adjust(1)
      expect(seen).toEqual(["10a", "10b"])
      yield* TestClock.adjust(100)
      expect(seen).toEqual(["10a", "10b", "20", "30"])
      expect(t.size).toBe(0)
    })
  )

  it.effect("really deletes what is taken back", () =>
    Effect.gen(function* () {
      const [t, fiber] = yield* make
      const seen: Array<number> = []
      const entries = Array.from({ length: 1000 }, (_, i) => set(t, fiber, (i * 7919) % 1000, () => seen.push(i)))
      for (let i = 0; i < 1000; i += 2) t.clear(entries[i]!, fiber)
      expect(t.size).toBe(500)
      for (let i = 0; i < 1000; i += 2) t.clear(entries[i]!, fiber)
      expect(t.size).toBe(500)
      yield* TestClock.adjust(1000)
      expect(seen.length).toBe(500)
      expect(seen.every((i) => i % 2 === 1)).toBe(true)
      const instants = seen.map((i) => (i * 7919) % 1000)
      expect(instants).toEqual(instants.toSorted((a, b) => a - b))
      expect(t.size).toBe(0)
    })
  )

  it.effect("never fires on the stack of the one who sets, even when the instant has passed", () =>
    Effect.gen(function* () {
      const [t, fiber] = yield* make
      yield* TestClock.adjust(50)
      let fired = false
      set(t, fiber, 10, () => (fired = true))
      expect(fired).toBe(false)
      yield* TestClock.adjust(0)
      expect(fired).toBe(true)
    })
  )

  it.effect("lets an entry set or taken back by one that fires have its way", () =>
    Effect.gen(function* () {
      const [t, fiber] = yield* make
      const seen: Array<string> = []
      const later = set(t, fiber, 20, () => seen.push("taken back"))
      set(t, fiber, 10, () => {
        seen.push("first")
        t.clear(later, fiber)
        set(t, fiber, 5, () => seen.push("at once"))
        set(t, fiber, 15, () => seen.push("soon"))
      })
      yield* TestClock.adjust(12)
      expect(seen).toEqual(["first", "at once"])
      yield* TestClock.adjust(12)
      expect(seen).toEqual(["first", "at once", "soon"])
      expect(t.size).toBe(0)
    })
  )

  it.live("holds no host timer when nothing waits", () =>
    Effect.gen(function* () {
      const [t, fiber] = yield* make
      const timeouts = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length
      const before = timeouts()
      for (let i = 0; i < 100; i++)
        t.clear(
          set(t, fiber, timer.now(t.clock) + 60_000, () => {}),
          fiber
        )
      yield* Effect.callback<void>((resume) => void setImmediate(() => setImmediate(() => resume(Effect.void))))
      expect(timeouts()).toBe(before)
    })
  )

  it.live("goes on though the last entry was taken back while its driver had given way", () =>
    Simulation.simulate(
      100,
      Effect.gen(function* () {
        const [t, fiber] = yield* make
        const last = set(t, fiber, 20, () => {})
        yield* Effect.callback<void>((resume) => void set(t, fiber, 10, () => resume(Effect.void)))
        yield* Effect.yieldNow
        t.clear(last, fiber)
        yield* Effect.yieldNow
        yield* Effect.callback<void>((resume) => void set(t, fiber, 30, () => resume(Effect.void)))
      })
    )
  )

  it.effect("goes on ringing when one of them throws", () =>
    Effect.gen(function* () {
      const [t, fiber] = yield* make
      const seen: Array<string> = []
      const log = vi.spyOn(console, "log").mockImplementation(() => {})
      set(t, fiber, 10, () => {
        throw new Error("an observer")
      })
      set(t, fiber, 10, () => seen.push("the next"))
      set(t, fiber, 20, () => seen.push("later"))
      yield* TestClock.adjust(10)
      yield* TestClock.adjust(10)
      expect(String(log.mock.calls)).toContain("an observer")
      log.mockRestore()
      expect(seen).toEqual(["the next", "later"])
      expect(t.size).toBe(0)
    })
  )
})
