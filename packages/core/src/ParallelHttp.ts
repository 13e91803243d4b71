/**
 * Many HTTP calls at once: bounded in all and per host, each with an end of its own.
 *
 *     source ──pulled──► call ──► host's gate ──► gate ──► exchange ──► read ──► Outcome { input, exit, … }
 *                         ▲                                   │
 *                         └── again, or to where it redirects ┘   each attempt and each hop waits its turn
 *
 * `read` runs while the permits are held, so memory and connections are bounded together. The source of a `stream` is pulled as
 * calls end, and may be infinite. A call that fails fails no other: its error is in its `Outcome`.
 *
 * Interrupting a call, or the stream, closes the connections it uses and gives its permits back.
 */
import { Clock, Data, Effect, Exit, Result, Stream } from "effect"
import type { Duration, Scope } from "effect"
import * as Deadline from "./Deadline.ts"
import * as Gate from "./Gate.ts"
import * as GateMap from "./GateMap.ts"
import * as Join from "./Join.ts"
import * as Nursery from "./Nursery.ts"
import * as Priority from "./Priority.ts"
import type * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"
import * as Transport from "./Transport.ts"

/** What is asked for. */
export interface Request {
  /** Absolute, `http:` or `https:`. A user and password in it become an `Authorization`, and are shown nowhere. */
  readonly url: string
  /** Default: `GET`. */
  readonly method?: string | undefined
  /** Name, value, name, value … */
  readonly headers?: Transport.Headers | undefined
  readonly body?: string | Uint8Array | Transport.Body | undefined
  /** Default: that of the caller. */
  readonly urgency?: Priority.Urgency | undefined
}

/** A request, or the address of what to `GET`. */
export type Input = string | Request

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
  /** The answer's body, where it was short enough to be in memory already. */
  readonly body: Uint8Array | undefined
}> {
  override get message(): string {
    return `${this.url}: ${this.status}`
  }
}

/** The input is no request. */
export class InvalidRequest extends Data.TaggedError("InvalidRequest")<{
  readonly url: string
  readonly expected: string
}> {
  override get message(): string {
    return `Expected ${this.expected}, got ${JSON.stringify(this.url)}`
  }
}

/** Why a call has no result, beside what its `read` fails with. */
export type Failure =
  | ConnectionFailed
  | Timeout
  | BodyTooLarge
  | StatusRejected
  | InvalidRequest
  | Refused.Refused
  | Deadline.DeadlineExceeded

/** An answer whose body has not begun to flow, for `read`. */
export interface Answer {
  /** Where it came from, after redirects. */
  readonly url: string
  readonly status: number
  readonly headers: Transport.Headers
  /** The first value of a header, by its name in lower case. */
  readonly header: (name: string) => string | undefined
  readonly body: Transport.Body
  /** All of the body, in memory. */
  readonly bytes: Effect.Effect<Uint8Array, ConnectionFailed | Timeout | BodyTooLarge>
  /** Likewise, as UTF-8. */
  readonly text: Effect.Effect<string, ConnectionFailed | Timeout | BodyTooLarge>
}

/** Makes of an answer what a call comes to. What it leaves unread is dropped. */
export type Read<A, E = never, R = never> = (answer: Answer) => Effect.Effect<A, E, R>

/** How a call ended. */
export interface Outcome<out I, out A, out E = never> {
  readonly input: I
  /** Its place in the source, from 0. */
  readonly index: number
  readonly exit: Exit.Exit<A, Failure | E>
  readonly trace: Trace
}

/** What is known of a call, however it ended. */
export interface Trace {
  /** Where it went last, without user and password. */
  readonly url: string
  /** Of the last answer; `undefined` where there was none. */
  readonly status: number | undefined
  /** How often it was sent, redirects not counted, and how often it was redirected. */
  readonly attempts: number
  readonly redirects: number
  /** Bytes of the answer's body that came. */
  readonly bytes: number
  /** From when it was taken from its source to its end; and how much of that it waited for its turn. */
  readonly millis: number
  readonly waitedMillis: number
}

