import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Context, Deferred, Duration, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, Reason } from "@fairlead/core"
import { Sweep } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"

/** How many entries the shared timer of this clock holds. */
const entries = Effect.map(Clock.clockWith(Effect.succeed), (clock) => timer.of(clock).size)

const nothingLeft = Effect.map(entries, (size) => expect(size).toBe(0))

describe("Deadline.within", () => {
  it.effect("gives the value of what ends in time", () =>
    Effect.gen(function* () {
      expect(yield* Effect.succeed(1).pipe(Deadline.within("1 second"))).toBe(1)
      const fiber = yield* Effect.forkChild(Effect.as(Effect.sleep("500 millis"), 2).pipe(Deadline.within("1 second")))
      yield* TestClock.adjust("500 millis")
      expect(yield* Fiber.join(fiber)).toBe(2)
      yield* nothingLeft
    })
  )

  it.effect("passes failures and defects through", () =>
    Effect.gen(function* () {
      expect(yield* Effect.flip(Effect.fail("no").pipe(Deadline.within("1 second")))).toBe("no")
      const exit = yield* Effect.exit(Effect.die("boom").pipe(Deadline.within("1 second")))
      expect(exit).toEqual(Exit.die("boom"))
    })
  )

  it.effect("cuts what does not, and says the budget and the time spent", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(Effect.flip(Effect.never.pipe(Deadline.within("1 second"))))
      yield* TestClock.adjust("999 millis")
      expect(fiber.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(fiber)
      expect(error).toBeInstanceOf(Deadline.DeadlineExceeded)
      expect(Duration.toMillis(error.timeBudget)).toBe(1000)
      expect(Duration.toMillis(error.spent)).toBe(1000)
      expect(error.waitingFor).toEqual(Option.none())
      expect(error.message).toBe("not done within 1s (1s spent)")
      yield* nothingLeft
    })
  )

  it.effect("waits for the clean-up of what it cuts", () =>
    Effect.gen(function* () {
      let cleaned = false
      const fiber = yield* Effect.forkChild(
        Effect.never.pipe(
          Effect.onInterrupt(() =>
            Effect.andThen(
              Effect.sleep("300 millis"),
              Effect.sync(() => (cleaned = true))
            )
          ),
          Deadline.within("1 second"),
          Effect.flip
        )
      )
      yield* TestClock.adjust("1200 millis")
      expect([cleaned, fiber.pollUnsafe()]).toEqual([false, undefined])
      yield* TestClock.adjust("100 millis")
      expect(cleaned).toBe(true)
      expect(Duration.toMillis((yield* Fiber.join(fiber)).spent)).toBe(1300)
      yield* nothingLeft
    })
  )

  it.effect("never starts an effect whose deadline has passed: a budget of zero is no budget", () =>
    Effect.gen(function* () {
      let started = false
      const error = yield* Effect.sync(() => (started = true)).pipe(Deadline.within(0), Effect.flip)
      expect(error._tag).toBe("DeadlineExceeded")
      expect(started).toBe(false)
    })
  )

  it.effect("takes the earliest of nested deadlines, and only the region that set it fails with it", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Effect.never.pipe(
          Deadline.within("10 seconds"),
          Effect.catchTag("DeadlineExceeded", () => Effect.sync(() => seen.push("inner"))),
          Deadline.within("1 second"),
          Effect.catchTag("DeadlineExceeded", () => Effect.sync(() => seen.push("outer")))
        )
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["outer"])
      yield* nothingLeft
    })
  )

  it.effect("fires inside uninterruptible code: the region is cut, the caller goes on", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.never.pipe(Deadline.within("1 second"), Effect.flip, Effect.uninterruptible)
      )
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(fiber))._tag).toBe("DeadlineExceeded")
    })
  )

  it.effect("ends children that were forked inside", () =>
    Effect.gen(function* () {
      let interrupted = false
      const fiber = yield* Effect.forkChild(
        Effect.gen(function* () {
          yield* Effect.forkChild(Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true))))
          yield* Effect.never
        }).pipe(Deadline.within("1 second"), Effect.flip)
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(interrupted).toBe(true)
    })
  )

  it.effect("interrupting the caller interrupts the region and waits for its clean-up", () =>
    Effect.gen(function* () {
      const cleaned = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        Effect.never.pipe(
          Effect.onInterrupt(() => Deferred.succeed(cleaned, undefined)),
          Deadline.within("1 second")
        ),
        { startImmediately: true }
      )
      yield* Fiber.interrupt(fiber)
      expect(yield* Deferred.isDone(cleaned)).toBe(true)
      expect(Exit.hasInterrupts(yield* Fiber.await(fiber))).toBe(true)
      yield* nothingLeft
    })
  )

  it.effect("loses no defect of the clean-up", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.exit(
          Effect.never.pipe(
            Effect.onInterrupt(() => Effect.die("in clean-up")),
            Deadline.within("1 second")
          )
        )
      )
      yield* TestClock.adjust("1 second")
      const exit = yield* Fiber.join(fiber)
      if (Exit.isSuccess(exit)) throw new Error("expected a failure")
      expect(exit.cause.reasons.map((reason) => reason._tag)).toEqual(["Fail", "Die"])
      expect(Cause.hasInterrupts(exit.cause)).toBe(false)
    })
  )

  it.effect("leaves no entry behind: a hundred thousand regions that end in time", () =>
    Effect.gen(function* () {
      const one = Effect.yieldNow.pipe(Deadline.within("1 hour"))
      yield* Effect.forEach(Array.from({ length: 100_000 }), () => one, { discard: true })
      yield* nothingLeft
    })
  )

  it.live("passes the sweep: no timer entry, no open resource, wherever an interrupt lands", () =>
    Effect.gen(function* () {
      const hits = yield* Sweep.sweep({
        setup: Effect.gen(function* () {
          return { open: 0, timer: timer.of(yield* Clock.Clock) }
        }),
        subject: (state) =>
          Effect.acquireUseRelease(
            Effect.sync(() => state.open++),
            () => Effect.sleep("30 millis"),
            () =>
              Effect.andThen(
                Effect.yieldNow,
                Effect.sync(() => state.open--)
              )
          ).pipe(
            Deadline.option("10 millis"),
            Deadline.within("20 millis"),
            Effect.ignore,
            Deadline.within("1 second")
          ),
        check: (state) => {
          expect(state.open).toBe(0)
          expect(state.timer.size).toBe(0)
        }
      })
      expect(hits).toBeGreaterThan(20)
    })
  )
})

