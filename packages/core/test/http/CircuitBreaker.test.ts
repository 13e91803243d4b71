import { describe, expect, it } from "@effect/vitest"
import { Cause, Data, Deferred, Duration, Effect, Exit, Fiber, Option, Schedule } from "effect"
import * as Effects from "effect/persistence/CircuitBreaker"
import { TestClock } from "effect/testing"
import { Deadline, Refused, Registry } from "@fairlead/core"
import { CircuitBreaker } from "@fairlead/core/http"
import { defect, endOf, fork, reasonOf, refusal, settle, timers } from "../gates.ts"

const fails = Effect.fail("no")
const works = Effect.succeed("yes")

/** `n` failures, one after the other. */
const fail = (breaker: CircuitBreaker.CircuitBreaker, n: number, key?: string) =>
  Effect.replicateEffect(Effect.flip(breaker.run(fails, key)), n, { discard: true })

/** A call that a test ends when it likes. */
const call = (breaker: CircuitBreaker.CircuitBreaker, key?: string) =>
  Effect.gen(function* () {
    const end = yield* Deferred.make<string, unknown>()
    const fiber = yield* fork(breaker.run(Deferred.await(end), key))
    return {
      fiber,
      succeed: Effect.andThen(Deferred.succeed(end, "yes"), Fiber.await(fiber)),
      fail: Effect.andThen(Deferred.fail(end, "no"), Fiber.await(fiber))
    }
  })

const stateOf = (breaker: CircuitBreaker.CircuitBreaker, key = "") =>
  Effect.map(breaker.statistics, ({ circuits }) => circuits.find((circuit) => circuit.key === key)?.state ?? "closed")

const nothingLeft = (breaker: CircuitBreaker.CircuitBreaker) =>
  Effect.gen(function* () {
    const statistics = yield* breaker.statistics
    expect(CircuitBreaker.check(statistics)).toEqual([])
    expect(statistics.running).toBe(0)
    expect(yield* timers).toBe(0)
  })

