import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import { Budget } from "../../src/internal/budget.ts"

const make = (terms: Partial<ConstructorParameters<typeof Budget>[0]> = {}) =>
  new Budget({ ratio: 0.2, floor: 2, windowMillis: 1000, ...terms })

const calls = (budget: Budget, count: number, now: number) => {
  for (let i = 0; i < count; i++) budget.called(now)
}

/** How many it lets through from `now` on, without a pause, within so many milliseconds. */
const drain = (budget: Budget, now: number, millis = 0) => {
  let count = 0
  for (let at = now; at <= now + millis; at += 50) {
    while (budget.reserve(at) !== undefined) {
      budget.begin(at)
      count++
    }
  }
  return count
}

describe("a budget", () => {
  it("is a ratio of the calls of the window, with a floor", () => {
    const budget = make()
    expect(drain(budget, 5000)).toBe(2)
    calls(budget, 50, 5000)
    expect(budget.allowed(5000)).toBe(10)
    expect(drain(budget, 5000, 900)).toBe(8)
    expect(budget.spent(5900)).toBe(10)
  })

  it("may have no floor, and no ratio", () => {
    const none = make({ floor: 0, ratio: 0 })
    calls(none, 100, 0)
    expect(drain(none, 0, 900)).toBe(0)
    const all = make({ floor: 0, ratio: 1 })
    calls(all, 7, 0)
    expect(drain(all, 0, 900)).toBe(7)
  })

  it("has no part of an attempt: a fifth of four calls is none, and 7 % of a hundred are seven, in floats too", () => {
    const fifth = make({ floor: 0 })
    calls(fifth, 4, 0)
    expect(drain(fifth, 0, 900)).toBe(0)
    calls(fifth, 1, 900)
    expect(drain(fifth, 900)).toBe(1)
    for (const [ratio, count] of [
      [0.07, 100],
      [0.29, 100],
      [0.1, 10],
      [0.7, 10]
    ] as const) {
      const budget = make({ floor: 0, ratio })
      calls(budget, count, 0)
      expect(drain(budget, 0, 900)).toBe(Math.round(ratio * count))
    }
    const half = make({ floor: 1.5, ratio: 0 })
    expect(drain(half, 0, 900)).toBe(1)
  })

  it("is not spent at once: a third of what is left, and then evenly", () => {
    const budget = make()
    calls(budget, 1000, 0)
    const stretches = Array.from({ length: 10 }, (_, i) => drain(budget, i * 100))
    expect(stretches).toEqual([67, 45, 30, 20, 20, 18, 0, 0, 0, 0])
    const small = make({ floor: 10 })
    calls(small, 10, 0)
    expect(drain(small, 0)).toBe(10)
  })

  it("forgets calls as they leave the window, and extra attempts not before", () => {
    const budget = make({ floor: 20 })
    calls(budget, 200, 0)
    expect(drain(budget, 0)).toBe(20)
    expect(budget.allowed(999)).toBe(40)
    // Those of the oldest stretch are in the window only in part: calls do not count any more, attempts still do.
    expect(budget.allowed(1000)).toBe(20)
    expect(budget.spent(1000)).toBe(20)
    expect(budget.spent(1099)).toBe(20)
    expect(budget.spent(1100)).toBe(0)
  })

  it("counts what waits, however long, until it begins or is released", () => {
    const budget = make()
    const stretch = budget.reserve(0)!
    expect([stretch, budget.reserve(0), budget.reserve(0)]).toEqual([0, 0, undefined])
    expect(budget.reserve(60_000)).toBeUndefined()
    budget.begin(60_000)
    budget.release(stretch)
    expect(budget.spent(60_000)).toBe(1)
    expect(drain(budget, 60_000)).toBe(1)
  })

  it("what is taken back was never there; what has left the window is not taken back twice", () => {
    const budget = make()
    const stretch = budget.reserve(0)!
    budget.begin(0)
    budget.takeBack(stretch, 50)
    expect(budget.spent(50)).toBe(0)
    const old = budget.reserve(50)!
    budget.begin(50)
    expect(budget.spent(5000)).toBe(0)
    budget.takeBack(old, 5000)
    expect(budget.spent(5000)).toBe(0)
  })

  it("what is given back may be used again in the same stretch, and adds nothing to a later one", () => {
    const budget = make({ floor: 10, ratio: 0 })
    const reserved = Array.from({ length: 10 }, () => budget.reserve(0)!)
    for (const stretch of reserved) budget.release(stretch)
    expect(drain(budget, 50)).toBe(10)
    const hedges = make({ floor: 10, ratio: 0 })
    for (let i = 0; i < 20; i++) {
      const stretch = hedges.reserve(0)!
      hedges.begin(0)
      hedges.takeBack(stretch, 0)
    }
    expect(drain(hedges, 50)).toBe(10)
    // Of forty a stretch may have twenty: of a calm one, not twenty and what another has given back.
    const paced = make({ floor: 20, ratio: 0.4 })
    calls(paced, 100, 0)
    const early = Array.from({ length: 20 }, () => paced.reserve(0)!)
    expect(drain(paced, 100)).toBe(20)
    for (const stretch of early) paced.release(stretch)
    expect(drain(paced, 100)).toBe(0)
    expect(drain(paced, 200)).toBe(20)
  })

  it("at no instant grants more than the window before it allows, and no window sees more than one was allowed", () => {
    const act = fc.record({
      gap: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 90 }), fc.integer({ min: 0, max: 1500 })),
      act: fc.constantFrom("call", "call", "call", "reserve", "reserve", "begin", "release", "hedge")
    })
    const holds = fc.property(
      fc.array(act, { maxLength: 200 }),
      fc.constantFrom(0, 0.1, 0.5, 1),
      fc.integer({ min: 0, max: 3 }),
      (acts, ratio, floor) => {
        const budget = make({ ratio, floor })
        let now = 12_345
        const waiting: Array<number> = []
        let most = floor
        const called: Array<number> = []
        const begun: Array<number> = []
        const within = (times: ReadonlyArray<number>) => times.filter((at) => at > now - 1000).length
        const begins = () => {
          begun.push(now)
          budget.begin(now)
        }
        for (const { act, gap } of acts) {
          now += gap
          if (act === "call") {
            called.push(now)
            budget.called(now)
          } else if (act === "begin" && waiting.length > 0) {
            waiting.shift()
            begins()
          } else if (act === "release" && waiting.length > 0) {
            budget.release(waiting.shift()!)
          } else if (act === "reserve" || act === "hedge") {
            const bound = Math.max(floor, ratio * within(called))
            const stretch = budget.reserve(now)
            if (stretch !== undefined) {
              if (within(begun) + waiting.length + 1 > bound) return false
              most = Math.max(most, bound)
              if (act === "hedge") begins()
              else waiting.push(stretch)
            }
          }
          if (within(begun) > most) return false
          if (budget.waiting !== waiting.length) return false
        }
        return budget.spent(now) >= waiting.length
      }
    )
    expect(fc.check(holds, { numRuns: 2000 }).failed).toBe(false)
  })
})
