/**
 * Which forward proxy an origin is reached through: one that is named, or what the environment says, read as curl reads it.
 * Pure.
 *
 * - `http_proxy`, `https_proxy`, `all_proxy` by the origin's scheme; the lower case one first. `HTTP_PROXY` is not read where
 *   `REQUEST_METHOD` is set: there a client can set it, by a header `Proxy` (CGI).
 * - `no_proxy`: names and their subdomains (`example.com`, `.example.com`, `*.example.com`), addresses, networks (`10.0.0.0/8`), each with a port or
 *   without, separated by commas or spaces; `*` is everything.
 */
import { BlockList, isIP } from "node:net"
import { unescape } from "node:querystring"

export interface Forward {
  readonly protocol: "http:" | "https:"
  /** Without the brackets of IPv6. */
  readonly hostname: string
  readonly host: string
  readonly port: string
  /** What `Proxy-Authorization` says, where the proxy's URL has credentials. */
  readonly authorization: string | undefined
}

export type Chooser = (origin: URL) => Forward | undefined

export const never: Chooser = () => undefined

export const always = (url: string | URL): Chooser => {
  const forward = parse(`${url}`)
  return () => forward
}

export const environment = (env: { readonly [name: string]: string | undefined }): Chooser => {
  const read = (name: string): string | undefined => {
    const value = env[name] || (name === "http_proxy" && env["REQUEST_METHOD"] ? undefined : env[name.toUpperCase()])
    return value === "" ? undefined : value
  }
  const all = read("all_proxy")
  const http = read("http_proxy") ?? all
  const https = read("https_proxy") ?? all
  const through = {
    "http:": http === undefined ? undefined : parse(http),
    "https:": https === undefined ? undefined : parse(https)
  }
  const direct = exceptions(read("no_proxy") ?? "")
  return (origin) => {
    const forward = through[origin.protocol as keyof typeof through]
    return forward === undefined || direct(origin) ? undefined : forward
  }
}

/** A proxy's URL may hold a password, so that no message repeats it. */
const parse = (text: string): Forward => {
  const url = URL.parse(text.includes("://") ? text : `http://${text}`)
  if (url === null) throw new Error("Expected the URL of a proxy, got none")
  const { protocol } = url
  if (protocol !== "http:" && protocol !== "https:") {
    throw new Error(`Expected a proxy of http: or https:, got ${protocol}`)
  }
  // Unlike `decodeURIComponent`, it takes a `%` that stands for itself.
  const user = `${unescape(url.username)}:${unescape(url.password)}`
  return {
    protocol,
    hostname: bare(url.hostname),
    host: url.host,
    port: portOf(url),
    authorization: user === ":" ? undefined : `Basic ${Buffer.from(user).toString("base64")}`
  }
}

export const portOf = ({ port, protocol }: URL): string => port || (protocol === "https:" ? "443" : "80")

/** A host name as a socket wants it. */
export const bare = (hostname: string): string => hostname.replace(/^\[(.*)\]$/, "$1")

const exceptions = (list: string): ((origin: URL) => boolean) => {
  const words = list.split(/[\s,]+/).filter((word) => word !== "")
  if (words.includes("*")) return () => true
  const matches = words.map(exception)
  return (origin) => {
    const host = bare(origin.hostname).replace(/\.$/, "")
    return matches.some((match) => match(host, portOf(origin)))
  }
}

type Match = (host: string, port: string) => boolean

const exception = (word: string): Match => {
  const [, address, length] = /^\[?([^\]/]+)\]?\/(\d+)$/.exec(word) ?? []
  if (address !== undefined && isIP(address) !== 0) return network(address, Number(length))
  const [, name = word, port] = (isIP(word) === 6 ? null : /^(.*?):(\d+)$/.exec(word)) ?? []
  const wanted = bare(name)
    .toLowerCase()
    .replace(/^\*?\.+|\.$/g, "")
  // As it is written in a URL: `::1` and `0:0:0:0:0:0:0:1` are one.
  const one = isIP(wanted) === 6 ? bare(new URL(`http://[${wanted}]`).hostname) : wanted
  const isName = isIP(one) === 0
  return (host, at) =>
    (port === undefined || port === at) && (host === one || (isName && isIP(host) === 0 && host.endsWith(`.${one}`)))
}

const network = (address: string, length: number): Match => {
  const family = isIP(address) === 4 ? "ipv4" : "ipv6"
  if (length > (family === "ipv4" ? 32 : 128)) return () => false
  const block = new BlockList()
  block.addSubnet(address, length, family)
  return (host) => isIP(host) !== 0 && block.check(host, isIP(host) === 4 ? "ipv4" : "ipv6")
}