export interface Options {
  /** How many calls are in flight in all. Default: 50. */
  readonly inFlight?: number | undefined
  /** What each host is given: how many at once, or all that a gate can be told. Default: as many as in all. */
  readonly perHost?: number | GateMap.GateOptions | ((host: string) => GateMap.GateOptions) | undefined
  /** How long a call may take: waiting, attempts, redirects and reading together. Default: as the deadline around it says. */
  readonly timeout?: Duration.Input | undefined
  /** The largest answer, in bytes. Default: 16 MiB. */
  readonly maxBytes?: number | undefined
  /** Which answers are given to `read`; others fail with `StatusRejected`. Default: 2xx. */
  readonly accept?: ((status: number) => boolean) | undefined
}

export interface ManyOptions<I, A, E = never, R = never> {
  /** What of an answer is the result. Default: its bytes. */
  readonly read?: Read<A, E, R> | undefined
  /** What an item asks for. Default: the item is a request, or a URL. */
  readonly request?: ((item: I, index: number) => Input) | undefined
}

export interface StreamOptions<I, A, E = never, R = never> extends ManyOptions<I, A, E, R> {
  /** Default: `completed`. In the order of the input a slow one holds up those behind it. */
  readonly order?: "completed" | "input" | undefined
  /** How many at most have been taken from the source and have not ended. Default: twice `inFlight`. */
  readonly maxAhead?: number | undefined
}

export interface ParallelHttp {
  readonly name: string
  /** One call. Default of `read`: the answer's bytes. */
  readonly fetch: <A = Uint8Array, E = never, R = never>(
    input: Input,
    read?: Read<A, E, R>
  ) => Effect.Effect<A, Failure | E, R>
  /** All calls of a stream, as an operator. */
  readonly stream: <I = Input, A = Uint8Array, E = never, R = never>(
    options?: StreamOptions<I, A, E, R>
  ) => <E2, R2>(source: Stream.Stream<I, E2, R2>) => Stream.Stream<Outcome<I, A, E>, E2, R | R2>
  /** How each of them ended, in their order. */
  readonly all: <I = Input, A = Uint8Array, E = never, R = never>(
    inputs: Iterable<I>,
    options?: ManyOptions<I, A, E, R>
  ) => Effect.Effect<Array<Outcome<I, A, E>>, never, R>
  /** The first success; the others are cut. Fails with all failures where there is none. */
  readonly anySuccess: <I = Input, A = Uint8Array, E = never, R = never>(
    inputs: Iterable<I>,
    options?: ManyOptions<I, A, E, R>
  ) => Effect.Effect<A, Failure | E, R>
  /** The first `n` successes; the others are cut. Fails as soon as there cannot be so many. */
  readonly quorum: <I = Input, A = Uint8Array, E = never, R = never>(
    n: number,
    inputs: Iterable<I>,
    options?: ManyOptions<I, A, E, R>
  ) => Effect.Effect<ReadonlyArray<A>, Failure | E, R>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** One consistent snapshot; plain data. The counts are since it was made. */
export interface Statistics {
  readonly name: string
  readonly offered: number
  readonly running: number
  readonly completed: number
  readonly failed: number
  readonly interrupted: number
  /** Answers by status. */
  readonly statuses: { readonly [status: string]: number }
}

/** Makes one that lives as long as the scope, over the transport of the context. */
export const make = (
  name: string,
  options: Options = {}
): Effect.Effect<ParallelHttp, never, Transport.Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const transport = yield* Transport.Transport
    const inFlight = options.inFlight ?? 50
    const perHost = options.perHost ?? inFlight
    const gate = yield* Gate.make(name, { limit: inFlight, line: { maxItems: 1_000_000 } })
    const hosts = yield* GateMap.make(`${name} hosts`, typeof perHost === "number" ? { limit: perHost } : perHost)
    const http = new Client(name, options, transport, gate, hosts, yield* Clock.Clock)
    yield* Registry.register("http", name, () => http.snapshot())
    // Its calls have the types of whatever they are given.
    return http as unknown as ParallelHttp
  })

