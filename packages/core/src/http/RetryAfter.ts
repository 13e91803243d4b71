/**
 * When to come back: `Retry-After` (RFC 9110, 10.2.3) of an answer, and `retry-after-ms`, which some APIs send beside it because it is more exact.
 *
 * A date is taken by the answer's own `Date` where it has one: then it does not matter whose clock is wrong.
 */
import * as Transport from "../Transport.ts"

/** After how many milliseconds to come back; `undefined` where that is not said, or makes no sense. */
export const millis = (headers: Transport.Headers, now: () => number = Date.now): number | undefined => {
  const exact = number(Transport.combined(headers, "retry-after-ms"))
  if (exact !== undefined) return exact
  const text = Transport.combined(headers, "retry-after")
  if (text === undefined) return undefined
  const seconds = number(text)
  if (seconds !== undefined) return seconds * 1000
  const at = date(text)
  if (at === undefined) return undefined
  return Math.max(0, at - (date(Transport.combined(headers, "date") ?? "") ?? now()))
}

/** The standard has whole seconds; what is known of fractions is that they are sent. */
const number = (text = ""): number | undefined => (/^\d{1,15}(\.\d{1,15})?$/.test(text) ? Number(text) : undefined)

/** The three forms of RFC 9110, 5.6.7: all are in GMT, though the last does not say so. */
const date = (text: string): number | undefined => {
  const gmt = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/.test(text)
  const rfc850 = /^[A-Z][a-z]{5,8}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT$/.test(text)
  const asctime = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/.test(text)
  const at = gmt || rfc850 ? Date.parse(text) : asctime ? Date.parse(`${text} GMT`) : Number.NaN
  return Number.isNaN(at) ? undefined : at
}
