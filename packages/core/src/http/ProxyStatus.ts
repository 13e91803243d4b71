/**
 * What proxies on the way say of an answer: `Proxy-Status` (RFC 9209).
 *
 *     429, proxy-status: fairlead; error=proxy_internal_response ──▶ "unsent": the server has not seen it
 */
import * as Transport from "../Transport.ts"

/**
 * Whether a proxy on the way, a Fairlead for one, refused this one call, by its place in a queue or its urgency. Then the answer says nothing
 * of the server behind. `unsent`: the proxy has not sent it on, by the first word of RFC 9209 for that, so that it may be sent again
 * whatever its method; `sent`: it had sent it before, in an earlier attempt.
 */
export const refusal = (headers: Transport.Headers): "unsent" | "sent" | undefined => {
  const status = Transport.combined(headers, "proxy-status")
  if (status === undefined) return undefined
  if (status.includes("error=proxy_internal_response")) return "unsent"
  return status.includes("error=connection_limit_reached") ? "sent" : undefined
}
