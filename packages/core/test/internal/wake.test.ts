import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Wake } from "../../src/internal/wake.ts"

const self = Effect.withFiber((fiber) => Effect.succeed(fiber))
const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))

describe("Wake", () => {
  it.live("never starts a waiter on the stack of the one who hands over, and keeps the order", () =>
    Effect.gen(function* () {
      const fiber = yield* self
      const wake = new Wake()
      const seen: Array<number> = []
      for (const n of [1, 2, 3]) wake.push({ begin: () => seen.push(n) }, fiber)
      expect(seen).toEqual([])
      yield* turn
      expect(seen).toEqual([1, 2, 3])
    })
  )

  it.live(
    "says that somebody begins soon until he does, and not where he has to wait for a turn of the event loop",
    () =>
      Effect.gen(function* () {
        const fiber = yield* self
        const wake = new Wake()
        const said = [wake.soon]
        const waiter = { begin: () => said.push(wake.soon) }
        wake.handOver(waiter, fiber)
        said.push(wake.soon)
        yield* turn
        said.push(wake.soon)
        wake.rest(waiter, fiber)
        said.push(wake.soon)
        yield* turn
        expect(said).toEqual([false, true, false, false, false, false])
      })
  )

  it.live("one who is started without a permit says nothing of the time, until another is handed one", () =>
    Effect.gen(function* () {
      const fiber = yield* self
      const wake = new Wake()
      const waiter = { begin: () => {} }
      wake.push(waiter, fiber)
      expect(wake.soon).toBe(false)
      wake.handOver(waiter, fiber)
      expect(wake.soon).toBe(true)
      yield* turn
      wake.push(waiter, fiber)
      expect(wake.soon).toBe(false)
    })
  )

  it.live("a chain of hand-overs does not nest", () =>
    Effect.gen(function* () {
      const fiber = yield* self
      const wake = new Wake()
      let depth = 0
      let deepest = 0
      let left = 50_000
      const waiter = {
        begin: () => {
          deepest = Math.max(deepest, ++depth)
          if (--left > 0) wake.push(waiter, fiber)
          depth--
        }
      }
      wake.push(waiter, fiber)
      for (let turns = 0; turns < 100; turns++) yield* turn
      expect(left).toBe(0)
      expect(deepest).toBe(1)
    })
  )

  it.live("lets the event loop have its turn in between", () =>
    Effect.gen(function* () {
      const fiber = yield* self
      const wake = new Wake()
      let begun = 0
      const waiter = { begin: () => void (++begun < 10_000 && wake.push(waiter, fiber)) }
      wake.push(waiter, fiber)
      yield* turn
      expect(begun).toBeGreaterThan(0)
      expect(begun).toBeLessThan(10_000)
      for (let turns = 0; turns < 100; turns++) yield* turn
      expect(begun).toBe(10_000)
    })
  )
})
