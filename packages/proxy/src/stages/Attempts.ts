/**
 * Sends a call again after what says that it may be sent again, and a second time beside a slow one: under one budget per
 * upstream, and within the call's deadline.
 *
 *     attempt ──▶ Breaker → Admission → Breaker → Credentials → Exchange ──▶ a head, or none
 *        ▲                                                          │ 429, not sent, refused by a proxy on the way: any call
 *        └──────────── backoff ◀────────────────────────────────────┘ 502, 503, 504, broke off, silent: what is idempotent
 *
 * It decides at the head. An answer that is not the call's is dropped before the backoff: its permit and its connection are
 * free meanwhile. Each attempt has a scope of its own, within the call's.
 *
 * What our own circuit and gate refuse is told at once: the queue is where to wait, and its bounds would be none if calls waited here
 * besides. Where the circuit is open at the end of an attempt, that end is the call's.
 *
 * A call can be sent again only with its content in memory: up to `replayBytes` of a known length are collected before the
 * first attempt. What is longer, of unknown length, or waits for a `100 Continue` goes once.
 */
import { Attempts, Refused, Transport } from "@fairlead/core"
import { Ending } from "@fairlead/core/http"
import { Clock, Context, Duration, Effect, Exit, Option, Schedule, Scope } from "effect"
import type { Fiber } from "effect"
import type { Call, Facts, Handler, Stage } from "../Call.ts"
import * as Idempotency from "../Idempotency.ts"

export interface Options {
  readonly idempotency: Idempotency.Idempotency
  /** Where in its target the caller's own path begins. */
  readonly pathFrom: number
  readonly replayBytes: number
  /** As much as is being collected at the same time; what is more goes once. */
  readonly collectBytes: number
  /** Whoever is told to come back later than this is told so: the client waits no longer for it here. */
  readonly longestMillis: number
  /** Whether calls are hedged. */
  readonly hedges: boolean
  /** Whether the upstream's circuit is open. */
  readonly isOpen: Effect.Effect<boolean>
}

/** What an attempt fails with: what may be tried again, and what may not. */
export type Failure = Tried | Refused.Refused | Transport.UpstreamFailed

/** The end of an attempt after which another may be made. */
export class Tried {
  readonly end: Answered | Transport.UpstreamFailed
  /** Whether, and after how many milliseconds at the least. */
  readonly again: boolean | number
  /** How long the call may wait. */
  readonly leftMillis: number

  constructor(end: Answered | Transport.UpstreamFailed, again: boolean | number, { waitLeftMillis }: Facts) {
    this.end = end
    this.again = again
    this.leftMillis = waitLeftMillis
  }
}

/** An answer, with what holds its permit and its connection. */
class Answered {
  readonly reply: Transport.Reply
  readonly scope: Scope.Closeable
  readonly facts: Facts

  constructor(reply: Transport.Reply, scope: Scope.Closeable, facts: Facts) {
    this.reply = reply
    this.scope = scope
    this.facts = facts
  }
}

/** What an upstream's attempts make of a failure. */
export const again = (failure: Failure): Attempts.Again => (failure instanceof Tried ? failure.again : false)

/** When, where the client waits for so long: its `Prefer: wait` is for all waits of its call together. */
export const backoff: Schedule.Schedule<unknown, Failure> = Attempts.fullJitter().pipe(
  Schedule.while(({ duration, input }: Schedule.Metadata<unknown, Failure>) => {
    if (!(input instanceof Tried)) return true
    return Number(input.again === true ? 0 : input.again) + Duration.toMillis(duration) <= input.leftMillis
  })
)

export const stage =
  (attempts: Attempts.Attempts<Failure>, options: Options): Stage =>
  (next) => {
    /** How much of contents may be in memory, since they are being collected. */
    let collecting = 0
    return (call) => {
      const { body, request } = call
      if (body.bytes !== undefined) return tries(attempts, options, next, call)
      const length = body.length ?? Infinity
      const kept =
        length <= options.replayBytes && collecting + length <= options.collectBytes && !request.expectsContinue
      if (!kept) return next(call)
      let counted = 0
      const content = Effect.suspend(() => {
        collecting += counted = length
        return collected(body)
      })
      const bounded = Effect.onExitPrimitive(content, () => void (collecting -= counted))
      return Effect.flatMap(bounded, (body) => tries(attempts, options, next, { ...call, body }))
    }
  }

