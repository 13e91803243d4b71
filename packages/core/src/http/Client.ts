/**
 * Effect's `HttpClient` over a `Transport`, a `Transport` over an `HttpClient`, and every policy as a combinator of clients.
 *
 *     Transport ── fromTransport ──▶ HttpClient ─ gate ─ breaker ─ attempts ─ deadline ──▶ HttpClient
 *         ▲                                                                                    │
 *         └──────────────────────────────────── toTransport ───────────────────────────────────┘
 *
 * An `HttpClient` gives its answer before the body flows, and no scope in which to read that. What must last as long as the body
 * does (a permit, the attempt that has won) is therefore held in the caller's `Scope`, which those combinators add to what a client
 * needs, as `HttpClient.withScope` does. It ends when the body has been read, has failed or is not wanted any more, and at the latest
 * with the scope, which aborts an answer that nobody has read. An answer without a body holds nothing, nor does one in memory.
 *
 * Interruption undoes what goes on: the place in line, the attempt, the connection.
 *
 * The first in a `pipe` is the innermost: with `client.pipe(Client.gate(gate), Client.attempts(attempts))` each attempt waits for a permit
 * of its own. Redirects and cookies are Effect's: `HttpClient.followRedirects`, `HttpClient.withCookiesRef`.
 */
import {
  Cause,
  Clock,
  Context,
  Deferred,
  Duration,
  Effect,
  Exit,
  Inspectable,
  Layer,
  Option,
  Scope,
  Stream
} from "effect"
import type { Fiber } from "effect"
import { dual } from "effect/Function"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as UrlParams from "effect/http/UrlParams"
import type { Pipeable } from "effect/Pipeable"
import { pipeArguments } from "effect/Pipeable"
import type * as Attempts from "../Attempts.ts"
import * as Coalesce from "../Coalesce.ts"
import * as Deadline from "../Deadline.ts"
import type * as Gate from "../Gate.ts"
import type * as GateMap from "../GateMap.ts"
import * as timer from "../internal/timer.ts"
import * as utf8 from "../internal/utf8.ts"
import * as Priority from "../Priority.ts"
import * as Refused from "../Refused.ts"
import * as Tenant from "../Tenant.ts"
import * as Transport from "../Transport.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as Ending from "./Ending.ts"
import * as RateLimitHeaders from "./RateLimitHeaders.ts"

/** A client that fails with `E` and needs `R`. */
export type Client<E, R = never> = HttpClient.HttpClient.With<E, R>

type Request = HttpClientRequest.HttpClientRequest
type Answer = HttpClientResponse.HttpClientResponse
type Sent<E, R> = Effect.Effect<Answer, E, R>

// Every runtime has them; ECMAScript's own library, which is all that `core` compiles against, does not name them.
declare const URLSearchParams: new (text: string) => Iterable<[string, string]>
declare const Response: new (
  body: unknown,
  init?: { readonly headers: Record<string, string> }
) => {
  readonly body: AsyncIterable<Uint8Array> | null
  readonly headers: { readonly get: (name: string) => string | null }
  readonly formData: () => Promise<any>
}

interface Url {
  readonly origin: string
  readonly host: string
  readonly pathname: string
  readonly search: string
  readonly href: string
}

interface Signal {
  readonly aborted: boolean
  readonly addEventListener: (type: "abort", listener: () => void, options: { readonly once: true }) => void
}

// --- a client over a transport --------------------------------------------------------------------------------------

/**
 * A client that sends through `transport`. `options` are for each exchange.
 *
 * What goes wrong on the way is an `HttpClientError` whose `cause` is the transport's own word: `UpstreamFailed`, `BodyFailed`, or `Refused`
 * where no connection came free. An answer nobody reads is aborted with the request's scope (`HttpClient.withScope`, or one of
 * the combinators below that need a scope); without one when it is garbage, as Effect's own clients do it.
 */
export const fromTransport = (transport: Transport.Transport, options?: Transport.Options): HttpClient.HttpClient =>
  HttpClient.make((request, url: Url, signal: Signal) =>
    Effect.withFiber((fiber) => {
      const around = fiber.getRef(Around)
      const scope = around === undefined ? Scope.makeUnsafe() : Scope.forkUnsafe(around)
      const close = closing(scope)
      const exchange = transport.exchange(url.origin, toTransportRequest(request, url), options)
      const sent = Effect.map(Effect.mapError(Scope.provide(exchange, scope), ofSending(request)), (reply) => {
        const answer = new Received(request, url.href.split("#")[0]!, reply, close)
        const drop = () => {
          if (scope.state._tag === "Closed") return
          reply.body.abort()
          Effect.runFork(close)
        }
        if (signal.aborted) drop()
        else if (reply.body.bytes === undefined) signal.addEventListener("abort", drop, { once: true })
        return answer
      })
      return Effect.onExitPrimitive(
        // What is in memory holds nothing.
        Effect.flatMapEager(sent, (answer) =>
          answer.body.bytes === undefined ? Effect.succeed(answer) : Effect.as(close, answer)
        ),
        (exit) => (Exit.isSuccess(exit) ? undefined : Scope.close(scope, exit))
      )
    })
  )

