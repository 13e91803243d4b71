import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { ConcurrencyLimit } from "@fairlead/core"

const { aimd, fixed, format, gradient, vegas } = ConcurrencyLimit

const sample = (
  now: number,
  inFlight: number,
  verdict: ConcurrencyLimit.Verdict = "ok",
  latencyMillis = 10
): ConcurrencyLimit.Sample => ({ now, latencyMillis, inFlight, verdict })

/** Runs `limit` over samples that come 10 ms apart, all with the limit in use. */
const feed = <S extends ConcurrencyLimit.State>(
  limit: ConcurrencyLimit.ConcurrencyLimit<S>,
  count: number,
  verdict: ConcurrencyLimit.Verdict = "ok",
  from: { readonly now: number; readonly state: S } = { now: 0, state: limit.initial }
) => {
  let { now, state } = from
  for (let i = 0; i < count; i++) state = limit.step(state, sample((now += 10), Math.floor(state.limit), verdict))
  return { now, state }
}

const limits: ReadonlyArray<ConcurrencyLimit.ConcurrencyLimit> = [
  fixed(7),
  aimd({ max: 50 }),
  aimd({ min: 2, max: 200, initial: 20, increase: 3, backoff: 0.5, slow: 80 }),
  vegas({ max: 50 }),
  vegas({ min: 2, max: 200, initial: 20, headroom: 0.3 }),
  gradient({ max: 50 }),
  gradient({ min: 2, max: 200, initial: 20, headroom: 0.3 })
]

const samples = fc.array(
  fc.record({
    pause: fc.integer({ min: 0, max: 100 }),
    latencyMillis: fc.oneof(
      { weight: 1, arbitrary: fc.constant(0) },
      { weight: 8, arbitrary: fc.integer({ min: 1, max: 40 }) },
      { weight: 1, arbitrary: fc.double({ min: 0, max: 1e6, noNaN: true }) }
    ),
    inFlight: fc.integer({ min: 1, max: 300 }),
    verdict: fc.constantFrom<ConcurrencyLimit.Verdict>("ok", "ok", "ok", "late", "overload", "ignore")
  }),
  { maxLength: 300, size: "max" }
)

describe.each(limits.map((limit) => ({ limit, name: format(limit) })))("$name", ({ limit }) => {
  type Law = (before: ConcurrencyLimit.State, sample: ConcurrencyLimit.Sample, after: ConcurrencyLimit.State) => boolean

  type Adapt = (sample: ConcurrencyLimit.Sample, state: ConcurrencyLimit.State) => ConcurrencyLimit.Sample

  /** Samples for which a law does not hold at every step. */
  const against = (law: Law, adapt: Adapt = (sample) => sample) =>
    fc.check(
      fc.property(samples, (steps) => {
        let state = limit.initial
        let now = 0
        return steps.every(({ pause, ...rest }) => {
          const before = state
          const sample = adapt({ now: (now += pause), ...rest }, before)
          state = limit.step(before, sample)
          return law(before, sample, state)
        })
      })
    ).counterexample

  it("stays within its bounds, whatever it is told", () => {
    expect(against((_, __, after) => after.limit >= limit.min && after.limit <= limit.max)).toBe(null)
  })

  it("does not grow by an end that tells of overload", () => {
    expect(against((before, { verdict }, after) => verdict !== "overload" || after.limit <= before.limit)).toBe(null)
  })

  it("does not change by an end that tells nothing", () => {
    expect(against((before, { verdict }, after) => verdict !== "ignore" || after === before)).toBe(null)
  })

  it("comes to the same by the same samples", () => {
    expect(
      against((before, sample, after) => JSON.stringify(limit.step(before, sample)) === JSON.stringify(after))
    ).toBe(null)
  })

  it("does not get above what it has been while no more than half of it is in flight", () => {
    let most = limit.initial.limit
    const law: Law = (before, _, after) => {
      most = before === limit.initial ? before.limit : Math.max(most, before.limit)
      return before.limit < 2 || after.limit <= most
    }
    const idle: Adapt = (sample, { limit }) => ({ ...sample, inFlight: Math.max(1, Math.floor(limit / 2)) })
    expect(against(law, idle)).toBe(null)
  })

  it("takes a time that is none for an end that tells nothing", () => {
    for (const latency of [Number.NaN, Infinity]) {
      const { state } = feed(limit, 50)
      expect(Number.isFinite(limit.step(state, sample(1e9, 3, "ok", latency)).limit)).toBe(true)
    }
  })
})

