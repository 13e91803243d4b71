/** Puts the config's headers in place of the client's of the same names. */
import { Redacted } from "effect"
import type { Stage } from "../Call.ts"
import type { Upstream } from "../Config.ts"
import * as Headers from "../Headers.ts"

export const stage = (headers: Upstream["headers"]): Stage => {
  if (headers.length === 0) return (next) => next
  const without = Headers.without(headers.map(([name]) => name.toLowerCase()))
  const own = headers.flatMap(([name, value]) => [name, Redacted.value(value)])
  return (next) => (call) => {
    const sent = without(call.headers)
    for (const part of own) sent.push(part)
    return next({ ...call, headers: sent })
  }
}
