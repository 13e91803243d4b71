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

/** How much time a client gives, in milliseconds from the call's arrival on; `Infinity` where it says nothing. */
export interface Budget {
  /** Until the last byte of the answer. */
  readonly whole: number
  /** Until its head. The SDKs that say `X-Stainless-Timeout` mean no more by it, where the answer is a stream of events. */
  readonly head: number
}

const none: Budget = { whole: Infinity, head: Infinity }

/** The shortest of the budgets that a request names; `note` hears of each that is none. */
export const budget = (received: Received, note: (text: string) => void): Budget => {
  const { envoyTimeout: envoy, grpcTimeout: grpc, requestTimeout: request, stainlessTimeout: stainless } = received
  if (request === undefined && stainless === undefined && grpc === undefined && envoy === undefined) return none
  const read = (name: string, text: string | undefined, parse: (text: string) => number | undefined): number => {
    if (text === undefined) return Infinity
    const millis = parse(text)
    if (millis === undefined) note(`ignored ${name}`)
    return millis ?? Infinity
  }
  const whole = Math.min(
    read("x-request-timeout-ms", request, requestTimeout),
    read("grpc-timeout", grpc, grpcTimeout),
    read("x-envoy-expected-rq-timeout-ms", envoy, envoyTimeout)
  )
  return { whole, head: Math.min(whole, read("x-stainless-timeout", stainless, stainlessTimeout)) }
}
