import { describe, expect, it } from "@effect/vitest"
import { Deadline, Refused, Transport } from "@fairlead/core"
import { Duration, Option } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Problem from "../src/Problem.ts"

const header = ({ headers }: Transport.Reply, name: string) => Transport.header(headers, name)
const content = ({ body }: Transport.Reply) => JSON.parse(Buffer.from(body.bytes!).toString())

const refused = (reason: Refused.Reason, retryAfter: Duration.Input | undefined = undefined) =>
  new Refused.Refused({
    reason,
    gate: "up",
    waited: Duration.millis(12),
    retryAfter: retryAfter === undefined ? Option.none() : Option.some(Duration.fromInputUnsafe(retryAfter))
  })

/** RFC 9209, 2.3, and IANA's registry of proxy error types. */
const registered = new Set(
  (
    "dns_timeout dns_error destination_not_found destination_unavailable destination_ip_prohibited " +
    "destination_ip_unroutable connection_refused connection_terminated connection_timeout connection_read_timeout " +
    "connection_write_timeout connection_limit_reached tls_protocol_error tls_certificate_error tls_alert_received " +
    "http_request_error http_request_denied http_response_incomplete http_response_header_section_size " +
    "http_response_header_size http_response_body_size http_response_trailer_section_size http_response_trailer_size " +
    "http_response_transfer_coding http_response_content_coding http_response_timeout http_upgrade_failed " +
    "http_protocol_error proxy_internal_response proxy_internal_error proxy_configuration_error proxy_loop_detected"
  ).split(" ")
)

const names = Object.keys(Problem.catalogue) as ReadonlyArray<Problem.Name>

