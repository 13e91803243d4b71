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
 * Who waits for his host holds no permit of the total, so that a host with a small limit holds up nobody else; as long as there
 * are calls for others among the `maxAhead` that were taken from the source.
 *
 * Interrupting a call, or the stream, closes the connections it uses, gives its permits back, and waits for that.
 *
 * Memory: of answers, what `read` keeps, at most `inFlight` times `maxBytes` at once; of hosts, `maxHosts` that are in use or have
 * something to be remembered.
 *
 * It keeps no cookies, caches nothing, and decodes no content coding. Connections are the transport's.
 */
import { Clock, Effect, Stream } from "effect"
import type { Duration, Exit, Scope } from "effect"
import * as Attempts from "./Attempts.ts"
import * as ConcurrencyLimit from "./ConcurrencyLimit.ts"
import * as Gate from "./Gate.ts"
import * as GateMap from "./GateMap.ts"
import type * as CircuitBreaker from "./http/CircuitBreaker.ts"
import type * as RateLimitHeaders from "./http/RateLimitHeaders.ts"
import * as parallel from "./internal/parallel.ts"
import type { BodyFailure, Failure, NotJson } from "./internal/failure.ts"
import { Engine } from "./internal/gate.ts"
import * as millis from "./internal/millis.ts"
import * as told from "./internal/told.ts"
import type * as Priority from "./Priority.ts"
import * as Registry from "./Registry.ts"
import * as Transport from "./Transport.ts"

export {
  BodyTooLarge,
  ConnectionFailed,
  InvalidRequest,
  NotJson,
  RedirectRejected,
  StatusRejected,
  Timeout
} from "./internal/failure.ts"
export type { BodyFailure, Failure }

/** What is asked for. */
export interface Request {
  /** Absolute, `http:` or `https:`. A user and password in it become an `Authorization`, and are shown nowhere. */
  readonly url: string
  /** Default: `GET`. */
  readonly method?: string | undefined
  /** Name, value, name, value … */
  readonly headers?: Transport.Headers | undefined
  /** One that is a stream (`Transport.stream`) goes once: no attempt follows the first, and no redirect that would need it. */
  readonly body?: string | Uint8Array | Transport.Body | undefined
  /** Default: that of the caller. */
  readonly urgency?: Priority.Urgency | undefined
  /**
   * Whether it may be done twice, and so be tried again after it may have been done. Default: by its method (RFC 9110, 9.2.2), or
   * where it has an `Idempotency-Key`.
   */
  readonly idempotent?: boolean | undefined
}

/** A request, or the address of what to `GET`. */
export type Input = string | Request

/** An answer whose body has not begun to flow, for `read`. It is read once: who does so again is told, by a defect. */
export interface Answer {
  /** Where it came from, after redirects; without user, password and fragment. */
  readonly url: string
  readonly status: number
  readonly headers: Transport.Headers
  /** The first value of a header, by its name in lower case. */
  readonly header: (name: string) => string | undefined
  readonly body: Transport.Body
  /** The body, as it is pulled. */
  readonly stream: Stream.Stream<Uint8Array, BodyFailure>
  /** All of the body, in memory. */
  readonly bytes: Effect.Effect<Uint8Array, BodyFailure>
  /** Likewise, as UTF-8. */
  readonly text: Effect.Effect<string, BodyFailure>
  /** Likewise, as JSON in UTF-8. */
  readonly json: Effect.Effect<unknown, BodyFailure | NotJson>
  /** All of it, kept nowhere; its connection is free for the next then. */
  readonly discard: Effect.Effect<void, BodyFailure>
}

/**
 * Makes of an answer what a call comes to. What it leaves unread is dropped, and with it the connection. It begins anew with each
 * attempt; a `Scope` that it asks for is that of the attempt.
 */
export type Read<A, E = never, R = never> = (answer: Answer) => Effect.Effect<A, E, R>

/** Readers: `http.fetch(url, ParallelHttp.json)`. */
export const bytes: Read<Uint8Array, BodyFailure> = (answer) => answer.bytes
export const text: Read<string, BodyFailure> = (answer) => answer.text
export const json: Read<unknown, BodyFailure | NotJson> = (answer) => answer.json
export const discard: Read<void, BodyFailure> = (answer) => answer.discard
/** The status alone; the body is dropped unread. */
export const status: Read<number> = (answer) => Effect.succeed(answer.status)

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
  /** Bytes of the last answer's body that came. */
  readonly bytes: number
  /** From when it was taken from its source to its end; and how much of that it stood in line. */
  readonly millis: number
  readonly waitedMillis: number
}

