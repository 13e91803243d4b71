import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"
import * as timer from "../../src/internal/timer.ts"

const make = Effect.withFiber((fiber) => Effect.succeed([timer.of(fiber.getRef(Clock.Clock)), fiber] as const))

const ring = (run: () => unknown): timer.Alarm => ({ ring: () => void run() })

describe("timer", () => {
  it.effect("fires in order of instants, and of setting where these are equal", () =>
    Effect.gen(function* () {
      const [t, fiber] = yield* make
      const seen: Array<string> = []
      t.set(
        fiber,
        30,
        ring(() => seen.push("30"))
      )
      t.set(
        fiber,
        10,
        ring(() => seen.push("10a"))
      )
      t.set(
        fiber,
        20,
        ring(() => seen.push("20"))
      )
      t.set(
        fiber,
        10,
        ring(() => seen.push("10b"))
      )
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
      const entries = Array.from({ length: 1000 }, (_, i) =>
        t.set(
          fiber,
          (i * 7919) % 1000,
          ring(() => seen.push(i))
        )
      )
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
      t.set(
        fiber,
        10,
        ring(() => (fired = true))
      )
      expect(fired).toBe(false)
      yield* TestClock.adjust(0)
      expect(fired).toBe(true)
    })
  )

  it.effect("lets an entry set or taken back by one that fires have its way", () =>
    Effect.gen(function* () {
      const [t, fiber] = yield* make
      const seen: Array<string> = []
      const later = t.set(
        fiber,
        20,
        ring(() => seen.push("taken back"))
      )
      t.set(
        fiber,
        10,
        ring(() => {
          seen.push("first")
          t.clear(later, fiber)
          t.set(
            fiber,
            5,
            ring(() => seen.push("at once"))
          )
          t.set(
            fiber,
            15,
            ring(() => seen.push("soon"))
          )
        })
      )
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
          t.set(
            fiber,
            timer.now(t.clock) + 60_000,
            ring(() => {})
          ),
          fiber
        )
      yield* Effect.callback<void>((resume) => void setImmediate(() => setImmediate(() => resume(Effect.void))))
      expect(timeouts()).toBe(before)
    })
  )
})
