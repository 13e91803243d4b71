import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, Gate, Priority, RateWindow } from "@fairlead/core"
import { endOf, fork, nothingLeft, reasonOf, settle } from "./gates.ts"

/** One of 100 ms each, without a deadline. */
const work = Effect.sleep("100 millis")

const within = (gate: Gate.Gate, millis: number, effect: Effect.Effect<unknown> = work) =>
  gate.run(effect).pipe(Deadline.within(`${millis} millis`), fork)

const tooLate = (exit: Exit.Exit<unknown, unknown>): number => {
  const reason = reasonOf(exit)
  if (reason._tag !== "TooLate") throw new Error(`Expected TooLate, got ${reason._tag}`)
  return Duration.toMillis(reason.short)
}

/** A gate with one permit that knows how fast its line drains, and how long its work takes. */
const experienced = (options: Gate.Options = {}) =>
  Effect.gen(function* () {
    const gate = yield* Gate.make("test", { limit: 1, ...options })
    // From the first deadline on that waits it learns how long a permit is held.
    for (let i = 0; i < 100; i++) yield* fork(Deadline.within(gate.run(work), "1 minute"))
    yield* TestClock.adjust("10 seconds")
    expect((yield* gate.statistics).completed).toBe(100)
    return gate
  })

describe("Gate, too late by the line", () => {
  it.effect("who cannot be served by its deadline, as the line drains, is told so at the door", () =>
    Effect.gen(function* () {
      const gate = yield* experienced({ shares: "strict" })
      for (let i = 0; i < 11; i++) yield* fork(Priority.at(gate.run(work), 1))
      // One runs and ten wait: some 1.1 s until it would begin, and 0.1 s that it takes.
      const hopeless = yield* within(gate, 900)
      const hopeful = yield* within(gate, 1500)
      yield* settle
      const short = tooLate(endOf(hopeless))
      expect(short).toBeGreaterThan(200)
      expect(short).toBeLessThan(400)
      yield* TestClock.adjust("5 seconds")
      expect(Exit.isSuccess(endOf(hopeful))).toBe(true)
      yield* nothingLeft(gate)
    })
  )

  it.effect("the urgent are not, where they would be served", () =>
    Effect.gen(function* () {
      const gate = yield* experienced({ shares: "strict" })
      for (let i = 0; i < 50; i++) yield* fork(gate.run(work))
      const urgent = yield* fork(gate.run(work).pipe(Deadline.within("400 millis"), Priority.at(0)))
      const plain = yield* fork(gate.run(work).pipe(Deadline.within("400 millis"), Priority.at(7)))
      yield* settle
      expect(tooLate(endOf(plain))).toBeGreaterThan(4000)
      yield* TestClock.adjust("400 millis")
      expect(Exit.isSuccess(endOf(urgent))).toBe(true)
      yield* TestClock.adjust("5 seconds")
      yield* nothingLeft(gate)
    })
  )

  it.effect("who has less time left at its turn than the work takes is passed over, and told", () =>
    Effect.gen(function* () {
      const gate = yield* experienced()
      // It slows down: what was forecast at the door is not so.
      yield* fork(gate.run(Effect.sleep("1 second")))
      const late = yield* within(gate, 1050)
      const next = yield* fork(gate.run(Effect.succeed("next")))
      yield* TestClock.adjust("1 second")
      const short = tooLate(endOf(late))
      expect(short).toBeGreaterThan(40)
      expect(short).toBeLessThan(80)
      expect(endOf(next)).toEqual(Exit.succeed("next"))
      yield* nothingLeft(gate)
    })
  )

  it.effect("with nobody behind it, it may try: nobody else has use for the permit", () =>
    Effect.gen(function* () {
      const gate = yield* experienced()
      yield* fork(gate.run(Effect.sleep("1 second")))
      const late = yield* within(gate, 1050, Effect.sleep("40 millis"))
      yield* TestClock.adjust("1040 millis")
      expect(Exit.isSuccess(endOf(late))).toBe(true)
      yield* nothingLeft(gate)
    })
  )

  it.effect("who finds a permit free begins, however little time it has", () =>
    Effect.gen(function* () {
      const gate = yield* experienced()
      const quick = yield* within(gate, 5, Effect.succeed("quick"))
      yield* settle
      expect(endOf(quick)).toEqual(Exit.succeed("quick"))
      yield* nothingLeft(gate)
    })
  )

  it.effect("nothing is guessed of a gate that has seen little: the deadline decides", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, shares: "strict" })
      for (let i = 0; i < 10; i++) yield* fork(Priority.at(gate.run(work), 1))
      const waiting = yield* within(gate, 300)
      yield* TestClock.adjust("299 millis")
      expect(waiting.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect((yield* Effect.flip(Fiber.join(waiting)))._tag).toBe("DeadlineExceeded")
      yield* TestClock.adjust("1 second")
      yield* nothingLeft(gate)
    })
  )

  it.effect("what ran before anybody had a deadline says nothing of how long work takes", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("10 hours")
      const gate = yield* Gate.make("test", { limit: 40 })
      for (let i = 0; i < 40; i++) yield* fork(gate.run(work))
      const first = yield* within(gate, 60_000)
      yield* TestClock.adjust("1 second")
      expect(Exit.isSuccess(endOf(first))).toBe(true)
      for (let i = 0; i < 40; i++) yield* fork(gate.run(work))
      const next = yield* within(gate, 1000)
      yield* fork(gate.run(work))
      yield* TestClock.adjust("1 second")
      expect(Exit.isSuccess(endOf(next))).toBe(true)
      yield* nothingLeft(gate)
    })
  )

  it.effect("by a tenant's own window it is certain, and no guess", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perTenant: { windows: [RateWindow.per(1, "10 seconds")] } })
      yield* gate.run(Effect.void)
      yield* TestClock.adjust("3 seconds")
      const late = yield* within(gate, 5000)
      yield* settle
      expect(tooLate(endOf(late))).toBe(2000)
      yield* nothingLeft(gate)
    })
  )
})
