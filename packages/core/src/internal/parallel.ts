/**
 * The engine of `ParallelHttp`: calls, their hops, and the attempts of each hop.
 *
 *     call ──► hop ──► attempts of its host ──► circuit's door ──► host's gate ──► gate ──► circuit ──► exchange ──► read
 *       ▲       ▲        └──────── again, from the door on ◄──────────────────────────────────────────────┤
 *       │       └───────────────────────────────── redirected ◄───────────────────────────────────────────┘
 *       └── of identical ones, one for all
 *
 * An attempt holds nothing once it has ended: its permits and its connection are free in backoff, and before the next hop.
 */
import { Cause, Duration, Effect, Exit, Option, Schedule } from "effect"
import type { Clock, Scope, Stream } from "effect"
import type * as Attempts from "../Attempts.ts"
import * as Coalesce from "../Coalesce.ts"
import * as Deadline from "../Deadline.ts"
import type * as Gate from "../Gate.ts"
import type * as GateMap from "../GateMap.ts"
import type * as CircuitBreaker from "../http/CircuitBreaker.ts"
import * as RateLimitHeaders from "../http/RateLimitHeaders.ts"
import * as Join from "../Join.ts"
import * as Nursery from "../Nursery.ts"
import type { Answer, Input, ManyOptions, Read, Statistics, StreamOptions, Trace } from "../ParallelHttp.ts"
import * as Priority from "../Priority.ts"
import type * as RateWindow from "../RateWindow.ts"
import * as Refused from "../Refused.ts"
import * as Transport from "../Transport.ts"
import * as again from "./again.ts"
import { Received } from "./answer.ts"
import type { Counter } from "./answer.ts"
import * as courtesy from "./courtesy.ts"
import * as failure from "./failure.ts"
import { StatusRejected } from "./failure.ts"
import type { Failure } from "./failure.ts"
import { Histogram } from "./histogram.ts"
import * as hops from "./hop.ts"
import type { Hop } from "./hop.ts"
import * as redirect from "./redirect.ts"
import { Step } from "./step.ts"
import * as timer from "./timer.ts"

type AnyRead = Read<any, any, any>
type AnyEffect = Effect.Effect<any, any, any>
type AnyExit = Exit.Exit<any, any>

/** What of the options is settled. */
export interface Terms {
  readonly maxAhead: number
  readonly maxCalls: number
  readonly maxBytes: number
  readonly timeout: Duration.Input | undefined
  readonly accept: (status: number) => boolean
  readonly redirects: redirect.Rules
  /** The longest that a server may have us wait. */
  readonly maxRetryAfter: number
  /** How what answers say of their limits is read; `undefined` where it is not. */
  readonly hints: RateLimitHeaders.Options | undefined
  readonly hedges: boolean
  /** What of a failure is worth another attempt. */
  readonly again: (error: Failure) => Attempts.Again
}

/** What it is made of. */
export interface Parts {
  readonly clock: Clock.Clock
  readonly transport: Transport.Transport
  /** In all; and the line of those that streams have taken from their source. */
  readonly gate: Gate.Gate
  readonly ahead: Gate.Gate
  readonly hosts: GateMap.GateMap
  readonly attempts: Attempts.PerKey<Tried> | undefined
  readonly breaker: CircuitBreaker.CircuitBreaker | undefined
}

/** The end of an attempt that failed, and whether another may be made. */
export class Tried {
  readonly error: unknown
  readonly again: Attempts.Again

  constructor(error: unknown, again: Attempts.Again) {
    this.error = error
    this.again = again
  }
}

/** A schedule that goes by failures, for one that is given `Tried`. */
export const backoff = (schedule: Schedule.Schedule<unknown, Failure>): Schedule.Schedule<unknown, Tried> =>
  Schedule.fromStep(
    // What may be tried again is a `Failure`.
    Effect.map(
      Schedule.toStep(schedule),
      (step) =>
        (now, { error }: Tried) =>
          step(now, error as Failure)
    )
  )

