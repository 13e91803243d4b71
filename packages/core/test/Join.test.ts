import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Data, Duration, Effect, Exit, Fiber, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, Deadline, Join, Nursery, Reason, Registry } from "@fairlead/core"
import type { Refused } from "@fairlead/core"
import * as timer from "../src/internal/timer.ts"

class Boom extends Data.TaggedError("Boom")<{ readonly text: string }> {}

const nothingLeft = Effect.gen(function* () {
  expect(timer.of(yield* Clock.Clock).size).toBe(0)
  expect(yield* Registry.tree).toEqual([])
})

const value = (text: string, seconds: number): Effect.Effect<string, Boom> =>
  Effect.as(Effect.sleep(Duration.seconds(seconds)), text)
const failing = (text: string, seconds: number): Effect.Effect<string, Boom> =>
  Effect.andThen(Effect.sleep(Duration.seconds(seconds)), Effect.fail(new Boom({ text })))

/** Runs `effect` while `seconds` pass, and expects that it has ended by then, with nothing left. */
const within = <A, E>(seconds: number, effect: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    yield* TestClock.adjust(0)
    const fiber = yield* Effect.forkChild(effect)
    yield* TestClock.adjust(0)
    // One by one: what begins at an instant must see it.
    for (let second = 0; second < seconds; second++) yield* TestClock.adjust("1 second")
    expect(fiber.pollUnsafe()).not.toBe(undefined)
    yield* nothingLeft
    return yield* Fiber.await(fiber)
  })

const failures = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit)
    ? []
    : Nursery.failures(exit.cause).map(({ child, failure }) => [
        child,
        failure._tag === "Fail" ? (failure.error as Boom).text : failure.defect
      ])

const endings = (ended: ReadonlyArray<Join.Ended<string, Boom>>) =>
  ended.map(({ exit, name, reason }) => [
    name,
    Exit.isSuccess(exit) ? exit.value : (failures(exit)[0]?.[1] ?? "cut"),
    reason && Reason.format(reason)
  ])

describe("Join.failFast", () => {
  it.effect("gives every value, in the order of spawning, and is the default of Nursery.all", () =>
    Effect.gen(function* () {
      expect(yield* within(3, Nursery.all([value("a", 3), value("b", 1)]))).toEqual(Exit.succeed(["a", "b"]))
      expect(yield* within(3, Nursery.all([value("a", 3), value("b", 1)], Join.failFast()))).toEqual(
        Exit.succeed(["a", "b"])
      )
      expect(yield* within(0, Nursery.all([]))).toEqual(Exit.succeed([]))
    })
  )

  it.effect("does not take a child that was cut alone for a failure: the others go on", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const block = Nursery.run(
        (nursery: Nursery.Joined<void, never>) =>
          Effect.gen(function* () {
            const child = yield* nursery.spawn(Effect.never)
            yield* nursery.spawn(
              Effect.andThen(
                Effect.sleep("1 second"),
                Effect.sync(() => void seen.push("went on"))
              )
            )
            yield* child.cancel("alone")
          }),
        { join: Join.failFast<void, never>() }
      )
      const exit = yield* within(1, block)
      expect([seen, Exit.hasInterrupts(exit)]).toEqual([["went on"], true])
    })
  )

  it.effect("a defect in the clean-up of a child is not lost, though the join has no say: the body failed", () =>
    Effect.gen(function* () {
      const block = Nursery.run(
        (nursery: Nursery.Joined<void, never>) =>
          Effect.gen(function* () {
            yield* nursery.spawn(
              Effect.onInterrupt(Effect.never, () => Effect.die("unclean")),
              "a"
            )
            yield* Effect.sleep("1 second")
            return yield* new Boom({ text: "body" })
          }),
        { join: Join.collectAll<void, never>() }
      )
      expect(failures(yield* within(1, block))).toEqual([
        [undefined, "body"],
        ["a", "unclean"]
      ])
    })
  )

  it.effect("fails with the first failure, at once", () =>
    Effect.gen(function* () {
      const exit = yield* within(1, Nursery.all([value("a", 9), failing("bad", 1), failing("later", 2)]))
      expect(failures(exit)).toEqual([["child 2", "bad"]])
    })
  )
})

