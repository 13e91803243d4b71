/**
 * A queue that works off what is offered, ten at a time: 10,000 items from one producer, of which a thousand may wait. The
 * body is one resolved promise; a round ends with the last of them. `offer` hands an item over and goes on, `submit` waits
 * for its result.
 *
 * The npm queues know no bound and never make a producer wait: all items are in them at once.
 */
import { WorkQueue } from "@fairlead/core"
import { Deferred, Effect, Queue, Scope } from "effect"
import fastq from "fastq"
import PQueue from "p-queue"
import { perOperation } from "./harness.ts"
import type { Measure, Part } from "./harness.ts"

const limit = 10
const maxItems = 1000
const size = 10_000
const items = Array.from({ length: size }, (_, item) => item)

/** Tells when `size` bodies have ended. */
class Countdown {
  private left = 0
  private done: () => void = () => {}

  get ended(): Promise<void> {
    return new Promise((resolve) => {
      this.left = size
      this.done = resolve
    })
  }

  readonly end = (item: number): number => {
    if (--this.left === 0) this.done()
    return item
  }
}

/** `begin` gives, once, how to start a round. */
const round =
  (begin: (end: (item: number) => number) => () => Promise<unknown> | void) =>
  (scale: number): Promise<Measure> => {
    const countdown = new Countdown()
    const start = begin(countdown.end)
    return perOperation(size, scale, () => Promise.all([countdown.ended, start()]))
  }

const inScope = <A>(effect: Effect.Effect<A, never, Scope.Scope>): A =>
  Effect.runSync(effect.pipe(Scope.provide(Scope.makeUnsafe())))

const body = (end: (item: number) => number) => (item: number) => Effect.promise(() => Promise.resolve(item).then(end))

const workQueue = (end: (item: number) => number) =>
  inScope(WorkQueue.make("bench", { run: body(end), limit, line: { maxItems } }))

/** What one writes with Effect alone: a bounded queue, and as many workers as may run at once. */
const workers = (end: (item: number) => number) => {
  const made = Effect.runSync(Queue.bounded<number>(maxItems))
  const worker = Effect.forever(Effect.flatMap(Queue.take(made), body(end)))
  for (let i = 0; i < limit; i++) Effect.runFork(worker)
  return made
}

/** The same, and each item has someone who waits for its result. */
const workersWithResults = (end: (item: number) => number) => {
  const made = Effect.runSync(Queue.bounded<readonly [number, Deferred.Deferred<number>]>(maxItems))
  const worker = Effect.forever(
    Effect.flatMap(Queue.take(made), ([item, result]) => Deferred.completeWith(result, body(end)(item)))
  )
  for (let i = 0; i < limit; i++) Effect.runFork(worker)
  return made
}

const promise = (end: (item: number) => number) => (item: number) => Promise.resolve(item).then(end)

export const queue: Part = {
  name: "queue",
  rows: [
    {
      name: "work queue: offer 10,000 items",
      contenders: [
        {
          name: "WorkQueue.offer",
          round: round((end) => {
            const made = workQueue(end)
            const all = Effect.forEach(items, (item) => made.offer(item), { discard: true })
            return () => Effect.runPromise(all)
          })
        },
        {
          name: "Effect Queue and ten workers",
          round: round((end) => {
            const made = workers(end)
            const all = Effect.forEach(items, (item) => Queue.offer(made, item), { discard: true })
            return () => Effect.runPromise(all)
          })
        },
        {
          name: "fastq",
          round: round((end) => {
            const made = fastq.promise(promise(end), limit)
            return () => Promise.all(items.map((item) => made.push(item)))
          })
        },
        {
          name: "p-queue",
          round: round((end) => {
            const made = new PQueue({ concurrency: limit })
            const work = promise(end)
            return () => Promise.all(items.map((item) => made.add(() => work(item))))
          })
        }
      ]
    },
    {
      name: "work queue: submit 10,000 items at once, and wait for each",
      contenders: [
        {
          name: "WorkQueue.submit",
          round: round((end) => {
            const made = workQueue(end)
            const all = Effect.forEach(items, (item) => made.submit(item), { concurrency: "unbounded", discard: true })
            return () => Effect.runPromise(all)
          })
        },
        {
          name: "Effect Queue, ten workers and a Deferred each",
          round: round((end) => {
            const made = workersWithResults(end)
            const submit = (item: number) =>
              Effect.flatMap(Deferred.make<number>(), (result) =>
                Effect.andThen(Queue.offer(made, [item, result]), Deferred.await(result))
              )
            const all = Effect.forEach(items, submit, { concurrency: "unbounded", discard: true })
            return () => Effect.runPromise(all)
          })
        }
      ]
    }
  ]
}
