/**
 * What goes wrong where tasks are started, cancelled and cleaned up by hand, with an exit stack, a list of tasks and a time,
 * a heap of tasks by priority, or workers on a bounded queue: one test for each of those faults, in the situation in which it
 * shows.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, Deadline, Gate, Join, Nursery, Priority, Reason, Registry, WorkQueue } from "@fairlead/core"
import * as timer from "../src/internal/timer.ts"

const nothingLeft = Effect.gen(function* () {
  expect(timer.of(yield* Clock.Clock).size).toBe(0)
  expect(yield* Registry.tree).toEqual([])
})

const now = Clock.currentTimeMillis

/** Notes each end with its instant, and why it was cut. */
const record = () => {
  const seen: Array<string> = []
  const say = (what: string) => Effect.map(now, (millis) => void seen.push(`${millis}: ${what}`))
  const cut = (name: string) =>
    Effect.flatMap(CancelScope.reason, (reason) =>
      say(`${name} cut, ${Option.match(reason, { onNone: () => "no reason", onSome: Reason.format })}`)
    )
  const task = (name: string, seconds: number) =>
    Effect.sleep(`${seconds} seconds`).pipe(
      Effect.andThen(say(`${name} done`)),
      Effect.as(name),
      Effect.onInterrupt(() => cut(name))
    )
  return { seen, say, cut, task }
}

/** Runs `effect` while the clock goes on, second by second, and gives its end. */
const play = <A, E, R>(effect: Effect.Effect<A, E, R>, seconds: number) =>
  Effect.gen(function* () {
    // The first sleep on a test clock forks a warning, which a finalizer must not be the first to do.
    yield* TestClock.adjust(0)
    const fiber = yield* Effect.forkChild(effect)
    for (let half = 0; half < 2 * seconds; half++) yield* TestClock.adjust("500 millis")
    return fiber.pollUnsafe() ?? (yield* Effect.die(new Error(`Expected an end within ${seconds} s, got none`)))
  })

const failures = <A, E>(exit: Exit.Exit<A, E>) =>
  Exit.isSuccess(exit)
    ? []
    : Nursery.failures(exit.cause).map(({ child, failure }) => [
        child,
        failure._tag === "Fail" ? failure.error : failure.defect
      ])

describe("two workers, the first result wins", () => {
  it.effect("the other one is cut when the result is there, and knows why", () =>
    Effect.gen(function* () {
      const { seen, cut, say } = record()
      const worker = (name: string, pause: number) =>
        Effect.forEach([1, 2, 3, 4, 5], (step) =>
          Effect.andThen(Effect.sleep(pause), say(`${name} step ${step}`))
        ).pipe(
          Effect.as(name),
          Effect.onInterrupt(() => cut(name))
        )
      const exit = yield* play(Nursery.all([worker("a", 500), worker("b", 800)], Join.anySuccess()), 3)
      expect(exit).toEqual(Exit.succeed("a"))
      expect(seen).toEqual([
        "500: a step 1",
        "800: b step 1",
        "1000: a step 2",
        "1500: a step 3",
        "1600: b step 2",
        "2000: a step 4",
        "2400: b step 3",
        "2500: a step 5",
        "2500: b cut, Manual: anySuccess: enough"
      ])
      yield* nothingLeft
    })
  )

  it.effect("a sibling that fails is noticed at once, though the body waits for another one", () =>
    Effect.gen(function* () {
      const { seen, task } = record()
      const exit = yield* play(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const slow = yield* nursery.spawn(task("slow", 60), "slow")
            yield* nursery.spawn(Effect.delay(Effect.fail("no connection"), "1 second"), "broken")
            return yield* slow.join
          })
        ),
        1
      )
      expect(failures(exit)).toEqual([["broken", "no connection"]])
      expect(seen).toEqual(["1000: slow cut, SiblingFailed: broken"])
      yield* nothingLeft
    })
  )

  it.effect("a sibling that fails first does not cost the other its win, and is not lost if none wins", () =>
    Effect.gen(function* () {
      const { task } = record()
      const broken = (text: string, seconds: number) => Effect.delay(Effect.fail(text), `${seconds} seconds`)
      const won = yield* play(Nursery.all([broken("no", 1), task("late", 2)], Join.anySuccess()), 2)
      expect(won).toEqual(Exit.succeed("late"))
      const lost = yield* play(Nursery.all([broken("second", 2), broken("first", 1)], Join.anySuccess()), 2)
      expect(failures(lost)).toEqual([
        ["child 2", "first"],
        ["child 1", "second"]
      ])
      yield* nothingLeft
    })
  )

  it.effect(
    "clean-up needs no order by hand: the newest is cut first, and what stands around the block goes last",
    () =>
      Effect.gen(function* () {
        const { seen, cut, say } = record()
        const slowly = (name: string, seconds: number) =>
          Effect.onInterrupt(Effect.never, () =>
            Effect.andThen(cut(name), Effect.delay(say(`${name} clean`), `${seconds} seconds`))
          )
        const exit = yield* play(
          Effect.acquireUseRelease(
            say("pool opens"),
            () =>
              Nursery.run((nursery) =>
                Effect.gen(function* () {
                  yield* nursery.spawn(slowly("a", 1))
                  yield* nursery.spawn(slowly("b", 2))
                  yield* Effect.delay(Effect.fail("no"), "1 second")
                })
              ),
            () => say("pool closes")
          ),
          3
        )
        expect(failures(exit)).toEqual([[undefined, "no"]])
        expect(seen).toEqual([
          "0: pool opens",
          "1000: b cut, SiblingFailed: body",
          "1000: a cut, SiblingFailed: body",
          "2000: a clean",
          "3000: b clean",
          "3000: pool closes"
        ])
        yield* nothingLeft
      })
  )

  it.effect("neither a result that is an error nor a clean-up that fails skips the clean-up of the others", () =>
    Effect.gen(function* () {
      const { seen, task } = record()
      const fragile = Effect.onInterrupt(Effect.never, () => Effect.die("clean-up of b"))
      const exit = yield* play(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            yield* nursery.spawn(task("a", 60), "a")
            yield* nursery.spawn(fragile, "b")
            yield* nursery.spawn(task("c", 60), "c")
            const result = yield* nursery.spawn(Effect.delay(Effect.fail("no"), "1 second"), "result")
            yield* result.join
          })
        ),
        1
      )
      expect(seen).toEqual(["1000: c cut, SiblingFailed: result", "1000: a cut, SiblingFailed: result"])
      expect(failures(exit)).toEqual([
        ["result", "no"],
        ["b", "clean-up of b"]
      ])
      yield* nothingLeft
    })
  )
})

