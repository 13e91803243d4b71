import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Context, Deferred, Duration, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, Deadline, Gate, Reason } from "@fairlead/core"
import { Simulation, Sweep } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"

const nothingLeft = Effect.map(Clock.Clock, (clock) => expect(timer.of(clock).size).toBe(0))
const manual = (text: string) => new Reason.Manual({ text })

/** Says in `seen` that it was cut, and why. */
const worker = (name: string, seen: Array<string>, length: Duration.Input) =>
  Effect.sleep(length).pipe(
    Effect.as(name),
    Effect.onInterrupt(() =>
      Effect.map(CancelScope.reason, (reason) =>
        seen.push(`${name}: ${Option.match(reason, { onNone: () => "no reason", onSome: (reason) => reason._tag })}`)
      )
    )
  )

describe("CancelScope.run", () => {
  it.effect("is Completed with the value of what ends by itself", () =>
    Effect.gen(function* () {
      expect(yield* CancelScope.run(() => Effect.succeed(1))).toEqual(new CancelScope.Completed({ value: 1 }))
      const fiber = yield* Effect.forkChild(CancelScope.run(() => Effect.as(Effect.sleep("1 second"), 2)))
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(fiber)).toEqual(new CancelScope.Completed({ value: 2 }))
      yield* nothingLeft
    })
  )

  it.effect("passes failures and defects through", () =>
    Effect.gen(function* () {
      expect(yield* Effect.flip(CancelScope.run(() => Effect.fail("no")))).toBe("no")
      expect(yield* Effect.exit(CancelScope.run(() => Effect.die("boom")))).toEqual(Exit.die("boom"))
    })
  )

  it.effect("is Cancelled with the reason when cut from outside, after the clean-up", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      let cleaned = false
      const fiber = yield* Effect.forkChild(
        scope.run(
          Effect.onInterrupt(Effect.never, () =>
            Effect.andThen(
              Effect.sleep("1 second"),
              Effect.sync(() => (cleaned = true))
            )
          )
        )
      )
      yield* Effect.yieldNow
      const cancel = yield* Effect.forkChild(scope.cancel("the user said stop"))
      yield* TestClock.adjust("999 millis")
      expect([cleaned, fiber.pollUnsafe(), cancel.pollUnsafe()]).toEqual([false, undefined, undefined])
      yield* TestClock.adjust("1 millis")
      expect(cleaned).toBe(true)
      expect(cancel.pollUnsafe()).toEqual(Exit.void)
      expect(yield* Fiber.join(fiber)).toEqual(new CancelScope.Cancelled({ reason: manual("the user said stop") }))
      yield* nothingLeft
    })
  )

  it.effect("is Cancelled when cut from inside, and nothing after the cancel runs, not even on its first stack", () =>
    Effect.gen(function* () {
      let went = false
      const outcome = yield* CancelScope.run((scope) =>
        Effect.andThen(
          scope.cancel(new Reason.ClientGone()),
          Effect.sync(() => (went = true))
        )
      )
      expect(outcome).toEqual(new CancelScope.Cancelled({ reason: new Reason.ClientGone() }))
      expect(went).toBe(false)
    })
  )

  it.effect("is Cancelled when cut from a region inside it", () =>
    Effect.gen(function* () {
      const outcome = yield* CancelScope.run((scope) =>
        Deadline.within(Effect.andThen(scope.cancel("deep"), Effect.never), "1 second")
      )
      expect(outcome).toEqual(new CancelScope.Cancelled({ reason: manual("deep") }))
      yield* nothingLeft
    })
  )

  it.effect("is DeadlineExceeded when its own time is up, whether in the body or in what it forked", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        CancelScope.run(
          () =>
            Effect.gen(function* () {
              yield* Effect.forkChild(worker("forked", seen, "10 seconds"))
              yield* worker("body", seen, "10 seconds")
            }),
          { within: "2 seconds" }
        )
      )
      yield* TestClock.adjust("2 seconds")
      const outcome = yield* Fiber.join(fiber)
      expect(outcome).toBeInstanceOf(Deadline.DeadlineExceeded)
      expect(seen.toSorted()).toEqual(["body: Deadline", "forked: Deadline"])
      yield* nothingLeft
    })
  )

  it.effect("a time of zero is no time: nothing starts", () =>
    Effect.gen(function* () {
      let started = false
      const outcome = yield* CancelScope.run(() => Effect.sync(() => (started = true)), { within: 0 })
      expect(outcome._tag).toBe("DeadlineExceeded")
      expect(started).toBe(false)
    })
  )

  it.effect("an interruption from outside interrupts, waits for the clean-up, and is no outcome", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(CancelScope.run(() => worker("a", seen, "1 second")))
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      expect(Exit.hasInterrupts(fiber.pollUnsafe()!)).toBe(true)
      expect(seen).toEqual(["a: no reason"])
      yield* nothingLeft
    })
  )

  it.effect("a cut around it interrupts it, and its finalizers read the reason of that cut", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const outer = yield* CancelScope.make()
      const fiber = yield* Effect.forkChild(
        outer.run(
          CancelScope.run(() => worker("inner", seen, "1 second")).pipe(
            Effect.onExit((exit) => Effect.sync(() => seen.push(exit._tag)))
          )
        )
      )
      yield* Effect.yieldNow
      yield* outer.cancel(new Reason.Shutdown())
      expect((yield* Fiber.join(fiber))._tag).toBe("Cancelled")
      expect(seen).toEqual(["inner: Shutdown", "Failure"])
    })
  )

  it.effect("what fails in the clean-up is not lost: it stands in place of the outcome", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        CancelScope.run((scope) =>
          Effect.andThen(scope.cancel(), Effect.never).pipe(Effect.onInterrupt(() => Effect.die("broken clean-up")))
        )
      )
      expect(exit._tag === "Failure" && exit.cause.reasons).toMatchObject([{ _tag: "Die", defect: "broken clean-up" }])
    })
  )

  it.effect("the reason rides on the interrupt of every region below", () =>
    Effect.gen(function* () {
      const reasons: Array<unknown> = []
      const note = Effect.onExit((exit: Exit.Exit<unknown, unknown>) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) {
            reasons.push(Context.getOrUndefined(Cause.annotations(exit.cause), Reason.Annotation))
          }
        })
      )
      const scope = yield* CancelScope.make()
      const fiber = yield* Effect.forkChild(
        scope.run(Effect.never.pipe(note, Deadline.within("1 minute"), note, Deadline.within("1 minute")))
      )
      yield* Effect.yieldNow
      yield* scope.cancel("down")
      yield* Fiber.join(fiber)
      expect(reasons).toEqual([manual("down"), manual("down")])
    })
  )
})

