/** `Gate.forEach` and `Gate.stream`: many items at one gate, where descriptions wait and not fibers. */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Effect, Exit, Fiber, Option, Scope, Stream } from "effect"
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
  RateWindow,
  Reason,
  Registry,
  Tenant
} from "@fairlead/core"
import { Leaks, Simulation, Sweep } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"

/** Nobody runs or waits, the counts agree, and no timer is left. */
const nothingLeft = (gate: Gate.Gate) =>
  Effect.gen(function* () {
    const statistics = yield* gate.statistics
    expect(Gate.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting]).toEqual([0, 0])
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
    expect(yield* Registry.tree).toEqual([])
  })

const now = Clock.currentTimeMillis
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

/** Work of so many milliseconds, and what happened when. */
const record = () => {
  const seen: Array<string> = []
  let running = 0
  let most = 0
  const say = (what: string) => Effect.map(now, (millis) => void seen.push(`${millis}: ${what}`))
  const work = (name: unknown, millis = 10) =>
    Effect.suspend(() => {
      running++
      most = Math.max(most, running)
      return Effect.sleep(millis)
    }).pipe(
      Effect.andThen(say(`${name} done`)),
      Effect.onInterrupt(() => say(`${name} cut`)),
      Effect.ensuring(
        Effect.sync(() => {
          running--
        })
      ),
      Effect.as(name)
    )
  return { seen, say, work, most: () => most, running: () => running }
}

/** The first sleep on a test clock forks a warning, which a finalizer must not be the first to do. */
const sleptOnce = TestClock.adjust(0)

const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Its end, after the clock has gone on for so long. */
const after = <A, E, R>(millis: number, effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    yield* sleptOnce
    const fiber = yield* start(effect)
    for (let i = 0; i < millis; i++) yield* TestClock.adjust(1)
    return fiber.pollUnsafe() ?? (yield* Effect.die(new Error(`Expected an end within ${millis} ms, got none`)))
  })

const reasonOf = (exit: Exit.Exit<unknown, unknown>) => {
  if (Exit.isSuccess(exit)) return exit.value
  return exit.cause.reasons.map((reason) => {
    if (Cause.isDieReason(reason)) return String(reason.defect)
    if (!Cause.isFailReason(reason)) return "interrupt"
    const error = reason.error as { readonly _tag?: string; readonly reason?: { readonly _tag: string } }
    return error._tag === "Refused" ? error.reason!._tag : reason.error
  })
}

