/**
 * A transport whose answers a test writes, without a socket.
 */
import { Clock, Effect } from "effect"
import { Transport } from "@fairlead/core"

/** One request as it came. */
export interface Asked {
  readonly url: string
  readonly origin: string
  readonly method: string
  readonly target: string
  readonly headers: Transport.Headers
  readonly header: (name: string) => string | undefined
  readonly body: string | undefined
  /** How many came before it, to its host and in all. */
  readonly number: number
  /** When, in milliseconds. */
  readonly at: number
}

type Answered = Effect.Effect<Transport.Reply, Transport.UpstreamFailed>

export interface Scripted extends Transport.Transport {
  readonly asked: ReadonlyArray<Asked>
  /** How many exchanges are open now, and were at the most; by host, too. */
  readonly open: () => number
  readonly most: (host?: string) => number
}

/** Answers each request as `answer` says. */
export const scripted = (answer: (asked: Asked) => Answered): Scripted => {
  const asked: Array<Asked> = []
  const open = new Map<string, number>()
  const most = new Map<string, number>()
  const count = (host: string, by: number) => {
    open.set(host, (open.get(host) ?? 0) + by)
    most.set(host, Math.max(most.get(host) ?? 0, open.get(host)!))
  }
  return {
    asked,
    open: () => open.get("") ?? 0,
    most: (host = "") => most.get(host) ?? 0,
    exchange: (origin, request, options) =>
      Effect.flatMap(Clock.currentTimeMillis, (at) => {
        const host = origin.split("://")[1]!
        const { body, headers, method, target } = request
        const one: Asked = {
          url: origin + target,
          origin,
          method,
          target,
          headers,
          header: (name) => Transport.header(headers, name),
          body: body.bytes === undefined ? undefined : new TextDecoder().decode(body.bytes),
          number: asked.length,
          at
        }
        const opened = Effect.sync(() => {
          asked.push(one)
          count(host, 1)
          count("", 1)
          options?.onSent?.()
        })
        const closed = Effect.sync(() => {
          count(host, -1)
          count("", -1)
        })
        return Effect.andThen(
          Effect.acquireRelease(opened, () => closed),
          Effect.suspend(() => answer(one))
        )
      })
  }
}

export const reply = (
  status: number,
  headers: Transport.Headers = [],
  body: string | Transport.Body = ""
): Transport.Reply => ({ status, headers, body: typeof body === "string" ? Transport.text(body) : body })

/** Answers at once. */
export const answer = (...of: Parameters<typeof reply>): Answered => Effect.succeed(reply(...of))

export const failed = (kind: Transport.Kind, sent = true): Effect.Effect<never, Transport.UpstreamFailed> =>
  Effect.fail(new Transport.UpstreamFailed({ kind, sent, cause: new Error(`${kind} by the script`) }))

/** A body that is not in memory, and whether it was aborted: its texts, and then its end, a failure, or nothing more. */
export const flowing = (texts: ReadonlyArray<string>, end: "end" | "never" | Transport.Kind = "end") => {
  const seen = { aborted: false, moved: 0 }
  const flow = (sink: Transport.Sink) =>
    Effect.suspend(() => {
      for (const text of texts) {
        seen.moved++
        sink.write(new TextEncoder().encode(text))
      }
      if (end === "end") return Effect.void
      if (end === "never") return Effect.onInterrupt(Effect.never, () => Effect.sync(() => (seen.aborted = true)))
      return Effect.fail(new Transport.BodyFailed({ kind: end, cause: new Error(`${end} by the script`) }))
    })
  const body: Transport.Body = {
    length: undefined,
    bytes: undefined,
    pipeTo: flow,
    abort: () => void (seen.aborted = true)
  }
  return { body, seen }
}
