/** The last handler: sends the call to the upstream, and puts on what both sides are told of the hop. */
import type { Transport } from "@fairlead/core"
import { Effect } from "effect"
import type { Call, Handler } from "../Call.ts"
import * as Decimal from "../Decimal.ts"
import * as Headers from "../Headers.ts"
import * as Spent from "../Spent.ts"

export interface Options {
  /** Scheme, host and port. */
  readonly origin: string
  /** This proxy's name in `Via`. */
  readonly pseudonym: string
  readonly firstByteMillis: number
  readonly idleMillis: number
}

export const handler = (transport: Transport.Transport, options: Options): Handler => {
  const { firstByteMillis, idleMillis, origin } = options
  const via = `1.1 ${options.pseudonym}`
  return (call) => {
    const { facts, request } = call
    // Now it is certain that its content is wanted.
    if (request.expectsContinue) request.continue()
    const asked = { method: request.method, target: call.target, headers: onward(call, via), body: call.body }
    return Effect.map(
      transport.exchange(origin, asked, {
        onSent: () => {
          facts.sentAt = performance.now()
          call.onSent()
        },
        onInformation: (status, headers) => {
          if (call.quiet !== true) request.inform(status, Headers.answer(headers))
        },
        firstByteMillis,
        idleMillis
      }),
      (reply) => {
        facts.headAt = performance.now()
        const headers = Headers.answer(reply.headers)
        if (isEventStream(headers)) lift(call)
        headers.push("Via", via, "Server-Timing", serverTiming(call))
        if (facts.wait !== undefined) headers.push("Preference-Applied", `wait=${facts.wait}`)
        return { status: reply.status, headers, body: reply.body }
      }
    )
  }
}

/** The request's fields for the upstream: what is left of its time goes with it. */
const onward = ({ facts, headers }: Call, via: string): Transport.Headers => {
  const sent = [...headers, "Via", via]
  if (facts.deadline !== Infinity) {
    sent.push("X-Request-Timeout-Ms", String(Math.max(1, Math.floor(facts.deadline - performance.now()))))
  }
  return sent
}

/** From the head of an event stream on, only the client's own word for the whole of it counts. */
const lift = ({ facts, region }: Call) => {
  facts.isStream = true
  if (facts.deadline === facts.streamDeadline) return
  region.liftUnsafe()
  if (facts.streamDeadline !== Infinity) region.narrowUnsafe(facts.streamDeadline - performance.now())
}

export const isEventStream = (headers: Transport.Headers): boolean => {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length === 12 && headers[i]!.toLowerCase() === "content-type") {
      return headers[i + 1]!.slice(0, 17).toLowerCase() === "text/event-stream"
    }
  }
  return false
}

const serverTiming = ({ facts }: Call): string => {
  const timing = `queue;dur=${Decimal.ofMillis(facts.queueMillis ?? 0)}, ttfb;dur=${Decimal.ofMillis(facts.headAt! - facts.sentAt!)}`
  const tried = facts.attempts > 1 ? `${timing}, attempts;desc=${facts.attempts}` : timing
  return facts.profiled === undefined ? tried : tried + Spent.serverTiming(facts.profiled.times())
}