describe("Deadline.option", () => {
  it.effect("is None where within would fail", () =>
    Effect.gen(function* () {
      expect(yield* Effect.succeed(1).pipe(Deadline.option("1 second"))).toEqual(Option.some(1))
      const fiber = yield* Effect.forkChild(Effect.never.pipe(Deadline.option("1 second")))
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(fiber)).toEqual(Option.none())
    })
  )

  it.effect("lets the error of a region inside pass", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.never.pipe(Deadline.within("1 second"), Deadline.option("2 seconds"), Effect.flip)
      )
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(fiber))._tag).toBe("DeadlineExceeded")
    })
  )
})

describe("Deadline.remaining", () => {
  it.effect("is infinite without a deadline, else what is left of the earliest", () =>
    Effect.gen(function* () {
      expect(yield* Deadline.remaining).toEqual(Duration.infinity)
      const fiber = yield* Effect.forkChild(
        Effect.andThen(Effect.sleep("400 millis"), Deadline.remaining).pipe(
          Deadline.within("5 seconds"),
          Deadline.within("1 second")
        )
      )
      yield* TestClock.adjust("400 millis")
      expect(Duration.toMillis(yield* Fiber.join(fiber))).toBeCloseTo(600, 3)
    })
  )

  it.effect("is inherited by children", () =>
    Effect.gen(function* () {
      const [left] = yield* Effect.all([Deadline.remaining, Effect.void], { concurrency: 2 }).pipe(
        Deadline.within("1 second")
      )
      expect(Duration.toMillis(left)).toBe(1000)
    })
  )
})

describe("Deadline.region", () => {
  it.effect("has no deadline until it is narrowed, and is never widened by narrowing", () =>
    Effect.gen(function* () {
      const left: Array<number> = []
      const note = Effect.map(Deadline.remaining, (duration) => left.push(Duration.toMillis(duration)))
      const fiber = yield* Effect.forkChild(
        Deadline.region((region) =>
          Effect.gen(function* () {
            yield* note
            yield* region.narrow("2 seconds")
            yield* note
            yield* region.narrow("5 seconds")
            yield* note
            yield* Effect.sleep("1 second")
            yield* region.narrow("500 millis")
            yield* note
            yield* Effect.never
          })
        ).pipe(Effect.flip)
      )
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("500 millis")
      expect(Duration.toMillis((yield* Fiber.join(fiber)).spent)).toBe(1500)
      expect(left).toEqual([Infinity, 2000, 2000, 500])
      yield* nothingLeft
    })
  )

  it.effect("cut for another reason it is interrupted, and no deadline was exceeded", () =>
    Effect.gen(function* () {
      const cut = Deadline.region((region) =>
        Effect.andThen(
          Effect.sync(() => region.cut(new Reason.ClientGone())),
          Effect.never
        )
      )
      const exit = yield* Effect.exit(cut)
      expect(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)).toBe(true)
    })
  )

  it.effect("outlives its deadline when that is lifted, but not the one around it", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Deadline.region((region) =>
          Effect.gen(function* () {
            yield* region.narrow("1 second")
            yield* Effect.yieldNow
            yield* region.lift
            yield* Effect.never
          })
        ).pipe(Effect.flip, Deadline.within("10 seconds"), Effect.flip)
      )
      yield* TestClock.adjust("5 seconds")
      expect(fiber.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(fiber)
      yield* nothingLeft
    })
  )
})

