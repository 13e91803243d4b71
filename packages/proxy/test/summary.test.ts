import { describe, expect, it } from "@effect/vitest"
import { Result } from "effect"
import * as summary from "../src/cli/summary.ts"
import * as ConfigFile from "../src/ConfigFile.ts"

const read = (source: string) => Result.getOrThrow(ConfigFile.parse(source, { file: "fairlead.yaml", env: {} }))

const key = "0123456789abcdefghij"

describe("the summary of a config", () => {
  it("says what holds, with the defaults", () => {
    expect(summary.all(read("upstreams: { a: { url: https://a.example/v1/ } }"))).toMatchInlineSnapshot(`
      "listen   127.0.0.1:8080
      admin    off
      hosts    loopback
      origins  none: no web page may call

      /a/  →  https://a.example/v1
          concurrency  100 at once
          rate         no limit
          shares       64 · 32 · 16 · 8 · 4 · 2 · 1 · 1, for u=0 to u=7
          queue        1000 calls, 64 MiB, 30s; when full: reject
          cooling      by Retry-After and rate-limit headers, 1m at most, each route (method and first 2 segments of the path) alone
          timeout      1m to the first byte · 1m idle"
    `)
  })

  it("says what memory is watched", () => {
    const line = (memory: string) =>
      summary
        .all(read(`memory: ${memory}\nupstreams: { a: { url: https://a } }`))
        .split("\n")
        .find((line) => line.startsWith("memory"))
    expect(line("false")).toBeUndefined()
    expect(line("true")).toBe(
      "memory   what the control group or the machine has · tight from 75 %, critical from 90 % · a quarter for queues and bodies"
    )
    expect(line("{ max: 512 MiB, tight: 50.5%, budget: 64 MiB }")).toBe(
      "memory   512 MiB at most · tight from 50.5 %, critical from 90 % · 64 MiB for queues and bodies"
    )
  })

  it("says how the event loop is watched, where it is", () => {
    const up = "upstreams: { a: { url: https://a.example } }"
    const loop = (config: string) =>
      summary
        .all(read(config))
        .split("\n")
        .find((line) => line.startsWith("loop"))
    expect(loop(up)).toBeUndefined()
    expect(loop(`loop: true\n${up}`)).toBe("loop     told when held for 100ms")
    expect(loop(`loop: { alarm: 1 s, shed: true }\n${up}`)).toBe(
      "loop     told when held for 1s; sheds while overloaded, the least urgent first"
    )
  })

  it("says how many at once, whose turn it is, and what is made of the upstream's word", () => {
    const config = read(`
upstreams:
  a:
    url: https://a.example
    concurrency: { adaptive: { min: 2, max: 200, limit: vegas } }
    rate: { limit: 80, per: minute, counts: answer }
    shares: { 1: 5 }
    queue: { overflow: evictOldest }
    cooling: { segments: 0, longest: 5 minutes, headers: false }
    breaker: {}
    coalesce: { maxBytes: 256 KiB, ignore: [User-Agent] }
  b: { url: https://b.example, shares: strict, cooling: { longest: 0 s }, breaker: { failures: 1, longest: 0 s }, coalesce: true }`)
    expect(summary.upstreams(config)).toMatchInlineSnapshot(`
      "/a/  →  https://a.example
          concurrency  2 to 200 at once, as the upstream answers (vegas)
          rate         80 per minute, by answers
          shares       1 · 5 · 1 · 1 · 1 · 1 · 1 · 1, for u=0 to u=7
          queue        1000 calls, 64 MiB, 30s; when full: evictOldest
          cooling      by Retry-After, 5m at most, the whole upstream
          coalesce     identical GET and HEAD calls, answers of 256 KiB at most, whatever they say of user-agent
          breaker      after 5 failures in a row open for 10s, by Retry-After for 1m at most
          timeout      1m to the first byte · 1m idle

      /b/  →  https://b.example
          concurrency  100 at once
          rate         no limit
          shares       none: the most urgent first, always
          queue        1000 calls, 64 MiB, 30s; when full: reject
          cooling      none: Retry-After of the upstream is not heeded
          coalesce     identical GET and HEAD calls, answers of 1 MiB at most
          breaker      after each failure open for 10s
          timeout      1m to the first byte · 1m idle"
    `)
  })

  it("says how calls are sent again", () => {
    const line = (retry: string, idempotency = "[]") =>
      summary
        .upstreams(read(`upstreams: { a: { url: https://a.example, retry: ${retry}, idempotency: ${idempotency} } }`))
        .split("\n")
        .find((line) => line.includes("retry"))
        ?.trim()
    expect(line("{}")).toBe(
      "retry        3 attempts at the most, 20 % more calls (10 in 10 s in any case) · content up to 64 KiB"
    )
    expect(line("true")).toBe(line("{}"))
    expect(line("false")).toBeUndefined()
    expect(line("{ attempts: 1 }")).toBeUndefined()
    expect(line("{ budget: 7%, hedge: p95 }", "{ routes: [POST /x], key: true }")).toBe(
      "retry        3 attempts at the most, 7 % more calls (10 in 10 s in any case) · hedged after p95 · content up to 64 KiB · " +
        "idempotent, too: POST /x · by Idempotency-Key"
    )
  })

  it("shows no value of a header, nor what may be a key in a path", () => {
    const config = read(`upstreams: { a: { url: https://a.example/hooks/${key}/x, headers: { x-key: ${key} } } }`)
    const text = `${summary.all(config)} ${summary.upstreams(config)}`
    expect(text).not.toContain(key)
    expect(text).toContain("https://a.example/hooks/…/x")
    expect(text).toContain("x-key (values not shown)")
  })

  it("warns of shares that give the less urgent more", () => {
    const warnings = (shares: string) =>
      summary.warnings(read(`upstreams: { a: { url: https://a.example, shares: ${shares} } }`))
    for (const fine of ["strict", "{ 0: 16, 1: 8, 2: 4, 3: 2 }", "{}", "{ 0: 5, 1: 5 }"])
      expect(warnings(fine)).toEqual([])
    expect(warnings("{ 0: 64, 3: 8, 7: 1 }")).toEqual([
      expect.stringMatching(/^`shares` of a: urgency 1 weighs 1, and/)
    ])
    expect(warnings("{ 7: 2 }")).toEqual([expect.stringMatching(/urgency 0 weighs 1/)])
  })

  it("warns of routes that may be sent twice where nothing is", () => {
    const warnings = (more: string) =>
      summary.warnings(read(`upstreams: { a: { url: https://a.example, idempotency: [POST /x], ${more} } }`))
    expect(warnings("retry: {}")).toEqual([])
    const warning = "`idempotency` of a changes nothing: without `retry` every call is sent once."
    expect(warnings("")).toEqual([warning])
    expect(warnings("retry: { attempts: 1 }")).toEqual([warning])
  })

  it("warns of what changes nothing beside something else, and of users who would share answers", () => {
    const warnings = (more: string) => summary.warnings(read(`upstreams: { a: { url: https://a.example, ${more} } }`))
    const fine = [
      "retry: { hedge: 1 s }, coalesce: { ignore: [user-agent] }, breaker: { open: 1 m }",
      "retry: { hedge: p99 }, timeout: { firstByte: 1 s }, breaker: { longest: 0 s }"
    ]
    for (const one of fine) expect(warnings(one)).toEqual([])
    expect(warnings("retry: { attempts: 1, hedge: p95 }")).toEqual([
      "`retry.hedge` of a changes nothing: with 1 attempt there is no second one."
    ])
    expect(warnings("retry: { hedge: 1 s }, timeout: { firstByte: 1 s }")).toEqual([
      "`retry.hedge` of a (1s) changes nothing: `timeout.firstByte` (1s) ends the first attempt before."
    ])
    expect(warnings("retry: { replay: 2 MiB }, queue: { bytes: 1 MiB }")).toEqual([
      "`retry.replay` of a is more than `queue.bytes` (1 MiB): contents that are longer than that are sent once."
    ])
    expect(warnings("coalesce: { ignore: [Cookie, x-a, Authorization] }")).toEqual([
      expect.stringMatching(/^`coalesce.ignore` of a has `cookie`: users share answers/),
      expect.stringMatching(/^`coalesce.ignore` of a has `authorization`: users share answers/)
    ])
    expect(warnings("breaker: { longest: 5 s }")).toEqual([
      "`breaker.longest` of a (5s) is shorter than `open` (10s): no `Retry-After` changes anything."
    ])
  })

  it("warns of a breaker that never sees silence", () => {
    const warnings = (more: string) =>
      summary.warnings(read(`upstreams: { a: { url: https://a.example, breaker: {}, ${more} } }`))
    expect(warnings("")).toEqual([])
    expect(warnings("timeout: { total: 30 s, firstByte: 10 s }")).toEqual([])
    expect(warnings("timeout: 30 s")).toEqual([
      "`breaker` of a may not count silence: `timeout.total` (30s) ends calls before `timeout.firstByte` (1m, kept within " +
        "a second) does. Make that shorter."
    ])
    expect(warnings("timeout: { total: 11 s, firstByte: 10 s }").length).toBe(1)
    expect(warnings("timeout: { total: 11100 ms, firstByte: 10 s }")).toEqual([])
  })

  it("warns where others can reach it, and no name is let in by which they would call", () => {
    const warnings = (more: string) => summary.warnings(read(`upstreams: { a: { url: https://a.example } }\n${more}`))
    expect(warnings("")).toEqual([])
    expect(warnings('listen: ":8080"')).toEqual([expect.stringMatching(/^0\.0\.0\.0:8080 can be reached/)])
    expect(warnings('admin: ":8081"')).toEqual([expect.stringMatching(/^0\.0\.0\.0:8081 can be reached/)])
    expect(warnings('listen: ":8080"\nhosts: [proxy.internal]')).toEqual([])
  })
})
