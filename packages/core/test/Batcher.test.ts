import { describe, expect, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Data,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Option,
  Request,
  RequestResolver,
  Result,
  Scope,
  Stream
} from "effect"
import type { Tracer } from "effect"
import { TestClock } from "effect/testing"
import {
  Attempts,
  Batcher,
  CancelScope,
  ConcurrencyLimit,
  Deadline,
  Gate,
  Priority,
  RateWindow,
  Reason,
  Refused,
  Registry,
  Tenant
} from "@fairlead/core"
import { fork, reasonOf, settle, timers } from "./gates.ts"

type Options = Batcher.Options<number, string, string, string, never, any>

/** A batcher of numbers whose runs a test ends when it likes; odd ones fail. */
const stage = (options: Partial<Options> = {}, scope?: Scope.Scope) =>
  Effect.gen(function* () {
    const sent: Array<ReadonlyArray<number>> = []
    const cut: Array<string> = []
    const ends: Array<Deferred.Deferred<void, string>> = []
    let over = false
    const made = Batcher.make<number, string, string, string, never, any>("users", {
      run: (items) =>
        Effect.gen(function* () {
          const end = yield* Deferred.make<void, string>()
          sent.push(items)
          ends.push(end)
          if (!over) yield* Deferred.await(end)
          return items.map(resultOf)
        }).pipe(
          Effect.onInterrupt(() =>
            Effect.map(CancelScope.reason, (reason) =>
              cut.push(Option.match(reason, { onNone: () => "", onSome: Reason.format }))
            )
          )
        ),
      maxItems: 3,
      linger: "10 millis",
      ...options
    })
    const batcher = yield* scope === undefined ? made : Scope.provide(made, scope)
    // A test that fails leaves runs behind, and closing its scope would wait for them.
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        over = true
        return Effect.forEach(ends, (end) => Deferred.succeed(end, undefined))
      })
    )
    const submit = (item: number) => fork(batcher.submit(item))
    /** Ends the run that began as the `index`-th. */
    const end = (index: number) => Effect.andThen(Deferred.succeed(ends[index]!, undefined), settle)
    const fail = (index: number, error: string) => Effect.andThen(Deferred.fail(ends[index]!, error), settle)
    return { batcher, cut, end, fail, sent, submit }
  })

const resultOf = (item: number): Result.Result<string, string> =>
  item % 2 === 0 ? Result.succeed(`user ${item}`) : Result.fail(`no user ${item}`)

/** A batcher whose runs end at once. */
const quick = (options: Partial<Options> = {}) =>
  Effect.gen(function* () {
    const sent: Array<ReadonlyArray<number>> = []
    const batcher = yield* Batcher.make<number, string, string, string, never, any>("users", {
      run: (items) => {
        sent.push(items)
        return Effect.succeed(items.map(resultOf))
      },
      maxItems: 3,
      linger: "10 millis",
      ...options
    })
    return { batcher, sent }
  })

const nothingLeft = (batcher: Batcher.Batcher<any, any, any>) =>
  Effect.gen(function* () {
    const statistics = yield* batcher.statistics
    expect(Batcher.check(statistics)).toEqual([])
    expect([statistics.batches, statistics.waiting, statistics.suspended, statistics.running]).toEqual([0, 0, 0, 0])
    expect(yield* timers).toBe(0)
  })

/** What it came to, if it did. */
const endOf = <A, E>(fiber: Fiber.Fiber<A, E>) => fiber.pollUnsafe()

const user = (id: number) => Exit.succeed(`user ${id}`)
/** Of two callers. */
const both = <A>(value: A) => [value, value]
const none = (id: number) => Exit.fail(`no user ${id}`)

