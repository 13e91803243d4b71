/**
 * Effection's cases on scopes, as they stand here: `docs/trio-checklist.md` says which test answers which case of
 * Effection's, and where ours behaves otherwise on purpose.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Context, Effect, Exit, Fiber } from "effect"
import type { Scope } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, Join, Nursery, Reason, Registry } from "@fairlead/core"
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

/** A list, and what adds to it. */
const record = () => {
  const list: Array<string> = []
  return { list, add: (entry: string) => Effect.sync(() => void list.push(entry)) }
}

const boom = new Error("boom")

/** Waits for ever; says so when it is cut. */
const suspended = (name: string, add: (entry: string) => Effect.Effect<void>) =>
  Effect.onInterrupt(Effect.never, () => add(`${name} halted`))

/** What it came to: its value, or its first error or defect. */
const came = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit) ? exit.value : { failed: Cause.squash(exit.cause) }

/** The defects in a cause. */
const defects = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit) ? [] : exit.cause.reasons.filter(Cause.isDieReason).map(({ defect }) => defect)

const interrupted = <A, E>(child: Nursery.Child<A, E>) => Effect.map(child.await, Exit.hasInterrupts)

describe("spawn", () => {
  test("a child's value comes by joining it", function* () {
    const value = yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        const child = yield* nursery.spawn(Effect.andThen(Effect.yieldNow, Effect.succeed(12 + 55)))
        return yield* child.join
      })
    )
    expect(value).toBe(67)
  })

  test("interrupting the block halts its child", function* () {
    const { add, list } = record()
    const root = yield* fork(
      Nursery.run((nursery) => Effect.andThen(nursery.spawn(suspended("child", add)), suspended("body", add)))
    )
    yield* Fiber.interrupt(root)
    expect(list.toSorted()).toEqual(["body halted", "child halted"])
  })

  test("interrupting a block whose body has ended halts its child", function* () {
    const { add, list } = record()
    const root = yield* fork(Nursery.run((nursery) => Effect.as(nursery.spawn(suspended("child", add)), 1)))
    yield* settle
    yield* Fiber.interrupt(root)
    expect(list).toEqual(["child halted"])
    expect(Exit.hasInterrupts(yield* Fiber.await(root))).toBe(true)
  })

  test("a body that ends waits for its children; one that wants them halted says so", function* () {
    const { add, list } = record()
    const root = yield* fork(
      Nursery.run((nursery) =>
        Effect.gen(function* () {
          const child = yield* nursery.spawn(suspended("child", add))
          yield* Effect.sleep("1 second")
          yield* nursery.cancel()
          expect(yield* interrupted(child)).toBe(true)
          return 1
        })
      )
    )
    yield* settle
    expect(root.pollUnsafe()).toBe(undefined)
    yield* TestClock.adjust("1 second")
    expect(yield* Fiber.join(root)).toBe(1)
    expect(list).toEqual(["child halted"])
  })

  test("a body that fails halts its child", function* () {
    const { add, list } = record()
    const error = yield* Nursery.run((nursery) =>
      Effect.andThen(nursery.spawn(suspended("child", add)), Effect.fail(boom))
    ).pipe(Effect.flip)
    expect(error).toBe(boom)
    expect(list).toEqual(["child halted"])
  })

  test("a child that fails ends a body that is suspended, and the failure is the child's own", function* () {
    let child: Nursery.Child<never, Error> | undefined
    const root = yield* fork(
      Nursery.run((nursery) =>
        Effect.gen(function* () {
          child = yield* nursery.spawn(Effect.andThen(Effect.sleep("1 millis"), Effect.fail(boom)))
          yield* Effect.never
        })
      ).pipe(Effect.flip)
    )
    yield* TestClock.adjust("1 millis")
    expect(yield* Fiber.join(root)).toBe(boom)
    expect(yield* child!.await).toEqual(Exit.fail(boom))
  })

  test("a child that is halted fails nobody", function* () {
    let child: Nursery.Child<never, never> | undefined
    const value = yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        child = yield* nursery.spawn(Effect.never)
        yield* child.cancel()
        return "foo"
      })
    )
    expect(value).toBe("foo")
    expect(yield* interrupted(child!)).toBe(true)
  })

  test("a clean-up that fails when the block completes fails the block", function* () {
    const exit = yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        yield* nursery.spawn(Effect.onInterrupt(Effect.never, () => Effect.die(boom)))
        yield* nursery.cancel()
        return "foo"
      })
    ).pipe(Effect.exit)
    expect(defects(exit)).toEqual([boom])
  })

  test("a clean-up that fails when the block is interrupted is not lost", function* () {
    let child: Nursery.Child<never, never> | undefined
    const root = yield* fork(
      Nursery.run((nursery) =>
        Effect.gen(function* () {
          child = yield* nursery.spawn(Effect.onInterrupt(Effect.never, () => Effect.die(boom)))
          yield* Effect.never
        })
      )
    )
    yield* settle
    yield* Fiber.interrupt(root)
    expect(defects(yield* Fiber.await(root))).toEqual([boom])
    expect(defects(yield* child!.await)).toEqual([boom])
  })

  test("a child that ends while the block is being halted disturbs nothing", function* () {
    const { add, list } = record()
    const root = yield* fork(
      Nursery.run((nursery) =>
        Effect.andThen(
          nursery.spawn(Effect.uninterruptible(Effect.andThen(Effect.sleep("5 millis"), add("child ended")))),
          Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("20 millis"), add("body cleaned up")))
        )
      )
    )
    const halt = yield* fork(Fiber.interrupt(root))
    yield* TestClock.adjust("19 millis")
    expect(halt.pollUnsafe()).toBe(undefined)
    yield* TestClock.adjust("1 millis")
    yield* Fiber.join(halt)
    expect(list).toEqual(["child ended", "body cleaned up"])
  })

  test("clean-ups of children run side by side: they take as long as the longest", function* () {
    const { add, list } = record()
    const child = (name: string, millis: number) =>
      Effect.onInterrupt(Effect.never, () =>
        add(`${name} start`).pipe(Effect.andThen(Effect.sleep(millis)), Effect.andThen(add(`${name} done`)))
      )
    const root = yield* fork(
      Nursery.run((nursery) =>
        nursery
          .spawn(child("first", 5))
          .pipe(Effect.andThen(nursery.spawn(child("second", 10))), Effect.andThen(nursery.cancel()))
      )
    )
    yield* TestClock.adjust("10 millis")
    yield* Fiber.join(root)
    expect(list.slice(0, 2).toSorted()).toEqual(["first start", "second start"])
    expect(list.slice(2)).toEqual(["first done", "second done"])
  })

  test("a failure of a child is caught around the block that it ended", function* () {
    const fiber = yield* fork(
      Nursery.run((nursery) =>
        Effect.andThen(
          nursery.spawn(Effect.andThen(Effect.sleep("1 millis"), Effect.fail(boom))),
          Effect.sleep("5 seconds")
        )
      ).pipe(Effect.catch((error) => Effect.succeed(error)))
    )
    yield* TestClock.adjust("1 millis")
    expect(yield* Fiber.join(fiber)).toBe(boom)
  })
})

