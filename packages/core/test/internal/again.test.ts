import { describe, expect, it } from "@effect/vitest"
import { Duration, Option, Stream } from "effect"
import { ParallelHttp, Refused, Transport } from "@fairlead/core"
import * as again from "../../src/internal/again.ts"
import * as hops from "../../src/internal/hop.ts"
import type { Hop } from "../../src/internal/hop.ts"

const url = "http://a.test/"
const hop = (input: ParallelHttp.Input) => hops.parse(input) as Hop
const get = hop(url)
const post = hop({ url, method: "POST", body: "x" })
const upload = hop({ url, method: "PUT", body: Transport.stream(Stream.empty) })

const connection = (kind: ParallelHttp.ConnectionFailed["kind"], sent = true) =>
  new ParallelHttp.ConnectionFailed({ url, kind, sent, cause: undefined })
const status = (status: number, ...headers: ReadonlyArray<string>) =>
  new ParallelHttp.StatusRejected({ url, status, headers, body: undefined })
const silence = (sent: boolean) => new ParallelHttp.Timeout({ url, phase: "firstByte", sent })
const refused = new Refused.Refused({
  reason: new Refused.ShuttingDown(),
  gate: "g",
  waited: Duration.zero,
  retryAfter: Option.none()
})

describe("what may be tried again", () => {
  it("all that is idempotent, and has its body in memory", () => {
    for (const failure of [connection("reset"), status(503), silence(true), refused, status(404)]) {
      expect([again.may(get, failure), again.may(upload, failure)]).toEqual([true, false])
    }
  })

  it("of the rest, what has certainly not been done", () => {
    expect(again.may(post, connection("reset"))).toBe(false)
    expect(again.may(post, connection("refused", false))).toBe(true)
    expect(again.may(post, silence(true))).toBe(false)
    expect(again.may(post, silence(false))).toBe(true)
    expect(again.may(post, status(503))).toBe(false)
    expect(again.may(post, status(429))).toBe(true)
    expect(again.may(post, refused)).toBe(true)
    expect(again.may(post, new ParallelHttp.BodyTooLarge({ url, maxBytes: 1 }))).toBe(false)
  })
})

describe("what is worth it", () => {
  const minute = 60_000

  it("what was the network's or the moment's doing", () => {
    const kinds = ["refused", "unreachable", "dns", "tls", "reset", "incomplete"] as const
    expect(kinds.map((kind) => again.worth(connection(kind), minute))).toEqual(kinds.map(() => true))
    const others = ["protocol", "proxy", "requestBody", "closed"] as const
    expect(others.map((kind) => again.worth(connection(kind), minute))).toEqual(others.map(() => false))
    expect(again.worth(silence(true), minute)).toBe(true)
    expect(again.worth(new ParallelHttp.BodyTooLarge({ url, maxBytes: 1 }), minute)).toBe(false)
    expect(again.worth(refused, minute)).toBe(false)
  })

  it("these statuses, when the server says", () => {
    const worth = [400, 404, 408, 425, 429, 500, 501, 502, 503, 504, 505].filter(
      (code) => again.worth(status(code), minute) === true
    )
    expect(worth).toEqual([408, 429, 502, 503, 504])
    expect(again.worth(status(503, "Retry-After", "5"), minute)).toBe(5000)
    expect(again.worth(status(503, "Retry-After", "60"), minute)).toBe(60_000)
    expect(again.worth(status(503, "Retry-After", "61"), minute)).toBe(false)
    expect(again.worth(status(404, "Retry-After", "5"), minute)).toBe(false)
  })
})
