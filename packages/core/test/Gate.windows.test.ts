import { describe, expect, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Gate, RateWindow, Refused } from "@fairlead/core"
import { atOnce, defect, endOf, fork, nothingLeft, reasonOf, settle } from "./gates.ts"

const perSecond = (limit: number, options?: RateWindow.Options) => ({
  windows: [RateWindow.per(limit, "1 second", options)]
})

/** When the next one begins, from now on, in milliseconds. */
const next = (gate: Gate.Gate, ask?: Gate.Ask) =>
  Effect.gen(function* () {
    const since = yield* Clock.currentTimeMillis
    const fiber = yield* fork(gate.run(Clock.currentTimeMillis, ask))
    yield* TestClock.adjust("1 hour")
    return (yield* Fiber.join(fiber)) - since
  })

describe("Gate, windows that count answers", () => {
  it.effect("a call counts as now until it has ended, and for one length from then on", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(1, { counts: "answer" }))
      yield* fork(gate.run(Effect.sleep("5 seconds")))
      expect(yield* next(gate)).toBe(6000)
      yield* nothingLeft(gate)
    })
  )

  it.effect("with a permit in hand the answer's head counts, and not the end; a failure is an answer", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(1, { counts: "answer" }))
      const streamed = yield* fork(
        Effect.scoped(
          Effect.gen(function* () {
            const permit = yield* gate.hold()
            yield* Effect.sleep("2 seconds")
            permit.answered()
            yield* Effect.sleep("1 minute")
          })
        )
      )
      expect(yield* next(gate)).toBe(3000)
      yield* Fiber.join(streamed)
      yield* fork(Effect.ignore(gate.run(Effect.andThen(Effect.sleep("500 millis"), Effect.fail("no")))))
      expect(yield* next(gate)).toBe(1500)
      yield* nothingLeft(gate)
    })
  )

  it.effect("sent counts once, however often it is said: it does not use up what another has reserved", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 9, ...perSecond(2) })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const sent = yield* gate.hold({ pending: true })
          const reserved = yield* gate.hold({ pending: true })
          sent.sent()
          yield* TestClock.adjust("500 millis")
          sent.sent()
          // As long as it is not sent it counts as now, whatever others say.
          yield* TestClock.adjust("600 millis")
          const third = yield* fork(gate.run(Effect.void))
          const fourth = yield* fork(gate.run(Effect.void))
          yield* settle
          expect([third.pollUnsafe(), fourth.pollUnsafe()]).toEqual([Exit.void, undefined])
          reserved.release()
          yield* Fiber.join(fourth)
        })
      )
      yield* TestClock.adjust("1 second")
      yield* nothingLeft(gate)
    })
  )

  it.effect("answered says sent, where that was forgotten; released unsent, nothing is counted", () =>
    Effect.gen(function* () {
      for (const counts of ["start", "answer"] as const) {
        const gate = yield* Gate.make("test", perSecond(1, { counts }))
        yield* Effect.scoped(Effect.map(gate.hold({ pending: true }), (permit) => permit.answered()))
        expect(yield* next(gate)).toBe(1000)
        yield* TestClock.adjust("1 second")
        yield* Effect.scoped(Effect.map(gate.hold({ pending: true }), (permit) => permit.release()))
        expect(yield* next(gate)).toBe(0)
        yield* nothingLeft(gate)
      }
    })
  )

  it.effect("beside one that counts starts: both hold", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        windows: [RateWindow.per(1, "10 seconds"), RateWindow.per(1, "1 second", { counts: "answer" })]
      })
      yield* fork(gate.run(Effect.sleep("3 seconds")))
      expect(yield* next(gate)).toBe(10_000)
      yield* fork(gate.run(Effect.sleep("30 seconds")))
      yield* TestClock.adjust(0)
      expect(yield* next(gate)).toBe(31_000)
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, settlement", () => {
  const settled = (gate: Gate.Gate, cost: number, actual: number, ...more: ReadonlyArray<number>) =>
    Effect.scoped(
      Effect.map(gate.hold({ cost }), (permit) => {
        permit.settle(actual)
        for (const again of more) permit.settle(again)
      })
    )

  it.effect("less is given back at once, and whoever waits for it begins", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(10))
      const held = yield* fork(
        Effect.scoped(
          Effect.gen(function* () {
            const permit = yield* gate.hold({ cost: 9 })
            yield* Effect.sleep("100 millis")
            permit.settle(2)
            yield* Effect.sleep("1 hour")
          })
        )
      )
      const waiting = yield* fork(gate.run(Clock.currentTimeMillis, { cost: 8 }))
      yield* TestClock.adjust("100 millis")
      yield* settle
      expect(endOf(waiting)).toEqual(Exit.succeed(100))
      yield* Fiber.interrupt(held)
      yield* nothingLeft(gate)
    })
  )

  it.effect("more is a debt: nothing begins before it is paid", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(10))
      yield* settled(gate, 1, 25)
      expect((yield* gate.statistics).windows[0]).toMatchObject({ used: 10, debt: 15 })
      // Ten now, ten after a second, five after two: and with those five in the window there is room for five.
      expect(yield* next(gate, { cost: 5 })).toBe(2000)
      yield* TestClock.adjust("1 hour")
      expect((yield* gate.statistics).windows[0]).toMatchObject({ used: 0, debt: 0 })
      yield* nothingLeft(gate)
    })
  )

  it.effect("only the first word counts; a tenant's own window is settled, too", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { ...perSecond(100), perTenant: perSecond(10) })
      yield* settled(gate, 4, 10, 100, 0)
      expect((yield* gate.statistics).windows[0]).toMatchObject({ used: 10, debt: 0 })
      expect(yield* next(gate)).toBe(1000)
      yield* nothingLeft(gate)
    })
  )

  it.effect("before it is sent, and then not sent at all", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(10))
      yield* Effect.scoped(Effect.map(gate.hold({ cost: 8, pending: true }), (permit) => permit.settle(3)))
      expect((yield* gate.statistics).windows[0]).toMatchObject({ used: 0, pending: 0, debt: 0 })
      yield* nothingLeft(gate)
    })
  )

  it.effect("misuse names the expectation and the value", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(10))
      for (const wrong of [-1, NaN, Infinity]) {
        expect(yield* defect(() => settled(gate, 1, wrong))).toBe(
          `RangeError: Expected a cost of at least 0, got ${wrong}`
        )
      }
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, the other side's word", () => {
  it.effect("closes it for as long as said, for all; and what waits begins when that is over", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(100))
      yield* gate.tighten({ closedFor: "400 millis" })
      expect(yield* atOnce(gate)).toBe("WaitExceeded")
      expect(yield* next(gate)).toBe(400)
      yield* nothingLeft(gate)
    })
  )

  it.effect("leaves so many until the reset; what is reserved is part of that", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(100))
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* gate.hold({ cost: 2, pending: true })
          yield* gate.tighten({ remaining: 5, resetsIn: "600 millis" })
          expect(yield* atOnce(gate, { cost: 4 })).toBe("WaitExceeded")
          expect(yield* atOnce(gate, { cost: 3 })).toBe("in")
          expect(yield* atOnce(gate)).toBe("WaitExceeded")
          expect((yield* gate.statistics).windows[0]!.hints).toEqual([{ remaining: 0, forMillis: 600 }])
        })
      )
      // Those two were never sent.
      expect(yield* atOnce(gate, { cost: 2 })).toBe("in")
      expect(yield* next(gate)).toBe(600)
      yield* nothingLeft(gate)
    })
  )

  it.effect("can only tighten, and holds for one length of the window at most", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(1))
      yield* gate.run(Effect.void)
      yield* gate.tighten({ remaining: 1000, resetsIn: 0 })
      yield* gate.tighten({ closedFor: 0 })
      expect(yield* atOnce(gate)).toBe("WaitExceeded")
      yield* TestClock.adjust("10 seconds")
      yield* gate.tighten({ closedFor: "1 day" })
      yield* gate.tighten({ closedFor: "10 millis" })
      expect(yield* next(gate)).toBe(1000)
      yield* nothingLeft(gate)
    })
  )

  it.effect("without windows: a pause, of an hour at most; what runs meanwhile goes on", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2 })
      const running = yield* fork(gate.run(Effect.as(Effect.sleep("1 minute"), "ran")))
      yield* gate.tighten({ closedFor: "2 minutes" })
      const since = yield* Clock.currentTimeMillis
      const waiting = yield* fork(gate.run(Clock.currentTimeMillis))
      yield* TestClock.adjust("1 minute")
      expect(endOf(running)).toEqual(Exit.succeed("ran"))
      yield* TestClock.adjust("1 minute")
      expect((yield* Fiber.join(waiting)) - since).toBe(120_000)
      yield* gate.tighten({ closedFor: "1 day" })
      expect(yield* next(gate)).toBe(3_600_000)
      yield* nothingLeft(gate)
    })
  )

  it.effect("misuse is a defect, of tighten and of the permit", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(5))
      const expected = "RangeError: Expected a remaining cost of at least 0, got -1"
      expect(yield* defect(() => gate.tighten({ remaining: -1 }))).toBe(expected)
      const held = Effect.scoped(Effect.map(gate.hold(), (permit) => permit.tighten({ remaining: -1 })))
      expect(yield* defect(() => held)).toBe(expected)
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, its scope closes", () => {
  it.effect("on callers of which the first lacks what the next have: nobody begins any more", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const gate = yield* Scope.provide(Gate.make("test", { windows: [RateWindow.per(5, "1 hour")] }), scope)
      yield* gate.run(Effect.void, { cost: 3 })
      let began = 0
      const waiting = yield* Effect.forEach([5, 1, 1], (cost) =>
        fork(
          gate.run(
            Effect.sync(() => began++),
            { cost }
          )
        )
      )
      yield* Scope.close(scope, Exit.void)
      yield* settle
      for (const fiber of waiting) expect(reasonOf(endOf(fiber))).toEqual(new Refused.ShuttingDown())
      expect(began).toBe(0)
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, who would wait for a window in vain", () => {
  it.effect("is refused at once where it certainly opens after the maxWait, and waits where it may open before", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { ...perSecond(1), line: { maxWait: "2 seconds" } })
      yield* gate.run(Effect.void)
      const { reason, retryAfter, waited } = yield* Effect.flip(gate.run(Effect.void, { maxWait: "999 millis" }))
      expect(reason).toEqual(new Refused.WaitExceeded({ maxWait: Duration.millis(999) }))
      expect(Duration.toMillis(waited)).toBe(0)
      // Not before the window opens.
      expect(Duration.toMillis(Option.getOrThrow(retryAfter))).toBeGreaterThanOrEqual(1000)
      expect(yield* next(gate, { maxWait: "1001 millis" })).toBe(1000)
      yield* nothingLeft(gate)
    })
  )

  it.effect("waits where the window opens at the very end of the maxWait, behind one who waits for it longer", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", perSecond(2))
      yield* gate.run(Effect.void, { cost: 2 })
      const first = yield* fork(gate.run(Effect.succeed("first")))
      const second = yield* fork(gate.run(Effect.succeed("second"), { maxWait: "1 second" }))
      yield* TestClock.adjust("1 second")
      expect(yield* Effect.all([Fiber.join(first), Fiber.join(second)])).toEqual(["first", "second"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("waits where one who holds a permit may say that it cost less, and not once he has", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { windows: [RateWindow.per(10, "1 second")] })
      const patient = gate.run(Effect.succeed("in time"), { cost: 9, maxWait: "500 millis" })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const permit = yield* gate.hold({ cost: 10 })
          const waiting = yield* fork(patient)
          yield* TestClock.adjust("100 millis")
          permit.settle(1)
          expect(yield* Fiber.join(waiting)).toBe("in time")
          expect((yield* Effect.flip(patient)).reason._tag).toBe("WaitExceeded")
        })
      )
      yield* TestClock.adjust("1 second")
      yield* Effect.scoped(gate.hold({ cost: 10 }))
      const last = yield* fork(patient)
      yield* settle
      expect(reasonOf(endOf(last))._tag).toBe("WaitExceeded")
      yield* nothingLeft(gate)
    })
  )

  it.effect("waits where a reservation may be given back in time", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 9, ...perSecond(1) })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const permit = yield* gate.hold({ pending: true })
          const waiting = yield* fork(gate.run(Effect.succeed("in time"), { maxWait: "500 millis" }))
          yield* TestClock.adjust("100 millis")
          permit.release()
          expect(yield* Fiber.join(waiting)).toBe("in time")
        })
      )
      yield* nothingLeft(gate)
    })
  )
})
