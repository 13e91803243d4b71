import { describe, expect, it } from "@effect/vitest"
import * as Caller from "../src/Caller.ts"

const allowed: Caller.Allowed = {
  scheme: "http",
  hosts: new Set(["proxy.internal"]),
  origins: new Set(["https://app.example.com"])
}
const check = (caller: Partial<Caller.Caller>) =>
  Caller.check({ host: "localhost", hosts: 1, origin: undefined, fetchSite: undefined, ...caller }, allowed)

describe("Caller", () => {
  it("lets in who calls a loopback name, or one of the config's", () => {
    for (const host of [
      "localhost",
      "LocalHost:8080",
      "127.0.0.1:1",
      "127.255.3.4",
      "[::1]:80",
      "proxy.internal:8080"
    ]) {
      expect([host, check({ host })]).toEqual([host, undefined])
    }
  })

  it("turns other names away", () => {
    for (const host of [
      "evil.example",
      "127.0.0.1.evil.example",
      "127.0.0.256",
      "128.0.0.1",
      "127.1",
      "localhost.evil",
      "[::2]",
      "0.0.0.0"
    ]) {
      expect([host, check({ host })]).toEqual([host, "otherHost"])
    }
  })

  it("wants one Host, and one that is a host", () => {
    expect(check({ host: undefined, hosts: 0 })).toBe("badHost")
    expect(check({ host: "localhost, localhost", hosts: 2 })).toBe("badHost")
    for (const host of ["", "local host", "user@localhost", "localhost/", "localhost:80:80", "[::1"]) {
      expect([host, check({ host })]).toEqual([host, "badHost"])
    }
  })

  it("turns web pages away unless their origin is among the config's", () => {
    expect(check({ origin: "https://app.example.com", fetchSite: "cross-site" })).toBeUndefined()
    for (const origin of [
      "https://evil.example",
      "null",
      "",
      "http://app.example.com",
      "https://app.example.com, null"
    ]) {
      expect([origin, check({ origin })]).toEqual([origin, "crossSite"])
    }
    for (const fetchSite of ["cross-site", "same-site", "anything", "none, none"]) {
      expect([fetchSite, check({ fetchSite })]).toEqual([fetchSite, "crossSite"])
    }
    expect(check({ fetchSite: "none" })).toBeUndefined()
  })

  it("turns a page away that an upstream sent: it stands on our origin, and must not reach the other upstreams", () => {
    expect(check({ fetchSite: "same-origin" })).toBe("crossSite")
    expect(check({ fetchSite: "same-origin", host: "app.example.com" })).toBe("otherHost")
    const own = { scheme: "http" as const, hosts: new Set<string>(), origins: new Set(["http://localhost:8080"]) }
    const caller = { hosts: 1, origin: undefined, fetchSite: "same-origin" }
    expect(Caller.check({ ...caller, host: "LOCALHOST:8080" }, own)).toBeUndefined()
    expect(Caller.check({ ...caller, host: "localhost:8081" }, own)).toBe("crossSite")
    expect(Caller.check({ ...caller, host: "localhost:8080" }, { ...own, scheme: "https" })).toBe("crossSite")
    const secure = Caller.allow({ hosts: [], origins: ["https://localhost:8080"], tls: { cert: "a", key: "b" } })
    expect(Caller.check({ ...caller, host: "localhost:8080" }, secure)).toBeUndefined()
  })
})
