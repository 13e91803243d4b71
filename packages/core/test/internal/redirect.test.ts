import { describe, expect, it } from "@effect/vitest"
import { Stream } from "effect"
import { Transport } from "@fairlead/core"
import type { ParallelHttp } from "@fairlead/core"
import * as hops from "../../src/internal/hop.ts"
import type { Hop } from "../../src/internal/hop.ts"
import * as redirect from "../../src/internal/redirect.ts"

const rules: redirect.Rules = { max: 10, downgrade: false, secrets: new Set() }

const hop = (input: ParallelHttp.Input) => hops.parse(input) as Hop

const next = (
  input: ParallelHttp.Input,
  status: number,
  location: string | undefined,
  more: Partial<redirect.Rules> = {},
  before?: ReadonlyArray<ParallelHttp.Input>
) => {
  const from = hop(input)
  const headers = location === undefined ? [] : ["Location", location]
  return redirect.next(from, { status, headers }, before?.map(hop) ?? [from], { ...rules, ...more })
}

const shown = (to: ReturnType<typeof next>) =>
  to === undefined ? undefined : "_tag" in to ? `${to.why}` : `${to.request.method} ${to.url}`

describe("where to", () => {
  const table: ReadonlyArray<readonly [number, string | undefined, string | undefined]> = [
    [302, "http://b.test/y?z=1", "GET http://b.test/y?z=1"],
    [302, "/y", "GET http://a.test/y"],
    [302, "y", "GET http://a.test/d/y"],
    [302, "../y", "GET http://a.test/y"],
    [302, "?y", "GET http://a.test/d/x?y"],
    [302, "//b.test/y", "GET http://b.test/y"],
    [302, "/y#part", "GET http://a.test/y"],
    [302, "http://u:p@b.test/y", "GET http://b.test/y"],
    [302, "http://A.TEST:80/y", "GET http://a.test/y"],
    [302, "https://a.test/d/x", "GET https://a.test/d/x"],
    [302, " /y ", "GET http://a.test/y"],
    [302, "/ü y", "GET http://a.test/%C3%BC%20y"],
    [302, "", "loop"],
    [302, "#part", "loop"],
    [302, "/d/x", "loop"],
    [302, "http://[", "location"],
    [302, "http://b.test:99999/", "location"],
    [302, "ftp://b.test/", "scheme"],
    [302, "javascript:alert(1)", "scheme"],
    [302, "file:///etc/passwd", "scheme"],
    [302, undefined, undefined],
    [301, "/y", "GET http://a.test/y"],
    [303, "/y", "GET http://a.test/y"],
    [307, "/y", "GET http://a.test/y"],
    [308, "/y", "GET http://a.test/y"],
    [300, "/y", undefined],
    [304, "/y", undefined],
    [305, "/y", undefined],
    [306, "/y", undefined],
    [200, "/y", undefined],
    [201, "/y", undefined]
  ]
  it.each(table)("%d to %s: %s", (status, location, expected) => {
    expect(shown(next("http://a.test/d/x", status, location))).toBe(expected)
  })

  it("the first of several", () => {
    const from = hop("http://a.test/")
    const to = redirect.next(from, { status: 302, headers: ["location", "/a", "Location", "/b"] }, [from], rules)
    expect(shown(to)).toBe("GET http://a.test/a")
  })

  it("not to where it was before, but there with another method", () => {
    const before = ["http://a.test/1", "http://a.test/2"]
    expect(shown(next("http://a.test/2", 302, "/1", {}, before))).toBe("loop")
    expect(shown(next("http://a.test/2", 302, "/3", {}, before))).toBe("GET http://a.test/3")
    expect(shown(next({ url: "http://a.test/2", method: "POST" }, 303, "/2"))).toBe("GET http://a.test/2")
  })

  it("no further than may be", () => {
    expect(shown(next("http://a.test/", 302, "/1", { max: 1 }))).toBe("GET http://a.test/1")
    expect(shown(next("http://a.test/1", 302, "/2", { max: 1 }, ["http://a.test/", "http://a.test/1"]))).toBe("tooMany")
  })

  it("from https to http only where that is said", () => {
    expect(shown(next("https://a.test/", 302, "http://a.test/"))).toBe("downgrade")
    expect(shown(next("https://a.test/", 302, "http://a.test/", { downgrade: true }))).toBe("GET http://a.test/")
  })

  it("shows no user and password of a place that is not gone to", () => {
    expect(next("http://a.test/", 302, "ftp://u:p@b.test/")).toMatchObject({ location: "ftp://b.test/" })
    expect(next("http://a.test/", 302, "//u:p@b.test:x/")).toMatchObject({ location: "//b.test:x/" })
  })
})

