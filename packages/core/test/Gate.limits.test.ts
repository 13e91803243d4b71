import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, ConcurrencyLimit, Deadline, Gate, RateWindow } from "@fairlead/core"
import { atOnce, defect, endOf, fork, nothingLeft, settle, stage } from "./gates.ts"

/** A limit that notes what it is told. */
const listening = (options: ConcurrencyLimit.AimdOptions = { max: 10 }) => {
  const told: Array<readonly [verdict: string, latencyMillis: number, inFlight: number]> = []
  const limit = ConcurrencyLimit.aimd(options)
  return {
    told,
    limit: {
      ...limit,
      step: (state: ConcurrencyLimit.AimdState, sample: ConcurrencyLimit.Sample) => {
        told.push([sample.verdict, sample.latencyMillis, sample.inFlight])
        return limit.step(state, sample)
      }
    } as ConcurrencyLimit.ConcurrencyLimit
  }
}

const sleep = (millis: number) => Effect.sleep(millis)

describe("Gate, a limit that finds itself", () => {
  it.effect("grows while work comes to a good end and fills it, and falls where there is too much", () =>
    Effect.gen(function* () {
      const limit = ConcurrencyLimit.aimd({ min: 1, max: 20 })
      const gate = yield* Gate.make("test", { limit, line: { maxItems: 1000 } })
      expect(yield* gate.statistics).toMatchObject({ limit: 1, limitedBy: "aimd 1–20" })
      yield* fork(
        Effect.all(
          Array.from({ length: 200 }, () => gate.run(sleep(100))),
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("1 second")
      expect(yield* gate.statistics).toMatchObject({ limit: 20, running: 20 })
      yield* TestClock.adjust("10 seconds")
      // The other side is slower than anybody would wait for.
      for (let i = 0; i < 20; i++) yield* fork(Effect.ignore(Deadline.within(gate.run(sleep(5000)), "1 second")))
      yield* TestClock.adjust("1 second")
      expect((yield* gate.statistics).limit).toBe(10)
      yield* nothingLeft(gate)
    })
  )

  it.effect("is told once of each end: the verdict, how long the permit was held, and how many held one", () =>
    Effect.gen(function* () {
      const { limit, told } = listening({ min: 2, max: 10 })
      const gate = yield* Gate.make("test", { limit })
      const others = [
        gate.run(sleep(10)),
        gate.run(Effect.andThen(sleep(20), Effect.fail("a mistake"))),
        Deadline.within(gate.run(Effect.never), "200 millis"),
        gate.run(Effect.never).pipe(Effect.timeoutOption("300 millis"))
      ]
      for (const call of others) yield* fork(Effect.exit<unknown, unknown, never>(call))
      yield* TestClock.adjust("1 second")
      // Two waited 10 ms for their turn, which is nobody's latency.
      expect(told).toEqual([
        ["ok", 10, 2],
        ["ignore", 20, 3],
        ["late", 190, 2],
        ["ignore", 290, 1]
      ])
      yield* nothingLeft(gate)
    })
  )

  it.effect("gives out whole permits only", () =>
    Effect.gen(function* () {
      const limit = ConcurrencyLimit.aimd({ max: 10, initial: 3, backoff: 0.5 })
      const gate = yield* Gate.make("test", { limit, judge: () => "overload" })
      yield* gate.run(Effect.void)
      // One and a half.
      const { began, come, endAll } = stage(gate)
      for (const name of ["a", "b"]) yield* come(name)
      expect([(yield* gate.statistics).limit, began]).toEqual([1, ["a"]])
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("a cut by hand says nothing of the other side", () =>
    Effect.gen(function* () {
      const { limit, told } = listening()
      const gate = yield* Gate.make("test", { limit })
      const scope = yield* CancelScope.make()
      yield* fork(scope.run(gate.run(Effect.never)))
      yield* scope.cancel("enough of it")
      expect(told.map(([verdict]) => verdict)).toEqual(["ignore"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("tells what was cut by its deadline from what was refused elsewhere", () =>
    Effect.gen(function* () {
      const { limit, told } = listening()
      const gate = yield* Gate.make("test", { limit })
      const full = yield* Gate.make("elsewhere", { limit: 1, line: { maxItems: 0 } })
      const late = Deadline.within(Effect.never, "1 second")
      const refused = Effect.scoped(Effect.andThen(full.hold(), full.run(Effect.void)))
      const [first, second] = [yield* Effect.flip(refused), yield* Effect.flip(Deadline.within(Effect.never, 0))]
      const both = Effect.failCause(Cause.combine(Cause.fail(second), Cause.fail(first)))
      yield* fork(Effect.exit(gate.run(late)))
      yield* fork(Effect.exit(gate.run(refused)))
      yield* fork(Effect.exit(gate.run(both)))
      yield* TestClock.adjust("1 minute")
      yield* fork(Effect.scoped(Effect.map(gate.hold(), (permit) => permit.release("late"))))
      expect(told.map(([verdict]) => verdict)).toEqual(["late", "overload", "overload", "late"])
      yield* nothingLeft(gate)
      yield* nothingLeft(full)
    })
  )

  it.effect("`judge` says what an end says", () =>
    Effect.gen(function* () {
      const { limit, told } = listening()
      const judge = (exit: Exit.Exit<unknown, unknown>) =>
        Exit.isSuccess(exit) && exit.value === 429 ? "overload" : Exit.isFailure(exit) ? "ok" : "ignore"
      const gate = yield* Gate.make("test", { limit, judge })
      yield* gate.run(Effect.succeed(429))
      yield* gate.run(Effect.succeed(200))
      yield* Effect.ignore(gate.run(Effect.fail("no such page")))
      expect(told.map(([verdict]) => verdict)).toEqual(["overload", "ignore", "ok"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("a `judge` that throws is its caller's defect, and the permit goes on", () =>
    Effect.gen(function* () {
      const judge = (): ConcurrencyLimit.Verdict => {
        throw new Error("no idea")
      }
      const gate = yield* Gate.make("test", { limit: ConcurrencyLimit.aimd({ max: 5 }), judge })
      const first = yield* fork(gate.run(sleep(10)))
      const next = yield* fork(gate.run(sleep(10)))
      yield* TestClock.adjust("20 millis")
      for (const fiber of [first, next]) expect(String(endOf(fiber))).toContain("no idea")
      yield* nothingLeft(gate)
    })
  )

  it.effect("the head of an answer says it, where a permit is held for longer; and says it once", () =>
    Effect.gen(function* () {
      const { limit, told } = listening({ min: 5, max: 10 })
      const gate = yield* Gate.make("test", { limit })
      const holder = (body: (permit: Gate.Permit) => Effect.Effect<void>, pending = false) =>
        fork(Effect.scoped(Effect.flatMap(gate.hold({ pending }), body)))
      yield* holder((permit) =>
        Effect.gen(function* () {
          yield* sleep(30)
          permit.answered()
          permit.answered("overload")
          yield* sleep(10_000)
          permit.release("overload")
        })
      )
      yield* TestClock.adjust("20 seconds")
      yield* holder((permit) =>
        Effect.andThen(
          sleep(40),
          Effect.sync(() => permit.answered("overload"))
        )
      )
      yield* holder((permit) => Effect.sync(() => permit.answered("ok", 7)))
      yield* holder((permit) =>
        Effect.andThen(
          sleep(50),
          Effect.sync(() => permit.release("overload"))
        )
      )
      // It is sent after a while, and only from then on does the other side have it.
      yield* holder(
        (permit) =>
          Effect.gen(function* () {
            yield* sleep(100)
            permit.sent()
            yield* sleep(60)
            permit.answered()
          }),
        true
      )
      yield* holder(() => sleep(200))
      yield* holder(() => sleep(300), true)
      yield* TestClock.adjust("1 second")
      expect(told.map(([verdict, latency]) => `${verdict} ${latency}`)).toEqual([
        "ok 30",
        "ok 7",
        "overload 40",
        "overload 50",
        "ok 60",
        "ok 200"
        // Of the last nothing was sent, and so there is nothing to say.
      ])
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate.resize", () => {
  it.effect("to more lets in those who wait, at once", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { began, come, endAll } = stage(gate)
      for (const name of ["a", "b", "c", "d"]) yield* come(name)
      yield* gate.resize(3)
      yield* settle
      expect(began).toEqual(["a", "b", "c"])
      expect(yield* gate.statistics).toMatchObject({ limit: 3, limitedBy: "fixed 3" })
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("to less cuts nobody: what runs above it is surplus, and ends before the next begins", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 4 })
      const { began, come, end, endAll } = stage(gate)
      for (const name of ["a", "b", "c", "d", "e", "f"]) yield* come(name)
      yield* gate.resize(2)
      const look = Effect.map(gate.statistics, (now) => {
        expect(Gate.check(now)).toEqual([])
        return [now.limit, now.running, now.surplus]
      })
      expect(yield* look).toEqual([2, 4, 2])
      yield* end("a")
      expect(yield* look).toEqual([2, 3, 1])
      yield* end("b")
      expect(yield* look).toEqual([2, 2, 0])
      expect(began.length).toBe(4)
      yield* end("c")
      expect(began).toEqual(["a", "b", "c", "d", "e"])
      // And back.
      yield* gate.resize(1)
      yield* gate.resize(5)
      yield* settle
      expect(yield* look).toEqual([5, 3, 0])
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("between a number and a limit that finds itself, both ways, with some in the middle of it", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 hour")
      const { limit, told } = listening({ min: 2, max: 10 })
      const gate = yield* Gate.make("test", { limit: 4 })
      const calls = []
      for (let i = 0; i < 6; i++) calls.push(yield* fork(gate.run(sleep(100))))
      yield* gate.resize(limit)
      expect(yield* gate.statistics).toMatchObject({ limit: 2, limitedBy: "aimd 2–10", surplus: 2 })
      yield* TestClock.adjust("1 second")
      // Of those that began before, nobody noted when; the other two took 100 ms.
      expect(told.map(([, latency]) => latency)).toEqual([100, 100])
      for (const call of calls) expect(Exit.isSuccess(endOf(call))).toBe(true)
      yield* gate.resize(7)
      expect(yield* gate.statistics).toMatchObject({ limit: 7, limitedBy: "fixed 7" })
      yield* gate.run(Effect.void)
      expect(told.length).toBe(2)
      yield* nothingLeft(gate)
    })
  )

  it.effect("of a gate that had none, and back to none", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(100, "1 second")] })
      expect(yield* gate.statistics).toMatchObject({ limit: null, limitedBy: "none" })
      const { began, come, endAll } = stage(gate)
      yield* come("a")
      yield* gate.resize(1)
      yield* come("b")
      expect(began).toEqual(["a"])
      yield* gate.resize(Infinity)
      yield* settle
      expect(began).toEqual(["a", "b"])
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("misuse names the expectation and the value, and changes nothing", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("x", { limit: 2 })
      for (const wrong of [0, 1.5, -1, NaN]) {
        expect(yield* defect(() => gate.resize(wrong))).toBe(
          `RangeError: Expected a limit of at least 1 permit, got ${wrong}`
        )
      }
      expect((yield* gate.statistics).limit).toBe(2)
      expect(yield* atOnce(gate)).toBe("in")
      yield* nothingLeft(gate)
    })
  )
})
