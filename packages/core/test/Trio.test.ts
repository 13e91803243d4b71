/**
 * Trio's cases on nurseries, cancel scopes, shields, deadlines and checkpoints, as they stand here: `docs/trio-checklist.md`
 * says which test answers which case of Trio's, and where ours behaves otherwise on purpose.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Context, Deferred, Duration, Effect, Exit, Fiber, Option, Schedule, Stream } from "effect"
import type { Scope } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, Deadline, Gate, Join, Nursery, Reason, Registry } from "@fairlead/core"
import * as timer from "../src/internal/timer.ts"

/** No timer entry, and nothing that runs in a scope or a nursery. */
const nothingLeft = Effect.gen(function* () {
  expect(timer.of(yield* Clock.Clock).size).toBe(0)
  expect(yield* Registry.tree).toEqual([])
})

/** Lets everything run that can. The first one also tells the clock not to warn, which would wake a sleep in a finalizer. */
const settle = TestClock.adjust(0)

/** A test under a clock that stands still unless it is told to go on, and that ends with nothing left. */
const test = (name: string, body: () => Generator<Effect.Effect<any, any, Scope.Scope>, void, any>) =>
  it.effect(name, () => Effect.gen(body).pipe(Effect.andThen(nothingLeft), (inner) => Effect.andThen(settle, inner)))

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** The same for regions in regions, which give way now and then on their way in. */
const settleDeeply = Effect.repeat(Effect.yieldNow, { times: 500 })

/** Runs `effect` to its end while the clock goes on in steps of 50 ms; gives its end and the time it took. */
const elapse = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    const fiber = yield* fork(effect)
    yield* settle
    while (fiber.pollUnsafe() === undefined) yield* TestClock.adjust("50 millis")
    return { exit: fiber.pollUnsafe()!, millis: (yield* Clock.currentTimeMillis) - start }
  })

class Word extends Context.Reference<string>("test/Word", { defaultValue: () => "nobody's" }) {}

/** A list, and what adds to it. */
const record = () => {
  const list: Array<string> = []
  return { list, add: (entry: string) => Effect.sync(() => void list.push(entry)) }
}

const manual = (text: string) => new Reason.Manual({ text })
const cancelled = (reason: Reason.Reason) => new CancelScope.Cancelled({ reason })
const completed = <A>(value: A) => new CancelScope.Completed({ value })
const tag = (outcome: CancelScope.Outcome<unknown>) => outcome._tag

describe("cancel scope: where a cut strikes", () => {
  test("a cut from inside strikes at the next step, one from outside at the wait", function* () {
    const { add, list } = record()
    const inside = yield* CancelScope.run((scope) =>
      Effect.gen(function* () {
        yield* Effect.yieldNow
        yield* add("goes on while nothing is cut")
        yield* scope.cancel("enough")
        yield* Effect.yieldNow
        yield* add("never")
      })
    )
    expect(inside).toEqual(cancelled(manual("enough")))
    const scope = yield* CancelScope.make()
    const outside = yield* fork(scope.run(Effect.onInterrupt(Effect.never, () => add("woken from its wait"))))
    yield* scope.cancel("enough")
    expect(yield* Fiber.join(outside)).toEqual(cancelled(manual("enough")))
    expect(list).toEqual(["goes on while nothing is cut", "woken from its wait"])
  })

  test("steps that cannot be interrupted are no place for a cut; the first one after them is", function* () {
    const { add, list } = record()
    const outcome = yield* CancelScope.run((scope) =>
      Effect.gen(function* () {
        yield* Effect.uninterruptible(
          Effect.gen(function* () {
            yield* scope.cancel("enough")
            yield* Effect.yieldNow
            yield* add("one")
            yield* Effect.yieldNow
            yield* add("two")
          })
        )
        yield* add("never")
      })
    )
    expect(outcome).toEqual(cancelled(manual("enough")))
    expect(list).toEqual(["one", "two"])
  })

  test("cancelling twice is cancelling once, and every later wait that may be interrupted is cut too", function* () {
    const { add, list } = record()
    const outcome = yield* CancelScope.run((scope) =>
      Effect.gen(function* () {
        yield* scope.cancel("first")
        yield* scope.cancel("second")
      }).pipe(
        Effect.andThen(Effect.never),
        Effect.ensuring(
          Effect.gen(function* () {
            yield* scope.cancel("third")
            for (const wait of ["one", "two"]) {
              const exit = yield* Effect.exit(Effect.interruptible(Effect.never))
              yield* add(`${wait}: ${Exit.hasInterrupts(exit)}`)
            }
          })
        )
      )
    )
    expect(outcome).toEqual(cancelled(manual("first")))
    expect(list).toEqual(["one: true", "two: true"])
  })

  test("a wait that cannot be aborted goes on when its scope is cut, and the cut strikes when it has woken", function* () {
    const { add, list } = record()
    const wake = yield* Deferred.make<void>()
    const scope = yield* CancelScope.make()
    const fiber = yield* fork(
      scope.run(
        Effect.gen(function* () {
          yield* add("sleep")
          yield* Effect.uninterruptible(Effect.andThen(Deferred.await(wake), add("woke")))
          yield* Effect.yieldNow
          yield* add("never")
        }).pipe(Effect.onInterrupt(() => add("cancelled")))
      )
    )
    const cancel = yield* fork(scope.cancel("enough"))
    yield* settle
    expect(list).toEqual(["sleep"])
    expect(cancel.pollUnsafe()).toBe(undefined)
    yield* Deferred.succeed(wake, undefined)
    yield* Fiber.join(cancel)
    expect(tag(yield* Fiber.join(fiber))).toBe("Cancelled")
    expect(list).toEqual(["sleep", "woke", "cancelled"])
  })

  test("a cancel waits for a wait that takes its time to abort, and the abort runs once though two scopes are cut", function* () {
    const { add, list } = record()
    const outer = yield* CancelScope.make()
    const inner = yield* CancelScope.make()
    const slow = Effect.callback<never>(() =>
      Effect.gen(function* () {
        yield* add("abort begins")
        yield* Effect.sleep("1 second")
        yield* add("abort ends")
      })
    )
    const fiber = yield* fork(outer.run(inner.run(slow)))
    const first = yield* fork(outer.cancel("outer"))
    const second = yield* fork(inner.cancel("inner"))
    yield* settle
    expect(list).toEqual(["abort begins"])
    yield* TestClock.adjust("999 millis")
    expect(first.pollUnsafe()).toBe(undefined)
    expect(second.pollUnsafe()).toBe(undefined)
    yield* TestClock.adjust("1 millis")
    yield* Fiber.join(first)
    yield* Fiber.join(second)
    expect(list).toEqual(["abort begins", "abort ends"])
    expect(yield* Fiber.join(fiber)).toEqual(cancelled(manual("outer")))
  })

  test("work that only gives way, and never sleeps, is cut by its deadline as well", function* () {
    let turns = 0
    const fiber = yield* fork(
      Effect.forever(
        Effect.andThen(
          Effect.sync(() => turns++),
          Effect.yieldNow
        )
      ).pipe(Deadline.option("1 second"))
    )
    yield* TestClock.adjust("1 second")
    expect(yield* Fiber.join(fiber)).toEqual(Option.none())
    expect(turns).toBeGreaterThan(0)
  })

  test("a cut that comes before the end is told, though the work had nothing left to do", function* () {
    const { add, list } = record()
    const outcome = yield* CancelScope.run((scope) =>
      Effect.uninterruptible(Effect.andThen(scope.cancel("late"), add("done")))
    )
    expect(outcome).toEqual(cancelled(manual("late")))
    expect(list).toEqual(["done"])
    const scope = yield* CancelScope.make()
    expect(yield* scope.run(Effect.succeed(1))).toEqual(completed(1))
    yield* scope.cancel("after the end")
    yield* Effect.yieldNow
  })

  test("a failure after the cut is a failure, not a cancelled scope", function* () {
    const error = new AggregateError([new Error("one"), new Error("two")])
    const failed = yield* CancelScope.run((scope) =>
      Effect.uninterruptible(Effect.andThen(scope.cancel("late"), Effect.fail(error)))
    ).pipe(Effect.flip)
    expect(failed).toBe(error)
  })
})

