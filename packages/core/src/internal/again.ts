/**
 * What of a call may be tried again, and what is worth it. Pure.
 */
import * as RetryAfter from "../http/RetryAfter.ts"
import type { ConnectionFailed, Failure } from "./failure.ts"
import * as hops from "./hop.ts"
import type { Hop } from "./hop.ts"

/**
 * Whether it can be sent again and comes to the same: nothing was sent or done, or it may be done twice (RFC 9110, 9.2.2); and
 * its body is still there.
 */
export const may = (hop: Hop, failure: Failure): boolean => hops.repeats(hop) && (hop.idempotent || undone(failure))

/** Whether the other side has certainly done nothing of it. */
const undone = (failure: Failure): boolean => {
  switch (failure._tag) {
    case "ConnectionFailed":
    case "Timeout":
      return !failure.sent
    case "StatusRejected":
      return failure.status === 429
    default:
      return failure._tag === "Refused"
  }
}

/**
 * Whether it may go better the next time, and no earlier than after how many milliseconds. A refusal is one of our own doors':
 * their lines are where one waits. Who would have to wait for longer than `longest` does not.
 */
export const worth = (failure: Failure, longest: number): boolean | number => {
  switch (failure._tag) {
    case "ConnectionFailed":
      return kinds.has(failure.kind)
    case "Timeout":
      return true
    case "StatusRejected": {
      const millis = statuses.has(failure.status) && (RetryAfter.millis(failure.headers) ?? true)
      return typeof millis === "number" ? millis <= longest && millis : millis
    }
    default:
      return false
  }
}

// 500 is what the server makes of this request, and mostly once more.
const statuses: ReadonlySet<number> = new Set([408, 429, 502, 503, 504])

const kinds: ReadonlySet<ConnectionFailed["kind"]> = new Set<ConnectionFailed["kind"]>([
  "refused",
  "unreachable",
  "dns",
  "tls",
  "reset",
  "incomplete"
])
