import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Result, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import {
  Batcher,
  ByteBudget,
  Coalesce,
  Deadline,
  Gate,
  GateMap,
  Overflow,
  Priority,
  RateWindow,
  Refused,
  Registry,
  Tenant,
  Transport,
  WorkQueue
} from "@fairlead/core"
import { Leaks } from "@fairlead/testing"
import { defect, endOf, fork, nothingLeft, reasonOf, refusal, settle, stage } from "./gates.ts"
import { all, interruptedAnywhere } from "./sweeps.ts"

const slow = { timeout: 60_000 }

/** A budget of 1,600 bytes, of which urgency u may fill 1,600 − 100 u. */
const make = ByteBudget.make("all lines", { max: 1600 })

const within = <A, E, R>(budget: ByteBudget.ByteBudget, self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, ByteBudget.ByteBudget, budget)

const used = (budget: ByteBudget.ByteBudget) => Effect.map(budget.statistics, ({ usedBytes }) => usedBytes)

const emptied = (budget: ByteBudget.ByteBudget) =>
  Effect.map(budget.statistics, (statistics) => {
    expect(ByteBudget.check(statistics)).toEqual([])
    expect(statistics.usedBytes).toBe(0)
  })

/** A gate whose one permit is taken, in a budget of its own. */
const behindOne = (options: Gate.Options = {}) =>
  Effect.gen(function* () {
    const budget = yield* make
    const gate = yield* within(budget, Gate.make("test", { limit: 1, ...options }))
    const callers = stage(gate)
    yield* callers.come("running", { bytes: 5000 })
    return { budget, gate, ...callers }
  })

describe("ByteBudget", () => {
  it.effect(
    "is drawn as far as there is room, by the less urgent as far as there is a sixteenth less for each level",
    () =>
      Effect.gen(function* () {
        const budget = yield* make
        expect([budget.takeUnsafe(900, 7), budget.takeUnsafe(1, 7), budget.takeUnsafe(400)]).toEqual([
          true,
          false,
          true
        ])
        expect([budget.roomFor(1), budget.roomFor(1, 2), budget.roomFor(1301), budget.roomFor(0, 7)]).toEqual([
          "later",
          "now",
          "never",
          "now"
        ])
        expect([budget.takeUnsafe(300, 0), budget.takeUnsafe(1, 0), budget.takeUnsafe(0, 7)]).toEqual([
          true,
          false,
          true
        ])
        const full = { name: "all lines", limitBytes: 1600, usedBytes: 1600, peakBytes: 1600, refused: 2 }
        expect(yield* budget.statistics).toEqual(full)
        for (const bytes of [900, 400, 300]) budget.giveUnsafe(bytes)
        yield* emptied(budget)
      })
  )

  it.effect("is in the registry for as long as its scope lives", () =>
    Effect.gen(function* () {
      const kinds = Effect.map(Registry.snapshot, (all) => all.map(({ kind, name }) => `${kind} ${name}`))
      expect(yield* Effect.scoped(Effect.andThen(make, kinds))).toEqual(["budget all lines"])
      expect(yield* kinds).toEqual([])
    }).pipe(Effect.provideService(Registry.Registry, Registry.make()))
  )

  it.effect("is held until the scope closes, and refuses what it has no room for", () =>
    Effect.gen(function* () {
      const budget = yield* make
      const hold = (bytes: number) => within(budget, ByteBudget.hold(bytes))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* hold(1000)
          const refused = refusal(yield* Effect.exit(hold(400)))
          expect([refused.gate, refused.reason]).toEqual(["all lines", new Refused.Shed({ signal: "all lines" })])
          yield* Priority.at(hold(400), 0)
          expect(yield* used(budget)).toBe(1400)
        })
      )
      yield* emptied(budget)
      yield* Effect.scoped(ByteBudget.hold("1 GiB"))
    })
  )

  it.effect(
    "tells who listens that bytes were given back, on a stack of his own, once for all that were, until he has had enough",
    () =>
      Effect.gen(function* () {
        const budget = yield* make
        const heard: Array<string> = []
        const listen = (name: string) => budget.subscribe(() => void heard.push(name))
        const [first, second] = [listen("a"), listen("b")]
        const come = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        budget.takeUnsafe(300)
        budget.giveUnsafe(100)
        budget.giveUnsafe(0)
        budget.giveUnsafe(100)
        expect(heard).toEqual([])
        yield* come
        expect(heard).toEqual(["a", "b"])
        budget.giveUnsafe(100)
        first()
        yield* come
        expect(heard).toEqual(["a", "b", "b"])
        second()
      })
  )

  it("draws nothing more for what has ended", () =>
    Effect.gen(function* () {
      const budget = yield* make
      const drawn = new ByteBudget.Drawn(budget)
      expect([drawn.more(100), drawn.more(200), yield* used(budget)]).toEqual([true, true, 300])
      drawn.end()
      expect([drawn.more(100), yield* used(budget)]).toEqual([false, 0])
    }).pipe(Effect.scoped, Effect.runPromise))

  it("tells what is wrong with a snapshot", () => {
    const wrong = { name: "b", limitBytes: 10, usedBytes: 11, peakBytes: 10, refused: 0 }
    expect(ByteBudget.check(wrong)).toEqual([
      "b: expected 0 <= used <= 10 bytes, got 11",
      "b: expected used <= peak <= 10 bytes, got 10"
    ])
    expect(ByteBudget.check({ ...wrong, usedBytes: -1 })).toEqual(["b: expected 0 <= used <= 10 bytes, got -1"])
  })

  describe("misuse", () => {
    it.effect("a budget of nothing, and more drawn than nothing at all", () =>
      Effect.gen(function* () {
        expect(yield* defect(() => ByteBudget.make("none", { max: 0 }))).toContain("at least 1 byte, got 0")
        const gate = yield* Gate.make("test", { limit: 1 })
        expect(() => gate.run(Effect.void, { drawn: -1 })).toThrow("Expected drawn of at least 0, got -1")
      })
    )
  })
})