describe("Gate.forEach", () => {
  it.effect("gives the results in the order of the items, whichever ends first", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const { most, work } = record()
      const exit = yield* after(
        30,
        gate.forEach([9, 3, 5, 1], (millis, index) => work(`${index}: ${millis}`, millis))
      )
      expect(exit).toEqual(Exit.succeed(["0: 9", "1: 3", "2: 5", "3: 1"]))
      expect(most()).toBe(2)
      expect(yield* gate.forEach([], () => Effect.die("never"))).toEqual([])
      expect(yield* gate.forEach(new Set(["a", "b"]), Effect.succeed)).toEqual(["a", "b"])
      expect(yield* gate.forEach([1, 2], Effect.succeed, { discard: true })).toBe(undefined)
      yield* nothingLeft(gate)
    })
  )

  it.effect("a hundred items of 50 ms on ten permits take 500 ms, and no fiber waits", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 10 })
      const { running, work } = record()
      const fiber = yield* start(gate.forEach(numbers(100), (n) => work(n, 50)))
      expect(running()).toBe(10)
      expect((yield* gate.statistics).waiting).toBe(90)
      for (let i = 0; i < 9; i++) yield* TestClock.adjust(50)
      expect(fiber.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust(50)
      expect(fiber.pollUnsafe()).toEqual(Exit.succeed(numbers(100)))
      yield* nothingLeft(gate)
    })
  )

  it.effect("is done on the spot where nothing waits, as Effect.forEach is", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      expect(Effect.runSync(gate.forEach(numbers(1000), (n) => Effect.succeed(n * 2)))).toEqual(
        numbers(1000).map((n) => n * 2)
      )
      yield* nothingLeft(gate)
    })
  )

  it.effect("reads its source no further than the line has room, and a full line fails nothing", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2, line: { maxItems: 3 } })
      const { work } = record()
      let read = 0
      let returned = false
      const source = function* () {
        try {
          while (read < 20) yield ++read
        } finally {
          returned = true
        }
      }
      const fiber = yield* start(gate.forEach(source(), (n) => work(n)))
      // Two run, three wait, and one is in hand.
      expect(read).toBe(6)
      yield* TestClock.adjust(10)
      expect(read).toBe(8)
      for (let i = 0; i < 9; i++) yield* TestClock.adjust(10)
      expect(fiber.pollUnsafe()).toEqual(Exit.succeed(numbers(20)))
      expect(returned).toBe(true)
      yield* nothingLeft(gate)
    })
  )

  it.effect("goes through a gate where nobody may wait, a few at a time", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 3, line: { maxItems: 0 } })
      const { most, work } = record()
      expect(
        yield* after(
          40,
          gate.forEach(numbers(10), (n) => work(n))
        )
      ).toEqual(Exit.succeed(numbers(10)))
      expect(most()).toBe(3)
      // What is in hand takes no permit of those that are cut.
      const fiber = yield* start(gate.forEach(numbers(10), (n) => work(n)))
      yield* Fiber.interrupt(fiber)
      expect(reasonOf(fiber.pollUnsafe()!)).toEqual(["interrupt"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("`maxAhead` bounds what is taken from the source", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const { work } = record()
      const fiber = yield* start(gate.forEach(numbers(20), (n) => work(n), { maxAhead: 5 }))
      expect((yield* gate.statistics).waiting).toBe(3)
      // Others find room.
      const other = yield* start(gate.run(work("other")).pipe(Priority.at(0)))
      yield* TestClock.adjust(10)
      expect((yield* gate.statistics).waiting).toBe(3)
      yield* TestClock.adjust(10)
      expect(other.pollUnsafe()).toEqual(Exit.succeed("other"))
      for (let i = 0; i < 10; i++) yield* TestClock.adjust(10)
      expect(fiber.pollUnsafe()).toEqual(Exit.succeed(numbers(20)))
      yield* nothingLeft(gate)
    })
  )

  it.effect("two calls that wait for room get it in turns", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 2 } })
      const { seen, work } = record()
      const both = yield* start(
        Effect.all([gate.forEach(numbers(5), (n) => work(`a${n}`)), gate.forEach(numbers(5), (n) => work(`b${n}`))], {
          concurrency: 2,
          discard: true
        })
      )
      for (let i = 0; i < 10; i++) yield* TestClock.adjust(10)
      expect(both.pollUnsafe()).toEqual(Exit.void)
      const order = seen.map((line) => line.slice(line.indexOf(" ") + 1, -5))
      expect(order).toEqual(["a1", "a2", "a3", "a4", "b1", "a5", "b2", "b3", "b4", "b5"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("the earliest deadline goes first, and the most urgent before all; each item's work sees its own", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, shares: "strict" })
      const order: Array<string> = []
      const items = [
        { name: "first", within: 100 },
        { name: "late", within: 90 },
        { name: "soon", within: 50 },
        { name: "urgent", within: 100, urgency: 1 as const },
        { name: "whenever", tenant: "acme" }
      ]
      const work = ({ name }: { readonly name: string }) =>
        Effect.gen(function* () {
          order.push(`${name} ${yield* Priority.Priority} ${yield* Tenant.Tenant}`)
          yield* Effect.sleep(1)
          return name
        })
      const exit = yield* after(
        10,
        gate.forEach(items, work, { ask: (item) => item }).pipe(Priority.at(5), Tenant.as("home"))
      )
      expect(exit).toEqual(Exit.succeed(items.map(({ name }) => name)))
      expect(order).toEqual(["first 5 home", "urgent 1 home", "soon 5 home", "whenever 5 acme", "late 5 home"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("costs and keys are taken item by item", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        windows: [RateWindow.per(10, "1 second")],
        perKey: { limit: 1 }
      })
      const { seen, work } = record()
      const fiber = yield* start(
        gate.forEach([4, 5, 6], (n) => work(n), { ask: (n) => ({ cost: n, key: n === 6 ? "b" : "a" }) })
      )
      yield* TestClock.adjust(2000)
      expect(fiber.pollUnsafe()).toEqual(Exit.succeed([4, 5, 6]))
      expect(seen).toEqual(["10: 4 done", "10: 6 done", "1010: 5 done"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("a caller that is more urgent gets the very next permit, in the middle of a call", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { seen, work } = record()
      const bulk = yield* start(gate.forEach(numbers(4), (n) => work(n)).pipe(Priority.background))
      yield* TestClock.adjust(5)
      const urgent = yield* start(gate.run(work("urgent")).pipe(Priority.at(0)))
      for (let i = 0; i < 5; i++) yield* TestClock.adjust(10)
      expect(seen).toEqual(["10: 1 done", "20: urgent done", "30: 2 done", "40: 3 done", "50: 4 done"])
      yield* Fiber.joinAll([bulk, urgent])
      yield* nothingLeft(gate)
    })
  )

  it.effect("the first failure cuts those that run, waits for their clean-up, and takes the rest out of the line", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 3 })
      const seen: Array<string> = []
      const slow = (n: number) =>
        Effect.onInterrupt(Effect.never, () =>
          Effect.gen(function* () {
            const reason = yield* CancelScope.reason
            yield* Effect.sleep(20)
            seen.push(`${n}: ${reason._tag === "Some" ? Reason.format(reason.value) : "?"}`)
          })
        )
      const fiber = yield* start(
        gate.forEach(numbers(10), (n) => (n === 2 ? Effect.delay(Effect.fail("two"), 5) : slow(n)))
      )
      yield* TestClock.adjust(5)
      expect((yield* gate.statistics).waiting).toBe(0)
      expect(fiber.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust(20)
      expect(reasonOf(fiber.pollUnsafe()!)).toEqual(["two"])
      expect(seen.toSorted()).toEqual(["1: SiblingFailed: item 1", "3: SiblingFailed: item 1"])
      const statistics = yield* gate.statistics
      expect([statistics.failed, statistics.interrupted]).toEqual([1, 9])
      yield* nothingLeft(gate)
    })
  )

  it.effect("what fails besides the first is not lost, and says which item it was", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 3 })
      const exit = yield* after(
        10,
        gate.forEach(numbers(5), (n) =>
          n === 2
            ? Effect.delay(Effect.fail("two"), 1)
            : Effect.onInterrupt(Effect.sleep(5), () => Effect.die(`clean-up of ${n}`))
        )
      )
      expect(Exit.isFailure(exit) && Nursery.failures(exit.cause).map(({ child }) => child)).toEqual([
        "item 1",
        "item 2",
        "item 0"
      ])
      expect(reasonOf(exit)).toEqual(["two", "clean-up of 3", "clean-up of 1"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("an item that interrupts itself ends the call with that", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const exit = yield* after(5, Effect.exit(gate.forEach(numbers(3), () => Effect.interrupt)))
      expect(reasonOf(Exit.isSuccess(exit) ? exit.value : exit)).toEqual(["interrupt"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("interrupting the call cuts those that run, waits for their clean-up, and empties the line", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2, line: { maxItems: 3 } })
      const { running, say, seen } = record()
      yield* sleptOnce
      const held = (n: number) => Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep(20), say(`${n}`)))
      const fiber = yield* start(gate.forEach(numbers(10), held))
      const cut = yield* start(Fiber.interrupt(fiber))
      expect((yield* gate.statistics).waiting).toBe(0)
      yield* TestClock.adjust(10)
      expect(cut.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust(10)
      expect(cut.pollUnsafe()).not.toBe(undefined)
      expect(seen.toSorted()).toEqual(["20: 1", "20: 2"])
      expect(running()).toBe(0)
      // Room is there again for whoever waits for it.
      expect(yield* gate.forEach([1], Effect.succeed)).toEqual([1])
      yield* nothingLeft(gate)
    })
  )

  it.effect("the deadline around the call cuts it", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { seen, work } = record()
      const exit = yield* after(30, gate.forEach(numbers(10), (n) => work(n)).pipe(Deadline.within(25)))
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]).toMatchObject({ error: { _tag: "DeadlineExceeded" } })
      expect(seen).toEqual(["10: 1 done", "20: 2 done", "25: 3 cut"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("an item that waits beyond its own deadline is refused, and the call with it", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { seen, work } = record()
      const within = (n: number) => ({ within: n * 15 })
      const exit = yield* after(
        40,
        gate.forEach(numbers(3), (n) => work(n, 35), { ask: within })
      )
      expect(reasonOf(exit)).toEqual(["TooLate"])
      expect(seen).toEqual(["30: 1 cut"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("one that is served in time leaves the alarm to the next", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const blocked = yield* start(gate.run(Effect.sleep(5)))
      const { seen, work } = record()
      const within = (n: number) => ({ within: [10, 25, 60][n - 1]! })
      const exit = yield* after(
        80,
        gate.forEach(numbers(3), (n) => work(n, 15), { ask: within })
      )
      expect(exit).toEqual(Exit.succeed([1, 2, 3]))
      expect(seen).toEqual(["20: 1 done", "35: 2 done", "50: 3 done"])
      yield* Fiber.join(blocked)
      const late = (n: number) => ({ within: [10, 12, 17][n - 1]! })
      expect(
        reasonOf(
          yield* after(
            80,
            gate.forEach(numbers(3), (n) => work(n, 11), { ask: late })
          )
        )
      ).toEqual(["TooLate"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("a refusal of one item is the call's: it waited too long, was evicted, or the gate closed", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const options = { limit: 1, line: { maxItems: 3, overflow: "evictLeast" } } as const
      const gate = yield* Scope.provide(Gate.make("test", options), scope)
      const { work } = record()
      const patient = (maxWait: number) => gate.forEach(numbers(3), (n) => work(n, 20), { ask: () => ({ maxWait }) })
      expect(reasonOf(yield* after(30, patient(15)))).toEqual(["WaitExceeded"])
      const evicted = yield* start(gate.forEach(numbers(9), (n) => work(n, 20)).pipe(Priority.background))
      const urgent = yield* start(gate.run(work("urgent")))
      yield* TestClock.adjust(1)
      expect(reasonOf(evicted.pollUnsafe()!)).toEqual(["Evicted"])
      yield* TestClock.adjust(10)
      yield* Fiber.join(urgent)
      const closed = yield* start(gate.forEach(numbers(9), (n) => work(n, 20)))
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust(1)
      expect(reasonOf(closed.pollUnsafe()!)).toEqual(["ShuttingDown"])
      expect(reasonOf(yield* Effect.exit(gate.forEach([1], () => Effect.void)))).toEqual(["ShuttingDown"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("children end with their item, and are nothing of the next", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const seen: Array<string> = []
      const work = (n: number) =>
        Effect.gen(function* () {
          seen.push(`${n} begins`)
          yield* Effect.forkChild(
            Effect.onInterrupt(Effect.never, () => Effect.sync(() => void seen.push(`child of ${n} ends`))),
            { startImmediately: true }
          )
          yield* Effect.yieldNow
          return n
        })
      expect(yield* after(5, gate.forEach([1, 2], work))).toEqual(Exit.succeed([1, 2]))
      expect(seen).toEqual(["1 begins", "child of 1 ends", "2 begins", "child of 2 ends"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("in code that cannot be interrupted, the wait still ends at the deadline", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const blocked = yield* start(gate.run(Effect.sleep(50)))
      const exits: Array<unknown> = []
      const inside = Effect.uninterruptible(
        Effect.flatMap(Effect.exit(gate.forEach([1, 2], Effect.succeed)), (exit) =>
          Effect.sync(() => void exits.push(reasonOf(exit)))
        )
      )
      const exit = yield* after(20, Deadline.within(inside, 10))
      expect(exits).toEqual([["TooLate"]])
      expect(Exit.isFailure(exit)).toBe(true)
      yield* TestClock.adjust(50)
      yield* Fiber.join(blocked)
      yield* nothingLeft(gate)
    })
  )

  it.effect("says what it waits for: the gate, or what its items wait for", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const other = yield* Gate.make("other", { limit: 1 })
      const busy = yield* start(other.run(Effect.sleep(50)))
      const exit = yield* after(20, gate.forEach([1, 2], () => other.run(Effect.void)).pipe(Deadline.within(10)))
      expect(Exit.isFailure(exit) && exit.cause.reasons[0]).toMatchObject({
        error: { waitingFor: Option.some("gate other") }
      })
      const blocked = yield* start(gate.run(Effect.sleep(50)))
      const line = yield* after(20, gate.forEach([1, 2], Effect.succeed).pipe(Deadline.within(10)))
      expect(Exit.isFailure(line) && line.cause.reasons[0]).toMatchObject({
        error: { waitingFor: Option.some("gate test") }
      })
      yield* TestClock.adjust(50)
      yield* Fiber.joinAll([blocked, busy])
      yield* nothingLeft(gate)
    })
  )

  describe("misuse", () => {
    it.effect("a source that throws, an `ask` or `f` that throws: defects, and the rest is cut", () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("test", { limit: 1 })
        const { seen, work } = record()
        const source = function* () {
          yield 1
          yield 2
          throw new Error("no more")
        }
        const thrown = (text: string) => (): Effect.Effect<void> => {
          throw new Error(text)
        }
        const fails = (): undefined => {
          throw new Error("ask")
        }
        const all = gate.forEach(source(), (n) => work(n))
        expect(reasonOf(yield* after(5, all))).toEqual(["Error: no more"])
        expect(seen).toEqual(["0: 1 cut"])
        const asking = gate.forEach([1, 2], (n) => work(n), { ask: (n) => (n === 2 ? fails() : undefined) })
        expect(reasonOf(yield* after(5, asking))).toEqual(["Error: ask"])
        expect(reasonOf(yield* after(5, gate.forEach([1, 2], thrown("f"))))).toEqual(["Error: f"])
        const urgency = { ask: () => ({ urgency: 8 as 0 }) }
        expect(reasonOf(yield* after(5, gate.forEach([1], Effect.succeed, urgency)))).toEqual([
          "RangeError: Expected an urgency from 0 to 7, got 8"
        ])
        expect(reasonOf(yield* after(5, gate.forEach([1], Effect.succeed, { ask: () => ({ cost: 0 }) })))).toEqual([
          "RangeError: Expected a cost above 0, got 0"
        ])
        expect(reasonOf(yield* Effect.exit(gate.forEach([1], Effect.succeed, { maxAhead: 0 })))).toEqual([
          "RangeError: Expected maxAhead of at least 1, got 0"
        ])
        yield* nothingLeft(gate)
      })
    )
  })

  it.effect(
    "what a tenant's allowance throws is the call's defect, at once or when there is room; nothing is left",
    () =>
      Effect.gen(function* () {
        const allowance = (tenant: string) => {
          if (tenant === "odd") throw new Error("no such tenant")
          return { limit: 1 }
        }
        const gate = yield* Gate.make("test", { limit: 2, line: { maxItems: 1 }, perTenant: allowance })
        const { work } = record()
        const call = (odd: number) =>
          gate.forEach(numbers(6), (n) => work(n), { ask: (n) => ({ tenant: n === odd ? "odd" : `${n}` }) })
        for (const odd of [1, 2, 3, 4, 5, 6]) {
          expect(reasonOf(yield* after(40, call(odd)))).toEqual(["Error: no such tenant"])
          yield* nothingLeft(gate)
        }
        expect(yield* after(40, call(0))).toEqual(Exit.succeed(numbers(6)))
        // Behind a call that waits for room itself, it is asked for later.
        const other = yield* start(call(0))
        expect(reasonOf(yield* after(80, call(1)))).toEqual(["Error: no such tenant"])
        expect(other.pollUnsafe()).toEqual(Exit.succeed(numbers(6)))
        yield* nothingLeft(gate)
      })
  )

  it.effect("what an allowance throws for one item cuts those that have begun, and waits for their clean-up", () =>
    Effect.gen(function* () {
      const perTenant = (tenant: string): Gate.Allowance | undefined => {
        if (tenant === "odd") throw new Error("no such tenant")
        return tenant === "slow" ? { windows: [RateWindow.per(3, "1 second")] } : undefined
      }
      const gate = yield* Gate.make("test", { limit: 2, line: { maxItems: 1 }, perTenant })
      const { say, seen } = record()
      const work = (tenant: string) =>
        Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep(3), say(`${tenant} cleaned up`)))
      let returned = 0
      const call = (tenants: ReadonlyArray<string>, cost?: number) => {
        const items = tenants[Symbol.iterator]()
        const source = { next: () => items.next(), return: () => ({ done: true as const, value: returned++ }) }
        const ask = (tenant: string) => ({ tenant, cost: tenant === "slow" ? cost : undefined })
        return gate.forEach({ [Symbol.iterator]: () => source }, work, { ask })
      }
      expect(reasonOf(yield* after(3, call(["a", "b", "odd"])))).toEqual(["Error: no such tenant"])
      expect(reasonOf(yield* after(3, call(["c", "slow"], 5)))).toEqual([
        "RangeError: Expected a cost of at most 3 (3 per 1s of tenant slow), got 5"
      ])
      expect(seen.map((line) => line.replace(/.*: /, ""))).toEqual(["b cleaned up", "a cleaned up", "c cleaned up"])
      expect(returned).toBe(2)
      // One that waits for room is asked for on the stack of whoever makes it, who has nothing to do with it.
      const holders = yield* Effect.forEach([1, 2, 3], () => start(gate.run(Effect.sleep(5))))
      const late = yield* start(Effect.exit(call(["odd"])))
      const gone = yield* start(call(["odd"]))
      yield* TestClock.adjust(5)
      expect(holders.slice(0, 2).map((fiber) => fiber.pollUnsafe())).toEqual([Exit.void, Exit.void])
      yield* Fiber.interrupt(gone)
      expect(reasonOf(yield* Fiber.join(late))).toEqual(["Error: no such tenant"])
      yield* TestClock.adjust(5)
      yield* nothingLeft(gate)
    })
  )

  it.effect("a source that throws when it is told to end: a defect beside the failure; all is cut the same", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2, line: { maxItems: 2 } })
      const { seen, work } = record()
      const source = function* () {
        try {
          for (let i = 1; ; i++) yield i
        } finally {
          // oxlint-disable-next-line no-unsafe-finally -- that is what is tested
          throw new Error("not yet")
        }
      }
      const fails = Effect.andThen(Effect.sleep(5), Effect.fail("boom"))
      const all = gate.forEach(source(), (n) => (n === 1 ? fails : work(n)))
      expect(reasonOf(yield* after(5, all))).toEqual(["boom", "Error: not yet"])
      expect(seen).toEqual(["5: 2 cut"])
      const fiber = yield* start(gate.forEach(source(), (n) => work(n)))
      yield* Fiber.interrupt(fiber)
      expect(reasonOf(fiber.pollUnsafe()!)).toEqual(["interrupt", "Error: not yet"])
      yield* nothingLeft(gate)
    })
  )

  it.effect(
    "an item that fails, or a call that is interrupted, while its source is asked: the source ends after that",
    () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("test", { limit: 2, line: { maxItems: 2 } })
        const { seen, work } = record()
        let ended = 0
        const source = function* (during: () => void) {
          try {
            yield 1
            yield 2
            during()
            yield 3
          } finally {
            ended++
          }
        }
        const boom = Deferred.makeUnsafe<void, string>()
        const failing = source(() => Deferred.doneUnsafe(boom, Exit.fail("boom")))
        const all = gate.forEach(failing, (n) => (n === 1 ? Deferred.await(boom) : work(n)))
        expect(reasonOf(yield* Effect.exit(all))).toEqual(["boom"])
        // The only one that goes on fails: the call is not over before whoever is asked has come back, or thrown.
        const only = Deferred.makeUnsafe<void, string>()
        const ask = (n: number): undefined => {
          if (n === 1) return
          Deferred.doneUnsafe(only, Exit.fail("boom"))
          throw new Error("ask")
        }
        const asked = gate.forEach([1, 2, 3], () => Deferred.await(only), { ask })
        expect(reasonOf(yield* Effect.exit(asked))).toEqual(["boom", "Error: ask"])
        // Later, on the gate's stack, with the caller asleep.
        const first = Deferred.makeUnsafe<void>()
        const { fiber } = yield* Effect.gen(function* () {
          const own: { fiber?: Fiber.Fiber<unknown, unknown> } = {}
          const small = yield* Gate.make("small", { limit: 1, line: { maxItems: 0 } })
          const body = (n: number) => (n === 1 ? Deferred.await(first) : work(n))
          own.fiber = yield* start(
            small.forEach(
              source(() => own.fiber!.interruptUnsafe()),
              body
            )
          )
          yield* Deferred.succeed(first, undefined)
          yield* TestClock.adjust(20)
          yield* nothingLeft(small)
          return own
        })
        expect(reasonOf(fiber!.pollUnsafe()!)).toEqual(["interrupt"])
        expect([ended, seen]).toEqual([2, ["0: 2 cut", "0: 2 cut"]])
        yield* nothingLeft(gate)
      })
  )

  it.effect("an allowance that interrupts the very call that it is asked for, and others that wait for room", () =>
    Effect.gen(function* () {
      let victims: Array<Fiber.Fiber<unknown, unknown>> = []
      const perTenant = (tenant: string) => {
        if (tenant === "evil") for (const victim of victims) victim.interruptUnsafe()
        return undefined
      }
      for (const room of [0, 1]) {
        const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: room }, perTenant })
        const { work } = record()
        yield* Effect.forEach(numbers(1 + room), () => start(gate.run(work("holder"))))
        const call = (tenant: string) => gate.forEach(numbers(3), (n) => work(n), { ask: () => ({ tenant }) })
        const fibers = yield* Effect.forEach(["evil", "a", "b"], (tenant) => start(call(tenant)))
        victims = fibers.slice(0, 2)
        for (let i = 0; i < 60; i++) yield* TestClock.adjust(1)
        expect(victims.map((fiber) => reasonOf(fiber.pollUnsafe()!))).toEqual([["interrupt"], ["interrupt"]])
        expect(fibers[2]!.pollUnsafe()).toEqual(Exit.succeed(numbers(3)))
        yield* nothingLeft(gate)
      }
    })
  )

  it.effect("a `judge` or a limit that throws at an item's end is the call's defect, and keeps no permit", () =>
    Effect.gen(function* () {
      const aimd = ConcurrencyLimit.aimd({ min: 1, max: 2 })
      const fails = (text: string) => (): never => {
        throw new Error(text)
      }
      const judged = yield* Gate.make("judged", { limit: aimd, judge: fails("judge") })
      const stepped = yield* Gate.make("stepped", { limit: { ...aimd, step: fails("step") } })
      const { work } = record()
      for (const [gate, text] of [
        [judged, "Error: judge"],
        [stepped, "Error: step"]
      ] as const) {
        for (const count of [1, 3, 1]) {
          const reasons = reasonOf(
            yield* after(
              10,
              gate.forEach(numbers(count), (n) => work(n))
            )
          )
          expect(new Set(reasons as Array<string>)).toEqual(new Set([text]))
        }
        expect(
          reasonOf(
            yield* after(
              0,
              gate.forEach([1], () => Effect.fail("boom"))
            )
          )
        ).toEqual(["boom", text])
        const streamed = Stream.fromIterable([1]).pipe(
          gate.stream((n) => work(n)),
          Stream.runDrain
        )
        expect(reasonOf(yield* after(10, streamed))).toEqual([text])
        yield* nothingLeft(gate)
      }
    })
  )

  it.effect("a boosted run moves the items of its calls, those that wait for room and those that come later, too", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 4 } })
      const open = yield* Deferred.make<void>()
      const { seen, work } = record()
      yield* start(gate.run(Deferred.await(open)))
      const waiting = Effect.map(gate.statistics, ({ waitingByUrgency }) => waitingByUrgency)
      let boost: (urgency: Priority.Urgency | undefined) => Effect.Effect<void> = () => Effect.void
      const urgencies: Array<number> = []
      const body = (n: number) => Effect.flatMap(Priority.Priority, (urgency) => work(urgencies.push(urgency) && n, 1))
      const items = gate.forEach(numbers(4), body, { ask: (n) => (n === 2 ? { urgency: 7 } : undefined) })
      const streamed = Stream.fromIterable([5, 6, 7]).pipe(gate.stream(body), Stream.runDrain)
      const both = Effect.all([items, streamed], { concurrency: 2 })
      const run = Priority.boosted((set) => Effect.suspend(() => ((boost = set), both))).pipe(Priority.at(6))
      const fiber = yield* start(run)
      yield* TestClock.adjust(0)
      yield* start(Priority.at(gate.forEach([8, 9], body), 4))
      expect(yield* waiting).toEqual([0, 0, 0, 0, 0, 0, 3, 1])
      yield* boost(5)
      expect(yield* waiting).toEqual([0, 0, 0, 0, 0, 4, 0, 0])
      yield* boost(undefined)
      expect(yield* waiting).toEqual([0, 0, 0, 0, 0, 0, 3, 1])
      yield* boost(0)
      expect(yield* waiting).toEqual([4, 0, 0, 0, 0, 0, 0, 0])
      yield* Deferred.succeed(open, undefined)
      yield* TestClock.adjust(1)
      for (let i = 0; i < 12; i++) yield* TestClock.adjust(1)
      expect(seen.map((line) => Number(line.split(" ")[1]))).toEqual(numbers(9))
      // What an item asks for inside is boosted there, as a run's is.
      expect(urgencies).toEqual([6, 7, 6, 6, 6, 6, 6, 4, 4])
      expect(Exit.isSuccess(fiber.pollUnsafe()!)).toBe(true)
      yield* boost(7)
      yield* nothingLeft(gate)
    })
  )

  it.live("an endless source of items that end at once lets interrupts, deadlines and others through", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const endless = function* () {
        for (let i = 0; ; i++) yield i
      }
      const others = yield* Effect.forkChild(Effect.forEach(numbers(20), () => gate.run(Effect.sleep(1))))
      const exit = yield* gate
        .forEach(endless(), () => Effect.void, { discard: true })
        .pipe(Deadline.within("100 millis"), Effect.exit)
      expect(reasonOf(exit)).toHaveLength(1)
      const streamed = Stream.fromIterable(endless()).pipe(gate.stream(Effect.succeed, { maxAhead: Infinity }))
      const fiber = yield* Effect.forkChild(Stream.runDrain(streamed))
      yield* Effect.sleep(20)
      yield* Fiber.interrupt(fiber)
      yield* Fiber.join(others)
      const statistics = yield* gate.statistics
      expect(Gate.check(statistics)).toEqual([])
      expect([statistics.running, statistics.waiting]).toEqual([0, 0])
    })
  )

  it.effect(
    "what has room by its own allowance, or by a window, though nobody may wait, is let in when that opens",
    () =>
      Effect.gen(function* () {
        const windowed = yield* Gate.make("windowed", {
          windows: [RateWindow.per(1, "10 millis")],
          line: { maxItems: 0 }
        })
        expect(yield* after(30, windowed.forEach([1, 2, 3], Effect.succeed))).toEqual(Exit.succeed([1, 2, 3]))
        yield* nothingLeft(windowed)
        const own = yield* Gate.make("own", { perTenant: { limit: 1 }, line: { maxItems: 0 } })
        const { work } = record()
        const all = own.forEach([1, 2, 3], (n) => work(n), { ask: (n) => ({ tenant: `${n % 2}` }) })
        expect(yield* after(40, all)).toEqual(Exit.succeed([1, 2, 3]))
        yield* nothingLeft(own)
      })
  )

  it.live("timers and sockets get their turn while 20,000 short items are done", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 10, line: { maxItems: 100_000 } })
      let turns = 0
      let going = true
      const tick = () => {
        turns++
        if (going) setImmediate(tick)
      }
      setImmediate(tick)
      yield* gate.forEach(numbers(20_000), () => Effect.promise(() => Promise.resolve()), { discard: true })
      going = false
      expect(turns).toBeGreaterThan(10)
      yield* Effect.promise(() => new Promise(setImmediate))
      const statistics = yield* gate.statistics
      expect(Gate.check(statistics)).toEqual([])
      expect([statistics.running, statistics.completed]).toEqual([0, 20_000])
    })
  )
})

