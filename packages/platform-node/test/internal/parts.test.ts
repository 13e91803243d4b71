import { describe, expect, it } from "vitest"
import { Parts } from "../../src/internal/parts.ts"

const bytes = (length: number, from = 0) => Uint8Array.from({ length }, (_, i) => from + i)

describe("parts that come in chunks", () => {
  it.each([1, 3, 4, 7, 100])("are put together, however they are cut: %i at a time", (size) => {
    const all = [...bytes(4), ...bytes(6, 50), ...bytes(5, 100)]
    const given: Array<ReadonlyArray<Uint8Array>> = []
    const parts = new Parts()
    parts.take([4, 6], (taken) => {
      given.push(taken)
      parts.take([5], (taken) => given.push(taken))
    })
    for (let at = 0; at < all.length; at += size) parts.push(Uint8Array.from(all.slice(at, at + size)))
    expect(given).toEqual([[bytes(4), bytes(6, 50)], [bytes(5, 100)]])
  })

  it("may come before anybody asks for them", () => {
    const parts = new Parts()
    parts.push(bytes(4))
    parts.push(bytes(3, 4))
    let given: ReadonlyArray<Uint8Array> = []
    parts.take([5], (taken) => (given = taken))
    expect(given).toEqual([bytes(5)])
    parts.take([2], (taken) => (given = taken))
    expect(given).toEqual([bytes(2, 5)])
  })

  it("are each the first in memory of their own", () => {
    const parts = new Parts()
    let given: ReadonlyArray<Uint8Array> = []
    parts.take([8], (taken) => (given = taken))
    parts.push(bytes(8))
    expect(given[0]!.byteOffset).toBe(0)
    expect(given[0]!.buffer.byteLength).toBe(8)
  })
})
