import { describe, expect, it } from "@effect/vitest"
import { RateWindow } from "@fairlead/core"
import { Owners } from "../../src/internal/owner.ts"

describe("owners", () => {
  it("forget those of whom there is nothing left to remember, whoever stands before them", () => {
    const owners = new Owners("key", (key) => ({
      windows: [RateWindow.per(5, key === "/slow" ? "1 hour" : "1 second")]
    }))
    const touch = (key: string, now: number) => {
      const owner = owners.get(key, now)!
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
    const owner = owners.get("a", 0)!
    owners.begin(owner)
    for (let i = 0; i < 5; i++) expect(owners.get("a", 1e9)).toBe(owner)
    owners.end(owner)
    owners.get("b", 1e9)
    expect(owners.get("a", 1e9)).not.toBe(owner)
  })
})