/** The `HttpClient` of a program that has a `Transport`. */
export const layer: Layer.Layer<HttpClient.HttpClient, never, Transport.Transport> = Layer.effect(
  HttpClient.HttpClient
)(Transport.Transport.use((transport) => Effect.succeed(fromTransport(transport))))

const ofSending = (request: Request) => (cause: Transport.UpstreamFailed | Refused.Refused) => {
  const what = { request, cause, description: cause.message }
  const isOwn = cause instanceof Transport.UpstreamFailed && cause.kind === "requestBody"
  return new HttpClientError.HttpClientError({
    reason: isOwn ? new HttpClientError.EncodeError(what) : new HttpClientError.TransportError(what)
  })
}

const toTransportRequest = (request: Request, url: Url): Transport.Request => {
  const { body, type } = toTransportBody(request.body)
  const headers: Array<string> = []
  const typed =
    type !== undefined && (request.body._tag === "FormData" || request.headers["content-type"] === undefined)
  for (const [name, value] of Object.entries(request.headers)) {
    if (!typed || name !== "content-type") headers.push(name, value)
  }
  if (typed) headers.push("content-type", type)
  return { method: request.method, target: url.pathname + url.search, headers, body }
}

const toTransportBody = (
  body: HttpBody.HttpBody
): { readonly body: Transport.Body; readonly type?: string | undefined } => {
  switch (body._tag) {
    case "Empty":
      return { body: Transport.empty }
    case "Uint8Array":
      return { body: Transport.bytes(body.body) }
    case "Stream":
      return { body: Transport.stream(body.stream, body.contentLength) }
    case "FormData":
      return ofWeb(body.formData)
    case "Raw":
      return ofRaw(body.body, body.contentLength)
  }
}

const ofRaw = (raw: unknown, length: number | undefined) => {
  if (raw === undefined || raw === null) return { body: Transport.empty }
  if (typeof raw === "string") return { body: Transport.text(raw) }
  if (raw instanceof Uint8Array) return { body: Transport.bytes(raw) }
  // A stream of the web or of Node.
  if (typeof raw === "object" && Symbol.asyncIterator in raw) {
    return {
      body: Transport.stream(
        Stream.fromAsyncIterable(raw as AsyncIterable<Uint8Array>, (cause) => cause),
        length
      )
    }
  }
  return ofWeb(raw)
}

/** A form, a blob, a buffer, parameters: what a web response takes, with the type that it makes of it. */
const ofWeb = (content: unknown) => {
  const { body, headers } = new Response(content)
  const bytes = body === null ? Stream.empty : Stream.fromAsyncIterable(body, (cause) => cause)
  return { body: Transport.stream(bytes), type: headers.get("content-type") ?? undefined }
}

/** An answer whose body is a transport's. */
class Received extends Inspectable.Class implements HttpClientResponse.HttpClientResponse, Pipeable {
  readonly [HttpIncomingMessage.TypeId]: typeof HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: typeof HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly request: Request
  readonly url: string
  readonly status: number
  readonly body: Transport.Body
  readonly fields: Transport.Headers
  private readonly close: Effect.Effect<void>
  private record: Headers.Headers | undefined = undefined
  private whole: Effect.Effect<Uint8Array, HttpClientError.HttpClientError> | undefined = undefined
  private begun = false

  constructor(request: Request, url: string, reply: Transport.Reply, close: Effect.Effect<void>) {
    super()
    this.request = request
    this.url = url
    this.status = reply.status
    this.fields = reply.headers
    this.body = reply.body
    this.close = close
  }

  get headers(): Headers.Headers {
    if (this.record !== undefined) return this.record
    const joined: { [name: string]: string } = Object.create(null)
    for (let i = 0; i < this.fields.length; i += 2) {
      const name = this.fields[i]!.toLowerCase()
      const before = joined[name]
      joined[name] = before === undefined ? this.fields[i + 1]! : `${before}, ${this.fields[i + 1]!}`
    }
    return (this.record = Headers.fromInput(joined))
  }

  get cookies(): Cookies.Cookies {
    return Cookies.fromSetCookie(
      this.fields.filter((_, i) => i % 2 === 1 && this.fields[i - 1]!.toLowerCase() === "set-cookie")
    )
  }

  get remoteAddress(): Option.Option<string> {
    return Option.none()
  }

  get stream(): Stream.Stream<Uint8Array, HttpClientError.HttpClientError> {
    return Stream.suspend(() => {
      if (this.begun) return Stream.fail(this.unreadable("The body has been read already"))
      this.begun = this.body.bytes === undefined
      const content = Stream.mapError(Transport.toStream(this.body), (cause) => this.unreadable(cause.message, cause))
      return Stream.ensuring(content, this.close)
    })
  }