/** What identical calls come to. */
interface Common {
  readonly exit: Exit.Exit<Transport.Reply, Failure>
  readonly call: Call
}

export class Client {
  readonly name: string
  readonly parts: Parts
  readonly terms: Terms
  coalesce: Coalesce.Coalesce<Hop, Common> | undefined = undefined
  private offered = 0
  private running = 0
  private completed = 0
  private failed = 0
  private interrupted = 0
  attempts = 0
  redirects = 0
  bytes = 0
  private readonly statuses = new Map<number, number>()
  private readonly latencies = new Histogram()
  private readonly wallNow: () => number

  constructor(name: string, terms: Terms, parts: Parts) {
    this.name = name
    this.terms = terms
    this.parts = parts
    this.wallNow = () => parts.clock.currentTimeMillisUnsafe()
    // `Effect.forEach(urls, (url) => …)` and `pipe(http.stream())` are what one writes.
    this.fetch = this.fetch.bind(this)
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { attempts, bytes, completed, failed, interrupted, latencies, name, offered, redirects, running } = this
    const quantile = (part: number) => (latencies.total === 0 ? null : latencies.within(part * latencies.total))
    return {
      name,
      offered,
      running,
      completed,
      failed,
      interrupted,
      statuses: Object.fromEntries(this.statuses),
      attempts,
      redirects,
      bytes,
      latencyMillis: { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) }
    }
  }

  // --- one, and many ---------------------------------------------------------------------------------------------------

  fetch(input: Input, read: AnyRead = bytesOf): AnyEffect {
    return Effect.suspend(() => {
      if (this.running >= this.terms.maxCalls) return Effect.fail(this.full())
      return guarded(new Call(this, input, read))
    })
  }

  stream(options: StreamOptions<any, any, any, any> = {}): (source: Stream.Stream<any, any, any>) => any {
    const { maxAhead = this.terms.maxAhead, order } = options
    return this.parts.ahead.stream((item, index) => this.outcome(item, index, options), { maxAhead, order })
  }

  all(inputs: Iterable<any>, options: ManyOptions<any, any, any, any> = {}): AnyEffect {
    const { maxAhead } = this.terms
    return this.parts.ahead.forEach(inputs, (item, index) => this.outcome(item, index, options), { maxAhead })
  }

  anySuccess(inputs: Iterable<any>, options: ManyOptions<any, any, any, any> = {}): AnyEffect {
    return this.joined(inputs, options, Join.anySuccess())
  }

  quorum(n: number, inputs: Iterable<any>, options: ManyOptions<any, any, any, any> = {}): AnyEffect {
    return this.joined(inputs, options, Join.quorum(n))
  }

  private joined(inputs: Iterable<any>, options: ManyOptions<any, any, any, any>, join: Join.Join<any, any, any, any>) {
    const { read = bytesOf, request } = options
    const calls = Array.from(inputs, (item, index) =>
      Effect.suspend(() => guarded(new Call(this, request === undefined ? item : request(item, index), read)))
    )
    return Nursery.all(calls, join, { maxRunning: this.terms.maxAhead })
  }

  private outcome(input: any, index: number, { read = bytesOf, request }: ManyOptions<any, any, any, any>): AnyEffect {
    return Effect.suspend(() => {
      const call = new Call(this, request === undefined ? input : request(input, index), read)
      const outcome = () => Effect.succeed({ input, index, exit: call.exit, trace: call.trace })
      return Effect.matchCauseEffect(guarded(call), { onSuccess: outcome, onFailure: outcome })
    })
  }

  private full(): Refused.Refused {
    const reason = new Refused.QueueFull({ bound: "items", limit: this.terms.maxCalls })
    return new Refused.Refused({ reason, gate: this.name, waited: Duration.zero, retryAfter: Option.none() })
  }

  /** From now on identical calls share one. The runs are no calls of anybody's, and live as long as the scope. */
  get share(): Effect.Effect<void, never, Scope.Scope> {
    const made = Coalesce.make(this.name, {
      run: (hop: Hop) => Call.common(this, hop),
      key: hops.identity,
      // Each is a call, and bounded as such.
      maxRuns: Number.MAX_SAFE_INTEGER,
      maxCallers: Number.MAX_SAFE_INTEGER
    })
    return Effect.map(made, (coalesce) => void (this.coalesce = coalesce))
  }

  // --- what becomes of them --------------------------------------------------------------------------------------------

  begins(): void {
    this.offered++
    this.running++
  }

  ends(exit: AnyExit, millis: number): void {
    this.running--
    if (Exit.isSuccess(exit)) {
      this.completed++
      this.latencies.add(millis)
    } else if (Exit.hasInterrupts(exit)) this.interrupted++
    else this.failed++
  }

  /** What an answer says of its host's limits. */
  hintsOf(reply: Transport.Reply, hints: RateLimitHeaders.Options): ReadonlyArray<RateWindow.Hint> {
    return RateLimitHeaders.hints(reply, this.wallNow, hints)
  }

  answered(status: number): void {
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
  }
}