describe("CircuitBreaker", () => {
  it.effect("opens after so many failures in a row; what comes then is refused, and has not begun", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 3, open: "10 seconds" })
      yield* fail(breaker, 2)
      yield* breaker.run(works)
      yield* fail(breaker, 2)
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* fail(breaker, 1)
      expect(yield* stateOf(breaker)).toBe("open")
      yield* TestClock.adjust("4 seconds")
      let began = false
      const exit = yield* Effect.exit(breaker.run(Effect.sync(() => (began = true))))
      expect(began).toBe(false)
      expect(refusal(exit)).toMatchObject({
        gate: "api",
        reason: new Refused.CircuitOpen({ failures: 3 }),
        waited: Duration.zero,
        retryAfter: Option.some(Duration.seconds(6))
      })
      yield* nothingLeft(breaker)
    })
  )

  it.effect("lets one call through when its time is over: its success closes it, its failure opens it again", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 1, open: "10 seconds" })
      yield* fail(breaker, 1)
      yield* TestClock.adjust("10 seconds")
      const probe = yield* call(breaker)
      expect(yield* stateOf(breaker)).toBe("half-open")
      // When the probe ends nobody knows.
      const beside = refusal(yield* Effect.exit(breaker.run(works)))
      expect([beside.reason._tag, beside.retryAfter]).toEqual(["CircuitOpen", Option.none()])
      yield* probe.fail
      expect(yield* stateOf(breaker)).toBe("open")
      expect(refusal(yield* Effect.exit(breaker.run(works)))).toMatchObject({
        reason: new Refused.CircuitOpen({ failures: 2 }),
        retryAfter: Option.some(Duration.seconds(10))
      })
      yield* TestClock.adjust("10 seconds")
      yield* (yield* call(breaker)).succeed
      expect(yield* stateOf(breaker)).toBe("closed")
      expect(yield* breaker.run(works)).toBe("yes")
      yield* nothingLeft(breaker)
    })
  )

  it.effect("at its door it refuses while it is open, takes nothing, and lets in while a probe runs", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 1, open: "10 seconds" })
      yield* breaker.admit()
      yield* fail(breaker, 1)
      yield* TestClock.adjust("4 seconds")
      expect(refusal(yield* Effect.exit(breaker.admit()))).toMatchObject({
        gate: "api",
        reason: new Refused.CircuitOpen({ failures: 1 }),
        retryAfter: Option.some(Duration.seconds(6))
      })
      yield* breaker.admit("another")
      expect(yield* breaker.statistics).toMatchObject({ offered: 2, failed: 1, refused: 1, circuits: [{ refused: 1 }] })
      yield* TestClock.adjust("6 seconds")
      // Whoever is let in is not the probe.
      yield* Effect.forEach([1, 2], () => breaker.admit())
      expect(yield* stateOf(breaker)).toBe("open")
      const probe = yield* call(breaker)
      yield* breaker.admit()
      yield* probe.fail
      expect(refusal(yield* Effect.exit(breaker.admit())).reason._tag).toBe("CircuitOpen")
      yield* nothingLeft(breaker)
    })
  )

  it.effect("a probe that is interrupted makes room for the next", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 1, open: "1 second" })
      yield* fail(breaker, 1)
      yield* TestClock.adjust("1 second")
      const probe = yield* call(breaker)
      yield* Fiber.interrupt(probe.fiber)
      expect(yield* stateOf(breaker)).toBe("half-open")
      expect(yield* breaker.run(works)).toBe("yes")
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* nothingLeft(breaker)
    })
  )

  it.effect(
    "what began before it opened changes nothing: it neither closes it, nor is its probe, nor counts after it",
    () =>
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.make("api", { failures: 1, open: "1 second" })
        const [a, b, c, d] = yield* Effect.all([call(breaker), call(breaker), call(breaker), call(breaker)])
        yield* fail(breaker, 1)
        yield* a.succeed
        expect(yield* stateOf(breaker)).toBe("open")
        // Whose time is over, but nobody has asked.
        yield* TestClock.adjust("1 second")
        yield* b.succeed
        expect(yield* stateOf(breaker)).toBe("open")
        const probe = yield* call(breaker)
        yield* c.fail
        expect(yield* stateOf(breaker)).toBe("half-open")
        yield* probe.succeed
        yield* d.fail
        expect(yield* stateOf(breaker)).toBe("closed")
        expect((yield* breaker.statistics).openings).toBe(1)
        yield* nothingLeft(breaker)
      })
  )

  it.effect("what began before a failure is counted by its end", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 2 })
      const [early, late] = yield* Effect.all([call(breaker), call(breaker)])
      yield* fail(breaker, 1)
      // In a row is by ends, not by beginnings.
      yield* early.succeed
      yield* fail(breaker, 1)
      expect(yield* stateOf(breaker)).toBe("closed")
      yield* late.fail
      expect(yield* stateOf(breaker)).toBe("open")
      yield* nothingLeft(breaker)
    })
  )

  it.effect("has a circuit for each key", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 1 })
      yield* fail(breaker, 1, "a")
      expect(reasonOf(yield* Effect.exit(breaker.run(works, "a")))._tag).toBe("CircuitOpen")
      expect(yield* breaker.run(works, "b")).toBe("yes")
      expect(yield* breaker.run(works)).toBe("yes")
      yield* nothingLeft(breaker)
    })
  )

  it.effect("is open for longer each time by a schedule, until it has stayed closed for as long as it was open", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 1, open: Schedule.exponential("1 second") })
      const openFor = Effect.map(Effect.exit(breaker.run(works)), (exit) =>
        Duration.toSeconds(Option.getOrThrow(refusal(exit).retryAfter))
      )
      for (const seconds of [1, 2, 4]) {
        yield* fail(breaker, 1)
        expect(yield* openFor).toBe(seconds)
        yield* TestClock.adjust(seconds * 1000)
      }
      yield* breaker.run(works)
      yield* TestClock.adjust("3 seconds")
      yield* fail(breaker, 1)
      expect(yield* openFor).toBe(8)
      yield* TestClock.adjust("8 seconds")
      yield* breaker.run(works)
      yield* TestClock.adjust("8 seconds")
      yield* breaker.run(works)
      yield* fail(breaker, 1)
      expect(yield* openFor).toBe(1)
      yield* nothingLeft(breaker)
    })
  )

  it.effect("stays open for as long as the failure that opened it says, and no longer than maxOpen", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", {
        failures: 1,
        open: "1 second",
        maxOpen: "1 minute",
        judge: (exit) =>
          Exit.isSuccess(exit)
            ? CircuitBreaker.success
            : CircuitBreaker.failure({ retryAfter: Number(String(Cause.squash(exit.cause))) })
      })
      const openFor = (key: string, millis: string) =>
        Effect.gen(function* () {
          yield* Effect.exit(breaker.run(Effect.fail(millis), key))
          return Duration.toMillis(Option.getOrThrow(refusal(yield* Effect.exit(breaker.run(works, key))).retryAfter))
        })
      expect(yield* openFor("short", "500")).toBe(1000)
      expect(yield* openFor("long", "30000")).toBe(30_000)
      expect(yield* openFor("absurd", "9e9")).toBe(60_000)
      yield* nothingLeft(breaker)
    })
  )

  it.effect("or opens at a rate of failures", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: { rate: 0.5, of: 4, atLeast: 4 } })
      for (const effect of [fails, works, works, fails]) {
        expect(yield* stateOf(breaker)).toBe("closed")
        yield* Effect.exit(breaker.run(effect))
      }
      expect(yield* stateOf(breaker)).toBe("open")
      expect(reasonOf(yield* Effect.exit(breaker.run(works)))._tag).toBe("CircuitOpen")
      yield* nothingLeft(breaker)
    })
  )

  it.effect("its time is not that of the wall: a clock that is set back keeps nothing open", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 1, open: "1 second" })
      yield* TestClock.setTime(Date.UTC(2030, 0, 1))
      yield* fail(breaker, 1)
      const before = yield* breaker.statistics
      expect(before.circuits[0]).toMatchObject({ sinceMillis: 0, retryAfterMillis: 1000 })
      yield* TestClock.adjust("1 second")
      expect(yield* breaker.run(works)).toBe("yes")
      yield* nothingLeft(breaker)
    })
  )
})