describe("tasks that are cancelled together, by time or by hand", () => {
  const together = (...tasks: ReadonlyArray<Effect.Effect<string>>) => Effect.all(tasks, { concurrency: "unbounded" })

  it.effect("what is done stays done, and the rest is cut at the deadline", () =>
    Effect.gen(function* () {
      const { seen, task } = record()
      const exit = yield* play(
        CancelScope.run(() => together(task("A", 1), task("B", 3), task("C", 4)), { within: "2 seconds" }),
        2
      )
      expect(Exit.isSuccess(exit) && exit.value).toBeInstanceOf(Deadline.DeadlineExceeded)
      expect(seen).toEqual(["1000: A done", "2000: B cut, Deadline", "2000: C cut, Deadline"])
      yield* nothingLeft
    })
  )

  it.effect("by hand, the cancel comes back when all has ended", () =>
    Effect.gen(function* () {
      const { seen, say, task } = record()
      const exit = yield* play(
        Effect.gen(function* () {
          const scope = yield* CancelScope.make()
          const running = yield* Effect.forkChild(scope.run(together(task("B", 3), task("C", 4))))
          yield* Effect.sleep("1 second")
          yield* scope.cancel("stop")
          yield* say("back")
          return yield* Fiber.join(running)
        }),
        1
      )
      expect(exit).toEqual(Exit.succeed(new CancelScope.Cancelled({ reason: new Reason.Manual({ text: "stop" }) })))
      expect(seen).toEqual(["1000: B cut, Manual: stop", "1000: C cut, Manual: stop", "1000: back"])
      yield* nothingLeft
    })
  )

  it.effect("an end in time is Completed, and nobody is told of a cancel: not then, and not at the deadline", () =>
    Effect.gen(function* () {
      const { seen, task } = record()
      const scope = yield* CancelScope.make({ within: "2 seconds" })
      const exit = yield* play(scope.run(task("A", 1)), 1)
      expect(exit).toEqual(Exit.succeed(new CancelScope.Completed({ value: "A" })))
      expect(scope.reason).toEqual(Option.none())
      yield* nothingLeft
      yield* TestClock.adjust("1 minute")
      expect(seen).toEqual(["1000: A done"])
    })
  )

  it.effect("the body is bound by the time as well as what it started", () =>
    Effect.gen(function* () {
      const { seen, task } = record()
      const exit = yield* play(
        CancelScope.run(() => Effect.andThen(Effect.forkChild(task("started", 5)), task("body", 10)), {
          within: "2 seconds"
        }),
        2
      )
      expect(Exit.isSuccess(exit) && exit.value._tag).toBe("DeadlineExceeded")
      expect(seen.toSorted()).toEqual(["2000: body cut, Deadline", "2000: started cut, Deadline"])
      yield* nothingLeft
    })
  )

  it.effect("a time of 0 is no time, and not no limit", () =>
    Effect.gen(function* () {
      const { seen, say } = record()
      const outcome = yield* CancelScope.run(() => say("began"), { within: 0 })
      expect(outcome._tag).toBe("DeadlineExceeded")
      expect(seen).toEqual([])
      yield* nothingLeft
    })
  )

  it.effect("no failure is lost: of a task, of several, nor of a clean-up while all is cut", () =>
    Effect.gen(function* () {
      const failing = (text: string, seconds: number) => Effect.delay(Effect.fail(text), `${seconds} seconds`)
      const one = yield* play(
        CancelScope.run(() => failing("no", 1), { within: "2 seconds" }),
        1
      )
      expect(one).toEqual(Exit.fail("no"))

      const several = yield* play(
        CancelScope.run(() => Nursery.all([failing("a", 1), failing("b", 1)], Join.anySuccess()), {
          within: "2 seconds"
        }),
        1
      )
      expect(failures(several)).toEqual([
        ["child 1", "a"],
        ["child 2", "b"]
      ])

      const fragile = (text: string) => Effect.onInterrupt(Effect.never, () => Effect.die(text))
      const cleanUp = yield* play(
        CancelScope.run(() => Nursery.all([fragile("a"), fragile("b")]), { within: "2 seconds" }),
        2
      )
      expect(failures(cleanUp)).toEqual([
        ["child 2", "b"],
        ["child 1", "a"]
      ])
      yield* nothingLeft
    })
  )
})