describe("cancel scope: one in another", () => {
  test("of two that are cut at once the outer one tells, and the scope around both has completed", function* () {
    const outcomes: Array<string> = []
    const note = Effect.map((outcome: CancelScope.Outcome<unknown>) => {
      outcomes.push(tag(outcome))
      return outcome
    })
    const first = yield* CancelScope.make()
    const second = yield* CancelScope.make()
    const third = yield* CancelScope.make()
    yield* third
      .run(
        Effect.uninterruptible(Effect.andThen(third.cancel("third"), second.cancel("second"))).pipe(
          Effect.andThen(Effect.never)
        )
      )
      .pipe(
        note,
        (effect) => second.run(effect),
        note,
        (effect) => first.run(effect),
        note
      )
    expect(outcomes).toEqual(["Cancelled", "Completed"])
    expect([third.reason, second.reason, first.reason]).toEqual([
      Option.some(manual("third")),
      Option.some(manual("second")),
      Option.none()
    ])
  })

  test("what is cut by the scope around it interrupts: an inner scope gives no outcome for it", function* () {
    const outer = yield* CancelScope.make()
    const inner = yield* CancelScope.make()
    let went = false
    const outcome = yield* outer.run(
      Effect.andThen(
        inner.run(Effect.andThen(outer.cancel("outer"), Effect.never)),
        Effect.sync(() => (went = true))
      )
    )
    expect(outcome).toEqual(cancelled(manual("outer")))
    expect(inner.reason).toEqual(Option.none())
    expect(went).toBe(false)
  })

  test("a scope cut before anything runs in it starts nothing", function* () {
    const scope = yield* CancelScope.make()
    yield* scope.cancel("early")
    let started = false
    const outcome = yield* scope.run(Effect.sync(() => (started = true)))
    expect(outcome).toEqual(cancelled(manual("early")))
    expect(started).toBe(false)
  })

  test("a scope may be run in again, in many places, and within itself; one cut ends them all", function* () {
    const scope = yield* CancelScope.make()
    expect(yield* scope.run(Effect.succeed(1))).toEqual(completed(1))
    expect(yield* scope.run(Effect.succeed(2))).toEqual(completed(2))
    const here = yield* fork(scope.run(Effect.never))
    const there = yield* fork(scope.run(scope.run(Effect.never)))
    yield* scope.cancel("all")
    expect(yield* Fiber.join(here)).toEqual(cancelled(manual("all")))
    expect(yield* Fiber.join(there)).toEqual(cancelled(manual("all")))
  })

  test("a scope whose deadline passed before anything ran in it is cut, and stays so", function* () {
    const scope = yield* CancelScope.make({ within: "1 second" })
    expect(scope.reason).toEqual(Option.none())
    yield* TestClock.adjust("1 second")
    expect(scope.reason).toEqual(Option.some(new Reason.Deadline()))
    yield* scope.lift
    expect(scope.reason).toEqual(Option.some(new Reason.Deadline()))
    expect(tag(yield* scope.run(Effect.never))).toBe("DeadlineExceeded")
  })

  test("5,000 scopes in one another are cut from the outermost", function* () {
    const outermost = yield* CancelScope.make()
    let deepest = 0
    const nest = (level: number): Effect.Effect<unknown> =>
      level === 0
        ? Effect.never
        : CancelScope.run(() => {
            deepest = Math.max(deepest, 5_001 - level)
            return Effect.suspend(() => nest(level - 1))
          })
    const fiber = yield* fork(outermost.run(nest(5_000)))
    yield* settleDeeply
    expect(deepest).toBe(5_000)
    yield* outermost.cancel("enough")
    expect(yield* Fiber.join(fiber)).toEqual(cancelled(manual("enough")))
  })

  test("5,000 scopes in one another end one after the other when the innermost does", function* () {
    const nest = (level: number): Effect.Effect<number> =>
      level === 0
        ? Effect.as(Effect.sleep("1 second"), 0)
        : CancelScope.run(() => Effect.suspend(() => nest(level - 1))).pipe(
            Effect.map((outcome) => (outcome._tag === "Completed" ? outcome.value + 1 : -1))
          )
    const fiber = yield* fork(nest(5_000))
    yield* settleDeeply
    yield* TestClock.adjust("1 second")
    expect(yield* Fiber.join(fiber)).toBe(5_000)
  })
})