describe("Problem", () => {
  it.each(names)("%s tells itself in every way, and is explained", (name) => {
    const reply = Problem.toReply(Problem.make(name, "Do this next."))
    const [status, title, error] = Problem.catalogue[name]
    expect(reply.status).toBe(status)
    expect(header(reply, "content-type")).toBe("application/problem+json")
    expect(header(reply, "cache-control")).toBe("no-store")
    expect(header(reply, "proxy-status")).toBe(`fairlead; error=${error}`)
    expect(registered.has(error)).toBe(true)
    expect(content(reply)).toEqual({
      type: `urn:fairlead:problem:${name}`,
      title,
      status,
      detail: "Do this next.",
      error: { type: "fairlead", message: "Do this next.", code: name }
    })
    const page = fs.readFileSync(path.join(import.meta.dirname, "../../../docs/problems.md"), "utf8")
    expect(page).toMatch(new RegExp(`^\\| \`${name}\` \\| ${status} \\| `, "m"))
  })

  it.each([
    [new Refused.QueueFull({ bound: "items", limit: 5 }), "queue-full", 429],
    [new Refused.RateLimited({ window: "5 per 1m" }), "rate-limited", 429],
    [new Refused.Evicted({ by: 1 }), "evicted", 503],
    [new Refused.Shed({ signal: "memory" }), "shed", 503],
    [new Refused.WaitExceeded({ maxWait: Duration.millis(10) }), "wait-exceeded", 503],
    [new Refused.CircuitOpen({ failures: 5 }), "circuit-open", 503],
    [new Refused.ShuttingDown(), "shutting-down", 503],
    [new Refused.TooLate({ short: Duration.millis(10) }), "too-late", 504]
  ] as const)("tells the refusal %s as %s: nothing was sent", (reason, name, status) => {
    expect(Problem.of(refused(reason), false)).toMatchObject({ name, status, sent: false })
  })

  it("tells a refusal after an attempt that was sent as sent, and in no words that have it sent again", () => {
    const told = (reason: Refused.Reason) => {
      const problem = Problem.of(refused(reason), true)
      expect(problem.detail).toMatch(/ An earlier attempt was sent: repeat only what is safe to repeat\.$/)
      return [problem.sent, header(Problem.toReply(problem), "proxy-status")]
    }
    expect(told(new Refused.CircuitOpen({ failures: 5 }))).toEqual([true, "fairlead; error=destination_unavailable"])
    expect(told(new Refused.TooLate({ short: Duration.millis(10) }))).toEqual([
      true,
      "fairlead; error=http_response_timeout"
    ])
    expect(told(new Refused.ShuttingDown())).toEqual([true, "fairlead; error=proxy_internal_error"])
    const full = "fairlead; error=connection_limit_reached"
    expect(told(new Refused.QueueFull({ bound: "items", limit: 5 }))).toEqual([true, full])
    expect(told(new Refused.WaitExceeded({ maxWait: Duration.millis(10) }))).toEqual([true, full])
    for (const error of ["destination_unavailable", "http_response_timeout", "proxy_internal_error"]) {
      expect(registered.has(error)).toBe(true)
    }
    const unreached = new Transport.UpstreamFailed({ kind: "refused", sent: false, cause: undefined })
    expect([Problem.of(unreached, true).sent, Problem.of(unreached, false).sent]).toEqual([true, false])
  })

  it("says when to come back in whole seconds rounded up, exactly beside it, and an hour at most", () => {
    const advice = (after: Duration.Input | undefined) => {
      const reply = Problem.toReply(Problem.of(refused(new Refused.ShuttingDown(), after), false))
      return [header(reply, "retry-after"), header(reply, "retry-after-ms")]
    }
    expect(advice("1200 millis")).toEqual(["2", "1200"])
    expect(advice("0.2 millis")).toEqual(["1", "1"])
    expect(advice("3 days")).toEqual(["3600", "3600000"])
    expect(advice(undefined)).toEqual([undefined, undefined])
  })

  it("tells a deadline by whether the call had left", () => {
    const error = new Deadline.DeadlineExceeded({
      timeBudget: Duration.millis(10),
      spent: Duration.millis(10),
      waitingFor: Option.none()
    })
    expect(Problem.of(error, false)).toMatchObject({ name: "deadline-exceeded", status: 504, sent: false })
    expect(Problem.of(error, true)).toMatchObject({ status: 504, sent: true, error: "http_response_timeout" })
  })

  it.each([
    ["refused", 502, "connection_refused"],
    ["unreachable", 502, "destination_unavailable"],
    ["dns", 502, "dns_error"],
    ["tls", 502, "tls_protocol_error"],
    ["connectTimeout", 504, "connection_timeout"],
    ["reset", 502, "connection_terminated"],
    ["incomplete", 502, "http_response_incomplete"],
    ["protocol", 502, "http_protocol_error"],
    ["headersTimeout", 504, "http_response_timeout"],
    ["idleTimeout", 504, "connection_read_timeout"],
    ["totalTimeout", 504, "http_response_timeout"],
    ["tooLarge", 502, "http_response_body_size"],
    ["noRoom", 503, undefined],
    ["proxy", 502, "destination_unavailable"],
    ["requestBody", 400, undefined],
    ["closed", 503, undefined]
  ] as const)("tells an upstream's %s as %s %s, and not its words", (kind, status, error) => {
    const failure = new Transport.UpstreamFailed({ kind, sent: true, cause: new Error("secret.internal:5432") })
    const problem = Problem.of(failure, true)
    expect(problem).toMatchObject({ status, sent: true })
    expect(problem.error).toBe(error)
    if (error !== undefined) expect(registered.has(error)).toBe(true)
    expect(JSON.stringify(problem)).not.toContain("secret")
  })

  it("names the windows of an upstream as structured fields", () => {
    const window = { limit: 80, lengthMillis: 60_000, used: 70, pending: 4 }
    expect(Problem.rateLimit("github", [])).toEqual([])
    expect(Problem.rateLimit("github", [window, { limit: 5, lengthMillis: 1500, used: 6, pending: 0 }])).toEqual([
      "ratelimit-policy",
      `"fairlead-github";q=80;w=60, "fairlead-github-2";q=5;w=2`,
      "ratelimit",
      `"fairlead-github";r=6, "fairlead-github-2";r=0`
    ])
  })
})