describe("Join.collectAll", () => {
  it.effect("gives every end, failures too, in the order of spawning; its error type is never", () =>
    Effect.gen(function* () {
      const all: Effect.Effect<ReadonlyArray<Join.Ended<string, Boom>>> = Nursery.all(
        [failing("bad", 2), value("b", 1)],
        Join.collectAll(),
        { label: (index) => ["x", "y"][index]! }
      )
      const exit = yield* within(2, all)
      expect(Exit.map(exit, endings)).toEqual(
        Exit.succeed([
          ["x", "bad", undefined],
          ["y", "b", undefined]
        ])
      )
    })
  )
})

describe("Join.anySuccess", () => {
  it.effect("gives the first value and cuts the rest, who can read that it was not for a failure", () =>
    Effect.gen(function* () {
      const reasons: Array<unknown> = []
      const loser = Effect.onInterrupt(value("slow", 9), () =>
        Effect.map(CancelScope.reason, (reason) => reasons.push(reason))
      )
      const exit = yield* within(2, Nursery.all([failing("bad", 1), loser, value("quick", 2)], Join.anySuccess()))
      expect(exit).toEqual(Exit.succeed("quick"))
      expect(reasons).toMatchObject([{ value: { _tag: "Manual", text: "anySuccess: enough" } }])
    })
  )

  it.effect("fails with every failure when all fail", () =>
    Effect.gen(function* () {
      const exit = yield* within(2, Nursery.all([failing("second", 2), failing("first", 1)], Join.anySuccess()))
      expect(failures(exit)).toEqual([
        ["child 2", "first"],
        ["child 1", "second"]
      ])
    })
  )

  it.effect("a clean-up that fails is not hidden by the value", () =>
    Effect.gen(function* () {
      const untidy = Effect.onInterrupt(value("slow", 9), () => Effect.die("left a file"))
      const exit = yield* within(1, Nursery.all([untidy, value("quick", 1)], Join.anySuccess()))
      expect(failures(exit)).toEqual([["child 1", "left a file"]])
    })
  )

  it.effect("of nobody is a defect", () =>
    Effect.gen(function* () {
      expect(yield* Effect.exit(Nursery.all(Array<Effect.Effect<string>>(), Join.anySuccess()))).toEqual(
        Exit.die(new RangeError("Expected at least 1 child, got 0"))
      )
    })
  )
})

describe("Join.quorum", () => {
  it.effect("gives the first n values, in the order in which they came", () =>
    Effect.gen(function* () {
      const exit = yield* within(
        2,
        Nursery.all([value("c", 3), value("b", 2), failing("bad", 1), value("a", 1)], Join.quorum(2))
      )
      expect(exit).toEqual(Exit.succeed(["a", "b"]))
    })
  )

  it.effect("gives up, and cuts the rest, as soon as so many cannot come", () =>
    Effect.gen(function* () {
      const exit = yield* within(
        2,
        Nursery.all([failing("x", 1), value("a", 9), failing("y", 2), value("b", 1)], Join.quorum(3))
      )
      expect(failures(exit)).toEqual([
        ["child 1", "x"],
        ["child 3", "y"]
      ])
    })
  )

  it.effect("of too few is a defect that says how many there were, also where they have to wait", () =>
    Effect.gen(function* () {
      expect(yield* within(1, Nursery.all([value("a", 1), value("b", 9)], Join.quorum(3)))).toEqual(
        Exit.die(new RangeError("Expected at least 3 children, got 2"))
      )
      expect(yield* Effect.exit(Nursery.all([Effect.succeed(1)], Join.quorum(2)))).toEqual(
        Exit.die(new RangeError("Expected at least 2 children, got 1"))
      )
    })
  )
})

