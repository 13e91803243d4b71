import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, Gate, Overflow, Priority, RateWindow, Refused, Tenant } from "@fairlead/core"
import { atOnce, defect, endOf, fork, nothingLeft, reasonOf, refusal, settle, stage } from "./gates.ts"
import type { Caller } from "./gates.ts"

type Waiting = readonly [name: string, caller: Caller]

/**
 * `callers` come to a gate whose only permit is taken, one after the other. Who was refused, why, and the order in which
 * the others began.
 */
const fill = (line: Gate.Line, callers: ReadonlyArray<Waiting>) =>
  Effect.gen(function* () {
    const gate = yield* Gate.make("test", { limit: 1, line, shares: "strict" })
    const { began, come, endAll } = stage(gate)
    yield* come("running")
    const fibers = []
    for (const [name, caller] of callers) fibers.push([name, yield* come(name, caller)] as const)
    yield* settle
    const gone = fibers.flatMap(([name, fiber]) =>
      fiber.pollUnsafe() === undefined ? [] : [[name, endOf(fiber)] as const]
    )
    const { offered, refused, running, waiting } = yield* gate.statistics
    expect([offered, refused, running + waiting]).toEqual([
      callers.length + 1,
      gone.length,
      callers.length + 1 - gone.length
    ])
    yield* endAll
    yield* nothingLeft(gate)
    return { began: began.slice(1), gone: gone.map(([name, exit]) => `${name}: ${reasonOf(exit)._tag}`) }
  }).pipe(Effect.scoped)

const of = (...callers: ReadonlyArray<Waiting>) => callers

describe("Gate, bounds", () => {
  it.effect("of the whole line and of one level: in number, cost and bytes; the refusal says which", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        limit: 1,
        line: {
          maxItems: 4,
          maxCost: 10,
          maxBytes: "10 KiB",
          levels: { 7: { maxItems: 1 }, 6: { maxCost: 3 }, 5: { maxBytes: "1 KiB" } }
        }
      })
      const { come, endAll } = stage(gate)
      const refused = (caller: Caller) => Effect.map(come("no", caller), (fiber) => reasonOf(endOf(fiber)))
      yield* come("running", { cost: 100 })
      yield* come("background", { urgency: 7 })
      expect(yield* refused({ urgency: 7 })).toEqual(new Refused.QueueFull({ bound: "items", limit: 1, urgency: 7 }))
      yield* come("cheap", { urgency: 6, cost: 2 })
      expect(yield* refused({ urgency: 6, cost: 2 })).toEqual(
        new Refused.QueueFull({ bound: "cost", limit: 3, urgency: 6 })
      )
      yield* come("light", { urgency: 5, bytes: 1000 })
      expect(yield* refused({ urgency: 5, bytes: 100 })).toEqual(
        new Refused.QueueFull({ bound: "bytes", limit: 1024, urgency: 5 })
      )
      expect(yield* refused({ cost: 7 })).toEqual(new Refused.QueueFull({ bound: "cost", limit: 10 }))
      expect(yield* refused({ bytes: 9500 })).toEqual(new Refused.QueueFull({ bound: "bytes", limit: 10_240 }))
      yield* come("last", { urgency: 5 })
      expect(yield* refused({ urgency: 0 })).toEqual(new Refused.QueueFull({ bound: "items", limit: 4 }))
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("one that is larger than a bound by itself may wait alone in its level", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { levels: { 7: { maxCost: 3 } } } })
      const { come, endAll } = stage(gate)
      yield* come("running")
      const huge = yield* come("huge", { cost: 9, urgency: 7 })
      yield* come("plain", { cost: 9 })
      expect(yield* atOnce(gate, { cost: 1, urgency: 7 })).toBe("QueueFull")
      yield* endAll
      expect(endOf(huge)).toEqual(Exit.succeed("huge"))
      yield* nothingLeft(gate)
    })
  )

  it.effect("of 0 lets nobody wait, and who finds a permit free begins all the same", () =>
    Effect.gen(function* () {
      for (const overflow of Overflow.all) {
        const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 0, overflow } })
        const { come, endAll } = stage(gate)
        yield* come("running")
        expect(reasonOf(endOf(yield* come("no", { urgency: 0 })))._tag).toBe("QueueFull")
        yield* endAll
        expect(yield* atOnce(gate)).toBe("in")
        yield* nothingLeft(gate)
      }
    })
  )

  it.effect("a level that is full does not close the line for the others", () =>
    Effect.gen(function* () {
      const flood = Array.from({ length: 20 }, (_, i): Waiting => [`z${i}`, { urgency: 7 }])
      const { began, gone } = yield* fill({ maxItems: 10, levels: { 7: { maxItems: 4 } } }, [...flood, ["page", {}]])
      expect([began, gone.length]).toEqual([["page", "z0", "z1", "z2", "z3"], 16])
    })
  )
})

