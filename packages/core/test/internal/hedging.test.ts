import { describe, expect, it } from "vitest"
import { Hedging } from "../../src/internal/hedging.ts"

const make = (terms: Partial<ConstructorParameters<typeof Hedging>[0]> = {}) =>
  new Hedging({ afterMillis: undefined, quantile: 0.95, minMillis: 0, maxMillis: Infinity, ratio: 0.05, ...terms })

const took = (hedging: Hedging, count: number, millis: (i: number) => number) => {
  for (let i = 0; i < count; i++) hedging.took(millis(i))
}

const hedges = (hedging: Hedging, calls: number) => {
  let count = 0
  for (let i = 0; i < calls; i++) {
    hedging.called()
    if (hedging.take()) count++
  }
  return count
}

describe("when to hedge", () => {
  it("is not known before enough was seen", () => {
    const hedging = make()
    took(hedging, 99, () => 20)
    expect(hedging.afterMillis).toBeUndefined()
    took(hedging, 16, () => 20)
    expect(hedging.afterMillis).toBeGreaterThanOrEqual(20)
    expect(hedging.learns).toBe(true)
    expect(make({ afterMillis: 5 })).toMatchObject({ afterMillis: 5, learns: false })
  })

  it("all that take about the same are within it, and what is slower by a quarter is not", () => {
    for (const millis of [0.5, 1, 3, 7.9, 8, 8.1, 19.9, 20, 100, 1000]) {
      const hedging = make()
      took(hedging, 1000, (i) => (i % 50 === 0 ? millis * 50 : millis))
      expect(hedging.afterMillis).toBeGreaterThanOrEqual(millis)
      expect(hedging.afterMillis).toBeLessThanOrEqual(millis * 1.26 + 0.07)
    }
  })

  it("follows a change within as many as it remembers", () => {
    const hedging = make()
    took(hedging, 2000, () => 20)
    took(hedging, 200, () => 400)
    expect(hedging.afterMillis).toBeGreaterThan(300)
    took(hedging, 10_000, () => 20)
    expect(hedging.afterMillis).toBeLessThan(26)
  })
})

describe("how often", () => {
  it("one for every twentieth call, from the first", () => {
    expect(hedges(make(), 19)).toBe(0)
    expect(hedges(make(), 20)).toBe(1)
    expect(hedges(make(), 100_000)).toBe(5000)
    // Ten times a tenth is less than one, in floats.
    expect(hedges(make({ ratio: 0.1 }), 10)).toBe(1)
    expect(hedges(make({ ratio: 0 }), 1000)).toBe(0)
    expect(hedges(make({ ratio: 1 }), 1000)).toBe(1000)
  })

  it("saves up a few, and what is given back may be used again", () => {
    const hedging = make()
    for (let i = 0; i < 10_000; i++) hedging.called()
    let count = 0
    while (hedging.take()) count++
    expect(count).toBe(10)
    hedging.giveBack()
    expect([hedging.take(), hedging.take()]).toEqual([true, false])
  })
})
