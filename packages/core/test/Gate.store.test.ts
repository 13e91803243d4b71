import { describe, expect, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber, Logger, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Gate, RateWindow, Refused } from "@fairlead/core"
import { all, interruptedAnywhere } from "./sweeps.ts"

const now = { maxWait: 0 }

/** While it waits, a second passes. */
const soon = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(effect)
    yield* TestClock.adjust("1 second")
    return yield* Fiber.join(fiber)
  })

/** How many start at once in a gate of its own. */
const starts = (options: Gate.Options) =>
  Effect.scoped(
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", options)
      let started = 0
      for (let i = 0; i < 20; i++) {
        const came = yield* Effect.exit(gate.run(Effect.void, now))
        if (came._tag === "Success") started++
      }
      expect(Gate.check(yield* gate.statistics)).toEqual([])
      return started
    })
  )

describe("Gate, a store", () => {
  it.effect("a gate that is made anew goes on counting where the one before ended", () =>
    Effect.gen(function* () {
      const store = RateWindow.memory()
      const per = (limit: number) => ({ windows: [RateWindow.per(limit, "1 minute")], store })
      expect(yield* starts(per(5))).toBe(5)
      expect(yield* starts(per(5))).toBe(0)
      expect(yield* starts(per(8))).toBe(3)
      yield* TestClock.adjust("1 minute")
      expect(yield* starts(per(5))).toBe(5)
      expect(yield* starts({ windows: [RateWindow.per(5, "1 minute")] })).toBe(5)
    })
  )

  it.effect("finds the window of the same length, wherever it stands now", () =>
    Effect.gen(function* () {
      const store = RateWindow.memory()
      const [minute, hour] = [RateWindow.per(10, "1 minute"), RateWindow.per(15, "1 hour")]
      expect(yield* starts({ windows: [minute, hour], store })).toBe(10)
      yield* TestClock.adjust("1 minute")
      expect(yield* starts({ windows: [hour, minute], store })).toBe(5)
    })
  )

  it.effect("says what it could not take up, and opens", () => {
    const logged: Array<unknown> = []
    const log = Logger.make(({ message }) => logged.push(message))
    return Effect.gen(function* () {
      const store: RateWindow.Store = {
        load: () => Effect.succeed(Option.some([{ nonsense: true } as unknown as RateWindow.Snapshot])),
        save: () => Effect.void
      }
      expect(yield* starts({ windows: [RateWindow.per(5, "1 minute")], store })).toBe(5)
      expect(logged.flat().join()).toMatch(/What gate api remembered is not taken up: Expected/)
    }).pipe(Effect.provide(Logger.layer([log])))
  })

  it.effect("who is refused because of what was remembered is told until when", () =>
    Effect.gen(function* () {
      const store = RateWindow.memory()
      const options = { windows: [RateWindow.per(1, "1 minute")], store }
      yield* starts(options)
      yield* TestClock.adjust("20 seconds")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const gate = yield* Gate.make("api", options)
          const refused = yield* Effect.flip(gate.run(Effect.void, now))
          expect(refused.reason).toBeInstanceOf(Refused.WaitExceeded)
          const retryAfter = Duration.toMillis(Option.getOrThrow(refused.retryAfter))
          expect(retryAfter).toBeGreaterThanOrEqual(40_000)
          yield* TestClock.adjust(Duration.millis(retryAfter))
          yield* gate.run(Effect.void, now)
        })
      )
    })
  )

  describe("that takes its time", () => {
    const windows = [RateWindow.per(3, "1 minute")]

    /** A store that answers when it is told to. */
    const slow = () => {
      const answer = Deferred.makeUnsafe<Option.Option<ReadonlyArray<RateWindow.Snapshot>>>()
      const saved: Array<number> = []
      const store: RateWindow.Store = {
        load: () => Deferred.await(answer),
        save: (_, snapshots) => Effect.sync(() => void saved.push(...snapshots.map(({ starts }) => starts.length)))
      }
      return { answer, saved, store }
    }

    /** What a gate that has let two begin remembers. */
    const two = Effect.gen(function* () {
      const memory = RateWindow.memory()
      const used = Gate.make("api", { windows, store: memory }).pipe(
        Effect.flatMap((gate) => Effect.all([gate.run(Effect.void), gate.run(Effect.void)]))
      )
      yield* Effect.scoped(used)
      return yield* memory.load("api")
    })

    it.effect("nobody begins before it is known what did, and then as many as that leaves", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const past = yield* two
          const { answer, saved, store } = slow()
          const inner = yield* Scope.make()
          const gate = yield* Gate.make("api", { windows, store }).pipe(Scope.provide(inner))
          let begun = 0
          const calls = yield* Effect.forEach([1, 2, 3], () =>
            Effect.forkChild(gate.run(Effect.sync(() => void begun++)))
          )
          yield* TestClock.adjust("20 seconds")
          expect(begun).toBe(0)
          const { waiting } = yield* gate.statistics
          expect(waiting).toBe(3)
          expect((yield* gate.explain)[0]).toMatchObject({ waitsFor: "what is remembered of before" })
          // It may be known at once: nobody is refused for certain.
          expect((yield* Effect.flip(gate.run(Effect.void, { maxWait: "1 second" }).pipe(soon))).reason._tag).toBe(
            "WaitExceeded"
          )
          yield* Deferred.succeed(answer, past)
          yield* Effect.yieldNow
          expect(begun).toBe(1)
          yield* TestClock.adjust("40 seconds")
          yield* Fiber.joinAll(calls)
          expect(Gate.check(yield* gate.statistics)).toEqual([])
          yield* Scope.close(inner, Exit.void)
          expect(saved).toEqual([2])
        })
      )
    )

    it.effect("a gate that ends before saves nothing, since the store knows more, and that is no error", () => {
      const logged: Array<unknown> = []
      const log = Logger.make(({ message }) => logged.push(message))
      return Effect.gen(function* () {
        const { saved, store } = slow()
        const refused = yield* Effect.scoped(
          Effect.gen(function* () {
            const gate = yield* Gate.make("api", { windows, store })
            const call = yield* Effect.forkDetach(Effect.flip(gate.run(Effect.void)))
            yield* Effect.yieldNow
            return call
          })
        )
        expect((yield* Fiber.join(refused)).reason._tag).toBe("ShuttingDown")
        expect(saved).toEqual([])
        expect(logged).toEqual([])
      }).pipe(Effect.provide(Logger.layer([log])))
    })

    it.effect("one that fails in the end is logged, and the gate goes on without", () => {
      const logged: Array<unknown> = []
      const log = Logger.make(({ message }) => logged.push(message))
      return Effect.scoped(
        Effect.gen(function* () {
          const { answer, store } = slow()
          const gate = yield* Gate.make("api", { windows, store })
          const call = yield* Effect.forkChild(gate.run(Effect.succeed("begun")))
          yield* Effect.yieldNow
          yield* Deferred.die(answer, new Error("disk"))
          expect(yield* Fiber.join(call)).toBe("begun")
          expect(logged.flat().join()).toMatch(/What gate api remembered could not be loaded/)
        })
      ).pipe(Effect.provide(Logger.layer([log])))
    })

    // A gate with room for one more, whose store takes a step; then another that takes all that is left.
    const begun = { times: 0 }
    const gate = (store: RateWindow.Store) => Gate.make("api", { windows, store })
    interruptedAnywhere(
      "a gate made from a store, used and ended, and another after it",
      {
        setup: Effect.gen(function* () {
          const memory = RateWindow.memory()
          const call = (one: Gate.Gate) =>
            one.run(
              Effect.sync(() => void begun.times++),
              now
            )
          begun.times = 0
          yield* Effect.scoped(Effect.flatMap(gate(memory), (one) => Effect.andThen(call(one), call(one))))
          const store: RateWindow.Store = { ...memory, load: (name) => Effect.delay(memory.load(name), 1) }
          return { call, store }
        }).pipe(Effect.orDie),
        subject: ({ call, store }) =>
          Effect.scoped(
            Effect.flatMap(gate(store), (one) => all(one.run(Effect.sync(() => void begun.times++)), call(one)))
          ),
        check: ({ call, store }) =>
          Effect.scoped(
            Effect.gen(function* () {
              const one = yield* gate(store)
              yield* one
                .run(
                  Effect.sync(() => void begun.times++),
                  { maxWait: "10 millis" }
                )
                .pipe(Effect.ignore)
              yield* Effect.ignore(call(one))
              // One that was cut as it began is spent.
              expect(begun.times).toBeLessThanOrEqual(3)
              expect(begun.times).toBeGreaterThanOrEqual(2)
              expect(Gate.check(yield* one.statistics)).toEqual([])
            })
          )
      },
      { places: 10, pairs: 20 }
    )
  })
})
