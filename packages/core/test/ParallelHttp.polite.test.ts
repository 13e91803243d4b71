/**
 * How many a host bears, found out by `polite`: of hosts that get slower, that refuse, and that are fast; beside other limits, which
 * is why it is this one. Drawn with `POLITE=1`.
 */
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Random, Stream } from "effect"
import { TestClock } from "effect/testing"
import { ConcurrencyLimit, ParallelHttp, Transport } from "@fairlead/core"
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
  }).pipe(Effect.scoped)

const max = 64
const limits: Record<string, GateMap.GateOptions> = {
  "fixed 64": { limit: 64 },
  aimd: { limit: ConcurrencyLimit.aimd({ max }) },
  "aimd, 200 ms is slow": { limit: ConcurrencyLimit.aimd({ max, slow: "200 millis" }) },
  vegas: { limit: ConcurrencyLimit.vegas({ max }) },
  gradient: { limit: ConcurrencyLimit.gradient({ max }) },
  polite: ParallelHttp.polite({ max })
}

const hosts = {
  "8 at once in 100 ms": () => slowing(8, 100),
  "429 beyond 6 at once, 50 ms": () => refusing(6, 50),
  "fast, 20 ms": () => fast(20),
  "fast, 5 to 200 ms": () => Effect.flatMap(Random.next, (chance) => fast(5 + 195 * chance ** 3))
}

describe.runIf(process.env["POLITE"] === "1")("limits, side by side", () => {
  for (const [host, make] of Object.entries(hosts)) {
    for (const [name, perHost] of Object.entries(limits)) {
      it.effect(
        `${host}: ${name}`,
        () =>
          Effect.gen(function* () {
            console.log(
              host,
              "|",
              name,
              JSON.stringify(yield* measure(perHost, make(), host.startsWith("fast") ? 15 : 60))
            )
          }),
        60_000
      )
    }
  }
})

void expect