export interface Options {
  /** How many calls are in flight in all. Default: 50. */
  readonly inFlight?: number | undefined
  /**
   * What each host (with its port) is given: how many at once, or all that a gate can be told; see `polite`. A rate grant counts
   * from when the request is written. Default: as many as in all.
   */
  readonly perHost?: number | GateMap.GateOptions | ((host: string) => GateMap.GateOptions) | undefined
  /** How long a call may take: waiting, attempts, redirects and reading together. Default: as the deadline around it says. */
  readonly timeout?: Duration.Input | undefined
  /** The largest answer, in bytes. Default: 16 MiB. */
  readonly maxBytes?: number | undefined
  /** Which answers are given to `read`; others fail with `StatusRejected`. Default: 2xx. */
  readonly accept?: ((status: number) => boolean) | undefined
  /**
   * Attempts of what failed, under a budget for each host. Only what may be sent again is: nothing of it was done, or it is
   * idempotent; and its body is in memory. Of that, `again` says what is worth it: unless it is given, 408, 429, 502, 503, 504, connections
   * that did not come about or broke off, in mid-body too, and silence. What `read` fails with by itself is never tried again.
   */
  readonly attempts?: Attempts.Options<Failure> | false | undefined
  /**
   * The longest that a server may have us wait (`Retry-After`). A call that is to come back later fails at once; its host is left
   * alone for no longer than this. Default: 1 minute.
   */
  readonly maxRetryAfter?: Duration.Input | undefined
  /**
   * What answers say of their limits (`Retry-After`, `RateLimit` and its kin) tightens their host's gate, and for `maxRetryAfter`
   * at most unless it says otherwise (`longest`). See `RateLimitHeaders` of `@fairlead/core/http`. Default: true.
   */
  readonly hints?: boolean | RateLimitHeaders.Options | undefined
  /**
   * A circuit for each host: `CircuitBreaker.make` of `@fairlead/core/http`. Failures are those that show a host which does not
   * work: no whole answer, and 500, 502, 503, 504 where they are not accepted; see `Ending` there. Default: none.
   */
  readonly breaker?: CircuitBreaker.CircuitBreaker | undefined
  /** How many redirects are followed, or more than that; 0: none is, and `accept` judges the 3xx. Default: 10. */
  readonly redirects?: number | RedirectOptions | undefined
  /**
   * Identical GETs (address and headers) that go on at the same time share one exchange. Its answer is in memory while they read
   * it, which they do outside of its permits. Default: false.
   */
  readonly coalesce?: boolean | undefined
  /**
   * How many hosts have calls, or something to be remembered: a limit that adapts for ten seconds, windows until they are empty. One
   * more is refused (`QueueFull`). Default: 10,000.
   */
  readonly maxHosts?: number | undefined
  /** How many calls there may be at once, those that wait included; one more is refused (`QueueFull`), but of a stream. Default: 10,000. */
  readonly maxCalls?: number | undefined
}

export interface RedirectOptions {
  /** How many are followed. Default: 10. */
  readonly max?: number | undefined
  /** Whether from `https:` to `http:`. Default: false. */
  readonly downgrade?: boolean | undefined
  /**
   * Header fields that are given to no other origin, beside `Authorization`, `Cookie`, `Proxy-Authorization`, `Host` and `Origin`:
   * `X-Api-Key` and the like.
   */
  readonly secrets?: ReadonlyArray<string> | undefined
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
  /**
   * How many at most have been taken from the source and have not been handed on. Default: `inFlight`, and twice that where hosts
   * are given less. Where a source is sorted by host, more of them ahead keep all hosts busy.
   */
  readonly maxAhead?: number | undefined
}

export interface ParallelHttp {
  readonly name: string
  /** One call. Default of `read`: the answer's bytes. */
  readonly fetch: <A = Uint8Array, E = never, R = never>(
    input: Input,
    read?: Read<A, E, R>
  ) => Effect.Effect<A, Failure | E, R>
  /** One call, and how it ended. */
  readonly outcome: <I = Input, A = Uint8Array, E = never, R = never>(
    input: I,
    options?: ManyOptions<I, A, E, R>
  ) => Effect.Effect<Outcome<I, A, E>, never, R>
  /**
   * All calls of a stream, as an operator. Where the source fails, what is in flight is cut, and the stream fails; ending the stream
   * early cuts it, too. Both wait for that.
   */
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
  /** How many requests were sent to begin with, again, or where a redirect led; and how many were redirected. */
  readonly attempts: number
  readonly redirects: number
  /** Of answers' bodies. */
  readonly bytes: number
  /** How long calls took that were completed lately, their waits included; `null` before there were any. */
  readonly latencyMillis: { readonly p50: number | null; readonly p90: number | null; readonly p99: number | null }
}

/** What is wrong with a snapshot, as sentences; empty when all invariants hold. */
export const check = (self: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const { attempts, completed, failed, interrupted, name, offered, redirects, running } = self
  if (offered !== completed + failed + interrupted + running) {
    broken.push(
      `${name}: expected offered = completed + failed + interrupted + running, got ${offered} = ` +
        `${completed} + ${failed} + ${interrupted} + ${running}`
    )
  }
  if (running < 0) broken.push(`${name}: expected running >= 0, got ${running}`)
  const answers = Object.values(self.statuses).reduce((sum, count) => sum + count, 0)
  if (answers > attempts) broken.push(`${name}: expected no more answers than attempts, got ${answers} of ${attempts}`)
  if (redirects > answers) broken.push(`${name}: expected each redirect of an answer, got ${redirects} of ${answers}`)
  return broken
}

