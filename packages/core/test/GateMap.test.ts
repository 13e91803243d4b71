import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { ConcurrencyLimit, GateMap, Priority, RateWindow, Refused, Registry } from "@fairlead/core"
import type { Gate } from "@fairlead/core"
import { Simulation, Sweep } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"

/** Nobody uses any gate, the counts agree; and, when all is forgotten, no timer is left. */
const nothingLeft = (map: GateMap.GateMap) =>
  Effect.gen(function* () {
    const statistics = yield* map.statistics
    expect(GateMap.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting, statistics.idle]).toEqual([0, 0, statistics.keys])
    if (statistics.keys === 0) expect(timer.of(yield* Clock.Clock).size).toBe(0)
  })

const forgotten = (map: GateMap.GateMap) =>
  Effect.gen(function* () {
    yield* nothingLeft(map)
    expect((yield* map.statistics).keys).toBe(0)
  })

/** Lets everything run that can. */
const settle = Effect.forEach([1, 2, 3], () => Effect.yieldNow, { discard: true }).pipe(
  Effect.andThen(TestClock.adjust(0))
)

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Work that a test ends. */
const work = Effect.map(Deferred.make<void>(), (end) => ({
  body: Deferred.await(end),
  end: Effect.andThen(Deferred.succeed(end, undefined), settle)
}))

const defect = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "none"

const busyAt = (map: GateMap.GateMap, key: string) => Effect.exit(map.run(key, Effect.void, { maxWait: 0 }))

describe("GateMap", () => {
  it.effect("has a gate for each key, and keys hold up nobody but themselves", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 })
      const a = yield* work
      const first = yield* fork(map.run("a", a.body))
      const second = yield* fork(map.run("a", Effect.succeed("second")))
      expect(yield* map.run("b", Effect.succeed("b"))).toBe("b")
      expect(yield* Effect.succeed("piped").pipe(GateMap.run(map, "b"))).toBe("piped")
      const refused = yield* Effect.flip(GateMap.run(Effect.void, map, "a", { maxWait: 0 }))
      expect([refused.gate, refused.reason._tag]).toEqual(["hosts/a", "WaitExceeded"])
      const { keys, running, waiting } = yield* map.statistics
      expect({ keys, running, waiting }).toEqual({ keys: 2, running: 1, waiting: 1 })
      yield* a.end
      yield* Fiber.join(first)
      expect(yield* Fiber.join(second)).toBe("second")
      yield* nothingLeft(map)
    })
  )

  it.effect("gives a permit of a key's gate to work that has something to say of it", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 }, { maxKeys: 1 })
      const pause = (permit: Gate.Permit) => Effect.sync(() => permit.tighten({ closedFor: "1 second" }))
      yield* map.withPermit("a", pause)
      const refused = yield* Effect.flip(map.withPermit("a", () => Effect.void, { maxWait: 0 }))
      expect([refused.gate, refused.reason._tag]).toEqual(["hosts/a", "WaitExceeded"])
      // It has something to remember, so another key finds no room.
      expect((yield* Effect.flip(map.withPermit("b", () => Effect.void))).reason._tag).toBe("QueueFull")
      yield* TestClock.adjust("1 second")
      yield* map.withPermit("b", () => Effect.void)
      yield* nothingLeft(map)
    })
  )

  it.effect("asks for a key's options when it makes its gate", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const map = yield* GateMap.make("hosts", (key) => (asked.push(key), { limit: key.length }))
      const limitOf = (key: string) =>
        Effect.scoped(Effect.flatMap(map.get(key), (gate) => Effect.map(gate.statistics, ({ limit }) => limit)))
      expect([yield* limitOf("aaa"), yield* limitOf("b"), yield* limitOf("aaa")]).toEqual([3, 1, 3])
      expect(asked).toEqual(["aaa", "b"])
      yield* nothingLeft(map)
    })
  )

  it.effect("holds a permit of a key until the scope closes, or it is released", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 })
      const scope = yield* Scope.make()
      const permit = yield* Scope.provide(map.hold("a"), scope)
      expect(Exit.isFailure(yield* busyAt(map, "a"))).toBe(true)
      permit.release()
      expect(yield* busyAt(map, "a")).toEqual(Exit.void)
      expect((yield* map.statistics).idle).toBe(1)
      yield* Scope.close(scope, Exit.void)
      yield* nothingLeft(map)
      yield* Effect.scoped(Effect.andThen(map.hold("a"), settle))
      yield* nothingLeft(map)
    })
  )

  it.effect("a hold that is interrupted while it waits does not keep its key", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 }, { maxKeys: 1 })
      const scope = yield* Scope.make()
      const a = yield* work
      const fiber = yield* fork(map.run("a", a.body))
      const waiting = yield* fork(Scope.provide(map.hold("a"), scope))
      yield* Fiber.interrupt(waiting)
      yield* a.end
      yield* Fiber.join(fiber)
      yield* map.run("b", Effect.void)
      yield* Scope.close(scope, Exit.void)
      yield* nothingLeft(map)
    })
  )

  it.effect("a hold that is refused does not keep its key", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 }, { maxKeys: 1 })
      const scope = yield* Scope.make()
      const a = yield* work
      const fiber = yield* fork(map.run("a", a.body))
      yield* Effect.flip(Scope.provide(map.hold("a", { maxWait: 0 }), scope))
      yield* a.end
      yield* Fiber.join(fiber)
      yield* map.run("b", Effect.void)
      yield* Scope.close(scope, Exit.void)
      yield* nothingLeft(map)
    })
  )
})