describe("Gate.stream", () => {
  it.effect("gives the results as they come, `limit` at a time", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const { most, work } = record()
      const exit = yield* after(
        40,
        Stream.make(9, 3, 5, 1).pipe(
          gate.stream((millis) => work(millis, millis)),
          Stream.runCollect
        )
      )
      expect(exit).toEqual(Exit.succeed([3, 5, 9, 1]))
      expect(most()).toBe(2)
      expect(yield* Stream.runCollect(gate.stream(Effect.succeed)(Stream.empty))).toEqual([])
      yield* nothingLeft(gate)
    })
  )

  it.effect("or in the order of the items: what comes before its turn waits, and is ahead meanwhile", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 3 })
      let begun = 0
      const work = (millis: number) => Effect.suspend(() => Effect.as(Effect.sleep((begun++, millis)), millis))
      const run = (times: ReadonlyArray<number>, maxAhead: number) =>
        Stream.fromIterable(times).pipe(gate.stream(work, { order: "input", maxAhead }), Stream.runCollect)
      expect(yield* after(40, run([9, 3, 5, 1, 7], 5))).toEqual(Exit.succeed([9, 3, 5, 1, 7]))
      // Of three ahead two are done, and the third has not begun anything else.
      begun = 0
      const slow = yield* start(run([100, 1, 1, 1, 1], 3))
      yield* TestClock.adjust(50)
      expect(begun).toBe(3)
      yield* TestClock.adjust(100)
      expect(yield* Fiber.join(slow)).toEqual([100, 1, 1, 1, 1])
      yield* nothingLeft(gate)
    })
  )

  it.effect("a slow consumer holds no permit, and no more is taken from the source than `maxAhead`", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const { running, work } = record()
      let read = 0
      const source = Stream.range(1, 100).pipe(
        Stream.rechunk(1),
        Stream.tap(() => Effect.sync(() => read++))
      )
      const taken: Array<unknown> = []
      const fiber = yield* source.pipe(
        gate.stream((n) => work(n), { maxAhead: 5 }),
        Stream.runForEachArray((chunk) =>
          Effect.andThen(
            Effect.sync(() => taken.push(...chunk)),
            Effect.sleep(1000)
          )
        ),
        start
      )
      yield* TestClock.adjust(500)
      // What was handed on, and as much again; and one that the source has in hand.
      expect(taken.length).toBeGreaterThan(0)
      expect(read).toBeLessThanOrEqual(taken.length + 6)
      expect(running()).toBe(0)
      expect((yield* gate.statistics).running).toBe(0)
      expect(yield* gate.run(Effect.succeed("free"))).toBe("free")
      yield* TestClock.adjust(100_000)
      yield* Fiber.join(fiber)
      expect(taken.toSorted((a, b) => Number(a) - Number(b))).toEqual(numbers(100))
      yield* nothingLeft(gate)
    })
  )

  it.effect("ends early with whoever has had enough: the rest is cut first, then the source is closed", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 3 })
      const seen: Array<string> = []
      const say = (text: string) => Effect.sync(() => void seen.push(text))
      const source = Stream.unwrap(
        Effect.as(
          Effect.acquireRelease(say("opened"), () => say("closed")),
          Stream.range(1, 100)
        )
      )
      const work = (n: number) =>
        Effect.onInterrupt(Effect.as(Effect.sleep(n), n), () => Effect.andThen(Effect.sleep(5), say(`${n} cut`)))
      const exit = yield* after(20, source.pipe(gate.stream(work), Stream.take(1), Stream.runCollect))
      expect(exit).toEqual(Exit.succeed([1]))
      expect(seen).toEqual(["opened", "3 cut", "2 cut", "4 cut", "closed"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("what is done before the first failure is handed on before it", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const { seen, work } = record()
      const got: Array<unknown> = []
      const exit = yield* after(
        40,
        Stream.range(1, 9).pipe(
          gate.stream((n) => (n === 3 ? Effect.delay(Effect.fail("three"), 5) : work(n))),
          Stream.runForEach((n) => Effect.sync(() => got.push(n)))
        )
      )
      expect(reasonOf(exit)).toEqual(["three"])
      expect(got).toEqual([1, 2])
      expect(seen).toEqual(["10: 1 done", "10: 2 done", "15: 4 cut"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("a source that fails cuts what runs, and is the stream's failure", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const { seen, work } = record()
      const source = Stream.make(1).pipe(Stream.concat(Stream.fromEffect(Effect.delay(Effect.fail("broken"), 5))))
      const exit = yield* after(
        20,
        source.pipe(
          gate.stream((n) => work(n)),
          Stream.runCollect
        )
      )
      expect(reasonOf(exit)).toEqual(["broken"])
      expect(seen).toEqual(["5: 1 cut"])
      const asked = yield* after(
        5,
        Stream.make(1).pipe(
          gate.stream(Effect.succeed, {
            ask: () => {
              throw new Error("ask")
            }
          }),
          Stream.runCollect
        )
      )
      expect(reasonOf(asked)).toEqual(["Error: ask"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("a long stream of short items does not nest", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 4, line: { maxItems: 10 } })
      const count = yield* Stream.range(1, 20_000).pipe(
        Stream.rechunk(1),
        gate.stream((n) => Effect.succeed(n)),
        Stream.runCount
      )
      expect(count).toBe(20_000)
      yield* nothingLeft(gate)
    })
  )
})

// --- every order, every place --------------------------------------------------------------------------------------

interface State {
  open: number
  readonly gate: Gate.Gate
}

const setup = Effect.gen(function* () {
  return { open: 0, gate: yield* Gate.make("g", { limit: 2, line: { maxItems: 2 } }) } satisfies State as State
})

/** Something that must be given back. */
const use = <A, E>(state: State, effect: Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => state.open++),
    () => effect,
    () =>
      Effect.andThen(
        Effect.yieldNow,
        Effect.sync(() => state.open--)
      )
  )

const check = (state: State) =>
  Effect.gen(function* () {
    expect(state.open).toBe(0)
    yield* nothingLeft(state.gate)
  })

const subjects: Record<string, (state: State) => Effect.Effect<unknown, unknown>> = {
  forEach: (state) =>
    state.gate.forEach([3, 1, 2, 0, 1], (n) => use(state, n === 0 ? Effect.yieldNow : Effect.sleep(n))),
  "forEach, with deadlines and urgencies": (state) =>
    state.gate.forEach([3, 1, 2, 0, 1, 2], (n) => use(state, Effect.sleep(n)), {
      ask: (n, index) => ({ within: 10 + n, urgency: (index % 3) as 0 | 1 | 2, maxWait: 30 }),
      maxAhead: 4
    }),
  "forEach that fails": (state) =>
    Effect.exit(
      state.gate.forEach([1, 2, 3, 4, 5], (n) => use(state, n === 3 ? Effect.fail("three") : Effect.sleep(n)))
    ),
  "forEach among callers and other calls": (state) =>
    Effect.all(
      [
        state.gate.forEach([2, 1, 2], (n) => use(state, Effect.sleep(n))),
        Effect.exit(state.gate.run(use(state, Effect.sleep(1)))),
        state.gate.forEach([1, 1, 1], (n) => use(state, Effect.forkChild(Effect.sleep(n)))),
        Effect.exit(
          Deadline.within(
            state.gate.forEach([2, 2, 2], (n) => use(state, Effect.sleep(n))),
            3
          )
        )
      ],
      { concurrency: "unbounded" }
    ),
  stream: (state) =>
    Stream.make(3, 1, 2, 1).pipe(
      Stream.rechunk(2),
      state.gate.stream((n) => use(state, Effect.sleep(n)), { maxAhead: 3 }),
      Stream.runForEach(() => Effect.sleep(1))
    ),
  "stream that is left": (state) =>
    Stream.make(3, 1, 2, 1, 2).pipe(
      state.gate.stream((n) => use(state, Effect.sleep(n))),
      Stream.take(2),
      Stream.runDrain
    )
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
          const { pairs } = yield* Sweep.pairs({ setup, subject, check }, { limit: 1000 })
          expect(pairs).toBeGreaterThan(50)
        }),
      30_000
    )

    it.effect(
      `${name}: many orders, from seeds`,
      () =>
        Effect.gen(function* () {
          const program = { setup, subject: (state: State) => Effect.exit(subject(state)), check }
          const { runs } = yield* Simulation.simulate(60, program, { cancelPoints: 10, yieldChance: 0.2 })
          expect(runs).toBeGreaterThan(600)
        }),
      30_000
    )
  }
})

