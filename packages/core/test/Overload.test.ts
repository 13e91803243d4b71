import { ConcurrencyLimit, Gate } from "@fairlead/core"
import { describe, expect, it } from "vitest"
import { alone, calm, fifty, holding, loud, open, overloaded, refusing } from "./overload/load.ts"
import { adapts, follow } from "./overload/limits.ts"
import type { Course, Report } from "./overload/limits.ts"
import { obey } from "./overload/retry.ts"
import type { Burst } from "./overload/retry.ts"
import { goodput, latencies, normalAgain, outcomes, play, quantile } from "./overload/scenario.ts"
import type { Outcome } from "./overload/scenario.ts"

const end = calm + loud
const during = (outcome: Outcome) => goodput(outcome, calm, end)
const urgent = (outcome: Outcome) => quantile(latencies(outcome, 0, calm, end), 0.99)
const wasted = ({ upstream }: Outcome) => upstream.wastedMillis / upstream.busyMillis

/** Nobody runs or waits, and the counts agree. */
const gateIsEmpty = ({ statistics }: Outcome) => {
  expect(Gate.check(statistics!)).toEqual([])
  expect([statistics!.running, statistics!.waiting]).toEqual([0, 0])
}

/** And the upstream is empty. */
const nothingLeft = (outcome: Outcome) => {
  gateIsEmpty(outcome)
  expect(outcome.upstream.inside).toBe(0)
}

describe("half a minute of overload", () => {
  const unloaded = quantile(latencies(play(alone), 0, 0, loud), 0.99)

  it("without a gate leaves next to nothing of the goodput, and the urgent fare like all", () => {
    const outcome = play(overloaded(3))
    expect(during(outcome)).toBeLessThan(0.1)
    expect(wasted(outcome)).toBeGreaterThan(0.5)
    expect(urgent(outcome)).toBe(Infinity)
  })

  for (const [name, gate] of Object.entries(holding)) {
    for (const multiple of [3, 10]) {
      it(`of ${multiple} times the capacity: ${name}`, () => {
        const outcome = play(overloaded(multiple, gate))
        expect(during(outcome)).toBeGreaterThanOrEqual(0.9)
        expect(wasted(outcome)).toBeLessThan(0.05)
        expect(urgent(outcome)).toBeLessThan(2 * unloaded)
        expect(normalAgain(outcome, end, fifty.serviceMillis)).toBeLessThanOrEqual(2)
        nothingLeft(outcome)
      })
    }
  }

  for (const [how, multiple] of [
    ["shares, and room of its own for each level", 3],
    ["shares, and the least urgent put out for the others", 3],
    ["shares, and the least urgent put out for the others", 10]
  ] as const) {
    it(`of ${multiple} times the capacity leaves each level its share: ${how}`, () => {
      const outcome = play(overloaded(multiple, holding[how]))
      const from = (calm + 2) * 1000
      const answered = (urgency: number) =>
        outcome.calls.filter(
          (call) =>
            call.urgency === urgency && call.outcome === "answered" && call.arrived > from && call.arrived < end * 1000
        ).length
      // The weights are 8 and 1.
      expect(answered(3) / answered(6)).toBeGreaterThan(7)
      expect(answered(3) / answered(6)).toBeLessThan(10)
    })
  }

  it("is borne by a gate that lets everybody in, and sheds when a signal says so", () => {
    const outcome = play(overloaded(10, open.shed))
    expect(during(outcome)).toBeGreaterThanOrEqual(0.9)
    expect(urgent(outcome)).toBeLessThan(2 * unloaded)
    expect(normalAgain(outcome, end, fifty.serviceMillis)).toBeLessThanOrEqual(2)
    expect(outcomes(outcome, 0)).toEqual({ answered: outcome.calls.filter(({ urgency }) => urgency === 0).length })
    nothingLeft(outcome)
  })

  it("before an upstream that refuses at a cost: one that throttles sends it no more than about twice what it takes", () => {
    const bare = play(overloaded(10, open.none, refusing))
    const throttled = play(overloaded(10, open.throttle, refusing))
    expect(during(bare)).toBeLessThan(0.1)
    expect(during(throttled)).toBeGreaterThan(0.8)
    const later = throttled.calls.filter(({ arrived }) => arrived > 15_000 && arrived < end * 1000)
    const { answered, busy } = outcomes({ calls: later }) as { answered: number; busy: number }
    expect(busy).toBeLessThan(1.4 * answered)
    nothingLeft(throttled)
  })
})

