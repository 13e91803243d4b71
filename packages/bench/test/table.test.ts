import { expect, it } from "vitest"
import type { Part, Row, Sample } from "../src/harness.ts"
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

const space: Part = {
  name: "heap",
  rows: [
    {
      name: "a thing",
      contenders: [
        { name: "ours", round: never, atMostBytes: 1000 },
        { name: "lean", round: never, atMost: 1.3 },
        { name: "fat", round: never, atMost: 1.3 }
      ]
    },
    { name: "what it leaves", contenders: [{ name: "ours", round: never, atMostBytes: 1 }] }
  ]
}

it("bytes stand in a table of their own, where less is better", () => {
  const samples: ReadonlyArray<Sample> = [0, 1, 2].flatMap((round) => [
    { row: "a thing", contender: "ours", round, bytes: 900 + round },
    { row: "a thing", contender: "lean", round, bytes: (900 + round) / 2 },
    { row: "a thing", contender: "fat", round, bytes: (900 + round) * 2 },
    { row: "what it leaves", contender: "ours", round, bytes: 1.5 }
  ])
  expect(markdown([...lines(part, []), ...lines(space, samples)]).split("\n\n")[1]).toBe(
    [
      "| what | who | bytes each | ours takes … times as much | aim |",
      "|---|---|--:|--:|---|",
      "| a thing | ours | 901 |  | ≤ 1000 B: met |",
      "|  | lean | 451 | 2.00 (2.00–2.00) | ≤ 1.3: **missed** |",
      "|  | fat | 1802 | 0.50 (0.50–0.50) | ≤ 1.3: met |",
      "| what it leaves | ours | 1.50 |  | ≤ 1 B: **missed** |"
    ].join("\n")
  )
})

it("what is as large as a process is told in megabytes", () => {
  const row: Row = { name: "growth", contenders: [{ name: "ours", round: never, atMostBytes: 100e6 }] }
  const samples: ReadonlyArray<Sample> = [{ row: "growth", contender: "ours", round: 0, bytes: 75_132_928 }]
  expect(
    markdown(lines({ name: "toy", rows: [row] }, samples))
      .split("\n")
      .at(-1)
  ).toBe("| growth | ours | 75 MB |  | ≤ 100 MB: met |")
})

it("an aim may be so many per second, whoever else is in the row", () => {
  const row = (atLeastPerSecond: number) => ({
    name: `${atLeastPerSecond}`,
    contenders: [{ name: "ours", round: never, atLeastPerSecond }]
  })
  const rows = [row(400_000), row(1e6)]
  const samples: ReadonlyArray<Sample> = rows.map(({ name }) => ({ row: name, contender: "ours", round: 0, micros: 2 }))
  const aims = lines({ name: "toy", rows }, samples).map(({ aim }) => aim)
  expect(aims).toEqual([
    { text: "≥ 400 k/s", met: true },
    { text: "≥ 1.00 M/s", met: false }
  ])
})