const load = fc.record({
  gate: fc.integer({ min: 0, max: 1 }),
  after: fc.constantFrom(0, 0, 0, 1, 5),
  urgency: fc.integer({ min: 0, max: 7 }).map((u) => u as Priority.Urgency),
  tenant: fc.constantFrom("", "a", "b"),
  bytes: fc.constantFrom(0, 10, 100, 500, 2000),
  drawn: fc.constantFrom(0, 0, 50),
  maxWait: fc.constantFrom(0, 10, 1000),
  lasts: fc.constantFrom(0, 5, 20),
  cutAfter: fc.constantFrom(1, 10, 1000)
})

describe("ByteBudget, lines", () => {
  it.effect("draw what is held for those who wait, and nothing for whoever runs", () =>
    Effect.gen(function* () {
      const { budget, come, endAll, gate } = yield* behindOne()
      expect(yield* used(budget)).toBe(0)
      yield* come("a", { bytes: 300 })
      yield* come("b", { bytes: 200, drawn: 150 })
      yield* come("c", { bytes: 100, drawn: 150 })
      expect([yield* used(budget), (yield* gate.statistics).waitingBytes]).toEqual([350, 600])
      yield* endAll
      yield* nothingLeft(gate)
      yield* emptied(budget)
    })
  )

  it.effect("shed whom the budget has no room for, with advice, and what is left is for the more urgent", () =>
    Effect.gen(function* () {
      const { budget, come, end, endAll, gate } = yield* behindOne()
      yield* come("a", { bytes: 1200 })
      // So that it is known how fast the line drains.
      yield* TestClock.adjust("1 second")
      yield* come("b", { bytes: 1 })
      yield* end("running")
      const refused = refusal(endOf(yield* come("c", { bytes: 1400 })))
      expect(refused.reason).toEqual(new Refused.Shed({ signal: "all lines" }))
      expect([refused.gate, Option.isSome(refused.retryAfter)]).toEqual(["test", true])
      yield* come("urgent", { bytes: 1300, urgency: 0 })
      yield* come("empty", { bytes: 0, urgency: 7 })
      expect((yield* budget.statistics).refused).toBe(1)
      yield* endAll
      yield* nothingLeft(gate)
      yield* emptied(budget)
    })
  )

  it.effect("of all gates, keys and queues draw from the one", () =>
    Effect.gen(function* () {
      const budget = yield* make
      const one = yield* within(budget, Gate.make("one", { limit: 1 }))
      const two = yield* within(budget, GateMap.make("two", { limit: 1 }))
      const other = yield* Gate.make("outside", { limit: 1 })
      const callers = stage(one)
      const outside = stage(other)
      yield* callers.come("first")
      yield* callers.come("a", { bytes: 1200 })
      yield* outside.come("first")
      yield* outside.come("a", { bytes: 5000 })
      const end = yield* Deferred.make<void>()
      const first = yield* fork(two.run("k", Deferred.await(end)))
      const shed = yield* fork(two.run("k", Effect.void, { bytes: 200 }))
      expect(reasonOf(endOf(shed))).toEqual(new Refused.Shed({ signal: "all lines" }))
      yield* callers.endAll
      const waits = yield* fork(two.run("k", Effect.void, { bytes: 200 }))
      expect(yield* used(budget)).toBe(200)
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.joinAll([first, waits])
      yield* outside.endAll
      yield* emptied(budget)
    })
  )

  it.effect("give back by every way out", () =>
    Effect.gen(function* () {
      const budget = yield* make
      const scope = yield* Scope.make()
      const options: Gate.Options = { limit: 1, line: { maxItems: 5, overflow: "evictLeast" }, perKey: { limit: 1 } }
      const gate = yield* Scope.provide(within(budget, Gate.make("test", options)), scope)
      const { come, end } = stage(gate)
      yield* come("running", { key: "k" })
      yield* come("granted", { bytes: 10 })
      const parked = yield* come("parked", { bytes: 20, key: "k" })
      const interrupted = yield* come("interrupted", { bytes: 30 })
      yield* come("impatient", { bytes: 40, maxWait: 10 })
      const late = yield* fork(Deadline.within(gate.run(Effect.void, { bytes: 50 }), 20))
      expect(yield* used(budget)).toBe(150)
      yield* TestClock.adjust(10)
      expect(yield* used(budget)).toBe(110)
      yield* TestClock.adjust(10)
      expect([yield* used(budget), Exit.isFailure(endOf(late))]).toEqual([60, true])
      yield* Fiber.interrupt(interrupted)
      expect(yield* used(budget)).toBe(30)
      yield* end("running")
      // That which is parked waits once more, for the permit.
      expect(yield* used(budget)).toBe(20)
      for (const urgency of [6, 6, 6, 6, 6] as const) yield* come("evicted", { bytes: 100, urgency })
      yield* come("evicts", { bytes: 1, urgency: 0 })
      expect(yield* used(budget)).toBe(321)
      yield* Scope.close(scope, Exit.void)
      yield* settle
      yield* emptied(budget)
      yield* end("granted")
      expect(reasonOf(endOf(parked))._tag).toBe("ShuttingDown")
    })
  )

  it.effect("put out as many of their own as an urgent newcomer needs, where they may, and none in vain", () =>
    Effect.gen(function* () {
      const { began, budget, come, endAll, gate } = yield* behindOne({
        line: { overflow: "evictLeast" },
        shares: "strict"
      })
      const other = yield* within(budget, Gate.make("other", { limit: 1 }))
      const others = stage(other)
      yield* others.come("first")
      yield* others.come("heavy", { bytes: 300 })
      const least = yield* come("least", { bytes: 300, urgency: 7 })
      const less = yield* come("less", { bytes: 300, urgency: 6 })
      // All of this line would not do.
      expect(reasonOf(endOf(yield* come("huge", { bytes: 1400, urgency: 0 })))._tag).toBe("Shed")
      expect(reasonOf(endOf(yield* come("for ever", { bytes: 1601, urgency: 0 })))._tag).toBe("Shed")
      expect([least.pollUnsafe(), yield* used(budget)]).toEqual([undefined, 900])
      yield* come("urgent", { bytes: 900, urgency: 0 })
      yield* settle
      expect([reasonOf(endOf(least))._tag, less.pollUnsafe(), yield* used(budget)]).toEqual([
        "Evicted",
        undefined,
        1500
      ])
      yield* endAll
      yield* others.endAll
      expect(began).toEqual(["running", "urgent", "less"])
      yield* nothingLeft(gate)
      yield* emptied(budget)
    })
  )

  it.effect("draw for who comes in place of others what those had drawn, whoever waits for that", () =>
    Effect.gen(function* () {
      const { budget, come, endAll, gate } = yield* behindOne({ line: { overflow: "evictLeast" } })
      const least = yield* come("least", { bytes: 800, urgency: 5 })
      let taken = 0
      const end = budget.subscribe(() => {
        if (budget.takeUnsafe(1600, 0)) taken = 1600
      })
      yield* come("urgent", { bytes: 900, urgency: 2 })
      yield* settle
      expect([reasonOf(endOf(least))._tag, taken, yield* used(budget)]).toEqual(["Evicted", 0, 900])
      yield* come("more urgent", { bytes: 10, urgency: 0 })
      expect(yield* used(budget)).toBe(910)
      yield* endAll
      yield* settle
      expect(taken).toBe(1600)
      end()
      budget.giveUnsafe(taken)
      yield* nothingLeft(gate)
      yield* emptied(budget)
    })
  )

  it.effect("of fractions of bytes leave no rest", () =>
    Effect.gen(function* () {
      const { budget, come, endAll } = yield* behindOne()
      for (const bytes of [0.1, 0.2, 0.7]) yield* come(`${bytes}`, { bytes })
      expect(yield* used(budget)).toBe(3)
      yield* endAll
      yield* emptied(budget)
    })
  )

  it.effect("whoever brings many waits for room that another line has to give back", () =>
    Effect.gen(function* () {
      const { budget, come, end, endAll } = yield* behindOne()
      const other = yield* within(budget, Gate.make("bulk", { limit: 1 }))
      const { began, body, end: endOther } = stage(other)
      yield* come("heavy", { bytes: 1200 })
      const bulk = yield* fork(other.forEach(["a", "b", "c"], body, { ask: () => ({ bytes: 60 }) }))
      yield* settle
      // One runs, one waits, and one has no room.
      expect([began, (yield* other.statistics).waiting, yield* used(budget)]).toEqual([["a"], 1, 1260])
      yield* end("running")
      yield* settle
      expect([(yield* other.statistics).waiting, yield* used(budget)]).toEqual([2, 120])
      yield* endOther("a", "b", "c")
      expect(yield* Fiber.join(bulk)).toEqual(["a", "b", "c"])
      yield* endAll
      yield* emptied(budget)
    })
  )

  it.effect("refuse one of many that would not fit if all others left", () =>
    Effect.gen(function* () {
      const { budget, endAll, gate } = yield* behindOne()
      const bulk = yield* fork(gate.forEach([1], () => Effect.void, { ask: () => ({ bytes: 1400 }) }))
      yield* settle
      expect(reasonOf(endOf(bulk))).toEqual(new Refused.Shed({ signal: "all lines" }))
      yield* endAll
      yield* emptied(budget)
    })
  )

  it.effect("a queue holds up its producer, who may leave", () =>
    Effect.gen(function* () {
      const { budget, come, endAll } = yield* behindOne()
      yield* come("heavy", { bytes: 1250 })
      const end = yield* Deferred.make<void>()
      const run = () => Deferred.await(end)
      const queue = yield* within(budget, WorkQueue.make<number>("mail", { run, weigh: () => 100 }))
      yield* queue.offer(1)
      const leaves = yield* fork(queue.offer(2))
      const stays = yield* fork(queue.offer(3))
      yield* settle
      expect((yield* queue.statistics).suspended).toBe(2)
      yield* Fiber.interrupt(leaves)
      yield* endAll
      yield* settle
      expect([endOf(stays), yield* used(budget)]).toEqual([Exit.void, 100])
      yield* Deferred.succeed(end, undefined)
      yield* queue.end
      yield* emptied(budget)
    }).pipe(Leaks.expectNoLeaks())
  )

  it("hold together what those who wait hold, at any time, and nothing in the end", slow, () =>
    fc.assert(
      fc.asyncProperty(fc.constantFrom(...Overflow.all), fc.array(load, { maxLength: 60 }), (overflow, calls) =>
        Effect.gen(function* () {
          const budget = yield* make
          const options: Gate.Options = {
            limit: 2,
            line: { maxItems: 8, overflow },
            perTenant: (tenant) => (tenant === "a" ? { limit: 1 } : undefined),
            windows: [RateWindow.per(20, "50 millis")]
          }
          const gates = [
            yield* within(budget, Gate.make("one", options)),
            yield* within(budget, Gate.make("two", options))
          ] as const
          const drawn = new Set<{ readonly draws: number }>()
          const fibers = []
          for (const { after, bytes, cutAfter, drawn: had, gate, lasts, maxWait, tenant, urgency } of calls) {
            yield* TestClock.adjust(after)
            const mine = { draws: Math.max(0, bytes - had) }
            const asked = gates[gate]!.run(
              Effect.andThen(
                Effect.sync(() => drawn.delete(mine)),
                Effect.sleep(lasts)
              ),
              { bytes, drawn: had, maxWait }
            )
            drawn.add(mine)
            const caller = asked.pipe(
              Priority.at(urgency),
              Tenant.as(tenant),
              Effect.ensuring(Effect.sync(() => drawn.delete(mine))),
              Effect.timeoutOption(cutAfter)
            )
            fibers.push(yield* fork(Effect.exit(caller)))
            yield* settle
            const waiting = Array.from(drawn).reduce((sum, { draws }) => sum + draws, 0)
            expect(yield* used(budget)).toBe(waiting)
            expect(ByteBudget.check(yield* budget.statistics)).toEqual([])
          }
          yield* TestClock.adjust("5 seconds")
          yield* Fiber.joinAll(fibers)
          yield* emptied(budget)
          for (const gate of gates) expect(Gate.check(yield* gate.statistics)).toEqual([])
        }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
      ),
      { numRuns: 60 }
    )
  )

  interruptedAnywhere(
    "lines in a budget that is too small for all",
    {
      setup: Effect.gen(function* () {
        const budget = yield* ByteBudget.make("all", { max: 160 })
        const options: Gate.Options = { limit: 1, line: { overflow: "evictLeast" } }
        return { budget, gate: yield* within(budget, Gate.make("test", options)) }
      }),
      subject: ({ gate }) => {
        const work = Effect.sleep(1)
        const ask = { bytes: 60 }
        return all(
          gate.run(work),
          gate.run(work, ask),
          Priority.background(gate.run(work, ask)),
          Priority.at(gate.run(work, ask), 0),
          gate.forEach([1, 2], () => work, { ask: () => ask })
        )
      },
      check: ({ budget, gate }) => Effect.andThen(nothingLeft(gate), emptied(budget))
    },
    { places: 30, pairs: 100 }
  )
})

/** What its `stream` does for each item. (Effect's own hangs when one of its inner fibers is interrupted.) */
const offer = (batches: Batcher.Batcher<number, number>, item: number) =>
  (batches as unknown as { readonly offer: (item: number) => Effect.Effect<number, unknown> }).offer(item)

describe("ByteBudget, batches", () => {
  const batcher = (
    budget: ByteBudget.ByteBudget,
    options: Partial<Batcher.Options<number, number, never, never, never>> = {}
  ) =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<void>()
      const made = Batcher.make<number, number>("users", {
        run: (items) =>
          Effect.as(
            Deferred.await(end),
            items.map((item) => Result.succeed(item))
          ),
        maxItems: 3,
        through: 1,
        linger: "1 second",
        weigh: () => 400,
        ...options
      })
      return { batches: yield* within(budget, made), end: Deferred.succeed(end, undefined) }
    })

  it.effect("draw for those who wait, until their batch begins, or they leave", () =>
    Effect.gen(function* () {
      const budget = yield* make
      const { batches, end } = yield* batcher(budget)
      const first = yield* fork(batches.submit(1))
      const second = yield* fork(batches.submit(2))
      const promised = batches.submitPromise(3)
      yield* settle
      // A batch is full, and has begun.
      expect(yield* used(budget)).toBe(0)
      const leaves = yield* fork(batches.submit(4))
      const late = yield* fork(Effect.uninterruptible(Deadline.within(batches.submit(5), 10)))
      expect(yield* used(budget)).toBe(800)
      yield* Fiber.interrupt(leaves)
      expect(yield* used(budget)).toBe(400)
      yield* TestClock.adjust(20)
      expect([yield* used(budget), Exit.isFailure(endOf(late))]).toEqual([0, true])
      const waits = [6, 7, 8].map((item) => batches.submitPromise(item))
      expect(yield* used(budget)).toBe(1200)
      const refused = yield* Effect.promise(() =>
        batches.submitPromise(9).catch((error: Refused.Refused) => error.reason)
      )
      expect(refused).toEqual(new Refused.Shed({ signal: "all lines" }))
      expect(reasonOf(endOf(yield* fork(batches.submit(9))))).toEqual(new Refused.Shed({ signal: "all lines" }))
      yield* end
      expect(yield* Effect.promise(() => Promise.all([promised, ...waits]))).toEqual([3, 6, 7, 8])
      yield* Fiber.joinAll([first, second])
      yield* emptied(budget)
    })
  )

  it.effect("a stream waits for room that others have to give back, and one too large is refused", () =>
    Effect.gen(function* () {
      const { budget, come, endAll } = yield* behindOne()
      yield* come("heavy", { bytes: 1250 })
      const { batches, end } = yield* batcher(budget)
      yield* end
      const results = yield* fork(Stream.runCollect(Stream.make(1, 2, 3).pipe(batches.stream())))
      yield* settle
      expect((yield* batches.statistics).suspended).toBe(3)
      yield* endAll
      yield* TestClock.adjust("2 seconds")
      expect((yield* Fiber.join(results)).map((result) => result)).toHaveLength(3)
      const { batches: large } = yield* batcher(budget, { weigh: () => 1400 })
      const refused = yield* Stream.runCollect(Stream.make(1).pipe(large.stream()))
      expect(JSON.stringify(refused)).toContain("Shed")
      yield* emptied(budget)
    })
  )

  it.effect("one who waits for room is let in or turned away as he becomes more urgent, or less", () =>
    Effect.gen(function* () {
      const budget = yield* make
      const { batches, end } = yield* batcher(budget, { weigh: () => 1000 })
      const shared = yield* Coalesce.make("page", { run: (_page: string) => offer(batches, 1), key: (page) => page })
      const come = (page: string, urgency: Priority.Urgency) => fork(Priority.at(shared.call(page), urgency))
      expect(budget.takeUnsafe(500)).toBe(true)
      const first = yield* come("a", 6)
      expect((yield* batches.statistics).suspended).toBe(1)
      yield* come("a", 1)
      yield* settle
      expect([(yield* batches.statistics).suspended, yield* used(budget)]).toEqual([0, 1500])
      yield* end
      yield* TestClock.adjust("1 second")
      expect([endOf(first), yield* used(budget)]).toEqual([Exit.succeed(1), 500])
      expect(budget.takeUnsafe(600, 0)).toBe(true)
      const less = yield* come("b", 7)
      expect(reasonOf(endOf(less))._tag).toBe("Shed")
      const patient = yield* come("c", 5)
      const urgent = yield* come("c", 0)
      const leasts = yield* come("c", 7)
      yield* settle
      expect((yield* batches.statistics).suspended).toBe(1)
      yield* Fiber.interruptAll([urgent, patient])
      yield* settle
      expect([reasonOf(endOf(leasts))._tag, (yield* batches.statistics).suspended]).toEqual(["Shed", 0])
      budget.giveUnsafe(1100)
      yield* emptied(budget)
    })
  )

  it.effect("a batch whose gate refuses it gives back what it drew", () =>
    Effect.gen(function* () {
      const budget = yield* make
      const through = yield* Gate.make("through", { limit: 1, line: { maxItems: 0 } })
      const { come, endAll } = stage(through)
      yield* come("running")
      const { batches } = yield* batcher(budget, { through })
      const callers = yield* Effect.forEach([1, 2], (item) => fork(batches.submit(item)))
      expect(yield* used(budget)).toBe(800)
      yield* TestClock.adjust("1 second")
      expect(callers.map((fiber) => reasonOf(endOf(fiber))._tag)).toEqual(["QueueFull", "QueueFull"])
      yield* emptied(budget)
      yield* endAll
    })
  )

  interruptedAnywhere(
    "batches in a budget that is too small for all",
    {
      setup: Effect.gen(function* () {
        const budget = yield* ByteBudget.make("all", { max: 160 })
        const made = Batcher.make<number, number>("users", {
          run: (items) =>
            Effect.as(
              Effect.sleep(1),
              items.map((item) => Result.succeed(item))
            ),
          maxItems: 2,
          through: 1,
          weigh: () => 60
        })
        return { budget, batches: yield* within(budget, made) }
      }),
      subject: ({ batches }) =>
        all(batches.submit(1), batches.submit(2), batches.submit(3), offer(batches, 4), offer(batches, 5)),
      check: ({ budget }) => emptied(budget)
    },
    { places: 20, pairs: 50 }
  )
})