describe("fixed", () => {
  it("is what it is", () => {
    expect(feed(fixed(20), 100, "overload").state.limit).toBe(20)
    expect(format(fixed(20))).toBe("fixed 20")
  })
})

describe("aimd", () => {
  it("doubles with every round at first, then grows by one a round", () => {
    const limit = aimd({ max: 1000, initial: 4 })
    expect(feed(limit, 4).state.limit).toBe(8)
    const cut = feed(limit, 1, "overload", feed(limit, 36))
    expect(cut.state.limit).toBe(20)
    expect(feed(limit, 20, "ok", cut).state.limit).toBeCloseTo(21, 1)
  })

  it("is cut to its backoff by an overload, and halved by the first", () => {
    const limit = aimd({ max: 100, initial: 80, backoff: 0.75 })
    const first = feed(limit, 1, "overload")
    expect(first.state.limit).toBe(40)
    expect(feed(limit, 1, "overload", { now: 100, state: first.state }).state.limit).toBe(30)
  })

  it("is cut once by all who ran together, and is not raised by them", () => {
    const limit = aimd({ max: 100, initial: 80 })
    const once = limit.step(limit.initial, sample(100, 80, "overload", 50))
    const again = limit.step(once, sample(120, 79, "overload", 50))
    expect(again).toBe(once)
    expect(limit.step(once, sample(140, 78, "ok", 50))).toBe(once)
    expect(limit.step(once, sample(150, 78, "overload", 50)).limit).toBe(36)
  })

  it("takes an end as late as `slow` for overload", () => {
    const limit = aimd({ max: 100, initial: 80, slow: "50 millis" })
    expect(limit.step(limit.initial, sample(100, 80, "ok", 49)).limit).toBe(81)
    expect(limit.step(limit.initial, sample(100, 80, "ok", 50)).limit).toBe(40)
  })

  it("takes what is late for overload, for it does not know how long calls take", () => {
    const limit = aimd({ max: 100, initial: 80, slow: "50 millis" })
    expect(limit.step(limit.initial, sample(100, 80, "late", 1)).limit).toBe(40)
  })

  it("comes back from its least limit", () => {
    const limit = aimd({ max: 100, initial: 80 })
    const least = feed(limit, 100, "overload")
    expect(least.state.limit).toBe(1)
    expect(feed(limit, 2000, "ok", { now: least.now + 10, state: least.state }).state.limit).toBeGreaterThan(50)
  })

  it("says what it is", () => expect(format(aimd({ min: 2, max: 200 }))).toBe("aimd 2–200"))
})

