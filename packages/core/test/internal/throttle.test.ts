import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { Verdict } from "../../src/ConcurrencyLimit.ts"
import { Throttle } from "../../src/internal/throttle.ts"

const ended = (throttle: Throttle, now: number, oks: number, overloads: number) => {
  for (let i = 0; i < oks; i++) throttle.ended(now, "ok")
  for (let i = 0; i < overloads; i++) throttle.ended(now, "overload")
}

describe("throttle", () => {
  it("refuses nothing as long as one in `factor` is taken", () => {
    const throttle = new Throttle(2, 12_000)
    expect(throttle.chance(0)).toBe(0)
    ended(throttle, 0, 50, 50)
    expect(throttle.chance(0)).toBe(0)
    expect(throttle.refuses(0, 0)).toBe(false)
    ended(throttle, 0, 0, 1)
    expect(throttle.chance(0)).toBeGreaterThan(0)
  })

  it("refuses with the chance of the formula, and a call that comes with that number goes", () => {
    const throttle = new Throttle(2, 12_000)
    ended(throttle, 0, 10, 89)
    expect(throttle.chance(0)).toBe((99 - 2 * 10) / 100)
    expect(throttle.refuses(0, 0.79)).toBe(false)
    expect(throttle.refuses(0, 0.78)).toBe(true)
  })

  it("counts what it refuses, so that it refuses more the more it is asked", () => {
    const throttle = new Throttle(2, 12_000)
    ended(throttle, 0, 10, 20)
    const before = throttle.chance(0)
    expect(throttle.refuses(0, 0)).toBe(true)
    expect(throttle.chance(0)).toBe((31 - 20) / 32)
    expect(throttle.chance(0)).toBeGreaterThan(before)
  })

  it("takes an end that says nothing of the other side for no request at all", () => {
    const throttle = new Throttle(2, 12_000)
    for (let i = 0; i < 100; i++) throttle.ended(0, "ignore")
    expect(throttle.chance(0)).toBe(0)
    throttle.ended(0, "overload")
    expect(throttle.chance(0)).toBe(1 / 2)
  })

  it("takes what was cut by its deadline for a request that was not taken", () => {
    const throttle = new Throttle(2, 12_000)
    for (let i = 0; i < 9; i++) throttle.ended(0, "late")
    expect(throttle.chance(0)).toBe(9 / 10)
  })

  it("takes nothing for refused before it has ended", () => {
    const throttle = new Throttle(2, 12_000)
    for (let i = 0; i < 1000; i++) expect(throttle.refuses(0, 0)).toBe(false)
  })

  it("forgets by twelfths, and all of it in one memory", () => {
    const throttle = new Throttle(2, 12_000)
    ended(throttle, 500, 0, 9)
    expect(throttle.chance(11_999)).toBe(9 / 10)
    ended(throttle, 11_999, 0, 1)
    expect(throttle.chance(12_000)).toBe(1 / 2)
    expect(throttle.chance(22_999)).toBe(1 / 2)
    expect(throttle.chance(23_000)).toBe(0)
  })

  it("agrees with a list of all that was ever counted", () => {
    const verdict = fc.constantFrom<Verdict>("ok", "late", "overload", "ignore")
    const step = fc.record({
      pause: fc.integer({ min: 0, max: 900 }),
      verdict,
      random: fc.double({ min: 0, max: 0.99, noNaN: true })
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const throttle = new Throttle(2, 1200)
        const all: Array<{ readonly part: number; readonly accepted: number }> = []
        let now = 7
        for (const { pause, random, verdict } of steps) {
          now += pause
          const part = Math.floor(now / 100)
          const known = all.filter((each) => each.part > part - 12)
          const accepts = known.reduce((sum, { accepted }) => sum + accepted, 0)
          expect(throttle.chance(now)).toBe(Math.max(0, (known.length - 2 * accepts) / (known.length + 1)))
          if (throttle.refuses(now, random)) all.push({ part, accepted: 0 })
          else {
            throttle.ended(now, verdict)
            if (verdict !== "ignore") all.push({ part, accepted: verdict === "ok" ? 1 : 0 })
          }
        }
      })
    )
  })

  it("sends all again five memories after an outage, at 100 a second", () => {
    const throttle = new Throttle(2, 10_000)
    let now = 0
    let call = 0
    /** What part of the calls of so many seconds is sent. */
    const sent = (seconds: number, verdict: Verdict) => {
      let sent = 0
      for (const until = now + seconds * 1000; now < until; now += 10) {
        // Spread as chance would, and the same each time.
        if (throttle.refuses(now, (call++ * 0.618_034) % 1)) continue
        sent++
        throttle.ended(now, verdict)
      }
      return sent / (seconds * 100)
    }
    expect(sent(30, "ok")).toBe(1)
    sent(60, "overload")
    expect(sent(10, "overload")).toBeLessThan(0.01)
    expect(sent(30, "ok")).toBeLessThan(0.5)
    sent(25, "ok")
    expect(sent(10, "ok")).toBeGreaterThan(0.99)
  })

  it("sends about `factor` times what is taken, however much more is offered", () => {
    // A linear congruential generator: the same numbers every time.
    let seed = 1
    const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
    const throttle = new Throttle(2, 12_000)
    let sent = 0
    let taken = 0
    // 1,000 offered a second, 100 of them taken.
    for (let now = 0; now < 120_000; now++) {
      if (throttle.refuses(now, random())) continue
      const ok = now >= taken * 10
      if (ok) taken++
      throttle.ended(now, ok ? "ok" : "overload")
      if (now >= 60_000) sent++
    }
    expect(sent / 6000).toBeGreaterThan(1.8)
    expect(sent / 6000).toBeLessThan(2.2)
  })

  describe("misuse", () => {
    it("needs a factor of at least 1 and a memory", () => {
      expect(() => new Throttle(0.5, 1000)).toThrow(new RangeError("Expected a factor of at least 1, got 0.5"))
      expect(() => new Throttle(2, 0)).toThrow(new RangeError("Expected a memory above 0, got 0"))
      expect(() => new Throttle(Number.NaN, 1000)).toThrow(RangeError)
      expect(() => new Throttle(2, Infinity)).toThrow(RangeError)
    })
  })
})
