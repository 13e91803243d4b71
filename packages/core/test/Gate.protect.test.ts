import { describe, expect, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Option, Random } from "effect"
import { TestClock } from "effect/testing"
import { Gate, RateWindow, Refused, Tenant } from "@fairlead/core"
import { atOnce, defect, endOf, fork, nothingLeft, reasonOf, settle, stage } from "./gates.ts"

/** Calls of 50 ms each; when they began, and how many were shed. */
const drama = (gate: Gate.Gate) => {
  const began: Array<readonly [name: number, waited: number]> = []
  let shed = 0
  let came = 0
  const call = Effect.suspend(() => {
    const name = came++
    return Effect.flatMap(Clock.currentTimeMillis, (since) =>
      gate
        .run(
          Effect.andThen(
            Effect.map(Clock.currentTimeMillis, (now) => void began.push([name, now - since])),
            Effect.sleep("50 millis")
          )
        )
        .pipe(
          Effect.catchReason("Refused", "Shed", ({ signal }) => {
            expect(signal).toBe("the line stands")
            return Effect.sync(() => void shed++)
          })
        )
    )
  })
  return { began, call: fork(call), shed: () => shed }
}

describe("Gate, a line that stands (codel)", () => {
  it.effect("who waits for an allowance of its own makes no line stand, and is not shed for that", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        limit: 1,
        protect: { codel: {} },
        perTenant: (tenant) => (tenant === "a" ? { windows: [RateWindow.per(1, "5 seconds")] } : undefined)
      })
      const a = gate.run(Effect.void).pipe(Tenant.as("a"))
      const b = gate.run(Effect.sleep("200 millis")).pipe(Tenant.as("b"))
      yield* a
      const parked = yield* fork(a)
      yield* TestClock.adjust("2 seconds")
      const others = [yield* fork(b), yield* fork(b)]
      yield* TestClock.adjust("400 millis")
      for (const other of others) expect(Exit.isSuccess(endOf(other))).toBe(true)
      yield* TestClock.adjust("3 seconds")
      expect(Exit.isSuccess(endOf(parked))).toBe(true)
      yield* nothingLeft(gate)
    })
  )

  it.effect("a burst that drains in time is served whole", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, protect: { codel: {} } })
      const { began, call, shed } = drama(gate)
      for (let i = 0; i < 20; i++) yield* call
      yield* TestClock.adjust("2 seconds")
      expect([began.length, shed()]).toEqual([20, 0])
      yield* nothingLeft(gate)
    })
  )

  it.effect("once it has stood for the interval, who waited longer than the target is shed: it gets short", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        limit: 1,
        protect: { codel: { target: "100 millis", interval: "1 second" } }
      })
      const { began, call, shed } = drama(gate)
      // Twice what it can do, for ten seconds.
      for (let i = 0; i < 400; i++) {
        yield* call
        yield* TestClock.adjust("25 millis")
      }
      const late = began.filter(([name]) => name > 60).map(([, waited]) => waited)
      expect(Math.max(...late)).toBeLessThanOrEqual(100)
      // And the permit is never idle for it.
      expect(began.length).toBeGreaterThanOrEqual(195)
      expect(shed()).toBeGreaterThan(180)
      yield* TestClock.adjust("5 seconds")
      expect(began.length + shed()).toBe(400)
      // Empty once, it is a line like any other.
      for (let i = 0; i < 20; i++) yield* call
      yield* TestClock.adjust("2 seconds")
      expect(began.length + shed()).toBe(420)
      expect(began.slice(-20).map(([name]) => name)).toEqual(Array.from({ length: 20 }, (_, i) => 400 + i))
      yield* nothingLeft(gate)
    })
  )

  it.effect("newestFirst: while it stands the newest goes first, and in order of arrival before and after", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, protect: { newestFirst: true } })
      const { began, call } = drama(gate)
      for (let i = 0; i < 30; i++) yield* call
      yield* TestClock.adjust("2 seconds")
      const names = began.map(([name]) => name)
      // Those that begin within a second; then the others, from behind.
      expect(names.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, i) => i))
      expect(names.slice(20)).toEqual([29, 28, 27, 26, 25, 24, 23, 22, 21, 20])
      for (let i = 0; i < 5; i++) yield* call
      yield* TestClock.adjust("2 seconds")
      expect(began.slice(30).map(([name]) => name)).toEqual([30, 31, 32, 33, 34])
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, throttling", () => {
  const offer = (gate: Gate.Gate, works: boolean, times: number) =>
    Effect.gen(function* () {
      let sent = 0
      const body = Effect.suspend(() => {
        sent++
        return works ? Effect.void : Effect.fail(busy)
      })
      for (let i = 0; i < times; i++) {
        yield* Effect.exit(gate.run(body))
        yield* TestClock.adjust("10 millis")
      }
      return sent
    }).pipe(Random.withSeed("throttled"))

  const busy = new Refused.Refused({
    reason: new Refused.QueueFull({ bound: "items", limit: 1 }),
    gate: "elsewhere",
    waited: Duration.zero,
    retryAfter: Option.none()
  })

  it.effect("sends all while it is taken; a part of it while it is refused; all again when it is taken", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { protect: { throttle: { factor: 2, memory: "5 seconds" } } })
      expect(yield* offer(gate, true, 200)).toBe(200)
      // Nobody is shed until as much was refused as was taken.
      expect(yield* offer(gate, false, 200)).toBeGreaterThan(180)
      yield* offer(gate, false, 1000)
      const little = yield* offer(gate, false, 500)
      expect(little).toBeGreaterThan(0)
      expect(little).toBeLessThan(50)
      const shed = yield* Effect.flip(Effect.forEach(Array(50), () => gate.run(Effect.void)))
      expect(shed.reason).toEqual(new Refused.Shed({ signal: "the other side refuses" }))
      // Some five memories later.
      yield* offer(gate, true, 5000)
      expect(yield* offer(gate, true, 100)).toBe(100)
      yield* nothingLeft(gate)
    })
  )

  it.effect("what is neither good nor too much says nothing; `judge` has the last word", () =>
    Effect.gen(function* () {
      const wrong = Effect.fail("a mistake of ours")
      const usual = yield* Gate.make("test", { protect: { throttle: {} } })
      for (let i = 0; i < 300; i++) yield* Effect.ignore(usual.run(wrong))
      expect(yield* atOnce(usual)).toBe("in")
      const strict = yield* Gate.make("test", { protect: { throttle: {} }, judge: () => "overload" })
      for (let i = 0; i < 300; i++) yield* Effect.ignore(strict.run(wrong))
      const ends = yield* Effect.forEach(Array(20), () => atOnce(strict))
      expect(ends.filter((end) => end === "Shed").length).toBeGreaterThan(15)
      yield* nothingLeft(usual)
      yield* nothingLeft(strict)
    }).pipe(Random.withSeed("judged"))
  )
})