describe("Gate, overflow", () => {
  it.effect("reject: the newcomer is refused, however urgent it is", () =>
    Effect.gen(function* () {
      const callers = of(["a", { urgency: 7 }], ["b", { urgency: 7 }], ["urgent", { urgency: 0 }])
      expect(yield* fill({ maxItems: 2 }, callers)).toEqual({ began: ["a", "b"], gone: ["urgent: QueueFull"] })
    })
  )

  it.effect("evictLeast: out goes the last of the least urgent", () =>
    Effect.gen(function* () {
      const callers = of(
        ["z1", { urgency: 7 }],
        ["z2", { urgency: 7 }],
        ["m", {}],
        ["urgent 1", { urgency: 0 }],
        ["urgent 2", { urgency: 0 }]
      )
      const line = { maxItems: 3, overflow: "evictLeast" } as const
      expect(yield* fill(line, callers)).toEqual({
        began: ["urgent 1", "urgent 2", "m"],
        gone: ["z1: Evicted", "z2: Evicted"]
      })
    })
  )

  it.effect("evictOldest: out goes the first of the least urgent", () =>
    Effect.gen(function* () {
      const callers = of(["z1", { urgency: 7 }], ["z2", { urgency: 7 }], ["m", {}], ["z3", { urgency: 7 }])
      const line = { maxItems: 3, overflow: "evictOldest" } as const
      expect(yield* fill(line, callers)).toEqual({ began: ["m", "z2", "z3"], gone: ["z1: Evicted"] })
      const equal = of(["1", {}], ["2", {}], ["3", {}], ["4", {}], ["5", {}])
      expect(yield* fill(line, equal)).toEqual({ began: ["3", "4", "5"], gone: ["1: Evicted", "2: Evicted"] })
    })
  )

  it.effect("whoever is evicted is told: for whom, after how long, and when to come back", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: 1, line: { maxItems: 70, overflow: "evictLeast" } })
      const call = gate.run(Effect.sleep("10 millis"))
      for (let i = 0; i < 70; i++) yield* fork(call)
      yield* TestClock.adjust("690 millis")
      const { come, end } = stage(gate)
      // 68 of weight 64 are less than two of weight 1.
      for (let i = 0; i < 68; i++) yield* fork(call.pipe(Priority.at(0)))
      yield* come("kept", { urgency: 7 })
      const evicted = yield* come("evicted", { urgency: 7 })
      yield* TestClock.adjust("5 millis")
      yield* come("urgent", { urgency: 1 })
      yield* settle
      const refused = refusal(endOf(evicted))
      expect(refused.reason).toEqual(new Refused.Evicted({ by: 1 }))
      expect([refused.gate, Duration.toMillis(refused.waited)]).toEqual(["api", 5])
      expect(refused.message).toBe("api refused: Evicted after 5ms")
      // A hundred a second, some seventy before it.
      const retryAfter = Duration.toMillis(Option.getOrThrow(refused.retryAfter))
      expect(retryAfter).toBeGreaterThan(600)
      expect(retryAfter).toBeLessThan(800)
      yield* TestClock.adjust("20 millis")
      yield* end("urgent")
      yield* TestClock.adjust("2 seconds")
      yield* end("kept")
      yield* TestClock.adjust("2 seconds")
      yield* nothingLeft(gate)
    })
  )

  it.effect("a full line is divided as the shares are: a flood makes room until it holds no more than its part", () =>
    Effect.gen(function* () {
      const line = { maxItems: 8, overflow: "evictLeast" } as const
      const gate = yield* Gate.make("test", { limit: 1, line, shares: { 0: 3 } })
      const { come, endAll } = stage(gate)
      const places = Effect.map(gate.statistics, ({ waitingByUrgency }) => [waitingByUrgency[0], waitingByUrgency[7]])
      yield* come("running")
      for (let i = 0; i < 8; i++) yield* come(`urgent ${i}`, { urgency: 0 })
      expect(yield* places).toEqual([8, 0])
      for (const left of [7, 6, 6]) {
        yield* come("background", { urgency: 7 })
        expect(yield* places).toEqual([left, 8 - left])
      }
      yield* come("urgent", { urgency: 0 })
      expect(yield* places).toEqual([6, 2])
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("who puts out the one that held it up begins, and is counted, as any other", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        windows: [RateWindow.per(2, "1 second")],
        line: { maxItems: 1, overflow: "evictLeast" }
      })
      yield* gate.run(Effect.void)
      const large = yield* fork(gate.run(Effect.void, { cost: 2 }))
      yield* TestClock.adjust(0)
      yield* gate.run(Effect.void).pipe(Priority.at(0))
      yield* settle
      expect(refusal(endOf(large)).reason).toEqual(new Refused.Evicted({ by: 0 }))
      const { completed, interrupted, windows } = yield* gate.statistics
      expect([completed, interrupted, windows[0]!.used]).toEqual([2, 0, 2])
      yield* nothingLeft(gate)
    })
  )

  it.effect("nobody is put out for one who would go later: then the newcomer is refused", () =>
    Effect.gen(function* () {
      for (const overflow of ["evictLeast", "evictOldest"] as const) {
        const callers = of(["a", { urgency: 2 }], ["b", { urgency: 2 }], ["less", { urgency: 3 }])
        expect(yield* fill({ maxItems: 2, overflow }, callers)).toEqual({
          began: ["a", "b"],
          gone: ["less: QueueFull"]
        })
      }
    })
  )

  it.effect(
    "evictLeast, equals: who came first stays; the tenant with the most waiting makes room for the others",
    () =>
      Effect.gen(function* () {
        const line = { maxItems: 4, overflow: "evictLeast" } as const
        const same = of(["1", {}], ["2", {}], ["3", {}], ["4", {}], ["5", {}])
        expect((yield* fill(line, same)).gone).toEqual(["5: QueueFull"])
        const flood = { tenant: "flood" }
        const other = { tenant: "other" }
        const callers = of(
          ["f1", flood],
          ["f2", flood],
          ["f3", flood],
          ["f4", flood],
          ["o1", other],
          ["o2", other],
          ["o3", other]
        )
        // Two and two: it is fair, and goes no further.
        expect(yield* fill(line, callers)).toEqual({
          began: ["f1", "o1", "f2", "o2"],
          gone: ["f3: Evicted", "f4: Evicted", "o3: QueueFull"]
        })
      })
  )

  it.effect("evictLeast, one tenant: a newcomer with an earlier deadline takes the place of the last", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 2, overflow: "evictLeast" } })
      const { body, come, endAll } = stage(gate)
      const within = (name: string, seconds: number) =>
        fork(gate.run(body(name)).pipe(Deadline.within(`${seconds} seconds`)))
      yield* come("running")
      yield* within("soon", 10)
      const plain = yield* come("plain")
      const sooner = yield* within("sooner", 5)
      yield* settle
      expect(reasonOf(endOf(plain))).toEqual(new Refused.Evicted({ by: 3 }))
      const later = yield* within("later", 60)
      yield* settle
      expect(reasonOf(endOf(later))._tag).toBe("QueueFull")
      yield* endAll
      expect(endOf(sooner)).toEqual(Exit.succeed("sooner"))
      yield* nothingLeft(gate)
    })
  )

  it.effect("as many go as it takes to make room, and none where that would not do", () =>
    Effect.gen(function* () {
      const line = { maxCost: 6, overflow: "evictLeast" } as const
      const cheap = (name: string, urgency: 1 | 7): Waiting => [name, { cost: 2, urgency }]
      const callers = of(cheap("a", 7), cheap("b", 7), cheap("c", 7), ["big", { cost: 4 }])
      expect(yield* fill(line, callers)).toEqual({ began: ["big", "a"], gone: ["b: Evicted", "c: Evicted"] })
      const kept = of(cheap("a", 1), cheap("b", 7), cheap("c", 7), ["big", { cost: 5 }])
      expect(yield* fill(line, kept)).toEqual({ began: ["a", "b", "c"], gone: ["big: QueueFull"] })
    })
  )

  it.effect("a level's own bound makes room in that level alone", () =>
    Effect.gen(function* () {
      const line = { levels: { 3: { maxItems: 2 } }, overflow: "evictOldest" } as const
      const callers = of(["z", { urgency: 7 }], ["1", {}], ["2", {}], ["3", {}])
      expect(yield* fill(line, callers)).toEqual({ began: ["2", "3", "z"], gone: ["1: Evicted"] })
    })
  )

  it.effect("with the one that waited for its window out, whoever fits begins at once", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        windows: [RateWindow.per(5, "1 hour")],
        line: { maxItems: 2, overflow: "evictOldest" }
      })
      yield* gate.run(Effect.void, { cost: 3 })
      const big = yield* fork(gate.run(Effect.succeed("big"), { cost: 5 }))
      const small = yield* Effect.forEach([1, 2], () => fork(gate.run(Effect.succeed("small"))))
      yield* settle
      expect(reasonOf(endOf(big))._tag).toBe("Evicted")
      expect(small.map(endOf)).toEqual([Exit.succeed("small"), Exit.succeed("small")])
      yield* nothingLeft(gate)
    })
  )

  it.effect("those that are parked take half of the line at most; whoever of them comes then is told", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        limit: 2,
        line: { maxItems: 4 },
        perTenant: (tenant) => (tenant === "flood" ? { limit: 1 } : undefined)
      })
      const { come, endAll } = stage(gate)
      for (let i = 0; i < 3; i++) yield* come(`f${i}`, { tenant: "flood", urgency: 7 })
      const more = yield* come("more", { tenant: "flood", urgency: 0 })
      yield* settle
      expect(reasonOf(endOf(more))).toEqual(new Refused.RateLimited({ window: "the permit" }))
      yield* come("running")
      const others = [yield* come("urgent", { urgency: 0 }), yield* come("background", { urgency: 7 })]
      expect(yield* gate.statistics).toMatchObject({ parked: 2, waiting: 4 })
      yield* endAll
      expect(others.map(endOf)).toEqual([Exit.succeed("urgent"), Exit.succeed("background")])
      yield* nothingLeft(gate)
    })
  )

  it.effect("an evicted caller's interrupt that comes with it is no trouble", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 1, overflow: "evictOldest" } })
      const { come, endAll } = stage(gate)
      yield* come("running")
      const out = yield* come("out")
      const next = yield* come("next")
      out.interruptUnsafe()
      yield* settle
      expect(Exit.isFailure(endOf(out))).toBe(true)
      yield* endAll
      expect(yield* Fiber.join(next)).toBe("next")
      const { interrupted, refused } = yield* gate.statistics
      expect([interrupted, refused]).toEqual([0, 1])
      yield* nothingLeft(gate)
    })
  )

  it.effect("misuse names the expectation and the value", () =>
    Effect.gen(function* () {
      const make = (line: Gate.Line) => defect(() => Gate.make("x", { limit: 1, line }))
      expect(yield* make({ overflow: "suspend" as Overflow.Overflow })).toBe(
        'TypeError: Expected overflow to be reject, evictLeast, evictOldest, got "suspend"'
      )
      expect(yield* make({ maxCost: -1 })).toBe("RangeError: Expected maxCost of at least 0, got -1")
      expect(yield* make({ maxItems: NaN })).toBe("RangeError: Expected maxItems of at least 0, got NaN")
      expect(yield* make({ levels: { 3: { maxItems: -2 } } })).toBe(
        "RangeError: Expected maxItems of at least 0, got -2"
      )
      expect(yield* make({ levels: { 9: {} } as Gate.Line["levels"] })).toBe(
        "RangeError: Expected bounds of urgencies from 0 to 7, got one of 9"
      )
      expect(yield* make({ maxBytes: "much" as never })).not.toBe("no defect")
      expect(yield* make({ maxWait: "soon" as never })).toContain("Expected a duration")
      const gate = yield* Gate.make("x", { limit: 1 })
      expect(yield* defect(() => gate.run(Effect.void, { bytes: -1 }).pipe(Tenant.as("a")))).toBe(
        "RangeError: Expected bytes of at least 0, got -1"
      )
      yield* nothingLeft(gate)
    })
  )
})
