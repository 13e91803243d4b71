import { describe, expect, it } from "@effect/vitest"
import type { LookupAddress, LookupOptions } from "node:dns"
import type { LookupFunction } from "node:net"
import { vi } from "vitest"
import * as names from "../../src/internal/names.ts"

type Answer = (error: NodeJS.ErrnoException | null, addresses: Array<LookupAddress>) => void

/** A resolver that answers when the test says so. */
const resolver = () => {
  const asked: Array<{ readonly hostname: string; readonly options: LookupOptions; readonly answer: Answer }> = []
  const lookup = ((hostname: string, options: LookupOptions, answer: Answer) =>
    void asked.push({ hostname, options, answer })) as unknown as LookupFunction
  return { asked, lookup }
}

const both: Array<LookupAddress> = [
  { address: "192.0.2.1", family: 4 },
  { address: "2001:db8::1", family: 6 }
]

const ask = (lookup: LookupFunction, hostname: string, options: LookupOptions = { all: true }) =>
  new Promise<unknown>((resolve) => {
    lookup(hostname, options, (error, address, family) => {
      if (error !== null) resolve(error)
      else resolve(family === undefined ? address : [address, family])
    })
  })

const caching = (options: Partial<names.Options> = {}) => {
  const { asked, lookup } = resolver()
  return { asked, lookup: names.cached({ ttlMillis: 1_000, maxItems: 10, lookup, ...options }) }
}

describe("names", () => {
  it("are looked up once for all who ask meanwhile, and kept, with all addresses", async () => {
    const { asked, lookup } = caching()
    const first = ask(lookup, "a")
    const second = ask(lookup, "a")
    const one = ask(lookup, "a", {})
    expect(asked.map(({ hostname, options }) => [hostname, options.all])).toEqual([["a", true]])
    asked[0]!.answer(null, both)
    expect(await Promise.all([first, second, one])).toEqual([both, both, ["192.0.2.1", 4]])
    expect(await ask(lookup, "a")).toBe(both)
    expect(asked.length).toBe(1)
  })

  it("are asked for again when they are too old", async () => {
    const now = vi.spyOn(performance, "now").mockReturnValue(0)
    try {
      const { asked, lookup } = caching()
      const first = ask(lookup, "a")
      now.mockReturnValue(400)
      asked[0]!.answer(null, both)
      await first
      now.mockReturnValue(1_399)
      await ask(lookup, "a")
      expect(asked.length).toBe(1)
      now.mockReturnValue(1_400)
      void ask(lookup, "a")
      expect(asked.length).toBe(2)
    } finally {
      now.mockRestore()
    }
  })

  it("that were not found are told to all who asked, and asked for again", async () => {
    const { asked, lookup } = caching()
    const all = [ask(lookup, "a"), ask(lookup, "a")]
    const error = new Error("not found")
    asked[0]!.answer(error, [])
    expect(await Promise.all(all)).toEqual([error, error])
    void ask(lookup, "a")
    expect(asked.length).toBe(2)
  })

  it("are kept apart by what was asked for", () => {
    const { asked, lookup } = caching()
    for (const options of [
      { all: true },
      { all: true, family: 4 },
      { all: true, family: 6 },
      { all: true, hints: 32 }
    ]) {
      void ask(lookup, "a", options)
    }
    expect(asked.length).toBe(4)
  })

  it("make room for others, the oldest first", async () => {
    const { asked, lookup } = caching({ maxItems: 2 })
    for (const name of ["a", "b", "c"]) {
      const answer = ask(lookup, name)
      asked[asked.length - 1]!.answer(null, both)
      await answer
    }
    for (const name of ["b", "c"]) await ask(lookup, name)
    expect(asked.length).toBe(3)
    void ask(lookup, "a")
    expect(asked.length).toBe(4)
  })

  it("answer whoever asked even when others have taken their room", async () => {
    const { asked, lookup } = caching({ maxItems: 1 })
    const a = ask(lookup, "a")
    const b = ask(lookup, "b")
    asked[0]!.answer(null, both)
    asked[1]!.answer(null, both)
    expect(await Promise.all([a, b])).toEqual([both, both])
  })
})
