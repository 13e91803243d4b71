import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, Gate, Priority, RateWindow, Tenant } from "@fairlead/core"
import { Frame, usual } from "../src/internal/shares.ts"
import { defect, fork, nothingLeft, settle, stage } from "./gates.ts"
import type { Caller } from "./gates.ts"

/** All of `callers` wait behind one that runs; the order in which they begin. */
const order = (options: Gate.Options, callers: ReadonlyArray<readonly [name: string, caller: Caller]>) =>
  Effect.gen(function* () {
    const gate = yield* Gate.make("test", { limit: 1, ...options })
    const { began, come, endAll } = stage(gate)
    yield* come("first")
    for (const [name, caller] of callers) yield* come(name, caller)
    yield* endAll
    yield* nothingLeft(gate)
    return began.slice(1)
  }).pipe(Effect.scoped)

const times = <A>(count: number, make: (index: number) => A): ReadonlyArray<A> =>
  Array.from({ length: count }, (_, i) => make(i))

const flood = (name: string, caller: Caller, count: number) =>
  times(count, (i): readonly [string, Caller] => [`${name}${i}`, caller])

const count = (names: ReadonlyArray<string>, start: string) => names.filter((name) => name.startsWith(start)).length

describe("Gate, shares", () => {
  it.effect("levels that wait get their turns by weight, spread and not in blocks", () =>
    Effect.gen(function* () {
      const callers = [...flood("a", { urgency: 1 }, 12), ...flood("z", { urgency: 7 }, 12)]
      const began = yield* order({ shares: { 1: 3 } }, callers)
      for (const start of [0, 4, 8]) expect(count(began.slice(start, start + 4), "a")).toBe(3)
      // What one level does not use is the other's.
      expect(count(began.slice(16), "z")).toBe(8)
    })
  )

  it.effect("are 64 : 32 : 16 : 8 : 4 : 2 : 1 : 1 unless said", () =>
    Effect.gen(function* () {
      const all = times(8, (u) => flood(`${u}-`, { urgency: u as Priority.Urgency }, 64)).flat()
      const began = (yield* order({}, all)).slice(0, 128)
      expect(times(8, (u) => count(began, `${u}-`))).toEqual([64, 32, 16, 8, 4, 2, 1, 1])
    })
  )

  it.effect("an urgent flood does not starve the background, which has its turn when its bound says", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const turns: Array<string> = []
      let goesOn = true
      // As soon as one of them begins, the next is in line.
      const again: Effect.Effect<void> = Effect.suspend(() =>
        goesOn ? Effect.ignore(Effect.andThen(gate.run(turn("urgent")), again)) : Effect.void
      ).pipe(Priority.at(0))
      const turn = (name: string) =>
        Effect.andThen(
          Effect.sync(() => turns.push(name)),
          Effect.sleep("10 millis")
        )
      yield* fork(Effect.all([again, again, again], { concurrency: "unbounded" }))
      const background = yield* fork(gate.run(turn("background")).pipe(Priority.background))
      yield* TestClock.adjust("2 seconds")
      goesOn = false
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(background)
      // One ran when it came. Of 64 + 1 turns one is its own.
      expect(turns.indexOf("background")).toBeGreaterThan(10)
      expect(turns.indexOf("background")).toBeLessThanOrEqual(65)
      yield* nothingLeft(gate)
    })
  )

  it.effect("the bound on hand-overs is what the docs say, and less where other levels are empty", () =>
    Effect.gen(function* () {
      const bounds = (ahead: number) => times(8, (urgency) => usual.bound(urgency, ahead))
      expect(bounds(0)).toEqual([2, 4, 8, 16, 32, 64, 128, 128])
      expect(bounds(9)).toEqual([20, 40, 80, 160, 320, 640, 1280, 1280])
      expect(bounds(99)).toEqual([200, 400, 800, 1600, 3200, 6400, 12_800, 12_800])
      const own = new Frame([16, 1, 1, 8, 1, 1, 1, 1])
      expect([own.total, own.bound(0, 0), own.bound(3, 0), own.bound(7, 0)]).toEqual([30, 2, 5, 30])
      // The third at urgency 3, while everybody else floods.
      const others = [0, 1, 2, 4, 5, 6, 7].flatMap((u) => flood("other", { urgency: u as Priority.Urgency }, 60))
      const began = yield* order({}, [...others, ...flood("mine", {}, 3)])
      expect(began.indexOf("mine2") + 1).toBeLessThanOrEqual(usual.bound(3, 2))
      const alone = yield* order({}, [...flood("other", { urgency: 1 }, 20), ...flood("mine", {}, 3)])
      // 32 : 8, and not 16 of 128.
      expect(alone.indexOf("mine2") + 1).toBeLessThanOrEqual(15)
    })
  )

  it.effect("no order keeps ⌈(k+1)·W/w⌉ for weights 3, 2 and 1; what is kept is below (k+2)·W/w", () =>
    Effect.sync(() => {
      const frame = new Frame([3, 2, 1])
      expect(times(3, (level) => frame.bound(level, 0))).toEqual([2, 4, 6])
      for (const [level, weight] of frame.weights.entries()) {
        for (let ahead = 0; ahead < 12; ahead++) {
          expect(frame.bound(level, ahead)).toBeLessThanOrEqual(((ahead + 2) * 6) / weight)
        }
      }
    })
  )

  it.effect("idle share is lent, and taken back within one hand-over", () =>
    Effect.gen(function* () {
      for (let lent = 0; lent <= 40; lent++) {
        const gate = yield* Gate.make("test", { limit: 1 })
        const { began, come, end, endAll } = stage(gate)
        for (let i = 0; i < 45; i++) yield* come(`z${i}`, { urgency: 7 })
        for (let i = 0; i < lent; i++) yield* end(`z${i}`)
        yield* come("urgent", { urgency: 0 })
        yield* endAll
        // One runs when it comes; at most one more goes before it.
        expect(began.indexOf("urgent") - lent).toBeLessThanOrEqual(2)
        yield* nothingLeft(gate)
      }
    })
  )

  it.effect("a level that had nobody waiting has saved nothing up", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, shares: { 0: 1 } })
      const { began, come, end, endAll } = stage(gate)
      for (let i = 0; i < 30; i++) yield* come(`z${i}`, { urgency: 7 })
      for (let i = 0; i < 20; i++) yield* end(`z${i}`)
      for (let i = 0; i < 6; i++) yield* come(`a${i}`, { urgency: 0 })
      yield* endAll
      expect(count(began.slice(21, 29), "a")).toBe(4)
      yield* nothingLeft(gate)
    })
  )

  it.effect("strict: the most urgent first, always", () =>
    Effect.gen(function* () {
      const callers = [...flood("z", { urgency: 7 }, 3), ...flood("m", {}, 3), ...flood("a", { urgency: 0 }, 200)]
      const began = yield* order({ shares: "strict" }, callers)
      expect(began.slice(200)).toEqual(["m0", "m1", "m2", "z0", "z1", "z2"])
    })
  )

  it.effect("one that lacks what all share keeps its turn: nobody smaller overtakes it, in no level behind it", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(10, "1 second")] })
      const { began, come, end } = stage(gate)
      yield* come("six", { cost: 6 })
      yield* come("big", { cost: 8, urgency: 1 })
      for (const urgency of [1, 3, 7] as const) yield* come(`small ${urgency}`, { urgency })
      yield* TestClock.adjust("999 millis")
      expect(began).toEqual(["six"])
      yield* TestClock.adjust("1 millis")
      expect(began).toEqual(["six", "big", "small 1", "small 3"])
      yield* end(...began)
      yield* TestClock.adjust("1 second")
      yield* end("small 7")
      yield* nothingLeft(gate)
    })
  )

  it.effect("the more urgent may pass one that waits for its window; as often as its share says, and no more", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(100, "1 hour")], shares: { 0: 4, 7: 1 } })
      const { began, come, end } = stage(gate)
      yield* come("much", { cost: 60 })
      yield* come("big", { cost: 50, urgency: 7 })
      for (let i = 0; i < 12; i++) yield* come(`small${i}`, { urgency: 0 })
      const passed = began.length - 1
      expect(passed).toBeGreaterThan(0)
      expect(passed).toBeLessThanOrEqual(5)
      yield* TestClock.adjust("1 hour")
      expect(began).toContain("big")
      yield* end(...began)
      yield* nothingLeft(gate)
    })
  )

  it.effect("misuse: a share that is none, an urgency that is none, a frame that is too long", () =>
    Effect.gen(function* () {
      const wrong = (shares: unknown) => defect(() => Gate.make("x", { shares: shares as Gate.Shares }))
      expect(yield* wrong({ 3: 0 })).toBe(
        "RangeError: Expected a share of at least 1, as a whole number, for urgency 3, got 0"
      )
      expect(yield* wrong({ 3: 1.5 })).toContain("got 1.5")
      expect(yield* wrong({ 8: 1 })).toBe("RangeError: Expected shares of urgencies from 0 to 7, got one of 8")
      expect(yield* wrong({ high: 1 })).toContain("got one of high")
      expect(yield* wrong({ 0: 8186 })).toBe("RangeError: Expected shares of at most 8192 together, got 8193")
      expect(yield* wrong({ 0: 8185, 3: undefined })).toBe("no defect")
    })
  )
})

