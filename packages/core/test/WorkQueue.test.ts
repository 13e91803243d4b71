import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Logger, Option, Scope, Stream } from "effect"
import type { Tracer } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import {
  CancelScope,
  ConcurrencyLimit,
  Deadline,
  Gate,
  Nursery,
  Overflow,
  Priority,
  Reason,
  Registry,
  Tenant,
  WorkQueue
} from "@fairlead/core"
import { Leaks, Simulation, Sweep } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"

/** Nobody runs or waits, the counts agree, and no timer is left. */
const nothingLeft = (queue: { readonly statistics: Effect.Effect<WorkQueue.Statistics> }) =>
  Effect.gen(function* () {
    const statistics = yield* queue.statistics
    expect(WorkQueue.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting, statistics.suspended]).toEqual([0, 0, 0])
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
  })

const now = Clock.currentTimeMillis
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1)
const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** The first sleep on a test clock forks a warning, which a finalizer must not be the first to do. */
const settled = TestClock.adjust(0)

const pass = (millis: number) =>
  Effect.gen(function* () {
    for (let i = 0; i < millis; i++) yield* TestClock.adjust(1)
  })

/** Work of so many milliseconds, and what happened when. */
const record = () => {
  const seen: Array<string> = []
  const say = (what: string) => Effect.map(now, (millis) => void seen.push(`${millis}: ${what}`))
  const work = (name: unknown, millis = 10) =>
    Effect.sleep(millis).pipe(
      Effect.andThen(say(`${name} done`)),
      Effect.onInterrupt(() => say(`${name} cut`)),
      Effect.as(name)
    )
  return { seen, say, work }
}

const reasonOf = (exit: Exit.Exit<unknown, unknown> | undefined) => {
  if (exit === undefined || Exit.isSuccess(exit)) return exit?.value
  return wordsOf(exit.cause)
}

const wordsOf = (cause: Cause.Cause<unknown>) =>
  cause.reasons
    .map((reason) => {
      if (Cause.isDieReason(reason)) return String(reason.defect)
      if (!Cause.isFailReason(reason)) return "interrupt"
      const error = reason.error as { readonly _tag?: string; readonly reason?: { readonly _tag: string } }
      return error._tag === "Refused" ? error.reason!._tag : String(error._tag ?? reason.error)
    })
    .join(", ")