describe("GateMap, forgetting", () => {
  it.effect("forgets a gate when it was kept for long enough, and then has no timer", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 }, { keep: "3 seconds" })
      yield* map.run("a", Effect.void)
      yield* TestClock.adjust("2 seconds")
      yield* map.run("b", Effect.void)
      yield* map.run("a", Effect.void)
      const keys = Effect.map(map.statistics, (all) => all.keys)
      yield* TestClock.adjust("2999 millis")
      expect(yield* keys).toBe(2)
      yield* TestClock.adjust("1 millis")
      yield* forgotten(map)
      expect(yield* map.statistics).toMatchObject({ made: 2, forgotten: 2, completed: 3, offered: 3 })
    })
  )

  it.effect("forgets at once where nothing is to be kept", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 }, { keep: 0 })
      yield* map.run("a", Effect.void)
      yield* TestClock.adjust(0)
      yield* forgotten(map)
    })
  )

  it.effect("never forgets a gate that somebody uses", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 }, { keep: "1 second" })
      const a = yield* work
      const running = yield* fork(map.run("running", a.body))
      const scope = yield* Scope.make()
      const gate = yield* Scope.provide(map.get("got"), scope)
      yield* Scope.provide(map.hold("held"), scope)
      yield* TestClock.adjust("1 hour")
      expect(yield* map.statistics).toMatchObject({ keys: 3, idle: 0, running: 2 })
      expect(Exit.isFailure(yield* busyAt(map, "running"))).toBe(true)
      yield* gate.resize(7)
      const again = yield* Effect.scoped(map.get("got"))
      expect((yield* again.statistics).limit).toBe(7)
      yield* a.end
      yield* Fiber.join(running)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 second")
      yield* forgotten(map)
    })
  )

  it.effect("remembers a key as long as its windows do: to be forgotten brings nobody anything", () =>
    Effect.gen(function* () {
      const windows = [RateWindow.per(2, "1 minute"), RateWindow.per(5, "5 seconds")]
      const map = yield* GateMap.make("hosts", { windows }, { keep: 0 })
      yield* map.run("a", Effect.void)
      yield* TestClock.adjust("30 seconds")
      yield* map.run("a", Effect.void)
      yield* TestClock.adjust("29 seconds")
      expect(Exit.isFailure(yield* busyAt(map, "a"))).toBe(true)
      yield* TestClock.adjust("1 second")
      expect(yield* busyAt(map, "a")).toEqual(Exit.void)
      yield* TestClock.adjust("59999 millis")
      expect((yield* map.statistics).keys).toBe(1)
      yield* TestClock.adjust("1 millis")
      yield* forgotten(map)
    })
  )

  it.effect("remembers what the other side said of a key, and what its tenants and keys have used up", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make(
        "hosts",
        { limit: 5, perTenant: { windows: [RateWindow.per(1, "10 seconds")] } },
        { keep: 0 }
      )
      yield* map.run("tenant", Effect.void)
      yield* Effect.scoped(Effect.flatMap(map.get("paused"), (gate) => gate.tighten({ closedFor: "20 seconds" })))
      const scope = yield* Scope.make()
      const permit = yield* Scope.provide(map.hold("late"), scope)
      yield* Scope.close(scope, Exit.void)
      permit.tighten({ closedFor: "30 seconds" })
      const keys = Effect.map(map.statistics, (all) => all.keys)
      yield* TestClock.adjust("9999 millis")
      expect(yield* keys).toBe(3)
      expect(Exit.isFailure(yield* busyAt(map, "tenant"))).toBe(true)
      yield* TestClock.adjust("1 millis")
      expect(yield* keys).toBe(2)
      expect(Exit.isFailure(yield* busyAt(map, "paused"))).toBe(true)
      yield* TestClock.adjust("10 seconds")
      expect(yield* keys).toBe(1)
      yield* TestClock.adjust("10 seconds")
      yield* forgotten(map)
    })
  )

  it.effect("keeps what a limit has learnt, for a while", () =>
    Effect.gen(function* () {
      const limit = ConcurrencyLimit.aimd({ min: 1, max: 100, initial: 50 })
      const map = yield* GateMap.make("hosts", { limit, judge: () => "overload" }, { keep: "1 minute" })
      const limitOf = Effect.scoped(
        Effect.flatMap(map.get("a"), (gate) => Effect.map(gate.statistics, (statistics) => statistics.limit!))
      )
      const before = yield* limitOf
      for (let i = 0; i < 5; i++) {
        yield* fork(map.run("a", Effect.sleep("1 second")))
        yield* TestClock.adjust("1 second")
      }
      const learnt = yield* limitOf
      expect(learnt).toBeLessThan(before)
      yield* TestClock.adjust("59 seconds")
      expect(yield* limitOf).toBe(learnt)
      yield* TestClock.adjust("1 minute")
      expect(yield* limitOf).toBe(before)
      yield* nothingLeft(map)
    })
  )
})

