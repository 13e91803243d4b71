import { describe, expect, it } from "vitest"
import * as rate from "../../src/internal/rate.ts"

describe("rate", () => {
  it("knows nothing until it has seen something, and then says when a newcomer is likely to start", () => {
    const fresh = rate.start(0, 0)
    expect(rate.advice(fresh, 5, 0, 0)).toBe(undefined)
    const seen = rate.read(fresh, 1000, 10)
    expect(rate.advice(seen, 4, 0, 0)).toBe(500)
  })

  it("follows a change within its memory", () => {
    let self = rate.read(rate.start(0, 0), 1000, 10)
    let count = 10
    for (let now = 2000; now <= 40_000; now += 1000) self = rate.read(self, now, (count += 100))
    expect(self.perMilli).toBeGreaterThan(0.095)
    expect(self.perMilli).toBeLessThan(0.1)
  })

  it("ignores readings that are too close together to tell anything", () => {
    const self = rate.read(rate.start(0, 0), 1000, 10)
    expect(rate.read(self, 1001, 20)).toBe(self)
  })

  it("does not count the time in which nobody waited", () => {
    const busy = rate.read(rate.start(0, 0), 1000, 10)
    const later = rate.resume(busy, 1_000_000, 10)
    expect(later.perMilli).toBe(0.01)
    expect(rate.read(later, 1_001_000, 20).perMilli).toBeCloseTo(0.01, 6)
  })

  it("never promises more than the windows allow, and spreads those it sends away by up to a quarter", () => {
    const self = rate.read(rate.start(0, 0), 1000, 1000)
    expect(rate.advice(self, 9, 0, 0)).toBe(10)
    expect(rate.advice(self, 9, 1000, 0)).toBe(1000)
    expect(rate.advice(self, 9, 1000, 0.999)).toBeCloseTo(1250, -1)
  })
})
