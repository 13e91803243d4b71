/**
 * What a child costs: to spawn and to join, one after another and many at once, and on the heap while it waits; what a
 * nursery and a cancel scope cost around it; and that nothing stays of children and regions that have ended.
 *
 * The bodies are the same for all. Heap is measured in a process of its own (`perThing`): as many of the same kind as
 * there are slots, each with its handle in an array that was there before, all under one parent that goes on.
 */
import { CancelScope, Deadline, Nursery } from "@fairlead/core"
import { Deferred, Effect, Fiber, FiberSet } from "effect"
import { run, spawn, until } from "effection"
import type { Operation, Task } from "effection"
import * as effection from "effection"
import { heapUsed, perOperation, perThing } from "./harness.ts"
import type { Part, Row, Space, Time } from "./harness.ts"

const items = Array.from({ length: 1000 })

/** A body, for fibers and for effection. */
interface Body {
  readonly name: string
  readonly effect: Effect.Effect<void>
  readonly operation: () => Operation<void>
}

const synchronous: Body = {
  name: "a synchronous body",
  effect: Effect.sync(() => {}),
  operation: function* () {}
}
const promise: Body = {
  name: "a resolved promise",
  effect: Effect.promise(() => Promise.resolve()),
  operation: () => until(Promise.resolve())
}

/** Times a batch of all items. */
const batches =
  (batch: Effect.Effect<unknown>) =>
  (scale: number): Promise<Time> =>
    perOperation(items.length, scale, () => Effect.runPromise(batch))

const operations =
  (batch: () => Operation<unknown>) =>
  (scale: number): Promise<Time> =>
    perOperation(items.length, scale, () => run(batch))

const each = <A, E>(one: () => Effect.Effect<A, E>) => Effect.forEach(items, one, { discard: true })

const inSet = <A>(body: (set: FiberSet.FiberSet) => Effect.Effect<A, unknown>) =>
  Effect.scoped(Effect.flatMap(FiberSet.make(), body)) as Effect.Effect<A>

const oneAfterAnother = ({ effect, name, operation }: Body): Row => ({
  name: `spawn and join, ${name}`,
  contenders: [
    {
      name: "Nursery",
      round: batches(Nursery.run((nursery) => each(() => Effect.flatMap(nursery.spawn(effect), ({ join }) => join))))
    },
    {
      name: "Effect.forkChild",
      round: batches(each(() => Effect.flatMap(Effect.forkChild(effect), Fiber.join))),
      atLeast: 0.8
    },
    {
      name: "Effect.forkChild, startImmediately",
      round: batches(each(() => Effect.flatMap(Effect.forkChild(effect, { startImmediately: true }), Fiber.join)))
    },
    {
      name: "FiberSet.run",
      round: batches(inSet((set) => each(() => Effect.flatMap(FiberSet.run(set, effect), Fiber.join))))
    },
    {
      name: "effection",
      round: operations(function* () {
        for (const _ of items) yield* yield* spawn(operation)
      }),
      atLeast: 10
    }
  ]
})

/** All begin before the first is joined. */
const wide: Row = {
  name: `spawn 1,000 and join them, ${promise.name}`,
  contenders: [
    {
      name: "Nursery",
      round: batches(
        Nursery.run((nursery) =>
          Effect.flatMap(
            Effect.forEach(items, () => nursery.spawn(promise.effect)),
            (children) => Effect.forEach(children, ({ join }) => join, { discard: true })
          )
        )
      )
    },
    {
      name: "Effect.forkChild",
      round: batches(
        Effect.flatMap(
          Effect.forEach(items, () => Effect.forkChild(promise.effect)),
          (fibers) => Effect.forEach(fibers, Fiber.join, { discard: true })
        )
      ),
      atLeast: 0.8
    },
    {
      name: "Effect.forkChild, startImmediately",
      round: batches(
        Effect.flatMap(
          Effect.forEach(items, () => Effect.forkChild(promise.effect, { startImmediately: true })),
          (fibers) => Effect.forEach(fibers, Fiber.join, { discard: true })
        )
      )
    },
    {
      name: "FiberSet.run",
      round: batches(
        inSet((set) =>
          Effect.flatMap(
            Effect.forEach(items, () => FiberSet.run(set, promise.effect)),
            (fibers) => Effect.forEach(fibers, Fiber.join, { discard: true })
          )
        )
      )
    },
    {
      name: "effection",
      round: operations(function* () {
        const tasks: Array<Task<void>> = []
        for (const _ of items) tasks.push(yield* spawn(promise.operation))
        for (const task of tasks) yield* task
      }),
      atLeast: 10
    }
  ]
}

const effects = items.map(() => promise.effect)

const all: Row = {
  name: `all of 1,000, ${promise.name}`,
  contenders: [
    { name: "Nursery.all", round: batches(Nursery.all(effects)) },
    { name: "Effect.all, unbounded", round: batches(Effect.all(effects, { concurrency: "unbounded" })) },
    { name: "effection all", round: operations(() => effection.all(items.map(() => promise.operation()))) }
  ]
}

const two = [promise.effect, promise.effect]

const block: Row = {
  name: `a block of two children, ${promise.name}`,
  contenders: [
    {
      name: "Nursery.run",
      round: batches(
        each(() =>
          Nursery.run((nursery) => Effect.andThen(nursery.spawn(promise.effect), nursery.spawn(promise.effect)))
        )
      )
    },
    { name: "Effect.all, unbounded", round: batches(each(() => Effect.all(two, { concurrency: "unbounded" }))) },
    {
      name: "effection all",
      round: operations(function* () {
        for (const _ of items) yield* effection.all([promise.operation(), promise.operation()])
      })
    }
  ]
}