const collected = (body: Transport.Body): Effect.Effect<Transport.Body, Transport.UpstreamFailed> => {
  const chunks: Array<Uint8Array> = []
  const sink: Transport.Sink = { write: (chunk) => chunks.push(chunk) > 0, onDrain: () => {} }
  return body.pipeTo(sink).pipe(
    Effect.map(() => Transport.bytes(Buffer.concat(chunks))),
    Effect.mapError((cause) => new Transport.UpstreamFailed({ kind: "requestBody", sent: false, cause }))
  )
}

const tries = (attempts: Attempts.Attempts<Failure>, options: Options, next: Handler, call: Call) =>
  Effect.withFiber((fiber): ReturnType<Handler> => {
    const { facts } = call
    const around = Context.getUnsafe(fiber.context as Context.Context<Scope.Scope>, Scope.Scope)
    const idempotent = Idempotency.holds(options.idempotency, call, options.pathFrom)
    const hedged = options.hedges && idempotent
    const answers = new Set<Answered>()
    const clock = fiber.getRef(Clock.Clock)
    /** Since when it waits to be sent again. */
    let idleSince: number | undefined
    const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    facts.attempts = 0
    const tried = (end: Answered | Transport.UpstreamFailed, when: true | number, own: Facts) => {
      idleSince = now()
      // An attempt would be refused then: the upstream's own word says more.
      return Effect.flatMap(options.isOpen, (isOpen) => Effect.fail<Failure>(new Tried(end, !isOpen && when, own)))
    }
    const attempt = Effect.withFiber(({ id }: Fiber.Fiber<unknown, unknown>) => {
      const scope = Scope.forkUnsafe(around)
      const number = ++facts.attempts
      if (idleSince !== undefined) facts.backoffMillis += now() - idleSince
      idleSince = undefined
      // Two at once would write over what the other has noted.
      const own = hedged ? facts.branch() : facts
      own.fiber = id
      const sent = { ...call, facts: own, quiet: number > 1, onSent: () => (facts.sentAt ??= own.sentAt) }
      const ended = Effect.matchEffect(Scope.provide(next(sent), scope), {
        onFailure: (failure) => {
          if (failure._tag === "Refused") facts.attempts--
          const may =
            failure._tag === "UpstreamFailed" && Ending.again(failure, idempotent, options.longestMillis) !== false
          return may ? tried(failure, true, own) : Effect.fail<Failure>(failure)
        },
        onSuccess: (reply) => {
          const answered = new Answered(reply, scope, own)
          answers.add(answered)
          const when = Ending.again(reply, idempotent, options.longestMillis)
          return when === false ? Effect.succeed(answered) : tried(answered, when, own)
        }
      })
      return Effect.onExitPrimitive(ended, (exit) => {
        // However it ends, cut too: what is known of it is known of the call. The attempt that wins joins once more, and last.
        if (own !== facts) facts.join(own)
        return holds(exit) ? undefined : Scope.close(scope, exit)
      })
    })
    const drop = (answered: Answered) => {
      answers.delete(answered)
      // Effect marks a scope as closed before it enters the finalizers: one who is struck between would lose a permit.
      return Effect.uninterruptible(Scope.close(answered.scope, Exit.void))
    }
    const dropped = (failure: Failure) =>
      failure instanceof Tried && failure.end instanceof Answered ? drop(failure.end) : Effect.void
    /** What the client is given; another that was there in the same moment is dropped. */
    const give = (given: Answered): Effect.Effect<Transport.Reply> => {
      facts.join(given.facts)
      answers.delete(given)
      return answers.size === 0 ? Effect.succeed(given.reply) : Effect.as(Effect.forEach(answers, drop), given.reply)
    }
    return Effect.matchEffect(attempts.run(attempt, { idempotent: hedged, dropped }), {
      onSuccess: give,
      onFailure: (failure) => {
        if (!(failure instanceof Tried)) return Effect.fail(failure)
        const { end } = failure
        if (!(end instanceof Answered)) return Effect.fail(end)
        // It was dropped when the call began to wait, and is the call's since nothing is waited for any more.
        return answers.has(end) ? give(end) : Effect.fail(shuttingDown(attempts.name))
      }
    })
  })

const shuttingDown = (gate: string) =>
  new Refused.Refused({ reason: new Refused.ShuttingDown(), gate, waited: Duration.zero, retryAfter: Option.none() })

/** Whether the attempt has come to an answer, which its scope goes on holding. */
const holds = (exit: Exit.Exit<Answered, Failure>): boolean =>
  Exit.isSuccess(exit) ||
  exit.cause.reasons.some(
    (reason) => reason._tag === "Fail" && reason.error instanceof Tried && reason.error.end instanceof Answered
  )
