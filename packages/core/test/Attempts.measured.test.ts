import { Attempts } from "@fairlead/core"
import { describe, expect, it } from "vitest"
import { amplification, downForAWhile, play, policies, slowNowAndThen } from "./attempts/scenario.ts"
import { quantile } from "./overload/scenario.ts"

const seeds = [1, 2, 3]

describe("an upstream that is down", () => {
  for (const [name, options] of Object.entries({
    retries: policies.retries,
    "retries and learnt hedges": policies.hedges,
    "retries, and hedges of all": policies.eager
  })) {
    it.each(seeds)(`sees at most 1.2 requests for each call: ${name} (seed %i)`, (seed) => {
      const outcome = play(downForAWhile(options, seed))
      // Two seconds for what was in hand when it went down.
      expect(amplification(outcome, 12, 40)).toBeLessThanOrEqual(1.2)
      expect(amplification(outcome)).toBeLessThanOrEqual(1.2)
      expect(amplification(outcome, 12, 40)).toBeGreaterThan(1.1)
      expect(Attempts.check(outcome.statistics)).toEqual([])
      expect(outcome.statistics.hedges).toBeLessThanOrEqual(0.05 * outcome.statistics.calls)
    })
  }

  it("sees three for each without a budget", () => {
    expect(amplification(play(downForAWhile(policies.unbounded)), 12, 40)).toBeGreaterThan(2.8)
  })
})

describe("an upstream of which two in a hundred answers take fifty times as long", () => {
  it.each(seeds)("hedged, the p99 drops by five times at least, for at most 5 %% more requests (seed %i)", (seed) => {
    const plain = play(slowNowAndThen(undefined, seed))
    const hedged = play(slowNowAndThen(policies.hedges, seed))
    expect(quantile(plain.took, 0.99) / quantile(hedged.took, 0.99)).toBeGreaterThanOrEqual(5)
    expect(quantile(hedged.took, 0.5) / quantile(plain.took, 0.5)).toBeLessThan(1.05)
    expect(amplification(hedged)).toBeLessThanOrEqual(1.05)
    expect(Attempts.check(hedged.statistics)).toEqual([])
  })
})
