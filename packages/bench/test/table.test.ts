import { expect, it } from "vitest"
import type { Part, Sample } from "../src/harness.ts"
import { lines, markdown } from "../src/table.ts"

const never = () => Promise.reject(new Error("not measured here"))

const part: Part = {
  name: "toy",
  rows: [
    {
      name: "short",
      contenders: [
        { name: "ours", round: never },
        { name: "quick", round: never, atLeast: 0.5 },
        { name: "slow", round: never, atLeast: 2 }
      ]
    },
    { name: "long", contenders: [{ name: "ours", round: never }] }
  ],
  figures: [{ name: "long against short", of: (micros) => micros("long", "ours") / micros("short", "ours"), atMost: 2 }]
}

const samples: ReadonlyArray<Sample> = [0, 1, 2].flatMap((round) => [
  { row: "short", contender: "ours", round, micros: 2 + round },
  { row: "short", contender: "quick", round, micros: (2 + round) * 0.6 },
  { row: "short", contender: "slow", round, micros: (2 + round) * 1.5, perSecond: 1234 },
  { row: "long", contender: "ours", round, micros: (2 + round) * 3 }
])

it("an aim is met or missed by the median of the ratios", () => {
  const aims = lines(part, samples).map(({ contender, aim }) => [contender, aim?.met])
  expect(aims).toEqual([
    ["ours", undefined],
    ["quick", true],
    ["slow", false],
    ["ours", undefined],
    ["", false]
  ])
})

it("a figure over two rows is computed round by round", () => {
  expect(lines(part, samples).at(-1)?.ratio).toEqual({ median: 3, low: 3, high: 3 })
})

it("prints one line for each contender, with what was measured and what was wanted", () => {
  expect(markdown(lines(part, samples))).toBe(
    [
      "| what | who | µs each | per second | ours is … times as fast | aim |",
      "|---|---|--:|--:|--:|---|",
      "| short | ours | 3.00 | 333 k |  |  |",
      "|  | quick | 1.80 | 556 k | 0.60 (0.60–0.60) | ≥ 0.5: met |",
      "|  | slow | 4.50 | 1.23 k | 1.50 (1.50–1.50) | ≥ 2: **missed** |",
      "| long | ours | 9.00 | 111 k |  |  |",
      "| long against short |  |  |  | 3.00 (3.00–3.00) | ≤ 2: **missed** |"
    ].join("\n")
  )
})
