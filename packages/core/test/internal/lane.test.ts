import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import { Lane } from "../../src/internal/lane.ts"
import type { Place } from "../../src/internal/lane.ts"

interface Waiter extends Place {
  readonly deadline: number
}

const waiter = (order: number, deadline: number): Waiter => ({
  cost: 1 + (order % 3),
  bytes: 0,
  order,
  slot: undefined,
  before: undefined,
  behind: undefined,
  deadline
})

/** Somebody comes with this deadline, or the first leaves, or the one at this place. */
const step = fc.oneof(
  fc.record({ comes: fc.oneof(fc.constant(Infinity), fc.integer({ min: 0, max: 40 })) }),
  fc.constant({ leaves: 0 }),
  fc.record({ leaves: fc.nat(50) })
)

describe("Lane", () => {
  it("agrees with a sorted array: the order, the first, the last, and how many are before a newcomer", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const lane = new Lane<Waiter>()
        const model: Array<Waiter> = []
        steps.forEach((step, order) => {
          if ("comes" in step) {
            const newcomer = waiter(order, step.comes)
            lane.enter(newcomer, newcomer.deadline)
            const after = model.findIndex(({ deadline }) => deadline > newcomer.deadline)
            model.splice(after < 0 ? model.length : after, 0, newcomer)
          } else if (model.length > 0) lane.leave(model.splice(step.leaves % model.length, 1)[0]!)
          expect(lane.members.map(({ order }) => order)).toEqual(model.map(({ order }) => order))
          expect([lane.first, lane.last, lane.size]).toEqual([model[0], model.at(-1), model.length])
          expect(lane.cost).toBe(model.reduce((sum, { cost }) => sum + cost, 0))
          for (const asked of [0, 7, 20, 40, Infinity]) {
            expect(lane.ahead(asked)).toBe(model.filter(({ deadline }) => deadline <= asked).length)
          }
        })
      })
    )
  })

  it("stays flat when deadlines come in their order", () => {
    const lane = new Lane<Waiter>()
    const waiters = Array.from({ length: 100_000 }, (_, order) => waiter(order, order))
    for (const each of waiters) lane.enter(each, each.deadline)
    expect(lane.ahead(49_999)).toBe(50_000)
    for (const each of waiters) {
      expect(lane.first === each).toBe(true)
      lane.leave(each)
    }
    expect(lane.size).toBe(0)
  })
})
