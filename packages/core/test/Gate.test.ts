import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Option, Random, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { ConcurrencyLimit, Deadline, Gate, Priority, RateWindow, Refused, Registry, Tenant } from "@fairlead/core"
import { Simulation, Sweep } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"
import { fork, nothingLeft, settle } from "./gates.ts"

/** A body that a test ends when it likes, and the order in which such bodies began. */
const stage = () => {
  const began: Array<string> = []
  const ends = new Map<string, Deferred.Deferred<void>>()
  const body = (name: string) =>
    Effect.gen(function* () {
      began.push(name)
      const end = yield* Deferred.make<void>()
      ends.set(name, end)
      yield* Deferred.await(end)
      return name
    })
  const end = (name: string) => Effect.andThen(Deferred.succeed(ends.get(name)!, undefined), settle)
  return { began, body, end }
}

/** The clock of the test, which counts how often it is read. */
const countingClock = Effect.map(Clock.Clock, (clock) => {
  const counted = {
    ...clock,
    reads: 0,
    currentTimeMillisUnsafe: () => (counted.reads++, clock.currentTimeMillisUnsafe()),
    currentTimeNanosUnsafe: () => (counted.reads++, clock.currentTimeNanosUnsafe()),
    monotonicTimeNanosUnsafe: () => (counted.reads++, clock.monotonicTimeNanosUnsafe()),
    sleep: (duration: Duration.Duration) => clock.sleep(duration)
  }
  return counted
})

const reasonOf = (exit: Exit.Exit<unknown, Refused.Refused>): string => {
  if (Exit.isSuccess(exit)) return "Success"
  const error = Cause.squash(exit.cause)
  return error instanceof Refused.Refused ? error.reason._tag : String(exit.cause)
}

