import { describe, expect, it } from "vitest"
import type { Claim } from "../../src/internal/claim.ts"
import { Feeders } from "../../src/internal/feeders.ts"
import type { Blocked, Feeder } from "../../src/internal/feeders.ts"

const feeder = (urgency: number): Feeder => ({
  claim: { urgency } as unknown as Claim,
  defect: undefined,
  before: undefined,
  behind: undefined,
  begin: () => {}
})

/** Feeds `all`, as named; who was asked, in order. What keeps one out is in `out`. */
const feed = (all: Readonly<Record<string, Feeder>>, out: Readonly<Record<string, Blocked>>) => {
  const feeders = new Feeders()
  for (const each of Object.values(all)) feeders.push(each)
  const asked: Array<string> = []
  feeders.feed((feeder) => {
    const name = Object.entries(all).find(([, each]) => each === feeder)![0]
    asked.push(name)
    return out[name]
  })
  const left = feeders.all.map((feeder) => Object.entries(all).find(([, each]) => each === feeder)![0])
  expect(feeders.size).toBe(left.length)
  return { asked, left }
}

describe("feeders", () => {
  it("are let in by urgency, then in the order in which they came", () => {
    const all = { a: feeder(5), b: feeder(1), c: feeder(5), d: feeder(0) }
    expect(feed(all, {})).toEqual({ asked: ["d", "b", "a", "c"], left: [] })
  })

  it("one kept out by what is its own holds up nobody, by its level's bound its level, by the line's all less urgent", () => {
    const all = { a: feeder(1), b: feeder(1), c: feeder(1), d: feeder(2), e: feeder(3), f: feeder(4) }
    const out = { a: "own", b: "level", d: "own", e: "gate" } as const
    expect(feed(all, out)).toEqual({ asked: ["a", "b", "d", "e"], left: ["a", "b", "c", "d", "e", "f"] })
    const others = { a: feeder(1), b: feeder(1), c: feeder(2) }
    expect(feed(others, { a: "own" })).toEqual({ asked: ["a", "b", "a", "c"], left: ["a"] })
  })

  it("wait at their own urgency, until they are taken out", () => {
    const feeders = new Feeders()
    const one = feeder(3)
    feeders.push(one)
    expect([feeders.waits(3), feeders.waits(2)]).toEqual([true, false])
    feeders.remove(one)
    expect([feeders.waits(3), feeders.size]).toEqual([false, 0])
  })
})