describe("CircuitBreaker, what counts", () => {
  const openedBy = (effect: Effect.Effect<unknown, unknown>, options: CircuitBreaker.Options = {}) =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 1, ...options })
      const fiber = yield* fork(Effect.exit(breaker.run(effect)))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(fiber)
      const { completed, failed, ignored, open } = yield* breaker.statistics
      yield* nothingLeft(breaker)
      return [completed, failed, ignored, open]
    })
  const late = Effect.never.pipe(Deadline.within("1 second"))
  const refused = new Refused.Refused({
    reason: new Refused.ShuttingDown(),
    gate: "inner",
    waited: Duration.zero,
    retryAfter: Option.none()
  })

  it.effect.each([
    ["a success", works, [1, 0, 0, 0]],
    ["a failure", fails, [0, 1, 0, 1]],
    ["a defect", Effect.die("broken"), [0, 1, 0, 1]],
    ["a deadline inside of the call", late, [0, 1, 0, 1]],
    ["a refusal inside of the call, which has not begun then", Effect.fail(refused), [0, 0, 1, 0]],
    ["an interruption", Effect.never, [0, 0, 1, 0]],
    ["a failure beside a refusal", Effect.failCause(Cause.combine(Cause.fail(refused), Cause.die("x"))), [0, 1, 0, 1]]
  ] as const)("%s", ([, effect, expected]) =>
    Effect.gen(function* () {
      expect(yield* openedBy(effect)).toEqual(expected)
    })
  )

  it.effect("a deadline around the call says nothing: it may have come with no time left", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 1 })
      const fiber = yield* fork(Effect.flip(breaker.run(Effect.never).pipe(Deadline.within("1 second"))))
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(fiber))._tag).toBe("DeadlineExceeded")
      expect(yield* breaker.statistics).toMatchObject({ failed: 0, ignored: 1, open: 0 })
      yield* nothingLeft(breaker)
    })
  )

  class NotFound extends Data.TaggedError("NotFound")<{}> {}

  it.effect("is for judge to say, but for an interruption", () =>
    Effect.gen(function* () {
      const judge = (exit: Exit.Exit<unknown, unknown>) =>
        Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof NotFound
          ? CircuitBreaker.success
          : Exit.isFailure(exit)
            ? CircuitBreaker.failure()
            : CircuitBreaker.ignored
      expect(yield* openedBy(Effect.fail(new NotFound()), { judge })).toEqual([1, 0, 0, 0])
      expect(yield* openedBy(fails, { judge })).toEqual([0, 1, 0, 1])
      expect(yield* openedBy(works, { judge })).toEqual([0, 0, 1, 0])
      expect(yield* openedBy(Effect.never, { judge })).toEqual([0, 0, 1, 0])
    })
  )

  it.effect("one whose judge throws dies of that, whichever way it went, and says nothing", () =>
    Effect.gen(function* () {
      const judge = () => {
        throw new Error("unjust")
      }
      for (const failures of [1, {}]) {
        const breaker = yield* CircuitBreaker.make("api", { failures, judge })
        expect(yield* defect(() => breaker.run(works))).toBe("Error: unjust")
        expect(yield* breaker.statistics).toMatchObject({ ignored: 1, open: 0 })
        yield* nothingLeft(breaker)
      }
    })
  )

  it.effect(
    "one whose judge gives nonsense dies of that, beside its failure, says nothing, and its probe is not lost",
    () =>
      Effect.gen(function* () {
        for (const [nonsense, got] of [
          [undefined, "undefined"],
          [null, "null"],
          [{}, "[object Object]"],
          [Number.NaN, "NaN"],
          ["Success", "Success"],
          [Effect.succeed(CircuitBreaker.success), "Success("],
          [Effect.fail("no"), "Failure("],
          [{ _tag: "Success!" }, "[object Object]"]
        ] as const) {
          for (const failures of [1, { of: 1 }]) {
            let judged: unknown = nonsense
            const judge = () => judged as CircuitBreaker.Outcome
            const breaker = yield* CircuitBreaker.make("api", { failures, judge, open: "1 second" })
            const died = (exit: Exit.Exit<unknown, unknown>) =>
              Exit.isFailure(exit)
                ? exit.cause.reasons
                    .filter(Cause.isDieReason)
                    .map(({ defect }) => String(defect))
                    .at(-1)
                : ""
            const wrong = `TypeError: Expected judge to give success, failure() or ignored, got ${got}`
            expect(died(yield* Effect.exit(breaker.run(works)))).toContain(wrong)
            const failed = yield* Effect.exit(breaker.run(fails))
            expect(died(failed)).toContain(wrong)
            expect(Exit.isFailure(failed) && failed.cause.reasons.length).toBe(2)
            expect(yield* breaker.statistics).toMatchObject({ ignored: 2, open: 0 })
            judged = CircuitBreaker.failure()
            yield* fail(breaker, 1)
            yield* TestClock.adjust("1 second")
            judged = nonsense
            expect(died(yield* Effect.exit(breaker.run(works)))).toContain(wrong)
            judged = CircuitBreaker.success
            expect(yield* breaker.run(works)).toBe("yes")
            expect(yield* stateOf(breaker)).toBe("closed")
            expect(yield* breaker.statistics).toMatchObject({ ignored: 3, failed: 1, completed: 1 })
            yield* nothingLeft(breaker)
          }
        }
      })
  )

  it.effect("an error of another breaker inside of the call is the call's own", () =>
    Effect.gen(function* () {
      const outer = yield* CircuitBreaker.make("outer", { failures: {} })
      const error = new Effects.CircuitBreakerError({ reason: new Effects.CircuitHalfOpen({ key: "x" }) })
      expect(yield* Effect.flip(outer.run(Effect.fail(error)))).toBe(error)
      const inner = yield* CircuitBreaker.make("inner", { failures: 1 })
      yield* fail(inner, 1)
      expect(refusal(yield* Effect.exit(outer.run(inner.run(works)))).gate).toBe("inner")
      yield* nothingLeft(outer)
    })
  )
})

