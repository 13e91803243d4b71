/**
 * Identical calls that come at the same time share one run of the stages behind.
 *
 *     GET /x ─┐
 *     GET /x ─┼──▶ a run of nobody's: Breaker → Admission → … ──▶ its answer in memory ──▶ to each, with a head of its own
 *     GET /x ─┘
 *
 * The run has nothing of the first caller's: a call of its own, with no client to inform. It is as urgent as the most urgent
 * who waits for it, and has until the latest of their deadlines; the last to leave cuts it, and its connection.
 *
 * What may be shared, see `Sharing`. Another answer goes to one of them, if it is short. An answer that is longer than `maxBytes`, or
 * a stream of events, is cut as soon as that is known. Then each calls by itself, and so do those of its route for a minute.
 */
import { Coalesce, Deadline, Priority, Refused, Transport } from "@fairlead/core"
import { Cause, Clock, Data, Deferred, Duration, Effect, Exit, Option } from "effect"
import type { Scope } from "effect"
import { Facts } from "../Call.ts"
import type { Call, Handler, Stage } from "../Call.ts"
import * as Cooling from "../Cooling.ts"
import * as Decimal from "../Decimal.ts"
import * as Headers from "../Headers.ts"
import * as Sharing from "../Sharing.ts"
import { readWishes } from "./Admission.ts"
import { isEventStream } from "./Exchange.ts"

export interface Options {
  /** The upstream's name. */
  readonly name: string
  /** How much of an answer is held in memory. */
  readonly maxBytes: number
  /** Fields that do not tell calls apart, and are not sent. */
  readonly ignore: ReadonlyArray<string>
}

/** For how long the calls of a route that cannot be shared go each by itself, and how many routes are known. */
const aloneMillis = 60_000
const maxRoutes = 1000

/**
 * An answer that is not for all goes to one who waits, where it is in memory. One of unknown length is taken in up to this, and for
 * no longer: whoever waits for a stream that goes on would not have its first byte.
 */
const oneBytes = 64 * 1024
const oneMillis = 1000

/** The server takes as many connections at most: they are what bounds it. */
const most = 10_000

export const make = (options: Options): Effect.Effect<Stage, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { ignore, maxBytes, name } = options
    const clock = yield* Clock.Clock
    const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
    const read = Sharing.of(ignore)
    const alone = new Routes()
    /** The runs that go on, by their keys. */
    const running = new Map<string, Facts>()
    const runs = yield* Coalesce.make(name, {
      run: (asked: Asked) => run(asked, maxBytes, running),
      key: ({ shared }) => shared.key,
      maxRuns: most,
      maxCallers: most
    })
    return (next) => (call) => {
      const shared = read(call)
      if (shared === undefined) return next(call)
      const route = Cooling.routeOf(call.request.method, call.target, 0, Infinity)
      if (alone.has(route, now())) return next(call)
      readWishes(call)
      const asked = new Asked(call, shared, next, running.get(shared.key))
      return asked.wait(runs).pipe(
        Effect.catchTag("Unshared", () => {
          alone.add(route, now() + aloneMillis)
          call.facts.run = undefined
          return next(call)
        })
      )
    }
  })

/** There is an answer, and it is not for several. */
class Unshared extends Data.TaggedError("Unshared")<{}> {}

/** An answer in memory, which has been given to nobody yet. */
interface Answer extends Transport.Reply {
  readonly mayShare: boolean
  taken: boolean
}

type Runs = Coalesce.Coalesce<Asked, Answer, Refused.Refused | Transport.UpstreamFailed | Unshared>

/** One who asks, and waits for a run. */
class Asked {
  readonly call: Call
  readonly shared: Sharing.Shared
  readonly next: Handler
  /** Whether he found a run that went on. */
  joined: boolean

  constructor(call: Call, shared: Sharing.Shared, next: Handler, found: Facts | undefined) {
    this.call = call
    this.shared = shared
    this.next = next
    this.joined = found !== undefined
    call.facts.run = found
  }

  wait(runs: Runs) {
    const { facts } = this.call
    const taken = Effect.flatMap(runs.call(this), (answer) => this.take(answer))
    const answer = Effect.onExitPrimitive(taken, (exit) => this.settle(exit))
    const waits = facts.wait === undefined ? answer : Effect.raceFirst(answer, this.patience(facts.wait))
    return facts.urgency === 3 ? waits : Priority.at(waits, facts.urgency)
  }

  /** Ends when he has waited for his turn for as long as he will. */
  private patience(seconds: number): Effect.Effect<never, Refused.Refused> {
    const maxWait = Duration.seconds(seconds)
    const refused = new Refused.Refused({
      reason: new Refused.WaitExceeded({ maxWait }),
      gate: this.call.facts.upstream ?? "",
      waited: maxWait,
      retryAfter: Option.none()
    })
    // Whose turn has come waits for the answer.
    return Effect.suspend(() =>
      this.call.facts.run?.queueMillis === undefined ? Effect.fail(refused) : Effect.never
    ).pipe(Effect.delay(maxWait))
  }

  /** What became known of the run is known of the call. */
  private settle(exit: Exit.Exit<unknown, unknown>): undefined {
    const { facts } = this.call
    const { run } = facts
    if (run === undefined || isUnshared(exit)) return undefined
    facts.limits ??= run.limits
    facts.reason ??= run.reason
    facts.queueMillis = this.joined ? 0 : run.queueMillis
    facts.sentAt = run.sentAt
    facts.headAt = run.headAt
    if (this.joined) facts.note("coalesced")
    else facts.attempts = run.attempts
    return undefined
  }