describe("WorkQueue.submit", () => {
  it.effect("gives each its own result or its own error; one that fails is nothing to the others", () =>
    Effect.gen(function* () {
      const queue = yield* WorkQueue.make("test", {
        limit: 2,
        run: (n: number) =>
          n === 2 ? Effect.fail("two") : n === 3 ? Effect.die("three") : Effect.as(Effect.sleep(5), n * 10)
      })
      const all = yield* start(
        Effect.forEach(numbers(5), (n) => Effect.exit(queue.submit(n)), { concurrency: "unbounded" })
      )
      yield* pass(15)
      expect((yield* Fiber.join(all)).map(reasonOf)).toEqual([10, "two", "three", 40, 50])
      const { completed, failed } = yield* queue.statistics
      expect([completed, failed]).toEqual([3, 2])
      yield* nothingLeft(queue)
    })
  )

  it.effect("runs one at a time unless said otherwise, and as many as it is resized to", () =>
    Effect.gen(function* () {
      const { seen, work } = record()
      const queue = yield* WorkQueue.make("test", { run: (n: number) => work(n) })
      yield* queue.offerAll(numbers(6))
      yield* pass(10)
      yield* queue.resize(3)
      yield* pass(5)
      yield* queue.resize(1)
      yield* pass(25)
      expect(seen).toEqual(["10: 1 done", "20: 2 done", "20: 3 done", "20: 4 done", "30: 5 done", "40: 6 done"])
      yield* nothingLeft(queue)
    })
  )

  it.effect("the submitter's urgency, tenant, span and deadline are the item's", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const queue = yield* WorkQueue.make("test", {
        run: (name: string) =>
          Effect.gen(function* () {
            const left = Math.round(Duration.toMillis(yield* Deadline.remaining))
            const span = yield* Effect.option(Effect.currentSpan)
            const parent = Option.match(span, { onNone: () => "-", onSome: ({ name }: Tracer.Span) => name })
            order.push([name, yield* Priority.Priority, yield* Tenant.Tenant, left, parent].join(" "))
            yield* Effect.sleep(10)
          })
      })
      const all = yield* start(
        Effect.all(
          [
            queue.submit("first"),
            queue.submit("plain").pipe(Tenant.as("acme"), Effect.withSpan("call")),
            queue.submit("late").pipe(Deadline.within(500)),
            queue.submit("soon").pipe(Deadline.within(400)),
            queue.submit("urgent").pipe(Priority.at(0)),
            queue.offer("asked", { urgency: 1, tenant: "own" })
          ],
          { concurrency: "unbounded", discard: true }
        )
      )
      yield* pass(60)
      yield* Fiber.join(all)
      expect(order[0]).toBe("first 3  Infinity -")
      expect(order.slice(1).toSorted()).toEqual(
        [
          "urgent 0  Infinity -",
          "asked 1 own Infinity -",
          "plain 3 acme Infinity call",
          order.find((line) => line.startsWith("soon"))!,
          order.find((line) => line.startsWith("late"))!
        ].toSorted()
      )
      expect(order.findIndex((line) => line.startsWith("soon"))).toBeLessThan(
        order.findIndex((line) => line.startsWith("late"))
      )
      expect(order.find((line) => line.startsWith("soon"))).toMatch(/^soon 3 {2}3\d\d -$/)
      yield* nothingLeft(queue)
    })
  )

  it.effect("interrupting it takes a waiting item out, and cuts a running one and waits for its clean-up", () =>
    Effect.gen(function* () {
      yield* settled
      const { say, seen } = record()
      const queue = yield* WorkQueue.make("test", {
        line: { maxItems: 1 },
        run: (n: number) =>
          Effect.onInterrupt(Effect.sleep(100), () =>
            Effect.gen(function* () {
              const reason = yield* CancelScope.reason
              yield* Effect.sleep(5)
              yield* say(`${n} cut, ${Option.match(reason, { onNone: () => "?", onSome: Reason.format })}`)
            })
          )
      })
      const scope = yield* CancelScope.make()
      const running = yield* start(scope.run(queue.submit(1)))
      const waiting = yield* start(queue.submit(2))
      const outside = yield* start(queue.submit(3))
      expect(yield* queue.statistics).toMatchObject({ running: 1, waiting: 1, suspended: 1 })
      yield* Fiber.interrupt(waiting)
      yield* settled
      expect(yield* queue.statistics).toMatchObject({ running: 1, waiting: 1, suspended: 0 })
      const other = yield* start(queue.submit(4))
      expect(yield* queue.statistics).toMatchObject({ running: 1, waiting: 1, suspended: 1 })
      yield* Fiber.interrupt(other)
      expect(yield* queue.statistics).toMatchObject({ running: 1, waiting: 1, suspended: 0 })
      const cut = yield* start(scope.cancel("enough"))
      yield* pass(4)
      expect([cut.pollUnsafe(), running.pollUnsafe(), seen]).toEqual([undefined, undefined, []])
      yield* pass(2)
      expect(seen).toEqual(["5: 1 cut, Manual: enough"])
      expect(reasonOf(running.pollUnsafe())).toMatchObject({ _tag: "Cancelled" })
      expect(yield* queue.statistics).toMatchObject({ running: 1, waiting: 0 })
      yield* Fiber.interrupt(outside).pipe(start)
      yield* pass(10)
      yield* nothingLeft(queue)
    })
  )

  it.effect("a deadline around it cuts the item, or refuses what waits in code that cannot be interrupted", () =>
    Effect.gen(function* () {
      const { seen, work } = record()
      const queue = yield* WorkQueue.make("test", { line: { maxItems: 1 }, run: (n: number) => work(n, 50) })
      const cut = yield* start(Deadline.within(queue.submit(1), 10))
      const exits: Array<unknown> = []
      const inside = (n: number) =>
        Effect.uninterruptible(
          Effect.flatMap(Effect.exit(queue.submit(n)), (exit) => Effect.sync(() => exits.push(reasonOf(exit))))
        )
      const waiting = yield* start(Deadline.within(inside(2), 5))
      const outside = yield* start(Deadline.within(inside(3), 4))
      yield* pass(4)
      expect(exits).toEqual(["TooLate"])
      yield* pass(1)
      expect(exits).toEqual(["TooLate", "TooLate"])
      yield* pass(5)
      expect(seen).toEqual(["10: 1 cut"])
      expect(reasonOf(cut.pollUnsafe())).toBe("DeadlineExceeded")
      yield* Effect.forEach([waiting, outside], Fiber.await)
      yield* nothingLeft(queue)
    })
  )

  it.effect("a boosted run moves what it has submitted, in line or before it, and what its item asks for inside", () =>
    Effect.gen(function* () {
      const { seen, work } = record()
      const gate = yield* Gate.make("inner", { limit: 1 })
      const queue = yield* WorkQueue.make("test", {
        limit: 1,
        line: { maxItems: 2 },
        run: (n: number) => (n === 3 ? gate.run(work(n)) : work(n))
      })
      let boost: (urgency: Priority.Urgency | undefined) => Effect.Effect<void> = () => Effect.void
      yield* start(gate.run(work("holder", 15)))
      yield* start(gate.run(work("other", 5)))
      yield* queue.offerAll([1, 2])
      const both = Effect.all([queue.submit(3), queue.submit(4)], { concurrency: 2 })
      const run = Priority.boosted((set) => Effect.suspend(() => ((boost = set), both))).pipe(Priority.at(7))
      const fiber = yield* start(run)
      const waiting = Effect.map(queue.statistics, ({ suspended, waitingByUrgency }) => [
        suspended,
        ...waitingByUrgency
      ])
      expect(yield* waiting).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 1])
      yield* boost(0)
      expect(yield* waiting).toEqual([1, 1, 0, 0, 1, 0, 0, 0, 0])
      yield* pass(10)
      expect(yield* waiting).toEqual([0, 1, 0, 0, 1, 0, 0, 0, 0])
      yield* boost(undefined)
      expect(yield* waiting).toEqual([0, 0, 0, 0, 1, 0, 0, 0, 1])
      yield* boost(1)
      yield* pass(60)
      expect(fiber.pollUnsafe()).toEqual(Exit.succeed([3, 4]))
      expect(seen.map((line) => line.split(" ")[1])).toEqual(["1", "holder", "3", "other", "4", "2"])
      yield* boost(7)
      yield* nothingLeft(queue)
    })
  )

  it.effect("an item that ends on the spot leaves no wait behind", () =>
    Effect.gen(function* () {
      yield* settled
      const queue = yield* WorkQueue.make("test", { run: (n: number) => Effect.succeed(n) })
      const exit = yield* start(
        Effect.exit(Deadline.within(Effect.andThen(queue.submit(1), Effect.sleep(10)), "5 millis"))
      )
      yield* pass(5)
      expect(String(exit.pollUnsafe())).not.toContain("queue test")
      yield* nothingLeft(queue)
    })
  )

  it.effect("says what it waits for: the queue, or what its item waits for", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: 1 })
      const busy = yield* start(gate.run(Effect.sleep(50)))
      const queue = yield* WorkQueue.make("test", { run: () => gate.run(Effect.void) })
      const first = yield* start(Deadline.within(queue.submit(1), 10))
      const second = yield* start(Deadline.within(queue.submit(2), 5))
      yield* pass(10)
      const waited = (exit: unknown) => (exit as any).cause.reasons[0].error.waitingFor
      expect(waited(first.pollUnsafe())).toEqual(Option.some("gate api"))
      expect(waited(second.pollUnsafe())).toEqual(Option.some("queue test"))
      yield* pass(40)
      yield* Fiber.join(busy)
      yield* nothingLeft(queue)
    })
  )
})