const scope: Row = {
  name: `a cancel scope around ${promise.name}`,
  contenders: [
    { name: "CancelScope.run", round: batches(each(() => CancelScope.run(() => promise.effect))) },
    { name: "no scope", round: batches(each(() => promise.effect)) },
    {
      name: "raceFirst with a Deferred",
      round: batches(
        each(() =>
          Effect.flatMap(Deferred.make<void>(), (cancelled) =>
            Effect.raceFirst(promise.effect, Deferred.await(cancelled))
          )
        )
      )
    }
  ]
}

/** Bodies that stay suspended until the process ends. */
const suspended: ReadonlyArray<readonly [name: string, body: Effect.Effect<void>]> = [
  ["Effect.never", Effect.never],
  ["a callback with a finalizer", Effect.callback<void>(() => Effect.void)],
  ["Effect.sleep", Effect.sleep("1 hour")],
  [
    "a generator in Effect.sleep",
    Effect.gen(function* () {
      const time = yield* Effect.succeed("1 hour" as const)
      yield* Effect.sleep(time)
    })
  ]
]

type Child = Effect.Effect<unknown>

/** A parent that goes on; once the `count` children that it has started are under way it gives their handles. */
const family = (count: number, child: Child): Effect.Effect<ReadonlyArray<unknown>> =>
  Effect.forEach(Array.from({ length: count }), () => child).pipe(Effect.tap(Effect.sleep("50 millis")))

/** Gives the handles of `family` under the parent that `around` is, which goes on for ever. */
const under =
  (around: (family: (child: Child) => Effect.Effect<never>) => Effect.Effect<never>) =>
  (count: number): Promise<ReadonlyArray<unknown>> =>
    new Promise((resolve) => {
      const goesOn = (child: Child) => Effect.andThen(Effect.map(family(count, child), resolve), Effect.never)
      Effect.runFork(around(goesOn))
    })

const children = (body: Effect.Effect<void>) => under((goesOn) => Nursery.run((nursery) => goesOn(nursery.spawn(body))))

const fibers = (body: Effect.Effect<void, unknown>) => under((goesOn) => goesOn(Effect.forkChild(body)))

/** How many; a quick look takes fewer. */
const crowd = (scale: number) => 50_000 * Math.max(scale, 0.1)

const heapOfChild = ([name, body]: readonly [string, Effect.Effect<void>]): Row => ({
  name: `heap of a child suspended in ${name}`,
  contenders: [
    { name: "Nursery", round: (scale) => perThing(crowd(scale), children(body)) },
    { name: "Effect.forkChild", round: (scale) => perThing(crowd(scale), fibers(body)), atMost: 1.3 }
  ]
})

/** What a limit adds to a fiber that is suspended in `body`. */
const beyond =
  (body: Effect.Effect<void>, limit: (body: Effect.Effect<void>) => Effect.Effect<void, unknown>) =>
  async (scale: number): Promise<Space> => {
    const bare = await perThing(crowd(scale), fibers(body))
    const limited = await perThing(crowd(scale), fibers(limit(body)))
    return { bytes: limited.bytes - bare.bytes }
  }

const heapOfRegion = ([name, body]: readonly [string, Effect.Effect<void>]): Row => ({
  name: `heap of a region around ${name}, beyond the bare fiber's`,
  contenders: [
    { name: "Deadline.within", round: beyond(body, Deadline.within("1 hour")), atMostBytes: 1500 },
    { name: "Effect.timeout", round: beyond(body, Effect.timeout("1 hour")), atMost: 0.5 }
  ]
})

/** What each of a million leaves on the heap that have begun and ended one after another, while their parent goes on. */
const leftBy = (one: Effect.Effect<unknown, unknown>, scale: number): Effect.Effect<Space, unknown> =>
  Effect.gen(function* () {
    const count = 1_000_000 * scale
    yield* times(10_000, one)
    const before = yield* Effect.promise(heapUsed)
    yield* times(count, one)
    return { bytes: ((yield* Effect.promise(heapUsed)) - before) / count }
  })

const times = Effect.fnUntraced(function* <A, E>(count: number, one: Effect.Effect<A, E>) {
  for (let i = 0; i < count; i++) yield* one
})

const left: ReadonlyArray<Row> = [
  {
    name: "what a child leaves that has ended, a million one after another",
    contenders: [
      {
        name: "Nursery",
        round: (scale) =>
          Effect.runPromise(
            Nursery.run((nursery) =>
              leftBy(
                Effect.flatMap(nursery.spawn(promise.effect), ({ join }) => join),
                scale
              )
            )
          ),
        atMostBytes: 1
      }
    ]
  },
  {
    name: "what a region leaves that has ended, a million one after another",
    contenders: [
      {
        name: "Deadline.within",
        round: (scale) => Effect.runPromise(leftBy(Deadline.within(promise.effect, "1 hour"), scale)),
        atMostBytes: 1
      }
    ]
  }
]

export const nursery: Part = {
  name: "nursery",
  rows: [
    oneAfterAnother(synchronous),
    oneAfterAnother(promise),
    wide,
    all,
    block,
    scope,
    ...suspended.map(heapOfChild),
    ...suspended.map(heapOfRegion),
    ...left
  ]
}
