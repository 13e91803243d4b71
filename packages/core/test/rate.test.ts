import { describe, expect, it } from "@effect/vitest"
import * as rate from "../src/internal/rate.ts"

describe("the drain rate", () => {
  it("is what it was seen to be at first, and follows what is seen later", () => {
    const first = rate.read(rate.start(0, 0), 1000, 10)
    expect(first.perMilli).toBe(0.01)
    const later = rate.read(first, 11_000, 210)
    // One time constant later it has gone 1 - 1/e of the way to the new rate.
    expect(later.perMilli).toBeCloseTo(0.01 + (1 - Math.exp(-1)) * 0.01, 12)
  })

  it("learns nothing from a moment", () => {
    const first = rate.read(rate.start(0, 0), 1000, 10)
    expect(rate.read(first, 1049, 1000)).toBe(first)
  })

  it("keeps what it has learnt over a time in which nobody waited, of which it learns nothing", () => {
    const first = rate.read(rate.start(0, 0), 1000, 10)
    const again = rate.resume(first, 100_000, 5000)
    expect(again.perMilli).toBe(0.01)
    expect(rate.read(again, 101_000, 5010).perMilli).toBeCloseTo(0.01, 12)
  })
})

describe("the advice", () => {
  const tenASecond = rate.read(rate.start(0, 0), 1000, 10)

  it("is when all before, and then oneself, will have started", () => {
    expect(rate.advice(tenASecond, 3, 0, 0)).toBeCloseTo(400, 9)
  })

  it("is never before the windows allow it", () => {
    expect(rate.advice(tenASecond, 0, 5000, 0)).toBe(5000)
    expect(rate.advice(rate.start(0, 0), 0, 5000, 0)).toBe(5000)
  })

  it("moves those who are sent away together apart by up to a quarter", () => {
    expect(rate.advice(tenASecond, 3, 0, 0.5)).toBeCloseTo(450, 9)
  })

  it("is none where nothing is known", () => {
    expect(rate.advice(rate.start(0, 0), 3, 0, 0.5)).toBe(undefined)
  })
})
