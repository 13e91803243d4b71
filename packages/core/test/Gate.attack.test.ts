/**
 * What went wrong once at a gate where several of its features met: nobody waits beside what it waits for, nobody passes
 * who may not, and what a user's function throws is its caller's.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Exit } from "effect"
import { TestClock } from "effect/testing"
import { ConcurrencyLimit, Gate, Priority, RateWindow, Tenant } from "@fairlead/core"
import { defect, endOf, fork, nothingLeft, settle, stage, timers } from "./gates.ts"

/** Who began, and when. */
const journal = () => {
  const lines: Array<string> = []
  const note = (name: string) => Effect.map(Clock.currentTimeMillis, (now) => void lines.push(`${name} ${now}`))
  return { lines, note }
}

const as = (tenant: string) => (effect: Effect.Effect<unknown, unknown>) =>
  fork(Effect.exit(effect).pipe(Tenant.as(tenant)))

describe("Gate, what a tenant's window lets in", () => {
  const windows = [RateWindow.per(1, "1 second")]

  it.effect("begins though somebody comes at the very instant at which it opens", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perTenant: { windows } })
      const { lines, note } = journal()
      // Sleeps to the instant for which the timer is set then, and is woken before it.
      yield* Effect.sleep("1 second").pipe(Effect.andThen(gate.run(note("c"))), as("t"))
      yield* as("t")(gate.run(note("a")))
      yield* as("t")(gate.run(note("b")))
      yield* TestClock.adjust("2 seconds")
      expect(lines).toEqual(["a 0", "b 1000", "c 2000"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("begins though somebody is turned away at that instant", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perTenant: { windows } })
      const { lines, note } = journal()
      yield* Effect.sleep("1 second").pipe(Effect.andThen(gate.run(note("c"), { maxWait: 0 })), as("t"))
      yield* as("t")(gate.run(note("a")))
      yield* as("t")(gate.run(note("b")))
      yield* TestClock.adjust("1 second")
      expect(lines).toEqual(["a 0", "b 1000"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("is not for those who come later and need less", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perTenant: { windows: [RateWindow.per(10, "1 second")] } })
      const { lines, note } = journal()
      // So that the one who waits is not the first that ever did.
      yield* as("other")(gate.run(Effect.void, { cost: 10 }))
      yield* as("other")(gate.run(Effect.void, { cost: 1 }))
      yield* as("t")(gate.run(note("small")))
      yield* as("t")(gate.run(note("large"), { cost: 10 }))
      for (let i = 0; i < 10; i++) {
        yield* TestClock.adjust(100)
        yield* as("t")(gate.run(note("small")))
      }
      expect(lines).toEqual(["small 0", "large 1000"])
      yield* TestClock.adjust("2 seconds")
      yield* nothingLeft(gate)
    })
  )

  it.effect("begins at a fraction of a millisecond that floats do not meet", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { lines, note } = journal()
      yield* TestClock.adjust(Duration.micros(100n))
      // 0.1 + 0.2 > 0.3
      yield* gate.tighten({ closedFor: Duration.micros(200n) }, "key")
      yield* as("")(gate.run(note("a"), { key: "key" }))
      yield* TestClock.adjust(Duration.micros(200n))
      expect(lines.length).toBe(1)
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, those who wait for room in the line", () => {
  it.effect("go on when a window opens, where nobody may wait in it", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(1, "1 second")], line: { maxItems: 0 } })
      const { lines, note } = journal()
      yield* as("")(gate.forEach(["a", "b", "c"], note))
      yield* TestClock.adjust("2 seconds")
      expect(lines).toEqual(["a 0", "b 1000", "c 2000"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("go on beside a line that is full of those who are parked", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 2 } })
      const { lines, note } = journal()
      const done = yield* Deferred.make<void>()
      yield* as("")(gate.run(Deferred.await(done)))
      yield* as("")(gate.run(note("a"), { key: "closed" }))
      yield* as("")(gate.run(note("b"), { key: "closed" }))
      yield* as("")(gate.forEach(["c"], note, { ask: () => ({ key: "open" }) }))
      yield* gate.tighten({ closedFor: "1 second" }, "closed")
      yield* Deferred.succeed(done, undefined)
      yield* settle
      expect(lines).toEqual(["c 0"])
      yield* TestClock.adjust("1 second")
      expect(lines.slice(1)).toEqual(["a 1000", "b 1000"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("of one tenant: as many as there are, whatever may be parked", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 10, perTenant: { limit: 2 }, line: { maxItems: 4 } })
      const call = yield* as("t")(gate.forEach(Array.from({ length: 20 }), () => Effect.sleep(10)))
      yield* TestClock.adjust(100)
      expect(call.pollUnsafe()).toMatchObject({ value: { _tag: "Success" } })
      expect(yield* gate.statistics).toMatchObject({ completed: 20, refused: 0 })
      yield* nothingLeft(gate)
    })
  )

  it.effect("take turns with what is their own, where the gate has room for more", () =>
    Effect.gen(function* () {
      const windows = [RateWindow.per(100, "1 second")]
      const gate = yield* Gate.make("test", { windows, perTenant: { limit: 1 }, line: { maxItems: 0 } })
      const { lines, note } = journal()
      yield* as("t")(gate.forEach(["a", "b", "c"], (name) => Effect.andThen(note(name), Effect.sleep(10))))
      yield* TestClock.adjust(30)
      expect(lines).toEqual(["a 0", "b 10", "c 20"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("come after one of their tenant that is parked, and needs more", () =>
    Effect.gen(function* () {
      const windows = [RateWindow.per(10, "1 second")]
      const gate = yield* Gate.make("test", { perTenant: { windows }, line: { maxItems: 2 } })
      const { lines, note } = journal()
      yield* as("t")(gate.run(note("half"), { cost: 5 }))
      yield* as("t")(gate.run(note("large"), { cost: 10 }))
      yield* as("t")(gate.forEach(["a", "b", "c"], note))
      yield* TestClock.adjust("2 seconds")
      expect(lines).toEqual(["half 0", "large 1000", "a 2000", "b 2000", "c 2000"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("are asked again when the line gets empty while they are asked", () =>
    Effect.gen(function* () {
      const windows = [RateWindow.per(1, 10, { counts: "answer" })]
      const gate = yield* Gate.make("test", { limit: 2, perTenant: { windows }, line: { maxItems: 2 } })
      const { lines, note } = journal()
      yield* as("t")(gate.forEach(["a", "b", "c", "d"], (name) => Effect.andThen(note(name), Effect.sleep(1))))
      yield* TestClock.adjust(34)
      expect(lines).toEqual(["a 0", "b 11", "c 22", "d 33"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("urgent, are not held up by others whose level is full", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { levels: { 7: { maxItems: 1 } } } })
      const { lines, note } = journal()
      const done = yield* Deferred.make<void>()
      yield* as("")(gate.run(Deferred.await(done)))
      yield* as("")(gate.forEach(["b1", "b2"], note).pipe(Priority.background))
      yield* as("")(gate.forEach(["u1", "u2"], note).pipe(Priority.at(0)))
      expect((yield* gate.statistics).waitingByUrgency).toEqual([2, 0, 0, 0, 0, 0, 0, 1])
      yield* Deferred.succeed(done, undefined)
      yield* settle
      expect(lines).toEqual(["u1 0", "u2 0", "b1 0", "b2 0"])
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, among tenants and urgencies", () => {
  it.effect("ever new tenants starve nobody", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, line: { maxItems: 10 } })
      const { began, come, end } = stage(gate)
      yield* come("r0", { tenant: "r" })
      yield* come("r1", { tenant: "r" })
      yield* come("r2", { tenant: "r" })
      yield* come("n", { tenant: "n" })
      for (let i = 0; i < 30; i++) {
        yield* come(`f${i}`, { tenant: `f${i}` })
        yield* end(began.at(-1)!)
      }
      expect(began.indexOf("r2")).toBeGreaterThan(0)
      expect(began.indexOf("r2")).toBeLessThan(10)
      while ((yield* gate.statistics).running > 0) yield* end(began.at(-1)!)
      yield* nothingLeft(gate)
    })
  )

  it.effect("an urgent one that is parked does not wait for a less urgent one of its tenant", () =>
    Effect.gen(function* () {
      const own = (tenant: string) => (tenant === "t" ? { limit: 1 } : undefined)
      const gate = yield* Gate.make("test", { limit: 2, perTenant: own, shares: "strict" })
      const { began, come, end } = stage(gate)
      yield* come("t", { tenant: "t" })
      yield* come("z0", { tenant: "z" })
      yield* come("background", { tenant: "t", urgency: 7 })
      for (let i = 1; i < 9; i++) yield* come(`z${i}`, { tenant: "z", urgency: 1 })
      // Now the one in the background is back in the line, and far from being next.
      yield* end("t")
      yield* come("u1", { tenant: "t", urgency: 0 })
      yield* end("z0")
      expect(began.at(-1)).toBe("u1")
      yield* come("u2", { tenant: "t", urgency: 0 })
      yield* end("u1")
      expect(began.at(-1)).toBe("u2")
      for (let i = 0; i < began.length; i++) yield* end(began[i]!)
      expect(began.at(-1)).toBe("background")
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, what the user's own code does in a bulk call", () => {
  const fails = (exit: Exit.Exit<unknown, unknown>) =>
    Exit.isSuccess(exit)
      ? []
      : exit.cause.reasons.map((reason) =>
          String(reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : reason._tag)
        )

  it.effect("a source that throws when it is put down adds that to why it was", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2, line: { maxItems: 2 } })
      const source = {
        *[Symbol.iterator]() {
          try {
            for (let i = 0; ; i++) yield i
          } finally {
            // oxlint-disable-next-line no-unsafe-finally
            throw new Error("put down")
          }
        }
      }
      const body = (i: number) => (i === 0 ? Effect.andThen(Effect.sleep(10), Effect.fail("first")) : Effect.never)
      const call = yield* fork(Effect.exit(gate.forEach(source, body)))
      yield* TestClock.adjust(10)
      expect(fails(yield* endOf(call))).toEqual(["first", "Error: put down"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("a source may end an item of its own call, and is put down when it has given what it gives", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const failed = Deferred.makeUnsafe<void, string>()
      const seen: Array<string> = []
      function* source() {
        try {
          yield 0
          Deferred.doneUnsafe(failed, Exit.fail("first"))
          yield 1
          yield 2
        } finally {
          seen.push("put down")
        }
      }
      const call = yield* fork(
        Effect.exit(
          gate.forEach(source(), (i) => (i === 0 ? Deferred.await(failed) : Effect.sync(() => seen.push("more"))))
        )
      )
      yield* settle
      expect(fails(yield* endOf(call))).toEqual(["first"])
      expect(seen).toEqual(["put down"])
      yield* nothingLeft(gate)
    })
  )

  it.live("a source without end of items that end at once leaves others their turn", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      let taken = 0
      function* source() {
        while (true) yield taken++
      }
      const exit = yield* gate
        .forEach(source(), () => Effect.void, { discard: true })
        .pipe(Effect.timeout("20 millis"), Effect.exit)
      expect(fails(exit).join()).toContain("Timeout")
      const then = taken
      yield* Effect.sleep("1 millis")
      expect(taken).toBe(then)
      expect(Gate.check(yield* gate.statistics)).toEqual([])
    })
  )

  it.effect("a `judge` that throws ends the call with that, and costs no permit", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        limit: ConcurrencyLimit.aimd({ min: 1, max: 2 }),
        judge: () => {
          throw new Error("judge")
        }
      })
      for (const items of [[1, 2, 3], [1]]) {
        const call = yield* fork(Effect.exit(gate.forEach(items, () => Effect.sleep(10))))
        yield* TestClock.adjust(100)
        expect(fails(yield* endOf(call))[0]).toBe("Error: judge")
        yield* nothingLeft(gate)
      }
    })
  )

  it.effect(
    "a `perTenant` that throws ends the call, whether the item had room or waited for it, and cuts the rest",
    () =>
      Effect.gen(function* () {
        const gate = yield* Gate.make("test", {
          limit: 1,
          line: { maxItems: 1 },
          perTenant: (tenant) => {
            if (tenant === "bad") throw new Error("no such tenant")
            return undefined
          }
        })
        const ask = (tenant: string) => ({ tenant })
        for (const items of [["bad"], ["a", "bad"], ["a", "b", "c", "bad", "d"]]) {
          const before = yield* fork(gate.run(Effect.sleep(10)))
          const call = yield* fork(Effect.exit(gate.forEach(items, () => Effect.sleep(10), { ask })))
          yield* TestClock.adjust(100)
          expect(fails(yield* endOf(call))).toEqual(["Error: no such tenant"])
          expect(endOf(before)).toEqual(Exit.void)
          yield* nothingLeft(gate)
        }
      })
  )
})

describe("Gate, numbers", () => {
  it.effect("what has waited leaves nothing of its bytes, whole or not", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { come, endAll } = stage(gate)
      yield* come("a")
      yield* come("b", { bytes: 0.1 })
      yield* come("c", { bytes: 0.2 })
      yield* endAll
      yield* nothingLeft(gate)
      expect((yield* gate.statistics).waitingBytes).toBe(0)
    })
  )

  it("costs and bytes without end are misuse", () => {
    const gate = Effect.runSync(Effect.scoped(Gate.make("test", { limit: 1 })))
    expect(() => gate.run(Effect.void, { cost: Infinity })).toThrow("Expected a cost of at most")
    expect(() => gate.run(Effect.void, { bytes: Infinity })).toThrow("Infinity")
  })

  it.effect("a limit that is no number is a defect of its maker, and limits as it did before", () =>
    Effect.gen(function* () {
      const broken: ConcurrencyLimit.ConcurrencyLimit = {
        name: "broken",
        min: 1,
        max: 2,
        initial: { limit: 1 },
        step: () => ({ limit: NaN })
      }
      const gate = yield* Gate.make("test", { limit: broken })
      expect(yield* defect(() => gate.run(Effect.void))).toContain("Expected a limit from 1 to 2 of broken, got NaN")
      expect((yield* gate.statistics).limit).toBe(1)
      expect(yield* timers).toBe(0)
    })
  )
})
