/**
 * Serves what Effect's `effect/http` makes, an `HttpRouter` or any app, with a `NodeHttp` server below it.
 *
 *     HttpRouter.serve(routes) ─▶ layer ──┐
 *                                         ├─▶ NodeHttp: a region per request, bounds, drain, edge of the Shutdown
 *     app ───────────────────── handler ──┘
 *
 * What `NodeHttp` promises holds. A client that leaves, a deadline and a shutdown interrupt an app wherever it is (a server of
 * `@effect/platform-node` runs an app that is no route uninterruptible), and the same resources outlive it: what it acquired is
 * released when the last byte of the answer is out. Errors become what Effect makes of them (`HttpServerRespondable`; 404 where there is
 * no route); what comes to a 5xx is in the log, unless a middleware is there to see to that.
 *
 * Besides: an answer whose stream fails breaks the connection off, and so does one of another length than it said. A status text and
 * the headers of the connection itself (`Connection`, `Keep-Alive`, `Transfer-Encoding`, `Upgrade`) are the server's. It upgrades no
 * connection: `HttpServerRequest.upgrade` fails.
 *
 * A middleware of the server and a tracer's span end with the head of an answer that is streamed.
 *
 * An entrance of its own, `@fairlead/platform-node/NodeRouter`: who has no router does not load `effect/http` (40 ms).
 */
import {
  Cause,
  Context,
  Deferred,
  Effect,
  Exit,
  FileSystem,
  Inspectable,
  Layer,
  Option,
  Path,
  PlatformError,
  Scope,
  Stream
} from "effect"
import type { Schema } from "effect"
import { Deadline, Shutdown, Transport } from "@fairlead/core"
import {
  Cookies,
  Etag,
  Headers,
  HttpEffect,
  HttpIncomingMessage,
  HttpPlatform,
  HttpServer,
  HttpServerError,
  HttpServerRequest,
  HttpServerResponse,
  Multipart,
  UrlParams
} from "effect/http"
import type { HttpMiddleware } from "effect/http"
import * as NetAddress from "effect/net/NetAddress"
import type { Socket } from "effect/socket/Socket"
import * as fs from "node:fs"
import * as net from "node:net"
import * as NodeHealth from "./NodeHealth.ts"
import * as NodeHttp from "./NodeHttp.ts"
import * as bytes from "./internal/bytes.ts"

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpServerResponse.HttpServerResponse

/**
 * A handler for `NodeHttp.serve` that answers with `app`. A middleware sees the app's answer, and what it fails with; it changes
 * neither, as in `HttpServer.serve`.
 */
export const handler = <E, R>(
  app: Effect.Effect<Response, E, R>,
  middleware?: HttpMiddleware.HttpMiddleware
): NodeHttp.Handler<Exclude<R, HttpServerRequest.HttpServerRequest | Scope.Scope>> => {
  const handled = toHandled(app, middleware)
  return (request) =>
    Effect.withFiber((fiber) => {
      const incoming = new Incoming(new Payload(request), Context.getUnsafe(fiber.context, Scope.Scope))
      return answered(incoming, Effect.provideService(handled, HttpServerRequest.HttpServerRequest, incoming))
    }) as ReturnType<NodeHttp.Handler<any>>
}

export interface Options<R = never> extends NodeHttp.Options {
  /** Answers `/livez`, `/startupz` and `/readyz` before any app, and before there is one: see `NodeHealth`. Default: not at all. */
  readonly health?: NodeHealth.Options<R> | undefined
}

/**
 * The server that `HttpRouter.serve` and `HttpServer.serve` ask for, of `NodeHttp`'s options. It listens as soon as the layer is
 * built, and says 503 until an app is served. It serves one app: when the scope of that closes it is drained, before what the app
 * needs is released.
 *
 * Files are answered with Node's; nothing else has a `FileSystem` from here (`multipart` asks for one).
 */
export const layer = <R = never>(
  options: Options<R>
): Layer.Layer<
  HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator | Path.Path,
  NodeHttp.ListenFailed | NodeHttp.TlsFailed,
  Exclude<R, Scope.Scope>
