import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import { Histogram } from "../../src/internal/histogram.ts"

const of = (...times: ReadonlyArray<readonly [count: number, millis: number]>) => {
  const histogram = new Histogram()
  for (const [count, millis] of times) for (let i = 0; i < count; i++) histogram.add(millis)
  return histogram
}

describe("a histogram of times", () => {
  it("knows how many took no longer, and within what time so many ended, to a quarter", () => {
    const histogram = of([90, 10], [10, 400])
    expect(histogram.upTo(100)).toBe(90)
    expect(histogram.upTo(1)).toBe(0)
    expect(histogram.upTo(1000)).toBe(100)
    expect(histogram.within(50)).toBeGreaterThan(8)
    expect(histogram.within(50)).toBeLessThan(12.5)
    expect(histogram.within(95)).toBeGreaterThan(320)
    expect(histogram.within(95)).toBeLessThan(500)
  })

  it("well within is no less than any of them took, and at most a quarter more", () => {
    const time = fc.double({ min: 0.25, max: 1e6, noNaN: true })
    const holds = fc.property(fc.array(time, { minLength: 1, maxLength: 200 }), (times) => {
      const histogram = of(...times.map((millis) => [1, millis] as const))
      const sorted = times.toSorted((a, b) => a - b)
      return sorted.every((millis, i) => {
        const end = histogram.wellWithin(i + 1)
        return end >= millis && end <= millis * 1.25 + 1 / 16 && histogram.within(i + 1) <= end
      })
    })
    expect(fc.check(holds).failed).toBe(false)
  })

  it("forgets: what is new weighs more and more", () => {
    const histogram = of([10_000, 100], [4000, 10])
    expect(histogram.total).toBeLessThan(1024)
    expect(histogram.within(histogram.total * 0.95)).toBeLessThan(12.5)
  })

  it("takes what is out of all measure", () => {
    const histogram = of([100, 0], [1, 1e12])
    expect(histogram.within(95)).toBeLessThanOrEqual(0.125)
    expect(histogram.upTo(Infinity)).toBeGreaterThanOrEqual(100)
  })
})
