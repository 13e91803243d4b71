import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import { Line } from "../../src/internal/line.ts"
import type { Place } from "../../src/internal/line.ts"

const place = (urgency: number, cost = 1, bytes = 0): Place => ({
  urgency,
  cost,
  bytes,
  before: undefined,
  behind: undefined
})

describe("Line", () => {
  it("agrees with a slow, obvious model, whoever enters and leaves from wherever", () => {
    const step = fc.oneof(
      fc.record({ enter: fc.oneof(fc.constant(3), fc.nat(7)), cost: fc.nat(5), bytes: fc.nat(100) }),
      fc.record({ leave: fc.nat(1000) }),
      fc.constant({ take: true })
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
        const line = new Line<Place>({ maxItems: Infinity, maxBytes: Infinity })
        let model: Array<Place> = []
        for (const step of steps) {
          if ("enter" in step) {
            const newcomer = place(step.enter, step.cost, step.bytes)
            line.enter(newcomer)
            model.push(newcomer)
          } else if (model.length > 0) {
            const next = model.toSorted((a, b) => a.urgency - b.urgency)[0]!
            expect(line.head).toBe(next)
            const gone = "leave" in step ? model[step.leave % model.length]! : next
            line.leave(gone)
            model = model.filter((other) => other !== gone)
          }
          const sum = (f: (place: Place) => number) => model.reduce((total, one) => total + f(one), 0)
          expect([line.items, line.cost, line.bytes]).toEqual([model.length, sum((p) => p.cost), sum((p) => p.bytes)])
          expect(line.byUrgency).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((u) => sum((p) => Number(p.urgency === u))))
          expect(line.ahead(3)).toEqual({
            items: sum((p) => Number(p.urgency <= 3)),
            cost: sum((p) => (p.urgency <= 3 ? p.cost : 0))
          })
        }
        expect(line.head === undefined).toBe(model.length === 0)
      }),
      { numRuns: 200 }
    )
  })

  it("says which bound keeps a newcomer out", () => {
    const line = new Line<Place>({ maxItems: 2, maxBytes: 100 })
    expect(line.full(1000)).toBe(undefined)
    line.enter(place(3, 1, 60))
    expect([line.full(40), line.full(41)]).toEqual([undefined, "bytes"])
    line.enter(place(3))
    expect(line.full(0)).toBe("items")
  })
})
