/**
 * Which calls are identical, and which answers may go to several of them. Pure.
 *
 * Calls are identical when the upstream could not tell them apart: method, target and every field that goes on to it, but for
 * those that say nothing of what is asked for. Those are not sent then, for they would be one caller's.
 *
 * Which answers: as RFC 9111 has it for collapsed requests (section 4), those that a cache could use for another request. Since
 * identical calls have the same credentials, that is a cache of one user's: `private` may go to all of them.
 */
import { Transport } from "@fairlead/core"
import type { Call } from "./Call.ts"
import * as Headers from "./Headers.ts"

/** What a call is, apart from whose it is. */
export interface Shared {
  /** Equal for identical calls. */
  readonly key: string
  /** What of its fields goes on. */
  readonly headers: Transport.Headers
}

/** Fields that never select an answer: whose call it is, how urgent, how long its client waits. */
const nobodys = [
  "baggage",
  "priority",
  "traceparent",
  "tracestate",
  "x-correlation-id",
  "x-request-id",
  "x-stainless-retry-count",
  // How long a client waits.
  "grpc-timeout",
  "x-envoy-expected-rq-timeout-ms",
  "x-stainless-timeout"
]

/**
 * What reads a call as one that may be shared; it gives `undefined` for all others. `names`: fields that are left out, too,
 * since the config sets them itself or says that they select nothing.
 */
export const of = (names: ReadonlyArray<string>): ((call: Call) => Shared | undefined) => {
  const without = Headers.without([...nobodys, ...names.map((name) => name.toLowerCase())])
  return ({ body, headers, request, target }) => {
    const { method } = request
    if ((method !== "GET" && method !== "HEAD") || body.length !== 0 || request.expectsContinue) return undefined
    if (asksAnew(headers)) return undefined
    const sent: Array<string> = []
    // No part of it can hold a line break, and no name a colon: what is joined cannot be told otherwise apart.
    let key = `${method} ${target}`
    const fields = without(headers)
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!
      const value = fields[i + 1]!
      if (saysWait(name, value)) continue
      sent.push(name, value)
      key += `\n${name.toLowerCase()}:${value}`
    }
    return { key, headers: sent }
  }
}

/** `Prefer: wait=10` and no other preference, such as `return=minimal`. */
const saysWait = (name: string, value: string): boolean =>
  name.length === 6 && name.toLowerCase() === "prefer" && /^\s*wait\s*=\s*"?\d+"?\s*$/i.test(value)

/** The client wants no answer that was not made for it. */
const asksAnew = (headers: Transport.Headers): boolean => {
  const control = Transport.combined(headers, "cache-control")
  if (control !== undefined && /no-(?:cache|store)/i.test(control)) return true
  return Transport.combined(headers, "pragma")?.toLowerCase().includes("no-cache") === true
}

/** Whether an answer may go to more than one of those who asked the same. */
export const mayShare = ({ headers }: Transport.Reply): boolean => {
  if (Transport.header(headers, "set-cookie") !== undefined) return false
  if (Transport.combined(headers, "vary")?.includes("*")) return false
  const control = Transport.combined(headers, "cache-control")
  if (control === undefined) return true
  // Not to be used for another request without asking anew.
  return !control.split(",").some((directive) => anew.test(directive))
}

const anew = /^\s*(?:no-store|no-cache|(?:s-max|max-)age\s*=\s*"?0+"?\s*$)/i
