import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { Batcher, ByteBudget, Gate, Pressure, Refused, WorkQueue } from "@fairlead/core"
import { endOf, fork, nothingLeft, reasonOf, settle, stage } from "./gates.ts"

const marks: Pressure.Marks = { tight: 0.75, critical: 0.9, margin: 0.05 }

const within = <A, E, R>(pressure: Pressure.Pressure, self: Effect.Effect<A, E, R>) =>
  Effect.provideService(self, Pressure.Pressure, pressure)

const shed = new Refused.Shed({ signal: "memory" })

describe("Pressure", () => {
  it.each([
    ["calm", 0, "calm"],
    ["calm", 0.749, "calm"],
    ["calm", 0.75, "tight"],
    ["calm", 0.9, "critical"],
    ["tight", 0.899, "tight"],
    ["tight", 0.9, "critical"],
    ["tight", 0.7, "tight"],
    ["tight", 0.699, "calm"],
    ["critical", 0.85, "critical"],
    ["critical", 0.849, "tight"],
    ["critical", 0.7, "tight"],
    ["critical", 0.1, "calm"]
  ] as const)("is %s, and at %d becomes %s", (level, part, next) => {
    expect(Pressure.next(level, part, marks)).toBe(next)
  })

  it("rises with what is in use, stays where it has come, and does not flap within the margin", () => {
    const level = fc.constantFrom<Pressure.Level>("calm", "tight", "critical")
    const rank = (level: Pressure.Level) => ["calm", "tight", "critical"].indexOf(level)
    const part = fc.double({ min: 0, max: 1.2, noNaN: true })
    fc.assert(
      fc.property(level, part, part, (level, one, other) => {
        const [less, more] = [Math.min(one, other), Math.max(one, other)]
        const at = (part: number) => Pressure.next(level, part, marks)
        expect(rank(at(less))).toBeLessThanOrEqual(rank(at(more)))
        expect(Pressure.next(at(one), one, marks)).toBe(at(one))
        if (more - less >= marks.margin) return
        // There and back again, at most one change.
        const there = Pressure.next(at(less), more, marks)
        const back = Pressure.next(there, less, marks)
        expect(Pressure.next(back, more, marks)).toBe(there)
        expect(Pressure.next(there, less, marks)).toBe(back)
        if (there !== at(less)) expect(back).toBe(there)
      })
    )
  })

  it("tells who listens of each change, when it has taken place, until he has had enough", () => {
    const pressure = Pressure.make("memory", { tight: { lines: 0.25 } })
    const seen: Array<unknown> = []
    const look = () => void seen.push([pressure.level, pressure.reaction.lines])
    const ends = [pressure.subscribe(look), pressure.subscribe(look)]
    expect([pressure.set("calm"), pressure.set("tight"), pressure.set("tight")]).toEqual([false, true, false])
    ends[0]!()
    pressure.set("critical")
    ends[1]!()
    pressure.set("calm")
    expect(seen).toEqual([
      ["tight", 0.25],
      ["tight", 0.25],
      ["critical", 1 / 8]
    ])
    expect(pressure.reaction).toEqual(Pressure.usual.calm)
  })

  it.effect("is calm where nobody measures", () =>
    Effect.gen(function* () {
      const pressure = yield* Pressure.Pressure
      expect(pressure).toBe(Pressure.calm)
      expect([pressure.level, pressure.reaction]).toEqual(["calm", Pressure.usual.calm])
      pressure.subscribe(() => {})()
    })
  )

  describe("misuse", () => {
    it("reactions that are none", () => {
      const make = (reaction: Partial<Pressure.Reaction>) => () => Pressure.make("memory", { tight: reaction })
      expect(make({ lines: 0 })).toThrow("Expected lines of tight to be above 0 and at most 1, got 0")
      expect(make({ batches: 1.1 })).toThrow("Expected batches of tight to be above 0 and at most 1, got 1.1")
      expect(make({ idle: -1 })).toThrow("Expected idle of tight to be 0 or more, got -1")
      expect(make({ sheds: 9 })).toThrow("Expected sheds of tight to be an urgency, or 8 for none, got 9")
    })
  })
})

