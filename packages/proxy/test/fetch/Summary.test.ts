import { describe, expect, it } from "vitest"
import { Latencies } from "../../src/fetch/Latencies.ts"
import * as Summary from "../../src/fetch/Summary.ts"
import { Tally } from "../../src/fetch/Tally.ts"
import type { Entry } from "../../src/fetch/Entry.ts"

const entry = (more: Partial<Entry>): Entry => ({
  index: 0,
  url: "http://a.test/",
  ok: true,
  status: 200,
  attempts: 1,
  redirects: 0,
  bytes: 1_024,
  millis: 12,
  waitedMillis: 0,
  ...more
})

const rejected = (n: number): Partial<Entry> => ({
  ok: false,
  status: 503,
  attempts: 3,
  millis: 900,
  bytes: 0,
  url: `http://a.test/${n}`,
  error: { kind: "StatusRejected", message: `http://a.test/${n}: 503` }
})

const how = { elapsedMillis: 2_000, stopped: undefined, columns: 80 }

describe("a summary", () => {
  it("tells counts, statuses, latencies, what failed and how to go on", () => {
    const tally = new Tally()
    for (let n = 0; n < 1_200; n++) tally.add(entry({ millis: n < 1_000 ? 12 : 40 }), 10)
    for (let n = 0; n < 3; n++) tally.add(entry(rejected(n)), 10)
    const dns = { kind: "ConnectionFailed", reason: "dns", message: "getaddrinfo ENOTFOUND" }
    const { status: _, ...unanswered } = entry({
      ok: false,
      error: dns,
      bytes: 0,
      millis: 3,
      url: "http://nowhere.test/"
    })
    tally.add(unanswered, 10)
    tally.skip(10)
    tally.left = 2
    expect(Summary.render(tally, { ...how, stopped: { part: 0.254, resumes: true } })).toBe(
      `1,204 done in 2.0 s (602/s), 1.17 MiB, 6 retries
  ok       1,200
  failed   4
  skipped  1  fetched by an earlier run
  left     2  taken, and not begun or cut
  status   200 × 1,200  503 × 3
  latency  p50 12 ms  p90 40 ms  p99 40 ms  max 900 ms

      2 ms - 5 ms      1 #
     5 ms - 10 ms      0
    10 ms - 20 ms  1,000 ########################################
    20 ms - 50 ms    200 ########
   50 ms - 100 ms      0
  100 ms - 200 ms      0
  200 ms - 500 ms      0
     500 ms - 1 s      3 #

  3 × status 503
      http://a.test/0: 503
  1 × ConnectionFailed (dns)
      http://nowhere.test/: getaddrinfo ENOTFOUND

stopped before the end; about 25 % of the input is left.
To go on, run the same command with --resume.`
    )
  })

  it("is short where there is little to tell", () => {
    const tally = new Tally()
    tally.add(entry({}), 10)
    expect(Summary.render(tally, { ...how, elapsedMillis: 20 })).toBe(
      `1 done in 20 ms (50/s), 1 KiB
  ok       1
  status   200 × 1
  latency  p50 12 ms  p90 12 ms  p99 12 ms  max 12 ms`
    )
    expect(Summary.render(new Tally(), { ...how, elapsedMillis: 0 })).toBe("0 done in 0.0 ms (0/s), 0 B\n  ok       0")
  })

  it("says what would have let it go on", () => {
    const lines = Summary.render(new Tally(), { ...how, stopped: { part: undefined, resumes: false } }).split("\n")
    expect(lines.slice(-2)).toEqual([
      "stopped before the end.",
      "Only what was kept with --out DIR can be gone on with, by --resume."
    ])
  })

  it("has all of a reason, in several rows, however long its address is", () => {
    const url = `http://a.test/${"x".repeat(80)}`
    const tally = new Tally()
    tally.add(entry({ ...rejected(0), url, error: { kind: "StatusRejected", message: `${url}: 503: try later` } }), 10)
    const lines = Summary.render(tally, { ...how, columns: 70 }).split("\n")
    expect(lines.slice(-3)).toEqual([
      "  1 × status 503",
      `      http://a.test/${"x".repeat(49)}`,
      `      ${"x".repeat(31)}: 503: try later`
    ])
  })

  it("fits the columns", () => {
    const tally = new Tally()
    for (let n = 0; n < 1_000; n++) tally.add(entry({ millis: n }), 10)
    tally.add(entry({ ...rejected(0), error: { kind: "StatusRejected", message: "x".repeat(500) } }), 10)
    for (const columns of [60, 80, 200]) {
      const lines = Summary.render(tally, { ...how, columns }).split("\n")
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns)
    }
  })
})

describe("latencies", () => {
  const of = (...millis: ReadonlyArray<number>) => {
    const latencies = new Latencies()
    for (const one of millis) latencies.add(one)
    return latencies
  }

  it("give parts of themselves, at most 5 % too high, and never beyond the slowest", () => {
    const all = of(...Array.from({ length: 1_000 }, (_, i) => i + 1))
    for (const part of [0.01, 0.5, 0.9, 0.99, 1]) {
      expect(all.within(part)).toBeGreaterThanOrEqual(part * 1_000)
      expect(all.within(part)).toBeLessThanOrEqual(part * 1_000 * 1.0501)
    }
    expect(all.max).toBe(1_000)
    expect(of(7).within(0.5)).toBe(7)
    expect(of().within(0.5)).toBe(0)
  })

  it("lose none in their rows, however fast or slow", () => {
    for (const millis of [[0], [0.001, 5], [1, 10, 100, 1e4, 1e9], [3, 3.1, 3.2], [200, 200]]) {
      const { rows } = of(...millis)
      expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(millis.length)
      expect(rows[0]!.from).toBeLessThanOrEqual(Math.min(...millis))
      expect(rows.at(-1)!.to).toBeGreaterThan(Math.max(...millis))
    }
    expect(of().rows).toEqual([])
  })

  it("that are near each other have finer rows", () => {
    expect(of(11, 12, 16, 22).rows).toEqual([
      { from: 10, to: 15, count: 2 },
      { from: 15, to: 20, count: 1 },
      { from: 20, to: 25, count: 1 }
    ])
  })
})
