import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { Leaks } from "@fairlead/testing"
import { Duration, Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Entry } from "../../src/fetch/Entry.ts"
import * as Item from "../../src/fetch/Item.ts"
import * as Run from "../../src/fetch/Run.ts"

const options: Run.Options = {
  concurrency: 3,
  perHost: undefined,
  rate: undefined,
  retries: 0,
  redirects: 0,
  timeout: Duration.minutes(5),
  maxBytes: 1_000,
  order: "completed",
  body: "auto",
  include: false,
  failFast: false
}

/** A run over URLs of numbers, to a transport that answers `/n` with status n, after a second. */
const setUp = (statuses: Iterable<number>, more: Partial<Run.Options> = {}, weight?: number) =>
  Effect.gen(function* () {
    let pulled = 0
    const items = Stream.fromIterable(statuses).pipe(
      Stream.rechunk(1),
      Stream.map((status) => {
        const at = { place: `line ${pulled + 1}`, index: pulled++, weight: 10 }
        return Item.parse(status === 0 ? "nonsense" : `http://a.test/${status}`, at, { method: undefined, headers: [] })
      })
    )
    const transport: Transport.Transport = {
      exchange: (_, { target }) =>
        Effect.delay(
          Effect.sync(() => ({ status: Number(target.slice(1)), headers: [], body: Transport.text("hi") })),
          "1 second"
        )
    }
    const run = yield* Effect.provideService(
      Run.make<never>({ items, weight }, undefined, { ...options, ...more }),
      Transport.Transport,
      transport
    )
    const lines: Array<Entry> = []
    const write = (line: string) => Effect.sync(() => lines.push(JSON.parse(line) as Entry) < 1_000)
    return { run, lines, write, pulled: () => pulled }
  })

/** Lets time pass, with all that is to happen before and after: to pull takes turns, not time. */
const pass = (millis: number) =>
  Effect.gen(function* () {
    const settle = Effect.repeat(TestClock.adjust(0), { times: 300 })
    yield* settle
    yield* TestClock.adjust(millis)
    yield* settle
  })

const forever = function* (status: number) {
  for (;;) yield status
}

describe("a run", () => {
  it.effect("takes from its input as calls end, and no more", () =>
    Effect.gen(function* () {
      const { lines, pulled, run, write } = yield* setUp(forever(200))
      const fiber = yield* Effect.forkChild(run.run(write))
      yield* pass(900)
      expect(pulled()).toBeLessThan(3 + 4)
      expect(run.state()).toMatchObject({ done: 0, inFlight: 3, part: undefined, left: undefined })
      yield* pass(100)
      for (let second = 1; second < 10; second++) yield* pass(1_000)
      expect(lines.length).toBe(30)
      expect(pulled()).toBeLessThan(33 + 4)
      yield* Fiber.interrupt(fiber)
      expect(run.tally.left).toBe(3)
      expect(run.state().inFlight).toBe(0)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("has nothing left when all has ended, and counts each", () =>
    Effect.gen(function* () {
      const { lines, run, write } = yield* setUp([200, 404, 0, 200, 200], {}, 50)
      const fiber = yield* Effect.forkChild(run.run(write))
      yield* pass(1_000)
      yield* pass(500)
      expect(run.state()).toMatchObject({ done: 4, failed: 2, inFlight: 1, part: 0.8, left: 375 })
      yield* pass(1_000)
      yield* Fiber.join(fiber)
      expect(run.rest()).toBeUndefined()
      expect(lines.length).toBe(5)
      expect(run.tally).toMatchObject({ ok: 3, failed: 2, bytes: 8, weight: 50 })
      expect(run.tally.latencies.total).toBe(4)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("that is stopped ends what has begun, and says how much is left", () =>
    Effect.gen(function* () {
      const { lines, run, write } = yield* setUp(
        Array.from({ length: 10 }, () => 200),
        {},
        100
      )
      const fiber = yield* Effect.forkChild(run.run(write))
      yield* pass(500)
      yield* run.stop
      yield* pass(500)
      yield* Fiber.join(fiber)
      expect(lines.length).toBe(3)
      expect(run.rest()).toEqual({ part: 0.7 })
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("takes nothing more after a failure, if it shall not", () =>
    Effect.gen(function* () {
      const { lines, run, write } = yield* setUp(
        [200, 200, 200, 200, 200, 200, 500, ...Array.from({ length: 30 }, () => 200)],
        {
          failFast: true
        }
      )
      const fiber = yield* Effect.forkChild(run.run(write))
      for (let second = 0; second < 4; second++) yield* pass(1_000)
      yield* Fiber.join(fiber)
      expect(lines.length).toBeGreaterThanOrEqual(7)
      expect(lines.length).toBeLessThan(12)
      expect(run.tally.failed).toBe(1)
      expect(run.rest()).toEqual({ part: undefined })
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("that nobody reads any more cuts what is in flight", () =>
    Effect.gen(function* () {
      const { pulled, run } = yield* setUp(forever(200))
      const fiber = yield* Effect.forkChild(run.run(() => Effect.succeed(false)))
      yield* pass(1_000)
      yield* Fiber.join(fiber)
      expect(run.isAbandoned()).toBe(true)
      expect(pulled()).toBeLessThan(10)
      expect(run.state().inFlight).toBe(0)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("passes by who waits for his host, and holds no more of the input than it says", () =>
    Effect.gen(function* () {
      const { pulled, run, write } = yield* setUp(forever(200), { perHost: 1 })
      const fiber = yield* Effect.forkChild(run.run(write))
      yield* pass(500)
      expect(run.state()).toMatchObject({ inFlight: 1, waiting: 59 })
      expect(pulled()).toBeLessThan(60 + 4)
      yield* run.stop
      yield* pass(500)
      yield* Fiber.join(fiber)
      expect(run.tally).toMatchObject({ ok: 1, left: 59 })
    }).pipe(Leaks.expectNoLeaks())
  )
})
