import { describe, expect, it } from "@effect/vitest"
import { RateWindow, Refused } from "@fairlead/core"
import { Owner, Owners } from "../../src/internal/owner.ts"

const get = (owners: Owners, name: string, now: number): Owner => {
  const owner = owners.get(name, now)
  if (owner instanceof Owner) return owner
  throw new Error(`Expected an owner, got ${String(owner)}`)
}

describe("owners", () => {
  it("forget those of whom there is nothing left to remember, whoever stands before them", () => {
    const owners = new Owners("key", (key) => ({
      windows: [RateWindow.per(5, key === "/slow" ? "1 hour" : "1 second")]
    }))
    const touch = (key: string, now: number) => {
      const owner = get(owners, key, now)
      owners.begin(owner)
      owner.take(now, 1)
      owner.stamp(now, 1)
      owner.running--
      owners.end(owner)
      return owner
    }
    const slow = touch("/slow", 0)
    for (let i = 0; i < 10_000; i++) touch(`/${i}`, i)
    // A thousand are younger than a second; some have not been looked at yet.
    expect([...owners.all].length).toBeLessThan(3000)
    expect(owners.get("/slow", 10_000)).toBe(slow)
    for (let i = 0; i < 3000; i++) owners.get("/slow", 12_000)
    expect([...owners.all]).toEqual([slow])
  })

  it("keep the one that somebody has something of, or waits for", () => {
    const owners = new Owners("tenant", { limit: 1 })
    const owner = get(owners, "a", 0)
    owners.begin(owner)
    for (let i = 0; i < 5; i++) expect(owners.get("a", 1e9)).toBe(owner)
    owners.end(owner)
    owners.get("b", 1e9)
    expect(owners.get("a", 1e9)).not.toBe(owner)
  })

  it("are so many at most: one more is refused, until another can be forgotten", () => {
    const owners = new Owners("tenant", { windows: [RateWindow.per(1, "1 second")] }, 2)
    for (const name of ["a", "b"]) {
      const owner = get(owners, name, 0)
      owners.begin(owner)
      owner.take(0, 1)
      owner.stamp(0, 1)
      owner.running--
      owners.end(owner)
    }
    expect(owners.get("c", 500)).toEqual(new Refused.QueueFull({ bound: "tenants", limit: 2 }))
    expect(get(owners, "a", 500).name).toBe("a")
    expect(get(owners, "c", 1000).name).toBe("c")
  })

  it("a key that is told to pause is remembered, if need be in place of the one that nobody used for longest", () => {
    const keys = new Owners("key", undefined, 2)
    const [a] = ["a", "b"].map((name) => {
      const { owner } = keys.demand(name, 0)
      owner.tighten(0, { closedFor: "1 minute" })
      return owner
    })
    keys.begin(a!)
    expect(keys.demand("c", 1).isNew).toBe(true)
    expect([...keys.all].map(({ name }) => name)).toEqual(["a", "c"])
    expect(keys.demand("a", 1)).toEqual({ owner: a, isNew: false })
  })
})
