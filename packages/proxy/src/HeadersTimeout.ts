/** How long a client gives its call, by the names that are in use. */
import type { Received } from "./Headers.ts"

const grpcUnits: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }

/** `X-Request-Timeout-Ms`: whole milliseconds; 0 is a budget that is spent. */
const requestTimeout = (text: string) => (/^\d{1,12}$/.test(text) ? Number(text) : undefined)

/** Of Envoy, which says 0 for "none". */
const envoyTimeout = (text: string) => requestTimeout(text) || undefined

/** Seconds, from the SDKs of OpenAI and others, which cut fractions off: 0 may stand for anything under a second. */
const stainlessTimeout = (text: string) => (/^\d{1,9}(?:\.\d{1,9})?$/.test(text) && Number(text) * 1000) || undefined

/** `200m`: digits and a unit. */
const grpcTimeout = (text: string) =>
  /^\d{1,8}[HMSmun]$/.test(text) ? Number(text.slice(0, -1)) * grpcUnits[text.at(-1)!]! : undefined

/** The shortest of the budgets that a request names, in milliseconds, if any; `note` hears of each that is none. */
export const budget = (received: Received, note: (text: string) => void): number | undefined => {
  let least: number | undefined
  const consider = (name: string, text: string | undefined, parse: (text: string) => number | undefined) => {
    if (text === undefined) return
    const millis = parse(text)
    if (millis === undefined) note(`ignored ${name}`)
    else if (least === undefined || millis < least) least = millis
  }
  consider("x-request-timeout-ms", received.requestTimeout, requestTimeout)
  consider("x-stainless-timeout", received.stainlessTimeout, stainlessTimeout)
  consider("grpc-timeout", received.grpcTimeout, grpcTimeout)
  consider("x-envoy-expected-rq-timeout-ms", received.envoyTimeout, envoyTimeout)
  return least
}