  /** All of it; kept, so that it may be asked for again, as whatever one likes. */
  private get bytes(): Effect.Effect<Uint8Array, HttpClientError.HttpClientError> {
    return Effect.suspend(() => {
      if (this.body.bytes !== undefined) return Effect.succeed(this.body.bytes)
      if (this.whole !== undefined) return this.whole
      if (this.begun) return Effect.fail(this.unreadable("The body has been read already"))
      this.begun = true
      const whole = Deferred.makeUnsafe<Uint8Array, HttpClientError.HttpClientError>()
      // Whoever asks meanwhile waits for who asked first; if that one is interrupted, he is not.
      this.whole = Deferred.await(whole)
      const read = Effect.mapError(Transport.collect(this.body), (cause) => this.unreadable(cause.message, cause))
      return Effect.onExitPrimitive(read, (exit) => {
        const givenUp = () => Exit.fail(this.unreadable("Whoever began to read the body was interrupted"))
        Deferred.doneUnsafe(whole, Exit.hasInterrupts(exit) ? givenUp() : exit)
        return this.close
      })
    })
  }

  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpClientError.HttpClientError> {
    return Effect.map(this.bytes, ({ buffer, byteLength, byteOffset }) =>
      // Others must not see what else a shared buffer holds.
      (buffer as ArrayBuffer).slice(byteOffset, byteOffset + byteLength)
    )
  }

  get text(): Effect.Effect<string, HttpClientError.HttpClientError> {
    return Effect.map(this.bytes, (bytes) => utf8.decode(bytes))
  }

