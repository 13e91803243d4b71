/**
 * Which calls may be sent twice, and come to the same: by their method (RFC 9110, 9.2.2), by a list of routes, or by a key that
 * the upstream heeds.
 */
import { Transport } from "@fairlead/core"
import type { Call } from "./Call.ts"

/** A method, and a path behind the upstream's own; `rest`: and all that begin so. */
export interface Route {
  readonly method: string
  readonly path: string
  readonly rest: boolean
}

export interface Idempotency {
  readonly routes: ReadonlyArray<Route>
  /** Whether the upstream does a call of one `Idempotency-Key` once. */
  readonly key: boolean
}

// TRACE is idempotent, too, and not forwarded.
const methods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])

/** An empty one tells no call from another, in quotes or without. */
const isKey = /[^\s",]/

/** Whether it holds of a call whose own path begins at `pathFrom` in its target. */
export const holds = ({ key, routes }: Idempotency, { headers, request, target }: Call, pathFrom: number): boolean => {
  const { method } = request
  if (methods.has(method)) return true
  if (key && isKey.test(Transport.combined(headers, "idempotency-key") ?? "")) return true
  if (routes.length === 0) return false
  const [path] = target.slice(pathFrom).split("?", 1) as [string]
  return routes.some((route) => {
    if (route.method !== method) return false
    return route.rest ? path.startsWith(route.path) : path === route.path
  })
}

/** `POST /v1/embeddings`, `POST /v1/search/*`. */
export const route = (text: string): Route | undefined => {
  const [, method, path, rest] = /^([A-Z]+) (\/[^\s?#*]*)(\*?)$/.exec(text.trim()) ?? []
  if (method === undefined || path === undefined || (rest === "*" && !path.endsWith("/"))) return undefined
  return { method, path, rest: rest === "*" }
}

export const format = ({ method, path, rest }: Route): string => `${method} ${path}${rest ? "*" : ""}`