describe("misuse", () => {
  it.effect("a time that is no number is told, not taken for none", () =>
    Effect.sync(() => {
      const expected = new RangeError("Expected a duration, got NaN")
      expect(() => CancelScope.make({ within: "soon" as never })).toThrow(
        'Expected a duration such as "2 seconds" or 200 (milliseconds), got "soon"'
      )
      expect(() => CancelScope.make({ within: NaN })).toThrow(expected)
      expect(() => CancelScope.shield(Effect.void, { grace: NaN })).toThrow(expected)
      expect(() => Deadline.within(Effect.void, NaN)).toThrow(expected)
    })
  )
})

describe("a scope with several runs", () => {
  it.effect("runs what is piped into it", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      expect(yield* Effect.succeed(1).pipe(scope.run)).toEqual(new CancelScope.Completed({ value: 1 }))
    })
  )

  it.effect("cuts them all together, and waits for the slowest clean-up", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const scope = yield* CancelScope.make()
      const run = (name: string, cleanUp: Duration.Input) =>
        Effect.forkChild(
          scope.run(
            Effect.onInterrupt(Effect.never, () =>
              Effect.andThen(
                Effect.sleep(cleanUp),
                Effect.sync(() => seen.push(name))
              )
            )
          )
        )
      const fibers = [yield* run("slow", "3 seconds"), yield* run("quick", "1 second")]
      yield* Effect.yieldNow
      const cancel = yield* Effect.forkChild(scope.cancel())
      yield* TestClock.adjust("2 seconds")
      expect([seen, cancel.pollUnsafe()]).toEqual([["quick"], undefined])
      yield* TestClock.adjust("1 second")
      expect(seen).toEqual(["quick", "slow"])
      yield* Fiber.join(cancel)
      for (const fiber of fibers) expect((yield* Fiber.join(fiber))._tag).toBe("Cancelled")
    })
  )

  it.effect("is idempotent: the first reason wins, and a second cancel waits too", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      const fiber = yield* Effect.forkChild(scope.run(Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second"))))
      // The very first sleep on a test clock does not hold in a finalizer: it forks a warning that can be interrupted.
      yield* TestClock.adjust("1 millis")
      scope.cancelUnsafe("first")
      const second = yield* Effect.forkChild(scope.cancel("second"))
      yield* TestClock.adjust("999 millis")
      expect(second.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(second)
      expect(yield* Fiber.join(fiber)).toEqual(new CancelScope.Cancelled({ reason: manual("first") }))
      expect(scope.reason).toEqual(Option.some(manual("first")))
      yield* scope.cancel("third")
      expect(scope.reason).toEqual(Option.some(manual("first")))
    })
  )

  it.effect("one that was cut starts nothing more", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      yield* scope.cancel("over")
      let started = false
      expect(yield* scope.run(Effect.sync(() => (started = true)))).toEqual(
        new CancelScope.Cancelled({ reason: manual("over") })
      )
      expect(started).toBe(false)
    })
  )

  it.effect("all share one deadline, which can be tightened and lifted", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make({ within: "10 seconds" })
      const fiber = yield* Effect.forkChild(scope.run(Effect.never))
      yield* TestClock.adjust("1 second")
      yield* scope.narrow("1 minute")
      yield* scope.narrow("2 seconds")
      const late = yield* Effect.forkChild(
        scope.run(Effect.flatMap(Deadline.remaining, (left) => Effect.as(Effect.never, left)))
      )
      yield* TestClock.adjust("1999 millis")
      expect([fiber.pollUnsafe(), late.pollUnsafe()]).toEqual([undefined, undefined])
      yield* TestClock.adjust("1 millis")
      for (const each of [fiber, late]) expect((yield* Fiber.join(each))._tag).toBe("DeadlineExceeded")

      const lifted = yield* CancelScope.make({ within: "1 second" })
      const free = yield* Effect.forkChild(lifted.run(Effect.as(Effect.sleep("5 seconds"), "free")))
      yield* Effect.yieldNow
      yield* lifted.lift
      yield* TestClock.adjust("5 seconds")
      expect(yield* Fiber.join(free)).toEqual(new CancelScope.Completed({ value: "free" }))
      yield* nothingLeft
    })
  )

  it.effect("narrowing it never gives it more time", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make({ within: "1 second" })
      yield* scope.narrow("1 minute")
      yield* TestClock.adjust("1 second")
      expect(scope.reason).toEqual(Option.some(new Reason.Deadline()))
    })
  )

  it.effect("a cancel from inside does not wait for itself, though nothing can interrupt it there", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      let wentOn = false
      const inside = Effect.uninterruptible(
        Effect.andThen(
          scope.cancel("enough"),
          Effect.sync(() => (wentOn = true))
        )
      )
      expect(yield* scope.run(Effect.andThen(Effect.yieldNow, inside))).toMatchObject({ _tag: "Cancelled" })
      expect(wentOn).toBe(true)
    })
  )

  it.effect("a cancel after the deadline comes too late to be the reason", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make({ within: "1 second" })
      yield* TestClock.adjust("1 second")
      yield* scope.cancel("too late")
      expect(scope.reason).toEqual(Option.some(new Reason.Deadline()))
      expect((yield* scope.run(Effect.void))._tag).toBe("DeadlineExceeded")
    })
  )

  it.effect("a deadline that has passed cannot be lifted, though nothing ran then", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make({ within: "1 second" })
      yield* TestClock.adjust("1 second")
      yield* scope.lift
      expect((yield* scope.run(Effect.void))._tag).toBe("DeadlineExceeded")
    })
  )

  it.effect("a cancel whose waiter leaves goes on", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      const cleaned = yield* Deferred.make<void>()
      const slow = Effect.onInterrupt(Effect.never, () => Deferred.await(cleaned))
      const fiber = yield* Effect.forkChild(scope.run(slow), { startImmediately: true })
      const cancel = yield* Effect.forkChild(scope.cancel(), { startImmediately: true })
      yield* Fiber.interrupt(cancel)
      expect([Exit.hasInterrupts(yield* Fiber.await(cancel)), fiber.pollUnsafe()]).toEqual([true, undefined])
      expect((scope as unknown as { readonly waiters: ReadonlySet<unknown> }).waiters.size).toBe(0)
      yield* Deferred.succeed(cleaned, undefined)
      expect((yield* Fiber.join(fiber))._tag).toBe("Cancelled")
    })
  )
})