> => Layer.mergeAll(layerServer(options), HttpPlatform.layer.pipe(Layer.provide(files)), Etag.layerWeak, Path.layer)

/** The server alone. */
export const layerServer = <R = never>(
  options: Options<R>
): Layer.Layer<HttpServer.HttpServer, NodeHttp.ListenFailed | NodeHttp.TlsFailed, Exclude<R, Scope.Scope>> =>
  Layer.effect(HttpServer.HttpServer, make(options))

/** As `layerServer`, until the scope closes. */
export const make = <R = never>(
  options: Options<R>
): Effect.Effect<HttpServer.HttpServer["Service"], NodeHttp.ListenFailed | NodeHttp.TlsFailed, R | Scope.Scope> =>
  Effect.gen(function* () {
    let app: App | undefined
    const answers: NodeHttp.Handler<never> = (request) => (app === undefined ? notYet : app.answer(request))
    const health = options.health === undefined ? undefined : yield* NodeHealth.make(options.health)
    const server = yield* NodeHttp.serve(health === undefined ? answers : health.wrap(answers), options)
    return HttpServer.make({
      address: addressOf(server),
      serve: (effect, middleware) =>
        Effect.gen(function* () {
          if (app !== undefined) return yield* Effect.die(new Error("Expected one app for a server, got a second"))
          app = new App(effect, middleware, yield* Effect.context<Scope.Scope>())
          yield* Effect.addFinalizer(() => server.drain(options.drain ?? "25 seconds"))
        })
    })
  })

const notYet = Effect.succeed<Transport.Reply>({ status: 503, headers: ["Retry-After", "1"], body: Transport.empty })

/** An app with the services of whoever serves it, which are not those of the server. */
class App {
  private readonly handled: ReturnType<typeof toHandled>
  private readonly context: Context.Context<never>

  constructor(
    app: Effect.Effect<Response, unknown, any>,
    middleware: HttpMiddleware.HttpMiddleware | undefined,
    context: Context.Context<never>
  ) {
    this.handled = toHandled(app, middleware)
    // Flat: each call adds to it.
    this.context = Context.makeUnsafe(Context.add(context, Shutdown.Accepted, true).mapUnsafe)
  }

  answer(request: NodeHttp.Request): Effect.Effect<Transport.Reply> {
    return Effect.withFiber((fiber) => {
      const scope = Context.getUnsafe(fiber.context, Scope.Scope)
      const incoming = new Incoming(new Payload(request), scope)
      const context = Context.add(this.context, HttpServerRequest.HttpServerRequest, incoming)
      return answered(incoming, Deadline.provide(this.handled, context))
    })
  }
}

const addressOf = ({ host, port }: NodeHttp.Server): NetAddress.SocketAddress => {
  // A name is an address of this machine, else one could not listen there.
  const address = net.isIP(host) === 0 ? "127.0.0.1" : host
  return NetAddress.inetAddressFromIpStringUnsafe(address, port)
}

// --- from app to reply -----------------------------------------------------------------------------------------------

const toHandled = (
  app: Effect.Effect<Response, unknown, any>,
  middleware: HttpMiddleware.HttpMiddleware | undefined
): Effect.Effect<void, never, HttpServerRequest.HttpServerRequest> => {
  // All around it is not, so that an answer that there is gets out.
  const interruptible = Effect.catchCauseIf(Effect.interruptible(app), Cause.hasInterruptsOnly, leaves)
  return HttpEffect.toHandled(interruptible, take, middleware) as Effect.Effect<void, never, Request>
}

/** Says to Effect's logger who it was that left. */
const leaves = (cause: Cause.Cause<unknown>): Effect.Effect<never, unknown, Request> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
    const gone = request instanceof Incoming && request.payload.request.progress.end === "clientGone"
    return Effect.failCause(gone ? Cause.annotate(cause, HttpServerError.ClientAbort.annotation) : cause)
  })