describe("scope", () => {
  const completed = <A>(value: A) => new CancelScope.Completed({ value })

  /** Open while it runs. */
  const tester = (state: { status?: "open" | "closed" }) =>
    Effect.acquireUseRelease(
      Effect.sync(() => (state.status = "open")),
      () => Effect.never,
      () => Effect.sync(() => (state.status = "closed"))
    )

  test("runs what it is given, each for itself", function* () {
    const scope = yield* CancelScope.make()
    expect(yield* scope.run(Effect.succeed(1))).toEqual(completed(1))
    expect(yield* scope.run(Effect.succeed(2))).toEqual(completed(2))
  })

  test("can be cancelled after something in it has failed", function* () {
    const scope = yield* CancelScope.make()
    expect(yield* Effect.flip(scope.run(Effect.fail(boom)))).toBe(boom)
    yield* scope.cancel()
  })

  test("a clean-up that fails fails whoever ran it, and not who cancelled", function* () {
    const scope = yield* CancelScope.make()
    const ran = yield* fork(scope.run(Effect.onInterrupt(Effect.never, () => Effect.die(boom))))
    yield* scope.cancel()
    expect(defects(yield* Fiber.await(ran))).toEqual([boom])
  })

  test("still closes what is open in it when something else in it has failed", function* () {
    const scope = yield* CancelScope.make()
    const state: { status?: "open" | "closed" } = {}
    const ran = yield* fork(scope.run(tester(state)))
    expect(yield* Effect.flip(scope.run(Effect.fail(boom)))).toBe(boom)
    expect(state.status).toBe("open")
    yield* scope.cancel()
    expect(state.status).toBe("closed")
    yield* Fiber.join(ran)
  })

  test("what is spawned through a nursery that was handed on is closed before the nursery ends", function* () {
    const state: { status?: "open" | "closed" } = {}
    const use = (nursery: Nursery.Nursery) => nursery.spawn(tester(state))
    yield* Nursery.run((nursery) =>
      Effect.gen(function* () {
        yield* use(nursery)
        expect(state.status).toBe("open")
        yield* nursery.cancel()
      })
    )
    expect(state.status).toBe("closed")
  })

  test("each run has a context of its own", function* () {
    const Count = Context.Reference<number>("count", { defaultValue: () => 0 })
    const scope = yield* CancelScope.make()
    const increment = scope.run(
      Effect.flatMap(Count, (value) =>
        Effect.provideService(
          Effect.map(Count, (now) => now),
          Count,
          value + 1
        )
      )
    )
    const seen = yield* Effect.gen(function* () {
      return [yield* increment, yield* increment, yield* increment, yield* Count]
    }).pipe(Effect.provideService(Count, 1))
    expect(seen).toEqual([completed(2), completed(2), completed(2), 1])
  })

  test("a context that is set inside holds inside", function* () {
    const Count = Context.Reference<number>("count", { defaultValue: () => 3 })
    const values = yield* Effect.gen(function* () {
      const before = yield* Count
      const within = yield* Nursery.run((nursery) => Effect.flatMap(nursery.spawn(Count), (child) => child.join)).pipe(
        Effect.provideService(Count, 22)
      )
      return [before, within, yield* Count]
    })
    expect(values).toEqual([3, 22, 3])
  })

  test("one that has ended takes nothing more", function* () {
    let began = false
    const work = Effect.sync(() => (began = true))
    let nursery: Nursery.Nursery | undefined
    yield* Nursery.run((given) => Effect.sync(() => (nursery = given)))
    expect(defects(yield* Effect.exit(nursery!.spawn(work)))).toHaveLength(1)
    const scope = yield* CancelScope.make()
    yield* scope.cancel()
    expect((yield* scope.run(work))._tag).toBe("Cancelled")
    expect(began).toBe(false)
  })
})

