/**
 * One bulk call: 100,000 items, ten at a time, each with one of a thousand deadlines, the earliest first; for the npm peers
 * a thousand priorities, since they know no deadlines. All items are in the line before the first has ended, and the results
 * come back in an array. The body is one resolved promise.
 *
 * What knows no order at all stands below, for orientation.
 */
import { Gate } from "@fairlead/core"
import { priorityQueue } from "async"
import { Effect, Scope } from "effect"
import fastq from "fastq"
import pMap from "p-map"
import PQueue from "p-queue"
import { perOperation, perThing } from "./harness.ts"
import type { Contender, Measure, Part } from "./harness.ts"

const permits = 10
const size = 100_000
/** Without a pattern, as in `Gate.ts`. */
const rankOf = (item: number): number => (Math.imul(item, 0x9e3779b1) >>> 0) % 1000
const items = Array.from({ length: size }, (_, item) => item)

const work = (item: number) => Promise.resolve(item)

const each =
  (all: () => Promise<ReadonlyArray<unknown>>) =>
  (scale: number): Promise<Measure> =>
    perOperation(size, scale, async () => {
      const { length } = await all()
      if (length !== size) throw new Error(`Expected ${size} results, got ${length}`)
    })

const gate = () =>
  Effect.runSync(
    Gate.make("bench", { limit: permits, line: { maxItems: 1_000_000 } }).pipe(Scope.provide(Scope.makeUnsafe()))
  )

/** Far enough, and a second apart. */
const withinOf = Array.from({ length: 1000 }, (_, rank) => ({ within: 3_600_000 + rank * 1000 }))

const ours = (f: (item: number) => Effect.Effect<number>) => {
  const call = gate().forEach(items, f, { ask: (item) => withinOf[rankOf(item)]! })
  return each(() => Effect.runPromise(call))
}

/** By callbacks, as its worker is: with promises it takes half as long again. */
const asyncQueue = () => {
  const queue = priorityQueue<number>((item, done) => {
    // oxlint-disable-next-line promise/no-callback-in-promise -- a worker that is not an async function ends by a call
    void work(item).then((result) => (done as (error: undefined, result: number) => void)(undefined, result))
  }, permits)
  return each(
    () =>
      new Promise((resolve) => {
        const results = Array.from({ length: size }, () => 0)
        let left = size
        for (const item of items) {
          queue.push<number>(item, rankOf(item), (_, result) => {
            results[item] = result!
            if (--left === 0) resolve(results)
          })
        }
      })
  )
}

const pQueue = () => {
  const queue = new PQueue({ concurrency: permits })
  return each(() => Promise.all(items.map((item) => queue.add(() => work(item), { priority: 1000 - rankOf(item) }))))
}

const contenders: ReadonlyArray<Contender> = [
  { name: "gate.forEach", round: (scale) => ours((item) => Effect.promise(() => work(item)))(scale) },
  { name: "async.priorityQueue", round: (scale) => asyncQueue()(scale), atLeast: 1 },
  { name: "p-queue", round: (scale) => pQueue()(scale), atLeast: 5 },
  {
    name: "gate.forEach, bodies that end at once",
    round: (scale) => ours((item) => Effect.succeed(item))(scale)
  },
  { name: "p-map, in order of arrival", round: each(() => pMap(items, work, { concurrency: permits })) },
  {
    name: "fastq, in order of arrival",
    round: (scale) => {
      const queue = fastq.promise(work, permits)
      return each(() => Promise.all(items.map((item) => queue.push(item))))(scale)
    }
  },
  {
    name: "Effect.forEach, in order of arrival",
    round: each(() =>
      Effect.runPromise(Effect.forEach(items, (item) => Effect.promise(() => work(item)), { concurrency: permits }))
    )
  }
]

/** What `begin` gives puts items into a queue, where they wait behind those that never end; its results count. */
const waiting =
  (begin: () => (items: Iterable<number>) => unknown) =>
  (scale: number): Promise<Measure> => {
    const start = begin()
    return perThing(size * scale, async (count) => {
      const call = start(numbers(count))
      await new Promise((resolve) => setTimeout(resolve, 50))
      return [call]
    })
  }

/** A source that keeps nothing. */
function* numbers(count: number): Generator<number> {
  for (let item = 0; item < count; item++) yield item
}

const never = () => new Promise<number>(() => {})

const heap = {
  name: "heap of an item that waits in a bulk call",
  contenders: [
    {
      name: "gate.forEach",
      round: waiting(() => {
        const all = gate()
        return (items) =>
          Effect.runFork(all.forEach(items, () => Effect.never, { ask: (item) => withinOf[rankOf(item)]! }))
      }),
      atMostBytes: 200
    },
    {
      name: "async.priorityQueue",
      round: waiting(() => {
        const queue = priorityQueue<number>(() => {}, permits)
        return (items) => {
          for (const item of items) queue.push(item, rankOf(item), () => {})
          return queue
        }
      })
    },
    {
      name: "p-queue",
      round: waiting(() => {
        const queue = new PQueue({ concurrency: permits })
        return (items) => Array.from(items, (item) => queue.add(never, { priority: 1000 - rankOf(item) }))
      })
    },
    {
      name: "fastq, in order of arrival",
      round: waiting(() => {
        const queue = fastq.promise(never, permits)
        return (items) => Array.from(items, (item) => queue.push(item))
      })
    }
  ]
}

export const bulk: Part = {
  name: "bulk",
  rows: [{ name: "a bulk call of 100,000 items, 1,000 deadlines", contenders }, heap]
}
