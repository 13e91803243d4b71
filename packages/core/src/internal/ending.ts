/**
 * What the end of an exchange says, as pure rules: `Ending` of `@fairlead/core/http`, without the circuit, which takes Effect's own.
 */
import { Duration } from "effect"
import * as Attempts from "../Attempts.ts"
import type * as ConcurrencyLimit from "../ConcurrencyLimit.ts"
import * as ProxyStatus from "../http/ProxyStatus.ts"
import * as RetryAfter from "../http/RetryAfter.ts"
import type * as Refused from "../Refused.ts"
import type * as Transport from "../Transport.ts"

/** The head of an answer. */
export type Head = Pick<Transport.Reply, "status" | "headers">

/** Why there is none, or no whole one: a `Transport.UpstreamFailed`, or what has as much to say. */
export type Failed = Pick<Transport.UpstreamFailed, "kind" | "sent">

export type Ending = Head | Failed | Refused.Refused

export const isHead = (ending: Ending): ending is Head => "status" in ending
const isFailed = (ending: Failed | Refused.Refused): ending is Failed => "kind" in ending

type Kinds = ReadonlySet<Transport.Kind>

/** Failures that say nothing of how much the other side has to do. */
const unloaded: Kinds = new Set([
  "dns",
  "tls",
  "protocol",
  "tooLarge",
  "proxy",
  "requestBody",
  "closed",
  "noRoom"
] as const)
/** No answer in time, be it its doing or that of what was before it. */
const silent: Kinds = new Set(["headersTimeout", "idleTimeout", "totalTimeout"] as const)

/**
 * How much the other side has to do, for a limit that adapts. Its own words for "too much" (429, 503, 504), and a connection that does not
 * come about or breaks off, say that it has too much; silence where an answer should be, that it is late. Any other answer says how
 * fast it is, whatever its status.
 */
export const load = (ending: Ending): ConcurrencyLimit.Verdict => {
  if (isHead(ending)) return ending.status === 429 || ending.status === 503 || ending.status === 504 ? "overload" : "ok"
  if (!isFailed(ending)) return "overload"
  return unloaded.has(ending.kind) ? "ignore" : silent.has(ending.kind) ? "late" : "overload"
}

/** Whether the other side works; `undefined` where it does not say. */
export const works = (ending: Ending): boolean | undefined => {
  if (!isHead(ending)) return isOurs(ending) ? undefined : false
  const { headers, status } = ending
  // 429 says that it works and has enough. 501 and the like are about the request.
  if (status < 500 || status === 501 || status > 504) return true
  return ProxyStatus.refusal(headers) === undefined ? false : undefined
}

/** What we, or our caller, have done: how large an answer may be is the caller's word. */
const ours: Kinds = new Set(["requestBody", "closed", "tooLarge", "noRoom"] as const)

const isOurs = (ending: Failed | Refused.Refused): boolean =>
  !isFailed(ending) || ours.has(ending.kind) || (ending.kind === "protocol" && !ending.sent)

/** Whether the other side has certainly done nothing of it. */
export const undone = (ending: Ending): boolean => {
  if (!isHead(ending)) return !isFailed(ending) || !ending.sent
  const onTheWay = ProxyStatus.refusal(ending.headers)
  return onTheWay === undefined ? ending.status === 429 : onTheWay === "unsent"
}

// 500 is what the server makes of this request, and mostly once more.
const statuses: ReadonlySet<number> = new Set([408, 429, 502, 503, 504])
/** What was sent, in part or whole, and not answered. */
const broken: Kinds = new Set(["reset", "incomplete", ...silent] as const)
const unreached: Kinds = new Set(["refused", "unreachable", "dns", "tls", "connectTimeout", ...broken] as const)

/** Whether it may go better the next time, and no earlier than after how many milliseconds; not if later than after `longestMillis`. */
export const worth = (ending: Ending, longestMillis: number): boolean | number => {
  if (isHead(ending)) return statuses.has(ending.status) && patient(RetryAfter.millis(ending.headers), longestMillis)
  if (isFailed(ending)) return (ending.sent ? broken : unreached).has(ending.kind)
  const advice = Attempts.usual(ending)
  return typeof advice === "boolean" ? advice : patient(Duration.toMillis(advice), longestMillis)
}

const patient = (millis: number | undefined, longestMillis: number): boolean | number =>
  millis === undefined || (millis <= longestMillis && millis)

/**
 * Whether the same may be sent again, and after how many milliseconds at the least: after 429, the refusal of a proxy on the way that has not
 * sent it, and a failure before anything was sent, whatever it is; after 408, 502, 503, 504 and a failure on the way, what may be done
 * `twice`; after a refusal of ours, as it advises. Not after what says to come back later than `longestMillis`.
 */
export const again = (ending: Ending, twice: boolean, longestMillis: number): boolean | number =>
  (twice || undone(ending)) && worth(ending, longestMillis)
