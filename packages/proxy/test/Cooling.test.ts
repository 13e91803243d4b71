import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { Duration } from "effect"
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
  const closedFor = (status: number, headers: Transport.Headers, longest: Duration.Input = "1 minute") =>
    Cooling.closedFor(
      { status, headers, body: Transport.empty },
      { segments: 2, longest: Duration.fromInputUnsafe(longest) }
    )

  it("closes its route when it is a 429 or 503 that says for how long", () => {
    expect(closedFor(429, ["Retry-After", "20"])).toBe(20_000)
    expect(closedFor(503, ["Retry-After-Ms", "250"])).toBe(250)
    expect(closedFor(429, [])).toBeUndefined()
    expect(closedFor(429, ["Retry-After", "0"])).toBeUndefined()
    for (const status of [200, 202, 301, 413, 500, 502, 504])
      expect(closedFor(status, ["Retry-After", "20"])).toBeUndefined()
  })

  it("closes nothing when it is a proxy's on the way: that is about one call, not about its route", () => {
    const refusal = ["Retry-After", "20", "Proxy-Status", "fairlead; error=proxy_internal_response"]
    expect(closedFor(503, refusal)).toBeUndefined()
    expect(closedFor(429, [...refusal.slice(0, 3), "fairlead; error=connection_limit_reached"])).toBeUndefined()
    expect(closedFor(503, ["Retry-After", "20", "Proxy-Status", "cdn; received-status=503"])).toBe(20_000)
  })

  it("closes it for no longer than the config allows", () => {
    expect(closedFor(429, ["Retry-After", "86400"])).toBe(60_000)
    expect(closedFor(429, ["Retry-After", "999999999999999"], "5 seconds")).toBe(5000)
  })
})