describe("Join.until", () => {
  it.effect("collects until one matches, and cuts the rest", () =>
    Effect.gen(function* () {
      const exit = yield* within(
        2,
        Nursery.all(
          [value("a", 1), failing("bad", 1), value("found", 2), value("late", 3)],
          Join.until(({ exit }) => Exit.isSuccess(exit) && exit.value === "found")
        )
      )
      expect(Exit.map(exit, endings)).toEqual(
        Exit.succeed([
          ["child 1", "a", undefined],
          ["child 2", "bad", undefined],
          ["child 3", "found", undefined],
          ["child 4", "cut", "Manual: until: enough"]
        ])
      )
    })
  )

  it.effect("a predicate that throws is a defect, and cuts the rest", () =>
    Effect.gen(function* () {
      const exit = yield* within(
        1,
        Nursery.all(
          [value("a", 1), value("b", 9)],
          Join.until(() => {
            throw new Error("typo")
          })
        )
      )
      expect(failures(exit)).toEqual([[undefined, new Error("typo")]])
    })
  )
})

describe("Join.soFar", () => {
  it.effect("gives what there is when the time is up; the rest is cut for it", () =>
    Effect.gen(function* () {
      const exit = yield* within(
        2,
        Nursery.all([value("a", 1), value("b", 9), failing("bad", 1)], Join.soFar("2 seconds"))
      )
      expect(Exit.map(exit, endings)).toEqual(
        Exit.succeed([
          ["child 1", "a", undefined],
          ["child 2", "cut", "Deadline"],
          ["child 3", "bad", undefined]
        ])
      )
      expect(yield* within(1, Nursery.all([value("a", 1)], Join.soFar("1 minute")))).toMatchObject({
        value: [{ name: "child 1" }]
      })
    })
  )

  it.effect("a time of zero is no time: nothing begins", () =>
    Effect.gen(function* () {
      let began = 0
      const begin = Effect.sync(() => began++)
      expect(yield* Nursery.all([begin, begin], Join.soFar(0))).toEqual([])
      const body = Nursery.run(
        (nursery: Nursery.Joined<number, never>) => Effect.andThen(begin, nursery.spawn(begin)),
        {
          join: Join.soFar<number, never>(0)
        }
      )
      expect(yield* body).toEqual([])
      expect(began).toBe(0)
      yield* nothingLeft
    })
  )

  it.effect("an earlier deadline around it is that region's affair", () =>
    Effect.gen(function* () {
      const exit = yield* within(
        1,
        Nursery.all([value("a", 9)], Join.soFar("2 seconds")).pipe(Deadline.within("1 second"))
      )
      expect(Exit.isFailure(exit) && exit.cause.reasons).toMatchObject([{ error: { _tag: "DeadlineExceeded" } }])
    })
  )
})

