import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import { Line, Lot } from "../../src/internal/line.ts"
import type { Bounds, Place } from "../../src/internal/line.ts"
import { Frame, usual } from "../../src/internal/shares.ts"

interface Asked {
  readonly urgency?: number
  readonly cost?: number
  readonly bytes?: number
  readonly tenant?: string
  readonly deadline?: number
}

const place = ({ bytes = 0, cost = 1, deadline = Infinity, tenant = "", urgency = 3 }: Asked = {}): Place => ({
  urgency,
  cost,
  bytes,
  draws: 0,
  tenant,
  deadline,
  order: 0,
  before: undefined,
  behind: undefined,
  slot: undefined
})

const unbounded: Bounds = { maxItems: Infinity, maxCost: Infinity, maxBytes: Infinity, levels: [] }

const line = (bounds: Partial<Bounds> = {}, frame: Frame | undefined = usual) =>
  new Line<Place>({ ...unbounded, ...bounds }, frame, "reject")

const enter = (into: Line<Place>, ...places: ReadonlyArray<Place>) => {
  for (const place of places) into.enter(place)
}

/** All that wait, in the order in which they go. */
const drain = (from: Line<Place>): Array<Place> => {
  const gone: Array<Place> = []
  for (let head = from.head; head !== undefined; head = from.head) {
    from.handOver(head)
    gone.push(head)
  }
  return gone
}

