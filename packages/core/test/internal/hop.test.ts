import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as hops from "../../src/internal/hop.ts"
import type { Hop } from "../../src/internal/hop.ts"

const shown = (hop: ReturnType<typeof hops.parse>) =>
  "_tag" in hop ? hop._tag : [hop.url, hop.host, hop.origin, hop.request.method, hop.request.target]

describe("an address", () => {
  it("is what a URL is, also where it is like the last one", () => {
    const part = fc.constantFrom(
      "/",
      ".",
      "..",
      "a",
      "B",
      "~",
      "%2e",
      "%",
      "?",
      "#",
      "'",
      "ü",
      " ",
      "\\",
      ":",
      "@",
      "\t",
      "=",
      "&",
      "|"
    )
    const path = fc.array(part, { maxLength: 8 }).map((parts) => parts.join(""))
    const origin = fc.constantFrom(
      "http://a.test",
      "http://a.test:80",
      "http://a.test:81",
      "https://a.test",
      "http://A.test",
      "http://127.1"
    )
    fc.assert(
      fc.property(origin, path, (origin, path) => {
        hops.parse(`${origin}/x`)
        const url = origin + path
        // Of an object nothing is taken for known.
        expect(shown(hops.parse(url))).toEqual(shown(hops.parse({ url })))
        const parsed = URL.parse(url)
        const target = parsed && parsed.pathname + parsed.search
        const expected = parsed && [parsed.origin + target, parsed.host, parsed.origin, "GET", target]
        expect(shown(hops.parse(url))).toEqual(expected ?? "InvalidRequest")
      }),
      { numRuns: 2000 }
    )
  })

  it("of another origin that begins alike is another", () => {
    hops.parse("http://a.test/")
    for (const url of ["http://a.test.evil/", "http://a.test:81/", "http://a.test@evil.test/"]) {
      expect((hops.parse(url) as Hop).origin).toBe(new URL(url).origin)
    }
  })

  it("identical are those that ask for the same", () => {
    const identity = (input: Parameters<typeof hops.parse>[0]) => hops.identity(hops.parse(input) as Hop)
    expect(identity("http://a.test/x#y")).toBe(identity({ url: "http://a.test:80/x" }))
    const headers = (...headers: ReadonlyArray<string>) => identity({ url: "http://a.test/x", headers })
    expect(new Set([headers(), headers("a", "b"), headers("a", "c"), headers("a", "b", "c", "d")]).size).toBe(4)
  })
})
