import { describe, expect, it } from "@effect/vitest"
import { Pauses, rates, Samples } from "../../src/internal/lately.ts"

describe("samples", () => {
  it("tell what so many of them are not above", () => {
    const samples = new Samples(100)
    for (let i = 100; i >= 1; i--) samples.add(i)
    expect(samples.delay()).toEqual({ p50: 50, p90: 90, p99: 99, max: 100 })
  })

  it("are those of lately alone", () => {
    const samples = new Samples(4)
    for (const value of [900, 1, 2, 3, 4]) samples.add(value)
    expect(samples.delay().max).toBe(4)
    expect(samples.delay(2)).toEqual({ p50: 3, p90: 4, p99: 4, max: 4 })
  })

  it("are zero where there are none", () => {
    expect(new Samples(4).delay()).toEqual({ p50: 0, p90: 0, p99: 0, max: 0 })
    expect(new Samples(4).delay(0).max).toBe(0)
  })
})

describe("rates", () => {
  const from = { at: 1000, active: 100, iterations: 10, events: 50 }

  it("are by what has gone since", () => {
    expect(rates(from, { at: 3000, active: 600, iterations: 110, events: 350 })).toEqual({
      utilization: 0.25,
      iterationsPerSecond: 50,
      eventsPerIteration: 3
    })
  })

  it("are zero where nothing has, and no utilization is above one", () => {
    expect(rates(from, from)).toEqual({ utilization: 0, iterationsPerSecond: 0, eventsPerIteration: 0 })
    expect(rates(from, { ...from, at: 1001, active: 102 }).utilization).toBe(1)
  })
})

describe("pauses", () => {
  const pauses = () => {
    const made = new Pauses(10_000)
    made.add({ start: 1000, millis: 50 })
    made.add({ start: 5000, millis: 10 })
    return made
  }

  it("are those of lately", () => {
    expect(pauses().statistics(6000)).toEqual({ pauses: 2, totalMillis: 60, maxMillis: 50 })
    expect(pauses().statistics(12_000)).toEqual({ pauses: 1, totalMillis: 10, maxMillis: 10 })
    expect(pauses().statistics(20_000)).toEqual({ pauses: 0, totalMillis: 0, maxMillis: 0 })
  })

  it("count by what of them lies between two instants", () => {
    expect(pauses().between(1020, 5005)).toBe(35)
    expect(pauses().between(0, 900)).toBe(0)
  })

  it("are bounded however many there are", () => {
    const made = new Pauses(10_000)
    for (let i = 0; i < 10_000; i++) made.add({ start: 1000 + i / 100, millis: 0.1 })
    expect(made.statistics(1100).pauses).toBeLessThanOrEqual(2048)
    expect(made.statistics(1100).pauses).toBeGreaterThanOrEqual(1024)
  })
})
