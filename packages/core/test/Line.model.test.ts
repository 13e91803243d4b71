/**
 * The line beside a slow, obvious model of it: random commands, and after each both say the same.
 */
import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import { Line, Lot } from "../src/internal/line.ts"
import type { Bounds, Place } from "../src/internal/line.ts"
import { Frame } from "../src/internal/shares.ts"
import { Model } from "./model.ts"
import type { Newcomer } from "./model.ts"

/** On a loaded machine. */
const slow = { timeout: 120_000 }

interface Spot extends Place {
  readonly id: number
}

const spot = ({ id, ...rest }: Newcomer): Spot => ({
  id,
  ...rest,
  draws: 0,
  order: 0,
  before: undefined,
  behind: undefined,
  slot: undefined
})

/** Mostly the same, so that something happens among equals. */
const tenants = ["", "", "", "a", "b", "c"] as const

const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("enter" as const),
      urgency: fc.oneof(fc.integer({ min: 0, max: 7 }), fc.constant(3)),
      tenant: fc.constantFrom(...tenants),
      deadline: fc.constantFrom(10, 20, 30, Infinity, Infinity),
      cost: fc.constantFrom(1, 1, 2, 5),
      bytes: fc.constantFrom(0, 10, 100)
    })
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("go" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("leave" as const), which: fc.nat(1000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("raise" as const),
      which: fc.nat(1000),
      urgency: fc.integer({ min: 0, max: 7 })
    })
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("park" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("unpark" as const), tenant: fc.constantFrom(...tenants) }) }
)

type Command = typeof command extends fc.Arbitrary<infer C> ? C : never

const weights = fc.oneof(
  fc.constant([64, 32, 16, 8, 4, 2, 1, 1]),
  fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 8, maxLength: 8 }),
  fc.constant("strict" as const)
)

const bound = fc.record(
  {
    maxItems: fc.integer({ min: 0, max: 12 }),
    maxCost: fc.integer({ min: 1, max: 20 }),
    maxBytes: fc.integer({ min: 1, max: 400 })
  },
  { requiredKeys: [] }
)

const bounds = fc.record({
  all: bound,
  levels: fc.array(fc.option(bound, { nil: undefined, freq: 3 }), { maxLength: 8 })
})

const overflow = fc.constantFrom("reject", "evictLeast", "evictOldest")

const setting = fc.record({ weights, bounds: fc.option(bounds, { nil: undefined }), overflow })

/** The line and the model side by side. */
class Both {
  readonly line: Line<Spot>
  readonly model: Model
  readonly lots = new Map<string, Lot<Spot>>(tenants.map((tenant) => [tenant, new Lot()]))
  readonly spots = new Map<number, Spot>()
  readonly overflow: "reject" | "evictLeast" | "evictOldest"
  evicted = 0
  private ids = 0

  constructor({ bounds, overflow, weights }: typeof setting extends fc.Arbitrary<infer S> ? S : never) {
    const filled = ({ maxBytes = Infinity, maxCost = Infinity, maxItems = Infinity } = {}) => ({
      maxItems,
      maxCost,
      maxBytes
    })
    const levels = bounds?.levels.map((level) => (level === undefined ? undefined : filled(level))) ?? []
    const full: Bounds = { ...filled(bounds?.all), levels }
    this.line = new Line(full, weights === "strict" ? undefined : new Frame(weights), overflow)
    this.model = new Model(weights, full)
    this.overflow = overflow
  }

  private enter(newcomer: Newcomer): void {
    const place = spot(newcomer)
    const full = this.model.full(newcomer)
    const said = this.line.full(place)
    expect(said === undefined ? undefined : said.urgency === undefined ? "line" : "level").toEqual(full)
    if (full !== undefined) {
      if (this.overflow === "reject") return
      const victims = this.line.evict(place)
      const { overflow } = this
      for (const { id } of victims ?? []) {
        expect(this.model.victims(newcomer, overflow).map((waiter) => waiter?.id)).toContain(id)
        this.model.leave(id)
        this.spots.delete(id)
        this.evicted++
      }
      if (victims === undefined) {
        expect(this.model.mayRefuse(newcomer, overflow)).toBe(true)
        return
      }
      expect(this.model.full(newcomer)).toBeUndefined()
    }
    this.line.enter(place)
    this.model.enter(newcomer)
    this.spots.set(newcomer.id, place)
  }