describe("WorkQueue.offer", () => {
  it.effect("returns when the item is accepted; where there is no room it waits, in order of arrival", () =>
    Effect.gen(function* () {
      const { seen, work } = record()
      const queue = yield* WorkQueue.make("test", { line: { maxItems: 2 }, run: (n: number) => work(n) })
      const accepted: Array<number> = []
      const offer = (n: number) =>
        Effect.andThen(
          queue.offer(n),
          Effect.sync(() => accepted.push(n))
        )
      const fibers = yield* Effect.forEach(numbers(6), (n) => start(offer(n)))
      expect(accepted).toEqual([1, 2, 3])
      expect((yield* queue.statistics).suspended).toBe(3)
      yield* pass(10)
      expect(accepted).toEqual([1, 2, 3, 4])
      yield* pass(50)
      yield* Fiber.joinAll(fibers)
      expect(seen.map((line) => line.split(" ")[1])).toEqual(["1", "2", "3", "4", "5", "6"])
      yield* nothingLeft(queue)
    })
  )

  it.effect("bounds the line in bytes, by what items weigh", () =>
    Effect.gen(function* () {
      const { work } = record()
      const queue = yield* WorkQueue.make("test", {
        line: { maxBytes: "10 kB" },
        weigh: (kilobytes: number) => kilobytes * 1000,
        run: (kilobytes: number) => work(kilobytes)
      })
      const fibers = yield* Effect.forEach([1, 6, 3, 5], (size) => start(queue.offer(size)))
      expect(fibers.map((fiber) => fiber.pollUnsafe() !== undefined)).toEqual([true, true, true, false])
      expect((yield* queue.statistics).waitingBytes).toBe(9000)
      yield* pass(40)
      expect(fibers[3]!.pollUnsafe()).toEqual(Exit.void)
      yield* nothingLeft(queue)
    })
  )

  it.effect("one that waits for room and is interrupted takes its item back", () =>
    Effect.gen(function* () {
      const { seen, work } = record()
      const queue = yield* WorkQueue.make("test", { line: { maxItems: 1 }, run: (n: number) => work(n) })
      yield* queue.offerAll([1, 2])
      const waiting = yield* start(queue.offer(3))
      const late = yield* start(Deadline.within(queue.offer(4), 5))
      const last = yield* start(queue.offer(5))
      yield* Fiber.interrupt(waiting)
      yield* pass(40)
      expect(reasonOf(late.pollUnsafe())).toBe("DeadlineExceeded")
      expect(last.pollUnsafe()).toEqual(Exit.void)
      expect(seen).toEqual(["10: 1 done", "20: 2 done", "30: 5 done"])
      yield* nothingLeft(queue)
    })
  )

  it.effect("offers all of an endless source as it has room, and puts the source down when it is interrupted", () =>
    Effect.gen(function* () {
      const { seen, work } = record()
      let read = 0
      let returned = false
      const source = function* () {
        try {
          for (;;) yield ++read
        } finally {
          returned = true
        }
      }
      const queue = yield* WorkQueue.make("test", { line: { maxItems: 3 }, run: (n: number) => work(n) })
      const fiber = yield* start(queue.offerAll(source()))
      expect(read).toBe(5)
      yield* pass(20)
      expect(read).toBe(7)
      yield* Fiber.interrupt(fiber)
      expect(returned).toBe(true)
      yield* pass(100)
      expect(seen.length).toBe(6)
      yield* nothingLeft(queue)
    })
  )

  it.effect("an item that offers to its own queue is not held up with its permit in hand: it is refused", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const queue: WorkQueue.WorkQueue<number, void> = yield* WorkQueue.make("crawler", {
        limit: 1,
        line: { maxItems: 2 },
        run: (n: number): Effect.Effect<void> =>
          Effect.forEach([1, 2, 3], (link) => Effect.exit(queue.offer(10 * n + link)), { discard: false }).pipe(
            Effect.map((exits) => void seen.push(`${n}: ${exits.map((exit) => reasonOf(exit) ?? "in").join(", ")}`)),
            Effect.when(Effect.succeed(n < 10))
          )
      })
      yield* queue.submit(1)
      yield* queue.end
      expect(seen).toEqual(["1: in, in, QueueFull"])
      yield* nothingLeft(queue)
    })
  )

  it.effect("a failure that nobody waits for goes to onFailure, whatever it is; by default to the log", () =>
    Effect.gen(function* () {
      const lost: Array<string> = []
      const run = (n: number) =>
        n === 1 ? Effect.fail("one") : n === 2 ? Effect.die("two") : n === 3 ? thrown() : Effect.as(Effect.sleep(5), n)
      const thrown = (): Effect.Effect<number> => {
        throw new Error("three")
      }
      const queue = yield* WorkQueue.make("test", {
        run,
        line: { maxItems: 2, overflow: "evictOldest" },
        onFailure: (n, cause) => Effect.sync(() => void lost.push(`${n}: ${wordsOf(cause)}`))
      })
      yield* queue.offer(1)
      yield* queue.offer(2)
      yield* queue.offer(3)
      yield* queue.offer(4)
      yield* queue.offer(5)
      yield* queue.offer(6)
      yield* queue.offer(7)
      yield* pass(11)
      expect(lost).toEqual(["1: one", "2: two", "3: Error: three", "5: Evicted"])
      yield* queue.offer(8, { within: 2 })
      yield* pass(10)
      expect(lost.slice(4)).toEqual(["8: TooLate"])
      expect((yield* queue.statistics).lost).toBe(5)
      yield* nothingLeft(queue)

      const logged: Array<string> = []
      const logger = Logger.make(({ cause, message }) => void logged.push(`${String(message)}: ${wordsOf(cause)}`))
      const silent = yield* WorkQueue.make("silent", { run }).pipe(Effect.provide(Logger.layer([logger])))
      yield* silent.offer(1)
      expect(logged).toEqual(["queue silent lost item 1 (urgency 3), for which nobody waits: one"])
      yield* nothingLeft(silent)
    })
  )

  it.effect("a log of a lost item names it by its number and what it asked for, and not by its value", () =>
    Effect.gen(function* () {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      const queue = yield* WorkQueue.make("mail", {
        run: ({ millis }: { readonly millis: number; readonly secret: string }) =>
          millis > 0 ? Effect.sleep(millis) : Effect.fail("no"),
        line: { maxItems: 1, overflow: "evictOldest" }
      }).pipe(Effect.provide(Logger.layer([logger])))
      const fails = { millis: 0, secret: "hunter2" }
      const lasts = { millis: 5, secret: "hunter2" }

      yield* queue.offer(fails).pipe(Priority.background, Tenant.as("acme"))
      // A submitted item has its number, and is no concern of the log.
      yield* Effect.exit(queue.submit(fails))
      yield* queue.offer(fails, { urgency: 0, tenant: "beta", key: "api.example.com" })
      const offer = queue.offer(fails, { key: `\u001b[2J"\n\u009b\u202e${"k".repeat(10_000)}` })
      yield* offer
      yield* offer
      yield* queue.offer(lasts)
      // What is put out of the line is told of beside the work. What is refused has a number, and whoever brings it is told.
      yield* queue.offer(lasts, { tenant: "" })
      yield* Effect.exit(queue.offer(lasts, { urgency: 7 }))
      yield* queue.offer(lasts)
      yield* queue.offer(lasts)
      yield* pass(11)

      const steering = `\\u001b[2J\\"\\n\ufffd\ufffd${"k".repeat(52)}…`
      expect(logged).toEqual([
        'queue mail lost item 1 (urgency 7, tenant "acme"), for which nobody waits',
        'queue mail lost item 3 (urgency 0, tenant "beta", key "api.example.com"), for which nobody waits',
        `queue mail lost item 4 (urgency 3, key "${steering}"), for which nobody waits`,
        `queue mail lost item 5 (urgency 3, key "${steering}"), for which nobody waits`,
        "queue mail lost item 7 (urgency 3), for which nobody waits",
        "queue mail lost item 9 (urgency 3), for which nobody waits"
      ])
      yield* nothingLeft(queue)
    })
  )

  it.effect(
    "an onFailure that fails itself is logged with what it was told; one that is slow holds up the evicting",
    () =>
      Effect.gen(function* () {
        const logged: Array<string> = []
        const logger = Logger.make(({ message }) => void logged.push(String(message)))
        const broken = yield* WorkQueue.make("broken", {
          run: () => Effect.fail("no"),
          onFailure: () => Effect.die("neither")
        }).pipe(Effect.provide(Logger.layer([logger])))
        yield* broken.offer(1)
        expect(logged.length).toBe(1)
        expect(logged[0]).toContain("queue broken lost item 1 (urgency 3), and its onFailure failed")
        yield* nothingLeft(broken)

        let told = 0
        const slow = yield* WorkQueue.make("slow", {
          run: () => Effect.sleep(10),
          line: { maxItems: 1, overflow: "evictOldest" },
          onFailure: () =>
            Effect.andThen(
              Effect.sleep(1),
              Effect.sync(() => told++)
            )
        })
        const offers = yield* start(slow.offerAll(numbers(200)))
        yield* pass(5)
        expect(offers.pollUnsafe()).toBe(undefined)
        expect((yield* slow.statistics).offered).toBeLessThan(80)
        yield* pass(300)
        expect(offers.pollUnsafe()).toEqual(Exit.void)
        const { completed, lost } = yield* slow.statistics
        expect([told, completed + lost]).toEqual([lost, 200])
        yield* nothingLeft(slow)
      })
  )
})