/** All calls of a stream, with limits that live as long as the stream. */
export const stream =
  <I = Input, A = Uint8Array, E = never, R = never>(options: Options & StreamOptions<I, A, E, R> = {}) =>
  <E2, R2>(source: Stream.Stream<I, E2, R2>): Stream.Stream<Outcome<I, A, E>, E2, R | R2 | Transport.Transport> =>
    Stream.unwrap(Effect.map(make("parallel http", options), (http) => http.stream(options)(source)))

type AnyRead = Read<any, any, any>
type AnyEffect = Effect.Effect<any, any, any>

/** What `Trace` will say, while it goes on. */
class Running {
  url = ""
  status: number | undefined = undefined
  attempts = 0
  redirects = 0
  bytes = 0
  waitedMillis = 0
}

class Client {
  readonly name: string
  private readonly options: Options
  private readonly transport: Transport.Transport
  private readonly gate: Gate.Gate
  private readonly hosts: GateMap.GateMap
  private readonly clock: Clock.Clock
  private readonly maxAhead: number
  private readonly maxBytes: number
  private readonly accept: (status: number) => boolean
  private offered = 0
  private running = 0
  private completed = 0
  private failed = 0
  private interrupted = 0
  private readonly statuses = new Map<number, number>()

  constructor(
    name: string,
    options: Options,
    transport: Transport.Transport,
    gate: Gate.Gate,
    hosts: GateMap.GateMap,
    clock: Clock.Clock
  ) {
    this.name = name
    this.options = options
    this.transport = transport
    this.gate = gate
    this.hosts = hosts
    this.clock = clock
    this.maxAhead = 2 * (options.inFlight ?? 50)
    this.maxBytes = options.maxBytes ?? 16 * 1024 * 1024
    this.accept = options.accept ?? ((status) => status >= 200 && status < 300)
    // `Effect.forEach(urls, (url) => …)` and `pipe(http.stream())` are what one writes.
    this.fetch = this.fetch.bind(this)
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { completed, failed, interrupted, name, offered, running } = this
    return { name, offered, running, completed, failed, interrupted, statuses: Object.fromEntries(this.statuses) }
  }

  fetch(input: Input, read: AnyRead = bytesOf): AnyEffect {
    return Effect.suspend(() => this.call(input, read, new Running()))
  }

  stream(options: StreamOptions<any, any, any, any> = {}): any {
    const { maxAhead = this.maxAhead, order } = options
    return Stream.mapEffect((item, index) => this.outcome(item, index, options), {
      concurrency: maxAhead,
      unordered: order !== "input"
    })
  }

  all(inputs: Iterable<any>, options: ManyOptions<any, any, any, any> = {}): AnyEffect {
    return Effect.forEach(inputs, (item, index) => this.outcome(item, index, options), { concurrency: this.maxAhead })
  }

  anySuccess(inputs: Iterable<any>, options: ManyOptions<any, any, any, any> = {}): AnyEffect {
    return Nursery.all(this.calls(inputs, options), Join.anySuccess())
  }

  quorum(n: number, inputs: Iterable<any>, options: ManyOptions<any, any, any, any> = {}): AnyEffect {
    return Nursery.all(this.calls(inputs, options), Join.quorum(n))
  }

  private calls(inputs: Iterable<any>, { read, request }: ManyOptions<any, any, any, any>): Array<AnyEffect> {
    return Array.from(inputs, (item, index) => this.fetch(request === undefined ? item : request(item, index), read))
  }

  private outcome(
    input: any,
    index: number,
    { read = bytesOf, request }: ManyOptions<any, any, any, any>
  ): Effect.Effect<Outcome<any, any, any>, never, any> {
    return Effect.suspend(() => {
      const since = this.clock.currentTimeMillisUnsafe()
      const running = new Running()
      const call = Effect.suspend(() => this.call(request === undefined ? input : request(input, index), read, running))
      return Effect.map(Effect.exit(call), (exit) => {
        const millis = this.clock.currentTimeMillisUnsafe() - since
        return { input, index, exit, trace: { ...running, millis } }
      })
    })
  }