describe("Gate.run", () => {
  it.effect("costs that are fractions hold nobody up for ever", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(2, "1 second")] })
      yield* gate.run(Effect.void, { cost: 0.4 })
      yield* TestClock.adjust("1 millis")
      yield* gate.run(Effect.void, { cost: 0.2 })
      const all = yield* fork(gate.run(Effect.succeed("all of it"), { cost: 2 }))
      yield* TestClock.adjust("1 second")
      expect(all.pollUnsafe()).toEqual(Exit.succeed("all of it"))
      const fractions = [0.1, 0.7, 0.2, 0.3].map((cost) => gate.run(Effect.void, { cost }))
      const rest = yield* fork(Effect.all(fractions, { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(rest)
      yield* nothingLeft(gate)
    })
  )

  it.effect("runs at most `limit` at once, and the rest in order of arrival", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const { began, body, end } = stage()
      const fibers = yield* Effect.forEach(["a", "b", "c", "d"], (name) => fork(gate.run(body(name))))
      expect(began).toEqual(["a", "b"])
      yield* end("b")
      expect(began).toEqual(["a", "b", "c"])
      yield* end("a")
      yield* end("c")
      yield* end("d")
      expect(yield* Fiber.joinAll(fibers)).toEqual(["a", "b", "c", "d"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("lets the urgent go first, and equals in order of arrival", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { began, body, end } = stage()
      yield* fork(gate.run(body("first")))
      const waiting = [
        ["low 1", 7],
        ["plain 1", 3],
        ["high 1", 0],
        ["low 2", 7],
        ["plain 2", 3],
        ["high 2", 0]
      ] as const
      for (const [name, urgency] of waiting) yield* fork(gate.run(body(name)).pipe(Priority.at(urgency)))
      const statistics = yield* gate.statistics
      expect(statistics.waitingByUrgency).toEqual([2, 0, 0, 2, 0, 0, 0, 2])
      for (let i = 0; i < 7; i++) yield* end(began[i]!)
      expect(began).toEqual(["first", "high 1", "high 2", "plain 1", "plain 2", "low 1", "low 2"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("takes 500 ms for 100 tasks of 50 ms on 10 permits (the old scheduler ran one at a time)", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 10 })
      const task = gate.run(Effect.sleep("50 millis"))
      const all = yield* fork(
        Effect.all(
          Array.from({ length: 100 }, () => task),
          { concurrency: "unbounded" }
        )
      )
      for (let i = 0; i < 9; i++) yield* TestClock.adjust("50 millis")
      expect(all.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("50 millis")
      yield* Fiber.join(all)
      yield* nothingLeft(gate)
    })
  )

  it.effect(
    "gives the caller its own result, and its own failure or defect (the old scheduler printed and lost them)",
    () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("test", { limit: 1 })
        expect(yield* gate.run(Effect.succeed(1))).toBe(1)
        expect(yield* Effect.flip(gate.run(Effect.fail("no")))).toBe("no")
        expect(yield* Effect.exit(gate.run(Effect.die("boom")))).toEqual(Exit.die("boom"))
        const statistics = yield* gate.statistics
        expect([statistics.offered, statistics.completed, statistics.failed]).toEqual([3, 1, 2])
        yield* nothingLeft(gate)
      })
  )

  it.effect("does not care what equal priorities carry (the old scheduler compared coroutines)", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const bodies = [Effect.succeed({}), Effect.succeed(Symbol("x")), Effect.succeed(() => 1)]
      const results = yield* Effect.all(
        bodies.map((body) => gate.run(Effect.andThen(Effect.yieldNow, body as Effect.Effect<unknown>))),
        { concurrency: "unbounded" }
      )
      expect(results.length).toBe(3)
      yield* nothingLeft(gate)
    })
  )

  it.effect("runs the body in the caller's own context and fiber", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const self = yield* Effect.withFiber((fiber) => Effect.succeed(fiber.id))
      const inside = yield* gate
        .run(Effect.withFiber((fiber) => Effect.succeed([fiber.id, fiber.getRef(Priority.Priority)])))
        .pipe(Priority.at(2))
      expect(inside).toEqual([self, 2])
    })
  )

  it.effect("takes an interrupted caller out of the line, and its place is free again", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 2 } })
      const { began, body, end } = stage()
      yield* fork(gate.run(body("a")))
      const b = yield* fork(gate.run(body("b")))
      yield* fork(gate.run(body("c")))
      expect(reasonOf(yield* Effect.exit(gate.run(Effect.void)))).toBe("QueueFull")
      yield* Fiber.interrupt(b)
      yield* fork(gate.run(body("d")))
      yield* end("a")
      yield* end("c")
      yield* end("d")
      expect(began).toEqual(["a", "c", "d"])
      expect((yield* gate.statistics).interrupted).toBe(1)
      yield* nothingLeft(gate)
    })
  )

  it.effect("passes the permit on when the one it was handed to leaves before it begins", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { began, body, end } = stage()
      const a = yield* fork(gate.run(body("a")))
      const b = yield* fork(gate.run(body("b")))
      yield* fork(gate.run(body("c")))
      // Handed over on the spot; started by the dispatcher, later.
      a.interruptUnsafe()
      b.interruptUnsafe()
      yield* settle
      expect(began).toEqual(["a", "c"])
      yield* end("c")
      yield* nothingLeft(gate)
    })
  )

  it.effect("a turn that comes while its caller is on its way into the line is not missed", () =>
    Effect.gen(function* () {
      const program = Effect.scoped(
        Effect.gen(function* () {
          const gate = yield* Gate.make("test", { limit: 1 })
          const calls = [1, 2, 3].map(() => gate.run(Effect.yieldNow))
          yield* Effect.all(calls, { concurrency: "unbounded", discard: true })
        })
      )
      yield* Simulation.simulate(50, Effect.exit(program), { cancelPoints: 20 })
    })
  )

  it.live(
    "reads it once for all that leave for others in one run of microtasks, and for each where a window asks",
    () =>
      Effect.gen(function* () {
        const clock = yield* countingClock
        const readsOf = (options: Gate.Options) =>
          Effect.gen(function* () {
            const gate = yield* Gate.make("api", { limit: 10, ...options })
            const calls = (start: Deferred.Deferred<void>) =>
              Effect.forEach(
                Array.from({ length: 20 }, (_, i) => i),
                (i) => gate.run(i < 10 ? Deferred.await(start) : Effect.promise(() => Promise.resolve())),
                { concurrency: "unbounded", discard: true }
              ).pipe(Deadline.within("1 hour"))
            const start = yield* Deferred.make<void>()
            const all = yield* fork(calls(start))
            const before = clock.reads
            // They all leave now, and ten others begin.
            yield* Deferred.succeed(start, undefined)
            const reads = clock.reads - before
            yield* Fiber.join(all)
            yield* nothingLeft(gate)
            return reads
          }).pipe(Effect.provideService(Clock.Clock, clock))
        expect(yield* readsOf({})).toBe(1)
        expect(yield* readsOf({ windows: [RateWindow.per(100, "1 second")] })).toBe(10)
      })
  )

  it.effect("reads no clock unless somebody waits or a window asks", () =>
    Effect.gen(function* () {
      const clock = yield* countingClock
      const reads = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.suspend(() => {
          const before = clock.reads
          return Effect.map(effect, () => clock.reads - before)
        }).pipe(Effect.provideService(Clock.Clock, clock))
      const make = (options: Gate.Options) => Effect.provideService(Gate.make("test", options), Clock.Clock, clock)
      const gate = yield* make({ limit: 2, line: { maxItems: 10, maxWait: "1 second" } })
      const one = gate.run(Effect.void).pipe(Priority.at(1), Tenant.as("a"))
      const two = gate.run(Effect.yieldNow, { cost: 2, bytes: 100 })
      expect(yield* reads(Effect.all([one, one, one]))).toBe(0)
      expect(yield* reads(Effect.all([two, two], { concurrency: "unbounded" }))).toBe(0)
      expect(yield* reads(Effect.scoped(gate.hold()))).toBe(0)
      expect(yield* reads(Effect.exit(gate.run(Effect.fail("no"))))).toBe(0)
      expect(yield* reads(Effect.all([two, two, two], { concurrency: "unbounded" }))).toBeGreaterThan(0)
      const windowed = yield* make({ limit: 2, windows: [RateWindow.per(10, "1 second")] })
      expect(yield* reads(windowed.run(Effect.void))).toBeGreaterThan(0)
      yield* nothingLeft(gate)
    })
  )

  it.effect("ends 100,000 synchronous bodies behind one permit without nesting", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 100_000 } })
      const { body, end } = stage()
      yield* fork(gate.run(body("first")))
      let count = 0
      const one = gate.run(Effect.sync(() => count++))
      const all = yield* fork(
        Effect.all(
          Array.from({ length: 100_000 }, () => one),
          { concurrency: "unbounded" }
        )
      )
      expect((yield* gate.statistics).waiting).toBe(100_000)
      yield* end("first")
      yield* Fiber.join(all)
      expect(count).toBe(100_000)
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, refusals", () => {
  it.effect("refuses the newcomer when the line is full, and says what is full and when to come back", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: 1, line: { maxItems: 3 } })
      const task = gate.run(Effect.sleep("100 millis"))
      for (let i = 0; i < 4; i++) yield* fork(task)
      yield* TestClock.adjust("200 millis")
      for (let i = 0; i < 2; i++) yield* fork(task)
      const refused = yield* Effect.flip(task)
      expect(refused.reason).toEqual(new Refused.QueueFull({ bound: "items", limit: 3 }))
      expect(refused.gate).toBe("api")
      expect(refused.message).toBe("api refused: QueueFull after 0ms")
      // Ten a second, three before it.
      expect(Duration.toMillis(Option.getOrThrow(refused.retryAfter))).toBeCloseTo(400, 6)
      yield* TestClock.adjust("10 seconds")
      yield* nothingLeft(gate)
    })
  )

  it.effect("bounds the bytes held for those who wait, but lets one that is too big by itself wait alone", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxBytes: "1 KiB" } })
      const { body, end } = stage()
      yield* fork(gate.run(body("a")))
      yield* fork(gate.run(body("big"), { bytes: 5000 }))
      expect((yield* gate.statistics).waitingBytes).toBe(5000)
      const refused = yield* Effect.flip(gate.run(Effect.void, { bytes: 1 }))
      expect(refused.reason).toEqual(new Refused.QueueFull({ bound: "bytes", limit: 1024 }))
      yield* end("a")
      yield* end("big")
      yield* nothingLeft(gate)
    })
  )

  it.effect("refuses who has waited as long as the gate, or the caller, allows; whichever is less", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxWait: "2 seconds" } })
      const { body, end } = stage()
      yield* fork(gate.run(body("a")))
      const long = yield* fork(Effect.flip(gate.run(Effect.void, { maxWait: "1 hour" })))
      const short = yield* fork(Effect.flip(gate.run(Effect.void, { maxWait: "1 second" })))
      yield* TestClock.adjust("1 second")
      const refused = yield* Fiber.join(short)
      expect(refused.reason).toEqual(new Refused.WaitExceeded({ maxWait: Duration.seconds(1) }))
      expect(Duration.toMillis(refused.waited)).toBe(1000)
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(long)).reason).toEqual(new Refused.WaitExceeded({ maxWait: Duration.seconds(2) }))
      yield* end("a")
      yield* nothingLeft(gate)
    })
  )

  it.effect("with a maxWait of 0 starts now or not at all", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      expect(yield* gate.run(Effect.succeed(1), { maxWait: 0 })).toBe(1)
      const { body, end } = stage()
      yield* fork(gate.run(body("a")))
      expect(reasonOf(yield* Effect.exit(gate.run(Effect.void, { maxWait: 0 })))).toBe("WaitExceeded")
      yield* end("a")
      yield* nothingLeft(gate)
    })
  )

  it.effect("refuses all who wait, and all who come, when its scope closes; who runs goes on", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const gate = yield* Scope.provide(Gate.make("test", { limit: 1 }), scope)
      const { body, end } = stage()
      const a = yield* fork(gate.run(body("a")))
      const b = yield* fork(Effect.exit(gate.run(body("b"))))
      yield* Scope.close(scope, Exit.void)
      expect(reasonOf(yield* Fiber.join(b))).toBe("ShuttingDown")
      expect(reasonOf(yield* Effect.exit(gate.run(Effect.void)))).toBe("ShuttingDown")
      yield* end("a")
      expect(yield* Fiber.join(a)).toBe("a")
      yield* nothingLeft(gate)
    })
  )

  it.effect("is named by DeadlineExceeded when the deadline passes in its line, and takes the caller out", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("github", { limit: 1 })
      const { body, end } = stage()
      yield* fork(gate.run(body("a")))
      const late = yield* fork(Effect.flip(gate.run(Effect.void).pipe(Deadline.within("1 second"))))
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(late)
      if (error._tag !== "DeadlineExceeded") throw new Error(`expected DeadlineExceeded, got ${error._tag}`)
      expect(error.waitingFor).toEqual(Option.some("gate github"))
      expect((yield* gate.statistics).waiting).toBe(0)
      yield* end("a")
      yield* nothingLeft(gate)
    })
  )

  it.effect("is not named once its wait is over, and another that goes on is", () =>
    Effect.gen(function* () {
      const [one, two] = [yield* Gate.make("one", { limit: 1 }), yield* Gate.make("two", { limit: 1 })]
      const { body, end } = stage()
      yield* fork(one.run(body("a")))
      yield* fork(two.run(body("b")))
      const waitingFor = (work: Effect.Effect<unknown, Refused.Refused>) =>
        Effect.flip(work.pipe(Deadline.within("1 second"))).pipe(
          Effect.map((error) => (error._tag === "DeadlineExceeded" ? error.waitingFor : error))
        )
      const both = Effect.all([one.run(Effect.void), two.run(Effect.void)], { concurrency: 2 })
      const earlier = yield* fork(waitingFor(both))
      yield* end("b")
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(earlier)).toEqual(Option.some("gate one"))
      yield* fork(two.run(body("c")))
      const later = yield* fork(waitingFor(both))
      yield* end("a")
      yield* fork(one.run(body("d")))
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(later)).toEqual(Option.some("gate two"))
      yield* end("c")
      const through = yield* fork(waitingFor(one.run(Effect.never)))
      yield* end("d")
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(through)).toEqual(Option.none())
      yield* nothingLeft(one)
      yield* nothingLeft(two)
    })
  )

  it.live("a deadline that passed on the way to the door is the region's to tell, and the work never starts", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("github", { limit: 1, windows: [RateWindow.per(9, "1 second")] })
      let started = false
      const hurry = Effect.suspend(() => {
        const until = performance.now() + 20
        let now = 0
        do now = performance.now()
        while (now < until)
        return gate.run(Effect.sync(() => (started = true)))
      })
      for (const body of [hurry, Effect.andThen(Effect.yieldNow, hurry)]) {
        const error = yield* Effect.flip(body.pipe(Deadline.within("10 millis")))
        expect(error._tag === "DeadlineExceeded" && error.waitingFor).toEqual(Option.some("gate github"))
      }
      expect(started).toBe(false)
      expect((yield* gate.statistics).refused).toBe(2)
      expect(Gate.check(yield* gate.statistics)).toEqual([])
    })
  )

  it.effect("refuses with TooLate who cannot be cut", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("github", { limit: 1, windows: [RateWindow.per(9, "1 second")] })
      let reason = ""
      const fiber = yield* fork(
        Effect.sleep("3 seconds").pipe(
          Effect.andThen(Effect.exit(gate.run(Effect.void))),
          Effect.map((exit) => (reason = reasonOf(exit))),
          Effect.uninterruptible,
          Deadline.option("1 second")
        )
      )
      yield* TestClock.adjust("3 seconds")
      expect(yield* Fiber.join(fiber)).toEqual(Option.none())
      expect(reason).toBe("TooLate")
      yield* nothingLeft(gate)
    })
  )

  it.effect("names the wait of a region inside the one that is cut", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("inner", { limit: 1 })
      const { body, end } = stage()
      yield* fork(gate.run(body("a")))
      const late = yield* fork(
        Effect.flip(gate.run(Effect.void).pipe(Deadline.within("1 hour"), Deadline.within("1 second")))
      )
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(late)
      expect(error._tag === "DeadlineExceeded" && error.waitingFor).toEqual(Option.some("gate inner"))
      yield* end("a")
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate with windows", () => {
  it.effect("starts no more than the limit in a window, and goes on the instant it opens", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(2, "1 second")] })
      const starts: Array<number> = []
      const one = gate.run(Effect.map(Clock.currentTimeMillis, (now) => void starts.push(now)))
      yield* fork(Effect.all([one, one, one, one, one], { concurrency: "unbounded" }))
      yield* TestClock.adjust("999 millis")
      expect(starts).toEqual([0, 0])
      yield* TestClock.adjust("1 millis")
      expect(starts).toEqual([0, 0, 1000, 1000])
      yield* TestClock.adjust("10 seconds")
      expect(starts).toEqual([0, 0, 1000, 1000, 2000])
      yield* nothingLeft(gate)
    })
  )

  it.effect("does what it says: 400 calls at 100 per second take 3 s (the old proxy did them in 0.1 s)", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(100, "1 second")] })
      const starts: Array<number> = []
      const one = gate.run(Effect.map(Clock.currentTimeMillis, (now) => void starts.push(now)))
      const all = yield* fork(
        Effect.all(
          Array.from({ length: 400 }, () => one),
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(all)
      for (const start of starts) {
        expect(starts.filter((other) => other >= start && other < start + 1000).length).toBeLessThanOrEqual(100)
      }
      expect(starts.at(-1)).toBe(3000)
      yield* nothingLeft(gate)
    })
  )

  it.effect("when a window opens, the most urgent goes first", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(1, "1 second")] })
      const order: Array<string> = []
      const one = (name: string, urgency: Priority.Urgency) =>
        fork(gate.run(Effect.sync(() => order.push(name))).pipe(Priority.at(urgency)))
      yield* one("first", 7)
      yield* one("low", 7)
      yield* one("plain", 3)
      yield* TestClock.adjust("500 millis")
      yield* one("high", 0)
      yield* TestClock.adjust("10 seconds")
      expect(order).toEqual(["first", "high", "plain", "low"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("takes from all windows or from none, and the small do not overtake the big", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        windows: [RateWindow.per(10, "1 second"), RateWindow.per(12, "1 minute")]
      })
      const starts: Array<readonly [number, number]> = []
      const one = (cost: number) =>
        fork(
          gate.run(
            Effect.map(Clock.currentTimeMillis, (now) => void starts.push([cost, now])),
            { cost }
          )
        )
      for (const cost of [6, 5, 1, 4]) yield* one(cost)
      expect(starts).toEqual([[6, 0]])
      yield* TestClock.adjust("1 second")
      expect(starts).toEqual([
        [6, 0],
        [5, 1000],
        [1, 1000]
      ])
      const { windows } = yield* gate.statistics
      expect(windows.map(({ pending, used }) => [used, pending])).toEqual([
        [6, 0],
        [12, 0]
      ])
      yield* TestClock.adjust("59 seconds")
      expect(starts.at(-1)).toEqual([4, 60_000])
      yield* nothingLeft(gate)
    })
  )

  it.effect("gives the tokens of a cancelled caller back, and those of work that began are spent", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 10, windows: [RateWindow.per(2, "1 second")] })
      const a = yield* fork(gate.run(Effect.never))
      const b = yield* fork(gate.run(Effect.never))
      const c = yield* fork(gate.run(Effect.never))
      yield* Fiber.interrupt(a)
      yield* Fiber.interrupt(c)
      const { waiting, windows } = yield* gate.statistics
      expect([waiting, windows[0]!.used, windows[0]!.pending]).toEqual([0, 2, 0])
      yield* Fiber.interrupt(b)
      yield* nothingLeft(gate)
    })
  )

  it.effect("gives the tokens back of one who leaves after a permit was handed to it, and before it began", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, windows: [RateWindow.per(10, "1 minute")] })
      const { began, body, end } = stage()
      const a = yield* fork(gate.run(body("a")))
      const b = yield* fork(gate.run(body("b")))
      yield* fork(gate.run(body("c")))
      a.interruptUnsafe()
      b.interruptUnsafe()
      yield* settle
      expect(began).toEqual(["a", "c"])
      expect((yield* gate.statistics).windows[0]).toMatchObject({ used: 2, pending: 0 })
      yield* end("c")
      yield* nothingLeft(gate)
    })
  )

  it.effect("advises by the instant at which the window will have let all before it in", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(2, "10 seconds")], line: { maxItems: 4 } })
      const advice = Effect.map(Effect.flip(gate.run(Effect.void, { maxWait: 0 })), ({ retryAfter }) =>
        Duration.toMillis(Option.getOrThrow(retryAfter))
      )
      yield* gate.run(Effect.void)
      yield* TestClock.adjust("2 seconds")
      yield* gate.run(Effect.void)
      yield* TestClock.adjust("3 seconds")
      // Nobody before it: the first of the two starts leaves the window in 5 s.
      expect(yield* advice).toBe(5000)
      // The next is expected when the one before it has begun: one each 5 s, in the long run.
      const second = yield* advice
      expect(second).toBeGreaterThanOrEqual(5000 + 5500 / 2)
      expect(second).toBeLessThanOrEqual(5000 + (5500 * 3) / 2)
      for (let i = 0; i < 4; i++) yield* fork(gate.run(Effect.void))
      // Four before it, two a window: two windows after that.
      const third = yield* advice
      expect(third).toBeGreaterThanOrEqual(25_000)
      expect(third).toBeLessThanOrEqual(Math.max(25_000, second + (5500 * 3) / 2))
      yield* TestClock.adjust("1 minute")
      yield* nothingLeft(gate)
    })
  )

  it.effect("holds no timer after its scope closed under callers that waited for a window", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const gate = yield* Scope.provide(Gate.make("test", { windows: [RateWindow.per(1, "1 hour")] }), scope)
      yield* gate.run(Effect.void)
      const waiter = yield* fork(Effect.exit(gate.run(Effect.void)))
      yield* Scope.close(scope, Exit.void)
      expect(reasonOf(yield* Fiber.join(waiter))).toBe("ShuttingDown")
      yield* nothingLeft(gate)
    })
  )

  it.effect("holds no timer while nobody waits", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(1, "1 second")] })
      yield* gate.run(Effect.void)
      const waiter = yield* fork(gate.run(Effect.void))
      expect(timer.of(yield* Clock.Clock).size).toBe(1)
      yield* Fiber.interrupt(waiter)
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, too late", () => {
  const tooLate = (error: Refused.Refused | Deadline.DeadlineExceeded) => {
    if (error._tag !== "Refused" || error.reason._tag !== "TooLate") throw error
    return { ...error, short: Duration.toMillis(error.reason.short) }
  }

  it.effect("refuses on the spot whose window certainly opens after its deadline, and says when to come back", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", {
        windows: [RateWindow.per(2, "10 seconds"), RateWindow.per(9, "1 second")]
      })
      yield* gate.run(Effect.void)
      yield* TestClock.adjust("2 seconds")
      yield* gate.run(Effect.void)
      const late = gate.run(Effect.void).pipe(Deadline.within("7 seconds"))
      const { retryAfter, short, waited } = tooLate(yield* Effect.flip(late))
      expect([short, Duration.toMillis(waited)]).toEqual([1000, 0])
      expect(Duration.toMillis(Option.getOrThrow(retryAfter))).toBe(8000)
      // Both starts of the window must have passed.
      const both = gate.run(Effect.void, { cost: 2 }).pipe(Deadline.within("9 seconds"))
      expect(tooLate(yield* Effect.flip(both)).short).toBe(1000)
      expect((yield* gate.statistics).refused).toBe(2)
      yield* nothingLeft(gate)
    })
  )

  it.effect("leaves the caller what is left of its time: the region is not cut", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { windows: [RateWindow.per(1, "1 minute")] })
      yield* gate.run(Effect.void)
      const fallback = gate.run(Effect.succeed("fresh")).pipe(
        Effect.catchReason("Refused", "TooLate", () => Effect.delay(Effect.succeed("from the cache"), "1 second")),
        Deadline.within("2 seconds")
      )
      const fiber = yield* fork(fallback)
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(fiber)).toBe("from the cache")
      yield* nothingLeft(gate)
    })
  )

  it.effect("lets in, or wait, whoever may still be in time", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { windows: [RateWindow.per(1, "1 second")] })
      const inTime = gate.run(Effect.succeed("in time")).pipe(Deadline.within("1100 millis"))
      yield* gate.run(Effect.void)
      // Those before it may leave, all of them.
      const before = yield* Effect.forEach([1, 2, 3], () => fork(gate.run(Effect.void)))
      const behind = yield* fork(inTime)
      yield* Fiber.interruptAll(before)
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(behind)).toBe("in time")
      yield* TestClock.adjust("1 second")
      // What is reserved may go back.
      const held = yield* fork(Effect.scoped(Effect.andThen(gate.hold({ pending: true }), Effect.never)))
      const next = yield* fork(inTime)
      yield* Fiber.interrupt(held)
      expect(yield* Fiber.join(next)).toBe("in time")
      yield* TestClock.adjust("1 second")
      // It opens at the deadline, to the instant.
      yield* gate.run(Effect.void)
      const edge = yield* fork(gate.run(Effect.void).pipe(Deadline.within("1 second")))
      expect((yield* gate.statistics).waiting).toBe(1)
      yield* Fiber.interrupt(edge)
      yield* nothingLeft(gate)
      // Whoever runs may end.
      const narrow = yield* Gate.make("api", { limit: 1, windows: [RateWindow.per(9, "1 second")] })
      const running = yield* fork(narrow.run(Effect.never))
      const last = yield* fork(narrow.run(Effect.succeed("in time")).pipe(Deadline.within("1 millis")))
      yield* Fiber.interrupt(running)
      yield* settle
      expect(yield* Fiber.join(last)).toBe("in time")
      yield* nothingLeft(narrow)
    })
  )

  it.effect("lets who waits already stay when its turn moves beyond its deadline: it is cut then", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { windows: [RateWindow.per(1, "1 second")] })
      yield* gate.run(Effect.void)
      const waiting = yield* fork(Effect.flip(gate.run(Effect.void).pipe(Deadline.within("1500 millis"))))
      yield* TestClock.adjust("500 millis")
      yield* fork(gate.run(Effect.void).pipe(Priority.at(0)))
      yield* TestClock.adjust("500 millis")
      expect(waiting.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("500 millis")
      expect((yield* Fiber.join(waiting))._tag).toBe("DeadlineExceeded")
      yield* nothingLeft(gate)
    })
  )

  interface Caller {
    readonly pause: number
    readonly cost: number
    readonly urgency: Priority.Urgency
    /** In milliseconds, as all times; `undefined`: none, stays, is stamped at once. */
    readonly budget: number | undefined
    readonly leaves: number | undefined
    readonly sent: number | undefined
    readonly holds: number
  }
  interface Scenario {
    readonly limit: number | undefined
    readonly windows: ReadonlyArray<RateWindow.RateWindow>
    readonly callers: ReadonlyArray<Caller>
  }
  interface Fate {
    readonly deadline: number
    began: number
    tooLate: boolean
  }

  /** Plays a scenario. The caller `spared` has no deadline that anybody can see. */
  const play = ({ callers, limit, windows }: Scenario, spared?: number) =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("played", { limit, windows })
      const fates: Array<Fate> = []
      for (const [index, { budget, cost, holds, leaves, pause, sent, urgency }] of callers.entries()) {
        yield* TestClock.adjust(pause)
        const now = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)
        const fate: Fate = { deadline: (yield* now) + (budget ?? Infinity), began: Infinity, tooLate: false }
        fates.push(fate)
        const body = Effect.scoped(
          Effect.gen(function* () {
            const permit = yield* gate.hold({ cost, pending: sent !== undefined })
            fate.began = yield* now
            if (sent !== undefined) yield* Effect.sleep(Math.min(sent, holds))
            if (sent !== undefined && sent < holds) permit.sent()
            yield* Effect.sleep(holds)
          })
        )
        yield* body.pipe(
          Deadline.option(budget === undefined || index === spared ? Duration.infinity : Duration.millis(budget)),
          Effect.timeoutOption(leaves === undefined ? Duration.infinity : Duration.millis(leaves)),
          Effect.catch((refused) => Effect.sync(() => void (fate.tooLate = refused.reason._tag === "TooLate"))),
          Priority.at(urgency),
          fork
        )
      }
      yield* TestClock.adjust("1 minute")
      yield* nothingLeft(gate)
      return fates
    }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)

  it("nobody is refused for certain who would have been served in time without that", { timeout: 60_000 }, async () => {
    const some = <A>(arbitrary: fc.Arbitrary<A>) => fc.option(arbitrary, { nil: undefined, freq: 2 })
    const caller = fc.record({
      pause: fc.constantFrom(0, 0, 5, 20, 60),
      cost: fc.integer({ min: 1, max: 2 }),
      urgency: fc.constantFrom<Priority.Urgency>(0, 3),
      budget: some(fc.integer({ min: 1, max: 250 })),
      leaves: some(fc.integer({ min: 1, max: 200 })),
      sent: some(fc.integer({ min: 0, max: 60 })),
      holds: fc.integer({ min: 0, max: 60 })
    })
    const window = fc
      .record({ limit: fc.integer({ min: 2, max: 4 }), length: fc.integer({ min: 50, max: 300 }), burst: fc.boolean() })
      .map(({ burst, length, limit }) => RateWindow.per(limit, length, { burst: burst ? 1 : limit }))
    const scenario = fc.record({
      limit: some(fc.integer({ min: 1, max: 3 })),
      windows: fc.array(window, { minLength: 1, maxLength: 2 }),
      // Too few for the gate to learn how long work takes: what it refuses then, it refuses for certain.
      callers: fc.array(caller, { minLength: 3, maxLength: 8 })
    })
    let refused = 0
    await fc.assert(
      fc.asyncProperty(scenario, async (scenario) => {
        for (const [index, { deadline, tooLate }] of (await play(scenario)).entries()) {
          if (!tooLate) continue
          refused++
          expect((await play(scenario, index))[index]!.began).toBeGreaterThan(deadline)
        }
      }),
      { numRuns: 500 }
    )
    expect(refused).toBeGreaterThan(100)
  })
})

