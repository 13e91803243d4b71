/**
 * When to come back: `Retry-After` (RFC 9110, 10.2.3) of an answer, and `retry-after-ms`, which some APIs send beside it because it is more exact.
 *
 * A date is taken by the answer's own `Date` where it has one: then it does not matter whose clock is wrong.
 */
import * as dates from "../internal/dates.ts"
import * as Transport from "../Transport.ts"

/** After how many milliseconds to come back; `undefined` where that is not said, or makes no sense. */
export const millis = (headers: Transport.Headers, now: () => number = Date.now): number | undefined => {
  const exact = number(Transport.combined(headers, "retry-after-ms"))
  if (exact !== undefined) return exact
  const text = Transport.combined(headers, "retry-after")
  if (text === undefined) return undefined
  const seconds = number(text)
  if (seconds !== undefined) return seconds * 1000
  const at = dates.http(text)
  if (at === undefined) return undefined
  return Math.max(0, at - (dates.http(Transport.combined(headers, "date") ?? "") ?? now()))
}

/** The standard has whole seconds; what is known of fractions is that they are sent. */
const number = (text = ""): number | undefined => (/^\d{1,15}(\.\d{1,15})?$/.test(text) ? Number(text) : undefined)
