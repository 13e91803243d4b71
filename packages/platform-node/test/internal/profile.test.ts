import { describe, expect, it } from "@effect/vitest"
import { culpritOf } from "../../src/internal/profile.ts"

const node = (
  id: number,
  functionName: string,
  url: string,
  lineNumber: number,
  ...children: ReadonlyArray<number>
) => ({
  id,
  callFrame: { functionName, url, lineNumber },
  children
})

const nodes = [
  node(1, "(root)", "", -1, 2, 3, 4, 8),
  node(2, "(idle)", "", -1),
  node(3, "(garbage collector)", "", -1),
  node(4, "decode", "file:///app/src/a.ts", 6, 5, 6),
  node(5, "parse", "", -1),
  node(6, "readFileSync", "node:fs", 10, 7),
  node(7, "read", "", -1),
  node(8, "processTicks", "node:internal", 1)
]

/** A sample each 10 ms. */
const read = (samples: ReadonlyArray<number>, from = 0, to = 1e6) =>
  culpritOf({ nodes, startTime: 1000, samples, timeDeltas: samples.map(() => 10_000) }, from, to, "/app")

describe("the culprit of a profile", () => {
  it("is the program's own function, with what that called of others", () => {
    expect(read([5, 5, 4])).toEqual({ function: "decode calling parse", place: "src/a.ts:7", own: true })
    expect(read([7, 7, 5])).toEqual({ function: "decode calling readFileSync", place: "src/a.ts:7", own: true })
    expect(read([4, 4, 5])).toEqual({ function: "decode", place: "src/a.ts:7", own: true })
  })

  it("is of the time that is asked for", () => {
    expect(read([5, 5, 5, 4], 41_000, 50_000)).toEqual({ function: "decode", place: "src/a.ts:7", own: true })
    expect(read([4, 5, 5, 5], 11_000, 20_000)).toEqual({ function: "decode", place: "src/a.ts:7", own: true })
  })

  it("is Node where nothing of the program's ran, and nobody where nothing did", () => {
    expect(read([8])?.function).toBe("processTicks")
    expect(read([2, 3, 1])).toBeUndefined()
    expect(read([])).toBeUndefined()
    expect(culpritOf({ nodes, startTime: 0 }, 0, 1, "/app")).toBeUndefined()
  })
})