describe("GateMap, at its bound", () => {
  it.effect("makes room for one more key with the one that was idle for longest", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 }, { maxKeys: 2, keep: "1 hour" })
      const names = Effect.map(map.statistics, ({ gates }) => gates.map(({ name }) => name))
      yield* map.run("a", Effect.void)
      yield* TestClock.adjust("1 second")
      yield* map.run("b", Effect.void)
      yield* TestClock.adjust("1 second")
      yield* map.run("a", Effect.void)
      yield* map.run("c", Effect.void)
      expect(yield* names).toEqual(["hosts/a", "hosts/c"])
      yield* nothingLeft(map)
    })
  )

  it.effect("refuses one more key rather than lose one that is in use, or whose window is not empty", () =>
    Effect.gen(function* () {
      const windows = [RateWindow.per(1, "1 minute")]
      const map = yield* GateMap.make("hosts", { windows }, { maxKeys: 2 })
      const a = yield* work
      const fiber = yield* fork(map.run("a", a.body))
      yield* TestClock.adjust("20 seconds")
      yield* map.run("b", Effect.void)
      const refused = yield* Effect.flip(map.run("c", Effect.void))
      expect(refused.reason).toEqual(new Refused.QueueFull({ bound: "keys", limit: 2 }))
      expect([refused.gate, Duration.toMillis(refused.waited)]).toEqual(["hosts", 0])
      // Then the window of `b` is empty.
      expect(refused.retryAfter).toEqual(Option.some(Duration.minutes(1)))
      // Both are as they were.
      for (const key of ["a", "b"]) expect(Exit.isFailure(yield* busyAt(map, key))).toBe(true)
      yield* TestClock.adjust("59999 millis")
      yield* Effect.flip(Effect.scoped(map.get("c")))
      yield* TestClock.adjust("1 millis")
      yield* map.run("c", Effect.void)
      expect(yield* map.statistics).toMatchObject({ keys: 2, made: 3, forgotten: 1 })
      // Nobody knows when `a` ends.
      const last = yield* Effect.flip(map.hold("d"))
      expect(last.retryAfter).toEqual(Option.some(Duration.minutes(1)))
      yield* a.end
      yield* Fiber.join(fiber)
      yield* nothingLeft(map)
    })
  )

  it.effect("has no advice while all keys are in use", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 }, { maxKeys: 1 })
      const a = yield* work
      const fiber = yield* fork(map.run("a", a.body))
      const refused = yield* Effect.flip(map.run("b", Effect.void))
      expect(refused.retryAfter).toEqual(Option.none())
      expect(yield* map.statistics).toMatchObject({ offered: 2, refused: 1, running: 1 })
      yield* a.end
      yield* Fiber.join(fiber)
      yield* nothingLeft(map)
    })
  )
})