/** What an app has come to, once it is handled; where it was cut, its interrupt strikes behind this. */
const answered = (incoming: Incoming, handled: Effect.Effect<void>): Effect.Effect<Transport.Reply> =>
  Effect.uninterruptible(
    Effect.matchCauseEffect(handled, {
      onSuccess: () => reply(incoming),
      onFailure: (cause) => {
        const { answer } = incoming
        if (answer === undefined) return Effect.failCause(cause)
        const why = withoutAnswers(cause)
        if (answer.status < 500 || Cause.hasInterruptsOnly(why)) return Effect.succeed(answer)
        return Effect.as(Effect.logError("An app has failed", why), answer)
      }
    })
  )

const reply = ({ answer }: Incoming): Effect.Effect<Transport.Reply> =>
  answer === undefined ? Effect.die(new Error("Expected an app to come to an answer")) : Effect.succeed(answer)

/** Effect puts the answer to a failure beside it. */
const withoutAnswers = <E>(cause: Cause.Cause<E>): Cause.Cause<E> =>
  Cause.fromReasons(
    cause.reasons.filter(
      (reason) => !(Cause.isDieReason(reason) && HttpServerResponse.isHttpServerResponse(reason.defect))
    )
  )

/** Takes the answer of an app for the server to send. */
const take = (request: Request, response: Response): Effect.Effect<void> => {
  const incoming = request as Incoming
  const { body, status } = response
  // Node would take a 1xx for an interim answer, and the client would wait for ever.
  if (!(status >= 200 && status <= 599)) {
    return Effect.die(new RangeError(`Expected a status from 200 to 599, got ${status}`))
  }
  const headers = headersOf(response)
  if (body._tag === "Empty" || status === 205) incoming.answer = { status, headers, body: Transport.empty }
  else if (body._tag === "Uint8Array") incoming.answer = { status, headers, body: Transport.bytes(body.body) }
  else {
    return Effect.withFiber((fiber) => {
      // The server closes it, when the last byte is out: what the app acquired is what the stream lives on.
      const scope = Context.getUnsafe(fiber.context, Scope.Scope)
      HttpEffect.scopeDisableClose(scope)
      const answer = streamed(status, headers, body, fiber.context)
      incoming.answer = answer
      return Scope.addFinalizerExit(incoming.scope, (exit) => {
        // Where it was cut before it was sent.
        answer.body.abort()
        return Scope.close(scope as Scope.Closeable, exit)
      })
    })
  }
  return Effect.void
}

const headersOf = ({ cookies, headers }: Response): Array<string> => {
  const lines: Array<string> = []
  for (const name in headers) lines.push(name, headers[name]!)
  if (!Cookies.isEmpty(cookies)) {
    for (const cookie of Cookies.toSetCookieHeaders(cookies)) lines.push("set-cookie", cookie)
  }
  return lines
}

type Flowing = Exclude<Response["body"], { readonly _tag: "Empty" | "Uint8Array" }>

const streamed = (
  status: number,
  headers: Array<string>,
  body: Flowing,
  context: Context.Context<never>
): Transport.Reply => {
  if (body._tag === "Stream") {
    const length = body.contentLength ?? lengthIn(headers)
    const content = Stream.tapCause(body.stream, (cause) =>
      Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("The stream of an answer has failed", cause)
    )
    const flows = Transport.stream(content, length)
    // With what is around the app, as where it is served by others; once, and not for each pull.
    const pipeTo: Transport.Body["pipeTo"] = (sink) => Effect.provideContext(flows.pipeTo(sink), context)
    return { status, headers, body: { ...flows, pipeTo } }
  }
  const raw = body._tag === "FormData" ? body.formData : body.body
  if (typeof raw === "string") return { status, headers, body: Transport.text(raw) }
  if (raw instanceof Uint8Array) return { status, headers, body: Transport.bytes(raw) }
  if (isReadable(raw)) return { status, headers, body: readable(raw, lengthIn(headers)) }
  // What the Web has for bodies, and an answer of `fetch`, which says what it is.
  const web =
    raw instanceof globalThis.Response
      ? raw
      : new globalThis.Response(raw as ConstructorParameters<typeof globalThis.Response>[0])
  for (const [name, value] of web.headers) {
    if (name === "set-cookie" || Transport.header(headers, name) === undefined) headers.push(name, value)
  }
  const flows = web.body === null ? Transport.empty : readable(web.body, lengthIn(headers))
  return { status: raw instanceof globalThis.Response ? raw.status : status, headers, body: flows }
}