describe("ByteBudget, bodies", () => {
  const chunks = (...sizes: ReadonlyArray<number>) =>
    Transport.stream(Stream.rechunk(Stream.fromIterable(sizes.map((size) => new Uint8Array(size))), 1))

  it.effect("draw while they are taken in, and fail where there is no room for more", () =>
    Effect.gen(function* () {
      const budget = yield* make
      let most = 0
      const seen = Stream.tap(Stream.rechunk(Stream.make(new Uint8Array(700), new Uint8Array(600)), 1), () =>
        Effect.map(used(budget), (bytes) => (most = Math.max(most, bytes)))
      )
      expect((yield* within(budget, Transport.collect(Transport.stream(seen)))).length).toBe(1300)
      expect([most, yield* used(budget)]).toEqual([700, 0])
      const failure = yield* Effect.flip(within(budget, Transport.collect(chunks(700, 601))))
      expect([failure.kind, failure.message]).toEqual([
        "noRoom",
        "noRoom: Expected room in all lines, of whose 1600 bytes too many are in use"
      ])
      expect((yield* within(budget, Priority.at(Transport.collect(chunks(700, 601)), 0))).length).toBe(1301)
      expect((yield* Effect.flip(within(budget, Transport.collect(chunks(700, 100), 750)))).kind).toBe("tooLarge")
      expect((yield* Transport.collect(chunks(7000))).length).toBe(7000)
      yield* emptied(budget)
    })
  )

  it.effect("that are given up give back", () =>
    Effect.gen(function* () {
      const budget = yield* make
      const stalls = Stream.concat(Stream.make(new Uint8Array(500)), Stream.never)
      const fiber = yield* fork(within(budget, Transport.collect(Transport.stream(stalls))))
      yield* settle
      expect(yield* used(budget)).toBe(500)
      yield* Fiber.interrupt(fiber)
      yield* emptied(budget)
    }).pipe(Leaks.expectNoLeaks())
  )
})