describe("with what", () => {
  const methods: ReadonlyArray<readonly [number, string, string]> = [
    [301, "GET", "GET"],
    [301, "HEAD", "HEAD"],
    [301, "POST", "GET"],
    [301, "PUT", "PUT"],
    [302, "POST", "GET"],
    [302, "DELETE", "DELETE"],
    [302, "PATCH", "PATCH"],
    [303, "GET", "GET"],
    [303, "HEAD", "HEAD"],
    [303, "POST", "GET"],
    [303, "PUT", "GET"],
    [303, "DELETE", "GET"],
    [307, "POST", "POST"],
    [307, "PUT", "PUT"],
    [308, "POST", "POST"]
  ]
  it.each(methods)("%d: %s becomes %s", (status, method, expected) => {
    const to = next({ url: "http://a.test/", method, body: "x" }, status, "/y") as Hop
    expect(to.request.method).toBe(expected)
    expect(to.request.body.length).toBe(method === expected ? 1 : 0)
  })

  it("what says something of the body goes with it", () => {
    const headers = [
      "Content-Type",
      "a/b",
      "content-length",
      "1",
      "Transfer-Encoding",
      "chunked",
      "Expect",
      "100-continue",
      "Trailer",
      "x",
      "Accept",
      "*/*"
    ]
    const request = { url: "http://a.test/", method: "POST", body: "x", headers }
    expect((next(request, 303, "/y") as Hop).request.headers).toEqual(["Accept", "*/*"])
    expect((next(request, 307, "/y") as Hop).request.headers).toEqual(headers)
  })

  it("a body that is a stream cannot go again", () => {
    const request = { url: "http://a.test/", method: "PUT", body: Transport.stream(Stream.empty) }
    expect(shown(next(request, 307, "/y"))).toBe("body")
    expect(shown(next(request, 302, "/y"))).toBe("body")
    expect(shown(next(request, 303, "/y"))).toBe("GET http://a.test/y")
  })

  const secrets = [
    "Authorization",
    "Bearer x",
    "COOKIE",
    "a=b",
    "proxy-authorization",
    "y",
    "Host",
    "a.test",
    "Origin",
    "http://a.test"
  ]
  const origins: ReadonlyArray<readonly [string, boolean]> = [
    ["/y", true],
    ["http://a.test:80/y", true],
    ["http://a.test:81/y", false],
    ["http://b.a.test/y", false],
    ["http://a.test.evil/y", false],
    ["https://a.test/y", false]
  ]
  it.each(origins)("to %s go credentials: %s", (location, kept) => {
    const to = next({ url: "http://a.test/", headers: [...secrets, "X-Api-Key", "k", "Accept", "*/*"] }, 302, location)
    expect((to as Hop).request.headers).toEqual([...(kept ? secrets : []), "X-Api-Key", "k", "Accept", "*/*"])
  })

  it("and those that are said to be secret stay, too", () => {
    const request = { url: "http://a.test/", headers: ["X-Api-Key", "k", "Accept", "*/*"] }
    const more = { secrets: new Set(["x-api-key"]) }
    expect((next(request, 302, "http://b.test/", more) as Hop).request.headers).toEqual(["Accept", "*/*"])
    expect((next(request, 302, "/y", more) as Hop).request.headers).toEqual(request.headers)
  })

  it("what was dropped does not come back where it came from", () => {
    const there = next("http://u:p@a.test/1", 302, "http://b.test/2") as Hop
    expect(there.request.headers).toEqual([])
    const back = redirect.next(there, { status: 302, headers: ["Location", "http://a.test/3"] }, [there], rules) as Hop
    expect([back.url, back.request.headers]).toEqual(["http://a.test/3", []])
  })

  it("a POST that has become a GET may be done twice; one that stays may not", () => {
    const request = { url: "http://a.test/", method: "POST" }
    expect((next(request, 303, "/y") as Hop).idempotent).toBe(true)
    expect((next(request, 307, "/y") as Hop).idempotent).toBe(false)
  })
})
