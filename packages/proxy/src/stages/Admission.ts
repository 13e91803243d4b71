/**
 * Waits for the upstream's gate: by urgency, within the client's patience, within the quota.
 *
 *     hold ──▶ first byte: sent ──▶ head: answered, what it says of the upstream ──▶ released at its last byte
 *
 * The permit ends with the call's scope, or as soon as the answer is in memory, so that a slow reader does not hold it.
 * The rate grant counts from the first byte to the upstream; of a call that left before that, it goes back.
 *
 * Where the limit adapts, it learns at the head of each answer: how long a body takes to flow is a matter of its length
 * and its reader. A fixed limit learns nothing, and costs nothing more.
 */
import { Priority } from "@fairlead/core"
import type { Gate, RateWindow } from "@fairlead/core"
import { Ending } from "@fairlead/core/http"
import { Cause, Duration, Effect, Exit } from "effect"
import type { Call, Handler, Stage } from "../Call.ts"
import type { Cooling as CoolingConfig } from "../Config.ts"
import * as Cooling from "../Cooling.ts"
import * as Headers from "../Headers.ts"
import * as HeadersPrefer from "../HeadersPrefer.ts"
import * as HeadersPriority from "../HeadersPriority.ts"
import * as Problem from "../Problem.ts"
import { TimedBody } from "../TimedBody.ts"

export interface Options {
  /** The upstream's name. */
  readonly name: string
  /** Where in its target the caller's own path begins: behind the path of the upstream's url. */
  readonly pathFrom: number
  readonly cooling: CoolingConfig
  /** Whether the gate's limit adapts. */
  readonly adaptive: boolean
  /** Whether a window of the gate counts answers. */
  readonly answers: boolean
}

export const stage =
  (gate: Gate.Gate, options: Options): Stage =>
  (next) => {
    const { cooling, name, pathFrom } = options
    const limits = Effect.map(gate.statistics, ({ windows }) => Problem.rateLimit(name, windows))
    const cools = !Duration.isZero(cooling.longest)
    const send = options.adaptive ? learning(next) : options.answers ? answering(next) : plain(next)
    return (call) => {
      const { facts, request } = call
      readWishes(call)
      facts.limits = limits
      const hold = gate.hold({
        pending: true,
        bytes: heldBytes(call),
        maxWait: facts.wait === undefined ? undefined : facts.waitLeftMillis,
        key: cools ? Cooling.routeOf(request.method, call.target, pathFrom, cooling.segments) : undefined
      })
      return Effect.flatMap(facts.urgency === 3 ? hold : Priority.at(hold, facts.urgency), (permit) => {
        facts.queued(Duration.toMillis(permit.waited))
        return Effect.flatMapEager(send(call, permit), (reply) => {
          const hints = cools ? Cooling.hints(reply, cooling) : none
          for (const hint of hints) permit.tighten(hint)
          if (reply.body.bytes !== undefined) permit.release()
          if (cooling.segments > 0 || hints.length === 0) return Effect.succeed(reply)
          // Where the whole upstream is one route, what is left of its quota is left for the windows, too.
          const left = hints.filter(({ remaining }) => remaining !== undefined)
          return Effect.as(
            Effect.forEach(left, (hint) => gate.tighten(hint), { discard: true }),
            reply
          )
        })
      })
    }
  }

const none: ReadonlyArray<RateWindow.Hint> = []

type Send = (call: Call, permit: Gate.Permit) => ReturnType<Handler>

const plain =
  (next: Handler): Send =>
  (call, permit) =>
    next({ ...call, onSent: () => begun(call, permit) })

/** Tells the windows of the head. */
const answering =
  (next: Handler): Send =>
  (call, permit) =>
    Effect.map(next({ ...call, onSent: () => begun(call, permit) }), (reply) => {
      permit.answered()
      return reply
    })

/** Tells the limit what each end says of the upstream. */
const learning = (next: Handler): Send => {
  /** How long answers took lately, in milliseconds. */
  let usual = 0
  return (call, permit) => {
    const { facts, region } = call
    const body = new TimedBody(call.body)
    const admittedAt = performance.now()
    /** Of an earlier attempt. */
    const sentBefore = facts.sentAt
    const sent = Effect.suspend(() => next({ ...call, body, onSent: () => begun(call, permit) }))
    return Effect.onExitPrimitive(sent, (exit) => {
      // The client's own time for its upload is not the upstream's.
      const sentAt = facts.sentAt === sentBefore ? undefined : facts.sentAt
      const since = Math.max(sentAt ?? admittedAt, body.endedAt ?? -Infinity)
      if (Exit.isSuccess(exit)) {
        const millis = facts.headAt! - since
        const verdict = Ending.load(exit.value)
        if (verdict === "ok") usual += (millis - usual) / 16
        permit.answered(verdict, millis)
        return undefined
      }
      const failure = exit.cause.reasons.find(Cause.isFailReason)?.error
      const failed = failure?._tag === "UpstreamFailed" ? failure : undefined
      const kind = failed?.kind
      if (kind === "headersTimeout" || kind === "idleTimeout" || region.reasonInForce?._tag === "Deadline") {
        // While the client still sends, the silence is its own; and who gives the upstream less time than it ever needs
        // learns nothing about it. Limits by latency have a measure of their own for that, `aimd` has none.
        const late = body.endedAt !== undefined && performance.now() - since >= usual
        permit.release(late ? "late" : "ignore")
      } else permit.release(failed === undefined ? "ignore" : Ending.load(failed))
      return undefined
    })
  }
}

/** Reads what the client says of its urgency and its patience; once, for whichever stage asks first. */
export const readWishes = (call: Call) => {
  if (call.facts.wishesRead) return
  call.facts.wishesRead = true
  readUrgency(call)
  readWait(call)
}

const begun = (call: Call, permit: Gate.Permit) => {
  permit.sent()
  call.onSent()
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
const heldBytes = ({ body, request }: Call): number =>
  request.target.length + Headers.size(request.headers) + (body.bytes?.byteLength ?? 0)
