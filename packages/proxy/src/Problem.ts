/**
 * Every way a call can fail, told in one way: status, `Proxy-Status` (RFC 9209), `Retry-After` where there is something to
 * say, and a body of `application/problem+json` (RFC 9457) with an `error` object as SDKs read it.
 *
 * A problem says in plain words what to do next. It names no address, path or header of the upstream: those may be
 * secrets. Its `type` never changes its meaning; `docs/problems.md` explains each.
 */
import { Transport } from "@fairlead/core"
import type { Deadline, Refused } from "@fairlead/core"
import { Duration, Option } from "effect"
import { StructuredField } from "@fairlead/core/http"

/** Status, title, and RFC 9209's registered error type of each problem. */
export const catalogue = {
  malformed: [400, "The request is malformed", "http_request_error"],
  "cross-site": [403, "Web pages may not call this", "http_request_denied"],
  "unknown-upstream": [404, "No such upstream", "destination_not_found"],
  "method-not-allowed": [405, "The method is not forwarded", "http_request_denied"],
  "content-too-large": [413, "The content is too large", "http_request_error"],
  "target-too-long": [414, "The request target is too long", "http_request_error"],
  "expectation-failed": [417, "The expectation is unknown", "http_request_error"],
  misdirected: [421, "The host is not served here", "http_request_denied"],
  "queue-full": [429, "The queue is full", "proxy_internal_response"],
  "rate-limited": [429, "The allowance is spent", "proxy_internal_response"],
  "headers-too-large": [431, "The header fields are too large", "http_request_error"],
  internal: [500, "The proxy made a mistake", "proxy_internal_error"],
  loop: [502, "The request came back to its own proxy", "proxy_loop_detected"],
  "upstream-unreachable": [502, "The upstream cannot be reached", "destination_unavailable"],
  "upstream-broken": [502, "The upstream broke off", "connection_terminated"],
  evicted: [503, "The place in the queue went to another", "proxy_internal_response"],
  shed: [503, "The proxy protects itself", "proxy_internal_response"],
  "wait-exceeded": [503, "The wait was too long", "proxy_internal_response"],
  "circuit-open": [503, "The upstream is failing", "proxy_internal_response"],
  "shutting-down": [503, "The proxy is shutting down", "proxy_internal_response"],
  "too-late": [504, "The turn would come too late", "proxy_internal_response"],
  "deadline-exceeded": [504, "The deadline has passed", "proxy_internal_response"],
  "upstream-timeout": [504, "The upstream did not answer in time", "http_response_timeout"]
} as const satisfies Record<string, readonly [status: number, title: string, error: string]>

/** The stem of a problem's type, `urn:fairlead:problem:<name>`. */
export type Name = keyof typeof catalogue

export interface Problem {
  readonly name: Name
  readonly status: number
  /** What happened to this call, and what to do next. */
  readonly detail: string
  /** A more exact type than the catalogue's, from RFC 9209's registry. */
  readonly error?: string | undefined
  /** `false`: not a byte of the call has left for the upstream, in no attempt, so it may be tried again whatever it is. */
  readonly sent?: boolean | undefined
  readonly retryAfter?: Duration.Duration | undefined
  /** Further header fields. */
  readonly headers?: Transport.Headers | undefined
}

/** What may fail on the way, besides what is answered on the spot. */
export type Failure = Refused.Refused | Transport.UpstreamFailed | Deadline.DeadlineExceeded

export const make = (name: Name, detail: string, more?: Omit<Problem, "name" | "status" | "detail">): Problem => ({
  name,
  status: catalogue[name][0],
  detail,
  ...more
})