  private call(input: Input, read: AnyRead, running: Running): AnyEffect {
    const request = parse(input)
    if (Result.isFailure(request)) return Effect.fail(request.failure)
    const { success } = request
    running.url = success.url
    const { timeout } = this.options
    const call = this.attempt(success, read, running)
    const timed = timeout === undefined ? call : Deadline.within(call, timeout)
    this.offered++
    this.running++
    return Effect.onExitPrimitive(
      success.urgency === undefined ? timed : Priority.at(timed, success.urgency),
      (exit) => {
        this.running--
        if (Exit.isSuccess(exit)) this.completed++
        else if (Exit.hasInterrupts(exit)) this.interrupted++
        else this.failed++
        return undefined
      }
    )
  }

  private attempt(request: Parsed, read: AnyRead, running: Running): AnyEffect {
    const exchange = Effect.suspend(() => {
      running.attempts++
      return Effect.scoped(
        Effect.flatMap(
          Effect.mapError(this.transport.exchange(request.origin, request.sent, { maxBytes: this.maxBytes }), (error) =>
            error._tag === "Refused" ? error : this.failure(request.url, error)
          ),
          (reply) => this.answered(request, reply, read, running)
        )
      )
    })
    return this.hosts.run(request.host, this.gate.run(exchange))
  }

  private answered(request: Parsed, reply: Transport.Reply, read: AnyRead, running: Running): AnyEffect {
    const { body, headers, status } = reply
    const { url } = request
    running.status = status
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
    if (!this.accept(status)) return Effect.fail(new StatusRejected({ url, status, headers, body: body.bytes }))
    const bytes = Effect.mapError(
      Effect.tap(Transport.collect(body, this.maxBytes), ({ length }) => Effect.sync(() => (running.bytes += length))),
      (error) => this.failure(url, error)
    )
    return read({
      url,
      status,
      headers,
      header: (name) => Transport.header(headers, name),
      body,
      bytes,
      text: Effect.map(bytes, (content) => new TextDecoder().decode(content))
    })
  }

  private failure(url: string, failed: Transport.UpstreamFailed | Transport.BodyFailed) {
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
        return new BodyTooLarge({ url, maxBytes: this.maxBytes })
      default:
        return new ConnectionFailed({ url, kind, sent, cause })
    }
  }
}

const bytesOf: AnyRead = (answer: Answer) => answer.bytes

interface Parsed {
  readonly url: string
  readonly host: string
  readonly origin: string
  readonly urgency: Priority.Urgency | undefined
  readonly sent: Transport.Request
}

const parse = (input: Input): Result.Result<Parsed, InvalidRequest> => {
  const {
    body,
    headers = [],
    method = "GET",
    url,
    urgency
  }: Request = typeof input === "string" ? { url: input } : input
  let parsed
  try {
    parsed = new URL(url)
  } catch {
    return Result.fail(new InvalidRequest({ url, expected: "an absolute http: or https: URL" }))
  }
  const { host, origin, pathname, protocol, search } = parsed
  if (protocol !== "http:" && protocol !== "https:") {
    return Result.fail(new InvalidRequest({ url, expected: "an absolute http: or https: URL" }))
  }
  return Result.succeed({
    url: `${origin}${pathname}${search}`,
    host,
    origin,
    urgency,
    sent: { method, target: `${pathname}${search}`, headers, body: bodyOf(body) }
  })
}

const bodyOf = (body: Request["body"]): Transport.Body =>
  body === undefined
    ? Transport.empty
    : typeof body === "string"
      ? Transport.text(body)
      : "pipeTo" in body
        ? body
        : Transport.bytes(body)

// Every runtime has them; ECMAScript's own library, which is all that `core` compiles against, does not name them.
declare const TextDecoder: new () => { readonly decode: (bytes: Uint8Array) => string }
declare const URL: new (url: string) => {
  readonly host: string
  readonly origin: string
  readonly pathname: string
  readonly protocol: string
  readonly search: string
}
