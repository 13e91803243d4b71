/**
 * Decisions of a rate window, by itself: no gate, nobody who waits.
 *
 * A decision asks when the window opens and, once it does, takes its cost and stamps it. Under saturation that is two
 * questions: the first says when, the second comes at that instant. The time of these rows is made up, and runs from one
 * opening to the next; the last row reads a clock for each decision, as its peers do, and is refused most of the time.
 */
import { RateWindow } from "@fairlead/core"
import { Effect, Layer } from "effect"
import { RateLimiter as EffectRateLimiter } from "effect/persistence"
import { RateLimiter } from "limiter"
import { perOperation } from "./harness.ts"
import type { Measure, Part, Row } from "./harness.ts"

const batch = 10_000

/** How many have begun, and wait for their answers, where those count. */
const inFlight = 20

/** One decision after another, each as early as it may be. */
const saturated =
  (window: RateWindow.RateWindow, costs: ReadonlyArray<number>) =>
  (scale: number): Promise<Measure> => {
    const book = new RateWindow.Book(window)
    let now = 0
    let next = 0
    const decide = () => {
      const turn = next++
      const cost = costs[turn % costs.length]!
      // Otherwise a whole window would start at one instant, and be one entry.
      now += 0.001
      if (turn >= inFlight) book.answered(now, costs[(turn - inFlight) % costs.length]!)
      const opens = book.opensAt(now, cost)
      if (opens > now) now = opens
      if (book.opensAt(now, cost) > now) throw new Error(`Expected an open window at ${now}`)
      book.reserve(now, cost)
      book.stamp(now, cost)
    }
    return perOperation(batch, scale, () => {
      for (let i = 0; i < batch; i++) decide()
      return Promise.resolve()
    })
  }

const decisions = (name: string, window: RateWindow.RateWindow, costs: ReadonlyArray<number> = [1]): Row => ({
  name: `rate decision, saturated: ${name}`,
  contenders: [{ name: "RateWindow", round: saturated(window, costs), atLeastPerSecond: 1e6 }]
})

const asked =
  (decide: () => unknown) =>
  (scale: number): Promise<Measure> =>
    perOperation(batch, scale, () => {
      for (let i = 0; i < batch; i++) decide()
      return Promise.resolve()
    })

const ours = () => {
  const book = new RateWindow.Book(RateWindow.per(100, "1 second"))
  return asked(() => {
    const now = performance.now()
    if (book.opensAt(now, 1) > now) return false
    book.reserve(now, 1)
    book.stamp(now, 1)
    return true
  })
}

const limiter = () => {
  const limiter = new RateLimiter({ tokensPerInterval: 100, interval: 1000 })
  return asked(() => limiter.tryRemoveTokens(1))
}

/** It says how long to wait, and leaves the waiting to the caller. */
const effectLimiter = (algorithm: "fixed-window" | "token-bucket") => (scale: number) => {
  const all = Effect.gen(function* () {
    const limiter = yield* EffectRateLimiter.RateLimiter
    const ask = { algorithm, onExceeded: "fail", window: "1 second", limit: 100, key: "bench" } as const
    const one = Effect.matchEager(limiter.consume(ask), { onFailure: () => false, onSuccess: () => true })
    const some = Effect.forEach(Array.from({ length: batch }), () => one, { discard: true })
    return yield* Effect.promise(() => perOperation(batch, scale, () => Effect.runPromise(some)))
  })
  return Effect.runPromise(
    Effect.provide(all, Layer.provide(EffectRateLimiter.layer, EffectRateLimiter.layerStoreMemory))
  )
}

export const rate: Part = {
  name: "rate",
  rows: [
    decisions("1,000 per second", RateWindow.per(1000, "1 second")),
    decisions("1,000 per second, paced", RateWindow.per(1000, "1 second", { burst: 10 })),
    decisions("1,000 per second, costs 1 to 10", RateWindow.per(1000, "1 second"), [1, 10, 3, 7, 2, 9, 5]),
    decisions("4,096 per second", RateWindow.per(4096, "1 second")),
    decisions("1,000 per second, by answers", RateWindow.per(1000, "1 second", { counts: "answer" })),
    decisions("1 million per second, in buckets", RateWindow.per(1e6, "1 second")),
    {
      name: "rate decision by the clock, 100 per second",
      contenders: [
        { name: "RateWindow", round: (scale) => ours()(scale), atLeastPerSecond: 1e6 },
        { name: "limiter", round: (scale) => limiter()(scale) },
        { name: "Effect RateLimiter, fixed-window", round: effectLimiter("fixed-window") },
        { name: "Effect RateLimiter, token-bucket", round: effectLimiter("token-bucket") }
      ]
    }
  ]
}
