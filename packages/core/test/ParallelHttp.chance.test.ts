/**
 * Many calls in courses made by chance, over answers, failures, silence and defects made by chance: after every step all counts agree,
 * and in the end nothing is left.
 */
import { expect, it } from "@effect/vitest"
import { Effect, Schedule, Stream } from "effect"
import type { Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Attempts, Coalesce, Gate, GateMap, ParallelHttp, RateWindow, Registry, Transport } from "@fairlead/core"
import { fork } from "./gates.ts"
import { answer, failed, flowing, scripted } from "./support/transport.ts"
import { randomOf } from "./support/upstream.ts"

const agree = (http: ParallelHttp.ParallelHttp, registry: Registry.Registry) =>
  Effect.gen(function* () {
    expect(ParallelHttp.check(yield* http.statistics)).toEqual([])
    for (const { kind, statistics } of registry.snapshot()) {
      if (kind === "gate") expect(Gate.check(statistics as Gate.Statistics)).toEqual([])
      if (kind === "gate map") expect(GateMap.check(statistics as GateMap.Statistics)).toEqual([])
      if (kind === "attempts") expect(Attempts.check(statistics as Attempts.Statistics)).toEqual([])
      if (kind === "coalesce") expect(Coalesce.check(statistics as Coalesce.Statistics)).toEqual([])
    }
  })

const course = (seed: number) => {
  const chance = randomOf(seed)
  const pick = <A>(...of: ReadonlyArray<A>): A => of[Math.floor(chance() * of.length)]!
  const url = () => `http://${pick("a", "b", "c", "d")}.test/${pick(0, 1, 2, 3)}`
  const options: ParallelHttp.Options = {
    inFlight: pick(1, 2, 5, 20),
    perHost: pick<ParallelHttp.Options["perHost"]>(
      undefined,
      1,
      { limit: 2, windows: [RateWindow.per(3, 20)] },
      ParallelHttp.polite({ max: 4 })
    ),
    attempts: pick<ParallelHttp.Options["attempts"]>(
      false,
      { backoff: Schedule.spaced(5) },
      { backoff: Schedule.spaced(3), hedge: { after: 5 } }
    ),
    coalesce: pick(true, false),
    timeout: pick(undefined, 30, 100),
    maxBytes: pick(1, 1000),
    maxHosts: pick(3, undefined),
    redirects: pick(0, 1, 10)
  }
  type End = ReturnType<Parameters<typeof scripted>[0]>
  const end = (): End =>
    Effect.delay(
      pick<End>(
        answer(200, [], "xx"),
        answer(200, [], flowing(["xx"]).body),
        answer(200, [], flowing(["x"], "reset").body),
        answer(200, [], flowing(["x"], "never").body),
        answer(302, ["Location", url()]),
        answer(404, [], flowing(["x"], "never").body),
        answer(429),
        answer(503, ["Retry-After", "1"]),
        failed("reset"),
        failed("refused", false),
        failed("headersTimeout"),
        Effect.never,
        Effect.die("a transport's bug")
      ),
      pick(0, 1, 10)
    )
  const call = (http: ParallelHttp.ParallelHttp): Effect.Effect<unknown, unknown> => {
    const one = {
      url: url(),
      method: pick("GET", "GET", "POST"),
      body: pick<ParallelHttp.Request["body"]>(undefined, "x", Transport.stream(Stream.empty))
    }
    const several = [url(), url(), url(), url()]
    const order = pick("input" as const, "completed" as const)
    const many = Stream.fromIterable(several).pipe(
      http.stream({ order, maxAhead: pick(1, 2, 4) }),
      Stream.take(pick(1, 3, 9))
    )
    return pick<Effect.Effect<unknown, unknown>>(
      http.fetch(one),
      http.fetch(one),
      Stream.runDrain(many),
      http.all(several),
      http.anySuccess(several),
      http.quorum(2, several)
    )
  }
  return Effect.gen(function* () {
    const transport = scripted(end)
    const registry = Registry.make()
    const http = yield* ParallelHttp.make("by chance", options).pipe(
      Effect.provideService(Transport.Transport, transport),
      Effect.provideService(Registry.Registry, registry)
    )
    const calls: Array<Fiber.Fiber<Exit.Exit<unknown, unknown>>> = []
    for (let step = 0; step < 100; step++) {
      const what = chance()
      if (what < 0.5) calls.push(yield* fork(Effect.exit(call(http))))
      else if (what < 0.7 && calls.length > 0) pick(...calls).interruptUnsafe()
      else yield* TestClock.adjust(pick(0, 1, 5, 20))
      yield* agree(http, registry)
    }
    // What is silent for ever is cut.
    yield* TestClock.adjust("10 seconds")
    for (const fiber of calls) fiber.interruptUnsafe()
    yield* TestClock.adjust("1 second")
    expect(calls.filter((fiber) => fiber.pollUnsafe() === undefined)).toEqual([])
    yield* agree(http, registry)
    const { completed, failed: lost, interrupted, running } = yield* http.statistics
    expect([running, transport.open()]).toEqual([0, 0])
    return [completed, lost, interrupted]
  })
}

it.effect("calls in courses made by chance agree in all counts at every step, and leave nothing", () =>
  Effect.gen(function* () {
    const sums = [0, 0, 0]
    for (let seed = 1; seed <= 60; seed++) {
      const counts = yield* Effect.scoped(course(seed))
      counts.forEach((count, i) => (sums[i]! += count))
    }
    // It was no course of failures alone.
    for (const sum of sums) expect(sum).toBeGreaterThan(100)
  })
)