describe("CancelScope.reason", () => {
  it.effect("is None where nothing was cut", () =>
    Effect.gen(function* () {
      expect(yield* CancelScope.reason).toEqual(Option.none())
      expect(yield* CancelScope.run(() => CancelScope.reason)).toEqual(
        new CancelScope.Completed({ value: Option.none() })
      )
    })
  )

  it.effect("is the nearest's, also where a scope around it is cut while it cleans up; who ran that gets its own", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const outer = yield* CancelScope.make()
      const inner = yield* CancelScope.make()
      const tell = Effect.map(CancelScope.reason, (reason) => seen.push(Reason.format(Option.getOrThrow(reason))))
      const fiber = yield* Effect.never.pipe(
        Effect.onInterrupt(() => Effect.andThen(tell, Effect.andThen(Effect.sleep("1 second"), tell))),
        inner.run,
        outer.run,
        Effect.forkChild
      )
      yield* TestClock.adjust(0)
      inner.cancelUnsafe("inner")
      outer.cancelUnsafe("outer")
      yield* TestClock.adjust(0)
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(fiber)).toEqual(new CancelScope.Cancelled({ reason: manual("outer") }))
      expect(seen).toEqual(["Manual: inner", "Manual: inner"])
      yield* nothingLeft
    })
  )

  it.effect("is the first cut's: a deadline that passes during the clean-up does not change it", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const scope = yield* CancelScope.make()
      const tell = Effect.map(CancelScope.reason, (reason) => seen.push(Option.getOrThrow(reason)._tag))
      const fiber = yield* Effect.forkChild(
        scope.run(
          Effect.never.pipe(
            Effect.onInterrupt(() => Effect.andThen(Effect.andThen(tell, Effect.sleep("5 seconds")), tell)),
            Deadline.within("2 seconds")
          )
        )
      )
      yield* TestClock.adjust("1 second")
      scope.cancelUnsafe("by hand")
      yield* TestClock.adjust("5 seconds")
      expect(yield* Fiber.join(fiber)).toEqual(new CancelScope.Cancelled({ reason: manual("by hand") }))
      expect(seen).toEqual(["Manual", "Manual"])
      yield* nothingLeft
    })
  )
})

