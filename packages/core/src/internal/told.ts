/**
 * What the failure of a call tells: its host's limit, its circuit, and whoever would send again. Each is an ending (`Ending`), and told
 * as one, but for refusals: here they are our own doors', whose lines are where one waits. Pure.
 */
import { Cause } from "effect"
import type { Exit } from "effect"
import type { Verdict } from "../ConcurrencyLimit.ts"
import * as Refused from "../Refused.ts"
import * as endings from "./ending.ts"
import { BodyTooLarge, ConnectionFailed, StatusRejected, Timeout } from "./failure.ts"
import type { Failure } from "./failure.ts"
import * as hops from "./hop.ts"
import type { Hop } from "./hop.ts"
import * as verdict from "./verdict.ts"

/** `undefined` for what an exchange does not end with: what a `read` fails with, or where it is not to go on. */
const ending = (error: unknown): endings.Ending | undefined => {
  if (error instanceof Timeout) {
    const { phase, sent } = error
    return { kind: phase === "firstByte" ? "headersTimeout" : `${phase}Timeout`, sent }
  }
  if (error instanceof BodyTooLarge) return { kind: "tooLarge", sent: true }
  const isEnding =
    error instanceof StatusRejected || error instanceof ConnectionFailed || error instanceof Refused.Refused
  return isEnding ? error : undefined
}

/** How much its host has to do; an answer was judged at its head. */
export const load = (exit: Exit.Exit<unknown, unknown>): Verdict => {
  if (exit._tag === "Success") return "ok"
  const error = exit.cause.reasons.find(Cause.isFailReason)?.error
  if (error instanceof Refused.Refused) return "ignore"
  const end = ending(error)
  return end === undefined ? verdict.usual(exit) : endings.load(end)
}

/** Whether its host works, as far as it says; a host that has answered does. */
export const works = (error: unknown): boolean | undefined => {
  const end = ending(error)
  return end === undefined || endings.works(end)
}

/**
 * Whether it can be sent again and comes to the same: nothing was sent or done, or it may be done twice (RFC 9110, 9.2.2); and
 * its body is still there.
 */
export const may = (hop: Hop, failure: Failure): boolean => hops.repeats(hop) && (hop.idempotent || undone(failure))

const undone = (failure: Failure): boolean => {
  const end = ending(failure)
  return end !== undefined && endings.undone(end)
}

/** Whether that may go better the next time, and no earlier than after how many milliseconds: at most `longest`. */
export const worth = (failure: Failure, longest: number): boolean | number => {
  const end = failure._tag === "Refused" ? undefined : ending(failure)
  return end !== undefined && endings.worth(end, longest)
}
