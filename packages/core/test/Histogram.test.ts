import { describe, expect, it } from "@effect/vitest"
import { Histogram } from "@fairlead/core"

describe("Histogram", () => {
  it("knows within how long a part of the times ended, to within a quarter", () => {
    const histogram = Histogram.make()
    for (let millis = 1; millis <= 400; millis++) histogram.add(millis)
    for (const part of [0.1, 0.5, 0.9, 0.99, 1]) {
      expect(histogram.quantile(part)! / (400 * part)).toBeGreaterThan(0.8)
      expect(histogram.quantile(part)! / (400 * part)).toBeLessThan(1.25)
    }
  })

  it("forgets what is long ago", () => {
    const histogram = Histogram.make()
    for (let i = 0; i < 1_000; i++) histogram.add(1_000)
    for (let i = 0; i < 5_000; i++) histogram.add(1)
    expect(histogram.quantile(0.9)).toBeLessThan(2)
  })

  it("knows nothing of no times", () => expect(Histogram.make().quantile(0.5)).toBe(undefined))
})
