import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Line } from "../src/internal/line.ts"
import type { Place } from "../src/internal/line.ts"

describe("Line", () => {
  it("is a sorted list, whoever comes, and leaves from wherever", () => {
    const move = fc.record({
      enter: fc.boolean(),
      urgency: fc.constantFrom(0, 3, 7),
      cost: fc.integer({ min: 1, max: 9 }),
      bytes: fc.constantFrom(0, 1, 5, 30),
      which: fc.nat()
    })
    fc.assert(
      fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
        const line = new Line({ maxItems: 4, maxBytes: 20 })
        let all: Array<Place> = []
        const sum = (of: (place: Place) => number) => all.reduce((total, place) => total + of(place), 0)
        for (const { bytes, cost, enter, urgency, which } of moves) {
          const held = sum((place) => place.bytes)
          const full = all.length === 4 ? "items" : held > 0 && held + bytes > 20 ? "bytes" : undefined
          expect(line.full(bytes)).toBe(full)
          if (enter && full === undefined) {
            const place: Place = { urgency, cost, bytes, before: undefined, behind: undefined }
            line.enter(place)
            all.push(place)
          } else if (all.length > 0) {
            const place = all[which % all.length]!
            line.leave(place)
            all = all.filter((other) => other !== place)
          }
          expect(line.head).toBe(all.toSorted((a, b) => a.urgency - b.urgency)[0])
          expect([line.items, line.cost, line.bytes]).toEqual([all.length, sum((p) => p.cost), sum((p) => p.bytes)])
          const before = all.filter((place) => place.urgency <= urgency)
          expect(line.ahead(urgency)).toEqual({ items: before.length, cost: before.reduce((n, p) => n + p.cost, 0) })
          expect(line.byUrgency[urgency]).toBe(all.filter((place) => place.urgency === urgency).length)
        }
        // Whoever is first leaves first, until nobody is left.
        const order: Array<Place> = []
        for (let head = line.head; head !== undefined; head = line.head) {
          order.push(head)
          line.leave(head)
        }
        expect(order).toEqual(all.toSorted((a, b) => a.urgency - b.urgency))
        expect([line.items, line.cost, line.bytes]).toEqual([0, 0, 0])
      }),
      { numRuns: 500 }
    )
  })
})
