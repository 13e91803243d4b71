/**
 * How many a host bears, found out: of hosts that get slower with load, that refuse, and that are fast.
 */
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Random, Stream } from "effect"
import { TestClock } from "effect/testing"
import { ParallelHttp, Transport } from "@fairlead/core"
import type { GateMap } from "@fairlead/core"
import { fork } from "./gates.ts"
import { reply, scripted } from "./support/transport.ts"

/** So many at once in `millis` each, the others in a line. */
const slowing = (servers: number, millis: number) => {
  let free = servers
  const line: Array<Deferred.Deferred<void>> = []
  return Effect.gen(function* () {
    const turn = yield* Deferred.make<void>()
    if (free > 0) free--
    else {
      line.push(turn)
      yield* Deferred.await(turn)
    }
    yield* Effect.sleep(millis * (0.8 + 0.4 * (yield* Random.next)))
    const next = line.shift()
    if (next === undefined) free++
    else yield* Deferred.succeed(next, undefined)
    return reply(200)
  })
}

/** Refuses who would be one too many. */
const refusing = (most: number, millis: number) => {
  let running = 0
  return Effect.suspend(() => {
    if (running >= most) return Effect.delay(Effect.succeed(reply(429)), 5)
    running++
    return Effect.map(Effect.sleep(millis), () => {
      running--
      return reply(200)
    })
  })
}

const fast = (millis: number) => Effect.delay(Effect.succeed(reply(200)), millis)

/** For so many seconds: answers and refusals per second, the mean latency, and how many were in flight at the end. */
const measure = (perHost: GateMap.GateOptions, host: Effect.Effect<Transport.Reply>, seconds: number) =>
  Effect.gen(function* () {
    yield* TestClock.adjust(0)
    let [answers, refusals, total] = [0, 0, 0]
    const transport = scripted(() => host)
    const http = yield* ParallelHttp.make("polite", { perHost, inFlight: 64, attempts: false }).pipe(
      Effect.provideService(Transport.Transport, transport)
    )
    const run = Stream.iterate(0, (n) => n + 1).pipe(
      http.stream({ request: (n) => `http://a.test/${n}` }),
      Stream.runForEach(({ trace }) =>
        Effect.sync(() => {
          if (trace.status === 200) answers++
          else refusals++
          total += trace.millis - trace.waitedMillis
        })
      )
    )
    const fiber = yield* fork(run)
    for (let i = 0; i < 100 * seconds; i++) yield* TestClock.adjust(10)
    const inFlight = transport.open()
    yield* Fiber.interrupt(fiber)
    const of = (n: number) => Math.round(n * 10) / 10
    return {
      perSecond: of(answers / seconds),
      refusedPerSecond: of(refusals / seconds),
      millis: of(total / (answers + refusals)),
      inFlight
    }
  }).pipe(Effect.scoped, Random.withSeed("polite"))

const polite = ParallelHttp.polite({ max: 64 })

describe("a polite client", () => {
  it.effect("keeps a host busy that gets slower with load, without a line there", () =>
    Effect.gen(function* () {
      // As many at once as there may be: the same throughput, and 800 ms each.
      const crowd = yield* measure({ limit: 64 }, slowing(8, 100), 20)
      const { inFlight, millis, perSecond } = yield* measure(polite, slowing(8, 100), 20)
      expect(crowd.millis).toBeGreaterThan(600)
      expect(perSecond).toBeGreaterThan(0.9 * crowd.perSecond)
      expect(millis).toBeLessThan(150)
      expect(inFlight).toBeLessThanOrEqual(16)
    })
  )

  it.effect("heeds one that refuses what is too much for it", () =>
    Effect.gen(function* () {
      const crowd = yield* measure({ limit: 64 }, refusing(6, 50), 1)
      const { perSecond, refusedPerSecond } = yield* measure(polite, refusing(6, 50), 20)
      expect(crowd.refusedPerSecond).toBeGreaterThan(1000)
      expect(refusedPerSecond).toBeLessThan(0.1 * perSecond)
      expect(perSecond).toBeGreaterThan(0.9 * 120)
    })
  )

  it.effect(
    "and goes as fast as may be where the host bears it, though not all answers take as long",
    () =>
      Effect.gen(function* () {
        const mixed = Effect.flatMap(Random.next, (chance) => fast(5 + 195 * chance ** 3))
        const crowd = yield* measure({ limit: 64 }, mixed, 5)
        const { perSecond } = yield* measure(polite, mixed, 10)
        expect(perSecond).toBeGreaterThan(0.6 * crowd.perSecond)
      }),
    20_000
  )
})
