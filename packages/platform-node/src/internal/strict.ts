/**
 * What of a request's head is refused although Node's parser lets it pass. Pure; one pass over the headers.
 *
 * The parser itself (llhttp, strict as Node has it) refuses what is wrong with lines, names, values, lengths, codings and
 * chunks: see the table in NodeHttp.strict.socket.test.ts. It leaves to us what two readers may understand in two ways
 * (a second `Host`, codings in HTTP/1.0), what it takes though it is no HTTP/1, and what is beyond our bounds.
 */
import * as http from "node:http"

/** What a head consists of; an `IncomingMessage` is one. */
export interface Head {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly httpVersionMajor: number
  readonly httpVersionMinor: number
  readonly rawHeaders: ReadonlyArray<string>
  readonly headers: http.IncomingHttpHeaders
}

export interface Bounds {
  /** What a target that is a URL begins with, here. */
  readonly scheme: "http" | "https"
  readonly maxTargetBytes: number
  readonly maxHeaders: number
  readonly maxBodyBytes: number
}

/** The status to refuse with; 0 where there is nothing to refuse. */
export const refusal = (head: Head, bounds: Bounds): number => {
  const { headers, httpVersionMajor, httpVersionMinor, method = "", rawHeaders, url = "" } = head
  // A request of HTTP/0.9 has no headers, one of HTTP/2 is not told in lines: the parser takes both for one of ours.
  if (httpVersionMajor !== 1) return 505
  // It also reads RTSP.
  if (!methods.has(method)) return 501
  if (url.length > bounds.maxTargetBytes) return 414
  if (!isTarget(url, method, bounds.scheme)) return 400
  if (rawHeaders.length > bounds.maxHeaders * 2) return 431

  let hosts = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    // That lengths and codings do not contradict each other, the parser has seen to.
    if (name.length !== 4 || name.toLowerCase() !== "host") continue
    if (hosts++ > 0 || !authority.test(rawHeaders[i + 1]!)) return 400
  }
  if (hosts === 0 && httpVersionMinor > 0) return 400

  const coding = headers["transfer-encoding"]
  if (coding !== undefined) {
    // RFC 9112, 6.1: who knows no codings may be in front of us, and takes the body for the next request.
    if (httpVersionMinor === 0) return 400
    // RFC 9112, 6.3: without chunks at the end, nobody knows where it is. With them, only chunks are taken apart here:
    // what else the body is coded in, nobody behind us would learn.
    if (coding.toLowerCase() !== "chunked") return endsInChunks.test(coding) ? 501 : 400
  }
  const length = headers["content-length"]
  if (length !== undefined && !(Number(length) <= bounds.maxBodyBytes)) return 413
  if (headers.upgrade?.toLowerCase() === "websocket") return 501
  return 0
}

const endsInChunks = /,[ \t]*chunked$/i

export const methods: ReadonlySet<string> = new Set(http.METHODS)

/** RFC 3986, 3.2, without what names a user: a name, an IPv4 address, or one of IPv6 or later in brackets; and a port. */
export const authority =
  /^(?:(?:[\w.~!$&'()*+,;=-]|%[\da-f]{2})+|\[[\da-f:.]+\]|\[v[\da-f]+\.[\w.~!$&'()*+,;=:-]+\])(?::\d{0,5})?$/i

/** A path, all of a URL of our scheme, or the asterisk that stands for all of the server. */
const isTarget = (target: string, method: string, scheme: Bounds["scheme"]): boolean => {
  if (target.includes("#")) return false
  if (target.startsWith("/")) return true
  if (target === "*") return method === "OPTIONS"
  const start = scheme.length + 3
  const end = /[/?]|$/.exec(target.slice(start))!.index + start
  return target.slice(0, start).toLowerCase() === `${scheme}://` && authority.test(target.slice(start, end))
}

/** Whether trailers hold what must be known before the body: RFC 9110, 6.5.1. */
export const mayNotTrail = (rawTrailers: ReadonlyArray<string>): boolean => {
  for (let i = 0; i < rawTrailers.length; i += 2) if (heads.has(rawTrailers[i]!.toLowerCase())) return true
  return false
}

/** Framing, routing, conditions, credentials, and how the content is to be read. */
const heads: ReadonlySet<string> = new Set([
  "authorization",
  "cache-control",
  "connection",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "cookie",
  "expect",
  "host",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "keep-alive",
  "max-forwards",
  "pragma",
  "proxy-authorization",
  "proxy-connection",
  "range",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])
