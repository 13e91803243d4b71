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
    while (budget.reserve(at)) {
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
    expect([budget.reserve(0), budget.reserve(0), budget.reserve(0)]).toEqual([true, true, false])
    expect(budget.reserve(60_000)).toBe(false)
    budget.begin(60_000)
    budget.release()
    expect(budget.spent(60_000)).toBe(1)
    expect(drain(budget, 60_000)).toBe(1)
  })

  it("what is taken back was never there; what has left the window is not taken back twice", () => {
    const budget = make()
    budget.reserve(0)
    const stretch = budget.begin(0)
    budget.takeBack(stretch, 50)
    expect(budget.spent(50)).toBe(0)
    budget.reserve(50)
    const old = budget.begin(50)
    expect(budget.spent(5000)).toBe(0)
    budget.takeBack(old, 5000)
    expect(budget.spent(5000)).toBe(0)
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
        let waiting = 0
        let most = floor
        let last: number | undefined
        const called: Array<number> = []
        const begun: Array<number> = []
        const within = (times: ReadonlyArray<number>) => times.filter((at) => at > now - 1000).length
        const begins = () => {
          begun.push(now)
          last = budget.begin(now)
        }
        for (const { act, gap } of acts) {
          now += gap
          if (act === "call") {
            called.push(now)
            budget.called(now)
          } else if (act === "begin" && waiting > 0) {
            waiting--
            begins()
          } else if (act === "release" && waiting > 0) {
            waiting--
            budget.release()
          } else if (act === "reserve" || act === "hedge") {
            const bound = Math.max(floor, ratio * within(called))
            const granted = budget.reserve(now)
            if (granted) {
              if (within(begun) + waiting + 1 > Math.max(bound, Math.ceil(bound))) return false
              most = Math.max(most, Math.ceil(bound))
              if (act === "hedge") begins()
              else waiting++
            }
          }
          if (within(begun) > most) return false
          if (budget.waiting !== waiting) return false
        }
        return last === undefined || budget.spent(now) >= waiting
      }
    )
    expect(fc.check(holds, { numRuns: 2000 }).failed).toBe(false)
  })
})