describe("halt", () => {
  /** A run in a scope of its own, and what halts it. */
  const start = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      const run = yield* fork(scope.run(effect))
      return { run, halt: scope.cancel("halted") }
    })

  const halted = new CancelScope.Cancelled({ reason: new Reason.Manual({ text: "halted" }) })

  test("gives its value, recovers from failures inside, and fails with those that are not caught", function* () {
    expect(yield* Fiber.join((yield* start(Effect.succeed("hello"))).run)).toEqual(
      new CancelScope.Completed({ value: "hello" })
    )
    const recovers = Effect.fail(boom).pipe(Effect.catch(() => Effect.andThen(Effect.yieldNow, Effect.succeed(8))))
    expect(yield* Fiber.join((yield* start(recovers)).run)).toEqual(new CancelScope.Completed({ value: 8 }))
    expect(yield* Effect.flip(Fiber.join((yield* start(Effect.fail(boom))).run))).toBe(boom)
    const throwing = Effect.suspend((): Effect.Effect<void> => {
      throw boom
    })
    expect(defects(yield* Fiber.await((yield* start(throwing)).run))).toEqual([boom])
  })

  test("runs the clean-up, inner before outer, and waits for what it awaits", function* () {
    const { add, list } = record()
    const task = yield* start(
      Effect.never.pipe(
        Effect.ensuring(Effect.andThen(Effect.sleep("5 millis"), add("first"))),
        Effect.ensuring(add("second"))
      )
    )
    const halt = yield* fork(task.halt)
    yield* settle
    expect(list).toEqual([])
    yield* TestClock.adjust("5 millis")
    yield* Fiber.join(halt)
    expect(list).toEqual(["first", "second"])
    expect(yield* Fiber.join(task.run)).toEqual(halted)
  })

  test("a clean-up that would wait for ever is bounded by a shield", function* () {
    const { add, list } = record()
    const task = yield* start(
      Effect.onInterrupt(Effect.never, () =>
        CancelScope.shield(Effect.never, { grace: "1 second" }).pipe(Effect.ignore, Effect.andThen(add("done")))
      )
    )
    const halt = yield* fork(task.halt)
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(halt)
    expect(list).toEqual(["done"])
    expect(yield* Fiber.join(task.run)).toEqual(halted)
  })

  test("may come from inside, from a child, and from beside", function* () {
    const itself = yield* fork(
      CancelScope.run((scope) =>
        Effect.sleep("3 millis").pipe(Effect.andThen(scope.cancel("halted")), Effect.andThen(Effect.never))
      )
    )
    yield* TestClock.adjust("3 millis")
    expect(yield* Fiber.join(itself)).toEqual(halted)
    const fromChild = yield* CancelScope.run((scope) =>
      Nursery.run((nursery) => Effect.andThen(nursery.spawn(scope.cancel("halted")), Effect.never))
    )
    expect(fromChild).toEqual(halted)
  })

  test("a child's failure is told after the clean-up of the body, however long that takes", function* () {
    const { add, list } = record()
    const run = yield* fork(
      Nursery.run((nursery) =>
        Effect.andThen(
          nursery.spawn(Effect.andThen(Effect.sleep("5 millis"), Effect.fail(boom))),
          Effect.ensuring(Effect.never, Effect.andThen(Effect.sleep("20 millis"), add("cleaned up")))
        )
      ).pipe(Effect.flip)
    )
    yield* TestClock.adjust("24 millis")
    expect(run.pollUnsafe()).toBe(undefined)
    yield* TestClock.adjust("1 millis")
    expect(yield* Fiber.join(run)).toBe(boom)
    expect(list).toEqual(["cleaned up"])
  })

  test("a failure of the clean-up does not hide the child's failure that brought it on", function* () {
    const run = yield* fork(
      Nursery.run((nursery) =>
        Effect.andThen(
          nursery.spawn(Effect.andThen(Effect.sleep("5 millis"), Effect.fail(boom))),
          Effect.ensuring(Effect.never, Effect.die("bang"))
        )
      ).pipe(Effect.exit)
    )
    yield* TestClock.adjust("5 millis")
    const exit = yield* Fiber.join(run)
    expect(defects(exit)).toEqual(["bang"])
    expect(Exit.isFailure(exit) && exit.cause.reasons.filter(Cause.isFailReason).map(({ error }) => error)).toEqual([
      boom
    ])
  })

  test("halting what has failed already is no failure", function* () {
    const task = yield* start(Effect.fail(boom))
    expect(yield* Effect.flip(Fiber.join(task.run))).toBe(boom)
    yield* task.halt
  })

  test("nothing goes on after the step that halted it", function* () {
    let reached = false
    const outcome = yield* CancelScope.run((scope) =>
      Nursery.run((nursery) =>
        nursery.spawn(
          Effect.andThen(
            scope.cancel("halted"),
            Effect.sync(() => (reached = true))
          )
        )
      )
    )
    expect(outcome).toEqual(halted)
    expect(reached).toBe(false)
  })
})