describe("GateMap, closing and telling", () => {
  it.effect("refuses all who wait, and all who come, when its scope closes; who runs goes on", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const map = yield* Scope.provide(GateMap.make("hosts", { limit: 1 }), scope)
      yield* map.run("idle", Effect.void)
      const [a, b] = [yield* work, yield* work]
      const running = [yield* fork(map.run("a", a.body)), yield* fork(map.run("b", b.body))]
      const waiting = [
        yield* fork(Effect.flip(map.run("a", Effect.void))),
        yield* fork(Effect.flip(map.run("b", Effect.void)))
      ]
      yield* Scope.close(scope, Exit.void)
      const told = [
        ...(yield* Fiber.joinAll(waiting)),
        yield* Effect.flip(map.run("a", Effect.void)),
        yield* Effect.flip(map.run("new", Effect.void))
      ]
      expect(told.map(({ reason }) => reason)).toEqual(told.map(() => new Refused.ShuttingDown()))
      expect(yield* map.statistics).toMatchObject({ keys: 2, running: 2 })
      yield* a.end
      yield* b.end
      yield* Fiber.joinAll(running)
      yield* forgotten(map)
    })
  )

  it.effect("is one entry in the registry, and shows the busiest gates, 20 at most", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 })
      yield* Effect.forEach(
        Array.from({ length: 50 }, (_, i) => `idle${i}`),
        (key) => map.run(key, Effect.void)
      )
      const end = yield* work
      const fibers = [
        yield* fork(map.run("runs", end.body)),
        yield* fork(map.run("waits", end.body)),
        yield* fork(map.run("waits", end.body))
      ]
      const entries = (yield* Registry.snapshot).filter(({ name }) => name.startsWith("hosts"))
      expect(entries.map(({ kind, name }) => [kind, name])).toEqual([["gate map", "hosts"]])
      const statistics = entries[0]!.statistics as GateMap.Statistics
      expect(statistics).toEqual(yield* map.statistics)
      expect(statistics).toMatchObject({ keys: 52, idle: 50, made: 52, forgotten: 0, running: 2, waiting: 1 })
      expect(statistics.gates.length).toBe(20)
      expect(statistics.gates.slice(0, 2).map(({ name }) => name)).toEqual(["hosts/waits", "hosts/runs"])
      expect(JSON.parse(JSON.stringify(statistics))).toEqual(statistics)
      yield* end.end
      yield* Fiber.joinAll(fibers)
      yield* nothingLeft(map)
    })
  )

  it.effect("check names what is broken", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 }, { maxKeys: 5 })
      yield* map.run("a", Effect.void)
      const good = yield* map.statistics
      const broken = (change: Partial<GateMap.Statistics>) => GateMap.check({ ...good, ...change })
      expect(broken({})).toEqual([])
      expect(broken({ offered: 2 })[0]).toBe(
        "hosts: expected offered = completed + failed + interrupted + refused + running + waiting, got 2 = 1 + 0 + 0 + 0 + 0 + 0"
      )
      expect(broken({ maxKeys: 0 })).toEqual(["hosts: expected at most 0 keys, got 1"])
      expect(broken({ made: 4 })).toEqual(["hosts: expected made = forgotten + keys, got 4 = 0 + 1"])
      expect(broken({ idle: 2 })).toEqual(["hosts: expected as many idle as there are, or fewer, got 2 of 1"])
      expect(broken({ running: 1, completed: 0 })).toEqual(["hosts: expected one in use where 1 run and 0 wait"])
      expect(broken({ gates: [{ ...good.gates[0]!, offered: 7 }] }).length).toBe(1)
    })
  )
})

