/**
 * A request on its way to one address: what was asked for, checked, or where that was redirected to.
 */
import type { Input, Request } from "../ParallelHttp.ts"
import type * as Priority from "../Priority.ts"
import * as Transport from "../Transport.ts"
import { InvalidRequest, shown } from "./failure.ts"

export interface Hop {
  /** Without user, password and fragment. */
  readonly url: string
  readonly host: string
  readonly origin: string
  readonly request: Transport.Request
  /** Whether it may be done twice (RFC 9110, 9.2.2). */
  readonly idempotent: boolean
  readonly urgency: Priority.Urgency | undefined
}

const methods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PUT", "DELETE"])

/** Whether the request's body may be sent a second time: it is in memory, or there is none. */
export const repeats = ({ request }: Hop): boolean => request.body.bytes !== undefined

/** Equal for those that ask for the same. */
export const identity = ({ request, url }: Hop): string => [request.method, url, ...request.headers].join("\0")

export const parse = (input: Input): Hop | InvalidRequest => {
  if (typeof input === "string") {
    const known = alike(input)
    if (known !== undefined) return known
  }
  return parseAny(typeof input === "string" ? { url: input } : input)
}

/** The origin of the last address that was parsed: as a rule the next one has the same. */
let last = { origin: "", host: "" }

/** Nothing in it would be written otherwise; a dot at the beginning of a segment may be more than a dot. */
const plain = /\/(?:[\w\-~!$&()*+,;=:@?]|\/(?!\.)|(?<!\/)\.)*$/y

/** A GET of a path as it is, of the last origin: to parse an address takes longer than all else that is done here. */
const alike = (url: string): Hop | undefined => {
  const { host, origin } = last
  if (origin === "" || !url.startsWith(origin)) return undefined
  plain.lastIndex = origin.length
  // An empty query is none.
  if (!plain.test(url) || url.endsWith("?")) return undefined
  const request = { method: "GET", target: url.slice(origin.length), headers: none, body: Transport.empty }
  return { url, host, origin, request, idempotent: true, urgency: undefined }
}

const parseAny = (asked: Request): Hop | InvalidRequest => {
  const { headers = none, method = "GET", url, urgency } = asked
  const parsed = URL.parse(url)
  if (parsed === null || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
    return new InvalidRequest({ url: shown(String(url)), expected: "an absolute http: or https: URL" })
  }
  if (!/^[!#$%&'*+.^_`|~\w-]+$/.test(method)) {
    return new InvalidRequest({ url: addressOf(parsed), expected: `a method, got ${JSON.stringify(method)}, for` })
  }
  if (url.startsWith(`${parsed.origin}/`)) last = { origin: parsed.origin, host: parsed.host }
  const idempotent = asked.idempotent ?? (methods.has(method) || hasKey(headers))
  return hopTo(parsed, method, withCredentials(headers, parsed), bodyOf(asked.body), idempotent, urgency)
}

/** One to a parsed address. */
export const hopTo = (
  url: ParsedUrl,
  method: string,
  headers: Transport.Headers,
  body: Transport.Body,
  idempotent: boolean,
  urgency: Priority.Urgency | undefined
): Hop => {
  const { host, origin, pathname, search } = url
  const target = search === "" ? pathname : pathname + search
  return { url: origin + target, host, origin, request: { method, target, headers, body }, idempotent, urgency }
}

const none: Transport.Headers = []

const addressOf = ({ origin, pathname, search }: ParsedUrl) => `${origin}${pathname}${search}`

/** An empty one tells no call from another. */
const hasKey = (headers: Transport.Headers): boolean =>
  headers.length > 0 && /[^\s",]/.test(Transport.header(headers, "idempotency-key") ?? "")

/** The user and the password of an address, as a header; one that is there already counts more. */
const withCredentials = (headers: Transport.Headers, { password, username }: ParsedUrl): Transport.Headers => {
  if (username === "" && password === "") return headers
  if (Transport.header(headers, "authorization") !== undefined) return headers
  const bytes = Transport.text(`${decoded(username)}:${decoded(password)}`).bytes!
  return [...headers, "authorization", `Basic ${btoa(String.fromCharCode(...bytes))}`]
}

/** A `%` that begins no byte stands for itself. */
const decoded = (part: string): string => {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

const bodyOf = (body: Request["body"]): Transport.Body =>
  body === undefined
    ? Transport.empty
    : typeof body === "string"
      ? Transport.text(body)
      : "pipeTo" in body
        ? body
        : Transport.bytes(body)

/** What is used of a URL. */
export interface ParsedUrl {
  readonly host: string
  readonly origin: string
  readonly pathname: string
  readonly protocol: string
  readonly search: string
  readonly username: string
  readonly password: string
}

/** An address, relative to another where that is given; `null` where it is none. */
export const parseUrl = (url: string, base?: string): ParsedUrl | null => URL.parse(url, base)

// Every runtime has them; ECMAScript's own library, which is all that `core` compiles against, does not name them.
declare const URL: { readonly parse: (url: string, base?: string) => ParsedUrl | null }
declare const btoa: (bytes: string) => string