/** The problem of a failure. `sent`: whether the call's first byte has left for the upstream, in this attempt or one before. */
export const of = (failure: Failure, sent: boolean): Problem => {
  switch (failure._tag) {
    case "Refused":
      return ofRefusal(failure, sent)
    case "UpstreamFailed":
      return ofUpstream(failure.kind, failure.sent || sent)
    case "DeadlineExceeded":
      return sent
        ? make(
            "deadline-exceeded",
            "The call was sent, but not answered within its time. Allow it more time, or look at the upstream.",
            {
              sent,
              error: "http_response_timeout"
            }
          )
        : make(
            "deadline-exceeded",
            "The call's time ran out before it was sent. Allow it more time, or a higher urgency (Priority: u=0).",
            {
              sent
            }
          )
  }
}

const ofRefusal = (refused: Refused.Refused, sent: boolean): Problem => {
  const tell = (name: Name, detail: string) =>
    make(name, sent ? `${detail} An earlier attempt was sent: repeat only what is safe to repeat.` : detail, {
      sent,
      retryAfter: Option.getOrUndefined(refused.retryAfter)
    })
  const waited = Duration.format(Duration.millis(Math.round(Duration.toMillis(refused.waited))))
  const reason = refused.reason
  switch (reason._tag) {
    case "QueueFull":
      return tell(
        "queue-full",
        reason.limit === 0
          ? "Nobody may wait for this upstream, and the call could not start at once. Come back later."
          : `The queue holds all it may (${reason.limit} ${reason.bound}). Come back later, or send fewer calls at once.`
      )
    case "RateLimited":
      return tell(
        "rate-limited",
        `Calls like this one have to wait for ${reason.window}, for longer than this one may. Come back later.`
      )
    case "Evicted":
      return tell(
        "evicted",
        `After ${waited} in the queue, a call of urgency ${reason.by} took the place. Try again, or with a higher urgency.`
      )
    case "Shed":
      return tell("shed", "The proxy has more to do than it can carry. Come back later.")
    case "WaitExceeded":
      return tell(
        "wait-exceeded",
        `It was not this call's turn within ${waited}. Try again, allow a longer wait (Prefer: wait), or a higher urgency (Priority).`
      )
    case "TooLate":
      return tell(
        "too-late",
        `As things stand, the turn of this call would come ${seconds(reason.short)} after its deadline. Allow it more time, or come back later.`
      )
    case "CircuitOpen":
      return tell(
        "circuit-open",
        `The upstream failed ${reason.failures === 1 ? "its last call" : `its last ${reason.failures} calls`}, and is left alone for a while. Come back later.`
      )
    case "ShuttingDown":
      return tell("shutting-down", "No new calls are taken. Try again: the next connection reaches whoever takes over.")
  }
}

/** Rounded up to what people read. */
const seconds = (duration: Duration.Duration): string =>
  Duration.format(Duration.seconds(Math.ceil(Duration.toSeconds(duration))))

/** The problem of an exchange that gave no answer, or not the whole of one. */
export const ofUpstream = (kind: Transport.Kind, sent: boolean): Problem => {
  const unreachable = (error: string) =>
    make(
      "upstream-unreachable",
      "No connection to the upstream came about. See that it is up, and its url in the config.",
      { sent, error }
    )
  const broken = (error: string) =>
    make(
      "upstream-broken",
      "The upstream broke off before its answer was whole. It may have acted on the call: repeat only what is safe to repeat.",
      { sent, error }
    )
  const silent = (error: string) =>
    make(
      "upstream-timeout",
      "The upstream kept silent for longer than its timeout in the config allows. It may still act on the call.",
      { sent, error }
    )
  switch (kind) {
    case "refused":
      return unreachable("connection_refused")
    case "unreachable":
      return unreachable("destination_unavailable")
    case "dns":
      return unreachable("dns_error")
    case "tls":
      return make(
        "upstream-unreachable",
        "No trusted connection to the upstream came about. See its certificate, and NODE_EXTRA_CA_CERTS.",
        { sent, error: "tls_protocol_error" }
      )
    case "connectTimeout":
      return make(
        "upstream-timeout",
        "The upstream took no connection in time. See that it is up, and its url in the config.",
        { sent, error: "connection_timeout" }
      )
    case "reset":
      return broken("connection_terminated")
    case "incomplete":
      return broken("http_response_incomplete")
    case "protocol":
      return make("upstream-broken", "What the upstream answered, or was to be sent, is no HTTP.", {
        sent,
        error: "http_protocol_error"
      })
    case "headersTimeout":
      return silent("http_response_timeout")
    case "idleTimeout":
      return silent("connection_read_timeout")
    case "totalTimeout":
      return silent("http_response_timeout")
    case "tooLarge":
      return make("upstream-broken", "The upstream's answer is larger than it may be.", {
        sent,
        error: "http_response_body_size"
      })
    case "proxy":
      return make("upstream-unreachable", "A proxy on the way to the upstream did not let the call through.", {
        sent,
        error: "destination_unavailable"
      })
    case "requestBody":
      return make("malformed", "The content of the request ended before it was whole.", { sent })
    case "closed":
      return make(
        "shutting-down",
        "No new calls are taken. Try again: the next connection reaches whoever takes over.",
        { sent }
      )
  }
}

