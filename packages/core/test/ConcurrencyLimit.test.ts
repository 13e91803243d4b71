import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { ConcurrencyLimit } from "@fairlead/core"

const { aimd, fixed, format } = ConcurrencyLimit

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
  aimd({ min: 2, max: 200, initial: 20, increase: 3, backoff: 0.5, slow: 80 })
]

const samples = fc.array(
  fc.record({
    pause: fc.integer({ min: 0, max: 100 }),
    latencyMillis: fc.oneof(
      fc.constant(0),
      fc.integer({ min: 1, max: 100 }),
      fc.double({ min: 0, max: 1e6, noNaN: true })
    ),
    inFlight: fc.integer({ min: 1, max: 300 }),
    verdict: fc.constantFrom<ConcurrencyLimit.Verdict>("ok", "ok", "ok", "overload", "ignore")
  }),
  { maxLength: 300 }
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

  it("is never larger for a good end that took longer, all else alike", () => {
    const law: Law = (before, sample, after) => {
      const longer = { ...sample, now: sample.now + 50, latencyMillis: sample.latencyMillis + 50 }
      return sample.verdict !== "ok" || limit.step(before, longer).limit <= after.limit
    }
    expect(against(law)).toBe(null)
  })

  it("comes to the same by the same samples", () => {
    expect(
      against((before, sample, after) => JSON.stringify(limit.step(before, sample)) === JSON.stringify(after))
    ).toBe(null)
  })

  it("does not grow while no more than half of it is in flight", () => {
    const law: Law = (before, _, after) => before.limit < 2 || after.limit <= before.limit
    const idle = (sample: ConcurrencyLimit.Sample, { limit }: ConcurrencyLimit.State) => ({
      ...sample,
      inFlight: Math.max(1, Math.floor(limit / 2))
    })
    expect(against(law, idle)).toBe(null)
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

  it("comes back from its least limit", () => {
    const limit = aimd({ max: 100, initial: 80 })
    const least = feed(limit, 100, "overload")
    expect(least.state.limit).toBe(1)
    expect(feed(limit, 2000, "ok", { now: least.now + 10, state: least.state }).state.limit).toBeGreaterThan(50)
  })

  it("says what it is", () => expect(format(aimd({ min: 2, max: 200 }))).toBe("aimd 2–200"))
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
    expect(() => aimd({ max: 10, slow: 0 })).toThrow(new RangeError("Expected a slow latency above 0, got 0"))
  })
})
