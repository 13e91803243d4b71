import { describe, expect, it } from "@effect/vitest"
import { IoProfile } from "@fairlead/platform-node"

const route = (
  name: string,
  count: number,
  runningMillis: number,
  waitingMillis: object
): IoProfile.RouteStatistics => ({
  name,
  count,
  millis: Object.values(waitingMillis).reduce((sum, millis) => sum + millis, runningMillis),
  runningMillis,
  waitingMillis,
  p50Millis: 12.34,
  p99Millis: 1_234
})

const statistics: IoProfile.Statistics = {
  tasks: 1,
  routes: [
    route("GET github", 1_204, 300, { firstByte: 8_000, body: 1_690, other: 10 }),
    route("POST openai", 3, 1, { gate: 60_000, firstByte: 40_000 })
  ],
  slowest: [
    {
      id: "a-1",
      name: "POST openai",
      millis: 50_000,
      agoMillis: 5,
      runningMillis: 100,
      waitingMillis: { gate: 49_900 }
    }
  ]
}

describe("the table", () => {
  it("has a column for each state that counts, and the slowest", () => {
    expect(IoProfile.table(statistics)).toBe(`             count    p50     p99   total  gate  firstByte  body  rest
GET github   1,204  12 ms  1.23 s  10.0 s             80 %  17 %   3 %
POST openai      3  12 ms  1.23 s   100 s  60 %       40 %

slowest of the last 5 minutes
POST openai a-1: 50.0 s, gate 49.9 s
`)
  })

  it("has those that count most where it is narrow, and the rest in one", () => {
    const lines = IoProfile.table(statistics, 60).split("\n")
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(60)
    expect(lines[0]).toContain("rest")
    expect(lines[0]).not.toContain("body")
  })

  it("says that there is nothing", () => {
    expect(IoProfile.table({ tasks: 2, routes: [], slowest: [] })).toBe("No task has ended; 2 go on.\n")
  })

  it("does not steer a terminal, nor is stretched by a name", () => {
    const text = IoProfile.table({
      ...statistics,
      slowest: [],
      routes: [route(`\u001b[2J${"x".repeat(60)}`, 1, 1, {})]
    })
    expect(text).toContain(`�[2J${"x".repeat(35)}… `)
  })
})