// That tasks run one at a time, that failures and results are lost, and that equals are compared: see Gate.test.ts.
describe("tasks by priority", () => {
  it.effect("the least urgent has its turn, though an urgent task is added whenever one is done", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("scheduler", { limit: 1 })
      const turns: Array<string> = []
      const task = (name: string) =>
        gate.run(
          Effect.andThen(
            Effect.sync(() => turns.push(name)),
            Effect.sleep("10 millis")
          )
        )
      // Two adders: while the task of one runs, that of the other stands in line.
      const adder = task("high").pipe(Priority.at(0), Effect.repeat({ times: 999 }))
      const adders = yield* Effect.forkChild(Effect.all([adder, adder], { concurrency: 2 }))
      yield* TestClock.adjust("1 second")
      const added = turns.length
      const low = yield* Effect.forkChild(task("low").pipe(Priority.background))
      // 64 turns of urgency 0 for one of 7.
      yield* TestClock.adjust("660 millis")
      expect(low.pollUnsafe()).toEqual(Exit.succeed(undefined))
      expect(turns.indexOf("low") - added).toBeLessThanOrEqual(65)
      yield* Fiber.interrupt(adders)
      expect(Gate.check(yield* gate.statistics)).toEqual([])
      yield* nothingLeft
    })
  )

  it.effect("where it stops, each task that has not begun is told so, and none is left or begins later", () =>
    Effect.gen(function* () {
      const { seen, task } = record()
      const scope = yield* Scope.make()
      const gate = yield* Scope.provide(Gate.make("scheduler", { limit: 1 }), scope)
      const added = yield* Effect.forEach(["a", "b", "c"], (name) =>
        Effect.forkChild(Effect.exit(gate.run(task(name, 1))), { startImmediately: true })
      )
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 minute")
      const [a, ...others] = yield* Effect.forEach(added, Fiber.join)
      expect(a).toEqual(Exit.succeed("a"))
      for (const exit of others) expect(String(Exit.isFailure(exit) && exit.cause)).toContain("ShuttingDown")
      expect(seen).toEqual(["1000: a done"])
      yield* nothingLeft
    })
  )
})