describe("every overflow policy", () => {
  for (const overflow of ["suspend", ...Overflow.all] as const) {
    it.effect(`${overflow}: every item is done, or somebody is told that it is not`, () =>
      Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(
            fc.record({
              items: fc.array(
                fc.record({ millis: fc.nat(4), urgency: fc.nat(7), submit: fc.boolean(), fails: fc.boolean() }),
                { maxLength: 20 }
              ),
              limit: fc.constantFrom<number | ConcurrencyLimit.ConcurrencyLimit>(
                1,
                3,
                ConcurrencyLimit.aimd({ min: 1, max: 4 })
              ),
              maxItems: fc.nat(5),
              end: fc.constantFrom("end", "fail", "close"),
              endAt: fc.nat(30)
            }),
            ({ end, endAt, items, limit, maxItems }) =>
              Effect.gen(function* () {
                const scope = yield* Scope.make()
                const done = new Set<number>()
                const told = new Set<number>()
                yield* settled
                const queue = yield* WorkQueue.make("law", {
                  limit,
                  line: { maxItems, overflow },
                  run: (index: number) =>
                    Effect.suspend(() => {
                      const { fails, millis } = items[index]!
                      const work = millis === 0 ? Effect.void : Effect.sleep(millis)
                      return Effect.andThen(work, fails ? Effect.fail("no") : Effect.sync(() => void done.add(index)))
                    }),
                  onFailure: (index) => Effect.sync(() => void told.add(index))
                }).pipe(Scope.provide(scope))
                const fibers = yield* Effect.forEach(items, ({ submit, urgency }, index) =>
                  (submit ? queue.submit(index) : queue.offer(index)).pipe(
                    Priority.at(urgency as Priority.Urgency),
                    Effect.exit,
                    Effect.tap((exit) => Effect.sync(() => Exit.isFailure(exit) && told.add(index))),
                    start
                  )
                )
                yield* pass(endAt)
                const ended = yield* start(
                  end === "end" ? queue.end : end === "fail" ? queue.fail("no") : Scope.close(scope, Exit.void)
                )
                yield* pass(110)
                expect(ended.pollUnsafe()).toEqual(Exit.void)
                yield* Effect.forEach(fibers, Fiber.await)
                for (const index of items.keys()) expect(done.has(index)).toBe(!told.has(index))
                yield* nothingLeft(queue)
                if (end === "end") expect((yield* queue.statistics).state).toBe("ended")
                yield* Scope.close(scope, Exit.void)
                yield* nothingLeft(queue)
              }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
          ),
          { numRuns: 40 }
        )
      )
    )
  }

  it.effect("reject refuses whoever comes to a full line, evictLeast puts out the less urgent", () =>
    Effect.gen(function* () {
      const { work } = record()
      const make = (overflow: Overflow.Overflow) =>
        WorkQueue.make(overflow, { line: { maxItems: 1, overflow }, run: (n: number) => work(n) })
      const rejects = yield* make("reject")
      yield* rejects.offerAll([1, 2])
      expect(reasonOf(yield* Effect.exit(rejects.offer(3)))).toBe("QueueFull")
      expect(reasonOf(yield* Effect.exit(rejects.submit(3)))).toBe("QueueFull")
      const evicts = yield* make("evictLeast")
      yield* evicts.offer(1)
      const victim = yield* start(evicts.submit(2).pipe(Priority.background))
      yield* evicts.offer(3)
      yield* settled
      expect(reasonOf(victim.pollUnsafe())).toBe("Evicted")
      yield* pass(20)
      yield* nothingLeft(rejects)
      yield* nothingLeft(evicts)
    })
  )
})

