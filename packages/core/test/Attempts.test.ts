import { describe, expect, it } from "@effect/vitest"
import { Cause, Data, Duration, Effect, Exit, Fiber, Option, Random, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  Attempts,
  CancelScope,
  Deadline,
  Gate,
  GateMap,
  Reason,
  Refused,
  Registry,
  Tenant,
  WorkQueue
} from "@fairlead/core"
import { CircuitBreaker } from "@fairlead/core/http"
import { defect, endOf, fork, settle, timers } from "./gates.ts"

class Busy extends Data.TaggedError("Busy")<{ readonly attempt: number; readonly after?: Duration.Input }> {}

/** An upstream that fails as often as it is told to, and notes when it was called. */
const upstream = (failures = Infinity) => {
  const calls: Array<number> = []
  const call = Effect.clockWith((clock) =>
    Effect.suspend(() => {
      calls.push(Number(clock.monotonicTimeNanosUnsafe()) / 1e6)
      return calls.length > failures ? Effect.succeed(calls.length) : Effect.fail(new Busy({ attempt: calls.length }))
    })
  )
  return { calls, call }
}

/** Delays one can foresee. */
const steady = (delay: Duration.Input = "1 second") => Schedule.spaced(delay)

const nothingLeft = (attempts: Attempts.Attempts<any>) =>
  Effect.gen(function* () {
    const statistics = yield* attempts.statistics
    expect(Attempts.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting]).toEqual([0, 0])
    expect(yield* timers).toBe(0)
  })

