/**
 * Calls an upstream no more that keeps failing, until it has had time to recover: who comes meanwhile is refused at once.
 *
 *     door: refused while it is open ──▶ Admission: a permit ──▶ stage: refused unless it is closed, or this is the probe
 *
 * In two parts, around Admission. At the door: what is refused there takes no place in the line. With the permit in hand: whoever
 * is the probe goes at once, and does not keep all others out while it waits in a line of our own. Meanwhile these wait in that line,
 * and are refused at their turn only if the probe is not back, or has failed. Such a call gives back its permit and its rate grant.
 *
 * It decides at the head of an answer.
 */
import { Refused, Transport } from "@fairlead/core"
import { CircuitBreaker, Ending } from "@fairlead/core/http"
import { Cause, Effect, Exit } from "effect"
import type { Stage } from "../Call.ts"

/** Before Admission. */
export const door =
  (breaker: CircuitBreaker.CircuitBreaker): Stage =>
  (next) =>
  (call) =>
    Effect.flatMapEager(breaker.admit(), () => next(call))

/** Behind it. */
export const stage =
  (breaker: CircuitBreaker.CircuitBreaker): Stage =>
  (next) =>
  (call) =>
    breaker.run(Effect.suspend(() => next(call)))

/** What the end of a call says of its upstream. What is cut, since its client left or had too little time, is not asked about. */
export const judge = (exit: Exit.Exit<unknown, unknown>): CircuitBreaker.Outcome => {
  if (Exit.isSuccess(exit)) return Ending.health(exit.value as Transport.Reply)
  const failure = exit.cause.reasons.find(Cause.isFailReason)?.error
  const isKnown = failure instanceof Refused.Refused || failure instanceof Transport.UpstreamFailed
  return isKnown ? Ending.health(failure) : CircuitBreaker.failure()
}