const lengthIn = (headers: Transport.Headers): number | undefined => {
  const length = Transport.header(headers, "content-length")
  return length === undefined || !/^\d{1,15}$/.test(length) ? undefined : Number(length)
}

/** Of Node or of the Web. */
type Readable = AsyncIterable<unknown> & {
  readonly destroy?: () => void
  readonly cancel?: () => Promise<void>
}

const isReadable = (raw: unknown): raw is Readable =>
  typeof raw === "object" && raw !== null && Symbol.asyncIterator in raw

const readable = (source: Readable, length: number | undefined): Transport.Body => {
  const chunks = Stream.map(
    Stream.fromAsyncIterable(source, (cause) => cause),
    (chunk) => (typeof chunk === "string" ? Buffer.from(chunk) : (chunk as Uint8Array))
  )
  const { pipeTo } = Transport.stream(chunks, length)
  const abort = () => {
    source.destroy?.()
    // It cannot be cancelled while it is read, and needs not.
    source.cancel?.().catch(() => {})
  }
  return { length, bytes: undefined, pipeTo, abort }
}

// --- from request to Effect's request --------------------------------------------------------------------------------

/** What the views of one request share: it, and its body, which flows once. */
class Payload {
  readonly request: NodeHttp.Request
  private begun = false
  private whole: Effect.Effect<Uint8Array, HttpServerError.HttpServerError> | undefined = undefined

  constructor(request: NodeHttp.Request) {
    this.request = request
  }

  /** All of it; kept, so that it may be asked for again, as whatever one likes. */
  bytes(view: Incoming): Effect.Effect<Uint8Array, HttpServerError.HttpServerError> {
    return Effect.withFiber((fiber) => {
      if (this.whole !== undefined) return this.whole
      const { body } = this.request
      if (body.bytes !== undefined) return Effect.succeed(body.bytes)
      const max = Number(fiber.getRef(HttpServerRequest.MaxBodySize) ?? Infinity)
      if ((body.length ?? 0) > max) return Effect.fail(tooLarge(view, max))
      const whole = Deferred.makeUnsafe<Uint8Array, HttpServerError.HttpServerError>()
      // Whoever asks meanwhile waits for who asked first. (`Effect.cached` takes a fiber to be made.)
      this.whole = Deferred.await(whole)
      return Effect.onExitPrimitive(this.collect(view, body.length === undefined ? max : Infinity), (exit) => {
        // He was interrupted, and not who asks after him.
        const givenUp = Exit.hasInterrupts(exit)
        Deferred.doneUnsafe(
          whole,
          givenUp ? Effect.fail(unreadable(view, undefined, "Whoever began to read the body was interrupted")) : exit
        )
        return undefined
      })
    })
  }