describe("GateMap, under cancellation", () => {
  const subject = (map: GateMap.GateMap) =>
    Effect.all(
      [
        map.run("a", Effect.sleep("10 millis")),
        map.run("a", Effect.yieldNow).pipe(Priority.at(1)),
        Effect.ignore(map.run("b", Effect.void, { maxWait: "5 millis" })),
        Effect.scoped(Effect.andThen(map.hold("b"), Effect.sleep("10 millis"))),
        Effect.scoped(Effect.flatMap(map.get("a"), (gate) => gate.run(Effect.yieldNow))),
        Effect.ignore(map.run("c", Effect.yieldNow)),
        Effect.ignore(Effect.scoped(map.hold("c", { maxWait: 0 })))
      ],
      { concurrency: "unbounded", discard: true }
    )
  const setup = GateMap.make("swept", { limit: 1 }, { maxKeys: 2, keep: "3 millis" })

  it.live("passes the sweep: run, hold and get, with more keys than there is room for", () =>
    Effect.gen(function* () {
      const hits = yield* Sweep.sweep({ setup, subject, check: nothingLeft })
      expect(hits).toBeGreaterThan(60)
    })
  )

  it.live("passes pairs: one gives its permit back while another is interrupted", () =>
    Effect.gen(function* () {
      const { pairs } = yield* Sweep.pairs({ setup, subject, check: nothingLeft }, { limit: 3000 })
      expect(pairs).toBeGreaterThan(1000)
    })
  )

  it.live("passes a simulation with cancels", () =>
    Effect.gen(function* () {
      const { cancelPoints } = yield* Simulation.simulate(
        100,
        { setup, subject, check: nothingLeft },
        { cancelPoints: 20 }
      )
      expect(cancelPoints).toBeGreaterThan(1000)
    })
  )
})