describe("Gate, signals", () => {
  it.effect("shed this urgency and all less urgent, at the door and at their turn, under the signal's name", () =>
    Effect.gen(function* () {
      let from = 8
      const gate = yield* Gate.make("test", { limit: 1, protect: { shed: [{ name: "memory", urgency: () => from }] } })
      const { began, come, end, endAll } = stage(gate)
      yield* come("running", { urgency: 7 })
      const waiting = []
      for (const urgency of [7, 5, 3] as const) waiting.push(yield* come(`waiting ${urgency}`, { urgency }))
      from = 5
      const door = yield* come("door", { urgency: 5 })
      expect(reasonOf(endOf(door))).toEqual(new Refused.Shed({ signal: "memory" }))
      const urgent = yield* come("urgent", { urgency: 4 })
      yield* end("running")
      yield* end("waiting 3")
      yield* end("urgent")
      expect(began).toEqual(["running", "waiting 3", "urgent"])
      expect(waiting.slice(0, 2).map((fiber) => reasonOf(endOf(fiber))._tag)).toEqual(["Shed", "Shed"])
      expect(endOf(urgent)).toEqual(Exit.succeed("urgent"))
      from = 8
      const late = yield* come("late", { urgency: 7 })
      yield* endAll
      yield* settle
      expect(endOf(late)).toEqual(Exit.succeed("late"))
      yield* nothingLeft(gate)
    })
  )

  it.effect("of several the first that says so names it; 0 sheds all", () =>
    Effect.gen(function* () {
      const shed = [
        { name: "loop", urgency: () => 8 },
        { name: "memory", urgency: () => 0 },
        { name: "disk", urgency: () => 0 }
      ]
      const gate = yield* Gate.make("test", { protect: { shed } })
      const refused = yield* Effect.flip(gate.run(Effect.void))
      expect(refused.reason).toEqual(new Refused.Shed({ signal: "memory" }))
      expect(yield* gate.statistics).toMatchObject({ offered: 1, refused: 1 })
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, protection, misuse", () => {
  it.effect("names the expectation and the value", () =>
    Effect.gen(function* () {
      const make = (protect: Gate.Protect) => defect(() => Gate.make("x", { protect }))
      expect(yield* make({ codel: { target: 0 } })).toBe("RangeError: Expected a target above 0, got 0")
      expect(yield* make({ codel: { target: 200, interval: 100 } })).toBe(
        "RangeError: Expected an interval of at least the target of 200, got 100"
      )
      expect(yield* make({ throttle: { factor: 0.5 } })).toBe("RangeError: Expected a factor of at least 1, got 0.5")
      expect(yield* make({ throttle: { memory: 0 } })).toBe("RangeError: Expected a memory above 0, got 0")
      expect(yield* make({ codel: { interval: "a while" as never } })).toContain("Expected a duration")
    })
  )
})
