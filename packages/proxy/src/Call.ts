/**
 * One call on its way through the stages.
 *
 *     AccessLog → Deadline → Callers → Route → Coalesce → Attempts → Breaker → Admission → Breaker → Credentials → Exchange
 *
 * A `Handler` answers a call with a `Reply` whose body has not begun to flow; a `Stage` wraps a handler in one concern. A
 * call that is wrong is answered on the spot (`refuse`); what fails on the way fails as such, and becomes a problem at the end (see `Proxy`).
 */
import type { Deadline, Priority, Refused, Transport } from "@fairlead/core"
import type { IoProfile, NodeHttp } from "@fairlead/platform-node"
import { Effect } from "effect"
import type { Scope } from "effect"
import type { Calls } from "./Calls.ts"
import type { Received } from "./Headers.ts"
import * as Problem from "./Problem.ts"

/** What the stages look at. Whoever changes something hands on a copy; only `facts` is common to all. */
export interface Call {
  /** As it came. */
  readonly request: NodeHttp.Request
  /** The fields of its head that govern it. */
  readonly received: Received
  /** Covers everything up to the answer's last byte. */
  readonly region: Deadline.Region
  /** What the upstream is asked for: path and query. */
  readonly target: string
  /** What the upstream is sent besides, without framing. */
  readonly headers: Transport.Headers
  /** What it sends with it. */
  readonly body: Transport.Body
  /** Told right before the first byte goes to the upstream. */
  readonly onSent: () => void
  /** How much of its body somebody before has drawn from the byte budget. */
  readonly drawn?: number
  /** Interim answers are not passed on: those of another attempt were. */
  readonly quiet?: boolean
  readonly facts: Facts
}

/**
 * What became known of a call, for the log and for whoever tells the client. Instants are milliseconds of
 * `performance.now()`.
 */
export class Facts implements NodeHttp.Observer {
  readonly id: string
  readonly request: NodeHttp.Request
  readonly received: Received
  readonly startedAt = performance.now()
  urgency: Priority.Urgency = 3
  upstream: string | undefined = undefined
  /** When the call must have its answer, by the client's word or the config's. */
  deadline = Infinity
  /** The same for an answer that is a stream of events. */
  streamDeadline = Infinity
  /** The wait that the client asked for, in seconds, where that was heeded. */
  wait: number | undefined = undefined
  /** In the queue, in all of its attempts. */
  queueMillis: number | undefined = undefined
  /** Between its attempts, in all. */
  backoffMillis = 0
  /** How often it was sent, or was about to be. */
  attempts = 1
  sentAt: number | undefined = undefined
  headAt: number | undefined = undefined
  reason: Problem.Name | undefined = undefined
  notes: Array<string> | undefined = undefined
  /** What the upstream's rate allows, once it was asked for. */
  limits: Effect.Effect<Transport.Headers> | undefined = undefined
  /** The run for many that the call waits for, where it does not go by itself. */
  run: Facts | undefined = undefined
  /** Of several attempts beside each other the one that began last. */
  attempt: Facts | undefined = undefined
  /** The fiber that comes to the gate; -1 before. */
  fiber = -1
  /** Whether the answer is a stream of events. */
  isStream = false
  /** Whether the client's words on urgency and patience have been read. */
  wishesRead = false
  /** Around the call, where it is a client's. */
  region: Deadline.Region | undefined = undefined
  /** The list of those under way that it stands in, and where: `Calls` writes it. */
  calls: Calls | undefined = undefined
  place = -1
  number = 0
  /** Where its time goes, where that is measured. */
  profiled: IoProfile.Running | undefined = undefined
  /** Who hears of the end, and ends what is `profiled`. */
  log: ((facts: Facts) => void) | undefined = undefined

  constructor(id: string, request: NodeHttp.Request, received: Received) {
    this.id = id
    this.request = request
    this.received = received
  }

  note(text: string): void {
    if (this.notes === undefined) this.notes = [text]
    else if (!this.notes.includes(text)) this.notes.push(text)
  }

  /** For how many milliseconds more it may wait by the client's word, of all that it waits. */
  get waitLeftMillis(): number {
    if (this.wait === undefined) return Infinity
    return Math.max(0, this.wait * 1000 - (this.queueMillis ?? 0) - this.backoffMillis)
  }

  /** It stood in the queue for so long, in one attempt. */
  queued(millis: number): void {
    this.queueMillis = (this.queueMillis ?? 0) + millis
  }

  /** The answer's; of a client that heard nothing, what the log says. */
  get status(): number {
    const { end, status } = this.request.progress
    return status ?? (end === "clientGone" ? 499 : 500)
  }

  /** Those of one attempt beside another: what becomes known is its own, until it joins. */
  branch(): Facts {
    return (this.attempt = Object.create(this) as Facts)
  }

  /** Takes up what became known of an attempt; of two beside each other the one that counts comes last. */
  join({ headAt, limits, notes, queueMillis = this.queueMillis, sentAt, urgency, wait }: Facts): void {
    // A hedge does not wait, and the call has.
    const waited = queueMillis === undefined ? undefined : Math.max(queueMillis, this.queueMillis ?? 0)
    Object.assign(this, { headAt, limits, notes, queueMillis: waited, sentAt, urgency, wait })
  }

  /** The answer that tells of a problem. */
  tell(problem: Problem.Problem): Transport.Reply {
    this.reason = problem.name
    return Problem.toReply(problem, this.id)
  }

  onDeadline(error: Deadline.DeadlineExceeded): Transport.Reply {
    return this.tell(Problem.of(error, this.sentAt !== undefined))
  }

  onEnd(): void {
    this.calls?.remove(this)
    // Cut before it came to the first stage, it is no line of the log.
    if (this.log === undefined) this.profiled?.end()
    else this.log(this)
  }
}

export type Handler = (
  call: Call
) => Effect.Effect<Transport.Reply, Refused.Refused | Transport.UpstreamFailed, Scope.Scope>

/** Wraps a handler in one concern. */
export type Stage = (next: Handler) => Handler

/** Stacks stages in the order a call meets them: the first is outermost. */
export const stack =
  (...stages: ReadonlyArray<Stage>): Stage =>
  (handler) =>
    stages.reduceRight((next, stage) => stage(next), handler)

/** Answers a call with a problem. */
export const refuse = ({ facts }: Call, problem: Problem.Problem): Effect.Effect<Transport.Reply> =>
  Effect.succeed(facts.tell(problem))
