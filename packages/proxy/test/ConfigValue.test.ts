import { describe, expect, it } from "@effect/vitest"
import { Duration, Result } from "effect"
import * as ConfigValue from "../src/ConfigValue.ts"

describe("duration", () => {
  it.each([
    ["30 seconds", 30_000],
    ["1 second", 1_000],
    ["500 ms", 500],
    ["500ms", 500],
    ["1.5 hours", 5_400_000],
    ["0 seconds", 0],
    [" 2 m ", 120_000],
    ["366 days", 366 * 86_400_000]
  ])("reads %s", (text, millis) => {
    expect(Duration.toMillis(ConfigValue.duration(text)!)).toBe(millis)
  })

  it.each(["30", "", "seconds", "-1 second", "1 fortnight", "1e3 s", "1 second 2", "367 days", "9".repeat(400) + " s"])(
    "does not take %s for a duration",
    (text) => expect(ConfigValue.duration(text)).toBeUndefined()
  )

  it.each(["1 constructor", "1 __proto__", "1 toString"])("knows no unit that an object brings along: %s", (text) =>
    expect(ConfigValue.duration(text)).toBeUndefined()
  )
})

describe("rate", () => {
  it.each([
    ["80 per minute", 80, 60_000],
    ["10 per 5 seconds", 10, 5_000],
    ["1 per day", 1, 86_400_000],
    ["5  per  500 ms", 5, 500]
  ])("reads %s", (text, limit, millis) => {
    const rate = ConfigValue.rate(text)!
    expect([rate.limit, rate.burst, Duration.toMillis(rate.per)]).toEqual([limit, limit, millis])
  })

  it.each([
    "80",
    "80/minute",
    "0 per minute",
    "1.5 per minute",
    "80 per",
    "80 per 0 seconds",
    "80 per fortnight",
    "-1 per s"
  ])("does not take %s for a rate", (text) => expect(ConfigValue.rate(text)).toBeUndefined())

  it("is shown in the words it was written in", () => {
    expect(ConfigValue.formatRate(ConfigValue.rate("80 per minute")!)).toBe("80 per minute")
    expect(ConfigValue.formatRate(ConfigValue.rate("10 per 5 seconds")!)).toBe("10 per 5s")
    const rate = ConfigValue.rate("10 per hour")!
    expect(ConfigValue.formatRate({ ...rate, burst: 2 })).toBe("10 per hour, burst 2")
    expect(ConfigValue.formatRate({ ...rate, counts: "answer" })).toBe("10 per hour, by answers")
  })
})

describe("bytes", () => {
  it.each([
    ["64 MiB", 67_108_864],
    ["500 kB", 500_000],
    ["1.5 KiB", 1_536],
    ["0 B", 0]
  ])("reads %s", (text, bytes) => expect(ConfigValue.bytes(text)).toBe(bytes))

  it.each(["64", "64 mib", "", "-1 B", "many", "9999999999 TiB"])("does not take %s for a size", (text) =>
    expect(ConfigValue.bytes(text)).toBeUndefined()
  )
})

describe("address", () => {
  it.each([
    ["127.0.0.1:8080", "127.0.0.1", 8080],
    ["[::1]:8080", "::1", 8080],
    ["localhost:0", "localhost", 0],
    [":8080", "0.0.0.0", 8080],
    ["8080", "127.0.0.1", 8080]
  ])("reads %s", (text, host, port) => expect(ConfigValue.address(text)).toEqual({ host, port }))

  it.each(["", ":", "127.0.0.1", "127.0.0.1:", "a:65536", "::1:8080", "http://a:1", "a b:1", "[a]:1:2", "-:1"])(
    "does not take %s for an address",
    (text) => expect(ConfigValue.address(text)).toBeUndefined()
  )

  it("stands in a URL as it was read", () => {
    for (const text of ["127.0.0.1:8080", "[::1]:8080", "localhost:0"]) {
      expect(ConfigValue.formatAddress(ConfigValue.address(text)!)).toBe(text)
    }
  })

  it("tells loopback from what others can reach", () => {
    const loopback = (text: string) => ConfigValue.isLoopback(ConfigValue.address(text)!)
    expect(["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "1"].map(loopback)).not.toContain(false)
    expect([":1", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example.com:1"].map(loopback)).not.toContain(true)
  })
})

describe("host names and origins", () => {
  it("come as a browser sends them", () => {
    expect(["Proxy.Internal", "10.0.0.1", "::1", "[::1]"].map(ConfigValue.hostName)).toEqual([
      "proxy.internal",
      "10.0.0.1",
      "[::1]",
      "[::1]"
    ])
    expect(["https://App.example.com", "https://a:443", "http://a:8080", "app://x"].map(ConfigValue.origin)).toEqual([
      "https://app.example.com",
      "https://a",
      "http://a:8080",
      "app://x"
    ])
  })

  it.each(["", "a:8080", "http://a", "a/b", "*", "*.a", "a b", "[a]"])("%s is no host name", (text) =>
    expect(ConfigValue.hostName(text)).toBeUndefined()
  )

  it.each(["", "a", "*", "null", "https://", "https://a/", "https://a/b", "https://*.a", "https://u@a", "https://a?b"])(
    "%s is no origin",
    (text) => expect(ConfigValue.origin(text)).toBeUndefined()
  )
})

describe("upstreams' addresses", () => {
  it.each(["https://api.github.com", "http://127.0.0.1:9000/v1", "HTTPS://a/b/", "http://[::1]:1"])(
    "%s is one",
    (text) => expect(Result.isSuccess(ConfigValue.upstreamUrl(text))).toBe(true)
  )

  it.each([
    ["ftp://a", "beginning with http:// or https://"],
    ["a.example.com", "beginning with http:// or https://"],
    ["https://", "the address of an API"],
    ["https://a:b@c", "with no user or password in it"],
    ["https://token@c", "with no user or password in it"],
    ["https://a?key=1", "with no `?` or `#` in it"],
    ["https://a/#", "with no `?` or `#` in it"],
    ["https://a/b/../c", "with a plain path"],
    ["https://a/%2e%2e/c", "with a plain path"],
    ["https://a\\b", "with a plain path"]
  ])("%s is none", (text, part) => {
    const url = ConfigValue.upstreamUrl(text)
    expect(Result.isFailure(url) && url.failure).toContain(part)
  })
})

describe("headers' values", () => {
  it.each(["", "Bearer x", "a\tb", "gr\u00fcn"])("%j is one", (value) =>
    expect(ConfigValue.isHeaderValue(value)).toBe(true)
  )

  it.each(["a\r\nb: c", "a\nb", "a\u0000b", " a", "a ", "\u20ac"])("%j is none", (value) =>
    expect(ConfigValue.isHeaderValue(value)).toBe(false)
  )
})