describe("Join.supervise", () => {
  /** Fails `times` times, each after a second. */
  const flaky = (times: number, seen: Array<string>) =>
    Effect.suspend(() => {
      seen.push("attempt")
      return times-- > 0 ? failing(`failure ${times}`, 1) : value("well", 1)
    })

  it.effect("starts a child again when it fails, by the schedule, while the others go on", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const exit = yield* within(
        7,
        Nursery.all([flaky(2, seen), value("b", 7)], Join.supervise(Schedule.spaced("2 seconds")))
      )
      expect(exit).toEqual(Exit.succeed(["well", "b"]))
      expect(seen.length).toBe(3)
    })
  )

  it.effect("does not start a child again that was interrupted", () =>
    Effect.gen(function* () {
      let attempts = 0
      const child = Effect.suspend(() => (++attempts > 3 ? Effect.void : Effect.interrupt))
      const exit = yield* within(1, Nursery.all([child], Join.supervise(Schedule.forever)))
      expect([attempts, Exit.hasInterrupts(exit)]).toEqual([1, true])
    })
  )

  it.effect("a defect is a failure too, and what an attempt forked has ended before the next begins", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      let attempts = 0
      const child = Effect.gen(function* () {
        seen.push(`attempt ${++attempts}`)
        yield* Effect.forkChild(
          Effect.onInterrupt(Effect.never, () => Effect.sync(() => seen.push("forked ended"))),
          { startImmediately: true }
        )
        if (attempts === 1) yield* Effect.die("bug")
        return "fine"
      })
      expect(yield* within(0, Nursery.all([child], Join.supervise(Schedule.forever)))).toEqual(Exit.succeed(["fine"]))
      expect(seen).toEqual(["attempt 1", "forked ended", "attempt 2", "forked ended"])
    })
  )

  it.effect("gives a child up when its schedule ends: the last failure fails the block", () =>
    Effect.gen(function* () {
      const exit = yield* within(3, Nursery.all([flaky(9, []), value("b", 99)], Join.supervise(Schedule.recurs(2))))
      expect(failures(exit)).toEqual([["child 1", "failure 6"]])
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("given up: its schedule has ended")
    })
  )

  it.effect("gives up when there are too many restarts within the time, of all children together", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const exit = yield* within(
        3,
        Nursery.all(
          [flaky(9, seen), flaky(9, seen)],
          Join.supervise(Schedule.forever, { restarts: 3, within: "10 seconds" })
        )
      )
      expect(failures(exit).length).toBeGreaterThanOrEqual(1)
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("given up: no more than 3 restarts within 10s")
      expect(seen.length).toBe(5)
      const slowly: Array<string> = []
      expect(
        yield* within(
          5,
          Nursery.all([flaky(4, slowly)], Join.supervise(Schedule.forever, { restarts: 1, within: "999 millis" }))
        )
      ).toEqual(Exit.succeed(["well"]))
    })
  )

  it.effect("a server that is started again says ready again, which nobody waits for", () =>
    Effect.gen(function* () {
      let attempts = 0
      const exit = yield* within(
        3,
        Nursery.run(
          (nursery) =>
            nursery.start((ready: (port: number) => Effect.Effect<void>) =>
              Effect.andThen(ready(++attempts), attempts < 3 ? failing("crash", 1) : value("fine", 1))
            ),
          { join: Join.supervise<string, Boom>(Schedule.forever) }
        )
      )
      expect([exit, attempts]).toEqual([Exit.succeed(["fine"]), 3])
    })
  )

  it.effect("a time within which there is no restart is told", () =>
    Effect.sync(() => {
      expect(() => Join.supervise(Schedule.forever, { restarts: 1, within: 0 })).toThrow(
        "Expected restarts within more than no time, got 0"
      )
      expect(() => Join.supervise(Schedule.forever, { restarts: 0.5, within: 1 })).toThrow(
        "Expected at least 0 restarts, got 0.5"
      )
    })
  )

  it.effect("a schedule that has a bug of its own fails the child, beside what it was asked about", () =>
    Effect.gen(function* () {
      const broken = Schedule.tap(Schedule.forever, () => Effect.die("schedule"))
      const exit = yield* within(1, Nursery.all([failing("child", 1)], Join.supervise(broken)))
      expect(failures(exit)).toEqual([
        ["child 1", "child"],
        ["child 1", "schedule"]
      ])
    })
  )

  it.effect("counts restarts by the instants at which they were, though an hour passes in one jump", () =>
    Effect.gen(function* () {
      let attempts = 0
      const fails = Effect.andThen(
        Effect.sleep(10),
        Effect.suspend(() => Effect.fail(new Boom({ text: `attempt ${++attempts}` })))
      )
      const join = Join.supervise<never, Boom>(Schedule.forever, { restarts: 3, within: 100 })
      const fiber = yield* Effect.forkChild(Nursery.all([fails], join))
      yield* TestClock.adjust("1 hour")
      expect(failures(yield* Fiber.await(fiber))).toEqual([["child 1", "attempt 4"]])
      yield* nothingLeft
    })
  )

  it.effect("an interrupt is no failure: what is cut stays so", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              const child = yield* nursery.spawn(
                Effect.andThen(
                  Effect.sync(() => seen.push("began")),
                  Effect.never
                )
              )
              yield* child.cancel()
              return "body"
            }),
          { join: Join.supervise<never, never>(Schedule.forever) }
        )
      )
      expect(Exit.hasInterrupts(yield* Fiber.await(fiber))).toBe(true)
      expect(seen).toEqual(["began"])
      yield* nothingLeft
    })
  )

  it.effect("the tree says that a child waits for its next attempt", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust(0)
      const fiber = yield* Effect.forkChild(
        Nursery.all([flaky(1, [])], Join.supervise(Schedule.spaced("1 hour")), { label: () => "db" })
      )
      yield* TestClock.adjust("1 second")
      expect(yield* Registry.tree).toMatchObject([
        { children: [{ name: "db", state: "waiting", waitingFor: "its next attempt" }] }
      ])
      yield* Fiber.interrupt(fiber)
      yield* nothingLeft
    })
  )

  it.effect("the tree says how often there were restarts", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust(0)
      const fiber = yield* Effect.forkChild(
        Nursery.all([flaky(2, [])], Join.supervise(Schedule.forever), { name: "kept up" })
      )
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      expect(yield* Registry.tree).toMatchObject([{ name: "kept up", restarts: 2 }])
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
    })
  )
})

