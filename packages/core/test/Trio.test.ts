/**
 * Trio's cases on nurseries, cancel scopes, shields, deadlines and checkpoints, as they stand here: `docs/trio-checklist.md`
 * says which test answers which case of Trio's, and where ours behaves otherwise on purpose.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit, Fiber, Option } from "effect"
import type { Scope } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, Deadline, Gate, Reason } from "@fairlead/core"
import * as timer from "../src/internal/timer.ts"

/** No timer entry, and nothing that runs in a scope or a nursery. */
const nothingLeft = Effect.gen(function* () {
  expect(timer.of(yield* Clock.Clock).size).toBe(0)
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
    const outer = yield* CancelScope.make({ name: "outer" })
    const inner = yield* CancelScope.make({ name: "inner" })
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