describe("laws", () => {
  const limits: ReadonlyArray<number | ConcurrencyLimit.ConcurrencyLimit> = [
    1,
    3,
    Infinity,
    ConcurrencyLimit.aimd({ min: 1, max: 4 })
  ]

  it.effect("forEach comes to what Effect.forEach does, at any gate: all done once, in order, nothing left", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.record({
            items: fc.array(
              fc.record({ millis: fc.nat(4), urgency: fc.nat(7), within: fc.integer({ min: 200, max: 300 }) }),
              {
                maxLength: 25
              }
            ),
            limit: fc.constantFrom(...limits),
            overflow: fc.constantFrom(...Overflow.all),
            maxItems: fc.nat(6),
            maxAhead: fc.integer({ min: 1, max: 9 })
          }),
          ({ items, limit, maxAhead, maxItems, overflow }) =>
            Effect.gen(function* () {
              const gate = yield* Gate.make("law", { limit, line: { maxItems, overflow } })
              const done: Array<number> = []
              const fiber = yield* start(
                gate.forEach(
                  items,
                  ({ millis }, index) =>
                    Effect.map(millis === 0 ? Effect.void : Effect.sleep(millis), () => {
                      done.push(index)
                      return index
                    }),
                  { maxAhead, ask: ({ urgency, within }) => ({ urgency: urgency as Priority.Urgency, within }) }
                )
              )
              for (let i = 0; i < 110; i++) yield* TestClock.adjust(1)
              expect(fiber.pollUnsafe()).toEqual(Exit.succeed(items.map((_, index) => index)))
              expect(done.length).toBe(items.length)
              yield* nothingLeft(gate)
            }).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.runPromise)
        ),
        { numRuns: 60 }
      )
    )
  )

  it.effect("nothing is left of a thousand calls that were interrupted", () =>
    Leaks.expectNoLeaks(
      Effect.gen(function* () {
        const gate = yield* Gate.make("test", { limit: 3, line: { maxItems: 10 } })
        const gone = yield* Deferred.make<void>()
        for (let i = 0; i < 1000; i++) {
          const fiber = yield* start(gate.forEach(numbers(i % 20), () => Deferred.await(gone)))
          yield* Fiber.interrupt(fiber)
        }
        yield* nothingLeft(gate)
      }).pipe(Effect.scoped)
    )
  )
})