describe("cancel scope: reasons", () => {
  /** The reason that a finalizer reads, and the outcome. */
  const seen = (body: (scope: CancelScope.CancelScope) => Effect.Effect<unknown>, within?: Duration.Input) =>
    Effect.gen(function* () {
      const reasons: Array<Reason.Reason | undefined> = []
      const fiber = yield* fork(
        CancelScope.run(
          (scope) =>
            Effect.onInterrupt(Effect.andThen(body(scope), Effect.never), () =>
              Effect.map(CancelScope.reason, (reason) => reasons.push(Option.getOrUndefined(reason)))
            ),
          { within }
        )
      )
      yield* TestClock.adjust("1 second")
      return { reasons, outcome: yield* Fiber.join(fiber) }
    })

  test("a finalizer reads the reason that was given, and so does whoever ran the scope", function* () {
    expect(yield* seen((scope) => scope.cancel("hello"))).toEqual({
      reasons: [manual("hello")],
      outcome: cancelled(manual("hello"))
    })
  })

  test("a deadline, set at once or later, is told as a deadline", function* () {
    const atOnce = yield* seen(() => Effect.void, "1 second")
    expect(atOnce.reasons).toEqual([new Reason.Deadline()])
    expect(tag(atOnce.outcome)).toBe("DeadlineExceeded")
    const later = yield* seen((scope) => scope.narrow("500 millis"))
    expect(later.reasons).toEqual([new Reason.Deadline()])
    expect(tag(later.outcome)).toBe("DeadlineExceeded")
  })

  test("a deadline that passes after a cancel does not change the reason", function* () {
    const { add, list } = record()
    const scope = yield* CancelScope.make()
    const note = Effect.flatMap(CancelScope.reason, (reason) => add(Option.getOrThrow(reason)._tag))
    const fiber = yield* fork(
      scope.run(
        Effect.onInterrupt(Effect.never, () =>
          note.pipe(
            Effect.andThen(scope.narrow("100 millis")),
            Effect.andThen(Effect.sleep("1 second")),
            Effect.andThen(note)
          )
        )
      )
    )
    yield* fork(scope.cancel("first"))
    yield* TestClock.adjust("1 second")
    expect(yield* Fiber.join(fiber)).toEqual(cancelled(manual("first")))
    expect(list).toEqual(["Manual", "Manual"])
  })

  test("a cancel after the deadline does not change the reason", function* () {
    const { add, list } = record()
    const scope = yield* CancelScope.make({ within: "100 millis" })
    const note = Effect.flatMap(CancelScope.reason, (reason) => add(Option.getOrThrow(reason)._tag))
    const fiber = yield* fork(
      scope.run(Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second").pipe(Effect.andThen(note))))
    )
    yield* TestClock.adjust("500 millis")
    yield* fork(scope.cancel("second"))
    yield* TestClock.adjust("1 second")
    expect(tag(yield* Fiber.join(fiber))).toBe("DeadlineExceeded")
    expect(list).toEqual(["Deadline"])
  })

  test("a reason survives the way through JSON as what it says", function* () {
    const reasons = [manual("pigs fly"), new Reason.SiblingFailed({ child: "db" }), new Reason.Deadline()]
    expect(JSON.parse(JSON.stringify(reasons))).toEqual([
      { _tag: "Manual", text: "pigs fly" },
      { _tag: "SiblingFailed", child: "db" },
      { _tag: "Deadline" }
    ])
  })
})

describe("shield", () => {
  test("keeps from the cut around it, and lets the next step outside of it be cut", function* () {
    const { add, list } = record()
    const outcome = yield* CancelScope.run((outer) =>
      Effect.gen(function* () {
        yield* CancelScope.shield(
          Effect.gen(function* () {
            yield* outer.cancel("outer")
            yield* Effect.yieldNow
            yield* add("shielded")
          }),
          { grace: "1 second" }
        )
        yield* Effect.yieldNow
        yield* add("never")
      })
    )
    expect(outcome).toEqual(cancelled(manual("outer")))
    expect(list).toEqual(["shielded"])
  })

  test("does not keep from scopes inside it, nor from a scope of its own around what it keeps", function* () {
    const { add, list } = record()
    const outer = yield* CancelScope.make()
    const inner = yield* CancelScope.make()
    const fiber = yield* fork(
      outer.run(
        CancelScope.shield(
          inner.run(
            Effect.gen(function* () {
              yield* Effect.yieldNow
              const innermost = yield* CancelScope.run((scope) =>
                Effect.andThen(scope.cancel("innermost"), Effect.never)
              )
              yield* add(tag(innermost))
              yield* Effect.never
            })
          ),
          { grace: "10 seconds" }
        ).pipe(
          Effect.flatMap((outcome) => Effect.uninterruptible(add(`inner ${tag(outcome)}`))),
          Effect.uninterruptible
        )
      )
    )
    yield* fork(outer.cancel("outer"))
    yield* settle
    expect(list).toEqual(["Cancelled"])
    yield* inner.cancel("inner")
    expect(list).toEqual(["Cancelled", "inner Cancelled"])
    yield* Fiber.await(fiber)
  })

  test("that runs out cuts what slept in it", function* () {
    const { add, list } = record()
    const outer = yield* CancelScope.make()
    const fiber = yield* fork(
      outer.run(
        CancelScope.shield(
          Effect.onInterrupt(Effect.andThen(add("sleeping"), Effect.never), () => add("cancelled")),
          { grace: "1 second" }
        )
      )
    )
    yield* fork(outer.cancel("outer"))
    yield* TestClock.adjust("999 millis")
    expect(list).toEqual(["sleeping"])
    yield* TestClock.adjust("1 millis")
    expect(list).toEqual(["sleeping", "cancelled"])
    yield* Fiber.await(fiber)
  })

  test("a deadline inside it moves on though the cut around it is held off", function* () {
    const outer = yield* CancelScope.make()
    const { add, list } = record()
    const fiber = yield* fork(
      outer.run(
        CancelScope.shield(
          Effect.never.pipe(
            Deadline.option("1 second"),
            Effect.tap((option) => add(`moved on: ${option._tag}`))
          ),
          { grace: "10 seconds" }
        )
      )
    )
    const { millis } = yield* elapse(outer.cancel("outer"))
    expect(millis).toBe(1000)
    expect(list).toEqual(["moved on: None"])
    yield* Fiber.await(fiber)
  })

  test("a deadline inside it fails though the cut around it is held off", function* () {
    const outer = yield* CancelScope.make()
    const { add, list } = record()
    const fiber = yield* fork(
      outer.run(
        CancelScope.shield(
          Effect.never.pipe(
            Deadline.within("1 second"),
            Effect.catchTag("DeadlineExceeded", (error) => add(`${Duration.toMillis(error.spent)} ms`))
          ),
          { grace: "10 seconds" }
        )
      )
    )
    const { millis } = yield* elapse(outer.cancel("outer"))
    expect(millis).toBe(1000)
    expect(list).toEqual(["1000 ms"])
    yield* Fiber.await(fiber)
  })

  test("fails with DeadlineExceeded when its grace is over, after a cut it came before", function* () {
    const { add, list } = record()
    const outcome = yield* fork(
      CancelScope.run((scope) =>
        Effect.onInterrupt(Effect.andThen(scope.cancel("outer"), Effect.never), () =>
          CancelScope.shield(Effect.never, { grace: "1 second" }).pipe(
            Effect.catchTag("DeadlineExceeded", (error) => add(error._tag))
          )
        )
      )
    )
    yield* TestClock.adjust("1 second")
    expect(yield* Fiber.join(outcome)).toEqual(cancelled(manual("outer")))
    expect(list).toEqual(["DeadlineExceeded"])
  })
})

describe("deadlines", () => {
  test("a scope that ends in time leaves no deadline behind, one that does not is cut, and narrowing moves it", function* () {
    const inTime = yield* CancelScope.make()
    expect(yield* inTime.run(inTime.narrow("1 second"))).toEqual(completed(undefined))
    yield* nothingLeft
    yield* TestClock.adjust("2 seconds")

    const late = yield* elapse(CancelScope.run(() => Effect.never, { within: "1 second" }))
    expect(late.millis).toBe(1000)
    expect(Exit.isSuccess(late.exit) && tag(late.exit.value)).toBe("DeadlineExceeded")

    const moved = yield* elapse(
      CancelScope.run((scope) =>
        Effect.gen(function* () {
          yield* scope.narrow("10 seconds")
          yield* Effect.sleep("5 seconds")
          yield* scope.narrow("1 second")
          yield* Effect.never
        })
      )
    )
    expect(moved.millis).toBe(6000)
  })

  test("a deadline never fires early, nor late by the clock it goes by", function* () {
    const fiber = yield* fork(CancelScope.run(() => Effect.never, { within: "1 second" }))
    yield* TestClock.adjust("999999 micros")
    expect(fiber.pollUnsafe()).toBe(undefined)
    yield* TestClock.adjust("1 micros")
    expect(tag(yield* Fiber.join(fiber))).toBe("DeadlineExceeded")
  })

  test("moves on after its time, or fails after it", function* () {
    const moved = yield* elapse(Effect.sleep("100 seconds").pipe(Deadline.option("1 second")))
    expect(moved).toEqual({ exit: Exit.succeed(Option.none()), millis: 1000 })
    const failed = yield* elapse(Effect.sleep("100 seconds").pipe(Deadline.within("1 second"), Effect.flip))
    expect(failed.millis).toBe(1000)
    expect(Exit.isSuccess(failed.exit) && failed.exit.value._tag).toBe("DeadlineExceeded")
    const inTime = yield* elapse(Effect.yieldNow.pipe(Deadline.within("100 seconds")))
    expect(inTime).toEqual({ exit: Exit.void, millis: 0 })
  })

  test("what is left is the least of those in force: a shield leaves only its own", function* () {
    const left: Array<number> = []
    const note = Effect.map(Deadline.remaining, (duration) => left.push(Duration.toMillis(duration)))
    yield* note
    yield* CancelScope.run(
      (outer) =>
        CancelScope.run(
          (inner) =>
            Effect.gen(function* () {
              yield* note
              yield* inner.narrow("3 seconds")
              yield* note
              yield* inner.lift
              yield* note
              yield* CancelScope.shield(note, { grace: "10 seconds" })
              yield* outer.lift
              yield* note
            }),
          { within: "10 seconds" }
        ),
      { within: "5 seconds" }
    )
    yield* note
    expect(left).toEqual([Infinity, 5000, 3000, 5000, 15_000, Infinity, Infinity])
  })

  test("moving a deadline a thousand times leaves one entry in the timer, and none when the scope has ended", function* () {
    const clock = yield* Clock.Clock
    const scope = yield* CancelScope.make()
    yield* scope.run(
      Effect.gen(function* () {
        yield* Effect.yieldNow
        for (let i = 0; i < 1_000; i++) {
          yield* scope.narrow("9999 millis")
          yield* scope.narrow("9998 millis")
          yield* scope.lift
        }
        yield* scope.narrow("9999 millis")
        expect(timer.of(clock).size).toBe(1)
      })
    )
  })

  test("a time that is no time is a mistake; one that is below zero has passed", function* () {
    for (const nonsense of ["soon" as Duration.Input, Number.NaN]) {
      for (const effect of [
        Effect.suspend(() => Effect.void.pipe(Deadline.within(nonsense))),
        Effect.suspend(() => CancelScope.make({ within: nonsense })),
        Effect.suspend(() => Effect.void.pipe(CancelScope.shield({ grace: nonsense }))),
        Effect.flatMap(CancelScope.make(), (scope) => scope.narrow(nonsense))
      ]) {
        expect(Exit.hasDies(yield* Effect.exit<unknown, unknown, never>(effect))).toBe(true)
      }
    }
    let began = false
    const work = Effect.sync(() => (began = true))
    expect(yield* work.pipe(Deadline.option("-1 second"))).toEqual(Option.none())
    expect(tag(yield* CancelScope.run(() => work, { within: -3 }))).toBe("DeadlineExceeded")
    expect(began).toBe(false)
  })

  test("a scope's time counts from when it is made, a deadline's from when its effect begins", function* () {
    const scope = yield* CancelScope.make({ within: "5 seconds" })
    const effect = Effect.never.pipe(Deadline.option("5 seconds"))
    yield* TestClock.adjust("3 seconds")
    const left = yield* scope.run(Deadline.remaining)
    expect(left).toEqual(completed(Duration.seconds(2)))
    expect((yield* elapse(effect)).millis).toBe(5000)
  })
})

describe("lines: a wait for a gate", () => {
  /** Says when it begins, and goes on until it is told to end. */
  const actor = (name: string, add: (entry: string) => Effect.Effect<void>, end: Deferred.Deferred<void>) =>
    Effect.andThen(add(name), Deferred.await(end))

  const counts = (gate: Gate.Gate) => Effect.map(gate.statistics, ({ running, waiting }) => [running, waiting])

  const exact = (gate: Gate.Gate) =>
    Effect.map(gate.statistics, (statistics) => {
      expect(Gate.check(statistics)).toEqual([])
      expect([statistics.running, statistics.waiting]).toEqual([0, 0])
    })

  test("those who wait are counted, and go in one by one in the order in which they came", function* () {
    const { add, list } = record()
    const gate = yield* Gate.make("lot", { limit: 1 })
    const permit = yield* gate.hold()
    const ends = yield* Effect.replicateEffect(Deferred.make<void>(), 3)
    const fibers = yield* Effect.forEach(ends, (end, index) => fork(gate.run(actor(`${index}`, add, end))))
    yield* settle
    expect(yield* counts(gate)).toEqual([1, 3])
    permit.release()
    for (let index = 0; index < 3; index++) {
      yield* settle
      expect(list).toEqual(["0", "1", "2"].slice(0, index + 1))
      expect(yield* counts(gate)).toEqual([1, 2 - index])
      yield* Deferred.succeed(ends[index]!, undefined)
    }
    yield* Fiber.joinAll(fibers)
    yield* exact(gate)
  })

  test("one who is cut leaves the line, and the others keep their places", function* () {
    const { add, list } = record()
    const gate = yield* Gate.make("lot", { limit: 1 })
    const permit = yield* gate.hold()
    const scopes = yield* Effect.replicateEffect(CancelScope.make(), 3)
    const fibers = yield* Effect.forEach(scopes, (scope, index) =>
      fork(scope.run(gate.run(add(`${index} in`)).pipe(Effect.onInterrupt(() => add(`${index} cut`)))))
    )
    yield* scopes[1]!.cancel("enough")
    expect(yield* counts(gate)).toEqual([1, 2])
    permit.release()
    expect((yield* Fiber.joinAll(fibers)).map(tag)).toEqual(["Completed", "Cancelled", "Completed"])
    expect(list).toEqual(["1 cut", "0 in", "2 in"])
    yield* exact(gate)
  })

  test("one whose time is up has left nothing behind: the next comes in at once", function* () {
    const gate = yield* Gate.make("lot", { limit: 1 })
    const permit = yield* gate.hold()
    const late = yield* elapse(gate.run(Effect.void).pipe(Deadline.option("10 seconds")))
    expect(late).toEqual({ exit: Exit.succeed(Option.none()), millis: 10_000 })
    permit.release()
    expect(yield* elapse(gate.run(Effect.succeed("in")))).toEqual({ exit: Exit.succeed("in"), millis: 0 })
    yield* exact(gate)
  })

  test("a permit that is given back belongs to whoever waits, before they go on: a newcomer cannot snatch it", function* () {
    const { add, list } = record()
    const gate = yield* Gate.make("limiter", { limit: 2 })
    const first = yield* gate.hold()
    const second = yield* gate.hold()
    expect((yield* Effect.flip(gate.run(Effect.void, { maxWait: 0 }))).reason._tag).toBe("WaitExceeded")
    const end = yield* Deferred.make<void>()
    const third = yield* fork(gate.run(actor("third", add, end)))
    first.release()
    expect(list).toEqual([])
    expect(yield* counts(gate)).toEqual([2, 0])
    expect((yield* Effect.flip(gate.run(Effect.void, { maxWait: 0 }))).reason._tag).toBe("WaitExceeded")
    yield* settle
    expect(list).toEqual(["third"])
    yield* Deferred.succeed(end, undefined)
    yield* Fiber.join(third)
    second.release()
    yield* exact(gate)
  })

  test("a gate of one lets one in at a time, however often five workers come", function* () {
    const gate = yield* Gate.make("lock", { limit: 1 })
    let inside = 0
    let entered = 0
    const critical = Effect.gen(function* () {
      expect(++inside).toBe(1)
      entered++
      yield* Effect.yieldNow
      yield* Effect.yieldNow
      expect(inside--).toBe(1)
    })
    const worker = Effect.repeat(gate.run(critical), { times: 9 })
    yield* Effect.all(
      Array.from({ length: 5 }, () => worker),
      { concurrency: "unbounded", discard: true }
    )
    expect([inside, entered]).toEqual([0, 50])
    yield* exact(gate)
  })

  test("three who come again and again go round in the order in which they came first", function* () {
    const { add, list } = record()
    const gate = yield* Gate.make("lock", { limit: 1 })
    const permit = yield* gate.hold()
    const fibers = yield* Effect.forEach(["a", "b", "c"], (name) =>
      fork(Effect.repeat(gate.run(Effect.andThen(add(name), Effect.yieldNow)), { times: 4 }))
    )
    permit.release()
    yield* Fiber.joinAll(fibers)
    expect(list.join("")).toBe("abcabcabcabcabc")
    yield* exact(gate)
  })

  test("a permit in somebody's hand keeps others waiting until it is released", function* () {
    const { add, list } = record()
    const gate = yield* Gate.make("lock", { limit: 1 })
    const permit = yield* gate.hold()
    yield* add("held")
    const fiber = yield* fork(gate.run(add("in")))
    yield* settle
    expect(list).toEqual(["held"])
    permit.release()
    yield* Fiber.join(fiber)
    expect(list).toEqual(["held", "in"])
    yield* exact(gate)
  })
})

/** Fails when it is told to, even if it was cut before. */
const stubborn = <E>(go: Deferred.Deferred<void>, error: E) =>
  Effect.uninterruptible(Effect.andThen(Deferred.await(go), Effect.fail(error)))

/** The failures in the cause, with the name of the child each came from, in the order of the names. */
const failures = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit)
    ? []
    : Nursery.failures(exit.cause)
        .map(({ child, failure }) => [child, failure._tag === "Fail" ? failure.error : failure._tag])
        .toSorted()

