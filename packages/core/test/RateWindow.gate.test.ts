/**
 * What a window does to those who wait for it at a gate: simulated, with callers that saturate it and a few urgent ones.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Random } from "effect"
import { TestClock } from "effect/testing"
import { Gate, Priority, RateWindow } from "@fairlead/core"
import * as timer from "../src/internal/timer.ts"

const seconds = 200

/** Keeps a gate of 10 per second busy in the background, with about one urgent call per second; how long those waited. */
const simulate = (burst: number, shares: Gate.Options["shares"]) =>
  Effect.gen(function* () {
    const gate = yield* Gate.make("github", { windows: [RateWindow.per(10, "1 second", { burst })], shares })
    const starts: Array<number> = []
    const start = Effect.map(Clock.currentTimeMillis, (now) => void starts.push(now))
    const background = yield* Effect.forEach(Array.from({ length: 30 }), () =>
      Effect.forkChild(Effect.forever(gate.run(start)).pipe(Priority.at(7)), { startImmediately: true })
    )
    const waits: Array<number> = []
    const urgent = Effect.gen(function* () {
      const since = yield* Clock.currentTimeMillis
      yield* gate.run(start)
      waits.push((yield* Clock.currentTimeMillis) - since)
    }).pipe(Priority.at(0))
    const calls: Array<Fiber.Fiber<void, unknown>> = []
    for (let now = 0; now < seconds * 1000;) {
      const pause = Math.round(-1000 * Math.log(1 - (yield* Random.next)))
      yield* TestClock.adjust(pause)
      now += pause
      calls.push(yield* Effect.forkChild(urgent, { startImmediately: true }))
    }
    const end = yield* Clock.currentTimeMillis
    yield* Effect.forEach(calls.map(Fiber.await), (call) => Effect.andThen(TestClock.adjust("1 second"), call))
    yield* Fiber.interruptAll(background)
    const statistics = yield* gate.statistics
    expect(Gate.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting, timer.of(yield* Clock.Clock).size]).toEqual([0, 0, 0])
    const inOrder = waits.toSorted((a, b) => a - b)
    return {
      starts,
      used: starts.filter((at) => at < end).length / (end / 100),
      p99: inOrder[Math.floor(inOrder.length * 0.99)]!,
      urgent: waits.length
    }
  }).pipe(Random.withSeed("urgent"))

describe("RateWindow at a gate", () => {
  it.effect.each([
    { burst: 1, shares: "strict" as const },
    { burst: 1, shares: undefined },
    { burst: 2, shares: undefined }
  ])(
    "paced by $burst, an urgent call at a saturated window of 10 per second waits < 300 ms at p99; shares: $shares",
    (options) =>
      Effect.gen(function* () {
        const { p99, starts, urgent, used } = yield* simulate(options.burst, options.shares)
        expect(urgent).toBeGreaterThan(150)
        expect(p99).toBeLessThan(300)
        expect(used).toBeGreaterThan(0.98)
        for (const [i, at] of starts.entries()) expect((starts[i + 10] ?? Infinity) - at).toBeGreaterThanOrEqual(1000)
      })
  )

  it.effect("not paced, it waits for the next second: that is what pacing is for", () =>
    Effect.gen(function* () {
      const { p99, used } = yield* simulate(10, undefined)
      expect(p99).toBeGreaterThan(900)
      expect(used).toBeGreaterThan(0.98)
    })
  )
})
