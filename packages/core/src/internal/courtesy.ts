/**
 * What the end of a call says of the load of its host: its own words for "too much" (429, 503, 504), and silence where an answer
 * should be, say that it has too much to do. Any other answer says how fast it is. What is our own doing, or the network's before
 * anybody was reached, says nothing.
 */
import { Cause } from "effect"
import type { Exit } from "effect"
import type { Verdict } from "../ConcurrencyLimit.ts"
import * as Refused from "../Refused.ts"
import { ConnectionFailed, StatusRejected, Timeout } from "./failure.ts"
import * as verdict from "./verdict.ts"

export const ofStatus = (status: number): Verdict =>
  status === 429 || status === 503 || status === 504 ? "overload" : "ok"

/** Of one that had no answer; an answer was judged at its head. */
export const ofExit = (exit: Exit.Exit<unknown, unknown>): Verdict => {
  if (exit._tag === "Success") return "ok"
  const error = exit.cause.reasons.find(Cause.isFailReason)?.error
  // One of our own doors, further on.
  if (error instanceof Refused.Refused) return "ignore"
  if (error instanceof StatusRejected) return ofStatus(error.status)
  if (error instanceof Timeout) return error.phase === "connect" ? "overload" : "late"
  if (error instanceof ConnectionFailed) return broken.has(error.kind) ? "overload" : "ignore"
  return verdict.usual(exit)
}

const broken: ReadonlySet<string> = new Set(["refused", "unreachable", "reset", "incomplete"])