describe("nursery: failures", () => {
  test("gives the value of its body", function* () {
    expect(yield* Nursery.run(() => Effect.succeed(8))).toBe(8)
    expect(yield* Nursery.run(() => Effect.as(Effect.yieldNow, 1))).toBe(1)
  })

  test("the failure of the body comes out, the very object", function* () {
    const error = new Error("whoops")
    expect(yield* Effect.flip(Nursery.run(() => Effect.fail(error)))).toBe(error)
    const later = yield* Nursery.run(() => Effect.andThen(Effect.yieldNow, Effect.fail(error))).pipe(Effect.flip)
    expect(later).toBe(error)
  })

  test("the failure of a child comes out, the very object, with the child's name", function* () {
    const error = new Error("uh oh")
    const crash = (child: Effect.Effect<never, Error>) =>
      Effect.exit(Nursery.run((nursery) => nursery.spawn(child, "erring")))
    expect(failures(yield* crash(Effect.fail(error)))).toEqual([["erring", error]])
    const [failure] = failures(yield* crash(Effect.andThen(Effect.yieldNow, Effect.fail(error))))
    expect(failure![1]).toBe(error)
  })

  test("children that give way take turns", function* () {
    const { add, list } = record()
    const looper = (name: string) =>
      Effect.forEach([0, 1, 2], (turn) => Effect.andThen(add(`${name}${turn}`), Effect.yieldNow), { discard: true })
    yield* Nursery.run((nursery) => Effect.andThen(nursery.spawn(looper("a")), nursery.spawn(looper("b"))))
    expect(list).toEqual(["a0", "b0", "a1", "b1", "a2", "b2"])
  })

  test("a child that fails cuts a sibling that never sleeps, and only gives way", function* () {
    const { add, list } = record()
    const looper = Effect.forever(Effect.yieldNow).pipe(Effect.onInterrupt(() => add("looper cut")))
    const exit = yield* Nursery.run((nursery) =>
      Effect.andThen(nursery.spawn(looper, "looper"), nursery.spawn(Effect.fail("argh"), "crasher"))
    ).pipe(Effect.exit)
    expect(failures(exit)).toEqual([["crasher", "argh"]])
    expect(list).toEqual(["looper cut"])
  })

  test("a child and the body fail at once: neither is lost", function* () {
    const go = yield* Deferred.make<void>()
    const exit = yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        yield* nursery.spawn(stubborn(go, "of the child"), "crasher")
        yield* Deferred.succeed(go, undefined)
        return yield* Effect.fail("of the body")
      }).pipe(Effect.uninterruptible)
    ).pipe(Effect.exit)
    expect(failures(exit).map(([, error]) => error)).toEqual(expect.arrayContaining(["of the body", "of the child"]))
    expect(failures(exit)).toHaveLength(2)
    expect(failures(exit)).toContainEqual(["crasher", "of the child"])
    expect(Exit.hasInterrupts(exit)).toBe(false)
  })

  test("two children fail at once: neither is lost", function* () {
    const go = yield* Deferred.make<void>()
    const fiber = yield* fork(
      Nursery.run((nursery) =>
        Effect.andThen(nursery.spawn(stubborn(go, "key"), "one"), nursery.spawn(stubborn(go, "value"), "two"))
      )
    )
    yield* Deferred.succeed(go, undefined)
    const exit = yield* Fiber.await(fiber)
    expect(failures(exit)).toEqual([
      ["one", "key"],
      ["two", "value"]
    ])
    expect(Exit.hasInterrupts(exit)).toBe(false)
  })

  test("a child's failure wakes a body that would wait for ever", function* () {
    const { add, list } = record()
    const { exit, millis } = yield* elapse(
      Nursery.run((nursery) =>
        nursery
          .spawn(Effect.andThen(Effect.sleep("1 second"), Effect.fail("crash")), "crasher")
          .pipe(Effect.andThen(Effect.onInterrupt(Effect.never, () => add("body cut"))))
      )
    )
    expect(millis).toBe(1000)
    expect(failures(exit)).toEqual([["crasher", "crash"]])
    expect(list).toEqual(["body cut"])
  })

  test("failures of a nursery in a nursery stand side by side, with the path of names", function* () {
    const go = yield* Deferred.make<void>()
    const fiber = yield* fork(
      Nursery.run((outer) =>
        Effect.gen(function* () {
          yield* outer.spawn(Effect.never, "sleeper")
          yield* outer.spawn(stubborn(go, "test error"), "raiser")
          yield* outer.spawn(
            Nursery.run((inner) =>
              Effect.andThen(inner.spawn(Effect.never, "sleeper"), inner.spawn(stubborn(go, "test error"), "raiser"))
            ),
            "inner"
          )
        })
      )
    )
    yield* Deferred.succeed(go, undefined)
    const exit = yield* Fiber.await(fiber)
    expect(failures(exit)).toEqual([
      ["inner/raiser", "test error"],
      ["raiser", "test error"]
    ])
    expect(Exit.hasInterrupts(exit)).toBe(false)
  })

  test("of children cut from inside and from outside nothing is left but the real failure", function* () {
    const go = yield* Deferred.make<void>()
    const outer = yield* CancelScope.make()
    const fiber = yield* fork(
      outer.run(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const first = yield* nursery.spawn(Effect.never, "first")
            yield* first.cancel("from inside")
            yield* nursery.spawn(Effect.never, "second")
            yield* nursery.spawn(stubborn(go, "key"), "crasher")
            yield* Effect.never
          })
        )
      )
    )
    yield* fork(outer.cancel("from outside"))
    yield* settle
    expect(fiber.pollUnsafe()).toBe(undefined)
    yield* Deferred.succeed(go, undefined)
    const exit = yield* Fiber.await(fiber)
    expect(failures(exit)).toEqual([["crasher", "key"]])
    expect(Exit.hasInterrupts(exit)).toBe(false)
  })

  test("children read who failed: a sibling, or the body", function* () {
    const { add, list } = record()
    const sleeper = Effect.onInterrupt(Effect.never, () =>
      Effect.flatMap(CancelScope.reason, (reason) => add(JSON.stringify(Option.getOrNull(reason))))
    )
    // It fails after the sleeper began, in the step it begins, before the sleeper begins, and in place of a child.
    const go = yield* Deferred.make<void>()
    const after = yield* fork(
      Nursery.run((nursery) =>
        nursery
          .spawn(sleeper)
          .pipe(Effect.andThen(nursery.spawn(Effect.andThen(Deferred.await(go), Effect.fail("after")), "failing")))
      )
    )
    yield* Deferred.succeed(go, undefined)
    expect(failures(yield* Fiber.await(after))).toEqual([["failing", "after"]])
    const atOnce = Nursery.run((nursery) =>
      Effect.andThen(nursery.spawn(sleeper), nursery.spawn(Effect.fail("at once"), "failing"))
    )
    expect(failures(yield* Effect.exit(atOnce))).toEqual([["failing", "at once"]])
    const sibling = JSON.stringify(new Reason.SiblingFailed({ child: "failing" }))
    expect(list).toEqual([sibling, sibling])
    const body = Nursery.run((nursery) => Effect.andThen(nursery.spawn(sleeper), Effect.fail("body")), {
      name: "block"
    })
    expect(yield* Effect.flip(body)).toBe("body")
    const start = Nursery.run((nursery) =>
      Effect.andThen(
        nursery.spawn(sleeper),
        nursery.start(() => Effect.fail("start"), "starting")
      )
    )
    expect(yield* Effect.flip(start)).toBe("start")
    expect(list.slice(2).map((reason) => JSON.parse(reason)._tag)).toEqual(["SiblingFailed", "SiblingFailed"])
  })
})

