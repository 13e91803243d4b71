import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { Codel } from "../../src/internal/codel.ts"

describe("codel", () => {
  it("takes a line that has not been empty for an interval for overloaded, from that instant on", () => {
    const codel = new Codel(5, 100)
    codel.entered(0)
    expect(codel.overloaded(99)).toBe(false)
    expect(codel.allowed(99)).toBe(100)
    expect(codel.overloaded(100)).toBe(true)
    expect(codel.allowed(100)).toBe(5)
  })

  it("counts from the first who came to an empty line, not from the last who came", () => {
    const codel = new Codel(5, 100)
    codel.entered(0)
    codel.entered(60)
    expect(codel.overloaded(100)).toBe(true)
  })

  it("is over with the first moment in which nobody waits, and an empty line is never overloaded", () => {
    const codel = new Codel(5, 100)
    codel.entered(0)
    codel.emptied()
    expect(codel.overloaded(1000)).toBe(false)
    codel.entered(1000)
    expect(codel.overloaded(1099)).toBe(false)
    expect(codel.overloaded(1100)).toBe(true)
  })

  it("never allows a wait that a line which is not overloaded could exceed", () => {
    const step = fc.record({ pause: fc.integer({ min: 0, max: 80 }), comes: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const codel = new Codel(5, 100)
        const line: Array<number> = []
        let now = 0
        for (const { comes, pause } of steps) {
          now += pause
          const longest = line.length === 0 ? 0 : now - line[0]!
          expect(codel.overloaded(now) || longest < codel.allowed(now)).toBe(true)
          if (comes) {
            line.push(now)
            codel.entered(now)
          } else if (line.shift() !== undefined && line.length === 0) codel.emptied()
        }
      })
    )
  })

  it("keeps a line that is offered three times what it serves near the target, where it would grow without it", () => {
    const serve = (codel: Codel | undefined) => {
      const line: Array<number> = []
      const waits: Array<number> = []
      // One arrival a millisecond, one served every three.
      for (let now = 0; now < 3000; now++) {
        line.push(now)
        codel?.entered(now)
        if (now % 3 !== 0) continue
        const allowed = codel?.allowed(now) ?? Infinity
        while (line.length > 0 && now - line[0]! > allowed) line.shift()
        const next = line.shift()
        if (line.length === 0) codel?.emptied()
        if (next !== undefined) waits.push(now - next)
      }
      return waits
    }
    const waits = serve(new Codel(20, 200))
    expect(waits.length).toBe(1000)
    expect(Math.max(...waits.slice(100))).toBeLessThanOrEqual(20)
    expect(Math.max(...serve(undefined))).toBeGreaterThan(1900)
  })

  describe("misuse", () => {
    it("needs a target, and an interval that is not shorter", () => {
      expect(() => new Codel(0, 100)).toThrow(new RangeError("Expected a target above 0, got 0"))
      expect(() => new Codel(5, 4)).toThrow(new RangeError("Expected an interval of at least the target of 5, got 4"))
      expect(() => new Codel(5, Infinity)).toThrow(RangeError)
      expect(() => new Codel(Number.NaN, 100)).toThrow(RangeError)
    })
  })
})
