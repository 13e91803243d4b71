import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { Leaks } from "@fairlead/testing"
import { Cause, Clock, Deferred, Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Flights } from "../../src/fetch/Flight.ts"
import type { Landed } from "../../src/fetch/Flight.ts"

const setUp = (statuses: ReadonlyArray<number> = [200], answersAfter: Duration.Input = "1 second") =>
  Effect.gen(function* () {
    const stopping = yield* Deferred.make<void>()
    const flights = new Flights(yield* Clock.Clock, stopping, Duration.seconds(10))
    let next = 0
    const transport = flights.watch({
      exchange: () =>
        Effect.delay(
          Effect.sync(() => ({ status: statuses[next++]!, headers: [], body: Transport.empty })),
          answersAfter
        )
    })
    const call = Effect.scoped(
      transport.exchange("http://a.test", { method: "GET", target: "/x", headers: [], body: Transport.empty })
    )
    return { flights, call, stop: Deferred.succeed(stopping, undefined) }
  })

const failureOf = ({ exit }: Landed<unknown, unknown>) =>
  Exit.isFailure(exit) ? (Cause.squash(exit.cause) as { readonly _tag: string }) : undefined

describe("a flight", () => {
  it.effect("is counted while it waits and while it is sent", () =>
    Effect.gen(function* () {
      const { call, flights } = yield* setUp()
      const fiber = yield* Effect.forkChild(flights.fly(Effect.delay(call, "3 seconds")))
      yield* TestClock.adjust("2 seconds")
      expect([flights.taken, flights.exchanges]).toEqual([1, 0])
      yield* TestClock.adjust("1500 millis")
      expect([flights.taken, flights.exchanges]).toEqual([1, 1])
      yield* TestClock.adjust("1 second")
      const { exit, flight } = yield* Fiber.join(fiber)
      expect(Exit.isSuccess(exit)).toBe(true)
      expect([flights.taken, flights.exchanges, flights.cut]).toEqual([0, 0, 0])
      expect([flight.takenAt, flight.beganAt, flight.status, flight.url]).toEqual([0, 3_000, 200, "http://a.test/x"])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("tells attempts from redirects", () =>
    Effect.gen(function* () {
      const { call, flights } = yield* setUp([503, 302, 307, 304, 200], 0)
      const { flight } = yield* flights.fly(Effect.all([call, call, call, call, call]))
      expect([flight.exchanges, flight.redirects]).toEqual([5, 2])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("may take so long from when it is its turn, all attempts together; waiting does not count", () =>
    Effect.gen(function* () {
      const { call, flights } = yield* setUp([503, 503, 503], "4 seconds")
      const attempts = Effect.delay(Effect.all([call, call, call]), "1 hour")
      const fiber = yield* Effect.forkChild(flights.fly(attempts))
      yield* TestClock.adjust("1 hour")
      yield* TestClock.adjust("9999 millis")
      expect([flights.taken, flights.exchanges]).toEqual([1, 1])
      yield* TestClock.adjust("1 millis")
      const landed = yield* Fiber.join(fiber)
      expect(failureOf(landed)).toMatchObject({ _tag: "Timeout", phase: "total" })
      expect([landed.flight.exchanges, landed.flight.beganAt]).toEqual([3, 3_600_000])
      expect([flights.taken, flights.exchanges]).toEqual([0, 0])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("that has not begun is left when all is stopped; one that has comes to its end", () =>
    Effect.gen(function* () {
      const { call, flights, stop } = yield* setUp()
      const begun = yield* Effect.forkChild(flights.fly(call))
      const waits = yield* Effect.forkChild(flights.fly(Effect.delay(call, "1 hour")))
      yield* TestClock.adjust("500 millis")
      yield* stop
      expect(failureOf(yield* Fiber.join(waits))).toMatchObject({ _tag: "Left" })
      yield* TestClock.adjust("500 millis")
      expect(Exit.isSuccess((yield* Fiber.join(begun)).exit)).toBe(true)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("that is interrupted counts as cut, and lets go of its exchange", () =>
    Effect.gen(function* () {
      const { call, flights } = yield* setUp()
      const fiber = yield* Effect.forkChild(flights.fly(call))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(fiber)
      expect([flights.taken, flights.exchanges, flights.cut]).toEqual([0, 0, 1])
    }).pipe(Leaks.expectNoLeaks())
  )
})