describe("nursery: lives", () => {
  test("ends when the last child does, not when the body does", function* () {
    const { add, list } = record()
    const { millis } = yield* elapse(
      Nursery.run((nursery) =>
        Effect.gen(function* () {
          yield* nursery.spawn(Effect.andThen(Effect.sleep("2 seconds"), add("long")))
          yield* nursery.spawn(Effect.andThen(Effect.sleep("1 second"), add("short")))
          yield* add("body")
        })
      )
    )
    expect(millis).toBe(2000)
    expect(list).toEqual(["body", "short", "long"])
  })

  test("a cut reaches the leaves of nurseries in nurseries", function* () {
    const { add, list } = record()
    const leaf = (name: string) => Effect.onInterrupt(Effect.never, () => add(name))
    const worker = (name: string) =>
      Nursery.run((nursery) => Effect.andThen(nursery.spawn(leaf(`${name}-l1`)), nursery.spawn(leaf(`${name}-l2`))))
    yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        yield* nursery.spawn(worker("w1"))
        yield* nursery.spawn(worker("w2"))
        yield* nursery.cancel("enough")
      })
    )
    expect(list.toSorted()).toEqual(["w1-l1", "w1-l2", "w2-l1", "w2-l2"])
  })

  test("a child spawned where all is being cut never begins", function* () {
    const { add, list } = record()
    const outcome = yield* CancelScope.run((scope) =>
      Nursery.run((nursery) =>
        Effect.uninterruptible(
          Effect.gen(function* () {
            yield* scope.cancel("enough")
            yield* nursery.spawn(add("began"))
            yield* add("spawned")
          })
        )
      )
    )
    expect(outcome).toEqual(cancelled(manual("enough")))
    expect(list).toEqual(["spawned"])
  })

  test("a child may spawn into its nursery when the body has ended, but nobody once the last child has", function* () {
    const { add, list } = record()
    let closed: Nursery.Nursery | undefined
    yield* Nursery.run((nursery) => {
      closed = nursery
      return nursery.spawn(Effect.andThen(Effect.yieldNow, nursery.spawn(add("grandchild"))))
    })
    expect(list).toEqual(["grandchild"])
    const exit = yield* Effect.exit(closed!.spawn(add("late")))
    expect(Exit.hasDies(exit)).toBe(true)
    expect(list).toEqual(["grandchild"])
  })

  test("a nursery in a scope that was cut, where cuts do not strike, runs its body to the end", function* () {
    const { add, list } = record()
    const outcome = yield* CancelScope.run((scope) =>
      Effect.gen(function* () {
        yield* scope.cancel("enough")
        yield* Nursery.run(() => add("empty"))
        yield* Nursery.run((nursery) => nursery.spawn(add("child")))
        const error = yield* Effect.flip(Nursery.run(() => Effect.fail("key")))
        yield* add(error)
      }).pipe(Effect.uninterruptible)
    )
    expect(outcome).toEqual(cancelled(manual("enough")))
    expect(list).toEqual(["empty", "child", "key"])
  })

  test("a shield keeps a whole nursery from the cut around it until its grace is over", function* () {
    const { add, list } = record()
    const outer = yield* CancelScope.make()
    const fiber = yield* fork(
      outer.run(
        CancelScope.shield(
          Nursery.run((nursery) =>
            nursery.spawn(Effect.onInterrupt(Effect.andThen(add("sleeping"), Effect.never), () => add("cancelled")))
          ),
          { grace: "1 second" }
        )
      )
    )
    yield* fork(outer.cancel("outer"))
    yield* TestClock.adjust("999 millis")
    expect(list).toEqual(["sleeping"])
    yield* TestClock.adjust("1 millis")
    expect(list).toEqual(["sleeping", "cancelled"])
    yield* Fiber.await(fiber)
  })

  test("children see what was provided around their spawn, and what they provide for themselves stays theirs", function* () {
    const seen: Array<string> = []
    const note = Effect.map(Word, (word) => void seen.push(word))
    yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        yield* nursery.spawn(Effect.andThen(note, Effect.provideService(note, Word, "child's")))
        yield* Effect.provideService(nursery.spawn(note), Word, "spawner's")
        yield* note
      })
    ).pipe(Effect.provideService(Word, "main's"))
    expect(seen).toEqual(["main's", "child's", "spawner's", "main's"])
  })
})