describe("Pressure, lines", () => {
  it.effect("get shorter, put nobody out, and are as long as before when it is calm", () =>
    Effect.gen(function* () {
      const pressure = Pressure.make("memory")
      const gate = yield* within(
        pressure,
        Gate.make("test", { limit: 1, line: { maxItems: 6, levels: { 7: { maxItems: 3 } } } })
      )
      const { come, end, endAll } = stage(gate)
      const comes = (name: string, urgency: 3 | 7 = 3) =>
        Effect.map(come(name, { urgency }), (fiber) => fiber.pollUnsafe())
      yield* come("running")
      for (const name of ["a", "b", "c", "d"]) expect(yield* comes(name)).toBeUndefined()
      pressure.set("tight")
      expect(reasonOf(yield* comes("e"))).toEqual(shed)
      expect((yield* gate.statistics).waiting).toBe(4)
      yield* end("running", "a", "b")
      for (const urgency of [7, 3] as const) expect(yield* comes(`g${urgency}`, urgency)).toBeUndefined()
      expect(reasonOf(yield* comes("h"))).toEqual(shed)
      pressure.set("critical")
      yield* endAll
      yield* comes("i")
      // One may wait, however little is left of the bound.
      expect([yield* comes("j"), reasonOf(yield* comes("k"))]).toEqual([undefined, shed])
      pressure.set("calm")
      for (const name of ["l", "m", "n", "o", "p"]) expect(yield* comes(name)).toBeUndefined()
      expect(reasonOf(yield* comes("q"))).toEqual(new Refused.QueueFull({ bound: "items", limit: 6 }))
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("of a level get shorter, too, and so do bounds in cost and bytes", () =>
    Effect.gen(function* () {
      const pressure = Pressure.make("memory")
      const line = { maxCost: 8, maxBytes: 1000, levels: { 7: { maxItems: 4 } } }
      const gate = yield* within(pressure, Gate.make("test", { limit: 1, line }))
      const { come, endAll } = stage(gate)
      yield* come("running")
      pressure.set("tight")
      yield* come("a", { urgency: 7 })
      yield* come("b", { urgency: 7 })
      expect(reasonOf(endOf(yield* come("c", { urgency: 7 })))).toEqual(shed)
      expect(reasonOf(endOf(yield* come("d", { cost: 3 })))).toEqual(shed)
      yield* come("e", { bytes: 400 })
      expect(reasonOf(endOf(yield* come("f", { bytes: 200 })))).toEqual(shed)
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("that put others out put one out for each who comes, and no more", () =>
    Effect.gen(function* () {
      const pressure = Pressure.make("memory")
      const gate = yield* within(
        pressure,
        Gate.make("test", { limit: 1, line: { maxItems: 8, overflow: "evictLeast" } })
      )
      const { come, endAll } = stage(gate)
      yield* come("running")
      const waiting = []
      for (let i = 0; i < 8; i++) waiting.push(yield* come(`${i}`, { urgency: 6 }))
      pressure.set("critical")
      yield* come("urgent", { urgency: 0 })
      yield* settle
      expect(waiting.filter((fiber) => fiber.pollUnsafe() !== undefined)).toHaveLength(1)
      expect((yield* gate.statistics).waiting).toBe(8)
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("shed the least urgent where a gate is told so, at the door and at their turn", () =>
    Effect.gen(function* () {
      const pressure = Pressure.make("memory")
      const signal = Pressure.signal(pressure)
      const gate = yield* Gate.make("test", { limit: 1, protect: { shed: [signal] } })
      const { come, end, endAll } = stage(gate)
      yield* come("running")
      const less = yield* come("less", { urgency: 5 })
      const usual = yield* come("usual")
      pressure.set("tight")
      const least = yield* come("least", { urgency: 7 })
      pressure.set("critical")
      expect(reasonOf(endOf(yield* come("late", { urgency: 5 })))).toEqual(shed)
      yield* end("running")
      yield* end("usual")
      expect([reasonOf(endOf(less)), reasonOf(endOf(least))]).toEqual([shed, shed])
      expect(endOf(usual)._tag).toBe("Success")
      pressure.set("calm")
      yield* come("after", { urgency: 7 })
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("of queues hold their producers up, and let them go on when it is calm", () =>
    Effect.gen(function* () {
      const pressure = Pressure.make("memory")
      const end = yield* Deferred.make<void>()
      const options = { run: () => Deferred.await(end), line: { maxItems: 4 } }
      const queue = yield* within(pressure, WorkQueue.make<number>("mail", options))
      yield* queue.offerAll([1, 2, 3])
      pressure.set("tight")
      const offer = yield* fork(queue.offer(4))
      yield* settle
      expect((yield* queue.statistics).suspended).toBe(1)
      pressure.set("calm")
      yield* settle
      expect([endOf(offer)._tag, (yield* queue.statistics).waiting]).toEqual(["Success", 3])
      yield* Deferred.succeed(end, undefined)
      yield* queue.end
    })
  )

  it.effect("that nobody waits for any more listen to nobody", () =>
    Effect.gen(function* () {
      let listeners = 0
      const { subscribe, ...pressure } = Pressure.make("memory")
      const watched = {
        ...pressure,
        reaction: Pressure.usual.critical,
        subscribe: (listener: () => void) => {
          listeners++
          const end = subscribe(listener)
          return () => {
            listeners--
            end()
          }
        }
      }
      const end = yield* Deferred.make<void>()
      const options = { run: () => Deferred.await(end), line: { maxItems: 4 } }
      const budget = yield* ByteBudget.make("bytes", { max: 100 })
      const queue = yield* within(watched, WorkQueue.make<number>("mail", options)).pipe(
        Effect.provideService(ByteBudget.ByteBudget, budget)
      )
      yield* queue.offerAll([1, 2])
      const leaves = yield* fork(queue.offer(3))
      yield* settle
      expect(listeners).toBe(1)
      yield* Fiber.interrupt(leaves)
      expect(listeners).toBe(0)
      yield* fork(queue.offer(4))
      yield* settle
      expect(listeners).toBe(1)
      yield* Deferred.succeed(end, undefined)
      yield* settle
      expect(listeners).toBe(0)
      yield* queue.end
    })
  )

  it.effect("beside a budget: what either keeps out is told by its name", () =>
    Effect.gen(function* () {
      const pressure = Pressure.make("memory")
      const budget = yield* ByteBudget.make("bytes", { max: 100 })
      const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 2 } }).pipe(
        Effect.provideService(ByteBudget.ByteBudget, budget),
        Effect.provideService(Pressure.Pressure, pressure)
      )
      const { come, endAll } = stage(gate)
      yield* come("running")
      expect(reasonOf(endOf(yield* come("a", { bytes: 90 })))).toEqual(new Refused.Shed({ signal: "bytes" }))
      yield* come("b", { bytes: 10 })
      pressure.set("tight")
      expect(reasonOf(endOf(yield* come("c", { bytes: 10 })))).toEqual(shed)
      yield* endAll
      yield* nothingLeft(gate)
    })
  )
})

describe("Pressure, batches", () => {
  const make = (
    pressure: Pressure.Pressure,
    options: Partial<Batcher.Options<number, number, never, never, never>> = {}
  ) =>
    Effect.gen(function* () {
      const sent: Array<number> = []
      const made = Batcher.make<number, number>("users", {
        run: (items) => {
          sent.push(items.length)
          return Effect.succeed(items.map((item) => Result.succeed(item)))
        },
        maxItems: 8,
        linger: "1 second",
        ...options
      })
      return { sent, batches: yield* within(pressure, made) }
    })

  const submit = (batches: Batcher.Batcher<number, number>, count: number) =>
    Effect.gen(function* () {
      const fibers = yield* Effect.forEach(
        Array.from({ length: count }, (_, i) => i),
        (i) => fork(batches.submit(i))
      )
      yield* TestClock.adjust("2 seconds")
      return yield* Effect.forEach(fibers, Fiber.await)
    })

  it.effect("get smaller, and as large as before when it is calm", () =>
    Effect.gen(function* () {
      const pressure = Pressure.make("memory")
      const { batches, sent } = yield* make(pressure, { maxBytes: 1000, weigh: () => 100 })
      yield* submit(batches, 8)
      pressure.set("tight")
      yield* submit(batches, 8)
      pressure.set("critical")
      yield* submit(batches, 2)
      pressure.set("calm")
      yield* submit(batches, 8)
      expect(sent).toEqual([8, 4, 4, 1, 1, 8])
    })
  )

  it.effect("get smaller in bytes, too", () =>
    Effect.gen(function* () {
      const pressure = Pressure.make("memory")
      const { batches, sent } = yield* make(pressure, { maxItems: 100, maxBytes: 1000, weigh: () => 250 })
      yield* submit(batches, 4)
      pressure.set("tight")
      yield* submit(batches, 4)
      // One that is larger than that goes alone.
      pressure.set("critical")
      yield* submit(batches, 2)
      expect(sent).toEqual([4, 2, 2, 1, 1])
    })
  )

  it.effect("take fewer in, and a stream goes on as others leave", () =>
    Effect.gen(function* () {
      const pressure = Pressure.make("memory")
      const { batches, sent } = yield* make(pressure, { maxItems: 100, maxPending: 4 })
      pressure.set("tight")
      const exits = yield* submit(batches, 3)
      expect([exits[0]!._tag, exits[1]!._tag, reasonOf(exits[2])]).toEqual(["Success", "Success", shed])
      yield* fork(batches.submit(1))
      yield* fork(batches.submit(2))
      const stream = yield* fork(Stream.runCollect(Stream.make(3, 4).pipe(batches.stream())))
      yield* TestClock.adjust("1 millis")
      expect([(yield* Fiber.join(stream)).length, sent]).toEqual([2, [2, 2, 2]])
    })
  )
})
