/**
 * The head of a request of HTTP/2, as one of HTTP/1.1 has it; or the status to refuse it with. Pure; one pass over the fields.
 *
 * nghttp2 resets what is malformed before anybody sees it (RFC 9113, 8.1.1): names in capitals, fields of a connection, pseudo
 * fields that are missing, unknown, given twice or behind others, lengths that are none. See the table in
 * NodeHttp.strict2.socket.test.ts. It leaves to us what two readers may understand in two ways, and what is beyond our bounds.
 */
import type { Transport } from "@fairlead/core"
import { authority, methods } from "./strict.ts"
import type { Bounds } from "./strict.ts"

export interface Bounds2 extends Bounds {
  /** Names and values, what stands in for the request line included. */
  readonly maxHeaderBytes: number
}

export interface Head2 {
  readonly method: string
  readonly target: string
  /** Begins with `host`, where the client has told it apart from the fields. */
  readonly headers: Transport.Headers
  readonly length: number | undefined
  /** Whether the client waits for a word before it sends its body. */
  readonly expects: boolean
}

export const headOf = (fields: ReadonlyArray<string>, bounds: Bounds2): Head2 | number => {
  let method = ""
  let target = ""
  let scheme = ""
  let named: string | undefined
  let host: string | undefined
  let cookies = 0
  let length: number | undefined
  let expects = false
  let bytes = 0
  let count = 0
  const headers: Array<string> = []
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    const value = fields[i + 1]!
    bytes += name.length + value.length
    switch (name) {
      case ":method":
        method = value
        continue
      case ":path":
        target = value
        continue
      case ":scheme":
        scheme = value
        continue
      case ":authority":
        named = value
        continue
      case "cookie":
        // A client may send each alone, to have it compressed. For who reads HTTP/1.1 they are one: RFC 9113, 8.2.3.
        count++
        if (cookies > 0) headers[cookies] += `; ${value}`
        else cookies = headers.push(name, value) - 1
        continue
      case "host":
        host = value
        break
      case "content-length":
        length = Number(value)
        break
      case "expect":
        expects = true
    }
    count++
    headers.push(name, value)
  }
  if (bytes > bounds.maxHeaderBytes || count > bounds.maxHeaders) return 431
  // RFC 9113, 8.5: this one has neither scheme nor path.
  if (method === "CONNECT" || !methods.has(method)) return 501
  if (target.length > bounds.maxTargetBytes) return 414
  if (scheme !== bounds.scheme || !isPath(target, method)) return 400
  // Who is in front of us may go by one, and who is behind by the other.
  if (named !== undefined && host !== undefined && named.toLowerCase() !== host.toLowerCase()) return 400
  if (!authority.test(named ?? host ?? "")) return 400
  if (length !== undefined && !(length <= bounds.maxBodyBytes)) return 413
  if (host === undefined) headers.unshift("host", named!)
  return { method, target, headers, length, expects }
}

const isPath = (target: string, method: string): boolean =>
  path.test(target) || (target === "*" && method === "OPTIONS")

/** As in HTTP/1.1: what is visible in ASCII, and no fragment. nghttp2 lets bytes through that are none. */
const path = /^\/[!"$-~]*$/