describe("CancelScope.shield", () => {
  it.effect("lets work go on when it is cut around, and cuts it after the grace", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const scope = yield* CancelScope.make()
      const fiber = yield* Effect.forkChild(
        scope.run(
          Effect.all(
            [
              CancelScope.shield(worker("short", seen, "3 seconds"), { grace: "5 seconds" }).pipe(
                Effect.tap(() => Effect.sync(() => seen.push("short: done")))
              ),
              CancelScope.shield(
                Effect.onExit(Effect.never, (exit) => Effect.sync(() => seen.push(`long: ${exit._tag}`))),
                { grace: "5 seconds" }
              )
            ],
            { concurrency: "unbounded" }
          )
        )
      )
      yield* TestClock.adjust("1 second")
      scope.cancelUnsafe()
      yield* TestClock.adjust("4999 millis")
      expect(seen).toEqual([])
      expect(fiber.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(seen).toEqual(["long: Failure"])
      // What must not be stopped halfway was, and that is told.
      const exit = yield* Fiber.await(fiber)
      expect(Exit.isFailure(exit) && exit.cause.reasons).toMatchObject([{ error: { _tag: "DeadlineExceeded" } }])
      yield* nothingLeft
    })
  )

  it.effect("in a finalizer the grace counts from the start, and a clean-up that hangs is cut and told", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Effect.never.pipe(
          Effect.onInterrupt(() =>
            Effect.never.pipe(
              CancelScope.shield({ grace: "5 seconds" }),
              Effect.catchTag("DeadlineExceeded", (error) => Effect.sync(() => seen.push(error.message)))
            )
          )
        )
      )
      yield* Effect.yieldNow
      const interrupt = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust("4999 millis")
      expect(interrupt.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(interrupt)
      expect(seen).toEqual(["not done within 5s (5s spent)"])
      yield* nothingLeft
    })
  )

  it.effect("gives clean-up a deadline of its own, though the one around has passed", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const fiber = yield* Effect.forkChild(
        Effect.never.pipe(
          Effect.onInterrupt(() =>
            Effect.gen(function* () {
              seen.push(Duration.toMillis(yield* Deadline.remaining))
              yield* CancelScope.shield(
                Effect.gen(function* () {
                  seen.push(Duration.toMillis(yield* Deadline.remaining))
                  seen.push(yield* Effect.as(Effect.sleep("1 second"), "flushed").pipe(Deadline.within("2 seconds")))
                  seen.push(Option.getOrThrow(yield* CancelScope.reason)._tag)
                }),
                { grace: "3 seconds" }
              ).pipe(Effect.orDie)
            })
          ),
          Deadline.within("1 second"),
          Effect.flip
        )
      )
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      expect(seen).toEqual([0, 3000, "flushed", "Deadline"])
      yield* nothingLeft
    })
  )

  it.effect("in clean-up that has gone on for longer than the grace, that still counts from its start", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const fiber = yield* Effect.forkChild(
        Effect.never.pipe(
          Effect.onInterrupt(() =>
            Effect.andThen(
              Effect.sleep("5 seconds"),
              CancelScope.shield(
                Effect.map(Deadline.remaining, (left) => seen.push(Duration.toMillis(left))),
                { grace: "3 seconds" }
              ).pipe(Effect.orDie)
            )
          ),
          Deadline.within("1 second"),
          Effect.flip
        )
      )
      yield* TestClock.adjust("6 seconds")
      yield* Fiber.join(fiber)
      expect(seen).toEqual([3000])
      yield* nothingLeft
    })
  )

  it.effect("a second cut around it gives it no second grace", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      const shielded = CancelScope.shield(Effect.never, { grace: "5 seconds" }).pipe(Deadline.within("1 second"))
      const fiber = yield* Effect.forkChild(Effect.exit(scope.run(shielded)), { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      yield* Effect.forkChild(scope.cancel(), { startImmediately: true })
      yield* TestClock.adjust("2999 millis")
      expect(fiber.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(fiber.pollUnsafe()).not.toBe(undefined)
      yield* nothingLeft
    })
  )

  it.effect("extends the deadline around it by the grace, and no further", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const fiber = yield* Effect.forkChild(
        CancelScope.shield(
          Effect.gen(function* () {
            seen.push(Duration.toMillis(yield* Deadline.remaining))
            yield* Effect.sleep("1500 millis")
            seen.push(Duration.toMillis(yield* Deadline.remaining))
            yield* Effect.never
          }),
          { grace: "2 seconds" }
        ).pipe(Deadline.within("1 second"), Effect.flip)
      )
      yield* TestClock.adjust("2999 millis")
      expect(fiber.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect((yield* Fiber.join(fiber))._tag).toBe("DeadlineExceeded")
      expect(seen).toEqual([3000, 1500])
      yield* nothingLeft
    })
  )

  it.effect("follows the deadline around it as that is tightened and lifted, and a deadline inside it is its own", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const look = Effect.map(Deadline.remaining, (left) => seen.push(Duration.toMillis(left)))
      yield* Deadline.region((region) =>
        Effect.gen(function* () {
          yield* region.narrow(100)
          yield* Effect.gen(function* () {
            yield* look
            yield* region.lift
            yield* look
            yield* region.narrow(10)
            yield* look
            yield* Deadline.within(look, 5)
          }).pipe(CancelScope.shield({ grace: 50 }))
          yield* look
        })
      )
      expect(seen).toEqual([150, Infinity, 60, 5, 10])
      yield* nothingLeft
    })
  )

  it.effect("without a cut it changes nothing", () =>
    Effect.gen(function* () {
      expect(yield* CancelScope.shield(Effect.succeed(1), { grace: "1 second" })).toBe(1)
      expect(yield* Effect.flip(CancelScope.shield(Effect.fail("no"), { grace: "1 second" }))).toBe("no")
      const fiber = yield* Effect.forkChild(
        CancelScope.shield(Effect.as(Effect.sleep("1 hour"), "done"), { grace: "1 second" })
      )
      yield* TestClock.adjust("1 hour")
      expect(yield* Fiber.join(fiber)).toBe("done")
      yield* nothingLeft
    })
  )
})