const bytesOf: AnyRead = (answer: Answer) => answer.bytes

/** The frame that counts its end stands before anything is counted. */
const guarded = (work: Call | Attempt): AnyEffect => Effect.onExitPrimitive(work as unknown as AnyEffect, work.ended)

/** One call, from its input to its end. It is itself the effect of its first step. */
class Call extends Step implements Counter {
  private readonly client: Client
  private readonly input: Input
  private readonly read: AnyRead
  private since = -1
  private millis = 0
  exit: AnyExit | undefined = undefined
  /** The request's body, where it is not in memory: nobody else frees what it holds of a call that is never sent. */
  private upload: Transport.Body | undefined = undefined
  /** Where it has been, this hop the last. */
  before: ReadonlyArray<Hop> = []
  // What its trace says.
  private url = ""
  private status: number | undefined = undefined
  bytes = 0
  waitedMillis = 0
  private exchanges = 0
  /** How many hops had one, and which the last. */
  private reached = 0
  private at: Hop | undefined = undefined
  private begun = 0

  constructor(client: Client, input: Input, read: AnyRead) {
    super()
    this.client = client
    this.input = input
    this.read = read
  }

  get trace(): Trace {
    const { bytes, exchanges, millis, reached, status, url, waitedMillis } = this
    const attempts = exchanges === 0 ? 0 : exchanges - reached + 1
    const redirects = Math.max(0, this.before.length - 1)
    return { url, status, attempts, redirects, bytes, millis, waitedMillis }
  }

  enter(): AnyEffect {
    const { client } = this
    client.begins()
    this.since = timer.now(client.parts.clock)
    const hop = hops.parse(this.input)
    if ("_tag" in hop) {
      this.url = hop.url
      return Effect.fail(hop)
    }
    const { body } = hop.request
    if (body.bytes === undefined) this.upload = body
    const { coalesce } = client
    const common = coalesce !== undefined && hop.request.method === "GET" && body.length === 0
    const call = common ? this.share(coalesce, hop) : this.follow(hop)
    const { timeout } = client.terms
    const timed = timeout === undefined ? call : Deadline.within(call, timeout)
    return hop.urgency === undefined ? timed : Priority.at(timed, hop.urgency)
  }

  readonly ended = (exit: AnyExit): undefined => {
    this.exit = exit
    if (this.since < 0) return
    const { client } = this
    this.millis = timer.now(client.parts.clock) - this.since
    client.ends(exit, this.millis)
    this.upload?.abort()
  }

  /** With those that ask for the same just now: each reads an answer of its own. */
  private share(coalesce: Coalesce.Coalesce<Hop, Common>, hop: Hop): AnyEffect {
    this.url = hop.url
    return Effect.flatMap(coalesce.call(hop), ({ call, exit }) => {
      this.url = call.url
      this.status = call.status
      this.before = call.before
      this.exchanges = call.exchanges
      this.reached = call.reached
      this.waitedMillis = call.waitedMillis
      if (Exit.isFailure(exit)) return exit
      return this.read(new Received(call.url, exit.value, this.client.terms.maxBytes, this))
    })
  }

