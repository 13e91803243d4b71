/**
 * Where an answer sends a call (RFC 9110, 15.4), and with what. Pure.
 *
 *     301, 302   the same; a POST becomes a GET, as everybody has it
 *     303        a GET, or a HEAD where it was one
 *     307, 308   the same, with its body: only where that can go again
 *
 * To another origin (scheme, host and port) go no credentials; nor come they back once it has been elsewhere.
 */
import * as Transport from "../Transport.ts"
import { RedirectRejected, shown } from "./failure.ts"
import * as hops from "./hop.ts"
import type { Hop } from "./hop.ts"

export interface Rules {
  /** How many are followed. */
  readonly max: number
  /** Whether from `https:` to `http:`. */
  readonly downgrade: boolean
  /** Fields that go to no other origin, beside the usual ones; in lower case. */
  readonly secrets: ReadonlySet<string>
}

/**
 * The next hop; why there is none; or `undefined` where the answer is no redirect. `before`: where the call has been, this hop
 * the last.
 */
export const next = (
  hop: Hop,
  { headers, status }: Pick<Transport.Reply, "headers" | "status">,
  before: ReadonlyArray<Hop>,
  rules: Rules
): Hop | RedirectRejected | undefined => {
  if (!statuses.has(status)) return undefined
  const location = Transport.header(headers, "location")
  // Nothing says where to: so it is an answer like any other.
  if (location === undefined) return undefined
  const reject = (why: RedirectRejected["why"]) =>
    new RedirectRejected({ url: hop.url, status, location: shown(location), why })
  const url = hops.parseUrl(location, hop.url)
  if (url === null) return reject("location")
  if (url.protocol !== "http:" && url.protocol !== "https:") return reject("scheme")
  if (hop.origin.startsWith("https:") && url.protocol === "http:" && !rules.downgrade) return reject("downgrade")
  const method = methodAfter(status, hop.request.method)
  const bare = method !== hop.request.method
  if (!bare && !hops.repeats(hop)) return reject("body")
  const kept = withoutHeaders(
    hop.request.headers,
    (name) => (bare && isOfBody(name)) || (url.origin !== hop.origin && (usual.has(name) || rules.secrets.has(name)))
  )
  const body = bare ? Transport.empty : hop.request.body
  const to = hops.hopTo(url, method, kept, body, hop.idempotent || bare, hop.urgency)
  if (before.some((been) => been.url === to.url && been.request.method === method)) return reject("loop")
  return before.length > rules.max ? reject("tooMany") : to
}

const statuses: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

const methodAfter = (status: number, method: string): string => {
  if (status === 303) return method === "HEAD" ? method : "GET"
  return method === "POST" && status < 303 ? "GET" : method
}

/** What goes to the origin that it was meant for. */
const usual: ReadonlySet<string> = new Set(["authorization", "cookie", "proxy-authorization", "host", "origin"])

/** What says something of a body. */
const isOfBody = (name: string): boolean =>
  name.startsWith("content-") || name === "transfer-encoding" || name === "trailer" || name === "expect"

const withoutHeaders = (headers: Transport.Headers, drop: (name: string) => boolean): Transport.Headers => {
  const kept: Array<string> = []
  for (let i = 0; i < headers.length; i += 2) {
    if (!drop(headers[i]!.toLowerCase())) kept.push(headers[i]!, headers[i + 1]!)
  }
  return kept
}
