import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Gate, RateWindow } from "@fairlead/core"
import { fork, nothingLeft, stage } from "./gates.ts"

const only = (name: string, allowance: Gate.Allowance) => (asked: string) => (asked === name ? allowance : undefined)

describe("Gate.explain", () => {
  it.effect("says who waits, where, for what and since when; in the order in which they will go", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const { began, come, endAll } = stage(gate)
      expect(yield* gate.explain).toEqual([])
      yield* come("running 1")
      yield* come("running 2")
      expect(yield* gate.explain).toEqual([])
      const plain = yield* come("plain", { tenant: "web", key: "/a" })
      yield* TestClock.adjust("250 millis")
      const urgent = yield* come("urgent", { urgency: 0 })
      yield* TestClock.adjust("50 millis")
      const common = { key: null, startsInMillis: null, notBeforeMillis: 0, tenant: "" }
      expect(yield* gate.explain).toEqual([
        { ...common, fiber: urgent.id, urgency: 0, place: 1, waitedMillis: 50, waitsFor: "one of 2 permits" },
        {
          ...common,
          fiber: plain.id,
          urgency: 3,
          tenant: "web",
          key: "/a",
          place: 2,
          waitedMillis: 300,
          waitsFor: "1 before it"
        }
      ])
      yield* endAll
      expect(began.slice(2)).toEqual(["urgent", "plain"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("is right: through levels, tenants and deadlines they go in the order it said", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { began, come, end, endAll } = stage(gate)
      yield* come("running")
      const names = new Map<number, string>()
      for (let i = 0; i < 60; i++) {
        const urgency = ([0, 1, 3, 7] as const)[(i * 7) % 4]!
        const fiber = yield* come(`${i}`, { urgency, tenant: `t${(i * i) % 3}`, cost: 1 + ((i * 5) % 4) })
        names.set(fiber.id, `${i}`)
      }
      for (let i = 0; i < 13; i++) yield* end(began[i]!)
      const said = (yield* gate.explain).map(({ fiber }) => names.get(fiber)!)
      expect(said.length).toBe(60 - 13)
      const before = began.length
      yield* endAll
      expect(began.slice(before)).toEqual(said)
      yield* nothingLeft(gate)
    })
  )

  it.effect("names the window the first waits for, a pause, and the allowance of one that is parked", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        windows: [RateWindow.per(9, "1 minute"), RateWindow.per(2, "1 second")],
        perTenant: only("t", { limit: 1 }),
        perKey: only("/k", { windows: [RateWindow.per(1, "1 hour")] })
      })
      const { come, end, endAll } = stage(gate)
      const waits = Effect.map(gate.explain, (all) => all.map(({ place, waitsFor }) => [place, waitsFor]))
      yield* come("t1", { tenant: "t" })
      yield* come("k1", { key: "/k" })
      yield* come("plain")
      yield* come("t2", { tenant: "t" })
      yield* come("k2", { key: "/k" })
      yield* come("last")
      expect(yield* waits).toEqual([
        [1, "2 per 1s"],
        [2, "1 before it"],
        [null, "the permit of tenant t"],
        [null, "1 per 1h of key /k"]
      ])
      yield* TestClock.adjust("10 seconds")
      yield* gate.tighten({ closedFor: "1 hour" }, "/x")
      yield* come("cooled", { key: "/x" })
      expect(yield* waits).toEqual([
        [null, "the permit of tenant t"],
        [null, "1 per 1h of key /k"],
        [null, "the other side, which asked for a pause of key /x"]
      ])
      yield* end("t1")
      yield* TestClock.adjust("2 hours")
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("of one that is parked behind another of its tenant it says so", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2, perTenant: only("t", { limit: 1 }) })
      const { come, end, endAll } = stage(gate)
      for (const [name, tenant] of [
        ["t1", "t"],
        ["z1", "z"],
        ["t2", "t"],
        ["t3", "t"]
      ] as const) {
        yield* come(name, { tenant })
      }
      yield* come("urgent", { tenant: "z", urgency: 0 })
      yield* end("t1")
      expect((yield* gate.explain).map(({ place, waitsFor }) => [place, waitsFor])).toEqual([
        [1, "one of 2 permits"],
        [null, "another of tenant t"]
      ])
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("says in about how long each starts, once it has seen how fast the line drains", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const calls = yield* Effect.forEach(Array(130), () => fork(gate.run(Effect.sleep("100 millis"))))
      const starts = Effect.map(gate.explain, (all) => all.map(({ startsInMillis }) => startsInMillis))
      yield* TestClock.adjust("800 millis")
      expect(new Set(yield* starts)).toEqual(new Set([null]))
      yield* TestClock.adjust("9200 millis")
      const said = yield* starts
      expect(said.length).toBe(29)
      for (const [i, millis] of said.entries())
        expect(Math.abs(millis! - (i + 1) * 100)).toBeLessThanOrEqual(20 + 2 * i)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.joinAll(calls)
      yield* nothingLeft(gate)
    })
  )

  it.effect(
    "says before when none starts, where the windows or the other side say that, and how fast it goes nobody knows",
    () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("test", {
          windows: [RateWindow.per(2, "1 minute")],
          perKey: only("/k", { windows: [RateWindow.per(1, "1 hour")] })
        })
        const { come, endAll } = stage(gate)
        const told = Effect.map(gate.explain, (all) =>
          all.map(({ notBeforeMillis, place, startsInMillis }) => [place, startsInMillis, notBeforeMillis])
        )
        yield* gate.tighten({ closedFor: "30 seconds" }, "/x")
        yield* come("k1", { key: "/k" })
        yield* come("plain")
        yield* TestClock.adjust("10 seconds")
        for (const [i, key] of [undefined, undefined, undefined, "/k", "/x"].entries()) yield* come(`${i}`, { key })
        expect(yield* told).toEqual([
          [1, null, 50_000],
          [2, null, 50_000],
          [3, null, 110_000],
          [null, null, 3_590_000],
          [null, null, 20_000]
        ])
        yield* TestClock.adjust("2 hours")
        yield* endAll
        yield* nothingLeft(gate)
      })
  )

  it.effect("of one that nothing keeps out any more it blames nobody", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(1, "1 second")] })
      // Wakes in the same moment as the gate, and before it.
      const asked = yield* fork(Effect.delay(gate.explain, "1 second"))
      yield* gate.run(Effect.void)
      const next = yield* fork(gate.run(Effect.void))
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(asked)).map(({ waitsFor }) => waitsFor)).toEqual(["nothing but its turn"])
      yield* Fiber.join(next)
      yield* TestClock.adjust("2 seconds")
      yield* nothingLeft(gate)
    })
  )

  it.effect("with windows no earlier than those let it", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(10, "1 second")] })
      for (let i = 0; i < 100; i++) yield* fork(gate.run(Effect.void))
      yield* TestClock.adjust("7500 millis")
      const said = (yield* gate.explain).map(({ startsInMillis }) => startsInMillis)
      expect(said.length).toBe(20)
      expect(said[0]).toBeGreaterThanOrEqual(100)
      for (const millis of said.slice(0, 10)) expect(millis).toBeLessThanOrEqual(1500)
      for (const millis of said.slice(10)) expect(millis).toBeGreaterThanOrEqual(1400)
      yield* TestClock.adjust("3 seconds")
      yield* nothingLeft(gate)
    })
  )
})
