/** Puts the config's headers in place of the client's of the same names. */
import { Redacted } from "effect"
import type { Stage } from "../Call.ts"
import type { Upstream } from "../Config.ts"
import * as Headers from "../Headers.ts"

export const stage = (headers: Upstream["headers"]): Stage => {
  if (headers.length === 0) return (next) => next
  const names = new Set(headers.map(([name]) => name.toLowerCase()))
  const own = headers.flatMap(([name, value]) => [name, Redacted.value(value)])
  return (next) => (call) => next({ ...call, headers: [...Headers.without(call.headers, names), ...own] })
}
