/**
 * What the proxy is told: one file, decoded whole before anything starts.
 *
 * Here are the decoded values only; `ConfigFile` reads YAML into them, and says where a mistake stands.
 */
import { Duration } from "effect"
import type { Redacted } from "effect"

/** Where to listen. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** At most `limit` calls start in any window of length `per`; `burst` of them at once, the rest paced. */
export interface Rate {
  readonly limit: number
  readonly per: Duration.Duration
  readonly burst: number
}

/** How much may wait for its turn, and for how long. */
export interface Queue {
  readonly items: number
  /** Bytes held by the waiting calls (not their `Content-Length`). */
  readonly bytes: number
  readonly wait: Duration.Duration
  readonly overflow: "reject"
}

/** How long a call may take: as a whole (from arrival on), until the answer's head, between two pieces of its body. */
export interface Timeout {
  readonly total: Duration.Duration | undefined
  readonly firstByte: Duration.Duration
  readonly idle: Duration.Duration
}

/** One API behind the proxy, reached by the path prefix `/<name>/`. */
export interface Upstream {
  readonly name: string
  /** Scheme, host, port and base path; no credentials, query or fragment. */
  readonly url: URL
  /** How many calls may be in flight. */
  readonly concurrency: number
  readonly rate: ReadonlyArray<Rate>
  readonly queue: Queue
  readonly timeout: Timeout
  /** Set on every request, in place of what the client sent under the same name. */
  readonly headers: ReadonlyArray<readonly [name: string, value: Redacted.Redacted<string>]>
}

export interface Config {
  readonly listen: Address
  readonly admin: Address | undefined
  /** Names other than loopback that a `Host` header may bear: lower case, without port. */
  readonly hosts: ReadonlyArray<string>
  /** Origins whose pages may call: as browsers send them, `https://app.example.com`. */
  readonly origins: ReadonlyArray<string>
  readonly upstreams: ReadonlyArray<Upstream>
}

/** What holds where the file says nothing. */
export const defaults = {
  listen: { host: "127.0.0.1", port: 8080 },
  concurrency: 100,
  queue: { items: 1000, bytes: 64 * 1024 * 1024, wait: Duration.seconds(30), overflow: "reject" },
  timeout: { total: undefined, firstByte: Duration.seconds(60), idle: Duration.seconds(60) }
} as const satisfies { listen: Address; concurrency: number; queue: Queue; timeout: Timeout }