describe("nursery: the tree", () => {
  /** What a node and those below it are called. */
  const names = (node: Registry.Node): unknown =>
    node.children.length === 0 ? node.name : { [node.name]: node.children.map(names) }
  const tree = Effect.map(Registry.tree, (nodes) => nodes.map(names))

  test("shows children below their nursery and nurseries below the child that runs them, while they live", function* () {
    const seen: Array<unknown> = []
    const look = Effect.map(tree, (nodes) => void seen.push(nodes))
    yield* Nursery.run(
      (outer) =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          yield* look
          yield* outer.start(
            (ready) =>
              Nursery.run(
                (inner) =>
                  Effect.andThen(inner.spawn(Effect.never, "child2"), Effect.andThen(ready("up"), Effect.never)),
                {
                  name: "inner"
                }
              ),
            "child1"
          )
          yield* look
          yield* outer.cancel()
          yield* look
        }),
      { name: "outer" }
    )
    yield* look
    expect(seen).toEqual([["outer"], [{ outer: [{ child1: [{ inner: ["child2"] }] }] }], ["outer"], []])
  })

  test("a nursery that failed inside another leaves the tree, and the other stays", function* () {
    const seen: Array<unknown> = []
    const look = Effect.map(tree, (nodes) => void seen.push(nodes))
    yield* Nursery.run(
      () =>
        Effect.gen(function* () {
          yield* Effect.yieldNow
          const second = Nursery.run(
            () => Effect.yieldNow.pipe(Effect.andThen(look), Effect.andThen(Effect.fail("key"))),
            { name: "second" }
          )
          const error = yield* Effect.flip(second)
          expect(error).toBe("key")
          yield* look
        }),
      { name: "first" }
    )
    yield* look
    expect(seen).toEqual([[{ first: ["second"] }], ["first"], []])
  })

  test("children have the names they are given; without one they are told apart by number", function* () {
    const seen: Array<unknown> = []
    yield* Nursery.run(
      (nursery) =>
        Effect.gen(function* () {
          const named = yield* nursery.spawn(Effect.never, "named")
          const first = yield* nursery.spawn(Effect.never)
          const second = yield* nursery.spawn(Effect.never)
          yield* Effect.yieldNow
          expect(named.name).toBe("named")
          expect(first.name).not.toBe(second.name)
          seen.push([{ n: [named.name, first.name, second.name] }], yield* tree)
          yield* nursery.cancel()
        }),
      { name: "n" }
    )
    expect(seen[1]).toEqual(seen[0])
  })

  test("says how many live, and how long until the next deadline", function* () {
    const sleeper = yield* fork(
      Nursery.run((nursery) => nursery.spawn(Effect.never, "sleeper").pipe(Effect.andThen(Effect.never)), {
        name: "n"
      }).pipe(Deadline.option("5 seconds"))
    )
    yield* TestClock.adjust("1 second")
    const [node] = yield* Registry.tree
    const [child] = node!.children
    expect([node!.deadlineMillis, node!.ageMillis]).toEqual([4000, 1000])
    expect([child!.name, child!.deadlineMillis, child!.ageMillis]).toEqual(["sleeper", 4000, 1000])
    yield* TestClock.adjust("4 seconds")
    yield* Fiber.join(sleeper)
    expect(yield* Registry.tree).toEqual([])
  })
})

