import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { RateWindow } from "@fairlead/core"

interface Start {
  readonly at: number
  readonly cost: number
}

/** The most cost in any window of `length`: slow and obvious. */
const busiest = (starts: ReadonlyArray<Start>, length: number): number =>
  Math.max(
    0,
    ...starts.map(({ at }) =>
      starts.filter((other) => other.at >= at && other.at < at + length).reduce((sum, { cost }) => sum + cost, 0)
    )
  )

/** Starts all it may, as early as it may, until `end`. */
const saturate = (window: RateWindow.RateWindow, end: number, cost = () => 1): ReadonlyArray<Start> => {
  const book = new RateWindow.Book(window)
  const starts: Array<Start> = []
  let now = 0
  while (now < end) {
    const next = cost()
    now = Math.max(now, book.opensAt(now, next))
    book.reserve(now, next)
    book.stamp(now, next)
    starts.push({ at: now, cost: next })
  }
  return starts.filter(({ at }) => at < end)
}

describe("RateWindow", () => {
  it("is never over in any window, whatever starts, waits and is cancelled, and gives back what did not start", () => {
    const step = fc.record({
      pause: fc.integer({ min: 0, max: 400 }),
      cost: fc.integer({ min: 1, max: 4 }),
      delay: fc.integer({ min: 0, max: 300 }),
      cancel: fc.boolean()
    })
    const trace = fc.record({
      limit: fc.integer({ min: 4, max: 12 }),
      burst: fc.integer({ min: 1, max: 12 }),
      steps: fc.array(step, { maxLength: 80 })
    })
    fc.assert(
      fc.property(trace, ({ burst, limit, steps }) => {
        const book = new RateWindow.Book(RateWindow.per(limit, 1000, { burst: Math.min(burst, limit) }))
        const starts: Array<Start> = []
        let now = 0
        let open: Array<{ readonly at: number; readonly cost: number; readonly cancel: boolean }> = []
        const settle = (until: number) => {
          for (const due of open.filter(({ at }) => at <= until).toSorted((a, b) => a.at - b.at)) {
            if (due.cancel) book.refund(due.cost)
            else {
              book.stamp(due.at, due.cost)
              starts.push(due)
            }
          }
          open = open.filter(({ at }) => at > until)
        }
        for (const { cancel, cost, delay, pause } of steps) {
          now += pause
          settle(now)
          if (book.opensAt(now, cost) > now) continue
          book.reserve(now, cost)
          open.push({ at: now + delay, cost, cancel })
          const { pending, used } = book.statistics(now)
          expect(used + pending).toBeLessThanOrEqual(limit)
        }
        settle(Infinity)
        expect(busiest(starts, 1000)).toBeLessThanOrEqual(limit)
        const { pending, used } = book.statistics(now + 10_000)
        expect([used, pending]).toEqual([0, 0])
      }),
      { numRuns: 2000 }
    )
  })

  it("never opens before the instant it says to be certain, which is when it opens if all reservations go back", () => {
    const cost = fc.integer({ min: 1, max: 3 })
    const step = fc.record({
      pause: fc.constantFrom(0, 1, 7, 40, 90, 250, 600),
      cost,
      end: fc.constantFrom("stamp", "refund", "none"),
      asked: cost
    })
    const trace = fc.record({
      limit: fc.integer({ min: 3, max: 9 }),
      burst: fc.double({ min: 0.1, max: 1, noNaN: true }),
      steps: fc.array(step, { maxLength: 60 }),
      unit: fc.constantFrom(1, 0.1)
    })
    let bounds = 0
    fc.assert(
      fc.property(trace, ({ burst, limit, steps, unit }) => {
        const window = RateWindow.per(limit * unit, 1000, { burst: burst * limit * unit })
        const book = new RateWindow.Book(window)
        const asked: Array<{ readonly cost: number; readonly notBefore: number }> = []
        const open: Array<number> = []
        let now = 0
        for (const { asked: other, cost, end, pause } of steps) {
          now += pause
          if (end === "refund" && open.length > 0) book.refund(open.shift()!)
          if (end === "stamp" && open.length > 0) book.stamp(now, open.shift()!)
          for (const { cost, notBefore } of asked) {
            if (book.opensAt(now, cost) <= now) expect(notBefore).toBeLessThanOrEqual(now + 1e-6)
          }
          if (book.opensAt(now, cost * unit) <= now) {
            book.reserve(now, cost * unit)
            open.push(cost * unit)
          }
          const notBefore = book.notBefore(other * unit)
          if (notBefore > now) bounds++
          asked.push({ cost: other * unit, notBefore })
        }
        for (const cost of open) book.refund(cost)
        // Of fractions, floats leave a rest that holds a start up for longer than need be.
        if (unit !== 1) return
        for (const cost of [1, 2, 3, 0.1]) {
          const opensAt = book.opensAt(now, cost)
          expect(Math.max(now, book.notBefore(cost))).toBeCloseTo(opensAt, 5)
        }
      }),
      { numRuns: 1000 }
    )
    expect(bounds).toBeGreaterThan(1000)
  })

  it("opens at exactly the instant it says: not before, and then at once", () => {
    const times = fc.array(fc.integer({ min: 0, max: 300 }), { minLength: 1, maxLength: 40 })
    fc.assert(
      fc.property(times, fc.integer({ min: 1, max: 5 }), (pauses, burst) => {
        const book = new RateWindow.Book(RateWindow.per(5, 1000, { burst }))
        let now = 0
        for (const pause of pauses) {
          now += pause
          const at = book.opensAt(now, 1)
          if (at > now) {
            expect(book.opensAt(at - 0.001, 1)).toBeGreaterThan(at - 0.001)
            expect(book.opensAt(at, 1)).toBeLessThanOrEqual(at)
            now = at
          }
          book.reserve(now, 1)
          book.stamp(now, 1)
        }
      }),
      { numRuns: 500 }
    )
  })

  it.each([
    { limit: 10, burst: 10 },
    { limit: 10, burst: 3 },
    { limit: 10, burst: 1 },
    { limit: 80, burst: 10 }
  ])("uses at least 98 % of the allowance under saturation: $limit per second, burst $burst", ({ burst, limit }) => {
    const starts = saturate(RateWindow.per(limit, 1000, { burst }), 60_000)
    expect(busiest(starts, 1000)).toBeLessThanOrEqual(limit)
    expect(starts.length / (limit * 60)).toBeGreaterThanOrEqual(0.98)
  })

  it("paced, does not repeat its first burst: after it, starts are spread by length/limit", () => {
    const starts = saturate(RateWindow.per(10, 1000, { burst: 4 }), 10_000)
    expect(starts.slice(0, 5).map(({ at }) => at)).toEqual([0, 0, 0, 0, 100])
    const gaps = starts.slice(5).map(({ at }, i) => at - starts[i + 4]!.at)
    expect(Math.min(...gaps)).toBeGreaterThan(99.9)
  })

  it("not paced, lets the whole limit start at once", () => {
    const starts = saturate(RateWindow.per(3, 1000), 2500)
    expect(starts.map(({ at }) => at)).toEqual([0, 0, 0, 1000, 1000, 1000, 2000, 2000, 2000])
  })

  it("saves its burst up while nobody starts", () => {
    const book = new RateWindow.Book(RateWindow.per(10, 1000, { burst: 3 }))
    const take = (now: number) => {
      if (book.opensAt(now, 1) > now) return false
      book.reserve(now, 1)
      book.stamp(now, 1)
      return true
    }
    expect([take(0), take(0), take(0), take(0)]).toEqual([true, true, true, false])
    expect([take(250), take(250), take(250)]).toEqual([true, true, false])
    expect([take(5000), take(5000), take(5000), take(5000)]).toEqual([true, true, true, false])
  })

  it("waits for a reservation that has not begun, however long that takes", () => {
    const book = new RateWindow.Book(RateWindow.per(1, 1000))
    book.reserve(0, 1)
    expect(book.opensAt(5000, 1)).toBe(Infinity)
    book.stamp(6000, 1)
    expect(book.opensAt(6000, 1)).toBe(7000)
  })

  it("gives back exactly what was reserved and did not begin, and its place in the pace", () => {
    const book = new RateWindow.Book(RateWindow.per(10, 1000, { burst: 3 }))
    book.reserve(0, 3)
    book.reserve(300, 3)
    book.refund(3)
    expect(book.statistics(300).pending).toBe(3)
    expect(book.opensAt(300, 3)).toBe(300)
  })

  it("fractions of a cost leave nothing behind: the whole limit is free again, and known to become so", () => {
    const fractions = [0.1, 0.7, 0.2]
    const book = new RateWindow.Book(RateWindow.per(1, 1000))
    for (const cost of fractions) book.reserve(0, cost)
    for (const cost of fractions.toReversed()) book.refund(cost)
    expect(book.statistics(0).pending).toBe(0)
    expect(book.opensAt(0, 1)).toBe(0)
    // 1 - 0.4 + 0.1 + 0.2 + 0.1 is less than 1 in floats, and there is nobody left to wait for.
    for (const [at, cost] of [0.1, 0.2, 0.1].entries()) {
      book.reserve(at, cost)
      book.stamp(at, cost)
    }
    expect(book.opensAt(3, 1)).toBe(1002)
  })

  it("what floats leave of fractions makes no bound that is too late", () => {
    const book = new RateWindow.Book(RateWindow.per(0.9, 1000))
    for (const [at, cost] of [0.2, 0.1, 0.4].entries()) {
      book.reserve(at, cost)
      book.stamp(at, cost)
    }
    // 0.9 - 0.7 + 0.2 is less than 0.4 in floats; 0.9 - (0.7 - 0.2) is not.
    expect(book.notBefore(0.4)).toBe(1000)
    expect(book.opensAt(1000, 0.4)).toBe(1000)
  })

  it("beyond 4,096 starts a window keeps bounded memory, and is rounded against us, never over", () => {
    const limit = 20_000
    const book = new RateWindow.Book(RateWindow.per(limit, 10_000))
    const starts: Array<number> = []
    let now = 0
    while (now < 30_000) {
      now = Math.max(now + 0.37, book.opensAt(now, 1))
      book.reserve(now, 1)
      book.stamp(now, 1)
      starts.push(now)
    }
    expect(book.snapshot(now, 0).starts.length).toBeLessThan(2 * 4096)
    let tail = 0
    for (let i = 0; i < starts.length; i++) {
      while (starts[tail]! <= starts[i]! - 10_000) tail++
      expect(i - tail + 1).toBeLessThanOrEqual(limit)
    }
    expect(starts.length).toBeGreaterThan(0.98 * limit * 3)
  })

  it("is written as people write it", () => {
    expect(RateWindow.format(RateWindow.per(80, "1 minute"))).toBe("80 per 1m")
  })

  describe("misuse", () => {
    it("names the expectation and the value", () => {
      expect(() => RateWindow.per(0, "1 second")).toThrow("Expected a limit above 0, got 0")
      expect(() => RateWindow.per(1, 0)).toThrow("Expected a finite window length above 0, got 0")
      expect(() => RateWindow.per(5, "1 second", { burst: 6 })).toThrow(
        "Expected a burst above 0 and at most the limit of 5, got 6"
      )
    })
  })
})
