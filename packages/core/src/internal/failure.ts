/**
 * Why a call has no result.
 */
import { Data } from "effect"
import type * as Deadline from "../Deadline.ts"
import * as Refused from "../Refused.ts"
import type * as Transport from "../Transport.ts"
import * as utf8 from "./utf8.ts"

/** No whole answer, and no word from Fairlead's own doors: what went wrong on the way, see `Transport.Kind`. */
export class ConnectionFailed extends Data.TaggedError("ConnectionFailed")<{
  readonly url: string
  readonly kind: Exclude<
    Transport.Kind,
    "connectTimeout" | "headersTimeout" | "idleTimeout" | "totalTimeout" | "tooLarge"
  >
  /** Whether any byte of the request was written. */
  readonly sent: boolean
  readonly cause: unknown
}> {
  override get message(): string {
    return `${this.url}: ${this.kind}${this.cause instanceof Error ? `: ${this.cause.message}` : ""}`
  }
}

/** One of the transport's times has passed. */
export class Timeout extends Data.TaggedError("Timeout")<{
  readonly url: string
  readonly phase: "connect" | "firstByte" | "idle" | "total"
  readonly sent: boolean
}> {
  override get message(): string {
    return `${this.url}: ${this.phase} took too long`
  }
}

/** The answer is larger than `maxBytes`. */
export class BodyTooLarge extends Data.TaggedError("BodyTooLarge")<{
  readonly url: string
  readonly maxBytes: number
}> {
  override get message(): string {
    return `${this.url}: expected at most ${this.maxBytes} bytes`
  }
}

/** The answer's status is none that is accepted. */
export class StatusRejected extends Data.TaggedError("StatusRejected")<{
  readonly url: string
  readonly status: number
  readonly headers: Transport.Headers
  /** The answer's body, where it was short and came soon. */
  readonly body: Uint8Array | undefined
}> {
  override get message(): string {
    const said = this.body === undefined ? "" : excerpt(this.body)
    return `${this.url}: ${this.status}${said === "" ? "" : `: ${said}`}`
  }
}

/** It is answered with another address, and that is not followed. */
export class RedirectRejected extends Data.TaggedError("RedirectRejected")<{
  readonly url: string
  readonly status: number
  /** Where it leads, as it was said, without user and password. */
  readonly location: string
  /**
   * - `location`: that is no address · `scheme`: neither `http:` nor `https:` · `downgrade`: from `https:` to `http:`
   * - `loop`: it was there before · `tooMany`: more than are followed · `body`: the request's body cannot be sent again
   */
  readonly why: "location" | "scheme" | "downgrade" | "loop" | "tooMany" | "body"
}> {
  override get message(): string {
    return `${this.url}: ${this.status} to ${JSON.stringify(this.location)} is not followed: ${this.why}`
  }
}

/** The input is no request. */
export class InvalidRequest extends Data.TaggedError("InvalidRequest")<{
  readonly url: string
  readonly expected: string
  /** What is there instead. */
  readonly got: string
}> {
  override get message(): string {
    const { expected, got, url } = this
    return `Expected ${expected}, got ${JSON.stringify(got)}${got === url ? "" : ` for ${url}`}`
  }
}

/** The answer's body is no JSON. */
export class NotJson extends Data.TaggedError("NotJson")<{
  readonly url: string
  readonly cause: unknown
}> {
  override get message(): string {
    return `${this.url}: expected JSON${this.cause instanceof Error ? `: ${this.cause.message}` : ""}`
  }
}

/** Why an answer's body did not come. */
export type BodyFailure = ConnectionFailed | Timeout | BodyTooLarge

/** Why a call has no result, beside what its `read` fails with. */
export type Failure =
  | BodyFailure
  | StatusRejected
  | RedirectRejected
  | InvalidRequest
  | Refused.Refused
  | Deadline.DeadlineExceeded

/** Whether it is one of these, and not what some `read` fails with. */
export const is = (error: unknown): error is Failure =>
  error instanceof StatusRejected ||
  error instanceof ConnectionFailed ||
  error instanceof Timeout ||
  error instanceof Refused.Refused ||
  error instanceof BodyTooLarge ||
  error instanceof RedirectRejected

/** What the transport says, as a call's failure. */
export const of = (
  url: string,
  failed: Transport.UpstreamFailed | Transport.BodyFailed,
  maxBytes: number
): BodyFailure => {
  const { cause, kind } = failed
  const sent = failed._tag === "BodyFailed" || failed.sent
  switch (kind) {
    case "connectTimeout":
      return new Timeout({ url, phase: "connect", sent })
    case "headersTimeout":
      return new Timeout({ url, phase: "firstByte", sent })
    case "idleTimeout":
      return new Timeout({ url, phase: "idle", sent })
    case "totalTimeout":
      return new Timeout({ url, phase: "total", sent })
    case "tooLarge":
      return new BodyTooLarge({ url, maxBytes })
    default:
      return new ConnectionFailed({ url, kind, sent, cause })
  }
}

/** How much of a body stands in a message. */
const mostShown = 200

const excerpt = (body: Uint8Array): string => {
  const text = utf8.decode(body.subarray(0, 4 * mostShown))
  // What is no text says nothing to anybody.
  // oxlint-disable-next-line no-control-regex
  if (/[\0-\x08\x0e-\x1f\ufffd]/.test(text.slice(0, mostShown))) return ""
  const line = text.replaceAll(/\s+/g, " ").trim()
  return line.length > mostShown ? `${line.slice(0, mostShown)}…` : line
}
