/**
 * The small languages inside a config's values: `30 seconds`, `64 MiB`, `80 per minute`, `127.0.0.1:8080`.
 *
 * Pure functions from text; `undefined` means it is not one. What was expected is said by `Config`, where the text stands
 * by `ConfigFile`.
 */
import { isIPv6 } from "node:net"
import { ByteSize, Duration, Option, Result } from "effect"
import type { Address, Rate } from "./Config.ts"

/** Milliseconds in a unit, by each of its names. */
const units = new Map(
  Object.entries({
    "ms milli millis millisecond milliseconds": 1,
    "s second seconds": 1_000,
    "m min minute minutes": 60_000,
    "h hour hours": 3_600_000,
    "d day days": 86_400_000
  }).flatMap(([names, millis]) => names.split(" ").map((name) => [name, millis] as const))
)

const maxMillis = 366 * 86_400_000

/** `30 seconds`, `1.5 hours`, `500 ms`; from nothing up to a year. */
export const duration = (text: string): Duration.Duration | undefined => {
  const [, amount, unit = ""] = /^(\d+(?:\.\d+)?) ?([a-z]+)$/.exec(text.trim()) ?? []
  const millis = Number(amount) * (units.get(unit) ?? Number.NaN)
  return millis <= maxMillis ? Duration.millis(millis) : undefined
}

/** The length of a rate's window: a duration, or a unit alone (`minute`); more than nothing. */
export const period = (text: string): Duration.Duration | undefined => {
  const value = duration(/^[a-z]+$/.test(text.trim()) ? `1 ${text.trim()}` : text)
  return value === undefined || Duration.isZero(value) ? undefined : value
}

/** `80 per minute`, `10 per 5 seconds`. */
export const rate = (text: string): Rate | undefined => {
  const [, amount, length = ""] = /^(\d+) +per +(.+)$/.exec(text.trim()) ?? []
  const limit = Number(amount)
  const per = period(length)
  return per !== undefined && Number.isSafeInteger(limit) && limit >= 1
    ? { limit, per, burst: limit, counts: "start" }
    : undefined
}

/** `64 MiB`, `500 kB`, in bytes. */
export const bytes = (text: string): number | undefined =>
  ByteSize.fromString(text.trim()).pipe(Option.flatMap(ByteSize.toNumber), Option.getOrUndefined)

/** `20%`, as a part: 0.2. From nothing to all. */
export const percent = (text: string): number | undefined => {
  const [, digits] = /^(\d{1,3}(?:\.\d{1,3})?) ?%$/.exec(text.trim()) ?? []
  const part = Number(digits) / 100
  return part <= 1 ? part : undefined
}

/** `p95`, or a time in milliseconds. */
export const hedge = (text: string): `p${number}` | Duration.Duration | undefined => {
  if (/^p[1-9]\d?(\.\d)?$/.test(text)) return text as `p${number}`
  const time = duration(text)
  return time === undefined || Duration.isZero(time) ? undefined : time
}

/** `64 MiB`. */
export const formatBytes = (bytes: number): string => ByteSize.format(ByteSize.bytes(bytes), { system: "binary" })

/** `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`; `:8080` is every interface, `8080` loopback alone. */
export const address = (text: string): Address | undefined => {
  const [, name, digits] = /^(?:(.*):)?(\d{1,5})$/.exec(text.trim()) ?? []
  const port = Number(digits)
  if (digits === undefined || port > 65_535) return undefined
  if (name === undefined) return { host: "127.0.0.1", port }
  if (name === "") return { host: "0.0.0.0", port }
  // An IPv6 address needs its brackets: without them, where it ends and the port begins is anyone's guess.
  const host = isIPv6(name) ? undefined : hostName(name)?.replace(/^\[(.+)\]$/, "$1")
  return host === undefined ? undefined : { host, port }
}