  get json(): Effect.Effect<any, HttpClientError.HttpClientError> {
    return this.parsed((text) => (text === "" ? null : JSON.parse(text)))
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpClientError.HttpClientError> {
    // A leading "?" is content, and would be dropped as the mark of a query.
    return this.parsed((text) => UrlParams.fromInput(new URLSearchParams(text.replace(/^\?/, "%3F"))))
  }

  get formData(): Effect.Effect<any, HttpClientError.HttpClientError> {
    return Effect.flatMap(this.bytes, (bytes) =>
      Effect.tryPromise({
        try: () => new Response(bytes, { headers: { "content-type": this.headers["content-type"] ?? "" } }).formData(),
        catch: (cause) => this.unreadable(undefined, cause)
      })
    )
  }

  get upgrade(): Effect.Effect<never, HttpClientError.HttpClientError> {
    const description = "a transport hands over no connection"
    const reason = new HttpClientError.StatusCodeError({ request: this.request, response: this, description })
    return Effect.fail(new HttpClientError.HttpClientError({ reason }))
  }

  toJSON(): unknown {
    const what = { _id: "HttpClientResponse", request: this.request.toJSON(), status: this.status }
    return HttpIncomingMessage.inspect(this, what)
  }

  pipe() {
    // oxlint-disable-next-line prefer-rest-params
    return pipeArguments(this, arguments)
  }

  private parsed<A>(parse: (text: string) => A): Effect.Effect<A, HttpClientError.HttpClientError> {
    return Effect.flatMap(this.text, (text) =>
      Effect.try({ try: () => parse(text), catch: (cause) => this.unreadable(undefined, cause) })
    )
  }

  private unreadable(description: string | undefined, cause?: unknown): HttpClientError.HttpClientError {
    const reason = new HttpClientError.DecodeError({ request: this.request, response: this, description, cause })
    return new HttpClientError.HttpClientError({ reason })
  }
}

// --- a transport over a client --------------------------------------------------------------------------------------

export interface TransportOptions {
  /** Whether the client decodes what is encoded, as `fetch` does: then answers do not say `Content-Encoding` any more. Default: false. */
  readonly decodes?: boolean | undefined
}

/**
 * A transport that sends through `client`: `fetch`, a client under test, one with policies.
 *
 * Not all that a transport promises can be kept. The target is as `URL` writes it; headers lose their order, case and repetition (but
 * for `Set-Cookie` of an answer); interim answers are not told of; `onSent` is called before the client is asked, and whatever fails
 * then counts as sent, unless the client's error says better. `firstByteMillis` is counted from the start. What is encoded
 * (`Content-Encoding`) has no length. An answer that the client rejects by its status is an answer.
 */
export const toTransport = <E>(client: Client<E>, { decodes = false }: TransportOptions = {}): Transport.Transport => {
  const scoped = HttpClient.withScope(client)
  return {
    exchange: (origin, request, options = {}) =>
      Effect.withFiber((fiber) => {
        const scope = Scope.forkUnsafe(scopeOf(fiber))
        const clock = fiber.getRef(Clock.Clock)
        const endsAt = timer.now(clock) + (options.totalMillis || Infinity)
        /** Within so long, and what is left of the whole. */
        const within = <A, E, R, E2>(
          self: Effect.Effect<A, E, R>,
          millis: number,
          kind: Transport.Kind,
          late: (kind: Transport.Kind) => E2
        ) => {
          const left = endsAt - timer.now(clock)
          const duration = Math.min(millis || Infinity, left)
          if (duration === Infinity) return self as Effect.Effect<A, E | E2, R>
          const orElse = () => Effect.fail(late(left <= duration ? "totalTimeout" : kind))
          return Effect.timeoutOrElse(self, { duration, orElse })
        }
        const sent = Effect.suspend(() => {
          options.onSent?.()
          return Effect.matchEffect(scoped.execute(toClientRequest(origin, request)), {
            onSuccess: Effect.succeed,
            onFailure: (error) => {
              const rejected = rejectedIn(error)
              return rejected === undefined ? Effect.fail(toFailed(error)) : Effect.succeed(rejected)
            }
          })
        })
        const answered = within(
          Effect.provideService(sent, Scope.Scope, scope),
          options.firstByteMillis ?? 0,
          "headersTimeout",
          (kind) => new Transport.UpstreamFailed({ kind, sent: true, cause: undefined })
        )
        const reply = Effect.flatMap(answered, (answer) => {
          const isEncoded = answer.headers["content-encoding"] !== undefined
          const headers = decodes && isEncoded ? without(encoding, fieldsOf(answer)) : fieldsOf(answer)
          const { maxBytes = Infinity } = options
          const said = isEncoded ? NaN : Number(answer.headers["content-length"])
          const late = (kind: Transport.Kind) => new Transport.BodyFailed({ kind, cause: undefined })
          const content = isEmpty(request.method, answer)
            ? Transport.empty
            : Transport.stream(
                pulledWith(Stream.mapError(bounded(answer.stream, maxBytes, said), toBodyFailed), (pull) =>
                  within(pull, options.idleMillis ?? 0, "idleTimeout", late)
                ),
                said >= 0 ? said : undefined
              )
          const close = closing(scope)
          const body: Transport.Body = {
            ...content,
            pipeTo: (sink) => Effect.onExitPrimitive(content.pipeTo(sink), () => close),
            abort: () => void Effect.runFork(close)
          }
          return Effect.succeed({ status: answer.status, headers, body: content === Transport.empty ? content : body })
        })
        return Effect.onExitPrimitive(reply, (exit) => (Exit.isSuccess(exit) ? undefined : Scope.close(scope, exit)))
      })
  }
}

const encoding: ReadonlySet<string> = new Set(["content-encoding", "content-length"])
const framing: ReadonlySet<string> = new Set(["content-length", "transfer-encoding"])

const without = (names: ReadonlySet<string>, headers: Transport.Headers): Transport.Headers =>
  headers.filter((_, i) => !names.has(headers[i - (i % 2)]!.toLowerCase()))

const pulledWith = <A, E>(
  self: Stream.Stream<A, E>,
  f: <B, E2, R>(pull: Effect.Effect<B, E2, R>) => Effect.Effect<B, E2 | E, R>
): Stream.Stream<A, E> =>
  Stream.unwrap(Effect.map(Stream.toPull(self), (pull) => Stream.fromPull(Effect.succeed(f(pull)))))

const bounded = <E>(
  self: Stream.Stream<Uint8Array, E>,
  maxBytes: number,
  said: number
): Stream.Stream<Uint8Array, E | Transport.BodyFailed> => {
  if (maxBytes === Infinity) return self
  const tooLarge = (got: string) => {
    const cause = new Error(`Expected at most ${maxBytes} bytes, got ${got}`)
    return new Transport.BodyFailed({ kind: "tooLarge", cause })
  }
  if (said > maxBytes) return Stream.fail(tooLarge(`${said}`))
  return Stream.suspend(() => {
    let length = 0
    return Stream.mapEffect(self, (chunk) => {
      length += chunk.length
      return length > maxBytes ? Effect.fail(tooLarge(`${length} or more`)) : Effect.succeed(chunk)
    })
  })
}

const toClientRequest = (origin: string, { body, headers: all, method, target }: Transport.Request): Request => {
  const headers = without(framing, all)
  const record: { [name: string]: string } = Object.create(null)
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase()
    const before = record[name]
    record[name] =
      before === undefined ? headers[i + 1]! : `${before}${name === "cookie" ? "; " : ", "}${headers[i + 1]!}`
  }
  if (body.bytes === undefined && body.length !== undefined) record["content-length"] = String(body.length)
  const type = record["content-type"]
  const content =
    body.length === 0
      ? HttpBody.empty
      : body.bytes === undefined
        ? HttpBody.stream(Transport.toStream(body), type, body.length)
        : HttpBody.uint8Array(body.bytes, type)
  return HttpClientRequest.makeWith(
    method,
    origin + target,
    UrlParams.empty,
    Option.none(),
    Headers.fromInput(record),
    content
  )
}

const toFailed = (error: unknown): Transport.UpstreamFailed | Refused.Refused => {
  const cause = causeOf(error)
  if (cause instanceof Transport.UpstreamFailed || cause instanceof Refused.Refused) return cause
  const tag = HttpClientError.isHttpClientError(error) ? error.reason._tag : undefined
  if (tag === "EncodeError") return new Transport.UpstreamFailed({ kind: "requestBody", sent: false, cause: error })
  if (tag === "InvalidUrlError") return new Transport.UpstreamFailed({ kind: "protocol", sent: false, cause: error })
  if (tag === "DecodeError") return new Transport.UpstreamFailed({ kind: "protocol", sent: true, cause: error })
  return new Transport.UpstreamFailed({ kind: "reset", sent: true, cause: error })
}

const toBodyFailed = (error: unknown): Transport.BodyFailed => {
  const cause = causeOf(error)
  return cause instanceof Transport.BodyFailed ? cause : new Transport.BodyFailed({ kind: "reset", cause: error })
}