describe("Line", () => {
  it("strict: the most urgent first, then arrival", () => {
    const strict = line({}, undefined)
    const [a, b, c, d] = [place({ urgency: 5 }), place({ urgency: 1 }), place({ urgency: 5 }), place({ urgency: 0 })]
    enter(strict, a!, b!, c!, d!)
    expect(drain(strict)).toEqual([d, b, a, c])
  })

  it("gives each level its slots of the frame, and lends those of the levels that are empty", () => {
    const shared = line({}, new Frame([2, 1, 1, 1, 1, 1, 1, 1]))
    enter(shared, ...Array.from({ length: 12 }, (_, i) => place({ urgency: i % 2 === 0 ? 0 : 7 })))
    expect(drain(shared).map(({ urgency }) => urgency)).toEqual([0, 0, 7, 0, 0, 7, 0, 0, 7, 7, 7, 7])
  })

  it("lets tenants take turns, and in a tenant the earliest deadline go first", () => {
    const turns = line()
    enter(
      turns,
      place({ tenant: "a" }),
      place({ tenant: "a", deadline: 20 }),
      place({ tenant: "a", deadline: 10 }),
      place({ tenant: "b" }),
      place({ tenant: "b" })
    )
    const order = ["a 10", "b Infinity", "a 20", "b Infinity", "a Infinity"]
    expect(turns.order.map(({ deadline, tenant }) => `${tenant} ${deadline}`)).toEqual(order)
    expect(drain(turns).map(({ deadline, tenant }) => `${tenant} ${deadline}`)).toEqual(order)
  })

  it("lets a tenant of small costs go more often than one of large ones", () => {
    const turns = line()
    enter(turns, ...[4, 4, 4].map((cost) => place({ tenant: "large", cost })))
    enter(turns, ...Array.from({ length: 12 }, () => place({ tenant: "small" })))
    const gone = drain(turns)
    const sum = (tenant: string, among: ReadonlyArray<Place>) =>
      among.reduce((total, each) => total + (each.tenant === tenant ? each.cost : 0), 0)
    const apart = gone.map((_, k) => Math.abs(sum("large", gone.slice(0, k)) - sum("small", gone.slice(0, k))))
    expect(Math.max(...apart)).toBe(4)
  })

  it("puts who was parked back to the place it had", () => {
    const parking = line()
    const lot = new Lot<Place>()
    const [a, b, c] = [place(), place(), place()]
    enter(parking, a!, b!, c!)
    parking.park(a!, lot)
    parking.park(b!, lot)
    expect([parking.head, parking.items, parking.ready, parking.parked]).toEqual([c, 3, 1, 2])
    parking.unpark(b!, lot)
    parking.unpark(a!, lot)
    expect(drain(parking)).toEqual([a, b, c])
  })

  it("moves one to another level, where it comes last", () => {
    const raising = line()
    const [a, b, c] = [place({ urgency: 7 }), place({ urgency: 7 }), place({ urgency: 0 })]
    enter(raising, a!, b!, c!)
    raising.move(b!, 0)
    expect(drain(raising)).toEqual([c, b, a])
  })

  it("says which bound keeps a newcomer out", () => {
    const bounded = line({ maxItems: 3, maxBytes: 100, maxCost: 10 })
    expect(bounded.full(place({ bytes: 1000, cost: 1000 }))).toBe(undefined)
    enter(bounded, place({ bytes: 60, cost: 3 }))
    expect(bounded.full(place({ bytes: 40, cost: 7 }))).toBe(undefined)
    expect(bounded.full(place({ bytes: 41 }))).toEqual({ bound: "bytes", limit: 100, urgency: undefined })
    expect(bounded.full(place({ cost: 8 }))).toEqual({ bound: "cost", limit: 10, urgency: undefined })
    enter(bounded, place(), place())
    expect(bounded.full(place())).toEqual({ bound: "items", limit: 3, urgency: undefined })
  })

  it("says which bound of its level keeps a newcomer out, and lets others in", () => {
    const levels: Array<Bounds["levels"][number]> = []
    levels[7] = { maxItems: 1, maxCost: Infinity, maxBytes: Infinity }
    const bounded = line({ levels })
    enter(bounded, place({ urgency: 7 }))
    expect(bounded.full(place({ urgency: 7 }))).toEqual({ bound: "items", limit: 1, urgency: 7 })
    expect(bounded.full(place({ urgency: 6 }))).toBe(undefined)
  })

  it("a newcomer for whom no room can be made changes nothing", () => {
    const evicting = new Line<Place>({ ...unbounded, maxBytes: 10 }, usual, "evictLeast")
    const [a, b, c] = [
      place({ urgency: 7, tenant: "a", bytes: 2 }),
      place({ urgency: 7, tenant: "b", bytes: 2 }),
      place({ urgency: 0, bytes: 6 })
    ]
    enter(evicting, a!, b!, c!)
    evicting.handOver(a!)
    enter(evicting, a!)
    const { order } = evicting
    expect(evicting.evict(place({ urgency: 6, bytes: 9 }))).toBe(undefined)
    expect([evicting.order, evicting.items, evicting.bytes]).toEqual([order, 3, 10])
    expect(evicting.evict(place({ urgency: 6, bytes: 4 }))).toEqual([a, b])
    expect([evicting.order, evicting.items, evicting.bytes]).toEqual([[c], 1, 6])
  })

  it("a tenant that loses all it has waiting to a newcomer of its own has still had what it has had", () => {
    const evicting = new Line<Place>({ ...unbounded, maxCost: 8 }, usual, "evictLeast")
    const [b, x, y, z] = [
      place({ tenant: "b", deadline: 10 }),
      ...[1, 1, 5].map((cost) => place({ cost, deadline: 10 }))
    ]
    const c = place({ tenant: "c" })
    enter(evicting, b!, x!)
    evicting.handOver(b!)
    enter(evicting, y!, c, z!)
    evicting.leave(x!)
    evicting.handOver(y!)
    expect(evicting.evict(place({ tenant: "c", cost: 5, deadline: 10 }))).toEqual([c, z])
  })

  it("those who are parked make room first, as far as they are not more urgent than the newcomer", () => {
    const evicting = new Line<Place>({ ...unbounded, maxItems: 3 }, usual, "evictLeast")
    const lot = new Lot<Place>()
    const [a, b, c] = [place({ urgency: 1 }), place({ urgency: 5 }), place({ urgency: 7 })]
    enter(evicting, a!, b!, c!)
    evicting.park(a!, lot)
    evicting.park(b!, lot)
    expect(evicting.evict(place({ urgency: 3 }))).toEqual([b])
    expect([evicting.parked, evicting.items, lot.members]).toEqual([1, 2, [a]])
    evicting.enter(b!)
    expect(evicting.evict(place({ urgency: 3 }))).toEqual([c])
    expect([evicting.parked, evicting.items, evicting.order]).toEqual([1, 2, [b]])
  })

  it("counts what waits, whoever enters and leaves from wherever", () => {
    const step = fc.oneof(
      fc.record({ enter: fc.nat(7), cost: fc.nat(5), bytes: fc.nat(100), tenant: fc.nat(3), deadline: fc.nat(4) }),
      fc.record({ leave: fc.nat(1000) }),
      fc.constant({ take: true })
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
        const subject = line()
        let model: Array<Place> = []
        for (const step of steps) {
          if ("enter" in step) {
            const { bytes, cost, deadline, enter: urgency, tenant } = step
            const newcomer = place({
              urgency,
              cost: cost + 1,
              bytes,
              tenant: `${tenant}`,
              deadline: deadline || Infinity
            })
            subject.enter(newcomer)
            model.push(newcomer)
          } else if (model.length > 0) {
            const { head, order } = subject
            expect(order[0]).toBe(head)
            const gone = "leave" in step ? model[step.leave % model.length]! : head!
            if (gone === head) subject.handOver(gone)
            else subject.leave(gone)
            model = model.filter((other) => other !== gone)
          }
          const sum = (f: (place: Place) => number) => model.reduce((total, one) => total + f(one), 0)
          expect([subject.items, subject.cost, subject.bytes]).toEqual([
            model.length,
            sum((p) => p.cost),
            sum((p) => p.bytes)
          ])
          expect(subject.byUrgency).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((u) => sum((p) => Number(p.urgency === u))))
          expect(new Set(subject.order)).toEqual(new Set(model))
        }
        const { order } = subject
        expect(drain(subject)).toEqual(order)
      }),
      { numRuns: 200 }
    )
  })
})