  do(command: Command): void {
    switch (command.do) {
      case "enter": {
        const { do: _, ...asked } = command
        return this.enter({ id: this.ids++, ...asked })
      }
      case "go": {
        const { head } = this.line
        if (head === undefined) return
        this.line.handOver(head)
        expect(head.id).toBe(this.model.handOver().id)
        this.spots.delete(head.id)
        return
      }
      case "leave": {
        const place = this.any(command.which)
        if (place === undefined) return
        this.line.leave(place, this.lotOf(place))
        this.model.leave(place.id)
        this.spots.delete(place.id)
        return
      }
      case "raise": {
        const place = this.any(command.which)
        if (place === undefined || place.urgency === command.urgency) return
        this.line.move(place, command.urgency, this.lotOf(place))
        return this.model.raise(place.id, command.urgency)
      }
      case "park": {
        const { head } = this.line
        if (head === undefined) return
        this.line.park(head, this.lots.get(head.tenant)!)
        return this.model.park(head.id)
      }
      case "unpark": {
        const lot = this.lots.get(command.tenant)!
        const { first } = lot
        expect(first?.id).toBe(this.model.firstParked(({ tenant }) => tenant === command.tenant)?.id)
        if (first === undefined) return
        this.line.unpark(first, lot)
        return this.model.unpark(first.id)
      }
    }
  }

  private any(which: number): Spot | undefined {
    return [...this.spots.values()][which % this.spots.size]
  }

  private lotOf(place: Spot): Lot<Spot> | undefined {
    return this.model.find(place.id).parked ? this.lots.get(place.tenant) : undefined
  }

  agree(): void {
    const { line, model } = this
    expect(line.head?.id).toBe(model.next?.id)
    expect(line.items).toBe(model.waiters.length)
    expect(line.ready).toBe(model.ready().length)
    expect(line.parked).toBe(line.items - line.ready)
    expect(line.cost).toBe(model.waiters.reduce((sum, { cost }) => sum + cost, 0))
    expect(line.bytes).toBe(model.waiters.reduce((sum, { bytes }) => sum + bytes, 0))
    expect(line.byUrgency).toEqual(
      Array.from({ length: 8 }, (_, u) => model.waiters.filter(({ urgency }) => urgency === u).length)
    )
    expect(new Set(line.members.map(({ id }) => id))).toEqual(new Set(model.ready().map(({ id }) => id)))
  }

  /** What is in line now, in the order in which it goes. */
  drain(): ReadonlyArray<number> {
    const foretold = this.line.order.map(({ id }) => id)
    const gone = foretold.map(() => {
      const { head } = this.line
      this.line.handOver(head!)
      expect(head!.id).toBe(this.model.handOver().id)
      return head!.id
    })
    expect(gone).toEqual(foretold)
    expect(this.line.head).toBeUndefined()
    return gone
  }
}

describe("Line, beside its model", () => {
  it("agrees on who is next, on room and on victims, whatever comes", slow, () => {
    let evicted = 0
    fc.assert(
      fc.property(setting, fc.array(command, { maxLength: 120, size: "max" }), (setting, commands) => {
        const both = new Both(setting)
        for (const command of commands) {
          both.do(command)
          both.agree()
        }
        both.drain()
        evicted += both.evicted
      }),
      { numRuns: 700 }
    )
    expect(evicted).toBeGreaterThan(200)
  })
})

/** A line without bounds, where whoever goes is remembered. */
const endless = (weights: ReadonlyArray<number> | "strict") => {
  const all = { maxItems: Infinity, maxCost: Infinity, maxBytes: Infinity, levels: [] }
  const line = new Line<Spot>(all, weights === "strict" ? undefined : new Frame(weights), "reject")
  let ids = 0
  const enter = ({ cost = 1, deadline = Infinity, tenant = "", urgency = 3 }: Partial<Newcomer>): Spot => {
    const place = spot({ id: ids++, urgency, tenant, deadline, cost, bytes: 0 })
    line.enter(place)
    return place
  }
  const go = (): Spot => {
    const head = line.head!
    line.handOver(head)
    return head
  }
  return { line, enter, go }
}