  /** The answer for this one. */
  private take(answer: Answer): Effect.Effect<Transport.Reply, Unshared> {
    if (!answer.mayShare && answer.taken) return Effect.fail(new Unshared())
    answer.taken = true
    const { facts } = this.call
    const headers = this.joined ? joined(answer.headers, facts) : [...answer.headers]
    if (facts.wait !== undefined) headers.push("Preference-Applied", `wait=${facts.wait}`)
    return Effect.succeed({ status: answer.status, headers, body: answer.body })
  }
}

const isUnshared = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) &&
  exit.cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error instanceof Unshared)

/** The head for one who came when the run went on. */
const joined = (headers: Transport.Headers, { run, startedAt }: Facts): Array<string> => {
  const own = [...headers]
  // The last is that of this hop.
  for (let i = own.length - 2; i >= 0; i -= 2) {
    if (own[i] !== "Server-Timing") continue
    const ttfb = Math.max(0, (run?.headAt ?? 0) - Math.max(run?.sentAt ?? 0, startedAt))
    own[i + 1] = `coalesced, queue;dur=0, ttfb;dur=${Decimal.ofMillis(ttfb)}`
    break
  }
  own.push("Cache-Status", "fairlead; fwd=miss; collapsed")
  return own
}

/** What is done once for all. */
const run = (
  asked: Asked,
  maxBytes: number,
  running: Map<string, Facts>
): Effect.Effect<Answer, Refused.Refused | Transport.UpstreamFailed | Unshared> => {
  const { key } = asked.shared
  const call = ofNobody(asked)
  const { facts } = call
  // A run that is being cut may be there still: whoever comes then begins another.
  asked.joined = false
  asked.call.facts.run = facts
  running.set(key, facts)
  const answered = Deadline.region((region) =>
    Effect.withFiber((fiber) => {
      facts.fiber = fiber.id
      return Effect.scoped(Effect.flatMap(asked.next({ ...call, region }), (reply) => collect(reply, maxBytes)))
    })
  )
  return Effect.onExitPrimitive(
    // It has no deadline but those around it, and ends with them.
    Effect.catchTag(answered, "DeadlineExceeded", Effect.die),
    () => {
      if (running.get(key) === facts) running.delete(key)
      return undefined
    }
  )
}

/** The call of a run. Its region is yet to be. */
const ofNobody = ({ call, shared: { headers } }: Asked): Omit<Call, "region"> => {
  const { method, target } = call.request
  const body = Transport.empty
  const request = {
    method,
    target,
    headers,
    body,
    remoteAddress: undefined,
    scheme: "http",
    expectsContinue: false,
    continue: unheard,
    inform: unheard,
    progress: { status: undefined, bytes: 0, received: 0, end: "open" },
    observer: undefined
  } as const
  const received = Headers.read(headers)
  const facts = new Facts("", request, received)
  facts.upstream = call.facts.upstream
  return { request, received, target: call.target, headers, body, onSent: unheard, facts }
}

const unheard = () => {}

/** Takes an answer in, as far as it may be shared. */
const collect = (
  reply: Transport.Reply,
  maxBytes: number
): Effect.Effect<Answer, Transport.UpstreamFailed | Unshared> => {
  const { body, headers, status } = reply
  const answer = (body: Transport.Body, mayShare = true): Answer => ({ status, headers, body, mayShare, taken: false })
  const mayShare = Sharing.mayShare(reply) && (body.length ?? 0) <= maxBytes && !isEventStream(headers)
  // It is whole: one may have it in any case.
  if (body.bytes !== undefined) return Effect.succeed(answer(body, mayShare))
  // And one of unknown length, if it is short: a call that costs quota is not to be made twice for him.
  const forOne = !mayShare && body.length === undefined && !isEventStream(headers)
  if (!mayShare && !forOne) {
    body.abort()
    return Effect.fail(new Unshared())
  }
  const bound = forOne ? oneBytes : maxBytes
  return Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    const tooMuch = Deferred.makeUnsafe<never, Unshared>()
    let bytes = 0
    const write = (chunk: Uint8Array): boolean => {
      bytes += chunk.length
      if (bytes <= bound) return chunks.push(chunk) > 0
      // Not on this stack, which is that of whoever sends.
      queueMicrotask(() => Deferred.doneUnsafe(tooMuch, Effect.fail(new Unshared())))
      return false
    }
    const flown = Effect.mapError(
      body.pipeTo({ write, onDrain: unheard }),
      ({ cause, kind }) => new Transport.UpstreamFailed({ kind, sent: true, cause })
    )
    const collected = Effect.raceFirst(flown, Deferred.await(tooMuch))
    const soon = forOne ? Effect.raceFirst(collected, Effect.delay(Effect.fail(new Unshared()), oneMillis)) : collected
    return Effect.map(soon, () => answer(Transport.bytes(Buffer.concat(chunks, bytes)), mayShare))
  })
}

/** Routes whose calls go each by itself, and until when; the one that was added first is forgotten first. */
class Routes {
  private readonly until = new Map<string, number>()

  has(route: string, now: number): boolean {
    if (this.until.size === 0) return false
    const until = this.until.get(route)
    if (until === undefined) return false
    if (now < until) return true
    this.until.delete(route)
    return false
  }

  add(route: string, until: number): void {
    this.until.delete(route)
    if (this.until.size >= maxRoutes) this.until.delete(this.until.keys().next().value!)
    this.until.set(route, until)
  }
}