describe("a join of one's own", () => {
  it.effect("is two functions over the tally", () =>
    Effect.gen(function* () {
      const atMostOneFailure: Join.Join<string, Boom, ReadonlyArray<string>, Boom> = {
        policy: "atMostOneFailure",
        enough: ({ failed }) => failed > 1,
        result: (tally) => (tally.failed > 1 ? Join.failed(tally) : Exit.succeed(Join.values(tally.ended)))
      }
      expect(yield* within(2, Nursery.all([failing("x", 1), value("a", 2)], atMostOneFailure))).toEqual(
        Exit.succeed(["a"])
      )
      const exit = yield* within(2, Nursery.all([failing("x", 1), value("a", 9), failing("y", 2)], atMostOneFailure))
      expect(failures(exit)).toEqual([
        ["child 1", "x"],
        ["child 3", "y"]
      ])
    })
  )
})

describe("Nursery.run with a join", () => {
  it.effect("has the join's value, whatever the body gives, and the body may spawn as it goes", () =>
    Effect.gen(function* () {
      const exit = yield* within(
        2,
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(value("a", 2), "a")
              yield* Effect.sleep("1 second")
              yield* nursery.spawn(value("b", 0), "b")
              yield* Effect.never
            }),
          { join: Join.anySuccess<string, Boom>() }
        )
      )
      expect(exit).toEqual(Exit.succeed("b"))
    })
  )

  const failingBody = (join: Join.Join<string, Boom, unknown, Boom>) =>
    Nursery.run(
      (nursery) =>
        Effect.gen(function* () {
          yield* nursery.spawn(failing("child", 2), "a")
          yield* nursery.spawn(value("b", 9), "b")
          yield* Effect.uninterruptible(failing("body", 3))
        }),
      { join }
    )

  it.effect("fails with what the body failed with, and what the join fails with beside it", () =>
    Effect.gen(function* () {
      expect(failures(yield* within(3, failingBody(Join.failFast())))).toEqual([
        [undefined, "body"],
        ["a", "child"]
      ])
    })
  )

  it.effect("what a join puts up with is no failure of the block, when that fails, or is cut", () =>
    Effect.gen(function* () {
      expect(failures(yield* within(3, failingBody(Join.collectAll())))).toEqual([[undefined, "body"]])
      const joins: ReadonlyArray<Join.Join<string | void, Boom, unknown, Boom>> = [
        Join.collectAll(),
        Join.anySuccess(),
        Join.quorum(1)
      ]
      for (const join of joins) {
        const cancelled = yield* within(
          1,
          CancelScope.run((scope) => {
            const stop = Effect.andThen(Effect.sleep("1 second"), scope.cancel("enough"))
            return Nursery.all([failing("down", 0), stop], join)
          })
        )
        expect(Exit.map(cancelled, ({ _tag }) => _tag)).toEqual(Exit.succeed("Cancelled"))
      }
    })
  )
})

describe("effects of different types", () => {
  class Bang extends Data.TaggedError("Bang")<{}> {}
  const number: Effect.Effect<number, Boom> = Effect.succeed(1)
  const text: Effect.Effect<string, Bang> = Effect.succeed("one")

  it.effect("come to the union of their values and errors", () =>
    Effect.gen(function* () {
      const all: Effect.Effect<ReadonlyArray<number | string>, Boom | Bang> = Nursery.all([number, text])
      const first: Effect.Effect<number | string, Boom | Bang> = Nursery.all([number, text], Join.anySuccess())
      const long = Join.until<number | string, Boom | Bang>(({ exit }) => Exit.isSuccess(exit) && exit.value === "one")
      const stream: Stream.Stream<Join.Ended<number | string, Boom | Bang>> = Nursery.stream([number, text])
      expect(yield* all).toEqual([1, "one"])
      expect(yield* first).toBe(1)
      expect((yield* Nursery.all([number, text], long)).length).toBe(2)
      expect((yield* Stream.runCollect(stream)).map(({ index }) => index)).toEqual([0, 1])
      yield* nothingLeft
    })
  )
})