describe("Gate.hold", () => {
  it.effect("holds a permit until the scope closes, or until it is released", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* gate.hold()
          expect(reasonOf(yield* Effect.exit(gate.run(Effect.void, { maxWait: 0 })))).toBe("WaitExceeded")
        })
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          const permit = yield* gate.hold()
          permit.release()
          permit.release()
          yield* gate.run(Effect.void, { maxWait: 0 })
        })
      )
      yield* nothingLeft(gate)
    })
  )

  it.effect("says how long its holder stood in the line", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      yield* fork(gate.run(Effect.sleep("300 millis")))
      const held = yield* fork(Effect.scoped(Effect.map(gate.hold(), ({ waited }) => Duration.toMillis(waited))))
      yield* TestClock.adjust("300 millis")
      expect(yield* Fiber.join(held)).toBe(300)
      yield* nothingLeft(gate)
    })
  )

  it.effect("a pending grant counts as now until it is sent, and opens the window one length after that", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(1, "1 second")] })
      const starts: Array<number> = []
      const held = yield* fork(
        Effect.scoped(
          Effect.gen(function* () {
            const permit = yield* gate.hold({ pending: true })
            yield* Effect.sleep("5 seconds")
            permit.sent()
            permit.sent()
            yield* Effect.sleep("10 seconds")
          })
        )
      )
      yield* fork(gate.run(Effect.map(Clock.currentTimeMillis, (now) => void starts.push(now))))
      yield* TestClock.adjust("5 seconds")
      expect(starts).toEqual([])
      expect((yield* gate.statistics).windows[0]!.pending).toBe(0)
      yield* TestClock.adjust("1 second")
      expect(starts).toEqual([6000])
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(held)
      yield* nothingLeft(gate)
    })
  )

  it.effect("a pending grant that was never sent goes back, and the next starts at once", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(1, "1 hour")] })
      const held = yield* fork(Effect.scoped(Effect.andThen(gate.hold({ pending: true }), Effect.never)))
      const next = yield* fork(gate.run(Effect.succeed("started")))
      yield* Fiber.interrupt(held)
      expect(yield* Fiber.join(next)).toBe("started")
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate.withPermit", () => {
  it.effect("runs on the caller's fiber with a permit in hand, and gives it back however that ends", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      yield* fork(gate.run(Effect.sleep("300 millis")))
      const waited = yield* fork(gate.withPermit(({ waited }) => Effect.succeed(Duration.toMillis(waited))))
      yield* TestClock.adjust("300 millis")
      expect(yield* Fiber.join(waited)).toBe(300)
      expect(yield* Effect.flip(gate.withPermit(() => Effect.fail("no")))).toBe("no")
      const bug = (): Effect.Effect<void> => {
        throw new Error("bug")
      }
      expect(Exit.hasDies(yield* Effect.exit(gate.withPermit(bug)))).toBe(true)
      const cut = yield* fork(gate.withPermit(() => Effect.never))
      expect(reasonOf(yield* Effect.exit(gate.withPermit(() => Effect.void, { maxWait: 0 })))).toBe("WaitExceeded")
      yield* Fiber.interrupt(cut)
      yield* nothingLeft(gate)
    })
  )

  it.effect("what is pending counts from when it is sent, and goes back where it never was", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(1, "1 second")] })
      yield* gate.withPermit(() => Effect.void, { pending: true })
      const late = (permit: Gate.Permit) => Effect.map(Effect.sleep("5 seconds"), () => permit.sent())
      const sent = yield* fork(gate.withPermit(late, { pending: true }))
      const starts: Array<number> = []
      yield* fork(gate.run(Effect.map(Clock.currentTimeMillis, (now) => void starts.push(now))))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(sent)
      expect(starts).toEqual([6000])
      yield* nothingLeft(gate)
    })
  )

  it.effect("a limit that adapts learns from what is said at the head, and not from the end", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: ConcurrencyLimit.aimd({ max: 8, initial: 8 }) })
      yield* gate.withPermit((permit) => Effect.sync(() => permit.answered("overload")), { pending: true })
      expect((yield* gate.statistics).limit).toBe(4)
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, under cancellation", () => {
  it.live("passes the sweep: run, with a line and a window", () =>
    Effect.gen(function* () {
      const hits = yield* Sweep.sweep({
        setup: Gate.make("swept", { limit: 1, windows: [RateWindow.per(2, "1 second", { burst: 1 })] }),
        subject: (gate) =>
          Effect.all(
            [
              gate.run(Effect.sleep("10 millis")),
              gate.run(Effect.yieldNow).pipe(Priority.at(1)),
              gate.run(Effect.void, { maxWait: "600 millis" }).pipe(Effect.ignore),
              gate.run(Effect.void).pipe(Deadline.option("700 millis"))
            ],
            { concurrency: "unbounded" }
          ),
        check: nothingLeft
      })
      expect(hits).toBeGreaterThan(60)
    })
  )

  it.live("passes the sweep: hold, pending and not, released early and by the scope", () =>
    Effect.gen(function* () {
      const hits = yield* Sweep.sweep({
        setup: Gate.make("swept", { limit: 1, windows: [RateWindow.per(1, "1 second")] }),
        subject: (gate) =>
          Effect.all(
            [
              Effect.scoped(Effect.andThen(gate.hold(), Effect.sleep("10 millis"))),
              Effect.scoped(
                Effect.flatMap(gate.hold({ pending: true }), (permit) =>
                  Effect.andThen(
                    Effect.yieldNow,
                    Effect.sync(() => permit.sent())
                  )
                )
              ),
              Effect.scoped(
                Effect.flatMap(gate.hold({ pending: true }), (permit) =>
                  Effect.andThen(
                    Effect.sync(() => permit.release()),
                    Effect.yieldNow
                  )
                )
              )
            ],
            { concurrency: "unbounded" }
          ),
        check: nothingLeft
      })
      expect(hits).toBeGreaterThan(60)
    })
  )

  it.live("passes the sweep: the gate's scope closes under those who wait", () =>
    Effect.gen(function* () {
      yield* Sweep.sweep({
        setup: Effect.gen(function* () {
          const scope = yield* Scope.make()
          return { scope, gate: yield* Scope.provide(Gate.make("swept", { limit: 1 }), scope) }
        }),
        subject: ({ gate, scope }) =>
          Effect.all(
            [
              gate.run(Effect.sleep("10 millis")),
              Effect.ignore(gate.run(Effect.void)),
              Effect.andThen(Effect.sleep("5 millis"), Scope.close(scope, Exit.void))
            ],
            { concurrency: "unbounded" }
          ),
        check: ({ gate }) => nothingLeft(gate)
      })
    })
  )

  it.effect("after 10,000 random cancels the counts agree and permits and tokens are exact", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        limit: 7,
        windows: [RateWindow.per(500, "1 second"), RateWindow.per(900, "3 seconds", { burst: 50 })],
        line: { maxItems: 20_000, maxWait: "20 seconds" }
      })
      let began = 0
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (let i = 0; i < 12_000; i++) {
        const cost = yield* Random.nextIntBetween(1, 4)
        const urgency = (yield* Random.nextIntBetween(0, 7)) as Priority.Urgency
        const body = Effect.andThen(
          Effect.sync(() => (began += cost)),
          Effect.sleep(i % 3)
        )
        fibers.push(yield* fork(gate.run(body, { cost }).pipe(Priority.at(urgency))))
      }
      const order = yield* Random.shuffle(fibers)
      let cancelled = 0
      for (const fiber of order) {
        if (cancelled === 10_000) break
        if (fiber.pollUnsafe() === undefined) cancelled++
        fiber.interruptUnsafe()
        if (cancelled % 50 === 0) yield* TestClock.adjust("1 millis")
        if (cancelled % 500 === 0) expect(Gate.check(yield* gate.statistics)).toEqual([])
      }
      for (let i = 0; i < 40; i++) yield* TestClock.adjust("1 second")
      yield* Effect.forEach(fibers, Fiber.await, { discard: true })
      yield* nothingLeft(gate)
      const { interrupted, windows } = yield* gate.statistics
      expect(interrupted).toBeGreaterThan(8_000)
      expect(began).toBeGreaterThan(0)
      expect(windows.map(({ pending, used }) => [used, pending])).toEqual([
        [0, 0],
        [0, 0]
      ])
      // All permits are there: as many can run at once as at first.
      const holders = yield* Effect.forEach([1, 2, 3, 4, 5, 6, 7], () => fork(gate.run(Effect.never, { maxWait: 0 })))
      expect((yield* gate.statistics).running).toBe(7)
      yield* Fiber.interruptAll(holders)
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, seen from outside", () => {
  it.effect("is in the registry while its scope lives; equal names get a number", () =>
    Effect.gen(function* () {
      const names = Effect.map(Registry.snapshot, (all) => all.map(({ kind, name }) => `${kind} ${name}`))
      const both = Effect.scoped(
        Effect.gen(function* () {
          yield* Gate.make("api", { limit: 1 })
          yield* Gate.make("api", { limit: 1 })
          expect(yield* names).toEqual(["gate api", "gate api#2"])
          const [first] = yield* Registry.snapshot
          expect(JSON.parse(JSON.stringify(first!.statistics)).limit).toBe(1)
        })
      )
      yield* both
      expect(yield* names).toEqual([])
      // Nothing of a name is left either.
      yield* both
    }).pipe(Effect.provideService(Registry.Registry, Registry.make()))
  )

  it.effect("check names what is broken", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const broken = Gate.check({ ...(yield* gate.statistics), running: 2, offered: 5 })
      expect(broken).toEqual([
        "test: expected offered = completed + failed + interrupted + refused + running + waiting, got 5 = 0 + 0 + 0 + 0 + 2 + 0",
        "test: expected 0 <= running <= 1, got 2"
      ])
      const left = Gate.check({ ...(yield* gate.statistics), waitingCost: 1, waitingBytes: 2 })
      expect(left).toEqual([
        "test: expected no cost waiting in an empty line, got 1",
        "test: expected no bytes waiting in an empty line, got 2"
      ])
    })
  )

  describe("misuse", () => {
    const defect = (effect: () => Effect.Effect<unknown, unknown, Scope.Scope>) =>
      Effect.map(Effect.exit(Effect.suspend(effect)), (exit) => String(Exit.isFailure(exit) && exit.cause))

    it.effect("names the expectation and the value", () =>
      Effect.gen(function* () {
        expect(yield* defect(() => Gate.make("x", { limit: 0 }))).toContain(
          "Expected a limit of at least 1 permit, got 0"
        )
        expect(yield* defect(() => Gate.make("x", { line: { maxItems: -1 } }))).toContain(
          "maxItems of at least 0, got -1"
        )
        const gate = yield* Gate.make("x", { windows: [RateWindow.per(5, "1 minute")] })
        expect(yield* defect(() => gate.run(Effect.void, { cost: 6 }))).toContain(
          "Expected a cost of at most 5 (5 per 1m), got 6"
        )
        expect(yield* defect(() => gate.run(Effect.void, { cost: 0 }))).toContain("Expected a cost above 0, got 0")
      })
    )
  })
})