describe("Batcher", () => {
  it.effect("a full batch goes at once, the rest when the linger is over, and each caller gets his own outcome", () =>
    Effect.gen(function* () {
      const { batcher, end, sent, submit } = yield* stage()
      const callers = yield* Effect.forEach([1, 2, 3, 4, 5], submit)
      expect(sent).toEqual([[1, 2, 3]])
      yield* TestClock.adjust("9 millis")
      expect(sent).toHaveLength(1)
      yield* TestClock.adjust("1 millis")
      expect(sent).toEqual([
        [1, 2, 3],
        [4, 5]
      ])
      yield* end(1)
      expect(callers.map(endOf)).toEqual([undefined, undefined, undefined, user(4), none(5)])
      yield* end(0)
      expect(callers.map(endOf)).toEqual([none(1), user(2), none(3), user(4), none(5)])
      expect(yield* batcher.statistics).toMatchObject({ runs: 2, sent: 5, completed: 2, failed: 3, offered: 5 })
      yield* nothingLeft(batcher)
    })
  )

  it.effect("what comes while a batch runs goes with the next", () =>
    Effect.gen(function* () {
      const { batcher, end, sent, submit } = yield* stage()
      const callers = [yield* submit(2)]
      yield* TestClock.adjust("10 millis")
      callers.push(yield* submit(4))
      yield* TestClock.adjust("10 millis")
      expect(sent).toEqual([[2], [4]])
      yield* end(1)
      yield* end(0)
      expect(callers.map(endOf)).toEqual([user(2), user(4)])
      yield* nothingLeft(batcher)
    })
  )

  it.effect("a steady trickle is sent: the linger counts from the first item and does not restart", () =>
    Effect.gen(function* () {
      const { batcher, sent } = yield* quick({ maxItems: 100 })
      for (let i = 0; i < 25; i++) {
        yield* fork(Effect.ignore(batcher.submit(i)))
        yield* TestClock.adjust("1 millis")
      }
      expect(sent.map(({ length }) => length)).toEqual([10, 10])
      yield* TestClock.adjust("10 millis")
      yield* nothingLeft(batcher)
    })
  )

  it.effect("without a linger, what comes in one turn of the event loop goes together", () =>
    Effect.gen(function* () {
      const { batcher, sent } = yield* quick({ linger: 0, maxItems: 100 })
      const callers = yield* Effect.forEach([2, 4, 6], (id) => fork(batcher.submit(id)))
      expect(sent).toEqual([])
      yield* settle
      const late = yield* fork(batcher.submit(8))
      yield* settle
      expect(sent).toEqual([[2, 4, 6], [8]])
      expect([...callers, late].map(endOf)).toEqual([2, 4, 6, 8].map(user))
      yield* nothingLeft(batcher)
    })
  )

  it.effect("a batch that waits for its permit takes more, as long as it has room", () =>
    Effect.gen(function* () {
      const { batcher, end, sent, submit } = yield* stage({ through: 1, maxItems: 4 })
      yield* submit(2)
      yield* TestClock.adjust("10 millis")
      yield* submit(4)
      yield* TestClock.adjust("1 minute")
      yield* Effect.forEach([6, 8, 10, 12], submit)
      expect(sent).toEqual([[2]])
      yield* end(0)
      expect(sent).toEqual([[2], [4, 6, 8, 10]])
      yield* end(1)
      yield* TestClock.adjust("10 millis")
      expect(sent[2]).toEqual([12])
      yield* end(2)
      yield* nothingLeft(batcher)
    })
  )

  it.effect("a batch is never over its bytes, and one that has them all is full", () =>
    Effect.gen(function* () {
      const { batcher, sent } = yield* quick({ maxItems: 100, maxBytes: "1 KiB", weigh: (id) => id })
      const callers = yield* Effect.forEach([600, 500, 524, 1024], (id) => fork(batcher.submit(id)))
      expect(sent).toEqual([[600], [500, 524], [1024]])
      yield* settle
      expect(callers.map(endOf)).toEqual([600, 500, 524, 1024].map(user))
      yield* nothingLeft(batcher)
    })
  )

  it.effect("flush sends what has gathered, and does not wait for it", () =>
    Effect.gen(function* () {
      const { batcher, end, sent, submit } = yield* stage({ partition: (id: number) => id % 4 })
      const callers = yield* Effect.forEach([2, 4], submit)
      yield* batcher.flush
      expect(sent).toEqual([[2], [4]])
      yield* end(0)
      yield* end(1)
      expect(callers.map(endOf)).toEqual([user(2), user(4)])
      yield* batcher.flush
      yield* nothingLeft(batcher)
    })
  )

  it.effect("its size adapts: it grows by full batches that are fast, and a slow one cuts it", () =>
    Effect.gen(function* () {
      const sent: Array<number> = []
      const batcher = yield* Batcher.make("adapts", {
        // From 20 items on it is slow.
        run: (ids: ReadonlyArray<number>) => {
          sent.push(ids.length)
          return Effect.as(Effect.sleep(ids.length > 20 ? 200 : 20), ids.map(Result.succeed))
        },
        maxItems: ConcurrencyLimit.aimd({ min: 4, max: 64, slow: "100 millis", increase: 2 })
      })
      for (let wave = 0; wave < 40; wave++) {
        const { maxItems } = yield* batcher.statistics
        const ids = Array.from({ length: maxItems }, (_, id) => id)
        const all = yield* fork(Effect.forEach(ids, batcher.submit, { concurrency: "unbounded" }))
        yield* TestClock.adjust("200 millis")
        expect(endOf(all)).toEqual(Exit.succeed(ids))
      }
      expect(sent.slice(0, 5)).toEqual([4, 8, 16, 32, 16])
      expect(Math.max(...sent.slice(5))).toBeLessThanOrEqual(23)
      expect((yield* batcher.statistics).sizedBy).toBe("aimd 4–64")
      expect(sent.filter((items) => items > 20).length).toBeLessThan(sent.length / 2)
      yield* nothingLeft(batcher)
    })
  )

  describe("the batch processor's faults", () => {
    it.effect("a timed flush gives each caller his result, or his own error", () =>
      Effect.gen(function* () {
        const { batcher, end, submit } = yield* stage()
        const callers = [yield* submit(1), yield* submit(2)]
        yield* TestClock.adjust("10 millis")
        yield* end(0)
        expect(callers.map(endOf)).toEqual([none(1), user(2)])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("a timed flush that fails tells its callers", () =>
      Effect.gen(function* () {
        const { batcher, fail, submit } = yield* stage()
        const callers = [yield* submit(1), yield* submit(2)]
        yield* TestClock.adjust("10 millis")
        yield* fail(0, "down")
        expect(callers.map(endOf)).toEqual([Exit.fail("down"), Exit.fail("down")])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("the timer neither cuts its batch nor outlives it", () =>
      Effect.gen(function* () {
        const { batcher, cut, end, sent, submit } = yield* stage({ maxItems: 2 })
        const first = yield* submit(2)
        yield* TestClock.adjust("9 millis")
        // Full: its timer has no part in it any more, and the next has one of its own.
        yield* submit(4)
        expect(yield* timers).toBe(0)
        yield* submit(6)
        yield* TestClock.adjust("9 millis")
        expect(sent).toEqual([[2, 4]])
        yield* TestClock.adjust("1 millis")
        expect(sent).toEqual([[2, 4], [6]])
        yield* TestClock.adjust("1 hour")
        expect([cut, endOf(first)]).toEqual([[], undefined])
        yield* end(0)
        yield* end(1)
        yield* nothingLeft(batcher)
      })
    )

    it.effect("the tail is not lost: closing the scope sends it, and waits", () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const { batcher, end, sent, submit } = yield* stage({ linger: "1 hour" }, scope)
        const caller = yield* submit(2)
        const closing = yield* fork(Scope.close(scope, Exit.void))
        expect(sent).toEqual([[2]])
        expect(reasonOf(yield* Effect.exit(batcher.submit(4)))).toEqual(new Refused.ShuttingDown())
        yield* settle
        expect(endOf(closing)).toBeUndefined()
        yield* end(0)
        expect([endOf(caller), endOf(closing)]).toEqual([user(2), Exit.void])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("12 items, one each half a second, in batches of 5 or after 2 seconds", () =>
      Effect.gen(function* () {
        const began = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        const flushed: Array<readonly [at: number, items: number]> = []
        const batcher = yield* Batcher.make("origin", {
          run: (items: ReadonlyArray<number>) =>
            Effect.clockWith((clock) =>
              Effect.map(clock.currentTimeMillis, (now) => {
                flushed.push([now - began, items.length])
                return items.map(Result.succeed)
              })
            ),
          maxItems: 5,
          linger: "2 seconds"
        })
        const results = yield* fork(
          Effect.forEach(
            Array.from({ length: 12 }, (_, i) => i),
            (i) => Effect.delay(batcher.submit(i), 500 * i),
            {
              concurrency: "unbounded"
            }
          )
        )
        yield* TestClock.adjust("10 seconds")
        expect(endOf(results)).toEqual(Exit.succeed(Array.from({ length: 12 }, (_, i) => i)))
        // The fifth comes in the very instant at which the linger of the first is over.
        expect(flushed.reduce((sum, [, items]) => sum + items, 0)).toBe(12)
        expect(flushed.map(([at]) => at)).toEqual([2000, flushed[1]![0], flushed[2]![0]])
        yield* nothingLeft(batcher)
      })
    )
  })

  describe("others' faults", () => {
    it.effect("one signal for all: a caller who leaves aborts nobody else's", () =>
      Effect.gen(function* () {
        const { batcher, cut, end, submit } = yield* stage()
        const callers = yield* Effect.forEach([2, 4, 6], submit)
        yield* Fiber.interrupt(callers[0]!)
        yield* Fiber.interrupt(callers[2]!)
        expect(cut).toEqual([])
        expect(yield* batcher.statistics).toMatchObject({ running: 1, interrupted: 2 })
        yield* end(0)
        expect(endOf(callers[1]!)).toEqual(user(4))
        yield* nothingLeft(batcher)
      })
    )

    it.effect("the first caller's deadline does not end the batch: it has until the latest of those who wait", () =>
      Effect.gen(function* () {
        const remaining: Array<number> = []
        const batcher = yield* Batcher.make("users", {
          run: (ids: ReadonlyArray<number>) =>
            Effect.map(Deadline.remaining, (left) => remaining.push(Duration.toMillis(left))).pipe(
              Effect.andThen(Effect.sleep("1 second")),
              Effect.repeat({ times: 3 }),
              Effect.as(ids.map(Result.succeed))
            ),
          maxItems: 3
        })
        const within = (id: number, budget: Duration.Input) => fork(batcher.submit(id).pipe(Deadline.option(budget)))
        const brief = yield* within(1, "2500 millis")
        const long = yield* within(2, "1 minute")
        const endless = yield* fork(batcher.submit(3))
        yield* TestClock.adjust("1500 millis")
        yield* Fiber.interrupt(endless)
        yield* TestClock.adjust("2 seconds")
        expect(endOf(brief)).toEqual(Exit.succeed(Option.none()))
        yield* TestClock.adjust("1 second")
        expect(endOf(long)).toEqual(Exit.succeed(Option.some(2)))
        expect(remaining).toEqual([Infinity, Infinity, 58_000, 57_000])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("a run that throws, dies or gives nothing at all is told to every caller", () =>
      Effect.gen(function* () {
        const end = (run: () => Effect.Effect<any>) =>
          Effect.gen(function* () {
            const batcher = yield* Batcher.make("users", { run, maxItems: 2 })
            const callers = yield* Effect.forEach([1, 2], (id) => fork(batcher.submit(id)))
            yield* settle
            yield* nothingLeft(batcher)
            return callers.map((caller) => {
              const exit = endOf(caller)
              return exit !== undefined && Exit.isFailure(exit) ? Cause.squash(exit.cause) : exit
            })
          })
        const thrown = new Error("thrown")
        expect(
          yield* end(() => {
            throw thrown
          })
        ).toEqual([thrown, thrown])
        expect(yield* end(() => Effect.die(thrown))).toEqual([thrown, thrown])
        expect(yield* end(() => Effect.void)).toEqual(
          both(new TypeError("Expected the run of batch users to give an array, got undefined"))
        )
        const few = "Expected the run of batch users to give 2 results, one for each item, got"
        expect(yield* end(() => Effect.succeed([Result.void]))).toEqual(both(new TypeError(`${few} 1`)))
        expect(yield* end(() => Effect.succeed([...both(Result.void), Result.void]))).toEqual(
          both(new TypeError(`${few} 3`))
        )
      })
    )
  })

  describe("a run for many", () => {
    it.effect("it is as urgent as the most urgent who waits for it, in the gate's line too", () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("db", { limit: 1, shares: "strict" })
        const order: Array<string> = []
        const held = yield* Deferred.make<void>()
        yield* fork(gate.run(Deferred.await(held)))
        const { batcher, sent } = yield* quick({ through: gate, maxItems: 2 })
        const at = (urgency: Priority.Urgency) =>
          fork(gate.run(Effect.sync(() => order.push(`other of ${urgency}`))).pipe(Priority.at(urgency)))
        const background = yield* fork(batcher.submit(2).pipe(Priority.at(6)))
        yield* TestClock.adjust("10 millis")
        yield* at(4)
        // Now somebody is in a hurry.
        const urgent = yield* fork(batcher.submit(4).pipe(Priority.at(1)))
        yield* at(0)
        expect((yield* gate.explain).map(({ urgency }) => urgency)).toEqual([0, 1, 4])
        yield* Fiber.interrupt(urgent)
        expect((yield* gate.explain).map(({ urgency }) => urgency)).toEqual([0, 4, 6])
        yield* Deferred.succeed(held, undefined)
        yield* settle
        expect([sent, order, endOf(background)]).toEqual([[[2]], ["other of 0", "other of 4"], user(2)])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("it has the services, the tenant and the scope of whoever made it, and nothing of a caller's", () =>
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        const batcher = yield* Batcher.make("users", {
          run: (ids: ReadonlyArray<number>) =>
            Effect.gen(function* () {
              seen.push(yield* Tenant.Tenant, Option.isSome(yield* CancelScope.reason))
              return ids.map(Result.succeed)
            }),
          maxItems: 2
        }).pipe(Tenant.as("maker"))
        yield* Effect.all([batcher.submit(1), batcher.submit(2)], { concurrency: "unbounded" }).pipe(
          Tenant.as("caller")
        )
        expect(seen).toEqual(["maker", false])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("its span is a root with a link to that of each caller", () =>
      Effect.gen(function* () {
        const spans: Array<Tracer.Span> = []
        const batcher = yield* Batcher.make("users", {
          run: (ids: ReadonlyArray<number>) =>
            Effect.map(Effect.currentSpan, (span) => {
              spans.push(span)
              return ids.map(Result.succeed)
            }),
          maxItems: 3
        })
        yield* Effect.forEach([1, 2, 3], (id) => Effect.withSpan(batcher.submit(id), `caller ${id}`), {
          concurrency: "unbounded"
        }).pipe(Effect.withSpan("all"))
        const [span] = spans
        expect([span!.name, span!.parent]).toEqual(["batch users", Option.none()])
        expect(span!.links.map(({ span }) => (span as Tracer.Span).name)).toEqual(["caller 1", "caller 2", "caller 3"])
        yield* nothingLeft(batcher)
      }).pipe(Effect.orDie)
    )

    it.effect("what a caller waits for has a name: the gate, or the batch", () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("db", { limit: 1 })
        const held = yield* Deferred.make<void>()
        yield* fork(gate.run(Deferred.await(held)))
        const { batcher, cut, submit } = yield* stage({ through: gate })
        const waits = Effect.gen(function* () {
          const waiting = yield* fork(Effect.flip(batcher.submit(2).pipe(Deadline.within("1 second"))))
          yield* TestClock.adjust("1 second")
          const exit = endOf(waiting)
          return Exit.isSuccess(exit!) && exit.value instanceof Deadline.DeadlineExceeded ? exit.value.waitingFor : exit
        })
        expect(yield* waits).toEqual(Option.some("gate db"))
        yield* Deferred.succeed(held, undefined)
        expect(yield* waits).toEqual(Option.some("batch users"))
        expect(cut).toEqual([Reason.format(new Reason.Deadline())])
        yield* Fiber.interrupt(yield* submit(2))
        yield* nothingLeft(batcher)
      })
    )
  })

  describe("leaving", () => {
    it.effect("before the flush a caller takes his item out, and the last one the batch", () =>
      Effect.gen(function* () {
        const { batcher, end, sent, submit } = yield* stage()
        const callers = yield* Effect.forEach([2, 4], submit)
        yield* Fiber.interrupt(callers[0]!)
        yield* TestClock.adjust("10 millis")
        expect(sent).toEqual([[4]])
        const alone = yield* submit(6)
        yield* Fiber.interrupt(alone)
        expect(yield* timers).toBe(0)
        yield* TestClock.adjust("1 hour")
        expect(sent).toHaveLength(1)
        yield* end(0)
        yield* nothingLeft(batcher)
      })
    )

    it.effect("the place of one who left is free again, in items and in bytes", () =>
      Effect.gen(function* () {
        const { batcher, sent } = yield* quick({ maxItems: 3, maxBytes: 100, weigh: (id: number) => id })
        const stays = yield* fork(batcher.submit(10))
        yield* Fiber.interrupt(yield* fork(batcher.submit(70)))
        yield* Fiber.interrupt(yield* fork(batcher.submit(2)))
        const callers = [stays, yield* fork(batcher.submit(40)), yield* fork(batcher.submit(50))]
        yield* settle
        expect([sent, callers.map(endOf)]).toEqual([[[10, 40, 50]], [10, 40, 50].map(user)])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("the last to leave a running batch cuts it for his reason, and waits for its clean-up", () =>
      Effect.gen(function* () {
        const clean = yield* Deferred.make<void>()
        const reasons: Array<string> = []
        const batcher = yield* Batcher.make("users", {
          run: () =>
            Effect.onInterrupt(Effect.never, () =>
              Effect.gen(function* () {
                reasons.push(Option.match(yield* CancelScope.reason, { onNone: () => "", onSome: Reason.format }))
                yield* Deferred.await(clean)
              })
            ),
          maxItems: 2
        })
        const scope = yield* CancelScope.make()
        const [first, last] = [yield* fork(batcher.submit(1)), yield* fork(scope.run(batcher.submit(2)))]
        yield* Fiber.interrupt(first)
        const leaving = yield* fork(scope.cancel(new Reason.ClientGone()))
        yield* settle
        expect(endOf(leaving)).toBeUndefined()
        expect(yield* batcher.statistics).toMatchObject({ batches: 1, running: 0, interrupted: 2 })
        yield* Deferred.succeed(clean, undefined)
        yield* Fiber.join(leaving)
        yield* Fiber.await(last)
        expect(reasons).toEqual([Reason.format(new Reason.ClientGone())])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("a batch in the gate's line that all have left goes out of it", () =>
      Effect.gen(function* () {
        const { batcher, end, sent, submit } = yield* stage({ through: 1, maxItems: 1 })
        yield* submit(2)
        const waiting = yield* submit(4)
        yield* Fiber.interrupt(waiting)
        const last = yield* submit(6)
        yield* end(0)
        expect(sent).toEqual([[2], [6]])
        yield* end(1)
        expect(endOf(last)).toEqual(user(6))
        yield* nothingLeft(batcher)
      })
    )
  })

  describe("deadlines", () => {
    it.effect("a batch goes early for one who has not the time for its linger, and leaves him half of it", () =>
      Effect.gen(function* () {
        const { batcher, sent } = yield* quick({ linger: "1 second" })
        yield* fork(batcher.submit(2))
        const hasty = yield* fork(batcher.submit(4).pipe(Deadline.within("100 millis")))
        yield* TestClock.adjust("49 millis")
        expect(sent).toEqual([])
        yield* TestClock.adjust("1 millis")
        expect([sent, endOf(hasty)]).toEqual([[[2, 4]], user(4)])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("or as much as runs take, where that is more", () =>
      Effect.gen(function* () {
        const { batcher, end, sent, submit } = yield* stage({ linger: "1 second", maxItems: 2 })
        for (let i = 0; i < 20; i++) {
          yield* submit(2)
          yield* submit(4)
          yield* TestClock.adjust("80 millis")
          yield* end(i)
        }
        const hasty = yield* fork(Deadline.within(batcher.submit(6), "100 millis"))
        yield* TestClock.adjust("25 millis")
        expect(sent[20]).toEqual([6])
        yield* end(20)
        expect(endOf(hasty)).toEqual(user(6))
        yield* nothingLeft(batcher)
      })
    )

    it.effect("an item with no time left is refused, not sent", () =>
      Effect.gen(function* () {
        const outcomes: Array<Exit.Exit<unknown, unknown>> = []
        const { batcher, sent } = yield* quick({ linger: 0 })
        const comes = Effect.delay(Effect.exit(batcher.submit(2)), "20 millis")
        const told = Effect.uninterruptible(Effect.map(comes, (exit) => outcomes.push(exit)))
        yield* fork(Effect.ignore(told.pipe(Deadline.within("10 millis"))))
        yield* TestClock.adjust("1 second")
        expect([sent, outcomes.map(reasonOf)]).toEqual([[], [new Refused.TooLate({ short: Duration.zero })]])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("nor one that comes when its time is up, though no timer has come round to it", () =>
      Effect.gen(function* () {
        let nanos = 0n
        const clock: Clock.Clock = {
          ...(yield* Clock.Clock),
          monotonicTimeNanosUnsafe: () => nanos,
          sleep: () => Effect.never
        }
        const outcomes = yield* Effect.gen(function* () {
          const { batcher, sent } = yield* quick({ linger: 0 })
          const late = Effect.suspend(() => {
            nanos += 20_000_000n
            return batcher.submit(2)
          })
          const exits = yield* Effect.forEach([late, Effect.uninterruptible(late)], (late) =>
            Effect.exit(late.pipe(Deadline.within("10 millis")))
          )
          expect([sent, Batcher.check(yield* batcher.statistics)]).toEqual([[], []])
          expect(yield* batcher.statistics).toMatchObject({ offered: 2, refused: 2 })
          return exits
        }).pipe(Effect.provideService(Clock.Clock, clock))
        for (const exit of outcomes) {
          expect(Exit.isFailure(exit) && Cause.hasDies(exit.cause)).toBe(false)
          expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toBeInstanceOf(Deadline.DeadlineExceeded)
        }
      })
    )

    it.effect("who cannot be interrupted is refused at his deadline, where he waits for room too", () =>
      Effect.gen(function* () {
        const { batcher, end, submit } = yield* stage({ maxPending: 1, maxItems: 1, through: 1 })
        yield* Effect.forEach([2, 4], submit)
        const waits = Stream.make(6).pipe(batcher.stream(), Stream.runHead, Effect.uninterruptible)
        const told = yield* fork(Effect.exit(waits.pipe(Deadline.within("1 second"))))
        yield* TestClock.adjust("1 second")
        expect(endOf(told)).toBeDefined()
        expect(yield* batcher.statistics).toMatchObject({ suspended: 0, waiting: 1, running: 1, refused: 1 })
        yield* end(0)
        yield* end(1)
        yield* nothingLeft(batcher)
      })
    )

    it.effect("nor one whose time was up while its batch waited for its permit; the others go", () =>
      Effect.gen(function* () {
        const { batcher, end, sent, submit } = yield* stage({ through: 1 })
        yield* submit(2)
        yield* TestClock.adjust("10 millis")
        const outlasts = yield* submit(4)
        const late = yield* fork(
          Effect.flip(Effect.uninterruptible(batcher.submit(6)).pipe(Deadline.within("1 second")))
        )
        yield* TestClock.adjust("1 second")
        yield* end(0)
        expect([sent, Exit.isSuccess(endOf(late)!)]).toEqual([[[2], [4]], true])
        yield* end(1)
        expect(endOf(outlasts)).toEqual(user(4))
        yield* nothingLeft(batcher)
      })
    )
  })

  it.effect(
    "in the very instant at which its time is up an item is not sent, though its caller cannot be cut yet",
    () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("db", { limit: 1 })
        const late = yield* quick({ through: gate })
        // The permit is given back by a timer that was set before the deadline's.
        yield* fork(gate.run(Effect.sleep("1 second")))
        const stays = yield* fork(late.batcher.submit(4))
        const lapses = yield* fork(Effect.flip(late.batcher.submit(2).pipe(Deadline.within("1 second"))))
        yield* TestClock.adjust("1 second")
        expect([late.sent, endOf(stays)]).toEqual([[[4]], user(4)])
        expect(endOf(lapses)).toBeDefined()
        yield* nothingLeft(late.batcher)
      })
  )

  describe("bounds", () => {
    it.effect("beyond maxPending a caller is refused, until a batch begins", () =>
      Effect.gen(function* () {
        const { batcher, end, submit } = yield* stage({ maxItems: 2, maxPending: 3, through: 1 })
        const callers = yield* Effect.forEach([2, 4, 6, 8, 10], submit)
        expect((yield* batcher.statistics).waiting).toBe(3)
        expect(reasonOf(yield* Effect.exit(batcher.submit(12)))).toEqual(
          new Refused.QueueFull({ bound: "items", limit: 3 })
        )
        yield* end(0)
        const last = yield* submit(14)
        yield* end(1)
        yield* TestClock.adjust("10 millis")
        yield* end(2)
        expect([...callers, last].map(endOf)).toEqual([2, 4, 6, 8, 10, 14].map(user))
        expect((yield* batcher.statistics).refused).toBe(1)
        yield* nothingLeft(batcher)
      })
    )

    it.effect("who is refused is told when to come back, as batches take the items", () =>
      Effect.gen(function* () {
        // 10 items each 100 ms.
        const batcher = yield* Batcher.make("paced", {
          run: (ids: ReadonlyArray<number>) => Effect.as(Effect.sleep("100 millis"), ids.map(Result.succeed)),
          maxItems: 10,
          maxPending: 100,
          through: 1
        })
        const ids = Array.from({ length: 110 }, (_, id) => id)
        const refill = Effect.forEach(ids, (id) => fork(Effect.ignore(batcher.submit(id))), { discard: true })
        for (let i = 0; i < 20; i++) {
          yield* refill
          yield* TestClock.adjust("100 millis")
        }
        yield* refill
        const exit = yield* Effect.exit(batcher.submit(0))
        const { reason, retryAfter } = Cause.squash((exit as Exit.Failure<never, unknown>).cause) as Refused.Refused
        expect(reason).toEqual(new Refused.QueueFull({ bound: "items", limit: 100 }))
        const millis = Duration.toMillis(Option.getOrThrow(retryAfter))
        // The line of 100 drains in a second.
        expect(millis).toBeGreaterThan(900)
        expect(millis).toBeLessThan(62_000)
        yield* TestClock.adjust("1 minute")
        yield* nothingLeft(batcher)
      })
    )

    it.effect("a gate that refuses the batch refuses its callers", () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("db", { limit: 1, line: { maxItems: 0 } })
        const held = yield* Deferred.make<void>()
        yield* fork(gate.run(Deferred.await(held)))
        const { batcher, sent } = yield* quick({ through: gate, maxItems: 2 })
        const callers = yield* Effect.forEach([2, 4], (id) => fork(batcher.submit(id)))
        yield* settle
        expect(callers.map((caller) => reasonOf(endOf(caller)))).toEqual(
          both(new Refused.QueueFull({ bound: "items", limit: 0 }))
        )
        expect([sent, (yield* batcher.statistics).refused]).toEqual([[], 2])
        yield* Deferred.succeed(held, undefined)
        yield* nothingLeft(batcher)
      })
    )

    it.effect("it shows in the registry for as long as its scope lives", () =>
      Effect.gen(function* () {
        const registry = Registry.make()
        const scope = yield* Scope.make()
        yield* quick().pipe(Scope.provide(scope), Effect.provideService(Registry.Registry, registry))
        expect(registry.snapshot().find(({ kind }) => kind === "batcher")).toMatchObject({
          name: "users",
          statistics: { maxItems: 3, sizedBy: "fixed 3", waiting: 0 }
        })
        yield* Scope.close(scope, Exit.void)
        expect(registry.snapshot()).toEqual([])
      })
    )
  })

  describe("keys", () => {
    it.effect("only items of one partition go together, and the run is told which", () =>
      Effect.gen(function* () {
        const sent: Array<unknown> = []
        const batcher = yield* Batcher.make("shards", {
          run: (ids: ReadonlyArray<number>, shard: string) => {
            sent.push([shard, ids])
            return Effect.succeed(ids.map(Result.succeed))
          },
          maxItems: 2,
          partition: (id) => (id < 10 ? "low" : "high")
        })
        yield* Effect.forEach([1, 11, 2, 3, 12], batcher.submit, { concurrency: "unbounded" })
        expect(sent).toEqual([
          ["low", [1, 2]],
          ["high", [11, 12]],
          ["low", [3]]
        ])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("the same item goes once, for all who asked; it goes as long as one of them waits", () =>
      Effect.gen(function* () {
        const { batcher, end, sent, submit } = yield* stage({ maxItems: 10, same: (id) => id })
        const first = yield* submit(2)
        const [second, other] = [yield* submit(2), yield* submit(4)]
        yield* Fiber.interrupt(first)
        const third = yield* submit(2)
        const gone = [yield* submit(6), yield* submit(6)]
        yield* Effect.forEach(gone, Fiber.interrupt)
        yield* TestClock.adjust("10 millis")
        expect(sent).toEqual([[2, 4]])
        // It has been sent: another goes anew.
        const late = yield* submit(2)
        yield* end(0)
        expect([second, third, other, late].map(endOf)).toEqual([user(2), user(2), user(4), undefined])
        yield* TestClock.adjust("10 millis")
        yield* end(1)
        expect([sent.length, endOf(late)]).toEqual([2, user(2)])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("in order: batches of a partition run one after another, others beside them", () =>
      Effect.gen(function* () {
        const { batcher, end, sent, submit } = yield* stage({
          inOrder: true,
          maxItems: 2,
          partition: (id) => id % 10
        })
        const callers = yield* Effect.forEach([2, 12, 22, 32, 4, 14, 42], submit)
        expect(sent).toEqual([
          [2, 12],
          [4, 14]
        ])
        yield* TestClock.adjust("10 millis")
        expect(sent).toHaveLength(2)
        // The one that is last in line is left by all.
        yield* Fiber.interrupt(callers[6]!)
        yield* end(0)
        expect(sent[2]).toEqual([22, 32])
        yield* end(2)
        yield* end(1)
        expect(callers.slice(0, 6).map(endOf)).toEqual([2, 12, 22, 32, 4, 14].map(user))
        yield* nothingLeft(batcher)
      })
    )
  })

  describe("bisection", () => {
    /** Fails as a whole where a poisonous item is in it. */
    const poisoned = (poison: ReadonlyArray<number>, options: Partial<Options> = {}) =>
      Effect.gen(function* () {
        const sent: Array<ReadonlyArray<number>> = []
        const batcher = yield* Batcher.make<number, string, string, string, never, any>("poisoned", {
          run: (ids) => {
            sent.push(ids)
            return ids.some((id) => poison.includes(id)) ? Effect.fail("poison") : Effect.succeed(ids.map(resultOf))
          },
          maxItems: 8,
          bisect: (error) => error === "poison",
          ...options
        })
        const callers = yield* Effect.forEach([0, 2, 4, 6, 8, 10, 12, 14], (id) => fork(batcher.submit(id)))
        yield* settle
        yield* nothingLeft(batcher)
        return { sent, outcomes: callers.map(endOf), statistics: yield* batcher.statistics }
      })

    it.effect("only the poisonous item fails, after log₂ n rounds", () =>
      Effect.gen(function* () {
        const { outcomes, sent, statistics } = yield* poisoned([4])
        expect(outcomes).toEqual([0, 2, 4, 6, 8, 10, 12, 14].map((id) => (id === 4 ? Exit.fail("poison") : user(id))))
        expect(sent.map((ids) => ids.length)).toEqual([8, 4, 2, 2, 1, 1, 4])
        expect(statistics).toMatchObject({ completed: 7, failed: 1, runs: 7 })
      })
    )

    it.effect("where all are poisonous, each fails by itself", () =>
      Effect.gen(function* () {
        const { outcomes, sent } = yield* poisoned([0, 2, 4, 6, 8, 10, 12, 14])
        expect(outcomes).toEqual(Array(8).fill(Exit.fail("poison")))
        expect(sent).toHaveLength(15)
      })
    )

    it.effect("other errors are everybody's at once", () =>
      Effect.gen(function* () {
        const { outcomes, sent } = yield* poisoned([4], { bisect: (error) => error === "other" })
        expect([outcomes, sent.length]).toEqual([Array(8).fill(Exit.fail("poison")), 1])
      })
    )

    it.effect("each half goes through the gate; one that this refuses has the error of the whole", () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("db", { windows: [RateWindow.per(2, "1 hour")], line: { maxWait: 0 } })
        const { outcomes, sent } = yield* poisoned([2], { through: gate })
        expect(sent.map(({ length }) => length)).toEqual([8, 4])
        expect(outcomes).toEqual(Array.from({ length: 8 }, () => Exit.fail("poison")))
      })
    )

    it.effect("callers, fibers and promises, are told when their own half is done", () =>
      Effect.gen(function* () {
        const { batcher, end, fail, sent } = yield* stage({ maxItems: 4, bisect: () => true })
        const microtasks = Effect.promise(async () => {
          for (let i = 0; i < 10; i++) await undefined
        })
        const told: Array<string> = []
        const one = (id: number, ask: Effect.Effect<string, unknown>) =>
          fork(Effect.map(Effect.exit(ask), () => told.push(`${id} in ${sent.length}`)))
        const promise = (id: number) => {
          const asked = batcher.submitPromise(id).then(Exit.succeed, Exit.fail)
          return Effect.flatten(Effect.promise(() => asked))
        }
        yield* one(2, batcher.submit(2))
        yield* one(4, promise(4))
        yield* one(6, promise(6))
        yield* one(8, batcher.submit(8))
        yield* fail(0, "whole")
        yield* end(1)
        yield* microtasks
        yield* settle
        expect(told.toSorted()).toEqual(["2 in 3", "4 in 3"])
        yield* end(2)
        yield* microtasks
        yield* settle
        expect([told.length, sent]).toEqual([
          4,
          [
            [2, 4, 6, 8],
            [2, 4],
            [6, 8]
          ]
        ])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("who leaves meanwhile is not sent again, and when all have left it is cut", () =>
      Effect.gen(function* () {
        const { batcher, cut, fail, sent, submit } = yield* stage({ maxItems: 4, bisect: () => true })
        const callers = yield* Effect.forEach([2, 4, 6, 8], submit)
        yield* fail(0, "whole")
        yield* Fiber.interrupt(callers[2]!)
        yield* fail(1, "half")
        yield* fail(2, "one")
        yield* fail(3, "other")
        expect(sent).toEqual([[2, 4, 6, 8], [2, 4], [2], [4], [8]])
        expect(callers.slice(0, 2).map(endOf)).toEqual([Exit.fail("one"), Exit.fail("other")])
        yield* Fiber.interrupt(callers[3]!)
        expect(cut).toHaveLength(1)
        yield* nothingLeft(batcher)
      })
    )
  })

  describe("from promises", () => {
    type Users = Batcher.Batcher<number, string, string>
    /** Asks at once; what comes of it is a promise that nobody has to handle. */
    const ask = ({ submitPromise }: Users, id: number) => submitPromise(id).then(Exit.succeed, Exit.fail)
    const outcome = (promise: Promise<Exit.Exit<string, unknown>>) => Effect.promise(() => promise)

    it.effect("each promise gets its own value, or rejects with its own error, beside fibers", () =>
      Effect.gen(function* () {
        const { batcher, end, sent, submit } = yield* stage({ maxItems: 4 })
        const promises = [ask(batcher, 1), ask(batcher, 2)]
        const fiber = yield* submit(4)
        promises.push(ask(batcher, 6))
        expect(sent).toEqual([[1, 2, 4, 6]])
        expect(yield* batcher.statistics).toMatchObject({ running: 4, waiting: 0 })
        yield* end(0)
        expect(yield* Effect.forEach(promises, outcome)).toEqual([none(1), user(2), user(6)])
        expect(endOf(fiber)).toEqual(user(4))
        expect(yield* batcher.statistics).toMatchObject({ completed: 3, failed: 1 })
        yield* nothingLeft(batcher)
      })
    )

    it.effect("a promise does not leave: the run goes on for it, without a deadline, at the usual urgency", () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("db", { limit: 1 })
        const held = yield* Deferred.make<void>()
        yield* fork(gate.run(Deferred.await(held)))
        const { batcher, cut, end, submit } = yield* stage({ maxItems: 2, through: gate })
        const promise = ask(batcher, 2)
        const hasty = yield* fork(batcher.submit(4).pipe(Priority.at(6), Deadline.option("1 second")))
        expect((yield* gate.explain).map(({ urgency }) => urgency)).toEqual([3])
        yield* Deferred.succeed(held, undefined)
        yield* TestClock.adjust("1 second")
        expect([endOf(hasty), cut]).toEqual([Exit.succeed(Option.none()), []])
        yield* end(0)
        expect(yield* outcome(promise)).toEqual(user(2))
        // Nor before it was sent.
        const alone = ask(batcher, 8)
        yield* Fiber.interrupt(yield* submit(6))
        const late = yield* fork(
          Effect.uninterruptible(submit(10)).pipe(Effect.flatMap(Fiber.join), Deadline.option("1 millis"))
        )
        yield* TestClock.adjust("10 millis")
        yield* end(1)
        expect(yield* outcome(alone)).toEqual(user(8))
        yield* Fiber.await(late)
        yield* nothingLeft(batcher)
      })
    )

    it.effect("the deadline of one who cannot be interrupted does not end it for a promise", () =>
      Effect.gen(function* () {
        const { batcher, cut, end, submit } = yield* stage({ maxItems: 2 })
        const promise = ask(batcher, 2)
        yield* fork(Effect.ignore(Effect.uninterruptible(batcher.submit(4)).pipe(Deadline.within("1 second"))))
        yield* TestClock.adjust("1 second")
        expect([cut, (yield* batcher.statistics).running]).toEqual([[], 1])
        yield* end(0)
        expect(yield* outcome(promise)).toEqual(user(2))
        // The same where an item may go for several.
        const same = yield* stage({
          maxItems: 2,
          same: (id) => id,
          through: yield* Gate.make("db", { limit: 1 })
        }).pipe(Priority.at(7))
        void submit
        const one = ask(same.batcher, 2)
        yield* TestClock.adjust("10 millis")
        yield* same.end(0)
        expect(yield* outcome(one)).toEqual(user(2))
        yield* nothingLeft(batcher)
      })
    )

    it.effect("the deadline of a batch that a promise waits for is none", () =>
      Effect.gen(function* () {
        const batcher = yield* Batcher.make<number, string, string>("users", {
          run: (ids) =>
            Effect.map(Deadline.remaining, (left) => ids.map(() => Result.succeed(String(Duration.toMillis(left))))),
          maxItems: 2
        })
        const promise = ask(batcher, 2)
        expect(yield* batcher.submit(4).pipe(Deadline.within("1 second"))).toBe("Infinity")
        expect(yield* outcome(promise)).toEqual(Exit.succeed("Infinity"))
      })
    )

    it.effect("what fails as a whole, what is refused, and the same items", () =>
      Effect.gen(function* () {
        const { batcher, fail, end } = yield* stage({ maxItems: 2, maxPending: 2, through: 1 })
        const failing = [ask(batcher, 2), ask(batcher, 4)]
        yield* settle
        const waiting = [ask(batcher, 6), ask(batcher, 10)]
        expect(reasonOf(yield* outcome(ask(batcher, 8)))).toEqual(new Refused.QueueFull({ bound: "items", limit: 2 }))
        yield* fail(0, "down")
        yield* end(1)
        expect(yield* Effect.forEach([...failing, ...waiting], outcome)).toEqual([
          ...both(Exit.fail("down")),
          user(6),
          user(10)
        ])
        yield* nothingLeft(batcher)
        const { batcher: same, sent } = yield* quick({ same: (id) => id })
        const promises = [2, 2, 4].map((id) => ask(same, id))
        yield* TestClock.adjust("10 millis")
        expect(yield* Effect.forEach(promises, outcome)).toEqual([2, 2, 4].map(user))
        expect(sent).toEqual([[2, 4]])
        yield* nothingLeft(same)
      })
    )
  })

  describe("as an operator of streams", () => {
    it.effect("each item comes to its result, in order, and the source's end sends the tail at once", () =>
      Effect.gen(function* () {
        const { batcher, sent } = yield* quick({ linger: "1 hour" })
        const results = yield* fork(Stream.runCollect(Stream.range(1, 7).pipe(batcher.stream())))
        yield* TestClock.adjust(0)
        yield* settle
        expect(endOf(results)).toEqual(Exit.succeed([1, 2, 3, 4, 5, 6, 7].map(resultOf)))
        expect(sent).toEqual([[1, 2, 3], [4, 5, 6], [7]])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("where there is no room it waits, and takes no more from the source than it may", () =>
      Effect.gen(function* () {
        let pulled = 0
        const { batcher, end, sent, submit } = yield* stage({ maxItems: 2, maxPending: 2, through: 1 })
        yield* Effect.forEach([2, 4, 6, 8], submit)
        const source = Stream.range(1, 100).pipe(Stream.tap(() => Effect.sync(() => pulled++)))
        const results = yield* fork(Stream.runCollect(source.pipe(batcher.stream({ maxAhead: 3 }), Stream.take(4))))
        yield* settle
        expect(yield* batcher.statistics).toMatchObject({ waiting: 2, suspended: 3 })
        expect(pulled).toBeLessThanOrEqual(5)
        for (let run = 0; run < sent.length; run++) {
          yield* end(run)
          yield* TestClock.adjust("10 millis")
        }
        expect(endOf(results)).toEqual(Exit.succeed([1, 2, 3, 4].map(resultOf)))
        expect(sent.slice(0, 3)).toEqual([
          [2, 4],
          [6, 8],
          [1, 2]
        ])
        yield* nothingLeft(batcher)
      })
    )

    it.effect("closing the scope refuses whoever waits for room", () =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const { batcher, end, submit } = yield* stage({ maxPending: 1, maxItems: 1, through: 1 }, scope)
        yield* Effect.forEach([2, 4], submit)
        const results = yield* fork(Stream.runCollect(Stream.make(6).pipe(batcher.stream())))
        yield* settle
        const closing = yield* fork(Scope.close(scope, Exit.void))
        yield* settle
        const exit = endOf(results)
        expect(Exit.isSuccess(exit!) && Result.isFailure(exit.value[0]!) && exit.value[0].failure).toMatchObject({
          reason: new Refused.ShuttingDown()
        })
        yield* end(0)
        yield* end(1)
        expect(endOf(closing)).toEqual(Exit.void)
        yield* nothingLeft(batcher)
      })
    )
  })

  describe("runs that end on the spot", () => {
    it.effect("leave no batch behind, in partitions with a bound on bytes: all are told, flushed, in order", () =>
      Effect.gen(function* () {
        for (const inOrder of [false, true]) {
          const { batcher, sent } = yield* quick({
            maxItems: 10,
            maxBytes: 10,
            weigh: () => 6,
            partition: () => "all",
            linger: "1 hour",
            inOrder
          })
          const callers = yield* Effect.forEach([0, 2, 4, 6], (id) => fork(batcher.submit(id)))
          yield* batcher.flush
          yield* settle
          expect([callers.map(endOf), sent]).toEqual([[0, 2, 4, 6].map(user), [[0], [2], [4], [6]]])
          yield* nothingLeft(batcher)
        }
      })
    )

    it.effect("may bring others, which have their place", () =>
      Effect.gen(function* () {
        const others: Array<Promise<string>> = []
        const batcher: Batcher.Batcher<number, string> = yield* Batcher.make("users", {
          run: (ids: ReadonlyArray<number>) => {
            if (ids.includes(2)) others.push(batcher.submitPromise(8))
            return Effect.succeed(ids.map((id) => Result.succeed(`user ${id}`)))
          },
          maxItems: 10,
          maxBytes: 10,
          weigh: () => 6
        })
        const callers = yield* Effect.forEach([2, 4], (id) => fork(batcher.submit(id)))
        yield* settle
        expect(callers.map(endOf)).toEqual([user(2), user(4)])
        expect(yield* Effect.promise(() => Promise.all(others))).toEqual(["user 8"])
        yield* nothingLeft(batcher)
      })
    )
  })

  it.effect("runs that are cut by deadlines tell that they would have taken longer: the size falls", () =>
    Effect.gen(function* () {
      const batcher = yield* Batcher.make("slow", {
        run: (ids: ReadonlyArray<number>) => Effect.as(Effect.sleep(10 * ids.length), ids.map(Result.succeed)),
        maxItems: ConcurrencyLimit.aimd({ min: 1, max: 100, initial: 100, slow: "40 millis" })
      })
      let completed = 0
      for (let burst = 0; burst < 40; burst++) {
        const { maxItems } = yield* batcher.statistics
        const ids = Array.from({ length: maxItems }, (_, id) => id)
        yield* Effect.forEach(ids, (id) => fork(Deadline.option(batcher.submit(id), "60 millis")))
        yield* TestClock.adjust("100 millis")
        ;({ completed } = yield* batcher.statistics)
      }
      expect((yield* batcher.statistics).maxItems).toBeLessThan(10)
      expect(completed).toBeGreaterThan(0)
      yield* nothingLeft(batcher)
    })
  )

  it.effect("counts add up at any instant, while others are let in from those who wait for room", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<string>> = []
      const end = yield* Deferred.make<void>()
      const batcher: Batcher.Batcher<string, string> = yield* Batcher.make("users", {
        run: (items: ReadonlyArray<string>) =>
          Effect.as(
            items[0] === "q"
              ? Effect.map(batcher.statistics, (statistics) => void seen.push(Batcher.check(statistics)))
              : Deferred.await(end),
            items.map(Result.succeed)
          ),
        partition: (item) => item[0],
        inOrder: true,
        maxItems: 1,
        maxPending: 1,
        through: 2
      })
      yield* fork(batcher.submit("p1"))
      yield* fork(Effect.ignore(Effect.uninterruptible(batcher.submit("p2")).pipe(Deadline.within("1 second"))))
      const room = yield* fork(Stream.runHead(Stream.make("q").pipe(batcher.stream())))
      yield* settle
      expect((yield* batcher.statistics).suspended).toBe(1)
      yield* TestClock.adjust("1 second")
      expect([seen, endOf(room)]).toEqual([[[]], Exit.succeed(Option.some(Result.succeed("q")))])
      yield* Deferred.succeed(end, undefined)
      yield* settle
      yield* nothingLeft(batcher)
    })
  )

  it.effect("a hedge does not stand in its line: it is refused while a batch waits for a permit", () =>
    Effect.gen(function* () {
      const { batcher, end, sent } = yield* stage({ maxItems: 1, through: 1 })
      const attempts = yield* Attempts.make("users", { hedge: { after: "10 millis", ratio: 1 } })
      const call = (id: number) => fork(attempts.run(batcher.submit(id), { idempotent: true }))
      const callers = [yield* call(2), yield* call(4)]
      yield* TestClock.adjust("1 second")
      expect(yield* attempts.statistics).toMatchObject({ hedges: 0, hedgesRefused: 2 })
      expect([yield* batcher.statistics, sent]).toMatchObject([{ waiting: 1, running: 1 }, [[2]]])
      yield* end(0)
      yield* end(1)
      expect(callers.map(endOf)).toEqual([user(2), user(4)])
      yield* nothingLeft(batcher)
    })
  )

  it.effect("says what is wrong with a snapshot", () =>
    Effect.gen(function* () {
      const { batcher } = yield* quick()
      const statistics = yield* batcher.statistics
      expect(Batcher.check({ ...statistics, offered: 3, completed: 1, waiting: 1 })).toEqual([
        "users: expected offered = completed + failed + interrupted + refused + waiting + suspended + running, got " +
          "3 = 1 + 0 + 0 + 0 + 1 + 0 + 0",
        "users: expected a batch where 1 wait for one, got none"
      ])
    })
  )

  describe("misuse", () => {
    it.effect("an item above maxBytes, and one from the batcher's own run, are defects", () =>
      Effect.gen(function* () {
        const { batcher } = yield* quick({ maxBytes: 10, weigh: (id: number) => id })
        expect(yield* Effect.exit(batcher.submit(11))).toEqual(
          Exit.die(new RangeError("Expected an item of at most 10 bytes for batch users, got one of 11"))
        )
        const inner: Batcher.Batcher<number, number, Refused.Refused> = yield* Batcher.make("inner", {
          run: (ids: ReadonlyArray<number>) =>
            Effect.forEach(ids, (id) => Effect.map(inner.submit(id), Result.succeed)),
          maxItems: 1
        })
        expect(yield* Effect.exit(inner.submit(1))).toEqual(
          Exit.die(new Error("Expected batch inner to send others its own items, got one of its run"))
        )
        yield* nothingLeft(inner)
      })
    )

    it.effect("bounds below 1, and what is no result", () =>
      Effect.gen(function* () {
        const make = (options: object) =>
          Effect.exit(Batcher.make("users", { run: () => Effect.succeed([]), maxItems: 1, ...options }))
        expect(yield* make({ maxItems: 0 })).toEqual(Exit.die(new RangeError("Expected maxItems of at least 1, got 0")))
        expect(yield* make({ maxPending: 0 })).toEqual(
          Exit.die(new RangeError("Expected maxPending of at least 1, got 0"))
        )
        const odd = yield* Batcher.make<number, number>("odd", { run: () => Effect.succeed([7 as never]), maxItems: 1 })
        expect(yield* Effect.exit(odd.submit(1))).toEqual(
          Exit.die(new TypeError("Expected a Result from the run of batch odd at 0, got number"))
        )
      })
    )
  })
})

class NoUser extends Data.TaggedError("NoUser")<{ readonly id: number }> {}

interface GetUser extends Request.Request<string, NoUser | string> {
  readonly _tag: "GetUser"
  readonly id: number
}
const GetUser = Request.tagged<GetUser>("GetUser")

describe("Batcher.resolver", () => {
  /** An existing resolver; `left` are never completed by it. */
  const existing = (sent: Array<ReadonlyArray<number>>, ends: Array<Deferred.Deferred<void, string>> = []) =>
    RequestResolver.make<GetUser>((entries) =>
      Effect.gen(function* () {
        sent.push(entries.map(({ request }) => request.id))
        const end = ends[sent.length - 1]
        for (const { completeUnsafe, request } of entries) {
          if (request.id === 7) continue
          completeUnsafe(request.id % 2 === 0 ? Exit.succeed(`user ${request.id}`) : Exit.fail(new NoUser(request)))
        }
        if (end !== undefined) yield* Deferred.await(end)
      })
    )

  it.effect("an existing resolver gains the bounds, and each request its own outcome", () =>
    Effect.gen(function* () {
      const sent: Array<ReadonlyArray<number>> = []
      const users = yield* Batcher.resolver("users", existing(sent), { maxItems: 2, linger: "10 millis" })
      const get = (id: number) => Effect.exit(Effect.request(GetUser({ id }), users))
      const all = yield* fork(Effect.forEach([2, 4, 5], get, { concurrency: "unbounded" }))
      yield* settle
      expect(sent).toEqual([[2, 4]])
      yield* TestClock.adjust("10 millis")
      expect(endOf(all)).toEqual(Exit.succeed([user(2), user(4), Exit.fail(new NoUser({ id: 5 }))]))
      const left = yield* fork(get(7))
      yield* TestClock.adjust("10 millis")
      expect(endOf(left)).toEqual(
        Exit.succeed(Exit.die(new Error("Expected the resolver to complete every request, got one left")))
      )
      expect(yield* timers).toBe(0)
    })
  )

  it.effect("a caller of a request who is interrupted takes it out, and the last to leave cuts the run", () =>
    Effect.gen(function* () {
      const sent: Array<ReadonlyArray<number>> = []
      const ends = [yield* Deferred.make<void, string>()]
      const users = yield* Batcher.resolver("users", existing(sent, ends), { maxItems: 2, linger: "10 millis" })
      const get = (id: number) => fork(Effect.request(GetUser({ id }), users))
      yield* Fiber.interrupt(yield* get(2))
      const [stays, other] = [yield* get(4), yield* get(6)]
      expect(sent).toEqual([[4, 6]])
      yield* Fiber.interrupt(stays)
      yield* Fiber.interrupt(other)
      yield* settle
      expect(yield* timers).toBe(0)
      // Nothing of it runs any more.
      ends.length = 0
      const next = [yield* get(8), yield* get(10)]
      yield* settle
      expect(next.map(endOf)).toEqual([user(8), user(10)])
    })
  )

  it.effect("one that is refused dies of it, unless that is what the resolver has said", () =>
    Effect.gen(function* () {
      const says = new Refused.Refused({
        reason: new Refused.ShuttingDown(),
        gate: "upstream",
        waited: Duration.zero,
        retryAfter: Option.none()
      })
      interface Get extends Request.Request<string, Refused.Refused> {
        readonly _tag: "Get"
      }
      const resolver = RequestResolver.make<Get>((entries) =>
        Effect.sync(() => {
          for (const { completeUnsafe } of entries) completeUnsafe(Exit.fail(says))
        })
      )
      const gate = yield* Gate.make("db", { limit: 1, line: { maxItems: 0 } })
      const users = yield* Batcher.resolver("users", resolver, { maxItems: 1, through: gate })
      const get = Effect.exit(Effect.request(Request.tagged<Get>("Get")(), users))
      expect(yield* get).toEqual(Exit.fail(says))
      const held = yield* Deferred.make<void>()
      yield* fork(gate.run(Deferred.await(held)))
      const exit = yield* get
      expect(Exit.isFailure(exit) && exit.cause.reasons.map(({ _tag }) => _tag)).toEqual(["Die"])
      expect(reasonOf(exit)).toEqual(new Refused.QueueFull({ bound: "items", limit: 0 }))
      yield* Deferred.succeed(held, undefined)
    })
  )

  it.effect(
    "what the resolver completed stands where it fails; groups are partitions; its own cache is asked first",
    () =>
      Effect.gen(function* () {
        const sent: Array<ReadonlyArray<number>> = []
        const failing = RequestResolver.makeWith<GetUser>({
          batchKey: ({ request }) => request.id % 10,
          preCheck: (entry) => {
            if (entry.request.id < 100) return true
            entry.completeUnsafe(Exit.succeed("cached"))
            return false
          },
          delay: Effect.never,
          collectWhile: () => true,
          runAll: (entries) =>
            Effect.suspend(() => {
              sent.push(entries.map(({ request }) => request.id))
              entries[0].completeUnsafe(Exit.succeed("first"))
              return Effect.fail("down")
            })
        })
        const users = yield* Batcher.resolver("users", failing, { maxItems: 2 })
        const outcomes = yield* Effect.forEach(
          [1, 11, 2, 100],
          (id) => Effect.exit(Effect.request(GetUser({ id }), users)),
          {
            concurrency: "unbounded"
          }
        )
        expect(outcomes).toEqual([
          Exit.succeed("first"),
          Exit.fail("down"),
          Exit.succeed("first"),
          Exit.succeed("cached")
        ])
        expect(sent).toEqual([[1, 11], [2]])
      })
  )
})
