/**
 * What an end says of the other side, where nobody else says it.
 */
import { Cause, Context, Exit } from "effect"
import type { Verdict } from "../ConcurrencyLimit.ts"
import * as Reason from "../Reason.ts"

/** A success is good. Refused elsewhere is too much. Cut by a deadline, its own or one around it, is late. All else says nothing. */
export const usual = (exit: Exit.Exit<unknown, unknown>): Verdict => {
  if (Exit.isSuccess(exit)) return "ok"
  const words = new Set(exit.cause.reasons.map(word))
  return words.has("overload") ? "overload" : words.has("late") ? "late" : "ignore"
}

const word = (reason: Cause.Reason<unknown>): Verdict => {
  if (reason._tag === "Interrupt") {
    const why = Context.getOrUndefined(Cause.reasonAnnotations(reason), Reason.Annotation)
    return why?._tag === "Deadline" ? "late" : "ignore"
  }
  const error = reason._tag === "Fail" ? reason.error : undefined
  const tag = typeof error === "object" && error !== null && "_tag" in error ? error._tag : undefined
  return tag === "Refused" ? "overload" : tag === "DeadlineExceeded" ? "late" : "ignore"
}