describe("what has ended", () => {
  it.effect("binds nobody: not a fiber that was forked in it and outlives it", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      const background = Effect.gen(function* () {
        yield* Effect.sleep("1 hour")
        return [
          Duration.toMillis(yield* Deadline.remaining),
          yield* CancelScope.reason,
          yield* Deadline.within(Effect.succeed("in time"), "1 second"),
          Duration.toMillis(yield* CancelScope.shield(Deadline.remaining, { grace: "1 second" }))
        ]
      })
      yield* TestClock.adjust(0)
      const forked = yield* Effect.forkChild(scope.run(Effect.forkDetach(background)).pipe(Deadline.within("1 second")))
      const outcome = yield* Fiber.join(forked)
      yield* scope.cancel()
      yield* TestClock.adjust("1 hour")
      if (outcome._tag !== "Completed") return yield* Effect.die(outcome)
      expect(yield* Fiber.join(outcome.value)).toEqual([Infinity, Option.none(), "in time", Infinity])
      yield* nothingLeft
    })
  )

  it.effect("tells the deadline that it met, though that was lifted in the clean-up", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.flip(
          Deadline.region((region) =>
            Effect.andThen(
              region.narrow("5 seconds"),
              Effect.onInterrupt(Effect.never, () => region.lift)
            )
          )
        )
      )
      yield* TestClock.adjust("5 seconds")
      expect((yield* Fiber.join(fiber)).message).toBe("not done within 5s (5s spent)")
      yield* nothingLeft
    })
  )
})