describe("Gate, tenants", () => {
  it.effect("of one urgency take turns: whoever floods waits for itself", () =>
    Effect.gen(function* () {
      const callers = [
        ...flood("a", { tenant: "a" }, 6),
        ...flood("b", { tenant: "b" }, 2),
        ...flood("c", { tenant: "c" }, 1)
      ]
      expect((yield* order({}, callers)).map((name) => name[0]).join("")).toBe("abcabaaaa")
    })
  )

  it.effect("a new one is served within the round that goes on", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { began, come, end, endAll } = stage(gate)
      for (let i = 0; i < 20; i++) yield* come(`a${i}`, { tenant: "a" })
      for (let i = 0; i < 20; i++) yield* come(`b${i}`, { tenant: "b" })
      for (let i = 0; i < 9; i++) yield* end(began[i]!)
      yield* come("new", { tenant: "c" })
      yield* endAll
      expect(began.indexOf("new")).toBeLessThanOrEqual(12)
      yield* nothingLeft(gate)
    })
  )

  it.effect("turns are worth the same cost, not the same number", () =>
    Effect.gen(function* () {
      const callers = [...flood("a", { tenant: "a", cost: 4 }, 8), ...flood("b", { tenant: "b", cost: 1 }, 20)]
      const began = (yield* order({}, callers)).slice(0, 20)
      expect([count(began, "a"), count(began, "b")]).toEqual([4, 16])
    })
  )

  it.effect("no tenant is a tenant, too; and turns are taken in each level by itself", () =>
    Effect.gen(function* () {
      const callers = [
        ...flood("-", {}, 2),
        ...flood("a", { tenant: "a" }, 2),
        ...flood("A", { tenant: "a", urgency: 0 }, 2)
      ]
      const began = (yield* order({ shares: "strict" }, callers)).map((name) => name[0])
      expect(began.join("")).toBe("AA-a-a")
    })
  )

  it.effect("inside a tenant the earliest deadline goes first, then those without; equals as they came", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const began: Array<string> = []
      const come = (name: string, within?: number, tenant = "a") => {
        const call = gate.run(
          Effect.andThen(
            Effect.sync(() => began.push(name)),
            Effect.sleep("1 millis")
          )
        )
        return fork((within === undefined ? call : Deadline.within(call, `${within} seconds`)).pipe(Tenant.as(tenant)))
      }
      yield* fork(gate.run(Effect.sleep("1 second")))
      yield* come("plain 1")
      yield* come("late", 60)
      yield* come("soon", 10)
      yield* come("plain 2")
      yield* come("soon 2", 10)
      // Of another tenant, and sooner than all: turns are the tenants'.
      yield* come("other 1", 5, "b")
      yield* come("other 2", 5, "b")
      yield* TestClock.adjust("2 seconds")
      yield* settle
      expect(began.filter((name) => !name.startsWith("other"))).toEqual([
        "soon",
        "soon 2",
        "late",
        "plain 1",
        "plain 2"
      ])
      expect(began.slice(0, 4)).toEqual(["soon", "other 1", "soon 2", "other 2"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("whose turn it is after one that came and went at once begins at once, too, if it fits", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(10, "1 hour")] })
      const { began, body, come, end } = stage(gate)
      yield* come("six", { cost: 6 })
      yield* come("big", { cost: 5, tenant: "a" })
      yield* come("small", { tenant: "b" })
      expect(began).toEqual(["six"])
      // It goes before the big one of its tenant, whose turn that was; then it is the other's.
      yield* fork(gate.run(body("hurried")).pipe(Deadline.within("10 seconds"), Tenant.as("a")))
      yield* settle
      expect(began).toEqual(["six", "hurried", "small"])
      yield* TestClock.adjust("1 second")
      yield* end(...began)
      yield* TestClock.adjust("1 hour")
      yield* end("big")
      yield* nothingLeft(gate)
    })
  )
})
