import { describe, expect, it } from "vitest"
import { Entries } from "../../src/internal/entries.ts"

const cut = (ageMillis: number, waitingFor: string | null = null) =>
  ({ kind: "beacon", name: "mail", outcome: "cut", ageMillis, waitingFor, error: null }) as const

describe("Entries", () => {
  it("has a line for each name and end, with the oldest of them", () => {
    const entries = new Entries()
    for (const age of [1, 3, 2]) entries.add(cut(age))
    entries.add(cut(5, "gate db"))
    entries.add({ ...cut(9), outcome: "done" })
    expect(entries.all).toEqual([
      { ...cut(3), count: 3 },
      { ...cut(5, "gate db"), count: 1 },
      { ...cut(9), outcome: "done", count: 1 }
    ])
  })

  it("stays short, however many differ by what they waited for", () => {
    const entries = new Entries()
    for (let i = 0; i < 10_000; i++) entries.add(cut(i, `gate ${i}`))
    expect(entries.all.length).toBe(201)
    expect(entries.all.reduce((sum, { count }) => sum + count, 0)).toBe(10_000)
    expect(entries.all.at(-1)).toMatchObject({ ageMillis: 9999, waitingFor: "gate 9999", count: 9800 })
  })
})
