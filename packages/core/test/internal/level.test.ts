import { describe, expect, it } from "vitest"
import { Level } from "../../src/internal/level.ts"
import type { Place } from "../../src/internal/lane.ts"

interface Waiter extends Place {
  readonly tenant: string
  readonly deadline: number
}

let arrivals = 0
const waiter = (tenant: string): Waiter => ({
  tenant,
  deadline: Infinity,
  cost: 1,
  bytes: 0,
  order: arrivals++,
  slot: undefined,
  before: undefined,
  behind: undefined
})

const come = (level: Level<Waiter>, tenant: string): Waiter => {
  const newcomer = waiter(tenant)
  level.enter(newcomer, tenant, Infinity)
  return newcomer
}

const go = (level: Level<Waiter>): Waiter => {
  const next = level.next(false)!
  level.handOver(next)
  return next
}

describe("Level", () => {
  it("thousands of tenants that come and go are forgotten, and none of those who wait", () => {
    const level = new Level<Waiter>(true)
    const first = ["a", "b", "c"].map((tenant) => come(level, tenant))
    for (let i = 0; i < 5000; i++) level.leave(come(level, `passing ${i}`))
    const second = ["a", "b", "c"].map((tenant) => come(level, tenant))
    expect(level.members).toEqual([first[0], second[0], first[1], second[1], first[2], second[2]])
    expect(Array.from({ length: 6 }, () => go(level))).toEqual([...first, ...second])
    expect([level.size, level.cost, level.next(false)]).toEqual([0, 0, undefined])
  })

  it("remembers few of those that have gone, however many there were", () => {
    const level = new Level<Waiter>(false)
    come(level, "stays")
    for (let i = 0; i < 5000; i++) level.leave(come(level, `passing ${i}`))
    const { tenants } = level as unknown as { readonly tenants: ReadonlyMap<string, unknown> }
    expect(tenants.size).toBeLessThan(200)
  })

  it("forgets those that have gone, however many of them waited at once", () => {
    const level = new Level<Waiter>(false)
    for (const waiter of Array.from({ length: 5000 }, (_, i) => come(level, `at once ${i}`))) level.leave(waiter)
    come(level, "another")
    const { tenants } = level as unknown as { readonly tenants: ReadonlyMap<string, unknown> }
    expect(tenants.size).toBeLessThan(200)
  })
})
