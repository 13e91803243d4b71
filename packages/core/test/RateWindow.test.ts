import { describe, expect, it } from "@effect/vitest"
import { Effect, Option } from "effect"
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

  it("paced, starts no more in any stretch of time than a burst and what comes free in it, over a restart too", () => {
    const step = fc.record({
      pause: fc.constantFrom(0, 0, 1, 30, 100, 250, 1500),
      cost: fc.constantFrom(0.5, 1, 2),
      restart: fc.option(fc.nat(300), { freq: 6 })
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: "max" }), fc.constantFrom(2, 3, 7), (steps, burst) => {
        const window = RateWindow.per(10, 1000, { burst })
        let book = new RateWindow.Book(window)
        const starts: Array<Start> = []
        let now = 0
        for (const { cost, pause, restart } of steps) {
          now += pause
          if (restart !== null) {
            const snapshot = book.snapshot(now, 1e12 + now)
            now += restart
            book = new RateWindow.Book(window)
            book.restore(now, 1e12 + now, snapshot)
          }
          if (book.opensAt(now, cost) > now) continue
          book.reserve(now, cost)
          book.stamp(now, cost)
          starts.push({ at: now, cost })
        }
        for (const [i, first] of starts.entries()) {
          let sum = 0
          for (const { at, cost } of starts.slice(i)) {
            sum += cost
            expect(sum).toBeLessThanOrEqual(burst + (at - first.at) / 100 + 1e-6)
          }
        }
      }),
      { numRuns: 300 }
    )
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

  it("fractions leave nothing behind when all have left", () => {
    const book = new RateWindow.Book(RateWindow.per(1, 1000))
    for (const [at, cost] of [0.1, 0.2, 0.3].entries()) {
      book.reserve(at, cost)
      book.stamp(at, cost)
    }
    expect(book.statistics(2000).used).toBe(0)
    book.reserve(2000, 0.7)
    book.stamp(2000, 0.7)
    expect(book.statistics(2000).used).toBe(0.7)
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

  it("a cost above the limit never starts", () => {
    const book = new RateWindow.Book(RateWindow.per(3, 1000))
    expect(book.opensAt(0, 4)).toBe(Infinity)
    book.reserve(0, 1)
    book.stamp(0, 1)
    expect([book.opensAt(0, 4), book.notBefore(4), book.opensAt(5000, 3.1)]).toEqual([Infinity, Infinity, Infinity])
  })

  it("is written as people write it", () => {
    expect(RateWindow.format(RateWindow.per(80, "1 minute"))).toBe("80 per 1m")
  })

  describe("by answers", () => {
    it("counts a start as now until its answer, and for one length from then on", () => {
      const book = new RateWindow.Book(RateWindow.per(2, 1000, { counts: "answer" }))
      const other = new RateWindow.Book(RateWindow.per(2, 1000))
      for (const each of [book, other]) {
        each.reserve(0, 2)
        each.stamp(0, 2)
      }
      expect([book.opensAt(1000, 1), other.opensAt(1000, 1)]).toEqual([Infinity, 1000])
      for (const each of [book, other]) each.answered(1500, 2)
      expect([book.opensAt(1500, 1), other.opensAt(1500, 1)]).toEqual([2500, 1500])
      expect(book.statistics(2500)).toMatchObject({ used: 0, pending: 0, counts: "answer" })
    })

    it("uses the whole allowance but for the time that calls are on their way", () => {
      const limit = 100
      for (const latency of [0, 100]) {
        const book = new RateWindow.Book(RateWindow.per(limit, 1000, { counts: "answer" }))
        const answers: Array<number> = []
        let started = 0
        for (let now = 0; now < 60_000;) {
          const opensAt = book.opensAt(now, 1)
          if (opensAt <= now) {
            book.reserve(now, 1)
            book.stamp(now, 1)
            answers.push(now + latency)
            started++
          } else if ((answers[0] ?? Infinity) <= opensAt) book.answered((now = answers.shift()!), 1)
          else now = opensAt
        }
        expect(started / (limit * 60)).toBeGreaterThanOrEqual(0.98 * (1000 / (1000 + latency)))
        expect(started / (limit * 60)).toBeLessThan(1.02 * (1000 / (1000 + latency)))
      }
    })
  })

  describe("settled", () => {
    it("less than was reserved goes back on the spot, wherever the start stands, and nothing of it that has left", () => {
      const book = new RateWindow.Book(RateWindow.per(10, 1000))
      for (const at of [0, 100, 200]) {
        book.reserve(at, 3)
        book.stamp(at, 3)
      }
      expect(book.opensAt(300, 4)).toBe(1000)
      expect(book.settle(300, 100, 3, 0.5)).toBe(0.5)
      expect(book.opensAt(300, 3.5)).toBe(300)
      expect(book.opensAt(300, 4)).toBe(1000)
      // It leaves as what it is, at its time.
      expect([book.statistics(1050).used, book.statistics(1100).used]).toEqual([3.5, 3])
      book.settle(1150, 100, 0.5, 0)
      expect(book.statistics(1150).used).toBe(3)
    })

    it("while it is pending it goes on as what it is", () => {
      const book = new RateWindow.Book(RateWindow.per(10, 1000))
      book.reserve(0, 8)
      expect(book.settle(0, undefined, 8, 2)).toBe(2)
      expect(book.statistics(0).pending).toBe(2)
      book.stamp(500, 2)
      expect(book.statistics(500)).toMatchObject({ used: 2, pending: 0 })
    })

    it("more than was reserved is a debt: paid out of the allowance before anything starts, each part for one length", () => {
      const book = new RateWindow.Book(RateWindow.per(10, 1000))
      book.reserve(0, 4)
      book.stamp(0, 4)
      book.reserve(400, 4)
      book.stamp(400, 4)
      expect(book.settle(500, 400, 4, 9)).toBe(4)
      // 2 of it at once, 3 when the first leaves: then there is room for 1.
      expect(book.statistics(500)).toMatchObject({ used: 10, debt: 3 })
      expect([book.opensAt(500, 1), book.opensAt(500, 2)]).toEqual([1000, 1400])
      expect(book.statistics(1000)).toMatchObject({ used: 9, debt: 0 })
      expect(book.opensAt(1000, 10)).toBe(2000)
    })

    it("a debt of several windows closes as many of them, and it is known which", () => {
      const book = new RateWindow.Book(RateWindow.per(10, 1000))
      book.reserve(0, 6)
      book.stamp(0, 6)
      book.reserve(300, 4)
      book.stamp(300, 4)
      book.settle(300, 300, 4, 39)
      expect(book.opensAt(300, 1)).toBe(4000)
      expect(book.opensAt(300, 2)).toBe(4300)
      expect(book.opensAt(3999, 1)).toBe(4000)
      expect(book.statistics(4000)).toMatchObject({ used: 9, debt: 0 })
      expect(book.idleAt(4000)).toBe(5000)
    })

    it("a debt is paid while nobody asks, in no time, as it would have been if somebody had", () => {
      const make = () => {
        const book = new RateWindow.Book(RateWindow.per(10, 1000))
        for (const [at, cost] of [
          [0, 3],
          [250, 5],
          [700, 2]
        ] as const) {
          book.reserve(at, cost)
          book.stamp(at, cost)
        }
        book.settle(800, 700, 2, 4006)
        return book
      }
      const [asked, left] = [make(), make()]
      for (let now = 800; now < 400_300; now += 90) asked.opensAt(now, 1)
      expect(left.snapshot(400_300, 0)).toEqual(asked.snapshot(400_300, 0))
      expect(left.opensAt(400_300, 1)).toBe(401_250)
      const deep = make()
      deep.settle(800, 700, 2, 1e12)
      expect(deep.statistics(1e13).debt).toBeCloseTo(1e12 + 4002 - 1e11, -2)
    })

    it.each([
      { name: "at once", burst: 100, factor: (chance: number) => 0.2 + 1.6 * chance },
      { name: "paced", burst: 10, factor: (chance: number) => 0.5 + chance },
      { name: "twice what was reserved", burst: 100, factor: () => 2 },
      {
        name: "a hundred times what was reserved, now and then",
        burst: 100,
        factor: (chance: number) => (chance < 0.02 ? 51 : 0)
      }
    ])(
      "of what calls really cost at least 98 % of the allowance are used, and not more: $name",
      ({ burst, factor }) => {
        const limit = 100
        const book = new RateWindow.Book(RateWindow.per(limit, 1000, { burst }))
        const ends: Array<{ readonly at: number; readonly began: number; readonly actual: number }> = []
        let [seed, cost, now] = [7, 0, 0]
        while (now < 60_000) {
          const opensAt = book.opensAt(now, 1)
          const end = ends[0]
          if (opensAt <= now) {
            book.reserve(now, 1)
            book.stamp(now, 1)
            seed = (seed * 48_271) % 0x7fffffff
            ends.push({ at: now + 20, began: now, actual: factor(seed / 0x7fffffff) })
          } else if (end !== undefined && end.at <= opensAt) {
            ends.shift()
            now = end.at
            cost += end.actual
            book.settle(now, end.began, 1, end.actual)
          } else now = opensAt
        }
        expect((cost - book.statistics(now).debt) / (limit * 60)).toBeGreaterThanOrEqual(0.98)
        expect((cost - book.statistics(now).debt) / (limit * 61)).toBeLessThanOrEqual(1)
      }
    )

    it("beyond 4,096 starts what is settled goes back to the entry that its start shares", () => {
      const book = new RateWindow.Book(RateWindow.per(20_000, 10_000))
      const starts: Array<number> = []
      for (let i = 0; i < 15_000; i++) {
        book.reserve(i * 0.5, 1)
        book.stamp(i * 0.5, 1)
        starts.push(i * 0.5)
      }
      for (const at of starts) book.settle(7500, at, 1, 0.25)
      expect(book.statistics(7500).used).toBe(15_000 * 0.25)
      expect(book.opensAt(7500, 20_000)).toBe(starts.at(-1)! + 10_000)
    })

    it("paced, what goes back goes back to the bucket, unless that has drained since", () => {
      const make = () => new RateWindow.Book(RateWindow.per(10, 1000, { burst: 4 }))
      const book = make()
      book.reserve(0, 4)
      book.stamp(0, 4)
      book.settle(50, 0, 4, 1)
      expect(book.opensAt(50, 3)).toBe(50)
      const late = make()
      for (const at of [0, 900]) {
        late.reserve(at, 4)
        late.stamp(at, 4)
      }
      late.settle(950, 0, 4, 0)
      // Four at 900 are a whole burst: the next is due 100 ms later.
      expect(late.opensAt(950, 1)).toBe(1000)
    })
  })

  describe("told by an upstream", () => {
    it("is closed for as long as it is told, and for its length at most", () => {
      const book = new RateWindow.Book(RateWindow.per(10, 1000))
      book.tighten(0, { closedFor: "200 millis" })
      expect([book.opensAt(0, 1), book.opensAt(199, 1), book.opensAt(200, 1)]).toEqual([200, 200, 200])
      book.tighten(300, { closedFor: "2 hours" })
      expect([book.opensAt(300, 1), book.notBefore(1)]).toEqual([1300, 1300])
      expect(book.opensAt(1300, 10)).toBe(1300)
    })

    it("starts only what remains, until that resets; what is pending is part of it, and comes back if it is refunded", () => {
      const book = new RateWindow.Book(RateWindow.per(10, 1000))
      book.reserve(0, 1)
      book.tighten(0, { remaining: 3, resetsIn: "600 millis" })
      expect(book.opensAt(0, 3)).toBe(600)
      expect(book.opensAt(0, 2)).toBe(0)
      expect(book.statistics(0).hints).toEqual([{ remaining: 2, forMillis: 600 }])
      book.refund(1)
      book.reserve(0, 3)
      book.stamp(0, 3)
      expect(book.opensAt(0, 0.1)).toBe(600)
      expect(book.opensAt(600, 7)).toBe(600)
      book.tighten(600, { remaining: 0 })
      expect(book.opensAt(600, 1)).toBe(1600)
    })

    it("of several hints the tightest holds, and each lapses by itself", () => {
      const book = new RateWindow.Book(RateWindow.per(10, 1000))
      book.tighten(0, { remaining: 1, resetsIn: 200 })
      book.tighten(0, { remaining: 4, resetsIn: 700 })
      book.tighten(0, { remaining: 5, resetsIn: 600 })
      book.tighten(0, { closedFor: 100, remaining: 8, resetsIn: 900 })
      expect([1, 2, 5, 9].map((cost) => book.opensAt(0, cost))).toEqual([100, 200, 700, 900])
      book.reserve(100, 1)
      book.stamp(100, 1)
      expect([1, 3, 4, 7, 8].map((cost) => book.opensAt(200, cost))).toEqual([200, 200, 700, 700, 900])
    })

    it("of more hints than are kept apart none is loosened", () => {
      const book = new RateWindow.Book(RateWindow.per(20, 1000))
      for (let i = 1; i <= 12; i++) book.tighten(0, { remaining: i, resetsIn: 50 * i })
      const { hints } = book.statistics(0)
      expect(hints.length).toBe(8)
      // Those that lapse last are as they were.
      expect([9, 10, 11, 12].map((cost) => book.opensAt(0, cost + 0.5))).toEqual([450, 500, 550, 600])
      for (let i = 1; i <= 12; i++) expect(book.opensAt(50 * i - 1, i + 0.5)).toBeGreaterThanOrEqual(50 * i)
    })

    it("can only tighten: whatever it is told, it opens no earlier than without, and just then a length later", () => {
      const hint = fc.oneof(
        fc.record({ closedFor: fc.nat(3000) }),
        fc.record({ remaining: fc.integer({ min: 0, max: 20 }), resetsIn: fc.nat(3000) })
      )
      const step = fc.record({ pause: fc.nat(300), hint: fc.option(hint), cost: fc.integer({ min: 1, max: 3 }) })
      fc.assert(
        fc.property(fc.array(step, { maxLength: 60 }), fc.constantFrom(1, 3, 10), (steps, burst) => {
          const [told, other] = [0, 0].map(() => new RateWindow.Book(RateWindow.per(10, 1000, { burst })))
          let now = 0
          for (const { cost, hint, pause } of steps) {
            now += pause
            if (hint !== null) told!.tighten(now, hint)
            const at = told!.opensAt(now, cost)
            expect(at).toBeGreaterThanOrEqual(other!.opensAt(now, cost))
            expect(told!.statistics(now).hints.length).toBeLessThanOrEqual(8)
            if (at > now) continue
            for (const book of [told!, other!]) {
              book.reserve(now, cost)
              book.stamp(now, cost)
            }
          }
          expect(told!.opensAt(now, 1)).toBeLessThanOrEqual(Math.max(now + 1000, other!.opensAt(now, 1)))
          expect(told!.statistics(now + 1000).hints).toEqual([])
          expect(told!.opensAt(now + 1000, 10)).toBeLessThanOrEqual(now + 1000 + (10 - burst) * 100)
        }),
        { numRuns: 500 }
      )
    })

    it("when it opens again, no burst has been saved up", () => {
      const book = new RateWindow.Book(RateWindow.per(10, 1000, { burst: 3 }))
      book.tighten(0, { closedFor: 500 })
      const starts: Array<number> = []
      for (let now = 0; starts.length < 3;) {
        now = Math.max(now, book.opensAt(now, 1))
        book.reserve(now, 1)
        book.stamp(now, 1)
        starts.push(now)
      }
      expect(starts).toEqual([500, 600, 700])
    })
  })

  describe("idle", () => {
    it("is idle when nothing of it is left, and not before: a new one decides alike from then on", () => {
      const step = fc.record({
        pause: fc.nat(400),
        cost: fc.integer({ min: 1, max: 4 }),
        end: fc.constantFrom("stamp", "refund", "debt"),
        closedFor: fc.option(fc.nat(1500), { freq: 8 })
      })
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 20 }), fc.constantFrom(1, 4, 10), (steps, burst) => {
          const window = RateWindow.per(10, 1000, { burst })
          const book = new RateWindow.Book(window)
          let now = 0
          for (const { closedFor, cost, end, pause } of steps) {
            now += pause
            if (closedFor !== null) book.tighten(now, { closedFor })
            if (book.opensAt(now, cost) > now) continue
            book.reserve(now, cost)
            expect(book.idleAt(now)).toBe(Infinity)
            if (end === "refund") book.refund(cost)
            else book.stamp(now, cost)
            if (end === "debt") book.settle(now, now, cost, cost * 3)
          }
          const at = book.idleAt(now)
          if (at > now + 0.01) {
            const { hints, starts } = book.snapshot(at - 0.01, 0)
            if (burst === 10) expect(hints.length + starts.length).toBeGreaterThan(0)
          }
          expect(book.idleAt(at)).toBe(at)
          const { debt, hints, level, starts } = book.snapshot(at, 0)
          expect([debt, hints, level ?? 0, starts]).toEqual([0, [], 0, []])
          expect(book.opensAt(at, burst)).toBe(new RateWindow.Book(window).opensAt(at, burst))
        }),
        { numRuns: 500 }
      )
    })

    it("is idle as long as nothing started", () => {
      expect(new RateWindow.Book(RateWindow.per(10, 1000, { burst: 2 })).idleAt(70)).toBe(70)
    })
  })

  describe("snapshots", () => {
    const unix = Date.UTC(2026, 10, 23)

    /** Four of five used at 0, and one more at 400. */
    const used = (options?: RateWindow.Options) => {
      const book = new RateWindow.Book(RateWindow.per(5, 1000, options))
      for (const [at, cost] of [
        [0, 4],
        [400, 1]
      ] as const) {
        book.reserve(at, cost)
        book.stamp(at, cost)
        book.answered(at, cost)
      }
      return book
    }

    const restored = (snapshot: unknown, now: number, wall: number, window = RateWindow.per(5, 1000)) => {
      const book = new RateWindow.Book(window)
      book.restore(now, wall, JSON.parse(JSON.stringify(snapshot)))
      return book
    }

    it("goes on where it left off, though the clock began anew", () => {
      const book = restored(used().snapshot(500, unix), 30, unix + 100)
      // 600 ms after the first start and 200 after the second.
      expect([book.opensAt(30, 1), book.opensAt(30, 5)]).toEqual([430, 830])
    })

    it.each([
      { jump: 3_600_000, says: "set forward" },
      { jump: -3_600_000, says: "set back" },
      { jump: 0, says: "left alone" }
    ])("a wall clock that is $says makes nothing younger or longer gone than it is", ({ jump }) => {
      const book = restored(used().snapshot(500, unix), 700, unix + 200 + jump)
      const late = jump < 0 ? 200 : 0
      expect([book.opensAt(700, 1), book.opensAt(700, 5)]).toEqual([1000 + late, 1400 + late])
    })

    it("one from the future was taken just now", () => {
      const book = restored(used().snapshot(500, unix + 9e9), 30, unix)
      expect([book.opensAt(30, 1), book.opensAt(30, 5)]).toEqual([530, 930])
    })

    it("what was pending began just now, and what is owed is still owed", () => {
      const before = new RateWindow.Book(RateWindow.per(5, 1000))
      before.reserve(0, 2)
      before.reserve(0, 3)
      before.stamp(0, 3)
      before.settle(0, 0, 3, 7)
      const book = restored(before.snapshot(0, unix), 300, unix + 300)
      expect(book.statistics(300)).toMatchObject({ used: 5, pending: 0, debt: 4 })
      // Three of the four are paid when the first leaves, the last one when the pending does.
      expect(book.opensAt(300, 1)).toBe(1300)
    })

    it("hints hold on, for as long as was left of them", () => {
      const before = new RateWindow.Book(RateWindow.per(5, 1000))
      before.tighten(0, { closedFor: 300 })
      before.tighten(0, { remaining: 2, resetsIn: 800 })
      const book = restored(before.snapshot(100, unix), 0, unix + 100)
      expect([book.opensAt(0, 1), book.opensAt(0, 3)]).toEqual([100, 600])
    })

    it("paced, has no burst saved up that was spent", () => {
      const window = RateWindow.per(10, 1000, { burst: 3 })
      const before = new RateWindow.Book(window)
      before.reserve(0, 3)
      before.stamp(0, 3)
      const book = restored(before.snapshot(0, unix), 50, unix + 50, window)
      expect([book.opensAt(50, 1), book.opensAt(50, 3)]).toEqual([100, 300])
      // Of one that was not paced that is not known.
      expect(restored(used().snapshot(2000, unix), 0, unix, window).opensAt(0, 3)).toBe(300)
    })

    it("of another specification what it knows counts all the same", () => {
      const snapshot = used().snapshot(500, unix)
      const at = (window: RateWindow.RateWindow, cost: number) =>
        restored(snapshot, 500, unix, window).opensAt(500, cost)
      expect(at(RateWindow.per(8, 1000), 3)).toBe(500)
      expect(at(RateWindow.per(8, 1000), 4)).toBe(1000)
      expect(at(RateWindow.per(3, 1000), 1)).toBe(1000)
      expect(at(RateWindow.per(3, 1000), 3)).toBe(1400)
      expect(at(RateWindow.per(5, 300), 5)).toBe(700)
      expect(at(RateWindow.per(5, 1000, { counts: "answer" }), 1)).toBe(1500)
    })

    it("what it had forgotten a longer window takes as used", () => {
      const snapshot = used().snapshot(1200, unix)
      // One counts still; of the two seconds before that nothing is known but that five may have started in each.
      const book = restored(snapshot, 1200, unix, RateWindow.per(12, 3000))
      expect(book.statistics(1200).used).toBe(11)
      expect([book.opensAt(1200, 1), book.opensAt(1200, 2)]).toEqual([1200, 3200])
    })

    it("what was forgotten before it was narrowed may have been as much as it then was", () => {
      const narrowed = restored(used().snapshot(1200, unix), 1200, unix, RateWindow.per(2, 1000))
      const book = restored(narrowed.snapshot(1200, unix), 1200, unix, RateWindow.per(12, 3000))
      expect(book.statistics(1200).used).toBe(11)
    })

    it("adds to what is known already", () => {
      const book = used()
      book.restore(500, unix, used().snapshot(500, unix))
      expect([book.opensAt(500, 1), book.opensAt(1000, 1)]).toEqual([1000, 1000])
      expect(book.statistics(1000).used).toBe(2)
    })

    it("what is none is said to be none, and changes nothing", () => {
      const snapshot = JSON.parse(JSON.stringify(used({ burst: 2 }).snapshot(500, unix)))
      const wrong: ReadonlyArray<readonly [unknown, string]> = [
        [undefined, "Expected a window's snapshot, got undefined"],
        [null, "Expected a window's snapshot, got null"],
        ["{}", 'Expected a window\'s snapshot, got "{}"'],
        [[], "Expected version of a window's snapshot to be 1, got undefined"],
        [{ ...snapshot, version: 2 }, "Expected version of a window's snapshot to be 1, got 2"],
        [{ ...snapshot, wallMillis: null }, "wallMillis"],
        [{ ...snapshot, clockMillis: "0" }, "clockMillis"],
        [{ ...snapshot, limit: 0 }, "limit"],
        [{ ...snapshot, lengthMillis: -1 }, "lengthMillis"],
        [{ ...snapshot, counts: "both" }, "counts"],
        [{ ...snapshot, starts: [[5, -1]] }, "starts"],
        [{ ...snapshot, starts: [[-5, 1]] }, "starts"],
        [{ ...snapshot, starts: [5, 1] }, "starts"],
        [{ ...snapshot, pending: NaN }, "pending"],
        [{ ...snapshot, debt: Infinity }, "debt"],
        [{ ...snapshot, level: -1 }, "level"],
        [{ ...snapshot, hints: [[null, null]] }, "hints"]
      ]
      for (const [input, message] of wrong) {
        const book = used()
        expect(() => book.restore(500, unix, input)).toThrow(TypeError)
        expect(() => book.restore(500, unix, input)).toThrow(message)
        expect(book.snapshot(500, unix)).toEqual(used().snapshot(500, unix))
      }
      expect(() => used().restore(500, NaN, snapshot)).toThrow("Expected Unix time in milliseconds, got NaN")
    })

    it("whatever is in it, is taken up or refused in words, and never opens what was closed", () => {
      const snapshot = JSON.parse(JSON.stringify(used({ burst: 2 }).snapshot(500, unix)))
      const key = fc.constantFrom(...Object.keys(snapshot))
      const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, -1, 1e300, 5e-324))
      const junk = fc.oneof(number, fc.jsonValue(), fc.array(fc.tuple(number, number)), fc.constant(null))
      fc.assert(
        fc.property(fc.dictionary(key, junk, { maxKeys: 3 }), number, number, (change, now, wall) => {
          fc.pre(Math.abs(now) < 1e12 && Math.abs(wall) < 1e15)
          const book = new RateWindow.Book(RateWindow.per(5, 1000, { burst: 2 }))
          book.reserve(now, 5)
          book.stamp(now, 5)
          try {
            book.restore(now, wall, { ...snapshot, ...change })
          } catch (error) {
            expect(String(error)).toMatch(/^TypeError: Expected .* snapshot/)
          }
          expect(book.opensAt(now, 1)).toBeGreaterThanOrEqual(now + 999.99)
          const { debt, pending, used: taken } = book.statistics(now)
          for (const each of [debt, pending, taken]) expect(each).toBeGreaterThanOrEqual(0)
        }),
        { numRuns: 2000 }
      )
    })

    it("each window of a gate takes the one that tells it the most, and what is none is said", () => {
      const books = [RateWindow.per(9, "1 second"), RateWindow.per(9, "1 minute"), RateWindow.per(9, "1 hour")].map(
        (window) => new RateWindow.Book(window)
      )
      const taken = (length: number, cost: number, counts: RateWindow.Counts = "start"): RateWindow.Snapshot => ({
        ...used().snapshot(400, unix),
        lengthMillis: length,
        counts,
        limit: cost,
        starts: [[0, cost]]
      })
      const mistakes = RateWindow.restore(books, 400, unix, [
        taken(30_000, 1),
        "junk",
        taken(60_000, 2, "answer"),
        taken(60_000, 3),
        taken(90_000, 4)
      ])
      expect(mistakes).toEqual(['Expected a window\'s snapshot, got "junk"'])
      // The shortest that is long enough; by starts as they count; else the longest there is, and the rest as used.
      expect(books.map((book) => book.statistics(400).used)).toEqual([1, 3, 9])
    })
  })

  describe("memory", () => {
    const snapshot = (cost: number) => {
      const book = new RateWindow.Book(RateWindow.per(5, 1000))
      if (cost > 0) {
        book.reserve(0, cost)
        book.stamp(0, cost)
      }
      return book.snapshot(0, 0)
    }

    it.effect("keeps what was saved last under a name, and nothing of what remembers nothing", () =>
      Effect.gen(function* () {
        const store = RateWindow.memory()
        expect(yield* store.load("a")).toEqual(Option.none())
        yield* store.save("a", [snapshot(1)])
        yield* store.save("a", [snapshot(2), snapshot(0)])
        yield* store.save("b", [snapshot(3)])
        expect(yield* store.load("a")).toEqual(Option.some([snapshot(2), snapshot(0)]))
        yield* store.save("a", [snapshot(0)])
        expect(yield* store.load("a")).toEqual(Option.none())
        expect(yield* store.load("b")).toEqual(Option.some([snapshot(3)]))
      })
    )

    it.effect("beyond maxNames it forgets what was saved longest ago", () =>
      Effect.gen(function* () {
        const store = RateWindow.memory({ maxNames: 2 })
        for (const name of ["a", "b", "a", "c"]) yield* store.save(name, [snapshot(1)])
        const known = yield* Effect.forEach(["a", "b", "c"], (name) => Effect.map(store.load(name), Option.isSome))
        expect(known).toEqual([true, false, true])
      })
    )
  })

  describe("misuse", () => {
    it("names the expectation and the value", () => {
      expect(() => RateWindow.per(0, "1 second")).toThrow("Expected a limit above 0, got 0")
      expect(() => RateWindow.per(1, 0)).toThrow("Expected a finite window length above 0, got 0")
      expect(() => RateWindow.per(1, "1 second", { counts: "end" as RateWindow.Counts })).toThrow(
        'Expected to count by "start" or "answer", got "end"'
      )
      expect(() => RateWindow.memory({ maxNames: 0 })).toThrow("Expected maxNames of at least 1, got 0")
      const book = new RateWindow.Book(RateWindow.per(5, "1 second"))
      expect(() => book.settle(0, 0, 1, -1)).toThrow("Expected an actual cost of at least 0, got -1")
      expect(() => book.tighten(0, { remaining: -1 })).toThrow("Expected a remaining cost of at least 0, got -1")
      expect(() => RateWindow.per(5, "1 second", { burst: 6 })).toThrow(
        "Expected a burst above 0 and at most the limit of 5, got 6"
      )
    })
  })
})