describe("resource", () => {
  interface State {
    status: string
  }

  /** Takes 1 ms to come up; a child of its own makes it active after 5 ms; finalized when the nursery is done with it. */
  const create = (nursery: Nursery.Nursery, state: State) =>
    nursery.start((ready: (value: State) => Effect.Effect<void>) =>
      Nursery.run((own) =>
        own
          .spawn(
            Effect.andThen(
              Effect.sleep("5 millis"),
              Effect.sync(() => (state.status = "active"))
            )
          )
          .pipe(
            Effect.andThen(Effect.sleep("1 millis")),
            Effect.andThen(
              Effect.ensuring(
                Effect.andThen(ready(state), Effect.never),
                Effect.sync(() => (state.status = "finalized"))
              )
            )
          )
      )
    )

  test("lives in the block that made it, with children of its own", function* () {
    const state: State = { status: "pending" }
    const run = yield* fork(
      Nursery.run((nursery) =>
        Effect.gen(function* () {
          expect(yield* create(nursery, state)).toBe(state)
          expect(state.status).toBe("pending")
          yield* Effect.sleep("10 millis")
          expect(state.status).toBe("active")
          yield* nursery.cancel()
          return state.status
        })
      )
    )
    yield* TestClock.adjust("11 millis")
    expect(yield* Fiber.join(run)).toBe("finalized")
  })

  test("that fails to come up fails its maker", function* () {
    const error = yield* Nursery.run((nursery) =>
      Effect.andThen(
        nursery.start(() => Effect.fail(boom)),
        Effect.never
      )
    ).pipe(Effect.flip)
    expect(error).toBe(boom)
  })

  test("that fails later ends the block, which cannot catch it inside", function* () {
    let caught = false
    const run = yield* fork(
      Nursery.run((nursery) =>
        Effect.gen(function* () {
          yield* nursery.start((ready: (value: string) => Effect.Effect<void>) =>
            ready("up").pipe(Effect.andThen(Effect.sleep("5 millis")), Effect.andThen(Effect.fail(boom)))
          )
          yield* Effect.sleep("10 millis").pipe(Effect.catchCause(() => Effect.sync(() => (caught = true))))
          yield* Effect.yieldNow
          return "went on"
        })
      ).pipe(Effect.exit)
    )
    yield* TestClock.adjust("10 millis")
    expect(came(yield* Fiber.join(run))).toEqual({ failed: boom })
    expect(caught).toBe(false)
  })

  test("that is halted before it has come up is never finalized, for it was never there", function* () {
    const state: State = { status: "pending" }
    const run = yield* fork(Nursery.run((nursery) => Effect.andThen(create(nursery, state), Effect.never)))
    yield* settle
    yield* Fiber.interrupt(run)
    yield* TestClock.adjust("10 millis")
    expect(state.status).toBe("pending")
  })

  test("a clean-up that was put down on the way runs at the end of the block, and the block waits for it", function* () {
    const { add, list } = record()
    const run = yield* fork(
      CancelScope.run(() =>
        Effect.scoped(
          Effect.gen(function* () {
            yield* Effect.sleep("10 millis")
            yield* Effect.addFinalizer(() => add("by a function"))
            yield* Effect.addFinalizer(() =>
              add("started").pipe(Effect.andThen(Effect.sleep("10 millis")), Effect.andThen(add("completed")))
            )
          })
        )
      )
    )
    yield* TestClock.adjust("9 millis")
    expect(list).toEqual([])
    yield* TestClock.adjust("1 millis")
    expect(list).toEqual(["started"])
    yield* TestClock.adjust("10 millis")
    yield* Fiber.join(run)
    expect(list).toEqual(["started", "completed", "by a function"])
  })
})

