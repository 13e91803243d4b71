import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { Duration } from "effect"
import type * as Config from "../src/Config.ts"
import * as Cooling from "../src/Cooling.ts"

describe("a route", () => {
  it.each([
    ["/v1/chat/completions", 2, "POST /v1/chat"],
    ["/v1/chat/completions", 1, "POST /v1"],
    ["/v1/chat/completions", 3, "POST /v1/chat/completions"],
    ["/v1/chat", 2, "POST /v1/chat"],
    ["/v1/chat?model=a/b/c", 2, "POST /v1/chat"],
    ["/v1?a=/b/c", 2, "POST /v1"],
    ["/", 2, "POST /"],
    ["/?a", 2, "POST /"],
    ["", 2, "POST "]
  ])("of %s by %i segments is %s", (target, segments, route) =>
    expect(Cooling.routeOf("POST", target, 0, segments)).toBe(route)
  )

  it("does not count the segments of the upstream's own path", () => {
    expect(Cooling.routeOf("GET", "/api/v3/repos/a/b", "/api/v3".length, 2)).toBe("GET /repos/a")
  })

  it("is one for all where no segment counts", () => {
    expect(Cooling.routeOf("GET", "/a", 0, 0)).toBe(Cooling.routeOf("POST", "/b/c", 0, 0))
  })

  it("has a name of bounded length", () => {
    expect(Cooling.routeOf("GET", `/${"x".repeat(8000)}`, 0, 2).length).toBeLessThan(300)
  })
})

describe("an answer", () => {
  const hints = (status: number, headers: Transport.Headers, cooling: Partial<Config.Cooling> = {}) =>
    Cooling.hints(
      { status, headers, body: Transport.empty },
      { segments: 2, longest: Duration.minutes(1), headers: true, ...cooling }
    )
  const both = [true, false]

  it.each(both)("closes its route when it is a 429 or 503 that says for how long (headers: %s)", (headers) => {
    const of = (status: number, fields: Transport.Headers) => hints(status, fields, { headers })
    expect(of(429, ["Retry-After", "20"])).toEqual([{ closedFor: 20_000 }])
    expect(of(503, ["Retry-After-Ms", "250"])).toEqual([{ closedFor: 250 }])
    expect(of(429, [])).toEqual([])
    expect(of(429, ["Retry-After", "0"])).toEqual([])
    for (const status of [200, 202, 301, 413, 500, 502, 504]) {
      expect(of(status, ["Retry-After", "20"])).toEqual([])
    }
  })

  it.each(both)("closes nothing when it is a proxy's on the way: that is about one call (headers: %s)", (headers) => {
    const of = (status: number, fields: Transport.Headers) => hints(status, fields, { headers })
    const refusal = ["Retry-After", "20", "Proxy-Status", "fairlead; error=proxy_internal_response"]
    expect(of(503, refusal)).toEqual([])
    expect(of(429, [...refusal.slice(0, 3), "fairlead; error=connection_limit_reached"])).toEqual([])
    expect(of(503, ["Retry-After", "20", "Proxy-Status", "cdn; received-status=503"])).toEqual([{ closedFor: 20_000 }])
  })

  it.each(both)("closes it for no longer than the config allows (headers: %s)", (headers) => {
    expect(hints(429, ["Retry-After", "86400"], { headers })).toEqual([{ closedFor: 60_000 }])
    const longest = Duration.seconds(5)
    expect(hints(429, ["Retry-After", "999999999999999"], { headers, longest })).toEqual([{ closedFor: 5000 }])
  })

  it("says what is left, where that is heeded", () => {
    const left = ["X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "20"]
    expect(hints(200, left)).toEqual([{ remaining: 0, resetsIn: 20_000 }])
    expect(hints(403, left)).toEqual([{ closedFor: 20_000 }])
    expect(hints(200, left, { longest: Duration.seconds(5) })).toEqual([{ remaining: 0, resetsIn: 5000 }])
    expect(hints(200, left, { headers: false })).toEqual([])
    expect(hints(429, left, { headers: false })).toEqual([])
  })
})
