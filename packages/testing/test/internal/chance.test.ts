import { describe, expect, it } from "vitest"
import { draw, Trace } from "../../src/internal/chance.ts"

const some = (seed: number, stream?: number) => Array.from({ length: 1000 }, draw(seed, stream))

describe("chance", () => {
  it("is the same for one seed and stream, and another for any other", () => {
    expect(some(1)).toEqual(some(1))
    const all = [some(1), some(1, 1), some(2), some(2, 1), some(2 ** 40)].map((numbers) => numbers.join())
    expect(new Set(all).size).toBe(all.length)
  })

  it("is even", () => {
    const numbers = some(7)
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...numbers)).toBeLessThan(1)
    expect(numbers.reduce((sum, number) => sum + number) / numbers.length).toBeCloseTo(0.5, 1)
  })
})

describe("a fingerprint", () => {
  const of = (...values: ReadonlyArray<number>) => {
    const trace = new Trace()
    for (const value of values) trace.add(value)
    return trace.fingerprint
  }

  it("is of all that happened, in order", () => {
    expect(of(1, 2, 3)).toBe(of(1, 2, 3))
    const others = [[], [1], [1, 2], [2, 2, 3], [1, 3, 3], [3, 2, 1], [1, 2, 3, 0], [1, 2, 2 ** 40]]
    const all = [of(1, 2, 3), ...others.map((values) => of(...values))]
    expect(new Set(all).size).toBe(all.length)
    expect(of(1)).toMatch(/^[0-9a-f]{16}$/)
  })
})