describe("Nursery.all", () => {
  it.effect("takes from its source one by one where maxRunning bounds it, and stops taking once there is enough", () =>
    Effect.gen(function* () {
      let taken = 0
      const source = (function* () {
        for (;;) yield value(`${++taken}`, 1)
      })()
      const exit = yield* within(2, Nursery.all(source, Join.quorum(4), { maxRunning: 3 }))
      expect(Exit.map(exit, (values) => values.length)).toEqual(Exit.succeed(4))
      expect(taken).toBeLessThanOrEqual(6)
    })
  )
})

describe("types", () => {
  it.effect("a join holds what is started to what it takes", () =>
    Effect.gen(function* () {
      const wrong = Nursery.run(
        (nursery) =>
          // @ts-expect-error a string is no number
          nursery.start((ready: (value: number) => Effect.Effect<void>) =>
            Effect.andThen(ready(1), Effect.succeed(""))
          ),
        { join: Join.failFast<number, never>() }
      )
      expect(yield* wrong).toEqual([""])
    })
  )

  it.effect("options that are not known beforehand may reject", () =>
    Effect.gen(function* () {
      const open = (options: Nursery.Options) =>
        Nursery.run((nursery) => Effect.andThen(nursery.spawn(Effect.yieldNow), nursery.spawn(Effect.void)), options)
      const program: Effect.Effect<Nursery.Child<void>, Refused.Refused> = open({ maxRunning: 1, overflow: "reject" })
      expect((yield* Effect.flip(program)).reason._tag).toBe("QueueFull")
      const nonsense = { overflow: "Reject" } as unknown as Nursery.Options
      expect(() => open(nonsense)).toThrow("Expected overflow to be suspend or reject, got Reject")
    })
  )
})

describe("Nursery.stream", () => {
  it.effect("gives every end, in the order of completion", () =>
    Effect.gen(function* () {
      const exit = yield* within(3, Stream.runCollect(Nursery.stream([value("c", 3), failing("b", 2), value("a", 1)])))
      expect(Exit.map(exit, (ended) => endings(Array.from(ended)))).toEqual(
        Exit.succeed([
          ["child 3", "a", undefined],
          ["child 2", "b", undefined],
          ["child 1", "c", undefined]
        ])
      )
    })
  )

  it.effect("is pulled: no child begins before there is room, in running and in results that nobody took", () =>
    Effect.gen(function* () {
      let begun = 0
      const source = (function* () {
        for (;;) {
          begun++
          yield value(`${begun}`, 1)
        }
      })()
      const exit = yield* within(
        10,
        Nursery.stream(source, { maxRunning: 2 }).pipe(
          Stream.tap(() => Effect.sleep("3 seconds")),
          Stream.take(3),
          Stream.runCollect
        )
      )
      expect(Exit.map(exit, (ended) => Array.from(ended).length)).toEqual(Exit.succeed(3))
      // Three taken, one to be taken next, two that run or hold theirs, and the one that the source was asked for last.
      expect(begun).toBeLessThanOrEqual(3 + 1 + 2 + 1)
    })
  )

  it.effect("ending it early cuts the rest, who can read why, and waits for it", () =>
    Effect.gen(function* () {
      let cleaned = 0
      const slow = Effect.onInterrupt(value("slow", 9), () =>
        Effect.gen(function* () {
          const reason = yield* CancelScope.reason
          expect(reason).toMatchObject({ value: { text: "the stream has ended" } })
          yield* Effect.sleep("1 second")
          cleaned++
        })
      )
      const exit = yield* within(2, Nursery.stream([slow, value("a", 1), slow]).pipe(Stream.take(1), Stream.runCollect))
      expect(Exit.isSuccess(exit)).toBe(true)
      expect(cleaned).toBe(2)
    })
  )
})