/**
 * Its type in `Proxy-Status`. `proxy_internal_response` says that the call was not sent on, which other proxies go by: of one
 * that was, in an earlier attempt, it would be untrue.
 */
const errorOf = ({ error, name, sent }: Problem): string => {
  const usual = error ?? catalogue[name][2]
  if (sent !== true || usual !== "proxy_internal_response") return usual
  if (name === "circuit-open") return "destination_unavailable"
  if (name === "too-late") return "http_response_timeout"
  return name === "shutting-down" ? "proxy_internal_error" : "connection_limit_reached"
}

/** How a problem is answered. That the answer to a HEAD has no body is the server's business. */
export const toReply = (problem: Problem, id?: string): Transport.Reply => {
  const headers = [
    "content-type",
    "application/problem+json",
    // Some of these statuses may be kept by caches unless told otherwise.
    "cache-control",
    "no-store",
    "proxy-status",
    `fairlead; error=${errorOf(problem)}`
  ]
  if (problem.retryAfter !== undefined) {
    const millis = Math.min(Math.ceil(Duration.toMillis(problem.retryAfter)), maxRetryAfterMillis)
    headers.push("retry-after", String(Math.ceil(millis / 1000)), "retry-after-ms", String(millis))
  }
  if (problem.headers !== undefined) headers.push(...problem.headers)
  return { status: problem.status, headers, body: Transport.text(body(problem, id)) }
}

/** Beyond an hour an estimate is worth nothing, and some clients would sleep all of it. */
const maxRetryAfterMillis = 3_600_000

const body = (problem: Problem, id: string | undefined): string =>
  JSON.stringify({
    type: `urn:fairlead:problem:${problem.name}`,
    title: catalogue[problem.name][1],
    status: problem.status,
    detail: problem.detail,
    instance: id === undefined ? undefined : `urn:fairlead:call:${id}`,
    sent: problem.sent,
    error: { type: "fairlead", message: problem.detail, code: problem.name }
  }) + "\n"

/** What a gate's windows allow, for `rateLimit`. */
export interface Window {
  readonly limit: number
  readonly lengthMillis: number
  readonly used: number
  readonly pending: number
}

/** `RateLimit-Policy` and `RateLimit` of the windows in front of an upstream, under names of our own. */
export const rateLimit = (upstream: string, windows: ReadonlyArray<Window>): Transport.Headers => {
  if (windows.length === 0) return []
  const name = (index: number) => StructuredField.quote(`fairlead-${upstream}${index === 0 ? "" : `-${index + 1}`}`)
  return [
    "ratelimit-policy",
    windows.map((window, i) => `${name(i)};q=${window.limit};w=${Math.ceil(window.lengthMillis / 1000)}`).join(", "),
    "ratelimit",
    windows.map((window, i) => `${name(i)};r=${Math.max(0, window.limit - window.used - window.pending)}`).join(", ")
  ]
}