/**
 * For `perHost`: as many at once as the host bears, found out from how long its answers take and from 429, 503, 504, silence and
 * connections that break.
 */
export const polite = (options: ConcurrencyLimit.LatencyOptions): GateMap.GateOptions => ({
  limit: ConcurrencyLimit.gradient(options)
})

/** Makes one that lives as long as the scope, over the transport of the context. */
export const make = (
  name: string,
  options: Options = {}
): Effect.Effect<ParallelHttp, never, Transport.Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const { attempts, breaker, coalesce = false, inFlight = 50 } = options
    const terms = settled(options, inFlight)
    const clock = yield* Clock.Clock
    const transport = yield* Transport.Transport
    const gate = yield* Gate.make(name, { limit: inFlight, line: endless })
    yield* Registry.meant("unbounded", `gate ${name}`, "who waits in it is a call, and those are bounded")
    const { maxHosts, perHost = inFlight } = options
    const hosts = yield* GateMap.make(`${name} hosts`, ofHost(perHost), { maxKeys: maxHosts })
    const policy = attempts === false ? undefined : yield* Attempts.perKey(`${name} attempts`, tries(attempts), kept)
    const ahead = new Engine(`${name} ahead`, {}, clock)
    const http = new parallel.Client(name, terms, { clock, transport, gate, ahead, hosts, attempts: policy, breaker })
    if (coalesce) yield* http.share
    yield* Registry.register("http", name, () => http.snapshot())
    // Its calls have the types of whatever they are given.
    return http as unknown as ParallelHttp
  })

/** All calls of a stream, with limits that live as long as the stream. */
export const stream =
  <I = Input, A = Uint8Array, E = never, R = never>(options: Options & StreamOptions<I, A, E, R> = {}) =>
  <E2, R2>(source: Stream.Stream<I, E2, R2>): Stream.Stream<Outcome<I, A, E>, E2, R | R2 | Transport.Transport> =>
    Stream.unwrap(Effect.map(make("parallel http", options), (http) => http.stream(options)(source)))

/** Whoever waits in it is a call, of which there are `maxCalls`, and those that streams have ahead. */
const endless: Gate.Line = { maxItems: Infinity }

/** Of how many hosts it is known how often they were tried again lately, beside those that have calls going on. */
const kept = { maxKeys: 1000 }

/** What a host is given, where nobody has said otherwise. */
const usual: GateMap.GateOptions = { line: endless, judge: told.load }

const ofHost = (
  perHost: NonNullable<Options["perHost"]>
): GateMap.GateOptions | ((host: string) => GateMap.GateOptions) =>
  typeof perHost === "function"
    ? (host) => ({ ...usual, ...perHost(host) })
    : { ...usual, ...(typeof perHost === "number" ? { limit: perHost } : perHost) }

/** Whether a host may be given less than there is in all: then calls for others have to be in sight. */
const narrow = (perHost: Options["perHost"], inFlight: number): boolean =>
  perHost !== undefined && !(typeof perHost === "number" && perHost >= inFlight)

const is2xx = (status: number) => status >= 200 && status < 300

const settled = (options: Options, inFlight: number): parallel.Terms => {
  const {
    accept = is2xx,
    attempts,
    hints = true,
    maxBytes = 16 * 1024 * 1024,
    maxCalls = 10_000,
    maxHosts = 10_000
  } = options
  const { maxRetryAfter = "1 minute", redirects, timeout } = options
  const {
    downgrade = false,
    max = 10,
    secrets = []
  } = typeof redirects === "number" ? { max: redirects } : (redirects ?? {})
  const longest = millis.from(maxRetryAfter)
  if (!(maxBytes >= 0)) throw new RangeError(`Expected maxBytes of at least 0, got ${maxBytes}`)
  if (!(maxHosts >= 1)) throw new RangeError(`Expected maxHosts of at least 1, got ${maxHosts}`)
  if (!(maxCalls >= 1)) throw new RangeError(`Expected maxCalls of at least 1, got ${maxCalls}`)
  if (!(Number.isInteger(max) && max >= 0)) throw new RangeError(`Expected redirects of at least 0, got ${max}`)
  if (!(longest >= 0)) throw new RangeError(`Expected maxRetryAfter of at least 0, got ${longest} ms`)
  return {
    maxAhead: narrow(options.perHost, inFlight) ? 2 * inFlight : inFlight,
    maxCalls,
    maxBytes,
    timeout,
    accept,
    redirects: { max, downgrade, secrets: new Set(secrets.map((name) => name.toLowerCase())) },
    maxRetryAfter: longest,
    hints: hints === false ? undefined : { longest, ...(hints === true ? {} : hints) },
    hedges: attempts !== false && attempts?.hedge !== undefined,
    again: (attempts === false ? undefined : attempts?.again) ?? ((failure) => told.worth(failure, longest))
  }
}

/** What the policy of a host is told: of each failure it was settled already whether it may be tried again. */
const tries = ({ backoff, ...options }: Attempts.Options<Failure> = {}): Attempts.Options<parallel.Tried> => ({
  ...options,
  again: (tried) => tried.again,
  backoff: backoff === undefined ? undefined : parallel.backoff(backoff)
})