describe("nursery: start", () => {
  const sleepThenReady = (seconds: number) => (ready: (value: number) => Effect.Effect<void>) =>
    Effect.sleep(Duration.seconds(seconds)).pipe(
      Effect.andThen(ready(seconds)),
      Effect.andThen(Effect.sleep(Duration.seconds(seconds)))
    )

  test("waits for ready and gives its value; the nursery waits for the child", function* () {
    for (const seconds of [1, 2]) {
      const began = yield* Clock.currentTimeMillis
      let started: [number, number] | undefined
      const { millis } = yield* elapse(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const value = yield* nursery.start(sleepThenReady(seconds))
            started = [value, (yield* Clock.currentTimeMillis) - began]
          })
        )
      )
      expect(started).toEqual([seconds, seconds * 1000])
      expect(millis).toBe(2 * seconds * 1000)
    }
  })

  test("a child that fails before it is ready fails the caller and nobody else, with the very error", function* () {
    const error = new Error("oops", { cause: new SyntaxError("bar") })
    const { add, list } = record()
    yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        yield* nursery.spawn(Effect.andThen(Effect.yieldNow, add("sibling lives")))
        expect(yield* Effect.flip(nursery.start(() => Effect.fail(error)))).toBe(error)
        const later = nursery.start(() => Effect.andThen(Effect.yieldNow, Effect.fail(error)))
        expect(yield* Effect.flip(later)).toBe(error)
        expect(error.cause).toBeInstanceOf(SyntaxError)
        yield* add("body lives")
      })
    )
    expect(list.toSorted()).toEqual(["body lives", "sibling lives"])
  })

  test("a child that fails after it was ready fails the nursery, as any child does", function* () {
    const { add, list } = record()
    const exit = yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        yield* nursery.start(
          (ready) => Effect.andThen(ready("up"), Effect.andThen(Effect.yieldNow, Effect.fail("down"))),
          "server"
        )
        yield* add("started")
        yield* Effect.never
      })
    ).pipe(Effect.exit)
    expect(failures(exit)).toEqual([["server", "down"]])
    expect(list).toEqual(["started"])
  })

  test("a child that ends before it is ready is a mistake, and so is one that says it twice", function* () {
    const silent = yield* Effect.exit(Nursery.run((nursery) => nursery.start(() => Effect.void, "nothing")))
    expect(Exit.hasDies(silent)).toBe(true)
    const twice = yield* Effect.exit(
      Nursery.run((nursery) =>
        nursery.start((ready: (value: number) => Effect.Effect<void>) => Effect.andThen(ready(1), ready(2)))
      )
    )
    expect(Exit.hasDies(twice)).toBe(true)
  })

  test("a caller that is cut while it waits for ready takes the child with it", function* () {
    const { add, list } = record()
    yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        const outcome = yield* CancelScope.run((scope) =>
          Effect.andThen(
            fork(
              Effect.andThen(
                Effect.yieldNow,
                Effect.sync(() => scope.cancelUnsafe("enough"))
              )
            ),
            nursery.start(() => Effect.onInterrupt(Effect.never, () => add("child cut")))
          )
        )
        expect(outcome).toEqual(cancelled(manual("enough")))
        yield* add("body lives")
      })
    )
    expect(list).toEqual(["child cut", "body lives"])
  })

  test("in a nursery that has ended it is a defect, at once", function* () {
    let closed: Nursery.Nursery | undefined
    yield* Nursery.run((nursery) => Effect.sync(() => (closed = nursery)))
    const { exit, millis } = yield* elapse(closed!.start(sleepThenReady(7)))
    expect(Exit.hasDies(exit)).toBe(true)
    expect(millis).toBe(0)
  })

  test("children of a child that says ready to a nursery that is cut are cut with it, just before or just after", function* () {
    const { add, list } = record()
    const sleepers = (before: Effect.Effect<void>) => (ready: (value: void) => Effect.Effect<void>) =>
      Nursery.run((nursery) =>
        Effect.gen(function* () {
          yield* nursery.spawn(Effect.onInterrupt(Effect.never, () => add("one")))
          yield* nursery.spawn(Effect.onInterrupt(Effect.never, () => add("two")))
          yield* Effect.yieldNow
          yield* before
          yield* ready()
        })
      )
    yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        yield* nursery.start(sleepers(Effect.void))
        yield* nursery.cancel("just after")
      })
    )
    expect(list.toSorted()).toEqual(["one", "two"])
    const before = yield* fork(
      CancelScope.run((scope) =>
        Nursery.run((nursery) => nursery.start(sleepers(Effect.sync(() => scope.cancelUnsafe("just before")))))
      )
    )
    yield* settle
    expect(yield* Fiber.join(before)).toEqual(cancelled(manual("just before")))
    expect(list.toSorted()).toEqual(["one", "one", "two", "two"])
  })

  test("a start that is under way keeps its nursery open, also when it comes to nothing", function* () {
    const sleepABit = (ready: (value: void) => Effect.Effect<void>) =>
      Effect.sleep("2 seconds").pipe(Effect.andThen(ready()), Effect.andThen(Effect.sleep("3 seconds")))
    let open: Array<number> = []
    yield* elapse(
      Nursery.run((outer) =>
        Effect.gen(function* () {
          const began = yield* Clock.currentTimeMillis
          yield* Nursery.run((inner) =>
            Effect.gen(function* () {
              yield* outer.spawn(inner.start(sleepABit))
              yield* Effect.sleep("1 second")
              yield* outer.spawn(inner.start(sleepABit))
            })
          )
          open.push((yield* Clock.currentTimeMillis) - began)
        })
      )
    )
    yield* elapse(
      Nursery.run((outer) =>
        Effect.gen(function* () {
          const began = yield* Clock.currentTimeMillis
          yield* Nursery.run((inner) =>
            outer.spawn(Effect.flip(inner.start(() => Effect.andThen(Effect.sleep("7 seconds"), Effect.fail("crash")))))
          )
          open.push((yield* Clock.currentTimeMillis) - began)
        })
      )
    )
    expect(open).toEqual([6000, 7000])
  })
})

/** A host, how long it takes to answer, and how it does. */
type Host = readonly [name: string, millis: number, answer: "connects" | "refuses"]

/**
 * Connects to the first host that answers: an attempt begins when the one before has failed, or has not answered for
 * `headStart`; the first that connects wins, and the others are cut.
 */
const connect = (hosts: ReadonlyArray<Host>, headStart: Duration.Input) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    const began: Record<string, number> = {}
    const open = new Set<string>()
    const attempt = ([name, millis, answer]: Host) =>
      Effect.gen(function* () {
        began[name] = (yield* Clock.currentTimeMillis) - start
        yield* Effect.sleep(millis)
        return answer === "connects" ? name : yield* Effect.fail(`${name} sorry`)
      }).pipe(Effect.ensuring(Effect.sync(() => open.delete(name))), (effect) =>
        Effect.andThen(
          Effect.sync(() => open.add(name)),
          effect
        )
      )
    const { exit, millis } = yield* elapse(
      Nursery.run(
        (nursery: Nursery.Joined<string, string>) =>
          Effect.gen(function* () {
            for (const host of hosts) {
              const failed = yield* Deferred.make<void>()
              yield* nursery.spawn(
                Effect.onError(attempt(host), () => Deferred.succeed(failed, undefined)),
                host[0]
              )
              yield* Deferred.await(failed).pipe(Deadline.option(headStart))
            }
          }),
        { join: Join.anySuccess<string, string>() }
      )
    )
    expect(open.size).toBe(0)
    return { exit, millis, began }
  })

describe("nursery: the first of many", () => {
  test("an only host is waited for, however long it takes, and its failure is the failure", function* () {
    expect(yield* connect([["a", 100, "connects"]], 250)).toEqual({
      exit: Exit.succeed("a"),
      millis: 100,
      began: { a: 0 }
    })
    expect((yield* connect([["a", 100_000, "connects"]], 250)).millis).toBe(100_000)
    const quick = yield* connect([["a", 100, "refuses"]], 250)
    expect(failures(quick.exit)).toEqual([["a", "a sorry"]])
    expect(quick.millis).toBe(100)
    expect((yield* connect([["a", 100_000, "refuses"]], 250)).millis).toBe(100_000)
  })

  test("the third may win, the second may win before the third begins, the first may win with a longer head start", function* () {
    const hosts = (second: number): ReadonlyArray<Host> => [
      ["a", 1000, "connects"],
      ["b", second, "connects"],
      ["c", 200, "connects"]
    ]
    expect(yield* connect(hosts(1000), 250)).toEqual({
      exit: Exit.succeed("c"),
      millis: 700,
      began: { a: 0, b: 250, c: 500 }
    })
    expect(yield* connect(hosts(100), 250)).toEqual({ exit: Exit.succeed("b"), millis: 350, began: { a: 0, b: 250 } })
    expect(yield* connect(hosts(1000), 450)).toEqual({
      exit: Exit.succeed("a"),
      millis: 1000,
      began: { a: 0, b: 450, c: 900 }
    })
  })

  test("a failure lets the next begin at once", function* () {
    const hosts: ReadonlyArray<Host> = [
      ["a", 100, "refuses"],
      ["b", 200, "refuses"],
      ["c", 10_000, "connects"],
      ["d", 250, "connects"]
    ]
    expect(yield* connect(hosts, 250)).toEqual({
      exit: Exit.succeed("d"),
      millis: 800,
      began: { a: 0, b: 100, c: 300, d: 550 }
    })
  })

  test("when all fail every failure stands in the one cause", function* () {
    const hosts: ReadonlyArray<Host> = [
      ["a", 100, "refuses"],
      ["b", 200, "refuses"],
      ["c", 10_000, "refuses"],
      ["d", 250, "refuses"]
    ]
    const { exit, millis } = yield* connect(hosts, 250)
    expect(millis).toBe(10_300)
    expect(failures(exit)).toEqual(hosts.map(([name]) => [name, `${name} sorry`]))
  })

  test("of several that succeed in the same instant one wins, and failures before and after do not matter", function* () {
    const hosts: ReadonlyArray<Host> = [
      ["a", 500, "refuses"],
      ["b", 10_000, "connects"],
      ["c", 9000, "connects"],
      ["d", 8000, "connects"],
      ["e", 500, "refuses"]
    ]
    const { began, exit, millis } = yield* connect(hosts, "1 second")
    expect(Exit.isSuccess(exit) && ["b", "c", "d"].includes(exit.value)).toBe(true)
    expect(millis).toBe(10_500)
    expect(began).toEqual({ a: 0, b: 500, c: 1500, d: 2500, e: 3500 })
  })

  test("a deadline around it cuts every attempt", function* () {
    const hosts = ["a", "b", "c", "d"].map((name): Host => [name, 10_000, "connects"])
    let cut = 0
    const { exit, millis } = yield* elapse(
      Nursery.all(
        hosts.map(([name]) =>
          Effect.onInterrupt(Effect.as(Effect.sleep("10 seconds"), name), () => Effect.sync(() => cut++))
        ),
        Join.anySuccess()
      ).pipe(Deadline.option("5 seconds"))
    )
    expect(exit).toEqual(Exit.succeed(Option.none()))
    expect([millis, cut]).toEqual([5000, 4])
  })
})