  /** The run of those that ask for the same. */
  static common(client: Client, hop: Hop): Effect.Effect<Common> {
    return Effect.suspend(() => {
      const call = new Call(client, hop.url, whole)
      const exit = Effect.exit(call.follow(hop)) as Effect.Effect<Exit.Exit<Transport.Reply, Failure>>
      return Effect.map(exit, (exit) => ({ exit, call }))
    })
  }

  /** Goes from hop to hop, to what it comes to. */
  private follow(hop: Hop): AnyEffect {
    const { parts, terms } = this.client
    this.url = hop.url
    if (terms.redirects.max > 0) this.before = [...this.before, hop]
    const attempt = Effect.suspend(() => guarded(new Attempt(this.client, this, hop, this.read)))
    if (parts.attempts === undefined) return Effect.flatMap(attempt, this.arrived)
    const ask = terms.hedges && hop.idempotent && hops.repeats(hop) ? hedged : undefined
    return Effect.matchCauseEffect(parts.attempts.run(hop.host, attempt, ask), {
      onSuccess: this.arrived,
      onFailure: (cause) => Effect.failCause(Cause.map(cause, untried))
    })
  }

  private readonly arrived = (end: unknown): AnyEffect => {
    if (!(end instanceof Moved)) return Effect.succeed(end)
    this.client.redirects++
    return this.follow(end.to)
  }

  /** When an attempt has come to the door: the first does so with the call. */
  get now(): number {
    return this.begun++ === 0 && this.since >= 0 ? this.since : timer.now(this.client.parts.clock)
  }

  exchanged(hop: Hop): void {
    this.exchanges++
    if (this.at !== hop) this.reached++
    this.at = hop
  }

  /** What one of its attempts has come to. */
  note({ bytes, status }: Attempt): void {
    if (status === undefined) return
    this.status = status
    this.bytes = bytes
  }
}

const hedged: Attempts.Ask<unknown> = { idempotent: true }

const untried = (error: unknown): unknown => (error instanceof Tried ? error.error : error)

/** It goes on elsewhere. */
class Moved {
  readonly to: Hop

  constructor(to: Hop) {
    this.to = to
  }
}

/** All of an answer, for several. */
const whole: AnyRead = (answer: Answer) =>
  Effect.map(answer.bytes, (bytes): Transport.Reply => {
    return { status: answer.status, headers: answer.headers, body: Transport.bytes(bytes) }
  })

/** One attempt of a hop, from the door to the end of what `read` makes of it. */
class Attempt extends Step implements Counter {
  private readonly client: Client
  private readonly call: Call
  private readonly hop: Hop
  private readonly read: AnyRead
  private permit!: Gate.Permit
  private cameAt = 0
  /** Whether its turn has come. */
  private sent = false
  status: number | undefined = undefined
  bytes = 0

  constructor(client: Client, call: Call, hop: Hop, read: AnyRead) {
    super()
    this.client = client
    this.call = call
    this.hop = hop
    this.read = read
  }

  enter(): AnyEffect {
    const { attempts, breaker, hosts } = this.client.parts
    const { host } = this.hop
    this.cameAt = this.call.now
    const turn = hosts.withPermit(host, this.atHost, pending)
    const admitted = breaker === undefined ? turn : Effect.flatMapEager(breaker.admit(host), () => turn)
    return attempts === undefined ? admitted : Effect.catchEager(admitted, this.failed)
  }

  readonly ended = (exit: AnyExit): undefined => {
    const { call, client } = this
    client.bytes += this.bytes
    if (!this.sent) call.waitedMillis += timer.now(client.parts.clock) - this.cameAt
    // Of two at once, the one that is cut has nothing to say.
    if (!client.terms.hedges || Exit.isSuccess(exit) || !Exit.hasInterrupts(exit)) call.note(this)
  }

