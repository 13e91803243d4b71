/**
 * Calls with an interrupt at every place where one can land, for pairs of places, and in interleavings made by chance: each comes
 * to an end, its permits and its connection are free then, and all counts agree.
 */
import { describe, expect } from "@effect/vitest"
import { Clock, Effect, Schedule, Stream } from "effect"
import { CircuitBreaker } from "@fairlead/core/http"
import { Attempts, Coalesce, Gate, GateMap, ParallelHttp, Registry, Transport } from "@fairlead/core"
import * as timer from "../src/internal/timer.ts"
import { answer, failed, flowing, scripted } from "./support/transport.ts"
import type { Scripted } from "./support/transport.ts"
import { all, interruptedAnywhere } from "./sweeps.ts"

interface Setup {
  readonly http: ParallelHttp.ParallelHttp
  readonly transport: Scripted
  readonly registry: Registry.Registry
}

const url = (path: string, host = "a.test") => `http://${host}/${path}`

const make = (options: ParallelHttp.Options, guarded = false) =>
  Effect.gen(function* () {
    const seen = new Map<string, number>()
    const transport = scripted(({ target }) => {
      const times = (seen.get(target) ?? 0) + 1
      seen.set(target, times)
      if (target.startsWith("/again") && times === 1) return Effect.delay(answer(503), 2)
      if (target === "/reset" && times === 1) return answer(200, [], flowing(["x"], "reset").body)
      if (target === "/moved") return answer(302, ["Location", "http://b.test/to"])
      if (target === "/no") return Effect.delay(answer(404, [], flowing(["no"]).body), 1)
      if (target === "/gone") return failed("refused", false)
      if (target === "/large") return Effect.delay(failed("tooLarge"), 1)
      return Effect.delay(answer(200, [], flowing(["a", "b"]).body), 3)
    })
    const registry = Registry.make()
    const breaker = guarded
      ? yield* Effect.provideService(
          CircuitBreaker.make("circuits", { failures: 1, open: 3 }),
          Registry.Registry,
          registry
        )
      : undefined
    const attempts = { backoff: Schedule.spaced(4) }
    const http = yield* ParallelHttp.make("swept", { attempts, breaker, ...options }).pipe(
      Effect.provideService(Transport.Transport, transport),
      Effect.provideService(Registry.Registry, registry)
    )
    return { http, transport, registry } as Setup
  })

const nothingLeft = ({ http, registry, transport }: Setup) =>
  Effect.gen(function* () {
    const statistics = yield* http.statistics
    expect(ParallelHttp.check(statistics)).toEqual([])
    expect([statistics.running, transport.open()]).toEqual([0, 0])
    for (const { kind, statistics } of registry.snapshot()) {
      if (kind === "http" || kind === "meant") continue
      if (kind === "breaker") {
        expect(CircuitBreaker.check(statistics as CircuitBreaker.Statistics)).toEqual([])
        expect(statistics).toMatchObject({ running: 0 })
        continue
      }
      expect(statistics).toMatchObject(kind === "coalesce" ? { waiting: 0, runs: 0 } : { running: 0, waiting: 0 })
      if (kind === "gate") expect(Gate.check(statistics as Gate.Statistics)).toEqual([])
      if (kind === "gate map") expect(GateMap.check(statistics as GateMap.Statistics)).toEqual([])
      if (kind === "attempts") expect(Attempts.check(statistics as Attempts.Statistics)).toEqual([])
      if (kind === "coalesce") expect(Coalesce.check(statistics as Coalesce.Statistics)).toEqual([])
    }
    // A gate that nobody uses is kept for a while.
    expect(timer.of(yield* Clock.Clock).size).toBeLessThanOrEqual(1)
  })

const source = (...paths: ReadonlyArray<string>) => Stream.fromIterable(paths.map((path) => url(path)))

const scenes: Record<
  string,
  {
    readonly options?: ParallelHttp.Options
    readonly guarded?: boolean
    readonly subject: (setup: Setup) => Effect.Effect<unknown, unknown>
    readonly places: number
  }
> = {
  "calls that are tried again, and redirected, through narrow gates": {
    options: { perHost: 1 },
    subject: ({ http }) => all(http.fetch(url("again")), http.fetch(url("moved"))),
    places: 30
  },
  "calls that break off, are rejected, and never arrive": {
    options: { inFlight: 1 },
    subject: ({ http }) =>
      all(http.fetch(url("reset", "b.test")), http.fetch(url("no")), http.fetch(url("gone", "c.test"))),
    places: 30
  },
  "calls with a deadline, and hedges": {
    options: { timeout: 9, attempts: { backoff: Schedule.spaced(2), hedge: { after: 1, ratio: 1 } } },
    subject: ({ http }) => all(http.fetch(url("again")), http.fetch(url("slow")), http.fetch(url("moved"))),
    places: 50
  },
  "calls through a circuit that opens, and is asked by one that says nothing": {
    guarded: true,
    options: { inFlight: 1 },
    subject: ({ http }) =>
      all(http.fetch(url("again")), Effect.delay(http.fetch(url("large")), 5), http.fetch(url("no"))),
    places: 25
  },
  "a stream whose source fails": {
    options: { inFlight: 1 },
    subject: ({ http }) =>
      Stream.runDrain(
        http.stream({ order: "input", maxAhead: 3 })(Stream.concat(source("again", "x"), Stream.fail("no more")))
      ),
    places: 15
  },
  "identical calls": {
    options: { coalesce: true, inFlight: 1 },
    subject: ({ http }) => all(http.fetch(url("same")), http.fetch(url("same")), http.fetch(url("again"))),
    places: 25
  },
  "a stream that is ended early": {
    options: { inFlight: 2, perHost: 1 },
    subject: ({ http }) => Stream.runDrain(Stream.take(http.stream()(source("x", "no", "y")), 2)),
    places: 20
  },
  "a stream in order": {
    options: { inFlight: 2 },
    subject: ({ http }) => Stream.runDrain(http.stream({ order: "input", maxAhead: 2 })(source("again", "x", "y"))),
    places: 25
  },
  "the first of several": {
    options: { inFlight: 2 },
    subject: ({ http }) => http.anySuccess(["gone", "x", "y"].map((path) => url(path))),
    places: 30
  }
}

describe("ParallelHttp, interrupted anywhere", () => {
  for (const [name, { guarded, options = {}, places, subject }] of Object.entries(scenes)) {
    interruptedAnywhere(
      name,
      { setup: make(options, guarded), subject, check: nothingLeft },
      { places, interleavings: 20, pairs: 50 }
    )
  }
})