describe("a limit that adapts, at a gate", () => {
  const { aimd, gradient, vegas } = ConcurrencyLimit
  const limits = [
    ["gradient", gradient, "slows"],
    ["vegas", vegas, "slows"],
    ["aimd", aimd, "refuses"]
  ] as const
  for (const [name, make, full] of limits) {
    for (const initial of [8, 50]) {
      it(`${name}, from ${initial}: finds a capacity of 20, and follows it within 10 s when it halves and doubles`, () => {
        for (const { goodput, limit, slots } of adapts(make({ max: 200, initial }), full, initial)) {
          expect(Math.abs(limit / slots - 1)).toBeLessThanOrEqual(0.2)
          expect(goodput).toBeGreaterThanOrEqual(0.8)
        }
      })
    }
  }
})

describe("a limit that begins at 1, at a gate before ten slots of 200 ms, under three times their load", () => {
  it.each([
    ["gradient", ConcurrencyLimit.gradient],
    ["vegas", ConcurrencyLimit.vegas]
  ] as const)("%s: a call cut by its deadline on the way does not keep it low", (_, make) => {
    for (const seed of [1, 2, 3]) {
      const limit = make({ max: 200, initial: 1 })
      const line = { maxItems: 25, overflow: "evictLeast" } as const
      const outcome = play(overloaded(3, () => Gate.make("upstream", { limit, line }), undefined, seed))
      expect(during(outcome)).toBeGreaterThanOrEqual(0.85)
      nothingLeft(outcome)
    }
  })
})

describe.each([
  ["gradient", ConcurrencyLimit.gradient],
  ["vegas", ConcurrencyLimit.vegas]
] as const)("%s, where calls are cut by their deadlines", (_, make) => {
  const busy = (times: number, budgetMillis = 2000): Course["loads"] => [
    { urgency: 3, offered: [[0, times]], budgetMillis }
  ]

  /** One from 1 and one from its default, over three seeds. */
  const each = (course: Omit<Course, "seed">, check: (report: Report) => void, initials = [1, undefined]) => {
    for (const seed of [1, 2, 3]) {
      for (const initial of initials) {
        const report = follow(make({ max: 200, initial }), { ...course, seed })
        check(report)
        // The upstream may still be busy with what was cut.
        gateIsEmpty(report.outcome)
      }
    }
  }

  it("does not starve for those who stood in line until they had less time than a service takes", () => {
    const course = { upstream: { slots: 10, serviceMillis: 1000 }, loads: busy(1.5), seconds: 120 }
    each(course, ({ goodput, limit }) => {
      expect(limit(60, 120)).toBeGreaterThan(7)
      expect(limit(60, 120)).toBeLessThan(14)
      // Of fixed 10 it is 0.9: one service in ten takes longer than what its caller has left.
      expect(goodput(60, 120)).toBeGreaterThan(0.65)
    })
  })

  it("follows a capacity that halves and doubles, though services take longer than some have time for", () => {
    const course: Omit<Course, "seed"> = {
      upstream: { slots: 20, serviceMillis: 800 },
      loads: busy(1.5),
      seconds: 180,
      changes: [
        [60, (upstream) => upstream.resize(10)],
        [120, (upstream) => upstream.resize(20)]
      ]
    }
    each(course, ({ goodput, limit }) => {
      expect(Math.abs(limit(40, 60) / 20 - 1)).toBeLessThan(0.2)
      expect(goodput(40, 60)).toBeGreaterThan(0.8)
      expect(Math.abs(limit(90, 120) / 10 - 1)).toBeLessThan(0.25)
      expect(goodput(90, 120)).toBeGreaterThan(0.4)
      expect(goodput(150, 180)).toBeGreaterThan(0.4)
    })
  })

  it("goes to its least where services take longer than anybody has time for, and comes back when they do not", () => {
    const course: Omit<Course, "seed"> = {
      upstream: { slots: 10, serviceMillis: 200 },
      loads: busy(1.5, 1000),
      seconds: 90,
      changes: [
        [30, (upstream) => void (upstream.serviceMillis = 2000)],
        [60, (upstream) => void (upstream.serviceMillis = 200)]
      ]
    }
    each(course, ({ goodput, limit }) => {
      expect(goodput(20, 30)).toBeGreaterThan(0.85)
      expect(limit(50, 60)).toBeLessThan(1.5)
      expect(goodput(75, 90)).toBeGreaterThan(0.8)
    })
  })

  it("goes to its least where nobody answers, and comes back when somebody does", () => {
    const course: Omit<Course, "seed"> = {
      upstream: { slots: 10, serviceMillis: 200 },
      loads: busy(1.5),
      seconds: 100,
      changes: [
        [30, (upstream) => upstream.resize(0)],
        [60, (upstream) => upstream.resize(10)]
      ]
    }
    each(course, ({ goodput, limit }) => {
      expect(limit(55, 60)).toBeLessThan(2)
      expect(goodput(80, 100)).toBeGreaterThan(0.85)
    })
  })

  it("learns how long calls take as soon as their callers have time enough", () => {
    const course: Omit<Course, "seed"> = {
      upstream: { slots: 10, serviceMillis: 3000 },
      loads: [
        {
          urgency: 3,
          offered: [
            [0, 3],
            [40, 0]
          ],
          budgetMillis: 1000
        },
        {
          urgency: 3,
          offered: [
            [0, 0],
            [40, 1.5]
          ],
          budgetMillis: 20_000
        }
      ],
      seconds: 160
    }
    each(course, ({ goodput, limit }) => {
      expect(limit(20, 40)).toBeLessThan(1.5)
      expect(goodput(100, 160)).toBeGreaterThan(0.55)
    })
  })

  it("comes down from fifty times the capacity, where next to nobody is answered in time", () => {
    const course = { upstream: { slots: 4, serviceMillis: 200 }, loads: busy(10), seconds: 60, line: { maxItems: 300 } }
    const check = ({ goodput, limit }: Report) => {
      expect(limit(40, 60)).toBeLessThan(8)
      expect(goodput(40, 60)).toBeGreaterThan(0.75)
    }
    each(course, check, [200])
  })
})