describe("nursery: servers", () => {
  test("handlers live in the nursery they are given, and its failure ends them and whoever spawned them", function* () {
    let running = 0
    const handler = Effect.sync(() => running++).pipe(
      Effect.andThen(Effect.sleep("1 second")),
      Effect.ensuring(Effect.sync(() => running--))
    )
    const exit = yield* Nursery.run((outer) =>
      Effect.gen(function* () {
        const handlers = yield* outer.start(
          (ready: (value: Nursery.Nursery) => Effect.Effect<void>) =>
            Nursery.run((nursery) =>
              Effect.gen(function* () {
                yield* ready(nursery)
                yield* Effect.yieldNow
                expect(running).toBe(10)
                yield* Effect.fail("done")
              })
            ),
          "watcher"
        )
        yield* outer.spawn(
          Effect.forEach(Array.from({ length: 10 }), () => handlers.spawn(handler)),
          "listener"
        )
      })
    ).pipe(Effect.exit)
    expect(failures(exit)).toEqual([["watcher", "done"]])
    expect(running).toBe(0)
  })

  test("what is tried again each 100 ms is tried ten times in 950 ms, and then cut", function* () {
    let tries = 0
    const accept = Effect.suspend(() => {
      tries++
      return Effect.fail("out of file descriptors")
    })
    const { exit, millis } = yield* elapse(
      Nursery.all([accept], Join.supervise(Schedule.spaced("100 millis"), { restarts: 100, within: "1 minute" })).pipe(
        Deadline.option("950 millis")
      )
    )
    expect(exit).toEqual(Exit.succeed(Option.none()))
    expect([millis, tries]).toEqual([950, 10])
  })
})

describe("nursery: results as a stream", () => {
  const values = (ended: Join.Ended<number, unknown>) =>
    Exit.isSuccess(ended.exit) ? ended.exit.value : ended.exit.cause

  test("ends when there are no more", function* () {
    const all = yield* Stream.runCollect(Nursery.stream([Effect.succeed(1), Effect.succeed(2)]))
    expect(all.map(values)).toEqual([1, 2])
    expect(yield* Stream.runCollect(Nursery.stream<Effect.Effect<never>>([]))).toEqual([])
  })

  test("asks its source for no more than there is room for while the consumer sleeps, or has had enough", function* () {
    let asked = 0
    function* source() {
      for (;;) {
        asked++
        yield Effect.succeed(asked)
      }
    }
    const sleeping = yield* elapse(
      Stream.runForEach(Nursery.stream(source(), { maxRunning: 1 }), () => Effect.never).pipe(
        Deadline.option("5 seconds")
      )
    )
    expect(sleeping.millis).toBe(5000)
    // The first is with the consumer, the second has ended and waits to be taken.
    expect(asked).toBe(2)
    asked = 0
    const first = yield* Stream.runCollect(Stream.take(Nursery.stream(source(), { maxRunning: 1 }), 1))
    expect(first.map(values)).toEqual([1])
    expect(asked).toBeLessThanOrEqual(2)
  })

  test("asks its source for nothing when it is cut before it begins", function* () {
    let asked = 0
    function* source() {
      asked++
      yield Effect.void
    }
    const outcome = yield* CancelScope.run((scope) =>
      Effect.andThen(scope.cancel("enough"), Stream.runDrain(Nursery.stream(source())))
    )
    expect(outcome).toEqual(cancelled(manual("enough")))
    expect(asked).toBe(0)
  })

  test("one in another keep apart", function* () {
    const two = () => Nursery.stream([Effect.succeed(0), Effect.succeed(1)])
    const pairs: Array<unknown> = []
    yield* Stream.runForEach(two(), (i) =>
      Stream.runForEach(two(), (j) => Effect.sync(() => pairs.push([values(i), values(j)])))
    )
    expect(pairs).toEqual([
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1]
    ])
  })

  test("a child that was cut in a scope of its own is a result like another, and the consumer goes on", function* () {
    const self = CancelScope.run((scope) => Effect.andThen(scope.cancel("own"), Effect.never))
    const tags = yield* Stream.runCollect(
      Stream.map(Nursery.stream([self]), ({ exit }) => (Exit.isSuccess(exit) ? tag(exit.value) : "failed"))
    )
    expect(tags).toEqual(["Cancelled"])
  })

  test("a cut ends the consumer and the children that still run", function* () {
    const { add, list } = record()
    const scope = yield* CancelScope.make()
    const endless = Effect.onInterrupt(Effect.never, () => add("child cut"))
    const consume = () => Effect.onInterrupt(Effect.never, () => add("consumer cut"))
    const fiber = yield* fork(
      scope.run(Stream.runForEach(Nursery.stream([Effect.void, endless], { maxRunning: 2 }), consume))
    )
    yield* settle
    yield* scope.cancel("enough")
    expect(yield* Fiber.join(fiber)).toEqual(cancelled(manual("enough")))
    expect(list.toSorted()).toEqual(["child cut", "consumer cut"])
  })

  test("a consumer that fails and a clean-up that fails stand side by side", function* () {
    const broken = Effect.onInterrupt(Effect.never, () => Effect.die("clean-up"))
    const exit = yield* Effect.exit(
      Stream.runForEach(Nursery.stream([Effect.void, broken], { maxRunning: 2 }), () => Effect.fail("consumer"))
    )
    if (Exit.isSuccess(exit)) throw new Error("expected a failure")
    // Effect makes a defect of the consumer's error where a finalizer dies beside it.
    const wrong = exit.cause.reasons.map((reason) =>
      reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : reason
    )
    expect(wrong).toEqual(["consumer", "clean-up"])
  })

  test("a consumer that has had enough learns of a clean-up that fails", function* () {
    const broken = Effect.onInterrupt(Effect.never, () => Effect.die("clean-up"))
    const exit = yield* Effect.exit(
      Stream.runDrain(Stream.take(Nursery.stream([Effect.void, broken], { maxRunning: 2 }), 1))
    )
    expect(Exit.hasDies(exit)).toBe(true)
  })
})

describe("lines: permits and children", () => {
  test("a child that ends without a word gives its permit back, and whoever waits for it goes in", function* () {
    const gate = yield* Gate.make("lock", { limit: 1 })
    const { add, list } = record()
    const owner = (name: string) => Effect.scoped(Effect.andThen(gate.hold(), add(name)))
    yield* Nursery.run((nursery) => Effect.andThen(nursery.spawn(owner("one")), nursery.spawn(owner("two"))))
    yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        const holder = yield* nursery.spawn(Effect.scoped(Effect.andThen(gate.hold(), Effect.never)))
        yield* nursery.spawn(owner("three"))
        expect((yield* gate.statistics).waiting).toBe(1)
        yield* holder.cancel()
      })
    )
    expect(list).toEqual(["one", "two", "three"])
    expect(Gate.check(yield* gate.statistics)).toEqual([])
    expect((yield* gate.statistics).running).toBe(0)
  })

  test("one that is cut while it waits for a permit is forgotten by the gate", function* () {
    const gate = yield* Gate.make("lock", { limit: 1 })
    const permit = yield* gate.hold()
    yield* Nursery.run((nursery) =>
      Effect.andThen(nursery.spawn(gate.run(Effect.void)), nursery.spawn(gate.run(Effect.void))).pipe(
        Effect.andThen(nursery.cancel("enough"))
      )
    )
    const { interrupted, waiting } = yield* gate.statistics
    expect([waiting, interrupted]).toEqual([0, 2])
    permit.release()
  })
})
