import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Logger, Option } from "effect"
import { TestClock } from "effect/testing"
import { Gate, RateWindow, Refused } from "@fairlead/core"

const now = { maxWait: 0 }

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
})