describe("those who obey retryAfter", () => {
  const burst = (of: Partial<Burst>) =>
    obey({
      seed: 1,
      slots: 20,
      serviceMillis: 100,
      maxItems: 100,
      times: 10,
      gate: (maxItems) => Gate.make("upstream", { limit: 20, line: { maxItems } }),
      ...of
    })

  const bursts: ReadonlyArray<readonly [name: string, of: Partial<Burst>]> = [
    ["3 times the line", { times: 3 }],
    ["5 times the line", { times: 5, seed: 2 }],
    ["10 times the line", { times: 10 }],
    ["20 times the line", { times: 20, seed: 3 }],
    ["20 times a line of 10", { times: 20, maxItems: 10 }],
    ["10 times a line of 1,000", { maxItems: 1000 }],
    [
      "10 times the line, two slow slots",
      { slots: 2, gate: (maxItems) => Gate.make("g", { limit: 2, line: { maxItems } }) }
    ],
    ["20 times the line, coming back up to 30 % later than told", { times: 20, jitter: 0.3 }],
    ["10 times a line of one second, told in whole seconds", { maxItems: 200, grainMillis: 1000 }],
    ["10 times the line, half of whom never come back", { gone: 0.5 }],
    ["10 times the line, beside others who take a quarter of it", { beside: 0.25 }],
    ["10 times the line, of several urgencies", { urgencies: [1, 3, 3, 6, 6, 6] }]
  ]
  for (const [name, of] of bursts) {
    it(`of ${name}, get in at the first retry, and begin not much later than without a bound`, () => {
      const report = burst(of)
      expect(report.sentAway).toBeGreaterThan(100)
      expect(report.untold).toBe(0)
      expect(report.firstRetry).toBeGreaterThanOrEqual(0.95)
      expect(report.median).toBeLessThan(1.5)
      expect(report.last).toBeLessThan(1.5)
    })
  }
})