/** What stands behind a client's error; what is none is its own. */
const causeOf = (error: unknown): unknown => (HttpClientError.isHttpClientError(error) ? error.cause : error)

// --- answers ----------------------------------------------------------------------------------------------------------

/** The fields of an answer, as they came where that is known. Elsewhere its record has but one `Set-Cookie`, and the cookies are apart. */
const fieldsOf = (answer: Answer): Transport.Headers => {
  if (answer instanceof Received) return answer.fields
  const fields = Object.entries(answer.headers).flatMap(([name, value]) => (name === "set-cookie" ? [] : [name, value]))
  for (const cookie of Cookies.toSetCookieHeaders(answer.cookies)) fields.push("set-cookie", cookie)
  return fields
}

/** The answer that a client has made a failure of, by its status: `HttpClient.filterStatusOk`. */
const rejectedIn = (error: unknown): Answer | undefined =>
  HttpClientError.isHttpClientError(error) && error.reason._tag === "StatusCodeError"
    ? error.reason.response
    : undefined

const headOf = (answer: Answer): Ending.Head => ({ status: answer.status, headers: fieldsOf(answer) })

/** What a failure says of the other side; `undefined` where it is none of a client's, nor a refusal. */
const endingOf = (failure: unknown): Ending.Ending | undefined => {
  if (failure instanceof Refused.Refused) return failure
  if (!HttpClientError.isHttpClientError(failure)) return undefined
  const rejected = rejectedIn(failure)
  return rejected === undefined ? toFailed(failure) : headOf(rejected)
}

const failureIn = (cause: Cause.Cause<unknown>): unknown => cause.reasons.find(Cause.isFailReason)?.error

// --- policies -------------------------------------------------------------------------------------------------------

/** Scheme, host and port of where a request goes; empty where its URL is none. */
export const originOf = (request: Request): string =>
  Option.match(HttpClientRequest.toUrl(request), { onNone: () => "", onSome: (url: Url) => url.origin })

export interface GateOptions {
  /** What a request asks of the gate. Default: cost 1, no key. */
  readonly ask?: ((request: Request) => Gate.Ask | undefined) | undefined
  /**
   * Whether what answers say of their sender's limits tightens the gate, or the ask's key; see `RateLimitHeaders`. Default: false for a
   * gate, which may stand in front of several, true for gates by origin.
   */
  readonly hints?: boolean | RateLimitHeaders.Options | undefined
}

/**
 * Each request holds a permit of `gate`, from before it is sent until its answer's body has ended. The gate learns from each end: an answer
 * of 429, 503 or 504 and a connection that fails say that the other side has too much to do.
 *
 * To hold it until the answer's head alone: `HttpClient.transformResponse(gate.run)`. Then as many bodies flow as like.
 */
export const gate: {
  (gate: Gate.Gate, options?: GateOptions): <E, R>(self: Client<E, R>) => Client<E | Refused.Refused, R | Scope.Scope>
  <E, R>(self: Client<E, R>, gate: Gate.Gate, options?: GateOptions): Client<E | Refused.Refused, R | Scope.Scope>
} = dual(isFirst, <E, R>(self: Client<E, R>, gate: Gate.Gate, options: GateOptions = {}) =>
  holding(self, (sent, request) =>
    Effect.flatMap(gate.hold(options.ask?.(request)), (permit) => told(sent, permit, options.hints ?? false))
  )
)

export interface GatesOptions extends GateOptions {
  /** Which gate a request goes through. Default: that of its origin. */
  readonly key?: ((request: Request) => string) | undefined
}

/** As `gate`, with a gate for each origin. */
export const gates: {
  (
    gates: GateMap.GateMap,
    options?: GatesOptions
  ): <E, R>(self: Client<E, R>) => Client<E | Refused.Refused, R | Scope.Scope>
  <E, R>(
    self: Client<E, R>,
    gates: GateMap.GateMap,
    options?: GatesOptions
  ): Client<E | Refused.Refused, R | Scope.Scope>
} = dual(isFirst, <E, R>(self: Client<E, R>, gates: GateMap.GateMap, options: GatesOptions = {}) => {
  const { ask, hints = true, key = originOf } = options
  return holding(self, (sent, request) =>
    Effect.flatMap(gates.hold(key(request), ask?.(request)), (permit) => told(sent, permit, hints))
  )
})

/** Tells the gate what the end of a request says of the other side. */
const told = <E, R>(sent: Sent<E, R>, permit: Gate.Permit, hints: boolean | RateLimitHeaders.Options): Sent<E, R> =>
  Effect.onExitPrimitive(sent, (exit) => {
    const ending = Exit.isSuccess(exit) ? headOf(exit.value) : endingOf(failureIn(exit.cause))
    // What is cut, and what is none of ours, the gate judges itself.
    if (ending === undefined) return undefined
    if ("status" in ending) permit.answered(Ending.load(ending))
    else permit.release(Ending.load(ending))
    if (hints === false || !("status" in ending)) return undefined
    for (const hint of RateLimitHeaders.hints(ending, undefined, hints === true ? undefined : hints))
      permit.tighten(hint)
    return undefined
  })

/** The answer's head comes within `budget`, all attempts and waits included, or the call fails. Around the whole of a call, body and all,
 * stands `Deadline.within` itself. */
