/**
 * What the end of a call says about the load of its upstream: for a limit that adapts.
 *
 * The upstream's own words for "too much" (429, 503, 504), and silence where an answer should be, say that it has too
 * much to do. Any other answer says how fast it is, whatever its status. What is the client's doing, or the network's
 * before anybody was reached, says nothing.
 */
import type { ConcurrencyLimit, Transport } from "@fairlead/core"

/** By the status of an answer. */
export const ofStatus = (status: number): ConcurrencyLimit.Verdict =>
  status === 429 || status === 503 || status === 504 ? "overload" : "ok"

const overload: ReadonlySet<Transport.Kind> = new Set<Transport.Kind>([
  "refused",
  "unreachable",
  "connectTimeout",
  "reset",
  "incomplete",
  "headersTimeout",
  "idleTimeout",
  "totalTimeout"
])

/** By why there was no answer. */
export const ofKind = (kind: Transport.Kind): ConcurrencyLimit.Verdict => (overload.has(kind) ? "overload" : "ignore")