describe("Attempts", () => {
  it.effect("tries again after a failure, and gives what the attempt that succeeds comes to", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream(2)
      const attempts = yield* Attempts.make("api", { backoff: steady() })
      const fiber = yield* fork(attempts.run(call))
      yield* TestClock.adjust("999 millis")
      expect(calls).toEqual([0])
      yield* TestClock.adjust("1 minute")
      expect(yield* Fiber.join(fiber)).toBe(3)
      expect(calls).toEqual([0, 1000, 2000])
      expect(yield* attempts.statistics).toMatchObject({ calls: 1, attempts: 3, retries: 2, succeeded: 1 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("after the last attempt the failure is that of the last, with all that its cause says", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream()
      const attempts = yield* Attempts.make("api", { max: 4, backoff: steady(0) })
      const cause = yield* Effect.flip(Effect.sandbox(attempts.run(call)))
      expect(calls.length).toBe(4)
      expect(cause.reasons).toMatchObject([{ _tag: "Fail", error: { _tag: "Busy", attempt: 4 } }])
      expect(yield* attempts.statistics).toMatchObject({ attempts: 4, retries: 3, failed: 1 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("a defect is not tried again, nor an interrupt, nor a failure with a defect beside it", () =>
    Effect.gen(function* () {
      let tries = 0
      const attempts = yield* Attempts.make("api", { backoff: steady(0) })
      const count = Effect.sync(() => tries++)
      yield* Effect.exit(attempts.run(Effect.andThen(count, Effect.die("bug"))))
      yield* Effect.exit(attempts.run(Effect.andThen(count, Effect.interrupt)))
      const both = Effect.failCause(Cause.combine(Cause.fail("no"), Cause.die("bug")))
      yield* Effect.exit(attempts.run(Effect.andThen(count, both)))
      expect(tries).toBe(3)
      expect(yield* attempts.statistics).toMatchObject({ calls: 3, failed: 2, interrupted: 1 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("what `again` says no to is given at once, and it says how long to wait at the least", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream()
      const attempts = yield* Attempts.make("api", {
        backoff: steady("1 second"),
        again: (error: Busy) => (error.attempt === 1 ? "5 seconds" : false)
      })
      const fiber = yield* fork(Effect.exit(attempts.run(call)))
      yield* TestClock.adjust("1 minute")
      expect(Exit.isFailure(yield* Fiber.join(fiber))).toBe(true)
      // The backoff goes on top of what the other side said.
      expect(calls).toEqual([0, 6000])
      yield* nothingLeft(attempts)
    })
  )

  it.effect("of many who are told the same instant, no two come back in the same", () =>
    Effect.gen(function* () {
      const attempts = yield* Attempts.make("api", {
        max: 2,
        budget: { floor: 100 },
        again: () => "2 seconds"
      })
      const { call, calls } = upstream()
      yield* fork(Effect.forEach(Array(50), () => Effect.exit(attempts.run(call)), { concurrency: "unbounded" }))
      yield* TestClock.adjust("1 minute")
      const retries = calls.slice(50)
      expect(retries.length).toBe(50)
      expect(Math.min(...retries)).toBeGreaterThanOrEqual(2000)
      expect(Math.max(...retries)).toBeLessThanOrEqual(2101)
      expect(new Set(retries).size).toBeGreaterThan(25)
      yield* nothingLeft(attempts)
    })
  )

  it.effect("a refusal is tried again no earlier than it says, and never where that is no use", () =>
    Effect.gen(function* () {
      const refuse = (reason: Refused.Reason, retryAfter: Option.Option<Duration.Duration> = Option.none()) =>
        new Refused.Refused({ reason, gate: "g", waited: Duration.zero, retryAfter })
      expect(Attempts.usual(refuse(new Refused.ShuttingDown(), Option.some(Duration.seconds(1))))).toBe(false)
      expect(Attempts.usual(refuse(new Refused.TooLate({ short: Duration.zero })))).toBe(false)
      expect(Attempts.usual(refuse(new Refused.Shed({ signal: "s" })))).toBe(true)
      expect(Attempts.usual(refuse(new Refused.Shed({ signal: "s" }), Option.some(Duration.seconds(1))))).toEqual(
        Duration.seconds(1)
      )
      expect(Attempts.usual("anything else")).toBe(true)
      // Whatever it is that says when to come back; and only if that is a time.
      expect(Attempts.usual({ retryAfter: Option.some(Duration.seconds(2)) })).toEqual(Duration.seconds(2))
      for (const retryAfter of [Option.none(), Option.some(2), Duration.seconds(2), "2"]) {
        expect(Attempts.usual({ retryAfter })).toBe(true)
      }
    })
  )

  it.effect("once it drains nothing is tried again, and who waits to be is given his last failure", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream()
      const dropped: Array<number> = []
      const attempts = yield* Attempts.make("api", { backoff: steady() })
      const run = attempts.run(call, { dropped: (_, attempt) => Effect.sync(() => void dropped.push(attempt)) })
      const waiting = yield* fork(Effect.flip(run))
      const slow = yield* fork(Effect.flip(attempts.run(Effect.delay(call, "5 seconds"))))
      const busy = yield* fork(Effect.flip(attempts.run(call, { dropped: () => Effect.sleep("3 seconds") })))
      yield* TestClock.adjust("500 millis")
      expect(yield* attempts.statistics).toMatchObject({ running: 1, waiting: 2 })
      yield* attempts.drain
      yield* settle
      expect(waiting.pollUnsafe()).toEqual(Exit.succeed(new Busy({ attempt: 1 })))
      yield* TestClock.adjust("10 seconds")
      expect([yield* Fiber.join(busy), yield* Fiber.join(slow)]).toEqual([
        new Busy({ attempt: 2 }),
        new Busy({ attempt: 3 })
      ])
      expect(yield* Effect.flip(run)).toEqual(new Busy({ attempt: 4 }))
      expect([calls.length, dropped]).toEqual([4, [1]])
      const { budget, ...counts } = yield* attempts.statistics
      expect(counts).toMatchObject({ calls: 4, failed: 4, retries: 0 })
      expect(budget.spent).toBe(0)
      yield* nothingLeft(attempts)
    })
  )

  it.effect("ends where its schedule ends", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream()
      const attempts = yield* Attempts.make("api", { max: 10, backoff: Schedule.recurs(1) })
      yield* Effect.exit(attempts.run(call))
      yield* Effect.exit(attempts.run(call))
      // Of each call anew.
      expect(calls.length).toBe(4)
      yield* nothingLeft(attempts)
    })
  )

  it.effect("the default backoff is by chance, up to twice as long each time, and up to 10 seconds", () =>
    Effect.gen(function* () {
      const longest = { nextIntUnsafe: () => 0, nextDoubleUnsafe: () => 1 - 2 ** -53 }
      const attempts = yield* Attempts.make("api", { max: 10, budget: { floor: 100 } })
      const { call, calls } = upstream()
      yield* fork(Effect.exit(attempts.run(call)).pipe(Effect.provideService(Random.Random, longest)))
      yield* TestClock.adjust("1 hour")
      const gaps = calls.slice(1).map((at, i) => Math.round(at - calls[i]!))
      expect(gaps).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
      yield* nothingLeft(attempts)
    })
  )

  it.effect("tells of each failure that it does not come to, before its backoff, and not of the last", () =>
    Effect.gen(function* () {
      const { call } = upstream()
      const told: Array<string> = []
      const attempts = yield* Attempts.make("api", { backoff: steady() })
      const dropped = (error: Busy, attempt: number) =>
        Effect.map(attempts.statistics, ({ waiting }) => {
          told.push(`${error.attempt} ${attempt} ${waiting}`)
        })
      const fiber = yield* fork(Effect.exit(attempts.run(call, { dropped })))
      expect(told).toEqual(["1 1 1"])
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      expect(told).toEqual(["1 1 1", "2 2 1"])
      yield* nothingLeft(attempts)
    })
  )

  it.effect("stands in the registry while its scope is open, and checks itself", () =>
    Effect.gen(function* () {
      const registry = Registry.make()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const attempts = yield* Attempts.make("api")
          expect(registry.snapshot()).toMatchObject([{ kind: "attempts", name: "api", statistics: { calls: 0 } }])
          const statistics = yield* attempts.statistics
          expect(Attempts.check({ ...statistics, calls: 1, attempts: 2, hedgesWon: 1, waiting: 1 })).toHaveLength(3)
          expect(Attempts.check({ ...statistics, budget: { allowed: 10, spent: 1 } })).toEqual([
            "api: expected no more spent than there were, got 1 spent of 0"
          ])
        })
      ).pipe(Effect.provideService(Registry.Registry, registry))
      expect(registry.snapshot()).toEqual([])
    })
  )
})

describe("the attempt budget", () => {
  it.effect("where it is spent a failure is given at once, and a new window brings a new one", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream()
      const attempts = yield* Attempts.make("api", { max: 2, backoff: steady(0), budget: { floor: 3, ratio: 0.1 } })
      const ten = Effect.forEach(Array(10), () => Effect.exit(attempts.run(call)))
      yield* ten
      expect(calls.length).toBe(13)
      expect(yield* attempts.statistics).toMatchObject({
        retries: 3,
        retriesDenied: 7,
        budget: { allowed: 3, spent: 3 }
      })
      // A tenth of forty is four; what a second may have of it, it has had.
      yield* TestClock.adjust("1 second")
      yield* Effect.forEach([1, 2, 3], () => ten)
      expect(yield* attempts.statistics).toMatchObject({ retries: 4, budget: { allowed: 4, spent: 4 } })
      yield* TestClock.adjust("11 seconds")
      yield* ten
      expect(yield* attempts.statistics).toMatchObject({ retries: 7 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("an attempt counts from when it waits, and no more when its caller has left", () =>
    Effect.gen(function* () {
      const { call } = upstream()
      const attempts = yield* Attempts.make("api", { backoff: steady("1 hour"), budget: { floor: 2 } })
      const first = yield* fork(attempts.run(call))
      yield* fork(attempts.run(call))
      expect(yield* attempts.statistics).toMatchObject({ waiting: 2, budget: { spent: 2 } })
      yield* TestClock.adjust("10 minutes")
      // An outage longer than the window: those that wait still count.
      expect(Exit.isFailure(yield* Effect.exit(attempts.run(call)))).toBe(true)
      yield* Fiber.interrupt(first)
      expect(yield* attempts.statistics).toMatchObject({ waiting: 1, interrupted: 1, budget: { spent: 1 } })
      const third = yield* fork(attempts.run(call))
      expect(yield* attempts.statistics).toMatchObject({ waiting: 2, retries: 0 })
      yield* Fiber.interrupt(third)
      yield* TestClock.adjust("2 hours")
      yield* nothingLeft(attempts)
    })
  )

  it.effect("what callers who left, and hedges that were refused, have given back is there at once for the next", () =>
    Effect.gen(function* () {
      const options = { backoff: steady("1 hour"), budget: { floor: 10, ratio: 0 } }
      const attempts = yield* Attempts.make("api", options)
      const { call } = upstream()
      const fibers = yield* Effect.forEach(Array(10), () => fork(attempts.run(call)))
      yield* Fiber.interruptAll(fibers)
      const next = yield* fork(attempts.run(call))
      expect(yield* attempts.statistics).toMatchObject({ waiting: 1, retriesDenied: 0, budget: { spent: 1 } })
      yield* Fiber.interrupt(next)
      yield* nothingLeft(attempts)
      const gate = yield* Gate.make("upstream", { limit: 1 })
      const hedging = yield* Attempts.make("api", { ...options, hedge: { after: "10 millis", ratio: 1 } })
      for (let i = 0; i < 10; i++) {
        const fiber = yield* fork(hedging.run(gate.run(Effect.sleep("20 millis")), { idempotent: true }))
        yield* TestClock.adjust("20 millis")
        yield* Fiber.join(fiber)
      }
      const retried = yield* fork(hedging.run(call))
      expect(yield* hedging.statistics).toMatchObject({ hedgesRefused: 10, waiting: 1, retriesDenied: 0 })
      yield* Fiber.interrupt(retried)
      yield* nothingLeft(hedging)
    })
  )

  it.effect("is one for all callers of a dependency, and another's is another", () =>
    Effect.gen(function* () {
      const { call } = upstream()
      const options = { max: 2, backoff: steady(0), budget: { floor: 1 } }
      const [a, b] = [yield* Attempts.make("a", options), yield* Attempts.make("b", options)]
      yield* Effect.forEach([a, a, a, b], (each) => Effect.exit(each.run(call)), { concurrency: "unbounded" })
      expect([(yield* a.statistics).retries, (yield* b.statistics).retries]).toEqual([1, 1])
    })
  )
})

describe("the deadline", () => {
  it.effect("no sleep outlasts it: the failure comes at once", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream()
      const attempts = yield* Attempts.make("api", { backoff: steady("1 second") })
      const fiber = yield* fork(Effect.flip(attempts.run(call).pipe(Deadline.within("1500 millis"))))
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(fiber)).toMatchObject({ _tag: "Busy", attempt: 2 })
      expect(calls).toEqual([0, 1000])
      // Nor does one that ends with it: that attempt would never begin.
      expect(yield* Effect.flip(attempts.run(call).pipe(Deadline.within("1 second")))).toMatchObject({ _tag: "Busy" })
      expect(yield* attempts.statistics).toMatchObject({ tooLate: 2 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("a Retry-After beyond it is not waited for", () =>
    Effect.gen(function* () {
      const { call } = upstream()
      const attempts = yield* Attempts.make("api", { again: () => "1 minute" })
      expect(yield* Effect.flip(attempts.run(call).pipe(Deadline.within("59 seconds")))).toMatchObject({ attempt: 1 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("one that comes nearer ends the sleep, which says its name", () =>
    Effect.gen(function* () {
      const { call } = upstream()
      const attempts = yield* Attempts.make("github", { backoff: steady("1 minute") })
      const fiber = yield* fork(
        Effect.flip(
          Deadline.region((region) =>
            Effect.andThen(
              Effect.forkChild(Effect.delay(region.narrow("1 second"), "1 second"), { startImmediately: true }),
              attempts.run(call)
            )
          )
        )
      )
      yield* TestClock.adjust("2 seconds")
      const error = (yield* Fiber.join(fiber)) as Deadline.DeadlineExceeded
      expect(error.waitingFor).toEqual(Option.some("backoff of github, attempt 2"))
      expect(yield* attempts.statistics).toMatchObject({ interrupted: 1, budget: { spent: 0 } })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("a backoff that is over is no longer waited for", () =>
    Effect.gen(function* () {
      const { call } = upstream(1)
      const attempts = yield* Attempts.make("api", { backoff: steady("1 second") })
      const hanging = Effect.andThen(attempts.run(call), Effect.sleep("1 minute"))
      const fiber = yield* fork(Effect.flip(Deadline.within(hanging, "3 seconds")))
      yield* TestClock.adjust("3 seconds")
      expect(yield* Fiber.join(fiber)).toMatchObject({ waitingFor: Option.none() })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("ends the sleep of one who cannot be interrupted, too", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream()
      const attempts = yield* Attempts.make("api", { backoff: steady("1 minute") })
      const fiber = yield* fork(
        Effect.exit(
          Deadline.region((region) =>
            Effect.andThen(
              Effect.forkChild(Effect.delay(region.narrow("1 second"), "1 second"), { startImmediately: true }),
              Effect.uninterruptible(attempts.run(call))
            )
          )
        )
      )
      yield* TestClock.adjust("2 seconds")
      expect(Exit.isFailure(yield* Fiber.join(fiber))).toBe(true)
      expect(calls.length).toBe(1)
      expect(yield* attempts.statistics).toMatchObject({ interrupted: 1, budget: { spent: 0 } })
      yield* nothingLeft(attempts)
    })
  )
})

/** An upstream whose answers a test times: each call takes as long as the next of these, in milliseconds; negative: it fails then. */
const timed = (...times: ReadonlyArray<number>) => {
  const begun: Array<number> = []
  const cut: Array<string> = []
  const call = Effect.suspend(() => {
    const n = begun.length
    const time = times[n] ?? 0
    return Effect.clockWith((clock) =>
      Effect.suspend(() => {
        begun.push(Number(clock.monotonicTimeNanosUnsafe()) / 1e6)
        return Effect.andThen(Effect.sleep(Math.abs(time)), time < 0 ? Effect.fail(`no ${n}`) : Effect.succeed(n))
      })
    ).pipe(
      Effect.onInterrupt(() =>
        Effect.map(CancelScope.reason, (reason) => {
          cut.push(`${n}: ${Option.match(reason, { onNone: () => "", onSome: Reason.format })}`)
        })
      )
    )
  })
  return { begun, cut, call }
}

const hedged = (options: Attempts.Options<any> = {}) =>
  Attempts.make<any>("api", { backoff: steady(), hedge: { after: "100 millis", ratio: 1 }, ...options })

const idempotent = { idempotent: true }

describe("hedging", () => {
  it.effect("a second attempt begins when the first is slow; the first success wins and the loser is cut", () =>
    Effect.gen(function* () {
      const { begun, call, cut } = timed(5000, 50)
      const attempts = yield* hedged()
      const fiber = yield* fork(attempts.run(call, idempotent))
      yield* TestClock.adjust("99 millis")
      expect(begun).toEqual([0])
      yield* TestClock.adjust("51 millis")
      expect(endOf(fiber)).toEqual(Exit.succeed(1))
      expect(begun).toEqual([0, 100])
      expect(cut).toEqual(["0: Manual: another attempt won"])
      expect(yield* attempts.statistics).toMatchObject({ attempts: 2, hedges: 1, hedgesWon: 1, succeeded: 1 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("the first may still win, and a fast one has no second", () =>
    Effect.gen(function* () {
      const { begun, call, cut } = timed(150, 5000, 0, 99)
      const attempts = yield* hedged()
      const slow = yield* fork(attempts.run(call, idempotent))
      yield* TestClock.adjust("150 millis")
      expect(endOf(slow)).toEqual(Exit.succeed(0))
      expect(cut).toEqual(["1: Manual: another attempt won"])
      expect(yield* attempts.run(Effect.succeed("at once"), idempotent)).toBe("at once")
      yield* TestClock.adjust("1 second")
      const fast = yield* fork(attempts.run(Effect.sleep("99 millis"), idempotent))
      yield* TestClock.adjust("1 second")
      expect(Exit.isSuccess(endOf(fast))).toBe(true)
      expect(begun.length).toBe(2)
      expect(yield* attempts.statistics).toMatchObject({ hedges: 1, hedgesWon: 0, succeeded: 3 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("not at the deadline, nor after it, of one who cannot be interrupted", () =>
    Effect.gen(function* () {
      const { begun, call } = timed(150, 150, 150)
      const attempts = yield* hedged()
      const fibers = [
        yield* fork(Effect.exit(Effect.uninterruptible(attempts.run(call, idempotent)).pipe(Deadline.within(30)))),
        yield* fork(Effect.exit(Effect.uninterruptible(attempts.run(call, idempotent)).pipe(Deadline.within(100))))
      ]
      yield* TestClock.adjust("150 millis")
      expect(fibers.map((fiber) => Exit.isSuccess(endOf(fiber)))).toEqual([true, true])
      expect(begun).toEqual([0, 0])
      expect(yield* attempts.statistics).toMatchObject({ hedges: 0, hedgesDenied: 0, tooLate: 2, budget: { spent: 0 } })
      const intime = yield* fork(Effect.uninterruptible(attempts.run(call, idempotent)).pipe(Deadline.within(101)))
      yield* TestClock.adjust("150 millis")
      yield* Fiber.await(intime)
      expect(yield* attempts.statistics).toMatchObject({ hedges: 1, tooLate: 2 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("only what is idempotent", () =>
    Effect.gen(function* () {
      const { begun, call } = timed(5000)
      const attempts = yield* hedged()
      const fiber = yield* fork(attempts.run(call))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      expect(begun.length).toBe(1)
      yield* nothingLeft(attempts)
    })
  )

  it.effect("waits for the loser's clean-up, and does not lose what goes wrong there", () =>
    Effect.gen(function* () {
      const attempts = yield* hedged()
      let n = 0
      const call = (cleanUp: Effect.Effect<void>) =>
        Effect.suspend(() => (n++ % 2 === 0 ? Effect.onInterrupt(Effect.never, () => cleanUp) : Effect.succeed("won")))
      const slow = yield* fork(attempts.run(call(Effect.sleep("1 second")), idempotent))
      yield* TestClock.adjust("1099 millis")
      expect(slow.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      expect(endOf(slow)).toEqual(Exit.succeed("won"))
      const dirty = yield* fork(attempts.run(call(Effect.die("dirty")), idempotent))
      yield* TestClock.adjust("1 second")
      expect(Exit.isFailure(endOf(dirty)) && Cause.squash((endOf(dirty) as Exit.Failure<any, any>).cause)).toBe("dirty")
      yield* nothingLeft(attempts)
    })
  )

  it.effect("a failure of one leaves it to the other; of two the first's is what is tried again, or given", () =>
    Effect.gen(function* () {
      // The first fails while the second goes on, which succeeds.
      const a = timed(-150, 200)
      const attempts = yield* hedged()
      const won = yield* fork(attempts.run(a.call, idempotent))
      yield* TestClock.adjust("1 second")
      expect(endOf(won)).toEqual(Exit.succeed(1))
      // The second fails, the first goes on.
      const b = timed(300, -50)
      const first = yield* fork(attempts.run(b.call, idempotent))
      yield* TestClock.adjust("1 second")
      expect(endOf(first)).toEqual(Exit.succeed(0))
      // Both fail, the second first.
      const dropped: Array<string> = []
      const c = timed(-200, -50, -10)
      const both = yield* fork(
        attempts.run(c.call, {
          idempotent: true,
          dropped: (error, attempt) => Effect.sync(() => dropped.push(`${attempt}: ${error}`))
        })
      )
      yield* TestClock.adjust("10 seconds")
      expect(endOf(both)).toEqual(Exit.fail("no 2"))
      expect(dropped).toEqual(["2: no 1", "1: no 0"])
      expect(c.begun.length).toBe(3)
      yield* nothingLeft(attempts)
    })
  )

  it.effect("a defect of one is the end of both", () =>
    Effect.gen(function* () {
      const attempts = yield* hedged()
      let n = 0
      const fiber = yield* fork(
        attempts.run(
          Effect.suspend(() => (n++ === 0 ? Effect.never : Effect.die("bug"))),
          idempotent
        )
      )
      yield* TestClock.adjust("100 millis")
      expect(endOf(fiber)).toEqual(Exit.die("bug"))
      yield* nothingLeft(attempts)
    })
  )

  it.effect("interrupting the caller cuts both, for his reason, and waits", () =>
    Effect.gen(function* () {
      const { call, cut } = timed(5000, 5000)
      const attempts = yield* hedged()
      const scope = yield* CancelScope.make()
      const slow = Effect.onInterrupt(call, () => Effect.sleep("1 second"))
      const fiber = yield* fork(scope.run(attempts.run(slow, idempotent)))
      yield* TestClock.adjust("200 millis")
      const cancel = yield* fork(scope.cancel(new Reason.ClientGone()))
      yield* settle
      expect(cut).toEqual(["0: ClientGone", "1: ClientGone"])
      expect(fiber.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(cancel)
      expect(yield* attempts.statistics).toMatchObject({ interrupted: 1 })
      yield* nothingLeft(attempts)
    })
  )

  it.effect("a hedge does not wait at a gate: it is refused, has not been, and the first goes on", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("upstream", { limit: 1 })
      const map = yield* GateMap.make("hosts", { limit: 1 })
      const queue = yield* WorkQueue.make("queue", {
        limit: 1,
        run: () => Effect.sleep("1 second"),
        line: { maxItems: 1 }
      })
      const suspending = yield* WorkQueue.make("queue", {
        limit: 1,
        run: () => Effect.sleep("1 second"),
        line: { maxItems: 0, overflow: "suspend" }
      })
      const body = Effect.sleep("1 second")
      for (const call of [
        gate.run(body),
        map.run("host", body),
        queue.submit(1),
        suspending.submit(1),
        Effect.scoped(Effect.andThen(gate.hold(), body))
      ]) {
        const attempts = yield* hedged()
        const fiber = yield* fork(attempts.run(call, idempotent))
        yield* TestClock.adjust("200 millis")
        expect(yield* attempts.statistics).toMatchObject({
          attempts: 1,
          hedges: 0,
          hedgesRefused: 1,
          budget: { spent: 0 }
        })
        expect((yield* gate.statistics).waiting).toBe(0)
        // A gate of a map is kept for ten seconds.
        yield* TestClock.adjust("20 seconds")
        expect(Exit.isSuccess(endOf(fiber))).toBe(true)
        yield* nothingLeft(attempts)
      }
      expect((yield* gate.statistics).refused).toBe(2)
    })
  )

  it.effect("a hedge is refused on the spot behind other doors, too, and in regions and scopes of its own", () =>
    Effect.gen(function* () {
      const [outer, gate] = [yield* Gate.make("outer", { limit: 10 }), yield* Gate.make("gate", { limit: 1 })]
      const [breaker, asked] = [yield* CircuitBreaker.make("b"), yield* CircuitBreaker.make("b", { failures: {} })]
      const inner = yield* Attempts.make("inner", { max: 1 })
      const body = gate.run(Effect.sleep("1 second"))
      for (const call of [
        outer.run(body),
        breaker.run(body),
        asked.run(body),
        inner.run(body, { idempotent: true }),
        Deadline.within(body, "1 hour"),
        Effect.scoped(Effect.andThen(Scope.Scope, body)),
        Effect.withSpan(body, "call"),
        Effect.gen(function* () {
          yield* Tenant.Tenant
          return yield* body
        })
      ]) {
        const attempts = yield* hedged({ max: 2 })
        const fiber = yield* fork(attempts.run(call as Effect.Effect<void>, idempotent))
        yield* TestClock.adjust("200 millis")
        expect(yield* attempts.statistics).toMatchObject({ hedges: 0, hedgesRefused: 1, budget: { spent: 0 } })
        yield* TestClock.adjust("1 second")
        expect(Exit.isSuccess(endOf(fiber))).toBe(true)
        yield* nothingLeft(attempts)
      }
    })
  )

  it.effect("a hedge that has made its request and then is refused has been, and failed: credit and budget hold", () =>
    Effect.gen(function* () {
      const second = yield* Gate.make("second", { limit: 1 })
      const holder = yield* fork(second.run(Effect.never))
      let requests = 0
      const call = Effect.sync(() => requests++).pipe(
        Effect.andThen(Effect.sleep("8 millis")),
        Effect.andThen(second.run(Effect.void)),
        Effect.timeoutOption("20 millis")
      )
      const twentieth = yield* hedged({ max: 2, budget: { floor: 1000 }, hedge: { after: "5 millis", ratio: 0.05 } })
      for (let i = 0; i < 100; i++) {
        const fiber = yield* fork(Effect.ignore(twentieth.run(call, idempotent)))
        yield* TestClock.adjust("20 millis")
        yield* Fiber.join(fiber)
      }
      expect(requests).toBe(105)
      expect(yield* twentieth.statistics).toMatchObject({ hedges: 5, hedgesRefused: 0, budget: { spent: 5 } })
      yield* nothingLeft(twentieth)
      // What it was refused for is told, as of any attempt that failed.
      const dropped: Array<string> = []
      const attempts = yield* hedged({ max: 2 })
      let n = 0
      const slow = Effect.suspend(() =>
        n++ === 0 ? Effect.sleep("300 millis") : Effect.delay(second.run(Effect.void), 1)
      )
      const told = (error: Refused.Refused, attempt: number) =>
        Effect.sync(() => void dropped.push(`${attempt} ${error.reason._tag}`))
      const fiber = yield* fork(attempts.run(slow, { idempotent: true, dropped: told }))
      yield* TestClock.adjust("300 millis")
      expect(Exit.isSuccess(endOf(fiber))).toBe(true)
      expect(dropped).toEqual(["2 WaitExceeded"])
      yield* Fiber.interrupt(holder)
      yield* nothingLeft(attempts)
    })
  )

  it.effect("a hedge goes where a permit is free, and a first attempt waits as ever", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("upstream", { limit: 2 })
      const { call } = timed(5000, 50)
      const attempts = yield* hedged()
      const fiber = yield* fork(attempts.run(gate.run(call), idempotent))
      yield* TestClock.adjust("150 millis")
      expect(endOf(fiber)).toEqual(Exit.succeed(1))
      yield* gate.resize(1)
      const busy = yield* fork(gate.run(Effect.sleep("50 millis")))
      const waits = yield* fork(attempts.run(gate.run(Effect.succeed("in")), idempotent))
      expect((yield* gate.statistics).waiting).toBe(1)
      yield* TestClock.adjust("50 millis")
      yield* Fiber.join(busy)
      expect(yield* Fiber.join(waits)).toBe("in")
      yield* nothingLeft(attempts)
    })
  )

  it.effect("both have the context of the caller", () =>
    Effect.gen(function* () {
      const attempts = yield* hedged()
      const seen: Array<string> = []
      const call = Effect.flatMap(Tenant.Tenant, (tenant) =>
        Effect.suspend(() => (seen.push(tenant) === 1 ? Effect.never : Effect.void))
      )
      const fiber = yield* fork(attempts.run(call, idempotent).pipe(Tenant.as("web")))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["web", "web"])
      yield* nothingLeft(attempts)
    })
  )

  it.effect("draws on the budget, and has one of its own", () =>
    Effect.gen(function* () {
      const spent = yield* hedged({ budget: { floor: 0, ratio: 0 } })
      const one = yield* fork(spent.run(Effect.sleep("1 second"), idempotent))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(one)
      expect(yield* spent.statistics).toMatchObject({ hedges: 0, hedgesDenied: 1 })
      const fiftieth = yield* hedged({ hedge: { after: "100 millis", ratio: 0.02 } })
      for (let i = 0; i < 100; i++) {
        const fiber = yield* fork(fiftieth.run(Effect.sleep("200 millis"), idempotent))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(fiber)
      }
      expect(yield* fiftieth.statistics).toMatchObject({ hedges: 2, hedgesDenied: 98 })
      yield* nothingLeft(fiftieth)
    })
  )

  it.effect("counts as an attempt: no more of them than `max`", () =>
    Effect.gen(function* () {
      const { begun, call } = timed(-300, -300, -300, -300)
      const attempts = yield* hedged({ max: 2 })
      const fiber = yield* fork(Effect.exit(attempts.run(call, idempotent)))
      yield* TestClock.adjust("1 minute")
      expect(Exit.isFailure(yield* Fiber.join(fiber))).toBe(true)
      expect(begun.length).toBe(2)
      yield* nothingLeft(attempts)
    })
  )

  it.effect("the delay is learnt: none before enough was seen, then the slowest twentieth, within its bounds", () =>
    Effect.gen(function* () {
      const learn = (hedge: Attempts.HedgeOptions, slow: number) =>
        Effect.gen(function* () {
          const attempts = yield* Attempts.make("api", { hedge })
          const after: Array<number | null> = []
          for (let i = 0; i < 160; i++) {
            const fiber = yield* fork(attempts.run(Effect.sleep(i % 100 < slow ? "1 second" : "40 millis"), idempotent))
            yield* TestClock.adjust("1 second")
            yield* Fiber.join(fiber)
            after.push((yield* attempts.statistics).hedgeAfterMillis)
          }
          expect(after[90]).toBe(null)
          yield* nothingLeft(attempts)
          return after.at(-1)!
        })
      // Three in a hundred are slow: the p95 is that of the fast.
      const p95 = yield* learn({}, 3)
      expect(p95).toBeGreaterThanOrEqual(40)
      expect(p95).toBeLessThanOrEqual(50)
      expect(yield* learn({ after: "p99" }, 3)).toBeGreaterThan(900)
      expect(yield* learn({ min: "60 millis" }, 3)).toBe(60)
      expect(yield* learn({ max: "20 millis" }, 3)).toBe(20)
    })
  )

  it.effect("one that is overtaken counts as slow: what is learnt does not sink by being used", () =>
    Effect.gen(function* () {
      const attempts = yield* Attempts.make("api", { hedge: { ratio: 1 }, budget: { ratio: 1 } })
      // Half of the first attempts take 10 ms, a quarter 20 and so on: the p95 is 160. Whatever overtakes them is fast.
      for (let i = 1; i < 2000; i++) {
        let n = 0
        const call = Effect.suspend(() => Effect.sleep(n++ === 0 ? 10 * (i & -i) : 1))
        const fiber = yield* fork(attempts.run(call, idempotent))
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.interrupt(fiber)
      }
      const { hedgeAfterMillis, hedgesWon } = yield* attempts.statistics
      expect(hedgesWon).toBeGreaterThan(40)
      expect(hedgeAfterMillis).toBeGreaterThanOrEqual(160)
      expect(hedgeAfterMillis).toBeLessThan(200)
    })
  )
})

describe("faults of others, which it has not", () => {
  it.effect("retries of several layers multiply: here the inner one's budget holds for all of them", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream()
      const options = { max: 3, backoff: steady(0), budget: { floor: 10 } }
      const [outer, inner] = [yield* Attempts.make("outer", options), yield* Attempts.make("inner", options)]
      yield* Effect.forEach(Array(100), () => Effect.exit(outer.run(inner.run(call))))
      // Nine hundred without a budget.
      expect(calls.length).toBeLessThanOrEqual(100 + 20 + 24)
    })
  )

  it.effect("one abort signal shared by all calls: the loser of one is cut, and no other call", () =>
    Effect.gen(function* () {
      const attempts = yield* hedged()
      const signals: Array<AbortSignal> = []
      const call = (time: number) =>
        Effect.suspend(() => {
          const slow = signals.length === 0
          return Effect.tryPromise({
            try: (signal) => {
              signals.push(signal)
              return new Promise<void>((done) => slow || done())
            },
            catch: String
          }).pipe(Effect.delay(time))
        })
      const hanging = yield* fork(
        attempts.run(
          Effect.tryPromise({
            try: (signal) => {
              signals.push(signal)
              return new Promise(() => {})
            },
            catch: String
          })
        )
      )
      signals.length = 0
      const fiber = yield* fork(attempts.run(call(0), idempotent))
      yield* TestClock.adjust("100 millis")
      yield* Effect.yieldNow
      yield* Fiber.join(fiber)
      expect(signals.map(({ aborted }) => aborted)).toEqual([true, false])
      expect(hanging.pollUnsafe()).toBeUndefined()
      yield* Fiber.interrupt(hanging)
      yield* nothingLeft(attempts)
    })
  )

  it.effect("the loser of a race goes on unheard: here it has ended when the call ends", () =>
    Effect.gen(function* () {
      const attempts = yield* hedged()
      let going = 0
      let n = 0
      const call = Effect.acquireUseRelease(
        Effect.sync(() => going++),
        () => (n++ === 0 ? Effect.never : Effect.void),
        () =>
          Effect.andThen(
            Effect.sleep("10 millis"),
            Effect.sync(() => going--)
          )
      )
      const fiber = yield* fork(attempts.run(call, idempotent))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(going).toBe(0)
    })
  )

  it.effect("a retry that nobody can cancel: one who leaves in backoff leaves at once, and with him his attempt", () =>
    Effect.gen(function* () {
      const { call, calls } = upstream()
      const attempts = yield* Attempts.make("api", { backoff: steady("1 hour") })
      const fiber = yield* fork(attempts.run(call))
      yield* Fiber.interrupt(fiber)
      expect(yield* timers).toBe(0)
      yield* TestClock.adjust("2 hours")
      expect(calls.length).toBe(1)
      yield* nothingLeft(attempts)
    })
  )
})

describe("the attempts of many dependencies", () => {
  it.effect("have a budget for each", () =>
    Effect.gen(function* () {
      const budget = { floor: 2, ratio: 0 }
      const attempts = yield* Attempts.perKey("hosts", { backoff: steady(0), budget })
      const [a, b] = [upstream(), upstream()]
      for (let i = 0; i < 4; i++) yield* Effect.ignore(attempts.run("a", a.call))
      yield* Effect.ignore(attempts.run("b", b.call))
      expect([a.calls.length, b.calls.length]).toEqual([6, 3])
      const statistics = yield* attempts.statistics
      expect(statistics).toMatchObject({
        name: "hosts",
        calls: 5,
        failed: 5,
        attempts: 9,
        retries: 4,
        retriesDenied: 3
      })
      expect(statistics.budget).toEqual({ allowed: 4, spent: 4 })
      expect(Attempts.check(statistics)).toEqual([])
      expect((yield* Registry.snapshot).filter(({ kind }) => kind === "attempts").length).toBe(1)
    })
  )

  it.effect("forget the one that was asked for least lately, and none that has a call; all counts stay", () =>
    Effect.gen(function* () {
      const attempts = yield* Attempts.perKey(
        "hosts",
        { backoff: steady("1 minute"), budget: { floor: 1, ratio: 0 } },
        { maxKeys: 2 }
      )
      const retries = (key: string) => Effect.map(fork(attempts.run(key, upstream(1).call)), (fiber) => [fiber])
      const busy = yield* retries("busy")
      yield* attempts.run("idle", Effect.void)
      yield* attempts.run("busy", Effect.void)
      // The idle one makes room, twice.
      yield* attempts.run("new", Effect.void)
      yield* attempts.run("newer", Effect.void)
      expect(yield* attempts.statistics).toMatchObject({ calls: 5, waiting: 1, succeeded: 4 })
      // Its budget is spent still.
      expect((yield* Effect.flip(attempts.run("busy", upstream().call))).attempt).toBe(1)
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(busy[0]!)
      const statistics = yield* attempts.statistics
      expect(statistics).toMatchObject({ calls: 6, succeeded: 5, failed: 1, retries: 1, waiting: 0 })
      expect(Attempts.check(statistics)).toEqual([])
      expect(yield* timers).toBe(0)
    })
  )

  it.effect("drain together, those too that come later", () =>
    Effect.gen(function* () {
      const attempts = yield* Attempts.perKey("hosts", { backoff: steady("1 minute") })
      const waits = yield* fork(Effect.flip(attempts.run("a", upstream().call)))
      yield* attempts.drain
      expect((yield* Fiber.join(waits)).attempt).toBe(1)
      expect((yield* Effect.flip(attempts.run("b", upstream().call))).attempt).toBe(1)
      expect(yield* timers).toBe(0)
    })
  )

  it.effect("are wrong where one would be, at once", () =>
    Effect.gen(function* () {
      for (const [options, keys] of [
        [{ max: 0 }, {}],
        [{}, { maxKeys: 0 }]
      ] as const) {
        const exit = yield* Effect.exit(Attempts.perKey("wrong", options, keys))
        expect(Exit.isFailure(exit) && String(Cause.squash(exit.cause))).toMatch(/of at least 1, got 0/)
      }
    })
  )
})

describe("misuse", () => {
  it.effect("says what was expected and what was found", () =>
    Effect.gen(function* () {
      const of = (options: Attempts.Options<unknown>) => defect(() => Attempts.make("api", options))
      expect(yield* of({ max: 0 })).toBe("RangeError: Expected max of at least 1, got 0")
      expect(yield* of({ budget: { ratio: -1 } })).toBe("RangeError: Expected ratio of at least 0, got -1")
      expect(yield* of({ budget: { window: 0 } })).toBe("RangeError: Expected a window of some time, got 0 ms")
      expect(yield* of({ hedge: { after: "p100" } })).toBe(
        "RangeError: Expected to hedge after p1 to p99, or after a time, got p100"
      )
      expect(yield* of({ hedge: { after: -5 } })).toBe(
        "RangeError: Expected to hedge after p1 to p99, or after a time, got -5"
      )
      expect(yield* of({ hedge: { min: 20, max: 10 } })).toBe(
        "RangeError: Expected min of at most max, got 20 and 10 ms"
      )
      expect(yield* of({ hedge: { ratio: 2 } })).toBe("RangeError: Expected a ratio of hedges from 0 to 1, got 2")
    })
  )

  /** The failure, and what stands beside it. */
  const both = (exit: Exit.Exit<unknown, unknown>) =>
    Exit.isFailure(exit) ? exit.cause.reasons.map((reason) => String(Cause.squash(Cause.fromReasons([reason])))) : exit

  const bug = () => {
    throw new Error("bug")
  }

  it.effect(
    "an `again` that throws, or gives nonsense, is a defect beside the failure, and nothing stays counted",
    () =>
      Effect.gen(function* () {
        const expected = "RangeError: Expected `again` to give true, false, or a time of at least 0, got"
        const duration = 'RangeError: Expected a duration such as "2 seconds" or 200 (milliseconds), got'
        for (const [again, defect] of [
          [bug, "Error: bug"],
          [() => -1000, `${expected} -1000`],
          [() => -Infinity, `${expected} -Infinity`],
          [() => Effect.succeed(true), `${expected} Success(true)`],
          [() => Number.NaN, "RangeError: Expected a duration, got NaN"],
          [() => undefined, `${duration} undefined`],
          [() => "soon", `${duration} "soon"`]
        ] as const) {
          const attempts = yield* Attempts.make("api", { backoff: steady(0), again: again as () => boolean })
          expect(both(yield* Effect.exit(attempts.run(Effect.fail("no"))))).toEqual(["no", defect])
          expect(yield* attempts.statistics).toMatchObject({ failed: 1, retries: 0, budget: { spent: 0 } })
          yield* nothingLeft(attempts)
        }
      })
  )

  it.effect(
    "so is a schedule that throws; and one with a time below zero does not shorten what the other side said",
    () =>
      Effect.gen(function* () {
        const scheduled = (delay: () => number) =>
          Schedule.fromStep(Effect.succeed(() => Effect.succeed([0, delay()] as any)))
        const attempts = yield* Attempts.make("api", { backoff: scheduled(bug) })
        expect(both(yield* Effect.exit(attempts.run(Effect.fail("no"))))).toEqual(["no", "Error: bug"])
        yield* nothingLeft(attempts)
        const { call, calls } = upstream(1)
        const below = yield* Attempts.make("api", { again: () => "1 second", backoff: scheduled(() => -900) })
        const fiber = yield* fork(below.run(call))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(fiber)
        expect(calls).toEqual([0, 1000])
        yield* nothingLeft(below)
      })
  )

  it.effect(
    "a `dropped` that throws, dies, or is no effect is a defect beside the failure, before a backoff or in a race",
    () =>
      Effect.gen(function* () {
        for (const [dropped, defect] of [
          [bug, "Error: bug"],
          [() => Effect.die("bug"), "bug"],
          [() => undefined, "TypeError: Expected `dropped` to give an effect, got undefined"]
        ] as const) {
          const ask = { idempotent: true, dropped: dropped as () => Effect.Effect<void> }
          const attempts = yield* hedged({ backoff: steady(0) })
          expect(both(yield* Effect.exit(attempts.run(Effect.fail("no"), ask)))).toEqual(["no", defect])
          expect(yield* attempts.statistics).toMatchObject({ failed: 1, retries: 0, budget: { spent: 0 } })
          // In place of the value of the other; beside its failure.
          const won = yield* fork(attempts.run(timed(300, -50).call, ask))
          const lost = yield* fork(attempts.run(timed(-300, -50).call, ask))
          yield* TestClock.adjust("1 second")
          expect(both(endOf(won))).toEqual([defect])
          expect(both(endOf(lost))).toEqual(["no 0", defect])
          yield* nothingLeft(attempts)
        }
      })
  )
})