export const deadline: {
  (budget: Duration.Input): <E, R>(self: Client<E, R>) => Client<E | Deadline.DeadlineExceeded, R>
  <E, R>(self: Client<E, R>, budget: Duration.Input): Client<E | Deadline.DeadlineExceeded, R>
} = dual(2, <E, R>(self: Client<E, R>, budget: Duration.Input) =>
  HttpClient.transformResponse(self, Deadline.within(budget))
)

/** Requests go at this urgency. */
export const priority: {
  (urgency: Priority.Urgency): <E, R>(self: Client<E, R>) => Client<E, R>
  <E, R>(self: Client<E, R>, urgency: Priority.Urgency): Client<E, R>
} = dual(2, <E, R>(self: Client<E, R>, urgency: Priority.Urgency) =>
  HttpClient.transformResponse(self, Priority.at(urgency))
)

/** Requests go on behalf of this tenant. */
export const tenant: {
  (tenant: string): <E, R>(self: Client<E, R>) => Client<E, R>
  <E, R>(self: Client<E, R>, tenant: string): Client<E, R>
} = dual(2, <E, R>(self: Client<E, R>, tenant: string) => HttpClient.transformResponse(self, Tenant.as(tenant)))

/**
 * Requests go through the circuit of their origin, or of `key`. Make the breaker with `judge: Client.judge`, for which an answer of 500, 502,
 * 503 or 504 is a failure: to a breaker that is not told, every answer is a success.
 */
export const breaker: {
  (
    breaker: CircuitBreaker.CircuitBreaker,
    key?: (request: Request) => string
  ): <E, R>(self: Client<E, R>) => Client<E | Refused.Refused, R>
  <E, R>(
    self: Client<E, R>,
    breaker: CircuitBreaker.CircuitBreaker,
    key?: (request: Request) => string
  ): Client<E | Refused.Refused, R>
} = dual(
  isFirst,
  <E, R>(self: Client<E, R>, breaker: CircuitBreaker.CircuitBreaker, key: (request: Request) => string = originOf) =>
    HttpClient.transform(self, (sent, request) => breaker.run(sent, key(request)))
)

/**
 * What the end of a request says of the other side, for a breaker: 500, 502, 503 and 504 are failures, with the answer's `Retry-After`, and
 * so is no answer. What we have done ourselves (a body that broke off, a URL that is none, a refusal) says nothing, nor does the refusal of a
 * proxy on the way (`ProxyStatus`).
 */
export const judge = (exit: Exit.Exit<unknown, unknown>): CircuitBreaker.Outcome => {
  if (Exit.isSuccess(exit)) return Ending.health(headOf(exit.value as Answer))
  const ending = endingOf(failureIn(exit.cause))
  return ending === undefined ? CircuitBreaker.failure() : Ending.health(ending)
}

// --- attempts -------------------------------------------------------------------------------------------------------

export interface AttemptsOptions {
  /** What may be sent twice, and hedged. Default: GET, HEAD, OPTIONS, PUT, DELETE and QUERY. */
  readonly idempotent?: ((request: Request) => boolean) | undefined
  /** An answer, or a refusal, that says to come back later than this is the call's. Default: 1 minute. */
  readonly longest?: Duration.Input | undefined
}

/** The end of an attempt after which another may be made: an answer, or an error. */
export class Tried {
  readonly end: Exit.Exit<Answer, unknown>
  /** What the answer says of when to come back, which `Attempts.usual` heeds. */
  readonly retryAfter: Option.Option<Duration.Duration>

  constructor(end: Exit.Exit<Answer, unknown>, retryAfterMillis?: number) {
    this.end = end
    this.retryAfter = Option.map(Option.fromUndefinedOr(retryAfterMillis), Duration.millis)
  }
}

/**
 * Sends a request again as `attempts` says, where that may be: after 429, the refusal of a proxy on the way and a failure before anything was
 * sent, any request; after 502, 503, 504 and a failure on the way, one that is idempotent; after a refusal of ours, as it says. One whose
 * body is a stream goes once.
 *
 * An answer that is not the call's is aborted before the next attempt begins to wait. `Retry-After` is heeded as a minimum. What the last
 * attempt comes to is the call's: an answer of 503, too.
 */
