/**
 * Who may call a server that is for programs of this machine: a web page must not reach it, neither by `127.0.0.1` nor by a name of its
 * own that resolves there (DNS rebinding). Pure; the same for what adds secrets and for what tells how the process is.
 *
 * It does not tell one program on this machine from another.
 */
import { Transport } from "@fairlead/core"

/** What of a request is looked at. Lines of one name are joined by `, `, which no allowed value contains. */
export interface Caller {
  readonly host: string | undefined
  /** How many `Host` lines there were. */
  readonly hosts: number
  readonly origin: string | undefined
  /** `Sec-Fetch-Site`, which browsers send and pages cannot forge. */
  readonly fetchSite: string | undefined
}

/** Whom it lets in besides. */
export interface Allowed {
  /** Host names, lower case, without port. */
  readonly hosts: ReadonlySet<string>
  /** Origins as browsers send them: `https://app.example.com`. */
  readonly origins: ReadonlySet<string>
  /** What the URLs of our own pages begin with. */
  readonly scheme: "http" | "https"
}

/** What of a request's headers is looked at. */
export const of = (headers: Transport.Headers): Caller => ({
  host: Transport.combined(headers, "host"),
  hosts: headers.filter((name, i) => i % 2 === 0 && name.toLowerCase() === "host").length,
  origin: Transport.combined(headers, "origin"),
  fetchSite: Transport.combined(headers, "sec-fetch-site")
})

/** The exceptions: without any, loopback names and no web page. */
export const allow = ({ hosts = [], origins = [], tls }: Exceptions = {}): Allowed => ({
  scheme: tls === undefined ? "http" : "https",
  hosts: new Set(hosts),
  origins: new Set(origins.map((origin) => origin.toLowerCase()))
})

export interface Exceptions {
  /** Host names, lower case, without port. */
  readonly hosts?: ReadonlyArray<string> | undefined
  readonly origins?: ReadonlyArray<string> | undefined
  /** Given where the server speaks TLS. */
  readonly tls?: object | undefined
}

/** Why a caller is turned away: `badHost` is 400, `otherHost` 421, `crossSite` 403. */
export type Objection = "badHost" | "otherHost" | "crossSite"

/** `undefined`: let in. */
export const check = (caller: Caller, allowed: Allowed): Objection | undefined => {
  if (caller.host === undefined || caller.hosts !== 1) return "badHost"
  const name = hostName(caller.host)
  if (name === undefined) return "badHost"
  if (!isLoopback(name) && !allowed.hosts.has(name)) return "otherHost"
  const origin = originOf(caller, allowed)
  return origin === undefined || allowed.origins.has(origin.toLowerCase()) ? undefined : "crossSite"
}

/** Whose page calls: `undefined` where none does, and one that nobody allows where that is not said. */
const originOf = ({ fetchSite, host, origin }: Caller, { scheme }: Allowed): string | undefined => {
  if (origin !== undefined) return origin
  switch (fetchSite) {
    case undefined:
    // Typed by the user.
    case "none":
      return undefined
    // A GET of a page that an upstream sent: it stands on our origin, and would have the secrets of all the others.
    case "same-origin":
      return `${scheme}://${host}`
    default:
      return "null"
  }
}

const authority = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{0,5})?$/

const hostName = (host: string): string | undefined => authority.exec(host.toLowerCase())?.[1]

const loopback4 = /^127(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/

const isLoopback = (name: string) => name === "localhost" || name === "[::1]" || loopback4.test(name)
