/**
 * One thing to fetch, as an argument or a line of a file says it: a URL, or JSON with what else a request has. Pure.
 *
 *     https://example.com/a
 *     {"url":"https://example.com/b","method":"POST","headers":{"x-a":"1"},"body":{"n":1},"id":"b","urgency":1}
 */
import type { ParallelHttp, Priority, Transport } from "@fairlead/core"
import { Result } from "effect"
import { createHash } from "node:crypto"
import { isHeaderValue } from "../ConfigValue.ts"
import { nearest, printable } from "../ConfigWords.ts"

/** Where in the input it stands. */
export interface Place {
  /** `urls.txt:3`, `standard input:3`, `argument 1`. */
  readonly place: string
  /** From 0, over all of the input. */
  readonly index: number
  /** How many bytes of the input it and what was skipped before it take. */
  readonly weight: number
}

export interface Item extends Place {
  readonly _tag: "Item"
  readonly id: string | undefined
  /** Says whether two items are the same, over runs: by `id`, else by method, URL and body. */
  readonly key: string
  readonly request: ParallelHttp.Request
}

/** What is no request; `message` says what was expected and found. */
export interface Mistake extends Place {
  readonly _tag: "Mistake"
  readonly message: string
}

/** What all items have that say nothing else. */
export interface Defaults {
  readonly method: string | undefined
  readonly headers: Transport.Headers
}

/** Reads one; what comes of it is known by its `_tag`. */
export const parse = (text: string, at: Place, defaults: Defaults): Item | Mistake => {
  const read = text.startsWith("{") ? fromJson(text) : Result.map(url(text), (url): Said => ({ url }))
  if (Result.isFailure(read)) return { _tag: "Mistake", ...at, message: read.failure }
  const { body, headers = {}, id, url: target, urgency, method: own } = read.success
  const method = own ?? defaults.method ?? (body === undefined ? "GET" : "POST")
  const isJson = body !== undefined && typeof body !== "string"
  const content = isJson ? JSON.stringify(body) : body
  const names = new Set(Object.keys(headers).map((name) => name.toLowerCase()))
  const others = pairs(defaults.headers).filter(([name]) => !names.has(name.toLowerCase()))
  const all = [...others, ...Object.entries(headers)]
  if (isJson && !all.some(([name]) => name.toLowerCase() === "content-type")) {
    all.push(["content-type", "application/json"])
  }
  const identity = id === undefined ? ["request", method, target, content ?? ""] : ["id", id]
  return {
    _tag: "Item",
    ...at,
    id,
    key: createHash("sha256").update(identity.join("\n")).digest("hex").slice(0, 20),
    request: { url: target, method, headers: all.flat(), body: content, urgency }
  }
}

/** A header as it stands on the command line; else what was expected. */
export const header = (text: string): Result.Result<readonly [name: string, value: string], string> => {
  const [, name = "", value = ""] = /^([^:]*):(.*)$/s.exec(text) ?? []
  return isHeaderName(name) && isHeaderValue(value.trim())
    ? Result.succeed([name, value.trim()])
    : Result.fail(`a header like "Accept: text/html"`)
}

/** A method, in upper case. */
export const isMethod = (text: string): boolean => /^[A-Z][A-Z-]{0,30}$/.test(text)

/** Without user and password, for people and files to see. */
export const shown = (url: string): string => {
  if (!/^https?:/i.test(url) || !URL.canParse(url))
    return printable(url.replace(/^([a-z][a-z\d+.-]*:\/\/)?[^/?#]*@/i, "$1"))
  const parsed = new URL(url)
  parsed.username = ""
  parsed.password = ""
  return parsed.href
}

interface Said {
  readonly url: string
  readonly method?: string
  readonly headers?: { readonly [name: string]: string }
  readonly body?: unknown
  readonly id?: string
  readonly urgency?: Priority.Urgency
}

const url = (text: string): Result.Result<string, string> => {
  if (/^https?:\/\//i.test(text) && URL.canParse(text)) return Result.succeed(text)
  const found = `found ${JSON.stringify(shown(text))}`
  const hasScheme = /^[a-z][a-z\d+.-]*:\/\//i.test(text) || /^(mailto|data|javascript|file):/i.test(text)
  return Result.fail(
    !hasScheme && /^\S+$/.test(text) && URL.canParse(`https://${text}`)
      ? `expected a URL with its scheme, such as ${JSON.stringify(shown(`https://${text}`))}, ${found}`
      : `expected a URL that begins with http:// or https://, ${found}`
  )
}

const keys = ["url", "method", "headers", "body", "id", "urgency"]

const fromJson = (text: string): Result.Result<Said, string> => {
  let said: { [key: string]: unknown }
  try {
    said = JSON.parse(text) as typeof said
  } catch {
    return Result.fail(`expected a URL, or JSON on one line, such as {"url":"https://example.com"}; this is not JSON`)
  }
  const unknown = Object.keys(said).find((key) => !keys.includes(key))
  if (unknown !== undefined) {
    const near = nearest(unknown, keys)
    return Result.fail(
      near === undefined
        ? `expected one of ${keys.join(", ")}, found ${JSON.stringify(printable(unknown))}`
        : `expected ${near}, found ${JSON.stringify(printable(unknown))}`
    )
  }
  const { headers = {}, id, method, urgency } = said
  if (typeof said.url !== "string") return wrong("url", "a URL", said.url)
  const target = url(said.url)
  if (Result.isFailure(target)) return Result.fail(`url: ${target.failure}`)
  if (method !== undefined && !(typeof method === "string" && isMethod(method))) {
    return wrong("method", "a method in capitals, such as POST", method)
  }
  if (typeof headers !== "object" || headers === null || Array.isArray(headers)) {
    return wrong("headers", `an object, such as {"accept":"text/html"}`, headers)
  }
  for (const [name, value] of Object.entries(headers)) {
    // A name or a value may be a secret.
    if (!isHeaderName(name)) return Result.fail("headers: expected names of headers, found something else")
    if (typeof value !== "string" || !isHeaderValue(value)) {
      return Result.fail(`headers.${name}: expected text on one line, in Latin-1`)
    }
  }
  if (id !== undefined && typeof id !== "string" && typeof id !== "number") return wrong("id", "text or a number", id)
  if (urgency !== undefined && !(Number.isInteger(urgency) && Number(urgency) >= 0 && Number(urgency) <= 7)) {
    return wrong("urgency", "a whole number from 0 (most urgent) to 7", urgency)
  }
  return Result.succeed({
    ...(said as { readonly body?: unknown; readonly method?: string; readonly urgency?: Priority.Urgency }),
    url: target.success,
    headers: headers as { readonly [name: string]: string },
    ...(id === undefined ? {} : { id: String(id) })
  } as Said)
}

const wrong = (key: string, expected: string, found: unknown) =>
  Result.fail(`${key}: expected ${expected}, found ${printable(JSON.stringify(found) ?? "nothing")}`)

const isHeaderName = (name: string) => /^[\w!#$%&'*+.^`|~-]+$/.test(name)

const pairs = (headers: Transport.Headers): Array<[string, string]> =>
  Array.from({ length: headers.length / 2 }, (_, i) => [headers[2 * i]!, headers[2 * i + 1]!])