describe("a region inside code that cannot be interrupted", () => {
  it.effect("still ends at its own deadline when what is around it was cut before", () =>
    Effect.gen(function* () {
      const scope = yield* CancelScope.make()
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        scope.run(
          Effect.onInterrupt(Effect.never, () =>
            Effect.never.pipe(
              Deadline.within("1 second"),
              Effect.catchTag("DeadlineExceeded", () => Effect.sync(() => seen.push("clean-up cut")))
            )
          )
        )
      )
      yield* Effect.yieldNow
      scope.cancelUnsafe()
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(fiber))._tag).toBe("Cancelled")
      expect(seen).toEqual(["clean-up cut"])
      yield* nothingLeft
    })
  )

  it.effect("a gate's wait ends at the ambient deadline, by refusal", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("busy", { limit: 1 })
      const holder = yield* Effect.forkChild(gate.run(Effect.never))
      yield* Effect.yieldNow
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        gate.run(Effect.void).pipe(
          Effect.catchTag("Refused", (refused) => Effect.sync(() => seen.push(refused.reason._tag))),
          Effect.uninterruptible,
          Deadline.within("1 second")
        )
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.await(fiber)
      expect(seen).toEqual(["TooLate"])
      yield* Fiber.interrupt(holder)
      const statistics = yield* gate.statistics
      expect(Gate.check(statistics)).toEqual([])
      expect([statistics.refused, statistics.waiting, statistics.running]).toEqual([1, 0, 0])
      yield* nothingLeft
    })
  )
})

