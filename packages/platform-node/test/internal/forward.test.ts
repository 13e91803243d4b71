import { describe, expect, it } from "@effect/vitest"
import * as forward from "../../src/internal/forward.ts"

const hostOf = (env: { readonly [name: string]: string }, origin: string) =>
  forward.environment(env)(new URL(origin))?.host

describe("environment", () => {
  it("chooses by the scheme, the lower case first, and `all_proxy` for the rest", () => {
    const env = { http_proxy: "http://a:1", HTTP_PROXY: "http://b:1", HTTPS_PROXY: "http://c:1" }
    expect(hostOf(env, "http://x")).toBe("a:1")
    expect(hostOf(env, "https://x")).toBe("c:1")
    expect(hostOf({ ALL_PROXY: "http://d:1" }, "http://x")).toBe("d:1")
    expect(hostOf({ ALL_PROXY: "http://d:1", https_proxy: "http://e:1" }, "https://x")).toBe("e:1")
    expect(hostOf({}, "http://x")).toBe(undefined)
    expect(hostOf({ http_proxy: "" }, "http://x")).toBe(undefined)
    expect(hostOf({ http_proxy: "a:1" }, "http://x")).toBe("a:1")
  })

  it("does not read `HTTP_PROXY` where a client can set it", () => {
    const env = { HTTP_PROXY: "http://b:1", REQUEST_METHOD: "GET" }
    expect(hostOf(env, "http://x")).toBe(undefined)
    expect(hostOf({ ...env, http_proxy: "http://a:1" }, "http://x")).toBe("a:1")
    expect(hostOf({ ...env, HTTPS_PROXY: "http://c:1" }, "https://x")).toBe("c:1")
  })

  const cases: ReadonlyArray<readonly [list: string, origin: string, direct: boolean]> = [
    ["*", "http://anything", true],
    ["example.com", "http://example.com", true],
    ["example.com", "http://EXAMPLE.com:8080", true],
    ["example.com", "http://example.com.", true],
    ["example.com.", "http://example.com", true],
    ["example.com", "http://www.example.com", true],
    [".example.com", "http://www.example.com", true],
    [".example.com", "http://example.com", true],
    ["*.example.com", "http://www.example.com", true],
    ["*.example.com", "http://badexample.com", false],
    ["example.com", "http://badexample.com", false],
    ["example.com", "http://example.org", false],
    ["a.com, b.com", "http://b.com", true],
    ["a.com b.com", "http://b.com", true],
    ["a.com,,b.com,", "http://c.com", false],
    ["", "http://a.com", false],
    ["example.com:8080", "http://example.com:8080", true],
    ["example.com:8080", "http://example.com", false],
    ["example.com:80", "http://example.com", true],
    ["example.com:443", "https://example.com", true],
    ["10.0.0.1", "http://10.0.0.1", true],
    ["0.0.1", "http://10.0.0.1", false],
    ["10.0.0.0/8", "http://10.20.30.40", true],
    ["10.0.0.0/8", "http://11.0.0.1", false],
    ["10.0.0.0/8", "http://ten.example", false],
    ["10.0.0.0/99", "http://10.0.0.1", false],
    ["192.168.0.0/16,localhost", "http://localhost:3000", true],
    ["::1", "http://[::1]:3000", true],
    ["[::1]", "http://[::1]", true],
    ["[::1]:80", "http://[::1]:81", false],
    ["0:0:0:0:0:0:0:1", "http://[::1]", true],
    ["fe80::/10", "http://[fe80::1]", true],
    ["fe80::/10", "http://[::1]", false]
  ]
  for (const [list, origin, direct] of cases) {
    it(`goes ${direct ? "straight" : "through the proxy"} to ${origin} with no_proxy=${list}`, () => {
      expect(hostOf({ http_proxy: "http://p:1", https_proxy: "http://p:1", NO_PROXY: list }, origin)).toBe(
        direct ? undefined : "p:1"
      )
    })
  }
})

describe("always", () => {
  it("reads where the proxy is, and who asks", () => {
    expect(forward.always("https://us%40er:p%3Aw@proxy.example")(new URL("http://x"))).toEqual({
      protocol: "https:",
      hostname: "proxy.example",
      host: "proxy.example",
      port: "443",
      authorization: `Basic ${Buffer.from("us@er:p:w").toString("base64")}`
    })
    expect(forward.always("http://user:100%@proxy")(new URL("http://x"))).toMatchObject({
      authorization: `Basic ${Buffer.from("user:100%").toString("base64")}`
    })
    expect(forward.always(new URL("http://[::1]:3128"))(new URL("http://x"))).toMatchObject({
      hostname: "::1",
      port: "3128",
      authorization: undefined
    })
  })
})

describe("misuse", () => {
  it("is told without the credentials", () => {
    for (const url of ["socks5://user:secret@proxy:1080", "http://user:secret@", "http://user:secret@a b"]) {
      let message = ""
      try {
        forward.always(url)
      } catch (error) {
        message = (error as Error).message
      }
      expect(message).toMatch(/^Expected /)
      expect(message).not.toContain("secret")
    }
  })
})