describe.each([
  { name: "vegas", make: vegas },
  { name: "gradient", make: gradient }
])("$name", ({ make }) => {
  const limit = make({ max: 100 })

  /** A side that has answered within 10 ms for a while. */
  const steady = (() => {
    let at = feed(limit, 1000)
    while (at.state.probing || at.state.count > 0) at = feed(limit, 1, "ok", at)
    return at
  })()

  /** What one window of ends of these latencies makes of it; some come to no good end. */
  const window = (
    latency: (index: number) => number,
    inFlight = steady.state.held,
    late: (index: number) => boolean = () => false
  ) => {
    let { now, state } = steady
    for (let i = 0; state.closedAt === steady.state.closedAt && i < 1000; i++) {
      state = limit.step(state, sample((now += 1), inFlight, late(i) ? "late" : "ok", latency(i)))
    }
    return state
  }

  /** So many that were cut after so many milliseconds. */
  const feedLate = ({ now, state }: typeof steady, count: number, millis = 10) => {
    for (let i = 0; i < count; i++) {
      state = limit.step(state, sample((now += 10), Math.floor(state.limit), "late", millis))
    }
    return { now, state }
  }

  it("rises to its most where there is no queue, from any limit", () => {
    expect(steady.state.held).toBe(100)
    expect(steady.state.base).toBeCloseTo(10, 6)
  })

  it("falls the more, the longer calls take", () => {
    const law = fc.property(
      fc.double({ min: 10.01, max: 40, noNaN: true }),
      fc.double({ min: 0, max: 20, noNaN: true }),
      (latency, more) => {
        const here = window(() => latency).held
        return window(() => latency + more).held <= here + 1e-6 && here <= 100
      }
    )
    expect(fc.check(law).counterexample).toBe(null)
    expect(window(() => 20).held).toBeLessThan(65)
    expect(window(() => 20).held).toBeGreaterThan(50)
  })

  it("takes an outlier for twice the usual, and one of fifty for nothing", () => {
    expect(window((i) => (i === 15 ? 10_000 : 10)).held).toBeGreaterThan(85)
    expect(window((i) => (i % 50 === 15 ? 10_000 : 10 + (i % 2) / 10)).held).toBeGreaterThan(85)
  })

  it("learns at once that calls take half as long", () => {
    const { base } = window(() => 5)
    expect(base).toBeCloseTo(5, 6)
  })

  it("is not moved by how long calls take while half of it is idle, but learns from them", () => {
    const state = window(() => 10.9, 50)
    expect(state.base).toBeGreaterThan(10.05)
    expect(state.base).toBeLessThan(10.2)
    expect(state.held).toBe(100)
  })

  it("looks for the base in a probe, of seven tenths of the limit, and goes back", () => {
    let { now, state } = steady
    const seen = new Set<number>()
    let probed = 0
    for (let i = 0; i < 20_000; i++) {
      const before = state.probing
      state = limit.step(state, sample((now += 1), Math.floor(state.limit), "ok", 10))
      if (state.probing && !before) probed++
      seen.add(state.limit)
    }
    expect([...seen].toSorted((a, b) => a - b)).toEqual([70, 100])
    // One in a hundred latencies, a second, and a part of the next until it has ended.
    expect(probed).toBeGreaterThanOrEqual(15)
    expect(probed).toBeLessThanOrEqual(20)
  })

  it("is cut to nine tenths by an overload, once by all who ran together, and does not double again", () => {
    let state = limit.step(steady.state, sample(steady.now + 10, 100, "overload"))
    expect(state.limit).toBe(90)
    expect(limit.step(state, sample(steady.now + 11, 100, "overload"))).toBe(state)
    state = limit.step(state, sample(steady.now + 30, 90, "overload"))
    expect(state.limit).toBe(81)
    const after = feed(limit, 120, "ok", { now: steady.now + 30, state }).state.held
    expect(after).toBeGreaterThan(81)
    expect(after).toBeLessThan(95)
  })

  it("learns nothing from a call that was cut before the time was over that calls take without a queue", () => {
    const law = fc.property(samples, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (steps, part) => {
      let { initial: state } = limit
      let now = 0
      return steps.every(({ pause, ...rest }) => {
        state = limit.step(state, { now: (now += pause), ...rest })
        const { base = 0 } = state
        if (base === 0) return true
        const { inFlight } = rest
        return limit.step(state, { now, latencyMillis: base * part, inFlight, verdict: "late" }) === state
      })
    })
    expect(fc.check(law).counterexample).toBe(null)
  })

  it("takes a call that was cut later for one that took so long, as long as few are", () => {
    const latency = (i: number) => (i % 3 === 0 ? 19 : 10 + (i % 7) / 10)
    const late = window(latency, 100, (i) => i % 3 === 0)
    expect(late).toEqual(window(latency))
    expect(late.held).toBeLessThan(90)
    // One of fifty is none.
    expect(
      window(
        (i) => (i === 15 ? 10_000 : 10),
        100,
        (i) => i === 15
      ).held
    ).toBeGreaterThan(85)
  })

  it("is halved where most were cut, and does not take the time for which they ran for how long calls take", () => {
    // Hardly longer than the base, and as if it were a probe that found it.
    const state = window(
      () => 10.1,
      100,
      (i) => i % 5 !== 0
    )
    expect(state.held).toBe(50)
    expect(state.base).toBe(steady.state.base)
    const { held } = feedLate(steady, 600, 40).state
    expect(held).toBe(1)
  })

  it("begins anew where most are cut at its least limit, and doubles again when calls come to an end", () => {
    const least = feedLate(steady, 1000, 40)
    expect(least.state).toMatchObject({ limit: 1, base: undefined, rising: true })
    // They take five times as long as they did.
    let { now, state } = least
    for (let ends = 0; ends < 100; ends++) {
      now += 50 / Math.floor(state.limit)
      state = limit.step(state, sample(now, Math.floor(state.limit), "ok", 50))
    }
    expect(state.base).toBeCloseTo(50, 6)
    expect(state.limit).toBeGreaterThanOrEqual(32)
  })

  it("is halved where nobody comes to an end from the first on, and waits at its least limit for those who do", () => {
    const limit = make({ max: 100, initial: 64 })
    const from = { now: 0, state: limit.initial }
    expect(feedLate(from, 64 + 63).state.limit).toBe(64)
    expect(feedLate(from, 64 + 64).state.limit).toBe(32)
    const least = feedLate(from, 1000)
    expect(least.state).toMatchObject({ limit: 1, base: undefined })
    // One of twenty has the time.
    let { now, state } = least
    for (let i = 0; i < 300; i++) {
      const late = i % 20 !== 0
      state = limit.step(
        state,
        sample((now += late ? 5 : 20), Math.floor(state.limit), late ? "late" : "ok", late ? 5 : 20)
      )
    }
    expect(state.base).toBeCloseTo(20, 6)
    expect(state.limit).toBeGreaterThan(2)
  })

  it("goes on doubling after a refusal at a limit that is low", () => {
    const limit = make({ max: 100, initial: 4 })
    const cut = feed(limit, 1, "overload")
    expect(cut.state.limit).toBeCloseTo(3.6)
    expect(feed(limit, 60, "ok", cut).state.limit).toBeGreaterThan(20)
    expect(feed(limit, 60, "ok", feed(limit, 1, "overload", feed(limit, 40))).state.limit).toBeLessThan(20)
  })

  it("begins at 20, or at the bound nearest to it", () => {
    const initial = (options: ConcurrencyLimit.LatencyOptions) => make(options).initial.limit
    expect([initial({ max: 200 }), initial({ max: 7 }), initial({ min: 50, max: 200 })]).toEqual([20, 7, 50])
    expect(initial({ max: 200, initial: 3 })).toBe(3)
  })

  it("doubles with every round of calls, however long they take", () => {
    let state = make({ max: 200, initial: 1 }).initial
    let ends = 0
    for (let now = 0; state.limit < 64; ends++) {
      now += 5000 / Math.floor(state.limit)
      state = limit.step(state, sample(now, Math.floor(state.limit), "ok", 5000))
    }
    // One round under each limit, and one of those that began before it.
    expect(ends).toBeLessThanOrEqual(2 * 64 + 10)
  })

  it("sees that calls take longer for good, just above the least limit too", () => {
    const limit = make({ min: 10, max: 100, initial: 12 })
    let { now, state } = feed(limit, 1, "overload")
    for (let i = 0; i < 50; i++) state = limit.step(state, sample((now += 10), 1))
    expect([state.limit, state.base]).toEqual([expect.closeTo(10.8), expect.closeTo(10)])
    for (let i = 0; i < 5000; i++) state = limit.step(state, sample((now += 1), Math.floor(state.limit), "ok", 10.8))
    expect(state.base).toBeCloseTo(10.8)
    expect(state.limit).toBeGreaterThan(30)
  })

  it("learns nothing from a refusal that comes at once", () => {
    let state = steady.state
    for (let i = 1; i <= 100; i++) state = limit.step(state, sample(steady.now + i * 20, 10, "overload", 0.1))
    expect(state.base).toBe(steady.state.base)
    expect(state.limit).toBe(1)
  })
})