describe("pressure", () => {
  it.effect("is high from the high mark until the low one, for whoever asks, waits, or sheds", () =>
    Effect.gen(function* () {
      const { work } = record()
      const queue = yield* WorkQueue.make("test", {
        watermarks: { high: 3, low: 1 },
        run: (n: number) => work(n)
      })
      const seen: Array<boolean> = []
      const watching = yield* start(
        Stream.runForEach(queue.pressures, (high) => Effect.sync(() => void seen.push(high)))
      )
      const signal = queue.signal(6)
      expect(signal.name).toBe("queue test")
      const gate = yield* Gate.make("door", { limit: 1, protect: { shed: [signal] } })
      yield* queue.offerAll(numbers(3))
      expect([yield* queue.pressure, signal.urgency()]).toEqual([false, 8])
      yield* queue.whenLow
      yield* queue.offer(4)
      expect([yield* queue.pressure, signal.urgency()]).toEqual([true, 6])
      expect(reasonOf(yield* Effect.exit(gate.run(Effect.void).pipe(Priority.at(6))))).toBe("Shed")
      expect(yield* gate.run(Effect.succeed("urgent"))).toBe("urgent")
      const low = yield* start(Effect.flatMap(queue.whenLow, () => now))
      yield* pass(10)
      expect([yield* queue.pressure, low.pollUnsafe()]).toEqual([true, undefined])
      yield* pass(10)
      expect([yield* queue.pressure, low.pollUnsafe()]).toEqual([false, Exit.succeed(20)])
      yield* pass(20)
      yield* queue.end
      yield* settled
      expect(watching.pollUnsafe()).toEqual(Exit.void)
      expect(seen).toEqual([false, true, false])
      yield* nothingLeft(queue)
      expect((yield* gate.statistics).running).toBe(0)
    })
  )

  it.effect("a full line is high, and one half full is low, unless said otherwise", () =>
    Effect.gen(function* () {
      const { work } = record()
      const queue = yield* WorkQueue.make("test", { line: { maxItems: 4 }, run: (n: number) => work(n) })
      yield* queue.offerAll(numbers(4))
      expect(yield* queue.pressure).toBe(false)
      yield* queue.offer(5)
      expect(yield* queue.pressure).toBe(true)
      yield* pass(19)
      expect(yield* queue.pressure).toBe(true)
      yield* pass(1)
      expect(yield* queue.pressure).toBe(false)
      yield* pass(50)
      yield* nothingLeft(queue)
    })
  )
})

