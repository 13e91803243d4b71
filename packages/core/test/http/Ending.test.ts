import { describe, expect, it } from "@effect/vitest"
import { Refused, Transport } from "@fairlead/core"
import { CircuitBreaker, Ending } from "@fairlead/core/http"
import { Duration, Option } from "effect"

const head = (status: number, ...headers: ReadonlyArray<string>): Ending.Ending => ({ status, headers })
const failed = (kind: Transport.Kind, sent = true) => new Transport.UpstreamFailed({ kind, sent, cause: undefined })
const refused = (reason: Refused.Refused["reason"]) =>
  new Refused.Refused({
    reason,
    gate: "connections",
    waited: Duration.zero,
    retryAfter: Option.some(Duration.seconds(5))
  })
const busy = refused(new Refused.WaitExceeded({ maxWait: Duration.seconds(10) }))
const unsent = ["proxy-status", "fairlead; error=proxy_internal_response"] as const
const sent = ["proxy-status", "fairlead; error=connection_limit_reached"] as const

describe("the load that an ending tells of", () => {
  it("is overload where the other side says so, and ok for every other answer", () => {
    for (const status of [429, 503, 504]) expect(Ending.load(head(status))).toBe("overload")
    for (const status of [200, 204, 304, 400, 404, 500, 502]) expect(Ending.load(head(status))).toBe("ok")
  })

  it("is overload where a connection breaks, late where there is silence, and nothing where nobody was reached to say it", () => {
    for (const kind of ["refused", "unreachable", "connectTimeout", "reset", "incomplete"] as const)
      expect(Ending.load(failed(kind))).toBe("overload")
    for (const kind of ["headersTimeout", "idleTimeout", "totalTimeout"] as const)
      expect(Ending.load(failed(kind))).toBe("late")
    for (const kind of ["dns", "tls", "protocol", "tooLarge", "proxy", "requestBody", "closed", "noRoom"] as const)
      expect(Ending.load(failed(kind))).toBe("ignore")
    expect(Ending.load(busy)).toBe("overload")
  })
})

describe("the health that an ending tells of", () => {
  it("is bad where the other side fails, for as long as it says", () => {
    for (const status of [500, 502, 503, 504]) expect(Ending.health(head(status))).toEqual(CircuitBreaker.failure())
    expect(Ending.health(head(503, "retry-after", "7"))).toEqual(CircuitBreaker.failure({ retryAfter: 7000 }))
    for (const kind of ["reset", "dns", "headersTimeout", "totalTimeout", "proxy"] as const)
      expect(Ending.health(failed(kind))._tag).toBe("Failure")
    expect(Ending.health(failed("protocol"))._tag).toBe("Failure")
  })

  it("is good for every other answer", () => {
    for (const status of [200, 304, 404, 429, 501, 505, 529])
      expect(Ending.health(head(status))).toBe(CircuitBreaker.success)
  })

  it("is not told by what we did ourselves, or a proxy on the way", () => {
    for (const ending of [
      failed("requestBody"),
      failed("closed"),
      failed("tooLarge"),
      failed("noRoom"),
      failed("protocol", false),
      busy
    ])
      expect(Ending.health(ending)).toBe(CircuitBreaker.ignored)
    expect(Ending.health(head(503, ...unsent))).toBe(CircuitBreaker.ignored)
    expect(Ending.health(head(503, ...sent))).toBe(CircuitBreaker.ignored)
  })
})

describe("whether to send again", () => {
  /** For what may be done twice, and for what may not. */
  const again = (ending: Ending.Ending) => [Ending.again(ending, true, 60_000), Ending.again(ending, false, 60_000)]

  it("goes by the answer and by what may be done twice", () => {
    expect(again(head(429))).toEqual([true, true])
    for (const status of [408, 502, 503, 504]) expect(again(head(status))).toEqual([true, false])
    for (const status of [200, 404, 500, 501, 505]) expect(again(head(status))).toEqual([false, false])
  })

  it("waits for as long as the answer says, and not at all for longer than is patient", () => {
    expect(again(head(429, "retry-after", "60"))).toEqual([60_000, 60_000])
    expect(again(head(503, "retry-after", "7"))).toEqual([7000, false])
    expect(again(head(429, "retry-after", "61"))).toEqual([false, false])
  })

  it("goes by whether a proxy that refused it had sent it before", () => {
    expect(again(head(503, ...unsent))).toEqual([true, true])
    expect(again(head(429, ...sent))).toEqual([true, false])
  })

  it("goes by whether anything was sent, where there is no answer", () => {
    for (const kind of ["reset", "incomplete", "headersTimeout", "idleTimeout", "totalTimeout"] as const) {
      expect(again(failed(kind))).toEqual([true, false])
      expect(again(failed(kind, false))).toEqual([true, true])
    }
    for (const kind of ["refused", "unreachable", "dns", "tls", "connectTimeout"] as const)
      expect(again(failed(kind, false))).toEqual([true, true])
    for (const kind of ["protocol", "tooLarge", "requestBody", "closed", "proxy", "noRoom"] as const)
      expect([...again(failed(kind)), ...again(failed(kind, false))]).toEqual([false, false, false, false])
  })

  it("goes by what a refusal of ours advises", () => {
    expect(again(busy)).toEqual([5000, 5000])
    expect(Ending.again(busy, true, 4999)).toBe(false)
    expect(again(refused(new Refused.ShuttingDown()))).toEqual([false, false])
  })
})
