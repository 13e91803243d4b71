/**
 * What the end of an exchange says: to the limit of a gate, to a circuit, and to whoever would send again.
 *
 *     429 ──▶ load: overload · health: success · again: whatever the method
 *     503 ──▶ load: overload · health: failure · again: where it may be done twice
 *     reset ▶ load: overload · health: failure · again: likewise, or if nothing was sent
 *
 * The end is an answer's head, or why there is none. Pure; who was cut, and what a body comes to, is not asked about here.
 */
import * as endings from "../internal/ending.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as RetryAfter from "./RetryAfter.ts"

export { again, load } from "../internal/ending.ts"
export type { Ending, Failed, Head } from "../internal/ending.ts"

/**
 * Whether it works, for a circuit: 500, 502, 503 and 504 are failures, with the answer's `Retry-After`, and so is no answer. What is our own
 * doing, or our client's (a body that broke off, an answer larger than is taken, what cannot be said in HTTP, a refusal), and the refusal
 * of a proxy on the way say nothing.
 */
export const health = (ending: endings.Ending): CircuitBreaker.Outcome => {
  const works = endings.works(ending)
  if (works !== false) return works === true ? CircuitBreaker.success : CircuitBreaker.ignored
  const retryAfter = endings.isHead(ending) ? RetryAfter.millis(ending.headers) : undefined
  return retryAfter === undefined ? CircuitBreaker.failure() : CircuitBreaker.failure({ retryAfter })
}
