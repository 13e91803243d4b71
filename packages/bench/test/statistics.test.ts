import { expect, it } from "vitest"
import { order, quantile, summarize, timesAsFast } from "../src/statistics.ts"

it("a quantile lies between the two values next to its place", () => {
  expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5)
  expect(quantile([4, 1, 3, 2], 0)).toBe(1)
  expect(quantile([4, 1, 3, 2], 1)).toBe(4)
  expect(quantile([7], 0.25)).toBe(7)
})

it("a summary leaves outliers to the quarters", () => {
  expect(summarize([1, 2, 3, 4, 1000])).toEqual({ median: 3, low: 2, high: 4 })
})

it("a round in which the whole machine is slow does not move the ratio", () => {
  const quiet = timesAsFast([1, 1, 1, 1, 1], [2, 2, 2, 2, 2])
  const slowFromTheThirdOn = timesAsFast([1, 1, 9, 9, 9], [2, 2, 18, 18, 18])
  expect(slowFromTheThirdOn).toEqual(quiet)
  // The ratio of the medians would be another one as soon as the slow rounds differ.
  expect(timesAsFast([1, 1, 9, 9, 9], [2, 2, 2, 18, 18]).median).toBe(2)
})

it("more than 1 means that ours takes less time", () => {
  expect(timesAsFast([2], [3]).median).toBe(1.5)
})

it("every round measures each contender once, and none twice in a row", () => {
  const contenders = ["a", "b", "c", "d"]
  const rounds = Array.from({ length: 12 }, (_, round) => order(contenders, round))
  for (const round of rounds) expect(round.toSorted()).toEqual(contenders)
  expect(new Set(rounds.map((round) => round[0])).size).toBe(4)
  expect(new Set(rounds.map((round) => round.at(-1))).size).toBe(4)
  const places = rounds.map((round) => round.indexOf("a"))
  expect(Math.max(...places) - Math.min(...places)).toBe(3)
})

it("nobody always comes after the same neighbour", () => {
  const after = Array.from({ length: 12 }, (_, round) => order(["a", "b", "c"], round)).map(
    (round) => round[round.indexOf("a") - 1]
  )
  expect(new Set(after)).toEqual(new Set([undefined, "b", "c"]))
})