describe("interrupts at every step", () => {
  it.live("a cancel on the way in is not missed: what was not in the scope yet does not begin", () =>
    Simulation.simulate(
      300,
      Effect.gen(function* () {
        const scope = yield* CancelScope.make()
        const fiber = yield* Effect.forkChild(scope.run(Effect.never))
        yield* scope.cancel("enough")
        expect(yield* Fiber.join(fiber)).toEqual(new CancelScope.Cancelled({ reason: manual("enough") }))
      })
    )
  )

  it.effect("passes the sweep: no run, no waiter, no timer entry left, wherever an interrupt lands", () =>
    Effect.gen(function* () {
      const hits = yield* Sweep.sweep({
        setup: Effect.map(CancelScope.make({ within: "1 minute" }), (scope) => ({ scope, open: 0 })),
        subject: (state: { scope: CancelScope.CancelScope; open: number }) =>
          Effect.gen(function* () {
            const use = Effect.acquireUseRelease(
              Effect.sync(() => state.open++),
              () => Effect.sleep("1 second"),
              () => Effect.sync(() => state.open--)
            )
            const fiber = yield* Effect.forkChild(state.scope.run(use))
            yield* state.scope.run(use)
            yield* Effect.forkChild(state.scope.run(CancelScope.shield(use, { grace: "2 seconds" })), {
              startImmediately: true
            })
            yield* Effect.sleep("500 millis")
            yield* state.scope.cancel("done")
            yield* Fiber.join(fiber)
          }),
        check: (state) =>
          Effect.gen(function* () {
            expect(state.open).toBe(0)
            // Nothing runs in it: there is nobody to wait for.
            yield* state.scope.cancel()
            yield* nothingLeft
          })
      })
      expect(hits).toBeGreaterThan(40)
    })
  )
})

describe("nesting", () => {
  it.live("begins, ends and is cut five thousand regions deep without nesting the stack", () =>
    Effect.gen(function* () {
      const nest = (depth: number, body: Effect.Effect<void>): Effect.Effect<void, Deadline.DeadlineExceeded> =>
        depth === 0 ? body : Effect.suspend(() => Deadline.within(nest(depth - 1, body), "1 minute"))
      yield* nest(5_000, Effect.void)
      const latch = yield* Deferred.make<void>()
      const parked = yield* Deferred.make<void>()
      const fiber = yield* Effect.forkChild(
        nest(5_000, Effect.andThen(Deferred.succeed(parked, undefined), Deferred.await(latch)))
      )
      yield* Deferred.await(parked)
      yield* Deferred.succeed(latch, undefined)
      yield* Fiber.join(fiber)
      const again = yield* Deferred.make<void>()
      const cut = yield* Effect.forkChild(nest(5_000, Effect.andThen(Deferred.succeed(again, undefined), Effect.never)))
      yield* Deferred.await(again)
      yield* Fiber.interrupt(cut)
      yield* nothingLeft
    })
  )
})