/** `[::1]:8080`: an address as it stands in a URL. */
export const formatAddress = ({ host, port }: Address): string => `${host.includes(":") ? `[${host}]` : host}:${port}`

const singular: Record<string, string> = { "1s": "second", "1m": "minute", "1h": "hour", "1d": "day" }

/** `80 per minute`, `10 per 5s, burst 2, by answers`. */
export const formatRate = ({ burst, counts, limit, per }: Rate): string => {
  const length = Duration.format(per)
  const more = `${burst === limit ? "" : `, burst ${burst}`}${counts === "answer" ? ", by answers" : ""}`
  return `${limit} per ${singular[length] ?? length}${more}`
}

/** Whether nobody but this machine can reach the address. */
export const isLoopback = ({ host }: Address): boolean => /^(localhost|127\.[\d.]+|::1)$/i.test(host)

/** A host name or IP address without port, as a `Host` header bears it: lower case, IPv6 in brackets. */
export const hostName = (text: string): string | undefined => {
  const name = text.trim().toLowerCase()
  const [, inner = name] = /^\[(.*:.*)\]$/.exec(name) ?? []
  if (isIPv6(inner)) return `[${inner}]`
  return /^[a-z\d]([\w.-]*\w)?$/.test(name) ? name : undefined
}

/** An origin as browsers send it: scheme, host, and the port unless it is the scheme's own. */
export const origin = (text: string): string | undefined => {
  if (!/^[a-z][a-z\d+.-]*:\/\/[^/?#@\s*]+$/i.test(text) || !URL.canParse(text)) return undefined
  const url = new URL(text)
  return url.origin === "null" ? text.toLowerCase() : url.origin
}

const notUpstream = (more: string) =>
  Result.fail(`the address of an API, such as \`https://api.example.com\` or \`http://127.0.0.1:9000/v1\`${more}`)

/** The address of an upstream; else what was expected. */
export const upstreamUrl = (text: string): Result.Result<URL, string> => {
  if (!/^https?:\/\//i.test(text)) return notUpstream(", beginning with http:// or https://")
  if (!URL.canParse(text)) return notUpstream("")
  const url = new URL(text)
  if (url.username !== "" || url.password !== "") {
    return notUpstream(", with no user or password in it: give them under `headers`, as `authorization`")
  }
  if (/[?#]/.test(text)) return notUpstream(", with no `?` or `#` in it: the caller's own query is passed on")
  // The path goes in front of every call's; one that a URL parser would rewrite could point somewhere else.
  if (/\\|%2e|%2f|%5c|\/\.\.?(\/|$)/i.test(text.slice(text.indexOf("//") + 2)))
    return notUpstream(", with a plain path")
  return Result.succeed(url)
}

/** Names of headers that belong to one hop, or that frame the message: never taken from a config. */
const own = new Set(
  "connection content-length expect host http2-settings keep-alive te trailer transfer-encoding upgrade via".split(" ")
)

/** What is wrong with a header's name, as the sentence of what was expected. */
export const headerNameMistake = (name: string): string | undefined =>
  !/^[\w!#$%&'*+.^`|~-]+$/.test(name)
    ? "the name of a header: letters, digits, `-` and `_`"
    : own.has(name.toLowerCase()) || /^proxy-/i.test(name)
      ? "a header of the request itself; this one belongs to the connection, and Fairlead sets it"
      : undefined

/** A header's value: no line breaks, no control characters, nothing beyond Latin-1, no space at either end. */
export const isHeaderValue = (value: string): boolean =>
  /^[\t\x20-\x7e\x80-\xff]*$/.test(value) && value === value.trim()

/** What is wrong with an upstream's name; as it begins with a letter or digit, it is neither `..` nor `__proto__`. */
export const upstreamNameMistake = (name: string): string | undefined =>
  /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)
    ? undefined
    : "a name that can be a path prefix: letters, digits, `-`, `_` and `.`, with a letter or digit first"
