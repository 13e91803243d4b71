/**
 * What an end says of the other side, where nobody else says it.
 */
import { Cause, Context, Exit } from "effect"
import type { Verdict } from "../ConcurrencyLimit.ts"
import * as Reason from "../Reason.ts"

/** A success is good. Too late, by its own deadline or one around it, and refused elsewhere are too much; all else says nothing. */
export const usual = (exit: Exit.Exit<unknown, unknown>): Verdict => {
  if (Exit.isSuccess(exit)) return "ok"
  return exit.cause.reasons.some(late) ? "overload" : "ignore"
}

const late = (reason: Cause.Reason<unknown>): boolean => {
  if (reason._tag === "Interrupt") {
    return Context.getOrUndefined(Cause.reasonAnnotations(reason), Reason.Annotation)?._tag === "Deadline"
  }
  const error = reason._tag === "Fail" ? reason.error : undefined
  const tag = typeof error === "object" && error !== null && "_tag" in error ? error._tag : undefined
  return tag === "DeadlineExceeded" || tag === "Refused"
}