  private collect(view: Incoming, max: number): Effect.Effect<Uint8Array, HttpServerError.HttpServerError> {
    const chunks: Array<Uint8Array> = []
    const whole = () => (chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    if (max === Infinity) {
      const sink: Transport.Sink = { write: (chunk) => chunks.push(chunk) > 0, onDrain: () => {} }
      return Effect.map(
        this.once(view, (body) => Effect.mapError(body.pipeTo(sink), ({ cause }) => unreadable(view, cause))),
        whole
      )
    }
    let size = 0
    const bounded = Stream.runForEach(this.flow(view), (chunk) => {
      size += chunk.length
      chunks.push(chunk)
      return size > max ? Effect.fail(tooLarge(view, max)) : Effect.void
    })
    return Effect.map(bounded, whole)
  }

  stream(view: Incoming): Stream.Stream<Uint8Array, HttpServerError.HttpServerError> {
    return Stream.suspend(() => (this.whole === undefined ? this.flow(view) : Stream.fromEffect(this.whole)))
  }

  private flow(view: Incoming): Stream.Stream<Uint8Array, HttpServerError.HttpServerError> {
    return Stream.unwrap(
      this.once(view, (body) => Effect.succeed(Stream.mapError(inlet(body), ({ cause }) => unreadable(view, cause))))
    )
  }

  private once<A>(
    view: Incoming,
    use: (body: Transport.Body) => Effect.Effect<A, HttpServerError.HttpServerError>
  ): Effect.Effect<A, HttpServerError.HttpServerError> {
    return Effect.suspend(() => {
      if (this.begun) return Effect.fail(unreadable(view, undefined, "Expected a body that was not read yet"))
      this.begun = true
      return use(this.request.body)
    })
  }
}

/** How much of a body is taken before whoever reads it asks for more. */
const aheadBytes = 65_536

type Chunks = readonly [Uint8Array, ...Array<Uint8Array>]

/** A body as a stream: it flows on a fiber of its own, and waits while a piece of it waits for its reader. */
const inlet = (body: Transport.Body): Stream.Stream<Uint8Array, Transport.BodyFailed> =>
  Stream.fromPull(
    Effect.gen(function* () {
      const chunks: Array<Uint8Array> = []
      let size = 0
      let wake: (() => void) | undefined
      let goOn: (() => void) | undefined
      const sink: Transport.Sink = {
        write: (chunk) => {
          chunks.push(chunk)
          size += chunk.length
          wake?.()
          return size < aheadBytes
        },
        onDrain: (resume) => {
          // Whoever was woken may have taken it by now.
          if (size < aheadBytes) queueMicrotask(resume)
          else goOn = resume
        }
      }
      const fiber = yield* Effect.forkScoped(body.pipeTo(sink), { startImmediately: true })
      fiber.addObserver(() => wake?.())
      const taken = () => {
        const all = chunks.splice(0) as unknown as Chunks
        const resume = goOn
        size = 0
        goOn = undefined
        resume?.()
        return Effect.succeed(all)
      }
      const look = (): Effect.Effect<Chunks, Transport.BodyFailed | Cause.Done> | undefined => {
        if (chunks.length > 0) return taken()
        const exit = fiber.pollUnsafe()
        if (exit === undefined) return undefined
        return exit._tag === "Success" ? Cause.done() : Effect.failCause(exit.cause)
      }
      return Effect.suspend(
        () =>
          look() ??
          Effect.callback<Chunks, Transport.BodyFailed | Cause.Done>((resume) => {
            wake = () => {
              wake = undefined
              resume(Effect.suspend(() => look()!))
            }
            return Effect.sync(() => void (wake = undefined))
          })
      )
    })
  ).pipe(Stream.scoped)

const unreadable = (request: Incoming, cause: unknown, description?: string): HttpServerError.HttpServerError =>
  new HttpServerError.HttpServerError({
    reason: new HttpServerError.RequestParseError({
      request,
      ...(description === undefined ? {} : { description }),
      ...(cause === undefined ? {} : { cause })
    })
  })

const tooLarge = (request: Incoming, max: number): HttpServerError.HttpServerError =>
  new HttpServerError.HttpServerError({
    reason: new HttpServerError.RequestParseError({
      request,
      reason: "BodyTooLarge",
      description: `Expected a body of at most ${max} bytes`
    })
  })

/** What `modify` changes. */
interface View {
  readonly url?: string | undefined
  readonly headers?: Headers.Headers | undefined
  readonly remoteAddress?: Option.Option<string> | undefined
  readonly peerAddress?: Option.Option<string> | undefined
  readonly protocol?: "http" | "https" | undefined
}

class Incoming extends Inspectable.Class implements Request {
  readonly [HttpServerRequest.TypeId]: typeof HttpServerRequest.TypeId = HttpServerRequest.TypeId
  readonly [HttpIncomingMessage.TypeId]: typeof HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly payload: Payload
  /** The server's, of the call. */
  readonly scope: Scope.Scope
  readonly url: string
  /** What is to be sent. */
  answer: Transport.Reply | undefined = undefined
  private readonly view: View
  private ownHeaders: Headers.Headers | undefined = undefined
  private ownCookies: Readonly<Record<string, string>> | undefined = undefined
  private persisted: Request["multipart"] | undefined = undefined