describe("CircuitBreaker, what it remembers", () => {
  it.effect("of a key that works is nothing, and of others no more than so many", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 2, maxKeys: 3 })
      const keys = Effect.map(breaker.statistics, ({ circuits }) => circuits.map(({ key }) => key))
      yield* breaker.run(works, "a")
      expect(yield* keys).toEqual([])
      yield* fail(breaker, 1, "a")
      expect(yield* keys).toEqual(["a"])
      yield* breaker.run(works, "a")
      expect(yield* keys).toEqual([])
      yield* fail(breaker, 2, "a")
      yield* fail(breaker, 1, "b")
      yield* fail(breaker, 1, "c")
      // Asked about: it stays, and the one that nobody has asked about goes.
      yield* Effect.exit(breaker.run(works, "a"))
      yield* fail(breaker, 1, "d")
      expect(yield* keys).toEqual(["c", "a", "d"])
      yield* fail(breaker, 1, "b")
      expect(yield* stateOf(breaker, "b")).toBe("closed")
      yield* nothingLeft(breaker)
    })
  )

  it.effect("what began in a circuit that is forgotten counts in no later one of its key", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 1, maxKeys: 1, open: "1 second" })
      const before = yield* call(breaker, "a")
      yield* fail(breaker, 1, "a")
      yield* TestClock.adjust("1 second")
      const probe = yield* call(breaker, "a")
      yield* fail(breaker, 1, "b")
      yield* before.fail
      yield* probe.fail
      expect(yield* stateOf(breaker, "a")).toBe("closed")
      yield* nothingLeft(breaker)
    })
  )

  it.effect("stands in the registry while its scope lives, as one snapshot", () =>
    Effect.gen(function* () {
      const registry = Registry.make()
      const seen = yield* Effect.scoped(
        Effect.gen(function* () {
          const breaker = yield* CircuitBreaker.make("api", { failures: 2, open: "10 seconds" })
          yield* fail(breaker, 2, "a")
          yield* fail(breaker, 1, "b")
          yield* Effect.exit(breaker.run(works, "a"))
          yield* fork(breaker.run(Effect.never, "b"))
          yield* TestClock.adjust("3 seconds")
          return registry.snapshot()
        })
      ).pipe(Effect.provideService(Registry.Registry, registry))
      expect(registry.snapshot()).toEqual([])
      const of = { sinceMillis: 3000, refused: 0, openings: 0, retryAfterMillis: null }
      expect(seen).toEqual([
        {
          kind: "breaker",
          name: "api",
          statistics: {
            name: "api",
            open: 1,
            halfOpen: 0,
            running: 1,
            offered: 5,
            completed: 0,
            failed: 3,
            ignored: 0,
            refused: 1,
            openings: 1,
            circuits: [
              { ...of, key: "b", state: "closed", failures: 1 },
              { ...of, key: "a", state: "open", failures: 2, openings: 1, refused: 1, retryAfterMillis: 7000 }
            ]
          }
        }
      ])
    })
  )
})

