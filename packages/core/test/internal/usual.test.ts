import { describe, expect, it } from "vitest"
import { Usual } from "../../src/internal/usual.ts"

const of = (...ends: ReadonlyArray<readonly [count: number, millis: number, cut?: boolean]>) => {
  const usual = new Usual()
  for (const [count, millis, cut = false] of ends) for (let i = 0; i < count; i++) usual.observe(millis, cut)
  return usual
}

describe("how much time one needs to begin", () => {
  it("is not known before some have ended", () => {
    expect(of([7, 100]).needed(1000)).toBe(0)
    expect(of([8, 100]).needed(1000)).toBeGreaterThan(0)
  })

  it("is what nineteen in twenty take, to a quarter", () => {
    const usual = of([94, 100], [6, 400])
    expect(usual.needed(2000)).toBeGreaterThan(400 / 1.25)
    expect(usual.needed(2000)).toBeLessThan(400 * 1.25)
    const fewer = of([96, 100], [4, 400])
    expect(fewer.needed(2000)).toBeGreaterThan(100 / 1.25)
    expect(fewer.needed(2000)).toBeLessThan(100 * 1.25)
  })

  it("leaves those out who take longer than one has time for anyway", () => {
    const usual = of([80, 10], [20, 10_000])
    expect(usual.needed(2000)).toBeLessThan(12.5)
    expect(usual.needed(60_000)).toBeGreaterThan(8000)
  })

  it("is never more than one came with", () => {
    const usual = of([100, 100])
    for (const budget of [1, 50, 99, 101, 110, 1e9]) expect(usual.needed(budget)).toBeLessThanOrEqual(budget)
  })

  it("says by how much one has too little, and does not look for it where nobody had", () => {
    const usual = of([100, 100])
    const needed = usual.needed(2000)
    expect(usual.short(60, 2000)).toBe(needed - 60)
    expect(usual.short(-40, 2000)).toBe(needed + 40)
    expect(usual.short(needed, 2000)).toBeLessThanOrEqual(0)
    expect(usual.short(1999, 2000)).toBe(0)
  })

  it("counts who was cut as one who would have taken twice as long", () => {
    expect(of([100, 100, true]).needed(2000)).toBeGreaterThan(200 / 1.25)
  })

  it("follows a change, and takes what is out of all measure", () => {
    const usual = of([10_000, 100], [4000, 10])
    expect(usual.needed(2000)).toBeLessThan(12.5)
    expect(of([100, 0], [1, 1e12]).needed(2000)).toBeLessThanOrEqual(0.125)
  })
})