  constructor(payload: Payload, scope: Scope.Scope, view: View = {}) {
    super()
    this.payload = payload
    this.scope = scope
    this.view = view
    this.url = view.url ?? pathOf(payload.request.target)
  }

  get source(): NodeHttp.Request {
    return this.payload.request
  }

  get method(): string {
    return this.source.method
  }

  get originalUrl(): string {
    const { headers, scheme, target } = this.source
    const host = Transport.header(headers, "host")
    return target[0] !== "/" || host === undefined ? target : `${scheme}://${host}${target}`
  }

  get headers(): Headers.Headers {
    return (this.ownHeaders ??= this.view.headers ?? headersFrom(this.source))
  }

  get cookies(): Readonly<Record<string, string>> {
    return (this.ownCookies ??= Cookies.parseHeader(this.headers.cookie ?? ""))
  }

  get remoteAddress(): Option.Option<string> {
    return this.view.remoteAddress ?? Option.fromNullishOr(this.source.remoteAddress)
  }

  get peerAddress(): Option.Option<string> {
    return this.view.peerAddress ?? this.remoteAddress
  }

  get protocol(): "http" | "https" {
    return this.view.protocol ?? this.source.scheme
  }

  modify(view: View): Incoming {
    const next = new Incoming(this.payload, this.scope, { ...this.view, ...view })
    return next
  }

  get stream(): Request["stream"] {
    return this.payload.stream(this)
  }

  get arrayBuffer(): Request["arrayBuffer"] {
    // A copy: the bytes may be a part of a larger buffer, which is not theirs.
    return Effect.map(
      this.payload.bytes(this),
      ({ buffer, byteLength, byteOffset }) => buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer
    )
  }

  get text(): Request["text"] {
    return Effect.map(this.payload.bytes(this), (bytes) => decoder.decode(bytes))
  }

  get json(): Request["json"] {
    return Effect.flatMap(this.text, (text) =>
      Effect.try({
        try: () => (text === "" ? null : (JSON.parse(text) as Schema.Json)),
        catch: (cause) => unreadable(this, cause)
      })
    )
  }

  get urlParamsBody(): Request["urlParamsBody"] {
    return Effect.flatMap(this.payload.bytes(this), (bytes) =>
      Effect.try({
        // A "?" in front belongs to a form; of a query it would be dropped.
        try: () => UrlParams.fromInput(new URLSearchParams(formDecoder.decode(bytes).replace(/^\?/, "%3F"))),
        catch: (cause) => unreadable(this, cause)
      })
    )
  }

  get multipart(): Request["multipart"] {
    return (this.persisted ??= Effect.runSync(Effect.cached(Multipart.toPersisted(this.multipartStream))))
  }

  get multipartStream(): Request["multipartStream"] {
    return Stream.pipeThroughChannel(
      Stream.mapError(this.stream, (cause) => Multipart.MultipartError.fromReason("InternalError", cause)),
      Multipart.makeChannel(this.headers)
    )
  }

  get upgrade(): Effect.Effect<Socket, HttpServerError.HttpServerError> {
    return this.upgradeWith()
  }

  upgradeWith(): Effect.Effect<Socket, HttpServerError.HttpServerError> {
    return Effect.suspend(() => Effect.fail(unreadable(this, undefined, "This server upgrades no connection")))
  }

