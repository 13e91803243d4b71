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
          queue        1000 calls, 64 MiB, 30s; when full: reject
          timeout      1m to the first byte · 1m idle"
    `)
  })

  it("shows no value of a header, nor what may be a key in a path", () => {
    const config = read(`upstreams: { a: { url: https://a.example/hooks/${key}/x, headers: { x-key: ${key} } } }`)
    const text = `${summary.all(config)} ${summary.upstreams(config)}`
    expect(text).not.toContain(key)
    expect(text).toContain("https://a.example/hooks/…/x")
    expect(text).toContain("x-key (values not shown)")
  })

  it("warns where others can reach it, and no name is let in by which they would call", () => {
    const warnings = (more: string) => summary.warnings(read(`upstreams: { a: { url: https://a.example } }\n${more}`))
    expect(warnings("")).toEqual([])
    expect(warnings('listen: ":8080"')).toEqual([expect.stringMatching(/^0\.0\.0\.0:8080 can be reached/)])
    expect(warnings('admin: ":8081"')).toEqual([expect.stringMatching(/^0\.0\.0\.0:8081 can be reached/)])
    expect(warnings('listen: ":8080"\nhosts: [proxy.internal]')).toEqual([])
  })
})
