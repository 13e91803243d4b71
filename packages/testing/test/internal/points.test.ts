import { describe, expect, it } from "vitest"
import { choose, Lives } from "../../src/internal/points.ts"

describe("points", () => {
  it("are every step, for its taker and for those who live then", () => {
    const lives = new Lives()
    for (const fiber of [1, 2, 1, 2, 1]) lives.note(fiber)
    expect(Array.from(lives.points(), ({ fiber, step }) => `${step}/${fiber}`)).toEqual([
      "1/1",
      "2/2",
      "2/1",
      "3/1",
      "3/2",
      "4/2",
      "4/1",
      "5/1"
    ])
  })

  it("are chosen from all over: one of each stretch", () => {
    const all = Array.from({ length: 100 }, (_, i) => i)
    expect(choose(all, 4, () => 0.5)).toEqual([12, 37, 62, 87])
    expect(choose(all, 4, () => 0)).toEqual([0, 25, 50, 75])
    expect(choose(all, 100, () => 0.9)).toEqual(all)
  })
})