it.effect("a snapshot in which a call is lost, or ended twice, is seen as wrong", () =>
  Effect.gen(function* () {
    const breaker = yield* CircuitBreaker.make("api")
    yield* breaker.run(works)
    const right = yield* breaker.statistics
    expect(CircuitBreaker.check(right)).toEqual([])
    expect(CircuitBreaker.check({ ...right, offered: 2 })).toEqual([
      "api: expected offered = completed + failed + ignored + refused + running, got 2 = 1 + 0 + 0 + 0 + 0"
    ])
    expect(CircuitBreaker.check({ ...right, completed: 2, running: -1 })).toEqual([
      "api: expected running >= 0, got -1"
    ])
  })
)

describe("CircuitBreaker, with another store", () => {
  const shared = Effect.map(Effects.CircuitBreakerStore, (store) => store).pipe(
    Effect.provide(Effects.layerStoreMemory())
  )

  it.effect("shares its circuits with whoever writes there", () =>
    Effect.gen(function* () {
      const store = yield* shared
      const [a, b] = yield* Effect.all([
        CircuitBreaker.make("a", { failures: 2, store }),
        CircuitBreaker.make("b", { failures: 2, store, open: "1 second" })
      ])
      yield* fail(a, 1)
      yield* fail(b, 1)
      expect(refusal(yield* Effect.exit(a.run(works)))).toMatchObject({
        gate: "a",
        retryAfter: Option.some(Duration.seconds(1))
      })
      expect(yield* stateOf(a)).toBe("open")
      yield* TestClock.adjust("1 second")
      const probe = yield* call(a)
      expect(reasonOf(yield* Effect.exit(b.run(works)))._tag).toBe("CircuitOpen")
      expect(yield* stateOf(b)).toBe("half-open")
      yield* probe.succeed
      expect(yield* b.run(works)).toBe("yes")
      expect([yield* stateOf(a), yield* stateOf(b)]).toEqual(["closed", "closed"])
      yield* nothingLeft(a)
      yield* nothingLeft(b)
    })
  )

  it.effect("that cannot be reached stops no call", () =>
    Effect.gen(function* () {
      const error = new Effects.CircuitBreakerError({
        reason: new Effects.CircuitBreakerStoreError({ message: "away" })
      })
      const away = Effect.fail(error)
      const store = { admit: () => away, record: () => away, state: () => away }
      const breaker = yield* CircuitBreaker.make("api", { failures: 1, store })
      yield* fail(breaker, 2)
      expect(yield* breaker.run(works)).toBe("yes")
      expect(yield* breaker.statistics).toMatchObject({ offered: 3, ignored: 3, open: 0 })
      yield* nothingLeft(breaker)
    })
  )
})

