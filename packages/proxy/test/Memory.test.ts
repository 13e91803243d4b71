import { describe, expect, it } from "@effect/vitest"
import { ByteBudget, Registry, Transport } from "@fairlead/core"
import type { Gate } from "@fairlead/core"
import { Sweep } from "@fairlead/testing"
import { Effect, Fiber } from "effect"
import * as proxied from "./proxied.ts"

const kib = 1024

const gateOf = Effect.map(
  Registry.snapshot,
  (all) => all.find(({ kind }) => kind === "gate")!.statistics as Gate.Statistics
)

const inRegistry = Effect.provideService(Registry.Registry, Registry.make())

describe("what a call that waits holds", () => {
  it.effect.each([
    ["nothing but its head", Transport.empty, [], 0],
    ["a content in memory", Transport.text("x".repeat(300 * kib)), [], 300 * kib],
    ["one that comes, as far as it is read ahead", proxied.streaming(["x"], 300 * kib), [], 128 * kib],
    ["one that is shorter than that", proxied.streaming(["x"], 7 * kib), [], 7 * kib],
    ["one whose length is not known", proxied.streaming(["x"]), [], 128 * kib]
  ] as const)("%s", ([, body, headers, bytes]) =>
    Effect.gen(function* () {
      const upstream = proxied.upstream()
      const { ask } = yield* proxied.make("concurrency: 1", upstream.exchange)
      const fibers = [yield* Effect.forkChild(ask(), { startImmediately: true })]
      fibers.push(yield* Effect.forkChild(ask({ method: "POST", body, headers }), { startImmediately: true }))
      const { waiting, waitingBytes } = yield* gateOf
      expect(waiting).toBe(1)
      expect(waitingBytes - bytes).toBeGreaterThan(10)
      expect(waitingBytes - bytes).toBeLessThan(100)
      for (const i of [0, 1]) {
        yield* Effect.yieldNow
        yield* upstream.exchanges[i]!.reply({})
      }
      yield* Fiber.joinAll(fibers)
    }).pipe(inRegistry)
  )
})

describe("a budget, wherever an interrupt lands", () => {
  const setup = Effect.gen(function* () {
    const budget = yield* ByteBudget.make("all", { max: 1600 })
    let nth = 0
    const exchange: Transport.Transport["exchange"] = () =>
      Effect.gen(function* () {
        yield* Effect.sleep(1)
        const body = proxied.streaming(["x".repeat(200), "y".repeat(200)])
        return { status: ++nth === 1 ? 503 : 200, headers: [], body }
      })
    const { ask } = yield* Effect.provideService(
      proxied.make(
        "concurrency: 1, coalesce: true, retry: { attempts: 2, budget: 100% }, queue: { bytes: 10 KiB }",
        exchange
      ),
      ByteBudget.ByteBudget,
      budget
    )
    return { budget, ask }
  })

  it.live("has all of its bytes back", () =>
    Effect.gen(function* () {
      let most = 0
      const places = yield* Sweep.sweep({
        setup,
        subject: ({ ask }) =>
          Effect.all(
            [
              ask({ method: "PUT", body: proxied.streaming(["a".repeat(300)], 300) }),
              ask({ method: "PUT", body: proxied.streaming(["b".repeat(300)], 300) }),
              ask({ target: "/up/same" }),
              ask({ target: "/up/same" })
            ],
            { concurrency: "unbounded" }
          ),
        check: ({ budget }) =>
          Effect.map(budget.statistics, (statistics) => {
            expect(ByteBudget.check(statistics)).toEqual([])
            expect(statistics.usedBytes).toBe(0)
            most = Math.max(most, statistics.peakBytes)
          })
      })
      expect(places).toBeGreaterThan(100)
      // Two contents and an answer.
      expect(most).toBeGreaterThan(600)
    }).pipe(inRegistry)
  )
})