export const attempts: {
  (
    attempts: Attempts.Attempts<Tried | Refused.Refused>,
    options?: AttemptsOptions
  ): <E, R>(self: Client<E, R>) => Client<E, R | Scope.Scope>
  <E, R>(
    self: Client<E, R>,
    attempts: Attempts.Attempts<Tried | Refused.Refused>,
    options?: AttemptsOptions
  ): Client<E, R | Scope.Scope>
} = dual(
  isFirst,
  <E, R>(
    self: Client<E, R>,
    attempts: Attempts.Attempts<Tried | Refused.Refused>,
    { idempotent = isIdempotent, longest = "1 minute" }: AttemptsOptions = {}
  ): Client<E, R | Scope.Scope> => {
    const longestMillis = Duration.toMillis(longest)
    const send = sending(self)
    return holding(self, (sent, request) => {
      if (!isReplayable(request.body)) return sent
      const twice = idempotent(request)
      return Effect.withFiber((fiber) => {
        const around = scopeOf(fiber)
        /** Those that have come to an answer, and hold it. */
        const open = new Map<Answer, Scope.Closeable>()
        const attempt = Effect.suspend(() => {
          const scope = Scope.forkUnsafe(around)
          const one: Attempt<E, R> = Effect.matchCauseEffect(send(request), {
            onSuccess: (answer): Attempt<E, never> => {
              open.set(answer, scope)
              const again = Ending.again(headOf(answer), twice, longestMillis)
              return again === false ? Effect.succeed(Exit.succeed(answer)) : tried(Exit.succeed(answer), again)
            },
            onFailure: (cause): Attempt<E, never> => {
              const failure = failureOf(cause)
              const again = afterFailure(failure, twice, longestMillis)
              if (again === false) return Effect.succeed(Exit.failCause(cause))
              return failure instanceof Refused.Refused ? Effect.fail(failure) : tried(Exit.failCause(cause), again)
            }
          })
          return Effect.onExitPrimitive(Effect.provideService(one, Scope.Scope, scope), (exit) =>
            [...open.values()].includes(scope) ? undefined : Scope.close(scope, exit)
          )
        })
        const drop = (answer: Answer) => {
          const scope = open.get(answer)
          open.delete(answer)
          return scope === undefined ? Effect.void : closing(scope)
        }
        const dropped = (failure: Tried | Refused.Refused) =>
          failure instanceof Tried && Exit.isSuccess(failure.end) ? drop(failure.end.value) : Effect.void
        /** What the call comes to; of a hedged pair another that was there in the same moment is aborted. */
        const give = (end: Exit.Exit<Answer, unknown>): Sent<E, never> => {
          const others = [...open.keys()].filter((answer) => !Exit.isSuccess(end) || answer !== end.value)
          return Effect.andThen(Effect.forEach(others, drop, { discard: true }), end as Exit.Exit<Answer, E>)
        }
        return Effect.matchEffect(attempts.run(attempt, { idempotent: twice, dropped }), {
          onSuccess: give,
          onFailure: (failure) => give(failure instanceof Tried ? failure.end : Exit.fail(failure))
        })
      })
    })
  }
)

const methods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY"])

const isIdempotent = ({ method }: Request): boolean => methods.has(method)

const isReplayable = ({ _tag }: HttpBody.HttpBody): boolean =>
  _tag === "Empty" || _tag === "Uint8Array" || _tag === "FormData"

/** What may be tried again fails, whatever it is; all else succeeds, since `attempts` must not try that again. */
type Attempt<E, R> = Effect.Effect<Exit.Exit<Answer, E>, Tried | Refused.Refused, R | Scope.Scope>

const tried = (end: Exit.Exit<Answer, unknown>, again: true | number): Effect.Effect<never, Tried> =>
  Effect.fail(new Tried(end, again === true ? undefined : again))

const afterFailure = (failure: unknown, twice: boolean, longestMillis: number): boolean | number => {
  if (failure instanceof Deadline.DeadlineExceeded) return twice
  const ending = endingOf(failure)
  return ending !== undefined && Ending.again(ending, twice, longestMillis)
}

/** The failure of the world, where there is nothing but that. */
const failureOf = (cause: Cause.Cause<unknown>): unknown =>
  cause.reasons.every(Cause.isFailReason) ? cause.reasons[0]?.error : undefined

// --- coalesce -------------------------------------------------------------------------------------------------------

export interface CoalesceOptions {
  /** How much of an answer is held in memory; a larger one is not shared. Default: 1 MiB. */
  readonly maxBytes?: number | undefined
  readonly remember?: Coalesce.Options<unknown, unknown, unknown, unknown>["remember"]
  readonly maxRuns?: number | undefined
  readonly maxCallers?: number | undefined
}

/**
 * Identical GETs and HEADs (same URL, same headers, whose order does not matter) that come at the same time share one, whose answer is in
 * memory, and each gets it; see `Coalesce`. Where it turns out to be too large for that, each of them is sent by itself.
 */
export const coalesce: {
  (
    name: string,
    options?: CoalesceOptions
  ): <E, R>(self: Client<E, R>) => Effect.Effect<Client<E | Refused.Refused, R>, never, R | Scope.Scope>
  <E, R>(
    self: Client<E, R>,
    name: string,
    options?: CoalesceOptions
  ): Effect.Effect<Client<E | Refused.Refused, R>, never, R | Scope.Scope>
} = dual(
  isFirst,
  <E, R>(self: Client<E, R>, name: string, { maxBytes = 1024 * 1024, ...options }: CoalesceOptions = {}) => {
    const send = sending(self)
    return Effect.map(
      Coalesce.make(name, {
        run: (request: Request) => Effect.scoped(Effect.flatMap(send(request), (answer) => inMemory(answer, maxBytes))),
        key: ({ headers, method, url, urlParams }) =>
          JSON.stringify([
            method,
            url,
            urlParams.params,
            Object.entries(headers).toSorted(([a], [b]) => (a < b ? -1 : 1))
          ]),
        ...options
      }),
      (runs) =>
        HttpClient.transform(self, (sent, request) => {
          const isAlike = (request.method === "GET" || request.method === "HEAD") && request.body._tag === "Empty"
          if (!isAlike || request.headers["upgrade"] !== undefined) return sent
          return Effect.flatMap(runs.call(request), (whole) =>
            whole === undefined ? sent : Effect.succeed(new Received(request, whole.url, whole, Effect.void))
          )
        })
    )
  }
)