describe("misuse", () => {
  it("needs whole bounds that hold a limit", () => {
    expect(() => fixed(0)).toThrow(new RangeError("Expected a whole limit of at least 1, got 0"))
    expect(() => fixed(1.5)).toThrow(new RangeError("Expected a whole limit of at least 1, got 1.5"))
    expect(() => aimd({ min: 0, max: 10 })).toThrow(new RangeError("Expected a whole min of at least 1, got 0"))
    expect(() => aimd({ max: Infinity })).toThrow(new RangeError("Expected a whole max of at least 1, got Infinity"))
    expect(() => aimd({ min: 11, max: 10 })).toThrow(new RangeError("Expected a max of at least the min of 11, got 10"))
    expect(() => aimd({ min: 2, max: 10, initial: 1 })).toThrow(
      new RangeError("Expected an initial limit from 2 to 10, got 1")
    )
    expect(() => aimd({ max: 10, initial: Number.NaN })).toThrow(RangeError)
  })

  it("needs a growth, a cut and a slowness that are some", () => {
    expect(() => aimd({ max: 10, increase: 0 })).toThrow(new RangeError("Expected an increase above 0, got 0"))
    expect(() => aimd({ max: 10, backoff: 1 })).toThrow(new RangeError("Expected a backoff above 0 and below 1, got 1"))
    expect(() => vegas({ max: 10, headroom: 0 })).toThrow(
      new RangeError("Expected a headroom above 0 and below 1, got 0")
    )
    expect(() => gradient({ max: 10, headroom: Number.NaN })).toThrow(RangeError)
    expect(() => gradient({ max: 10, min: 20 })).toThrow(RangeError)
    expect(() => aimd({ max: 10, slow: 0 })).toThrow(new RangeError("Expected a slow latency above 0, got 0"))
  })
})
