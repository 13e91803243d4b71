/** What is told of an item: one object, one line. Pure. */
import { ParallelHttp } from "@fairlead/core"
import { Cause, Exit } from "effect"
import type { Flight } from "./Flight.ts"
import * as Item from "./Item.ts"

export type BodyMode = "auto" | "text" | "base64" | "none"

/** What an answer was read to. */
export interface Got {
  readonly url: string
  readonly status: number
  readonly headers: ReadonlyArray<string>
  readonly bytes: number
  /** Where it is kept, in the folder; `undefined` where it is in memory. */
  readonly file: string | undefined
  readonly body: Uint8Array | undefined
}

/** What went wrong: `ConnectionFailed`, and of what kind: `dns`. */
export interface Wrong {
  readonly kind: string
  readonly reason?: string
  readonly message: string
}

/** In the order in which its line has them. */
export interface Entry {
  readonly index: number
  readonly id?: string
  /** Without user and password; what is no request has none. */
  readonly url?: string
  readonly method?: string
  /** Where the last answer came from, if from elsewhere. */
  readonly finalUrl?: string
  readonly ok: boolean
  readonly status?: number
  readonly error?: Wrong
  readonly attempts: number
  readonly redirects: number
  readonly bytes: number
  /** From its beginning to its end; how long it waited for that. */
  readonly millis: number
  readonly waitedMillis: number
  readonly file?: string
  readonly key?: string
  readonly headers?: { readonly [name: string]: string }
  readonly body?: string
  readonly bodyBase64?: string
}

export interface Options {
  readonly body: BodyMode
  /** Whether the headers of the answer are told. */
  readonly headers: boolean
  /** Whether its key is told, so that another run knows it again. */
  readonly key: boolean
}

export const make = (
  item: Item.Item,
  flight: Flight,
  exit: Exit.Exit<Got, unknown>,
  now: number,
  options: Options
): Entry => {
  const { id, index, request } = item
  const asked = Item.shown(request.url)
  const got = Exit.isSuccess(exit) ? exit.value : undefined
  const failure = Exit.isSuccess(exit) ? undefined : Cause.squash(exit.cause)
  const rejected = failure instanceof ParallelHttp.StatusRejected ? failure : undefined
  const finalUrl = Item.shown(got?.url ?? flight.url ?? asked)
  const status = got?.status ?? flight.status
  const headers = got?.headers ?? rejected?.headers
  const body = got?.body ?? rejected?.body
  const began = flight.beganAt ?? now
  return {
    index,
    ...(id === undefined ? {} : { id }),
    url: asked,
    ...(request.method === "GET" ? {} : { method: request.method! }),
    ...(finalUrl === asked || finalUrl === withoutHash(asked) ? {} : { finalUrl }),
    ok: got !== undefined,
    ...(status === undefined ? {} : { status }),
    ...(failure === undefined ? {} : { error: errorOf(failure) }),
    attempts: flight.exchanges - flight.redirects,
    redirects: flight.redirects,
    bytes: got?.bytes ?? body?.length ?? 0,
    millis: round(now - began),
    waitedMillis: round(began - flight.takenAt),
    ...(got?.file === undefined ? {} : { file: got.file }),
    ...(options.key ? { key: item.key } : {}),
    ...(options.headers && headers !== undefined ? { headers: joined(headers) } : {}),
    ...(body === undefined ? {} : content(body, options.body))
  }
}

/** Of what is no request. */
export const ofMistake = ({ index, message, place }: Item.Mistake): Entry => ({
  index,
  ok: false,
  error: { kind: "InvalidInput", message: `${place}: ${message}` },
  attempts: 0,
  redirects: 0,
  bytes: 0,
  millis: 0,
  waitedMillis: 0
})

export const line = (entry: Entry): string => `${JSON.stringify(entry)}\n`

/** A body as it stands in a line: as text where it is UTF-8, so that it can be had back byte by byte. */
export const content = (body: Uint8Array, mode: BodyMode): Pick<Entry, "body" | "bodyBase64"> => {
  if (mode === "none") return {}
  if (mode === "text") return { body: new TextDecoder("utf-8", { ignoreBOM: true }).decode(body) }
  if (mode === "auto") {
    try {
      return { body: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body) }
    } catch {
      // It is no text.
    }
  }
  return { bodyBase64: Buffer.from(body.buffer, body.byteOffset, body.length).toString("base64") }
}

const errorOf = (failure: unknown): Wrong => {
  if (!(failure instanceof Error)) return { kind: "Unexpected", message: String(failure) }
  const { _tag = "Unexpected", kind, message, phase, reason } = failure as Partial<Tagged> & Error
  const more = kind ?? phase ?? reason?._tag
  return {
    kind: _tag,
    ...(more === undefined ? {} : { reason: more }),
    message
  }
}

/** What `ParallelHttp`'s errors have beside their message. */
interface Tagged {
  readonly _tag: string
  readonly kind: string
  readonly phase: string
  readonly reason: { readonly _tag: string }
}

const joined = (headers: ReadonlyArray<string>): { [name: string]: string } => {
  const all: { [name: string]: string } = {}
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase()
    const before = Object.hasOwn(all, name) ? `${all[name]}, ` : ""
    Object.defineProperty(all, name, {
      value: `${before}${headers[i + 1]}`,
      configurable: true,
      enumerable: true,
      writable: true
    })
  }
  return all
}

const withoutHash = (url: string) => url.replace(/#.*$/s, "")

const round = (millis: number) => Math.round(millis * 10) / 10