/** Numbers by chance, from a seed. */
const chance = (seed: number) => {
  let state = seed | 0
  return (below: number): number => {
    // Mulberry32.
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

const anyWeights = fc.array(fc.integer({ min: 1, max: 64 }), { minLength: 8, maxLength: 8 })
const lightWeights = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 8, maxLength: 8 })
/** With a sum that is one as well. */
const powersOfTwo: fc.Arbitrary<ReadonlyArray<number>> = fc
  .constantFrom(
    [64, 32, 16, 8, 4, 2, 1, 1],
    [16, 8, 8, 8, 8, 8, 4, 4],
    [8, 4, 4, 4, 4, 4, 2, 2],
    [1, 1, 1, 1, 1, 1, 1, 1]
  )
  .chain((weights) => fc.shuffledSubarray([...weights], { minLength: 8 }))
const seed = fc.integer()

describe("Line, between levels", () => {
  it("each level gets its share, to 5 %, of 100,000 hand-overs, whatever the weights and whoever is busy", slow, () => {
    fc.assert(
      fc.property(anyWeights, fc.uniqueArray(fc.integer({ min: 0, max: 7 }), { minLength: 1 }), (weights, busy) => {
        const { enter, go } = endless(weights)
        const gone = weights.map(() => 0)
        for (const urgency of busy) enter({ urgency })
        for (let i = 0; i < 100_000; i++) {
          const { urgency } = go()
          gone[urgency]!++
          enter({ urgency })
        }
        const all = busy.reduce((sum, level) => sum + weights[level]!, 0)
        for (const level of busy) {
          const share = (100_000 * weights[level]!) / all
          expect(Math.abs(gone[level]! - share)).toBeLessThanOrEqual(0.05 * share)
        }
      }),
      { numRuns: 20 }
    )
  })

  /**
   * Random comings, goings and leavings: each one's hand-overs from when it came to its own, and for each level in which
   * stretches it had waiters all the while, and which hand-overs were its own.
   */
  const wander = (weights: ReadonlyArray<number>, seed: number, steps: number) => {
    const { enter, go, line } = endless(weights)
    const below = chance(seed)
    const waiting = weights.map((): Array<Spot> => [])
    const came = new Map<Spot, { readonly at: number; readonly before: number }>()
    const waits: Array<{ readonly urgency: number; readonly before: number; readonly took: number }> = []
    const turns: Array<number> = []
    /** Hand-overs at which each level last had nobody. */
    const empty = weights.map(() => 0)
    const fullFor: Array<ReadonlyArray<number>> = []
    const note = () => {
      for (const [level, places] of waiting.entries()) if (places.length === 0) empty[level] = turns.length
    }
    for (let i = 0; i < steps; i++) {
      const busyness = below(10)
      const level = busyness < 5 ? below(8) : busyness < 8 ? below(2) : 7
      for (let count = below(4); count > 0; count--) {
        const place = enter({ urgency: level })
        came.set(place, { at: turns.length, before: waiting[level]!.length })
        waiting[level]!.push(place)
      }
      if (below(4) === 0) {
        const some = waiting[below(8)]!
        if (some.length > 0) line.leave(some.splice(below(some.length), 1)[0]!)
      }
      note()
      if (line.head !== undefined && below(3) > 0) {
        const place = go()
        const { urgency } = place
        expect(waiting[urgency]!.shift()).toBe(place)
        turns.push(urgency)
        const { at, before } = came.get(place)!
        waits.push({ urgency, before, took: turns.length - at })
        fullFor.push(empty.map((since) => turns.length - since))
      }
      note()
    }
    return { turns, waits, fullFor }
  }

  it(
    "of any W consecutive hand-overs a level that has waiters all the while gets its weight, at the least",
    slow,
    () => {
      let stretches = 0
      fc.assert(
        fc.property(fc.oneof(lightWeights, powersOfTwo), seed, (weights, seed) => {
          const total = weights.reduce((sum, weight) => sum + weight, 0)
          const { fullFor, turns } = wander(weights, seed, 2000)
          for (const [level, weight] of weights.entries()) {
            let own = 0
            for (let i = 0; i < turns.length; i++) {
              if (turns[i] === level) own++
              if (i >= total && turns[i - total] === level) own--
              if (i + 1 < total || fullFor[i]![level]! < total) continue
              stretches++
              if (own < weight) throw new Error(`level ${level} had ${own} of ${total}`)
            }
          }
        }),
        { numRuns: 100 }
      )
      expect(stretches).toBeGreaterThan(10_000)
    }
  )

  it(
    "with k before one in its level it goes after (k+1)·W/w hand-overs at most, where weights are powers of two",
    slow,
    () => {
      let tight = 0
      fc.assert(
        fc.property(powersOfTwo, seed, (weights, seed) => {
          const total = weights.reduce((sum, weight) => sum + weight, 0)
          for (const { before, took, urgency } of wander(weights, seed, 2000).waits) {
            const bound = ((before + 1) * total) / weights[urgency]!
            expect(took).toBeLessThanOrEqual(bound)
            if (took === bound) tight++
          }
        }),
        { numRuns: 100 }
      )
      expect(tight).toBeGreaterThan(0)
    }
  )

  it("… and for other weights after as many as the frame says, which is never above (k+2)·W/w", slow, () => {
    fc.assert(
      fc.property(anyWeights, seed, (weights, seed) => {
        const frame = new Frame(weights)
        const total = weights.reduce((sum, weight) => sum + weight, 0)
        const bounds = new Map<string, number>()
        for (const { before, took, urgency } of wander(weights, seed, 500).waits) {
          const key = `${urgency} ${before}`
          const bound = bounds.get(key) ?? frame.bound(urgency, before)
          bounds.set(key, bound)
          if (took > bound) throw new Error(`${key}: ${took} hand-overs, and at most ${bound} were said`)
          expect(bound).toBeLessThanOrEqual(((before + 2) * total) / weights[urgency]!)
        }
      }),
      { numRuns: 200 }
    )
  })
})

