/**
 * What an upstream's own word closes, and for how long.
 *
 *     429 or 503 + Retry-After ─────────────▶ the route of the call is left alone; the others go on
 *     x-ratelimit-remaining: 0, -reset: … ──▶ the same, before there is a 429
 *
 * A route is the method and the first segments of the path behind the upstream's own: `POST /v1/chat`. APIs limit by
 * endpoint more often than as a whole, and one that is worn out must not stop the rest.
 */
import type { RateWindow, Transport } from "@fairlead/core"
import { RateLimitHeaders, RetryAfter } from "@fairlead/core/http"
import { Duration } from "effect"
import type { Cooling } from "./Config.ts"
import * as Headers from "./Headers.ts"

/** Names the route of a call. `from`: where the path begins that is the caller's. */
export const routeOf = (method: string, target: string, from: number, segments: number): string => {
  if (segments === 0) return ""
  let end = from
  for (let left = segments; end < target.length; end++) {
    const code = target.charCodeAt(end)
    if (code === question || (code === slash && end > from && --left === 0)) break
  }
  return `${method} ${target.slice(from, Math.min(end, from + longestName))}`
}

const slash = 47
const question = 63

/** Beyond this, names are cut: they are kept while their route is closed. */
const longestName = 256

/** What an answer says of the limits of its route. */
export const hints = (reply: Transport.Reply, { headers, longest }: Cooling): ReadonlyArray<RateWindow.Hint> => {
  if (headers) {
    const all = RateLimitHeaders.hints(reply, Date.now, { longest })
    // A proxy on the way, such as another of these, refused this one call by its urgency and its place in a queue.
    return all.length > 0 && Headers.refusedOnTheWay(reply.headers) ? [] : all
  }
  if ((reply.status !== 429 && reply.status !== 503) || Headers.refusedOnTheWay(reply.headers)) return []
  const millis = RetryAfter.millis(reply.headers)
  return millis === undefined || millis === 0 ? [] : [{ closedFor: Math.min(millis, Duration.toMillis(longest)) }]
}