  private readonly atHost = (permit: Gate.Permit): AnyEffect => {
    this.permit = permit
    return this.client.parts.gate.withPermit(this.inFlight)
  }

  private readonly inFlight = ({ waited }: Gate.Permit): AnyEffect => {
    const { call, client, hop, permit } = this
    const { breaker, transport } = client.parts
    call.waitedMillis += Duration.toMillis(permit.waited) + Duration.toMillis(waited)
    this.sent = true
    call.exchanged(hop)
    client.attempts++
    const asked: Transport.Options = { maxBytes: client.terms.maxBytes, onSent: () => permit.sent() }
    const exchange = transport.exchange(hop.origin, hop.request, asked)
    const work = Effect.scoped(
      Effect.matchEffect(exchange, {
        onSuccess: (reply) => this.answered(reply),
        onFailure: (error) =>
          Effect.fail(error._tag === "Refused" ? error : failure.of(hop.url, error, client.terms.maxBytes))
      })
    )
    return breaker === undefined ? work : circuit(breaker, hop.host, work)
  }

  private answered(reply: Transport.Reply): AnyEffect {
    const { client, hop, permit } = this
    const { accept, hints, maxBytes, redirects } = client.terms
    const { status } = reply
    this.status = status
    client.answered(status)
    permit.answered(courtesy.ofStatus(status))
    if (hints !== undefined) for (const hint of client.hintsOf(reply, hints)) permit.tighten(hint)
    if (status >= 300 && status < 400 && redirects.max > 0) {
      const next = redirect.next(hop, reply, this.call.before, redirects)
      if (next !== undefined) return "_tag" in next ? Effect.fail(next) : Effect.succeed(new Moved(next))
    }
    return accept(status) ? this.read(new Received(hop.url, reply, maxBytes, this)) : this.rejected(reply)
  }

  private rejected({ body, headers, status }: Transport.Reply): AnyEffect {
    const { url } = this.hop
    const rejected = (body: Uint8Array | undefined) => Effect.fail(new StatusRejected({ url, status, headers, body }))
    if (body.bytes !== undefined) return rejected(body.bytes.length > shortBytes ? undefined : body.bytes)
    return Effect.flatMap(Effect.option(Deadline.within(Transport.collect(body, shortBytes), shortMillis)), (said) =>
      rejected(Option.getOrUndefined(said))
    )
  }

  /** May it be tried again? */
  private readonly failed = (error: unknown): Effect.Effect<never, Tried> => {
    const { client, hop } = this
    const { breaker } = client.parts
    const may = failure.is(error) && again.may(hop, error) && client.terms.again(error)
    const ended = Effect.fail(new Tried(error, may))
    if (may === false || breaker === undefined) return ended
    // Another attempt would be refused at the door, and that says less than what has come of this one.
    return Effect.matchEffect(breaker.admit(hop.host), {
      onSuccess: () => ended,
      onFailure: () => Effect.fail(new Tried(error, false))
    })
  }
}

/** The rate grant of a call counts from its first byte: until then it may wait for its turn in all. */
const pending: Gate.HoldAsk = { pending: true }

/** What is kept of a rejected answer's body, and how long it is waited for. */
const shortBytes = 16 * 1024
const shortMillis = 1000

/** A failure that is no sign of a host that does not work. */
class Spared {
  readonly cause: Cause.Cause<unknown>

  constructor(cause: Cause.Cause<unknown>) {
    this.cause = cause
  }
}

/** `work` in the circuit of its host, which is to hear of nothing that is the caller's affair. */
const circuit = (breaker: CircuitBreaker.CircuitBreaker, host: string, work: AnyEffect): AnyEffect => {
  const judged = Effect.catchCause(work, (cause) =>
    failure.blames(cause) ? Effect.failCause(cause) : Effect.succeed(new Spared(cause))
  )
  return Effect.flatMap(breaker.run(judged, host), (end) =>
    end instanceof Spared ? Effect.failCause(end.cause) : Effect.succeed(end)
  )
}