describe("requests, and workers that take them from a bounded queue", () => {
  const requests = Array.from({ length: 20 }, (_, index) => index + 1)

  it.effect("20 at 10 per second into 3 workers of 0.5 s with room for 10: all done, as fast as 3 can", () =>
    Effect.gen(function* () {
      const { seen, say } = record()
      let most = 0
      const exit = yield* play(
        Effect.gen(function* () {
          const queue = yield* WorkQueue.make("requests", {
            limit: 3,
            line: { maxItems: 10 },
            run: (n: number) => Effect.andThen(Effect.sleep(500), say(`${n}`))
          })
          for (const n of requests) {
            yield* queue.offer(n)
            const { running, waiting } = yield* queue.statistics
            expect(running).toBeLessThanOrEqual(3)
            most = Math.max(most, waiting)
            yield* Effect.sleep(100)
          }
          yield* queue.end
          return yield* queue.statistics
        }).pipe(Effect.scoped),
        5
      )
      expect(Exit.isSuccess(exit) && exit.value).toMatchObject({ state: "ended", completed: 20, lost: 0 })
      // The first at 0.5 s, the last of the seventh three 3.0 s after that, and one 0.1 s more for when it came.
      expect(seen.at(-1)).toBe("3600: 20")
      expect(seen.map((line) => Number(line.split(": ")[1]))).toEqual(requests)
      expect(most).toBeLessThanOrEqual(10)
      yield* nothingLeft
    })
  )

  it.effect("a worker that waits for work holds no permit: there is none, and no fiber", () =>
    Effect.gen(function* () {
      const queue = yield* WorkQueue.make("requests", { limit: 3, run: Effect.succeed<number> })
      expect(yield* queue.submit(1)).toBe(1)
      expect(yield* queue.statistics).toMatchObject({ running: 0, waiting: 0 })
      // So it can be made smaller, and larger, while nobody has anything to do.
      yield* queue.resize(1)
      expect(yield* queue.statistics).toMatchObject({ limit: 1, running: 0, surplus: 0 })
      yield* nothingLeft
    })
  )

  it.effect("a request that fails kills no worker: the ones after it are done, and its failure reaches who asked", () =>
    Effect.gen(function* () {
      const lost: Array<unknown> = []
      const exit = yield* play(
        Effect.gen(function* () {
          const queue = yield* WorkQueue.make("requests", {
            limit: 3,
            run: (n: number) => Effect.delay(n <= 6 ? Effect.fail(`${n} is broken`) : Effect.succeed(n), 500),
            onFailure: (n) => Effect.sync(() => void lost.push(n))
          })
          yield* queue.offerAll([1, 2, 3])
          const asked = yield* Effect.forEach([4, 5, 6, 7, 8, 9], (n) => Effect.exit(queue.submit(n)), {
            concurrency: "unbounded"
          })
          yield* queue.end
          return asked
        }).pipe(Effect.scoped),
        2
      )
      expect(Exit.isSuccess(exit) && exit.value).toEqual([
        ...[4, 5, 6].map((n) => Exit.fail(`${n} is broken`)),
        ...[7, 8, 9].map(Exit.succeed)
      ])
      expect(lost).toEqual([1, 2, 3])
      yield* nothingLeft
    })
  )

  it.effect("it has an end, which waits for what was accepted; and without one nothing goes on unseen", () =>
    Effect.gen(function* () {
      const { seen, task } = record()
      const make = WorkQueue.make("requests", {
        limit: 1,
        run: (n: number) => task(`${n}`, 1),
        onFailure: (n) => Effect.sync(() => void seen.push(`${n} was not done`))
      })
      yield* play(Effect.scoped(Effect.flatMap(make, (queue) => Effect.andThen(queue.offerAll([1, 2]), queue.end))), 3)
      expect(seen).toEqual(["1000: 1 done", "2000: 2 done"])
      seen.length = 0

      const scope = yield* Scope.make()
      const queue = yield* Scope.provide(make, scope)
      yield* queue.offerAll([3, 4])
      yield* play(Scope.close(scope, Exit.void), 1)
      expect(seen.toSorted()).toEqual(["3 was not done", "3000: 3 cut, Shutdown", "4 was not done"])
      yield* nothingLeft
    })
  )

  it.effect("one bound and one limit: what waits is never held up by what runs, nor counted twice", () =>
    Effect.gen(function* () {
      const exit = yield* play(
        Effect.gen(function* () {
          const queue = yield* WorkQueue.make("requests", {
            limit: 3,
            line: { maxItems: 2 },
            run: (n: number) => Effect.as(Effect.sleep("1 second"), n)
          })
          const offers = yield* Effect.forkChild(queue.offerAll(requests))
          yield* Effect.yieldNow
          const full = yield* queue.statistics
          yield* Fiber.join(offers)
          return full
        }).pipe(Effect.scoped),
        8
      )
      // As many run as may, as many wait as may, and one is held up, with no permit.
      expect(Exit.isSuccess(exit) && exit.value).toMatchObject({ running: 3, waiting: 2, suspended: 1 })
      yield* nothingLeft
    })
  )
})