describe("the end", () => {
  it.effect("lets nothing more in, and waits until what was accepted is done", () =>
    Effect.gen(function* () {
      const { seen, work } = record()
      const queue = yield* WorkQueue.make("test", { line: { maxItems: 1 }, run: (n: number) => work(n) })
      yield* queue.offer(1)
      const accepted = yield* start(queue.submit(2))
      const outside = yield* Effect.forEach([queue.offer(3), queue.submit(4)], start)
      const ending = yield* start(queue.end)
      yield* settled
      expect(outside.map((fiber) => reasonOf(fiber.pollUnsafe()))).toEqual(["ShuttingDown", "ShuttingDown"])
      expect((yield* queue.statistics).state).toBe("ending")
      expect(reasonOf(yield* Effect.exit(queue.offer(5)))).toBe("ShuttingDown")
      // Whoever waits for the end, and leaves, changes nothing.
      yield* Fiber.interrupt(yield* start(queue.end))
      yield* pass(19)
      expect(ending.pollUnsafe()).toBe(undefined)
      yield* pass(1)
      expect([ending.pollUnsafe(), accepted.pollUnsafe()]).toEqual([Exit.void, Exit.succeed(2)])
      expect(seen).toEqual(["10: 1 done", "20: 2 done"])
      yield* queue.end
      expect(reasonOf(yield* Effect.exit(queue.submit(6)))).toBe("ShuttingDown")
      yield* queue.fail("too late" as never)
      expect((yield* queue.statistics).state).toBe("ended")
      yield* nothingLeft(queue)
    })
  )

  it.effect("fail tells everyone, cuts what runs, and waits for its clean-up", () =>
    Effect.gen(function* () {
      yield* settled
      const { say, seen } = record()
      const lost: Array<string> = []
      const queue = yield* WorkQueue.make("test", {
        limit: 2,
        line: { maxItems: 2 },
        run: (n: number): Effect.Effect<number, string> =>
          Effect.onInterrupt(Effect.as(Effect.sleep(100), n), () =>
            Effect.gen(function* () {
              const reason = yield* CancelScope.reason
              yield* Effect.sleep(5)
              yield* say(`${n} cut, ${Option.match(reason, { onNone: () => "?", onSome: Reason.format })}`)
            })
          ),
        onFailure: (n, cause) => Effect.sync(() => void lost.push(`${n}: ${wordsOf(cause)}`))
      })
      const submitted = yield* start(queue.submit(1))
      yield* queue.offerAll([2, 3])
      const waiting = yield* start(queue.submit(4))
      const outside = yield* Effect.forEach([queue.offer(5), queue.submit(6)], start)
      const ending = yield* start(queue.end)
      const failing = yield* start(queue.fail("no database"))
      yield* settled
      expect(outside.map((fiber) => reasonOf(fiber.pollUnsafe()))).toEqual(["ShuttingDown", "ShuttingDown"])
      expect(reasonOf(waiting.pollUnsafe())).toBe("no database")
      expect(failing.pollUnsafe()).toBe(undefined)
      yield* pass(5)
      expect(failing.pollUnsafe()).toEqual(Exit.void)
      expect(ending.pollUnsafe()).toEqual(Exit.void)
      expect(reasonOf(submitted.pollUnsafe())).toBe("no database")
      expect(seen.toSorted()).toEqual(["5: 1 cut, Manual: queue test failed", "5: 2 cut, Manual: queue test failed"])
      expect(lost.toSorted()).toEqual(["2: interrupt", "3: no database"])
      expect(reasonOf(yield* Effect.exit(queue.offer(7)))).toBe("no database")
      expect(reasonOf(yield* Effect.exit(queue.submit(7)))).toBe("no database")
      yield* queue.end
      yield* nothingLeft(queue)
    })
  )

  it.effect("closing the scope without an end cuts what is left, and tells everyone", () =>
    Effect.gen(function* () {
      yield* settled
      const { say, seen } = record()
      const lost: Array<string> = []
      const scope = yield* Scope.make()
      const queue = yield* WorkQueue.make("test", {
        line: { maxItems: 2 },
        run: (n: number) =>
          Effect.onInterrupt(Effect.sleep(100), () =>
            Effect.gen(function* () {
              const reason = yield* CancelScope.reason
              yield* Effect.sleep(5)
              yield* say(`${n} cut, ${Option.match(reason, { onNone: () => "?", onSome: Reason.format })}`)
            })
          ),
        onFailure: (n, cause) => Effect.sync(() => void lost.push(`${n}: ${wordsOf(cause)}`))
      }).pipe(Scope.provide(scope))
      expect((yield* Registry.snapshot).some(({ kind, name }) => kind === "queue" && name === "test")).toBe(true)
      const submitted = yield* start(queue.submit(1))
      yield* queue.offer(2)
      const waiting = yield* start(queue.submit(3))
      const outside = yield* Effect.forEach([queue.offer(4), queue.submit(5)], start)
      const closing = yield* start(Scope.close(scope, Exit.void))
      yield* settled
      expect([waiting, ...outside].map((fiber) => reasonOf(fiber.pollUnsafe()))).toEqual(Array(3).fill("ShuttingDown"))
      expect(closing.pollUnsafe()).toBe(undefined)
      yield* pass(5)
      expect(closing.pollUnsafe()).toEqual(Exit.void)
      expect(reasonOf(submitted.pollUnsafe())).toBe("interrupt")
      expect(seen).toEqual(["5: 1 cut, Shutdown"])
      expect(lost).toEqual(["2: ShuttingDown"])
      expect(reasonOf(yield* Effect.exit(queue.offer(6)))).toBe("ShuttingDown")
      expect((yield* queue.statistics).state).toBe("closed")
      expect((yield* Registry.snapshot).filter(({ kind }) => kind === "queue")).toEqual([])
      yield* nothingLeft(queue)
    })
  )

  it.effect("an item that ends its own queue, or fails it, does not wait for itself", () =>
    Effect.gen(function* () {
      const queue: WorkQueue.WorkQueue<string, string, string> = yield* WorkQueue.make("test", {
        run: (what: string): Effect.Effect<string, string> =>
          Effect.gen(function* () {
            if (what === "end") yield* queue.end
            else yield* queue.fail("no more")
            return what
          })
      })
      expect(yield* queue.submit("end")).toBe("end")
      expect((yield* queue.statistics).state).toBe("ended")
      const other: WorkQueue.WorkQueue<string, string, string> = yield* WorkQueue.make("other", {
        run: (): Effect.Effect<string, string> => Effect.as(other.fail("no more"), "done")
      })
      expect(reasonOf(yield* Effect.exit(other.submit("fail")))).toBe("no more")
      yield* nothingLeft(queue)
      yield* nothingLeft(other)
    })
  )

  it.effect("idle, it holds no fiber and no timer; children of an item end with it", () =>
    Leaks.expectNoLeaks(
      Effect.gen(function* () {
        const seen: Array<string> = []
        const queue = yield* WorkQueue.make("test", {
          run: (n: number) =>
            Effect.gen(function* () {
              yield* Effect.forkChild(
                Effect.onInterrupt(Effect.never, () => Effect.sync(() => void seen.push(`child of ${n} ended`))),
                { startImmediately: true }
              )
              yield* Effect.yieldNow
              seen.push(`${n} done`)
            })
        })
        for (let i = 0; i < 3; i++) yield* queue.submit(i)
        expect(seen).toEqual(["0 done", "child of 0 ended", "1 done", "child of 1 ended", "2 done", "child of 2 ended"])
        yield* nothingLeft(queue)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("a nursery in an item is found in the tree", () =>
    Effect.gen(function* () {
      const hold = yield* Deferred.make<void>()
      yield* Nursery.run(
        (nursery) =>
          Effect.gen(function* () {
            const queue = yield* WorkQueue.make("test", {
              run: () => Nursery.run((inner) => inner.spawn(Deferred.await(hold), "deep"), { name: "inner" })
            })
            yield* nursery.spawn(queue.submit(1), "caller")
            yield* settled
            const tree = yield* Registry.tree
            expect(tree.map(({ name }) => name)).toEqual(["outer"])
            expect(tree[0]!.children.map(({ name }) => name).toSorted()).toEqual(["caller", "inner"])
            yield* Deferred.succeed(hold, undefined)
          }).pipe(Effect.andThen(settled), Effect.scoped),
        { name: "outer" }
      )
      expect(yield* Registry.tree).toEqual([])
    })
  )
})

describe("misuse", () => {
  it.effect("what a tenant's allowance throws is a defect of whoever puts it in, at once or when there is room", () =>
    Effect.gen(function* () {
      const { work } = record()
      const queue = yield* WorkQueue.make("test", {
        limit: 2,
        line: { maxItems: 1 },
        perTenant: (tenant) => {
          if (tenant === "odd") throw new Error("no such tenant")
          return undefined
        },
        run: (n: number) => work(n)
      })
      const thrown = "Error: no such tenant"
      expect(reasonOf(yield* Effect.exit(queue.offer(1, { tenant: "odd" })))).toBe(thrown)
      expect(reasonOf(yield* Effect.exit(queue.submit(1, { tenant: "odd" })))).toBe(thrown)
      yield* queue.offerAll([1, 2, 3])
      const later = yield* Effect.forEach(
        [queue.offer(4), queue.offer(5, { tenant: "odd" }), queue.submit(6, { tenant: "odd" }), queue.submit(7)],
        start
      )
      yield* pass(40)
      expect(later.map((fiber) => reasonOf(fiber.pollUnsafe()))).toEqual([undefined, thrown, thrown, 7])
      yield* nothingLeft(queue)
    })
  )

  it.effect("a `judge` that throws at an item's end: its submitter's defect, or lost with it; no permit is kept", () =>
    Effect.gen(function* () {
      const { work } = record()
      const lost: Array<string> = []
      const queue = yield* WorkQueue.make("test", {
        limit: ConcurrencyLimit.aimd({ min: 1, max: 2 }),
        judge: () => {
          throw new Error("judge")
        },
        run: (n: number) => (n === 3 ? Effect.fail("boom") : work(n)),
        onFailure: (n, cause) => Effect.sync(() => void lost.push(`${n}: ${wordsOf(cause)}`))
      })
      const submitted = yield* Effect.forEach([1, 3], (n) => start(queue.submit(n)))
      yield* queue.offerAll([2, 3, 4])
      yield* pass(60)
      expect(submitted.map((fiber) => reasonOf(fiber.pollUnsafe()))).toEqual(["Error: judge", "boom, Error: judge"])
      // What failed has been told of before its permit goes back; what else is thrown then is told, too.
      expect(lost.toSorted()).toEqual(["2: Error: judge", "3: Error: judge", "3: boom", "4: Error: judge"])
      expect((yield* queue.statistics).lost).toBe(3)
      yield* queue.end
      yield* nothingLeft(queue)
    })
  )

  it.effect(
    "a source that throws when it is told to end: a defect beside the failure; one that threw is not told",
    () =>
      Effect.gen(function* () {
        const queue = yield* WorkQueue.make("test", {
          line: { overflow: "reject", maxItems: 1 },
          run: () => Effect.never
        })
        let told = 0
        const source = (next: (n: number) => number) => ({
          [Symbol.iterator]() {
            let n = 0
            return {
              next: () => ({ done: false as const, value: next(n++) }),
              return: (): never => {
                told++
                throw new Error("not yet")
              }
            }
          }
        })
        expect(reasonOf(yield* Effect.exit(queue.offerAll(source((n) => n))))).toMatch(/QueueFull.*, Error: not yet/)
        expect(told).toBe(1)
        const throws = (n: number): number => {
          if (n === 0) return n
          throw new Error("no more")
        }
        const other = yield* WorkQueue.make("other", { run: () => Effect.void })
        expect(reasonOf(yield* Effect.exit(other.offerAll(source(throws))))).toBe("Error: no more")
        expect(told).toBe(1)
        yield* nothingLeft(other)
      })
  )

  it.effect(
    "a function that ends the queue while an item is asked for: the item is turned away, and does not begin",
    () =>
      Effect.gen(function* () {
        const { seen, work } = record()
        let ends: Effect.Effect<void> = Effect.void
        const queue = yield* WorkQueue.make("test", {
          limit: 1,
          perTenant: () => {
            Effect.runFork(ends)
            return undefined
          },
          run: (n: number) => work(n)
        })
        ends = queue.end
        expect(reasonOf(yield* Effect.exit(queue.offer(1)))).toBe("ShuttingDown")
        expect(reasonOf(yield* Effect.exit(queue.submit(2)))).toBe("ShuttingDown")
        yield* pass(20)
        expect(seen).toEqual([])
        expect((yield* queue.statistics).state).toBe("ended")
        yield* nothingLeft(queue)
      })
  )

  it.effect("is a defect that names what was expected", () =>
    Effect.gen(function* () {
      const made = (options: object) =>
        Effect.map(
          Effect.exit(Effect.suspend(() => WorkQueue.make("test", { run: () => Effect.void, ...options }))),
          reasonOf
        )
      expect(yield* made({ limit: 0 })).toBe("RangeError: Expected a limit of at least 1 permit, got 0")
      expect(yield* made({ watermarks: { high: 0, low: 0 } })).toBe(
        "RangeError: Expected a high watermark of at least 1, got 0"
      )
      expect(yield* made({ watermarks: { high: 3, low: 3 } })).toBe(
        "RangeError: Expected a low watermark from 0 to below 3, got 3"
      )
      expect(yield* made({ line: { overflow: "drop" } })).toContain("TypeError: Expected overflow to be")
      const queue = yield* WorkQueue.make("test", { run: () => Effect.void })
      expect(() => queue.offer(1, { urgency: 9 as 0 })).toThrow("Expected an urgency from 0 to 7, got 9")
      expect(() => queue.submit(1, { cost: 0 })).toThrow("Expected a cost above 0, got 0")
    })
  )
})

// --- every order, every place --------------------------------------------------------------------------------------

interface State {
  open: number
  readonly queue: WorkQueue.WorkQueue<number, number, string>
  readonly scope: Scope.Closeable
}

const setup = Effect.gen(function* () {
  const scope = yield* Scope.make()
  const state: { open: number } = { open: 0 }
  const queue: WorkQueue.WorkQueue<number, number, string> = yield* WorkQueue.make("q", {
    limit: 2,
    line: { maxItems: 2 },
    run: (n: number) =>
      Effect.acquireUseRelease(
        Effect.sync(() => state.open++),
        () => (n === 0 ? Effect.fail("zero") : Effect.as(Effect.sleep(n), n)),
        () =>
          Effect.andThen(
            Effect.yieldNow,
            Effect.sync(() => state.open--)
          )
      ),
    onFailure: () => Effect.void
  }).pipe(Scope.provide(scope))
  return Object.assign(state, { queue, scope }) as State
})

const check = (state: State) =>
  Effect.gen(function* () {
    yield* state.queue.end
    expect(state.open).toBe(0)
    yield* nothingLeft(state.queue)
    yield* Scope.close(state.scope, Exit.void)
    yield* nothingLeft(state.queue)
  })

const together = <A, E>(effects: ReadonlyArray<Effect.Effect<A, E>>) =>
  Effect.all(effects.map(Effect.exit), { concurrency: "unbounded" })

const subjects: Record<string, (state: State) => Effect.Effect<unknown, unknown>> = {
  submit: ({ queue }) => together([3, 1, 0, 2, 1].map((n) => queue.submit(n))),
  offer: ({ queue }) => queue.offerAll([3, 1, 0, 2, 1]),
  "submit and offer, with deadlines": ({ queue }) =>
    together<unknown, unknown>([
      queue.submit(3),
      queue.offer(2, { within: 1 }),
      Deadline.within(queue.submit(2), 3),
      Deadline.within(queue.offer(1), 1),
      queue.submit(1, { within: 9, maxWait: 2 })
    ]),
  "end, while others come": ({ queue }) =>
    together<unknown, unknown>([queue.submit(2), queue.offerAll([1, 2, 1]), Effect.delay(queue.end, 1), queue.end]),
  "fail, while others come": ({ queue }) =>
    together<unknown, unknown>([
      queue.submit(2),
      queue.offerAll([1, 2, 1]),
      queue.submit(4),
      Effect.delay(queue.fail("no"), 1)
    ]),
  resize: ({ queue }) =>
    together<unknown, unknown>([
      queue.offerAll([1, 2, 3, 1]),
      Effect.delay(queue.resize(1), 1),
      Effect.delay(queue.resize(3), 2)
    ]),
  "the scope closes": ({ queue, scope }) =>
    together<unknown, unknown>([
      queue.submit(2),
      queue.offerAll([1, 2, 1]),
      Effect.delay(Scope.close(scope, Exit.void), 1)
    ]),
  "pressure is waited for": ({ queue }) =>
    together<unknown, unknown>([
      queue.offerAll([1, 2, 2, 1]),
      Effect.andThen(Effect.sleep(1), queue.whenLow),
      Deadline.within(Stream.runDrain(Stream.take(queue.pressures, 3)), 9)
    ])
}

describe("sweep", () => {
  for (const [name, subject] of Object.entries(subjects)) {
    it.effect(`${name}: an interrupt at every step`, () =>
      Effect.gen(function* () {
        expect(yield* Sweep.sweep({ setup, subject, check })).toBeGreaterThan(15)
      })
    )

    it.effect(
      `${name}: interrupts at pairs of steps`,
      () =>
        Effect.gen(function* () {
          const { pairs } = yield* Sweep.pairs({ setup, subject, check }, { limit: 800 })
          expect(pairs).toBeGreaterThan(50)
        }),
      30_000
    )

    it.effect(
      `${name}: many orders, from seeds`,
      () =>
        Effect.gen(function* () {
          const program = { setup, subject: (state: State) => Effect.exit(subject(state)), check }
          const { runs } = yield* Simulation.simulate(50, program, { cancelPoints: 10, yieldChance: 0.2 })
          expect(runs).toBeGreaterThan(400)
        }),
      30_000
    )
  }
})