describe("GateMap, whatever comes", () => {
  const calls = fc.array(
    fc.record({
      key: fc.constantFrom("a", "b", "c", "d", "e"),
      after: fc.integer({ min: 0, max: 400 }),
      lasts: fc.integer({ min: 0, max: 500 }),
      cutAfter: fc.oneof(fc.integer({ min: 0, max: 600 }), fc.constant(Infinity))
    }),
    { maxLength: 40, size: "max" }
  )
  const world = fc.record({ calls, maxKeys: fc.integer({ min: 1, max: 5 }), keep: fc.integer({ min: 0, max: 300 }) })

  const play = ({ calls, keep, maxKeys }: typeof world extends fc.Arbitrary<infer W> ? W : never) =>
    Effect.gen(function* () {
      const windows = [RateWindow.per(3, "1 second")]
      const map = yield* GateMap.make("hosts", { limit: 2, windows }, { maxKeys, keep })
      const starts = new Map<string, Array<number>>()
      const running = new Map<string, number>()
      const fibers: Array<Fiber.Fiber<Option.Option<Exit.Exit<void, Refused.Refused>>>> = []
      for (const { after, cutAfter, key, lasts } of calls) {
        yield* TestClock.adjust(after)
        const begins = Effect.map(Clock.currentTimeMillis, (now) => {
          const before = starts.get(key) ?? []
          expect(before.filter((at) => at > now - 1000).length).toBeLessThan(3)
          starts.set(key, [...before, now])
          running.set(key, (running.get(key) ?? 0) + 1)
          expect(running.get(key)).toBeLessThanOrEqual(2)
        })
        const ends = Effect.sync(() => running.set(key, running.get(key)! - 1))
        const body = Effect.acquireUseRelease(
          begins,
          () => Effect.sleep(lasts),
          () => ends
        )
        fibers.push(yield* fork(Effect.timeoutOption(Effect.exit(map.run(key, body)), cutAfter)))
        const statistics = yield* map.statistics
        expect(GateMap.check(statistics)).toEqual([])
        expect(statistics.keys).toBeLessThanOrEqual(maxKeys)
      }
      yield* TestClock.adjust("1 minute")
      for (const exit of yield* Fiber.joinAll(fibers)) {
        if (Option.isNone(exit) || Exit.isSuccess(exit.value)) continue
        expect(Cause.squash(exit.value.cause)).toBeInstanceOf(Refused.Refused)
      }
      expect((yield* map.statistics).offered).toBe(calls.length)
      yield* forgotten(map)
      return yield* map.statistics
    })

  it("keeps each key's limits over its whole life, forgotten in between or not", async () => {
    let [again, turnedAway] = [0, 0]
    await fc.assert(
      fc.asyncProperty(world, async (world) => {
        const { made, refused } = await Effect.runPromise(
          Effect.scoped(play(world)).pipe(Effect.provide(TestClock.layer()))
        )
        again += Math.max(0, made - 5)
        turnedAway += refused
      }),
      { numRuns: 200 }
    )
    expect(again).toBeGreaterThan(100)
    expect(turnedAway).toBeGreaterThan(100)
  })
})

describe("GateMap, misuse", () => {
  it.effect("is the maker's where it can be", () =>
    Effect.gen(function* () {
      const made = (options: GateMap.GateOptions, mapOptions?: GateMap.Options) =>
        Effect.map(Effect.exit(GateMap.make("bad", options, mapOptions)), defect)
      expect(yield* made({ limit: 0 })).toBe("RangeError: Expected a limit of at least 1 permit, got 0")
      expect(yield* made({}, { maxKeys: 0 })).toBe("RangeError: Expected maxKeys of at least 1, got 0")
      expect(yield* made({}, { keep: Number.NaN })).toBe("RangeError: Expected a duration, got NaN")
    })
  )

  it.effect("leaves nothing behind", () =>
    Effect.gen(function* () {
      const windows = [RateWindow.per(5, "1 second")]
      const map = yield* GateMap.make("hosts", (key) => (key === "bad" ? { limit: 0 } : { limit: 1, windows }))
      const dear = { cost: 6 }
      const cost = "RangeError: Expected a cost of at most 5 (5 per 1s), got 6"
      expect(defect(yield* Effect.exit(map.run("bad", Effect.void)))).toContain("at least 1 permit, got 0")
      expect(defect(yield* Effect.exit(map.run("a", Effect.void, dear)))).toBe(cost)
      const scope = yield* Scope.make()
      expect(defect(yield* Effect.exit(Scope.provide(map.hold("a", dear), scope)))).toBe(cost)
      yield* nothingLeft(map)
      yield* TestClock.adjust("10 seconds")
      yield* forgotten(map)
      yield* Scope.close(scope, Exit.void)
    })
  )
})
