/**
 * Waits for the upstream's gate: by urgency, within the client's patience, within the quota.
 *
 * The permit ends with the call's scope, or as soon as the answer is in memory, so that a slow reader does not hold it.
 * The rate grant counts from the first byte to the upstream; of a call that left before that, it goes back.
 */
import { Priority } from "@fairlead/core"
import type { Gate, Transport } from "@fairlead/core"
import { Duration, Effect } from "effect"
import type { Call, Stage } from "../Call.ts"
import * as Headers from "../Headers.ts"
import * as HeadersPrefer from "../HeadersPrefer.ts"
import * as HeadersPriority from "../HeadersPriority.ts"
import * as Problem from "../Problem.ts"

export const stage =
  (gate: Gate.Gate, upstream: string): Stage =>
  (next) => {
    const limits = Effect.map(gate.statistics, ({ windows }) => Problem.rateLimit(upstream, windows))
    return (call) => {
      const { facts, request } = call
      readUrgency(call)
      readWait(call)
      facts.limits = limits
      const hold = gate.hold({
        pending: true,
        bytes: heldBytes(request),
        maxWait: facts.wait === undefined ? undefined : facts.wait * 1000
      })
      return Effect.flatMap(facts.urgency === 3 ? hold : Priority.at(hold, facts.urgency), (permit) => {
        facts.queueMillis = Duration.toMillis(permit.waited)
        if (request.expectsContinue) request.continue()
        return Effect.map(next({ ...call, onSent: () => permit.sent() }), (reply) => {
          if (reply.body.bytes !== undefined) permit.release()
          return reply
        })
      })
    }
  }

const readUrgency = ({ facts, received }: Call) => {
  if (received.priority === undefined) return
  const urgency = HeadersPriority.urgency(received.priority)
  if (urgency === "bad") facts.note("ignored priority")
  else if (urgency !== undefined) facts.urgency = urgency
}

const readWait = ({ facts, received }: Call) => {
  if (received.prefer === undefined) return
  const wait = HeadersPrefer.wait(received.prefer)
  if (wait === "bad") facts.note("ignored prefer")
  else facts.wait = wait
}

/** What is in memory of a call that waits: its head, and its content where that is there already. Not its length. */
const heldBytes = ({ body, headers, target }: Transport.Request): number =>
  target.length + Headers.size(headers) + (body.bytes?.byteLength ?? 0)