  override toString(): string {
    return `ServerRequest(${this.method} ${UrlParams.redactUrl(this.url)})`
  }

  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "HttpServerRequest",
      method: this.method,
      url: UrlParams.redactUrl(this.originalUrl)
    })
  }
}

const decoder = new TextDecoder()
const formDecoder = new TextDecoder("utf-8", { ignoreBOM: true })

/** Path and query, also of a target that is a URL. */
const pathOf = (target: string): string => {
  if (!isUrl(target)) return target
  const { pathname, search } = new URL(target)
  return pathname + search
}

const isUrl = (target: string): boolean => target[0] !== "/" && /^https?:\/\//i.test(target)

/** By name in lower case, as Node has them: of some the first counts, cookies are one line, the rest is joined by commas. */
const headersFrom = ({ headers, target }: NodeHttp.Request): Headers.Headers => {
  const all = Object.create(headersPrototype) as Record<string, string>
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase()
    const value = headers[i + 1]!
    const before = all[name]
    if (before === undefined) all[name] = value
    else if (!single.has(name)) all[name] = `${before}${name === "cookie" ? "; " : ", "}${value}`
  }
  // RFC 9112, 3.2.2: that of the target counts.
  if (isUrl(target)) all["host"] = new URL(target).host
  return all as Headers.Headers
}

const headersPrototype = Object.getPrototypeOf(Headers.empty) as object

const single = new Set(
  (
    "age authorization content-length content-type etag expires from host if-modified-since if-unmodified-since last-modified " +
    "location max-forwards proxy-authorization referer retry-after server user-agent"
  ).split(" ")
)

// --- files -----------------------------------------------------------------------------------------------------------

const stat = (path: string) =>
  Effect.callback<FileSystem.File.Info, PlatformError.PlatformError>((resume) => {
    fs.stat(path, { bigint: true }, (error, info) =>
      resume(error === null ? Effect.succeed(infoOf(info)) : Effect.fail(failed("stat", path, error)))
    )
  })

const read: FileSystem.FileSystem["stream"] = (path, options) =>
  Stream.suspend(() => {
    const start = options?.offset === undefined ? 0 : bytes.from(options.offset)
    const length = options?.bytesToRead === undefined ? Infinity : bytes.from(options.bytesToRead)
    if (length === 0) return Stream.empty
    const source: AsyncIterable<Uint8Array> = fs.createReadStream(path, { start, end: start + length - 1 })
    return Stream.fromAsyncIterable(source, (error) => failed("stream", path, error as NodeJS.ErrnoException))
  })

/** As much of a file system as an answer that is a file takes. */
const files = Layer.succeed(FileSystem.FileSystem)(FileSystem.makeNoop({ stat, stream: read }))

const infoOf = (stat: fs.BigIntStats): FileSystem.File.Info => ({
  type: stat.isFile() ? "File" : stat.isDirectory() ? "Directory" : "Unknown",
  mtime: Option.some(stat.mtime),
  atime: Option.some(stat.atime),
  birthtime: Option.some(stat.birthtime),
  dev: stat.dev,
  ino: Option.some(stat.ino),
  mode: Number(stat.mode),
  nlink: Option.some(stat.nlink),
  uid: Option.some(Number(stat.uid)),
  gid: Option.some(Number(stat.gid)),
  rdev: Option.some(stat.rdev),
  size: bytes.of(stat.size),
  blksize: Option.some(bytes.of(stat.blksize)),
  blocks: Option.some(stat.blocks)
})

const failed = (method: string, path: string, cause: NodeJS.ErrnoException): PlatformError.PlatformError =>
  PlatformError.systemError({
    _tag: systemErrors[cause.code ?? ""] ?? "Unknown",
    module: "FileSystem",
    method,
    pathOrDescriptor: path,
    cause
  })

const systemErrors: { readonly [code: string]: PlatformError.SystemErrorTag } = {
  ENOENT: "NotFound",
  EACCES: "PermissionDenied",
  EPERM: "PermissionDenied",
  EISDIR: "BadResource",
  ENOTDIR: "BadResource"
}