describe("Deadline.start", () => {
  it.effect("ends in an interrupt that says which deadline it exceeded", () =>
    Effect.gen(function* () {
      let exceeded: Deadline.DeadlineExceeded | undefined
      const fiber = Deadline.start(yield* Effect.context(), (region) => {
        region.narrowUnsafe(2_000)
        return Effect.onExit(Effect.never, () => Effect.sync(() => (exceeded = Deadline.exceededBy(region))))
      })
      yield* TestClock.adjust("2 seconds")
      expect(Exit.hasInterrupts(yield* Fiber.await(fiber))).toBe(true)
      expect(Duration.toMillis(exceeded!.timeBudget)).toBe(2_000)
      yield* nothingLeft
    })
  )

  it.effect("is cut by whoever holds the region, once, for the first reason", () =>
    Effect.gen(function* () {
      let region: Deadline.Region | undefined
      const fiber = Deadline.start(yield* Effect.context(), (given) => {
        region = given
        return Effect.never
      })
      region!.cut(new Reason.ClientGone())
      region!.cut(new Reason.Shutdown())
      expect(Exit.hasInterrupts(yield* Fiber.await(fiber))).toBe(true)
      expect(region!.reason).toEqual(new Reason.ClientGone())
      expect(Deadline.exceededBy(region!)).toBe(undefined)
    })
  )

  it.live("passes the sweep: narrowed and lifted, no timer entry is left wherever an interrupt lands", () =>
    Effect.gen(function* () {
      yield* Sweep.sweep({
        setup: Effect.gen(function* () {
          return { timer: timer.of(yield* Clock.Clock) }
        }),
        subject: () =>
          Deadline.region((region) =>
            Effect.gen(function* () {
              yield* region.narrow("20 millis")
              yield* Effect.sleep("10 millis")
              yield* region.lift
              yield* Effect.sleep("50 millis")
              yield* region.narrow("10 millis")
              yield* Effect.never
            })
          ).pipe(Effect.ignore),
        check: (state) => expect(state.timer.size).toBe(0)
      })
    })
  )
})

describe("Deadline.start", () => {
  it.effect("begins a region from outside, which ends by an interrupt where it was cut, and says how it exceeded", () =>
    Effect.gen(function* () {
      const context = yield* Effect.context<never>()
      let seen: Deadline.Region | undefined
      const fiber = Deadline.start(context, (region) => {
        seen = region
        return Effect.andThen(region.narrow("1 second"), Effect.never)
      })
      expect(Deadline.exceededBy(seen!)).toBe(undefined)
      yield* TestClock.adjust("1 second")
      expect(Exit.hasInterrupts(yield* Fiber.await(fiber))).toBe(true)
      expect(Duration.toMillis(Deadline.exceededBy(seen!)!.timeBudget)).toBe(1000)
      yield* nothingLeft
    })
  )
})

describe("Deadline.provide", () => {
  it.effect("gives other services and no others, in the region around", () =>
    Effect.gen(function* () {
      class One extends Context.Service<One, string>()("test/One") {}
      class Two extends Context.Service<Two, string>()("test/Two") {}
      const said = Effect.gen(function* () {
        const remaining = yield* Deadline.remaining
        return [Duration.toMillis(remaining), yield* Two, Option.isSome(yield* Effect.serviceOption(One))] as const
      })
      // A context of another place brings a region along, which is not that of who asks.
      const place = yield* Deadline.within(Effect.context<never>(), "1 minute")
      const elsewhere = Context.add(place, Two, "two")
      const provided = Deadline.provide(said, elsewhere).pipe(Effect.provideService(One, "one"))
      expect(yield* Deadline.within(provided, "5 seconds")).toEqual([5000, "two", false])
      expect(yield* provided).toEqual([Infinity, "two", false])
    })
  )
})