const syncResolve = (value: string) => Effect.succeed(value)
const syncReject = (value: string) => Effect.fail(`boom: ${value}`)
const asyncResolve = (millis: number, value: string) => Effect.as(Effect.sleep(millis), value)
const asyncReject = (millis: number, value: string) => Effect.andThen(Effect.sleep(millis), syncReject(value))

describe("all", () => {
  const all = (effects: ReadonlyArray<Effect.Effect<string, string>>) =>
    Effect.gen(function* () {
      const run = yield* fork(Effect.exit(Nursery.all(effects)))
      yield* TestClock.adjust("20 millis")
      return came(yield* Fiber.join(run))
    })

  test("of nothing is nothing", function* () {
    expect(yield* all([])).toEqual([])
  })

  test("gives the values in the order in which they were asked for, whoever came first", function* () {
    const mixed = [syncResolve("quox"), asyncResolve(10, "foo"), asyncResolve(5, "bar"), asyncResolve(15, "baz")]
    expect(yield* all(mixed)).toEqual(["quox", "foo", "bar", "baz"])
    expect(yield* all(["foo", "bar", "baz"].map(syncResolve))).toEqual(["foo", "bar", "baz"])
  })

  test("fails with the first failure, though others would take longer or never end", function* () {
    const failed = { failed: "boom: bar" }
    expect(yield* all([asyncResolve(10, "foo"), asyncReject(5, "bar"), asyncResolve(15, "baz")])).toEqual(failed)
    expect(yield* all([Effect.never, asyncReject(5, "bar")])).toEqual(failed)
    expect(yield* all([syncResolve("foo"), syncReject("bar"), syncResolve("baz")])).toEqual(failed)
  })

  test("halts what is still coming up when another fails, and it never comes up", function* () {
    let status = "pending"
    const resource = Effect.andThen(
      Effect.sleep("20 millis"),
      Effect.sync(() => (status = "active"))
    )
    expect(yield* all([resource, asyncReject(10, "bar")])).toEqual({ failed: "boom: bar" })
    yield* TestClock.adjust("40 millis")
    expect(status).toBe("pending")
  })
})

describe("race", () => {
  /** The first to end, however it does. */
  const race = (effects: ReadonlyArray<Effect.Effect<string, string>>) =>
    Effect.gen(function* () {
      const run = yield* fork(
        Nursery.all(
          effects,
          Join.until(() => true)
        )
      )
      yield* TestClock.adjust("20 millis")
      const ended = yield* Fiber.join(run)
      return ended.filter(({ reason }) => reason === undefined).map(({ exit }) => came(exit))
    })

  test("is won by the first that ends, with its value or its failure, and the others are halted", function* () {
    expect(yield* race([asyncResolve(10, "foo"), asyncResolve(5, "bar"), asyncReject(15, "baz")])).toEqual(["bar"])
    expect(yield* race([asyncResolve(10, "foo"), asyncReject(5, "bar"), asyncReject(15, "baz")])).toEqual([
      { failed: "boom: bar" }
    ])
  })

  test("is won by the first that is started when that ends on the spot", function* () {
    expect((yield* race([syncResolve("foo"), syncResolve("bar"), syncReject("baz")]))[0]).toEqual("foo")
    expect((yield* race([syncReject("foo"), syncResolve("bar"), syncReject("baz")]))[0]).toEqual({
      failed: "boom: foo"
    })
  })
})