/** An answer with its body in memory; `undefined` where it is larger than that, or there is no room for it. */
const inMemory = (answer: Answer, maxBytes: number) => {
  const { status, url } = answer
  const reply = (body: Transport.Body) => ({ url, status, headers: fieldsOf(answer), body })
  if (isEmpty(answer.request.method, answer)) return Effect.succeed(reply(Transport.empty))
  const content = Transport.stream(Stream.mapError(answer.stream, (error) => new Unread(error)))
  return Effect.map(Transport.collect(content, maxBytes), (bytes) => reply(Transport.bytes(bytes))).pipe(
    Effect.catch(({ cause, kind }) =>
      kind === "tooLarge" || kind === "noRoom" ? Effect.undefined : Effect.fail((cause as Unread).error)
    )
  )
}

/** The client's own error, on its way through a body. */
class Unread {
  readonly error: HttpClientError.HttpClientError

  constructor(error: HttpClientError.HttpClientError) {
    this.error = error
  }
}

// --- what holds for as long as a body flows ---------------------------------------------------------------------------

function isFirst(args: IArguments): boolean {
  return HttpClient.isHttpClient(args[0])
}

/** Sends a request so that the scope aborts it. A copy: `withScope` knows a request by its identity, and it may be sent twice. */
const sending = <E, R>(self: Client<E, R>): ((request: Request) => Sent<E, R | Scope.Scope>) => {
  const scoped = HttpClient.withScope(self)
  return ({ body, hash, headers, method, url, urlParams }) =>
    Effect.withFiber((fiber) => {
      const request = HttpClientRequest.makeWith(method, url, urlParams, hash, headers, body)
      return Effect.provideService(scoped.postprocess(Effect.succeed(request)), Around, scopeOf(fiber))
    })
}

/** Effect marks a scope as closed before it enters the finalizers: one who is struck between would lose them. */
const closing = (scope: Scope.Closeable): Effect.Effect<void> => Effect.uninterruptible(Scope.close(scope, Exit.void))

const scopeOf = ({ context }: Fiber.Fiber<unknown, unknown>): Scope.Scope =>
  Context.getUnsafe(context as Context.Context<Scope.Scope>, Scope.Scope)

/** The scope in which a request is sent, where that is known: closing it waits for the exchange's, which an abort does not. */
const Around = Context.Reference<Scope.Scope | undefined>("@fairlead/core/http/Client/Around", {
  defaultValue: () => undefined
})

/**
 * What `use` needs a scope for is held until the answer's body has ended, in a scope within the caller's; and not at all where there is
 * no answer.
 */
const holding = <E, R, E2, R2>(
  self: Client<E, R>,
  use: (sent: Sent<E, R | Scope.Scope>, request: Request) => Sent<E2, R2>
): Client<E | E2, R | R2 | Scope.Scope> => {
  const send = sending(self)
  return HttpClient.transform(self, (_, request) =>
    Effect.withFiber((fiber): Sent<E2, R2 | Scope.Scope> => {
      const around = scopeOf(fiber)
      const scope = Scope.forkUnsafe(around)
      const close = closing(scope)
      const used = Effect.provideService(use(send(request), request), Scope.Scope, scope)
      const held = Effect.flatMap(used, (answer) => {
        if (isInMemory(answer)) return Effect.as(close, answer)
        if (!isEmpty(request.method, answer)) return Effect.succeed(withEnd(answer, close))
        // There is nothing to read, and most will not; to its end, though, so that its connection is kept.
        return Effect.as(Effect.andThen(Effect.exit(answer.arrayBuffer), close), withoutBody(answer))
      })
      return Effect.onExitPrimitive(held, (exit) => (Exit.isSuccess(exit) ? undefined : Scope.close(scope, exit)))
    })
  )
}

const isInMemory = (answer: Answer): boolean => answer instanceof Received && answer.body.bytes !== undefined

const isEmpty = (method: string, answer: Answer): boolean =>
  method === "HEAD" ||
  answer.status === 204 ||
  answer.status === 304 ||
  (answer instanceof Received ? answer.body.length === 0 : answer.headers["content-length"] === "0")

const withoutBody = (answer: Answer): Answer => Object.create(answer, { stream: { get: () => Stream.empty } }) as Answer

/** The same answer, at whose body's end `close` runs. */
const withEnd = (answer: Answer, close: Effect.Effect<void>): Answer => {
  const whole = ["arrayBuffer", "formData", "json", "text", "urlParamsBody"] as const
  return Object.create(answer, {
    ...Object.fromEntries(
      whole.map((how) => [how, { get: () => Effect.ensuring(answer[how] as Effect.Effect<unknown>, close) }])
    ),
    stream: { get: () => Stream.ensuring(answer.stream, close) }
  }) as Answer
}
