import { describe, expect, it } from "@effect/vitest"
import * as Headers from "../src/Headers.ts"
import * as HeadersPrefer from "../src/HeadersPrefer.ts"
import * as HeadersPriority from "../src/HeadersPriority.ts"
import * as HeadersTimeout from "../src/HeadersTimeout.ts"

const flat = (...pairs: ReadonlyArray<readonly [string, string]>) => pairs.flat()

describe("Headers", () => {
  it("reads what governs, and leaves off what belongs to the connection", () => {
    const received = Headers.read(
      flat(
        ["Host", "x"],
        ["Accept", "*/*"],
        ["Connection", "keep-alive, X-Own"],
        ["x-own", "1"],
        ["Keep-Alive", "timeout=5"],
        ["TE", "trailers"],
        ["Transfer-Encoding", "chunked"],
        ["Content-Length", "3"],
        ["UPGRADE", "h2c"],
        ["Proxy-Authorization", "Basic eA=="],
        ["Proxy-Anything", "x"],
        ["Expect", "100-continue"],
        ["X-Request-Timeout-Ms", "50"],
        ["pRiOrItY", "u=1"],
        ["Priority", "i"],
        ["Cookie", "a"],
        ["cookie", "b"]
      )
    )
    expect(received).toMatchObject({
      host: "x",
      hosts: 1,
      expect: "100-continue",
      requestTimeout: "50",
      priority: "u=1, i"
    })
    expect(received.onward).toEqual(
      flat(["Accept", "*/*"], ["pRiOrItY", "u=1"], ["Priority", "i"], ["Cookie", "a"], ["cookie", "b"])
    )
  })

  it("counts the hosts, and reads what governs even where Connection nominates it", () => {
    const received = Headers.read(
      flat(["host", "a"], ["Host", "b"], ["via", "1.1 x"], ["connection", "host, via, content-length"])
    )
    expect(received).toMatchObject({ hosts: 2, via: "1.1 x", onward: [] })
  })

  it("takes an answer's hop-by-hop fields off and leaves the rest as it was", () => {
    expect(
      Headers.answer(
        flat(
          ["Set-Cookie", "a"],
          ["Connection", "close"],
          ["connection", "x-private"],
          ["X-Private", "1"],
          ["Proxy-Authenticate", "Basic"],
          ["Proxy-Status", "far; error=x"],
          ["Set-Cookie", "b"],
          ["Trailer", "x"]
        )
      )
    ).toEqual(flat(["Set-Cookie", "a"], ["Proxy-Status", "far; error=x"], ["Set-Cookie", "b"]))
  })

  it("leaves off names whatever their case, and with underscores for hyphens", () => {
    expect(Headers.without(["x-api-key"])(flat(["X-Api_Key", "1"], ["x-API-key", "2"], ["x-api-keys", "3"]))).toEqual([
      "x-api-keys",
      "3"
    ])
  })

  describe("Priority", () => {
    it.each([
      ["u=0", 0],
      ["u=7", 7],
      ["u=1, i", 1],
      ["i, u=2;x=1", 2],
      ["u=1, u=6", 6],
      ["i", undefined],
      ["", undefined],
      ["u=8", "bad"],
      ["u=-1", "bad"],
      ["u=x", "bad"],
      ["u=1.0", "bad"],
      ["u=1,,i", "bad"],
      ["urgent", undefined],
      ["u=1; drop", 1],
      ["U=1", "bad"]
    ] as const)("%s is %s", (field, expected) => {
      expect(HeadersPriority.urgency(field)).toBe(expected)
    })
  })

  describe("Prefer", () => {
    it.each([
      ["wait=10", 10],
      ["respond-async, WAIT = 5", 5],
      [`wait="7"; x="a,b"; y, handling=lenient`, 7],
      ["wait=3, wait=9", 3],
      [`foo="wait=1, wait=2", wait=4`, 4],
      ["respond-async", undefined],
      ["", undefined],
      [",,wait=0", 0],
      ["wait", "bad"],
      ["wait=-1", "bad"],
      ["wait=1.5", "bad"],
      [`foo="x`, "bad"],
      ["wait=1 wait=2", "bad"]
    ] as const)("%s is %s", (field, expected) => {
      expect(HeadersPrefer.wait(field)).toBe(expected)
    })

    it("reads long nonsense in no time", () => {
      const start = performance.now()
      HeadersPrefer.wait(`a=${';"'.repeat(8000)}`)
      HeadersPrefer.wait(`a${" ; ".repeat(5000)}"`)
      expect(performance.now() - start).toBeLessThan(500)
    })
  })

  describe("timeouts", () => {
    const budget = (...pairs: ReadonlyArray<readonly [string, string]>) => {
      const notes: Array<string> = []
      const { head, whole } = HeadersTimeout.budget(Headers.read(flat(...pairs)), (note) => notes.push(note))
      return [whole, head, ...notes]
    }
    it("takes the shortest of those that are said", () => {
      expect(budget()).toEqual([Infinity, Infinity])
      expect(budget(["X-Request-Timeout-Ms", "250"])).toEqual([250, 250])
      expect(budget(["grpc-timeout", "2S"], ["X-Request-Timeout-Ms", "2500"])).toEqual([2000, 2000])
      expect(budget(["grpc-timeout", "500u"])).toEqual([0.5, 0.5])
      expect(budget(["x-envoy-expected-rq-timeout-ms", "15"], ["grpc-timeout", "1M"])).toEqual([15, 15])
      expect(budget(["X-Request-Timeout-Ms", "0"])).toEqual([0, 0])
      // Envoy's word for none.
      expect(budget(["x-envoy-expected-rq-timeout-ms", "0"]).slice(0, 2)).toEqual([Infinity, Infinity])
    })

    it("takes an SDK's own timeout to mean the head", () => {
      expect(budget(["X-Stainless-Timeout", "600"])).toEqual([Infinity, 600_000])
    })

    it("ignores, and notes, what is no timeout", () => {
      expect(budget(["X-Request-Timeout-Ms", "soon"], ["grpc-timeout", "9"], ["X-Stainless-Timeout", "0"])).toEqual([
        Infinity,
        Infinity,
        "ignored x-request-timeout-ms",
        "ignored grpc-timeout",
        "ignored x-stainless-timeout"
      ])
      expect(budget(["X-Request-Timeout-Ms", "1"], ["X-Request-Timeout-Ms", "2"])).toEqual([
        Infinity,
        Infinity,
        "ignored x-request-timeout-ms"
      ])
    })
  })
})
