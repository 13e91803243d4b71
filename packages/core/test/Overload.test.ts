import { Gate } from "@fairlead/core"
import { describe, expect, it } from "vitest"
import { obey } from "./overload/retry.ts"
import type { Burst } from "./overload/retry.ts"

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