describe("Line, between tenants and in one", () => {
  const costs = [1, 1, 2, 5, 13]

  it("a new tenant goes before any of the others has had more than two of the largest", slow, () => {
    fc.assert(
      fc.property(seed, fc.integer({ min: 1, max: 20 }), (seed, others) => {
        const { enter, go } = endless("strict")
        const below = chance(seed)
        const another = (tenant: string) => enter({ tenant, cost: costs[below(costs.length)]! })
        for (let i = 0; i < others; i++) another(`t${i}`)
        for (let i = below(200); i > 0; i--) another(go().tenant)
        for (let i = below(50); i > 0; i--) another(`t${below(others)}`)
        another("new")
        const before = new Map<string, number>()
        for (let gone = go(); gone.tenant !== "new"; gone = go()) {
          before.set(gone.tenant, (before.get(gone.tenant) ?? 0) + gone.cost)
          another(gone.tenant)
        }
        for (const had of before.values()) expect(had).toBeLessThanOrEqual(2 * Math.max(...costs))
      }),
      { numRuns: 500 }
    )
  })

  it("ever new tenants starve nobody: one that stays has its part, and no more", slow, () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 10), fc.constantFrom(1, 5), fc.constantFrom(1, 5), (others, mine, theirs) => {
        const { enter, go } = endless("strict")
        let came = 0
        const another = () => enter({ tenant: `new${came++}`, cost: theirs })
        for (let i = 0; i < others; i++) another()
        enter({ tenant: "stays", cost: mine })
        const had = { stays: 0, all: 0 }
        for (let i = 0; i < 3000; i++) {
          const { cost, tenant } = go()
          had.all += cost
          if (tenant === "stays") {
            had.stays += cost
            enter({ tenant, cost })
          } else another()
        }
        const part = had.all / (others + 1)
        expect(had.stays / part).toBeGreaterThan(0.8)
        expect(had.stays / part).toBeLessThan(1.25)
      })
    )
  })

  it(
    "of two that wait all the while neither gets more above the other than both's largest costs, from any instant on",
    slow,
    () => {
      let looked = 0
      fc.assert(
        fc.property(seed, (seed) => {
          const { enter, go, line } = endless("strict")
          const below = chance(seed)
          const largest = costs.map((_, i) => costs[i]!)
          const another = (i: number) => enter({ tenant: `t${i}`, cost: 1 + below(largest[i]!) })
          for (const i of largest.keys()) another(i)
          const extra: Array<Spot> = []
          const had = largest.map(() => 0)
          /** The most and the least that the difference of two has been. */
          const most = new Map<string, number>()
          for (let step = 0; step < 300; step++) {
            // Others come and go meanwhile.
            if (below(3) === 0) extra.push(enter({ tenant: `other${below(3)}`, cost: costs[below(costs.length)]! }))
            if (below(5) === 0 && extra.length > 0) {
              const [leaving] = extra.splice(below(extra.length), 1)
              if (leaving!.slot !== undefined) line.leave(leaving!)
            }
            const { cost, tenant } = go()
            if (!tenant.startsWith("t")) continue
            had[Number(tenant.slice(1))]! += cost
            another(Number(tenant.slice(1)))
            for (const [a, one] of largest.entries()) {
              for (const [b, two] of largest.entries()) {
                const [ahead, least] = [had[a]! - had[b]!, most.get(`${a} ${b}`) ?? 0]
                if (ahead - least > one + two) throw new Error(`t${a} got ${ahead - least} above t${b}`)
                looked++
                most.set(`${a} ${b}`, Math.min(least, ahead))
              }
            }
          }
        }),
        { numRuns: 100 }
      )
      expect(looked).toBeGreaterThan(10_000)
    }
  )

  it("who comes one by one gains nothing over who waits with many", slow, () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 3, 10), fc.constantFrom(1, 3, 10), (mine, theirs) => {
        const { enter, go } = endless("strict")
        for (let i = 0; i < 2000; i++) enter({ tenant: "many", cost: theirs })
        const had = { one: 0, many: 0 }
        for (let i = 0; i < 1000; i++) {
          if (i % 2 === 0) enter({ tenant: "one", cost: mine })
          const { cost, tenant } = go()
          had[tenant as "one" | "many"] += cost
        }
        expect(had.one - had.many).toBeLessThanOrEqual(mine + theirs)
      })
    )
  })

  it("in a tenant the earliest deadline goes first, then arrival", slow, () => {
    fc.assert(
      fc.property(seed, (seed) => {
        const { enter, go } = endless([4, 2, 1, 1, 1, 1, 1, 1])
        const below = chance(seed)
        const waiting: Array<Spot> = []
        for (let step = 0; step < 300; step++) {
          const deadline = [5, 10, 20, Infinity][below(4)]!
          waiting.push(enter({ urgency: below(3), tenant: `t${below(3)}`, deadline }))
          if (below(2) === 0) continue
          const gone = go()
          const first = waiting
            .filter(({ tenant, urgency }) => tenant === gone.tenant && urgency === gone.urgency)
            .reduce((a, b) => (b.deadline < a.deadline ? b : a))
          expect(gone.id).toBe(first.id)
          waiting.splice(waiting.indexOf(gone), 1)
        }
      }),
      { numRuns: 200 }
    )
  })

  it("whoever was parked comes back to the place it had, before those who came meanwhile", slow, () => {
    fc.assert(
      fc.property(seed, (seed) => {
        const { enter, go, line } = endless("strict")
        const below = chance(seed)
        const lot = new Lot<Spot>()
        const waiting: Array<Spot> = []
        for (let step = 0; step < 60; step++) {
          const what = below(4)
          if (what < 2) waiting.push(enter({ deadline: [5, Infinity, Infinity][below(3)]! }))
          else if (what === 2 && line.head !== undefined) line.park(line.head, lot)
          else if (lot.first !== undefined) line.unpark(lot.first, lot)
        }
        while (lot.first !== undefined) line.unpark(lot.first, lot)
        const byDeadline = waiting.toSorted((a, b) =>
          a.deadline === b.deadline ? a.id - b.id : a.deadline - b.deadline
        )
        expect(waiting.map(() => go().id)).toEqual(byDeadline.map(({ id }) => id))
      }),
      { numRuns: 200 }
    )
  })

  it(
    "foretells how many go before a newcomer, to the one where order is strict and each level has one tenant",
    slow,
    () => {
      fc.assert(
        fc.property(seed, (seed) => {
          const { enter, go, line } = endless("strict")
          const below = chance(seed)
          const another = () => ({ urgency: below(4), deadline: [5, 10, 20, Infinity][below(4)]! })
          for (let i = below(40); i > 0; i--) enter(another())
          const newcomer = another()
          const { items } = line.forecast(spot({ id: -1, tenant: "", cost: 1, bytes: 0, ...newcomer }))
          const place = enter(newcomer)
          let gone = 1
          while (go() !== place) gone++
          expect(items).toBe(gone)
        }),
        { numRuns: 300 }
      )
    }
  )
})
