/**
 * What the end of an exchange says: to the limit of a gate, to a circuit, and to whoever would send again.
 *
 *     429 ──▶ load: overload · health: success · again: whatever the method
 *     503 ──▶ load: overload · health: failure · again: where it may be done twice
 *     reset ▶ load: overload · health: failure · again: likewise, or if nothing was sent
 *
 * The end is an answer's head, or why there is none. Pure; who was cut, and what a body comes to, is not asked about here.
 */
import { Duration } from "effect"
import * as Attempts from "../Attempts.ts"
import type * as ConcurrencyLimit from "../ConcurrencyLimit.ts"
import type * as Refused from "../Refused.ts"
import type * as Transport from "../Transport.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as ProxyStatus from "./ProxyStatus.ts"
import * as RetryAfter from "./RetryAfter.ts"

export type Head = Pick<Transport.Reply, "status" | "headers">

export type Ending = Head | Transport.UpstreamFailed | Refused.Refused

const isHead = (ending: Ending): ending is Head => "status" in ending

/** Failures that say nothing of how much the other side has to do. */
const unloaded: ReadonlySet<Transport.Kind> = new Set([
  "dns",
  "tls",
  "protocol",
  "tooLarge",
  "proxy",
  "requestBody",
  "closed"
])

/**
 * How much the other side has to do, for a limit that adapts. Its own words for "too much" (429, 503, 504), and silence where an answer
 * should be, say that it has too much. Any other answer says how fast it is, whatever its status.
 */
export const load = (ending: Ending): ConcurrencyLimit.Verdict => {
  if (isHead(ending)) return ending.status === 429 || ending.status === 503 || ending.status === 504 ? "overload" : "ok"
  return ending._tag === "UpstreamFailed" && unloaded.has(ending.kind) ? "ignore" : "overload"
}

/**
 * Whether it works, for a circuit: 500, 502, 503 and 504 are failures, with the answer's `Retry-After`, and so is no answer. What is our own
 * doing, or our client's (a body that broke off, what cannot be said in HTTP, a refusal), and the refusal of a proxy on the way say nothing.
 */
export const health = (ending: Ending): CircuitBreaker.Outcome => {
  if (!isHead(ending)) return isOurs(ending) ? CircuitBreaker.ignored : CircuitBreaker.failure()
  const { headers, status } = ending
  // 429 says that it works and has enough. 501 and the like are about the request.
  if (status < 500 || status === 501 || status > 504) return CircuitBreaker.success
  if (ProxyStatus.refusal(headers) !== undefined) return CircuitBreaker.ignored
  const retryAfter = RetryAfter.millis(headers)
  return retryAfter === undefined ? CircuitBreaker.failure() : CircuitBreaker.failure({ retryAfter })
}

const isOurs = (failure: Transport.UpstreamFailed | Refused.Refused): boolean =>
  failure._tag === "Refused" ||
  failure.kind === "requestBody" ||
  failure.kind === "closed" ||
  (failure.kind === "protocol" && !failure.sent)

/** What was sent, in part or whole, and not answered. */
const broken: ReadonlySet<Transport.Kind> = new Set(["reset", "incomplete", "headersTimeout", "idleTimeout"])
const unreached: ReadonlySet<Transport.Kind> = new Set([
  "refused",
  "unreachable",
  "dns",
  "tls",
  "connectTimeout",
  ...broken
])

/**
 * Whether the same may be sent again, and after how many milliseconds at the least: after 429, the refusal of a proxy on the way that has not
 * sent it, and a failure before anything was sent, whatever it is; after 502, 503, 504 and a failure on the way, what may be done
 * `twice`; after a refusal of ours, as it advises. Not after what says to come back later than `longestMillis`.
 */
export const again = (ending: Ending, twice: boolean, longestMillis: number): boolean | number => {
  if (!isHead(ending)) return afterFailure(ending, twice, longestMillis)
  const { headers, status } = ending
  if (status !== 429 && (status < 502 || status > 504)) return false
  const onTheWay = ProxyStatus.refusal(headers)
  const isUnsent = onTheWay === undefined ? status === 429 : onTheWay === "unsent"
  if (!twice && !isUnsent) return false
  const millis = RetryAfter.millis(headers)
  return millis === undefined ? true : millis <= longestMillis && millis
}

const afterFailure = (
  failure: Transport.UpstreamFailed | Refused.Refused,
  twice: boolean,
  longestMillis: number
): boolean | number => {
  if (failure._tag === "UpstreamFailed")
    return failure.sent ? twice && broken.has(failure.kind) : unreached.has(failure.kind)
  const advice = Attempts.usual(failure)
  if (typeof advice === "boolean") return advice
  const millis = Duration.toMillis(advice)
  return millis <= longestMillis && millis
}
