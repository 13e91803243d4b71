/**
 * Header fields across a hop: what governs is read, what belongs to one connection is taken off, and only then is
 * anything of ours put on.
 *
 *     from the client ── read ──▶ Received { what governs it, onward: what may go on } ── stages add theirs ──▶ upstream
 *     from the upstream ── answer ──▶ what may go on, and our `Via` ──▶ client
 *
 * Framing and `Host` are in neither list: they follow from the body and from the upstream's address, so no client can set
 * them, nor remove them by nominating them in `Connection`. Order, case and repetition of the rest stay as they were.
 */
import type { Transport } from "@fairlead/core"

/** The fields of a request that govern what becomes of it. Lines of one name are joined by `, `. */
export interface Received {
  host: string | undefined
  /** How many `Host` lines there were: exactly one is right. */
  hosts: number
  origin: string | undefined
  fetchSite: string | undefined
  expect: string | undefined
  priority: string | undefined
  prefer: string | undefined
  requestTimeout: string | undefined
  stainlessTimeout: string | undefined
  grpcTimeout: string | undefined
  envoyTimeout: string | undefined
  via: string | undefined
  requestId: string | undefined
  /** What may go on to the upstream, as it was received. */
  onward: Array<string>
}

type Governing = Exclude<keyof Received, "hosts" | "onward">

/** Of one connection only, or framing: never goes on, in no direction. */
const hopByHop = [
  "connection",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization"
]

const drop = "drop"
const connection = "connection"
type Meaning = typeof drop | typeof connection | { readonly field: Governing; readonly onward: boolean }

/** As most clients write them, so that a known name costs one look-up and no lower case. */
const spellings = (name: string) => [
  name,
  name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()),
  name.toUpperCase()
]

/** What names mean. Most fields mean nothing: their first letter and length tell, without a look at the rest. */
class Table {
  private readonly meanings: ReadonlyMap<string, Meaning>
  private readonly stems: Uint8Array = new Uint8Array(32 * 32)

  constructor(entries: ReadonlyArray<readonly [name: string, Meaning]>) {
    this.meanings = new Map(
      entries.flatMap(([name, meaning]) => spellings(name).map((spelling) => [spelling, meaning] as const))
    )
    for (const [name] of entries) this.stems[stem(name)] = 1
  }

  meaningOf(name: string): Meaning | undefined {
    if (this.stems[stem(name)] === 0) return undefined
    const meaning = this.meanings.get(name)
    if (meaning !== undefined) return meaning
    const lower = name.toLowerCase()
    return lower === name ? undefined : this.meanings.get(lower)
  }
}

/** One number for the first letter, whatever its case, and the length (of which only the last five bits count). */
const stem = (name: string): number => ((name.charCodeAt(0) & 31) << 5) | (name.length & 31)

const ofRequests = new Table([
  ...hopByHop.map((name) => [name, drop] as const),
  ["connection", connection],
  ["content-length", drop],
  ["host", { field: "host", onward: false }],
  ["expect", { field: "expect", onward: false }],
  ["x-request-timeout-ms", { field: "requestTimeout", onward: false }],
  ["x-stainless-timeout", { field: "stainlessTimeout", onward: true }],
  ["grpc-timeout", { field: "grpcTimeout", onward: true }],
  ["x-envoy-expected-rq-timeout-ms", { field: "envoyTimeout", onward: true }],
  ["origin", { field: "origin", onward: true }],
  ["sec-fetch-site", { field: "fetchSite", onward: true }],
  ["priority", { field: "priority", onward: true }],
  ["prefer", { field: "prefer", onward: true }],
  ["via", { field: "via", onward: true }],
  ["x-request-id", { field: "requestId", onward: true }]
])

const ofAnswers = new Table([...hopByHop.map((name) => [name, drop] as const), ["connection", connection]])

/** Reads what governs a request and leaves off what may not go on, in one pass. */
export const read = (headers: Transport.Headers): Received => {
  const received: Received = {
    host: undefined,
    hosts: 0,
    origin: undefined,
    fetchSite: undefined,
    expect: undefined,
    priority: undefined,
    prefer: undefined,
    requestTimeout: undefined,
    stainlessTimeout: undefined,
    grpcTimeout: undefined,
    envoyTimeout: undefined,
    via: undefined,
    requestId: undefined,
    onward: []
  }
  const onward = received.onward
  let nominated: string | undefined
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    const value = headers[i + 1]!
    const meaning = ofRequests.meaningOf(name)
    if (meaning === undefined) {
      if (!isProxyField(name)) onward.push(name, value)
    } else if (meaning === connection) {
      nominated = join(nominated, value)
    } else if (meaning !== drop) {
      if (meaning.field === "host") received.hosts++
      received[meaning.field] = join(received[meaning.field], value)
      if (meaning.onward) onward.push(name, value)
    }
  }
  if (nominated !== undefined) received.onward = withoutNominated(onward, nominated)
  return received
}

/** An answer's fields as they go on to the client; `Proxy-Status` stays, for it tells the whole chain. */
export const answer = (headers: Transport.Headers): Array<string> => {
  const onward: Array<string> = []
  let nominated: string | undefined
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    const meaning = ofAnswers.meaningOf(name)
    if (meaning === undefined) onward.push(name, headers[i + 1]!)
    else if (meaning === connection) nominated = join(nominated, headers[i + 1]!)
  }
  return nominated === undefined ? onward : withoutNominated(onward, nominated)
}

/**
 * What leaves off the fields of these names, given in lower case. An underscore counts as a hyphen, since servers that
 * hand fields on as environment variables cannot tell `x_api_key` from `x-api-key`: a client could add a second value to
 * one that the config sets.
 */
export const without = (names: ReadonlyArray<string>): ((headers: Transport.Headers) => Array<string>) => {
  const left = new Set(names.map((name) => name.replaceAll("_", "-")))
  const lengths = new Set(names.map((name) => name.length))
  return (headers) => {
    const kept: Array<string> = []
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i]!
      // Nearly all fields are told apart by their length.
      if (lengths.has(name.length) && left.has(name.toLowerCase().replaceAll("_", "-"))) continue
      kept.push(name, headers[i + 1]!)
    }
    return kept
  }
}

/** About how many bytes a head takes while its call waits. */
export const size = (headers: Transport.Headers): number => {
  let bytes = 0
  for (let i = 0; i < headers.length; i++) bytes += headers[i]!.length + 2
  return bytes
}

const join = (before: string | undefined, value: string): string =>
  before === undefined ? value : `${before}, ${value}`

const isProxyField = (name: string): boolean =>
  (name.charCodeAt(0) | 32) === 112 && name.length > 6 && name.slice(0, 6).toLowerCase() === "proxy-"

const withoutNominated = (headers: Array<string>, nominated: string): Array<string> => {
  if (/^(?:keep-alive|close)$/i.test(nominated)) return headers
  const names = new Set(
    nominated
      .toLowerCase()
      .split(",")
      .map((name) => name.trim())
  )
  const kept: Array<string> = []
  for (let i = 0; i < headers.length; i += 2) {
    if (!names.has(headers[i]!.toLowerCase())) kept.push(headers[i]!, headers[i + 1]!)
  }
  return kept
}
