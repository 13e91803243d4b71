import { describe, expect, it } from "vitest"
import * as rate from "../../src/internal/rate.ts"

/** Has seen this many starts per second, for ten seconds. */
const seen = (perSecond: number) => rate.read(rate.start(0, 0), 10_000, perSecond * 10)

/** The appointments of `count` who are sent away at once. */
const appointments = (self: rate.Rate, now: number, count: number, ahead: number, spread = 0.5) => {
  const all: Array<number | undefined> = []
  let next = self
  for (let i = 0; i < count; i++) {
    const [millis, after] = rate.appoint(next, now, ahead, 0, Infinity, spread)
    all.push(millis)
    next = after
  }
  return { all, next }
}

describe("rate", () => {
  it("follows a change within its memory", () => {
    let self = seen(10)
    let count = 100
    for (let now = 11_000; now <= 50_000; now += 1000) self = rate.read(self, now, (count += 100))
    expect(self.perMilli).toBeGreaterThan(0.095)
    expect(self.perMilli).toBeLessThan(0.1)
  })

  it("is the mean of all it has seen, until its memory is full", () => {
    const self = rate.read(rate.read(rate.start(0, 0), 1000, 10), 4000, 100)
    expect(self.perMilli).toBeCloseTo(0.025, 9)
  })

  it("ignores readings that are too close together to tell anything", () => {
    const self = rate.read(rate.start(0, 0), 1000, 10)
    expect(rate.read(self, 1001, 20)).toBe(self)
  })

  it("does not count the time in which nobody waited", () => {
    const busy = rate.read(rate.start(0, 0), 1000, 10)
    const later = rate.resume(busy, 1_000_000, 10, 10)
    expect(later.perMilli).toBe(0.01)
    expect(rate.read(later, 1_001_000, 20).perMilli).toBeCloseTo(0.01, 6)
  })
})

describe("appointments", () => {
  it("reach a minute behind the first that can be given, or as far again: who asks again and again pushes nobody further", () => {
    const { all, next } = appointments(seen(10), 10_000, 10_000, 9)
    expect(Math.max(...all.map((millis) => millis ?? 0))).toBeLessThanOrEqual(61_000)
    expect(rate.appoint(next, 10_000, 9, 0, Infinity, 0)[0]).toBeCloseTo(1000, 6)
    const slow = rate.appoint({ ...next, until: 1e9 }, 10_000, 0, 300_000, Infinity, 0.5)[0]
    expect(slow).toBeCloseTo(450_000, 6)
  })

  it("say nothing while nothing is known", () => {
    const fresh = rate.start(0, 0)
    expect(rate.appoint(fresh, 0, 5, 0, Infinity, 0)).toEqual([undefined, fresh])
  })

  it("begin when the line will have drained, and go on one by one, a tenth slower than it drains", () => {
    const { all } = appointments(seen(10), 10_000, 4, 4)
    expect(all).toEqual([500, 610, 720, 830].map((millis) => expect.closeTo(millis, 6)))
  })

  it("are irregular by half a step either way", () => {
    const { all: early } = appointments(seen(10), 10_000, 2, 4, 0)
    const { all: late } = appointments(seen(10), 10_000, 2, 4, 0.999_999)
    expect([early[1], late[1]]).toEqual([expect.closeTo(555, 3), expect.closeTo(665, 3)])
  })

  it("wait for a window that is shut, and for its pace over a long time where it is slower than the line drained", () => {
    const [first, next] = rate.appoint(seen(10), 10_000, 4, 60_000, 1 / 1000, 0.5)
    expect(first).toBe(60_000)
    expect(rate.appoint(next, 10_000, 4, 60_000, 1 / 1000, 0.5)[0]).toBeCloseTo(61_100, 6)
    // Where no drain was seen, the window's pace is what there is.
    expect(rate.appoint(rate.start(0, 0), 0, 9, 0, 1 / 1000, 0.5)[0]).toBe(10_000)
  })

  it("leave room for those who come anyway", () => {
    // Two a second come while nobody waits, of ten that could be served.
    const quiet = rate.resume(seen(10), 20_000, 120, 100)
    const { all } = appointments(quiet, 20_000, 2, 4)
    expect(all[1]! - all[0]!).toBeCloseTo(110 / 0.8, 6)
    // Never so much that the median of them would start much later than it could.
    const loud = rate.resume(seen(10), 20_000, 190, 100)
    const { all: slow } = appointments(loud, 20_000, 2, 4)
    expect(slow[1]! - slow[0]!).toBeCloseTo(110 / 0.77, 6)
  })

  it("are not held to when nobody comes to them", () => {
    const { next } = appointments(seen(10), 10_000, 1000, 100)
    const until = next.until
    // The line has drained, and for 10 s nobody came of the 90 that were expected.
    const waits = rate.resume(next, 10_000, 100, 100)
    const none = rate.resume(waits, 30_000, 200, 200)
    expect(none.until).toBe(30_000)
    // A third of them came, and a third is expected.
    const third = rate.resume(waits, 30_000, 230, 200)
    expect(third.until).toBeCloseTo(30_000 + ((until - 30_000) * 3) / (10 / 1.1), 6)
    // Most of them came: they are waited for, and are not taken for people who come anyway.
    const most = rate.resume(waits, 30_000, 280, 200)
    expect([most.until, most.calm]).toEqual([until, 0])
  })
})