/** A number from 0 to below `n`, by a seed. */
const chance = (seed: number) => {
  let state = seed * 2_654_435_761 + 1
  return (n: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
}

type End = "success" | "failure" | "hint" | "ignored" | "interrupt"

/** By `E`, as an error: what a call of the program below says of the dependency. */
const judge = (exit: Exit.Exit<unknown, unknown>): CircuitBreaker.Outcome => {
  if (Exit.isSuccess(exit)) return CircuitBreaker.success
  const end = Cause.squash(exit.cause) as End
  if (end === "ignored") return CircuitBreaker.ignored
  return CircuitBreaker.failure(end === "hint" ? { retryAfter: "3 seconds" } : {})
}

/** A breaker of either kind: runs, and says whether and until when it refuses. */
type Run = (effect: Effect.Effect<string, string>, key: string) => Effect.Effect<string, unknown>

/** Calls that begin and end by chance, in time: what became of each, in order. */
const course = (run: Run, seed: number) =>
  Effect.gen(function* () {
    const below = chance(seed)
    const log: Array<string> = []
    const live: Array<{ readonly id: number; readonly end: (end: End) => Effect.Effect<void> }> = []
    for (let id = 0; id < 80; id++) {
      if (below(3) > 0) {
        const end = yield* Deferred.make<string, string>()
        let began = false
        const effect = Effect.suspend(() => ((began = true), Deferred.await(end)))
        const fiber = yield* fork(Effect.exit(run(effect, "ab"[below(2)]!)))
        yield* settle
        if (began) {
          const ends = (how: End) =>
            Effect.asVoid(
              how === "interrupt"
                ? Fiber.interrupt(fiber)
                : Effect.andThen(
                    how === "success" ? Deferred.succeed(end, how) : Deferred.fail(end, how),
                    Fiber.await(fiber)
                  )
            )
          live.push({ id, end: ends })
          log.push(`${id} begins`)
        } else log.push(`${id}: ${String(Exit.isSuccess(endOf(fiber)) ? told(endOf(fiber)) : "?")}`)
      }
      if (live.length > 0 && below(2) === 0) {
        const [one] = live.splice(below(live.length), 1)
        const how = (["success", "failure", "failure", "failure", "hint", "ignored", "interrupt"] as const)[below(7)]!
        yield* one!.end(how)
        log.push(`${one!.id} ends: ${how}`)
      }
      if (below(3) === 0) yield* TestClock.adjust([1, 300, 1000, 2500][below(4)]!)
    }
    for (const { end } of live) yield* end("interrupt")
    return log
  })

/** When it may come back, in milliseconds, whoever says so. */
const told = (exit: Exit.Exit<Exit.Exit<unknown, unknown>>): string => {
  const error = Exit.isSuccess(exit) && Exit.isFailure(exit.value) ? Cause.squash(exit.value.cause) : undefined
  if (error instanceof Refused.Refused) {
    return `refused for ${Option.match(error.retryAfter, { onNone: () => "?", onSome: Duration.toMillis })}`
  }
  if (error instanceof Effects.CircuitBreakerError) {
    const { reason } = error
    return `refused for ${reason._tag === "CircuitOpen" ? Duration.toMillis(reason.retryAfter) : "?"}`
  }
  return String(error)
}

describe("CircuitBreaker, beside Effect's own", () => {
  const policies = {
    "two failures in a row": { failures: 2, open: "1 second" },
    "each failure": { failures: 1, open: "1 second" },
    "longer each time": { failures: 2, open: Schedule.exponential("300 millis") },
    "no time at all": { failures: 2, open: 0 },
    "a rate": { failures: { rate: 0.5, of: 6, atLeast: 3 }, open: "1 second" }
  } as const
  it.effect.each(Object.entries(policies))("decides the same, whatever comes: %s", ([, { failures, open }]) =>
    Effect.gen(function* () {
      let refusals = 0
      for (let seed = 1; seed <= 60; seed++) {
        const ours = yield* CircuitBreaker.make("ours", { failures, open, judge })
        const theirs = yield* Effects.make({
          tripPolicy:
            typeof failures === "number"
              ? Effects.consecutive(failures)
              : Effects.rate({ threshold: failures.rate, size: failures.of, minimumCalls: failures.atLeast }),
          openDuration: open
        }).pipe(Effect.provide(Effects.layerStoreMemory()))
        const expected = yield* course((effect, key) => theirs.execute(effect, { key, classify: judge }), seed)
        expect(yield* course(ours.run, seed)).toEqual(expected)
        refusals += expected.filter((line) => line.includes("refused")).length
        yield* nothingLeft(ours)
      }
      if (open !== 0) expect(refusals).toBeGreaterThan(100)
    })
  )
})

describe("misuse", () => {
  it.effect("is a defect of the maker", () =>
    Effect.gen(function* () {
      const of = (options: CircuitBreaker.Options) => defect(() => CircuitBreaker.make("api", options))
      expect(yield* of({ failures: 0 })).toContain("must be an integer >= 1, got 0")
      expect(yield* of({ failures: { rate: 2 } })).toContain("must be in [0, 1], got 2")
      expect(yield* of({ maxKeys: 0 })).toBe("RangeError: Expected maxKeys of at least 1, got 0")
      expect(yield* of({ open: "soon" as "1 second" })).toContain("Expected a duration")
    })
  )
})
