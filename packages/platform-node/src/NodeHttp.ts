/**
 * Serves HTTP/1.1 on one port: each request is one fiber, in a region and a scope of its own.
 *
 *     request ─▶ [ scope [ region: handler ─▶ Reply ─▶ pipeTo ─▶ socket ] ] ─▶ what the handler acquired is released
 *
 * The region covers the handler and the transfer of the body: whoever narrows it (see `Deadline.Region`) bounds both.
 * Past its deadline a call is answered with `onDeadline`, or cut where the head is out. A client that leaves cuts the
 * region with `ClientGone`. A handler's defect is a 500 that says nothing, and a line in the log. A body that breaks
 * off breaks the client's connection off: never a clean end to half an answer.
 *
 * When the scope closes the server is drained, then cut: see `Server.drain`. It refuses by itself only what is no
 * request (400, 408, 414, 431), `CONNECT` and WebSocket upgrades (501); everything else is the handler's.
 */
import { Cause, Context, Data, Deferred, Duration, Effect, Exit, Fiber, Scope } from "effect"
import { Deadline, Reason, Transport } from "@fairlead/core"
import * as http from "node:http"
import * as net from "node:net"
import type { Duplex } from "node:stream"
import { Incoming } from "./internal/incoming.ts"
import * as latin1 from "./internal/latin1.ts"

/** A request as the server hands it on. */
export interface Request extends Transport.Request {
  readonly remoteAddress: string | undefined
  /** The client asked before it sends its body. It is told to go on by `continue`, or when the body is first read. */
  readonly expectsContinue: boolean
  readonly continue: () => void
  /** Passes an interim answer (102, 103) on. Does nothing once the head is out, nor for an HTTP/1.0 client. */
  readonly inform: (status: number, headers: Transport.Headers) => void
  /** What became of it so far: complete when the scope of the handler closes. */
  readonly progress: Progress
  /** For the handler to set: who is told how the call goes. */
  observer: Observer | undefined
}

/** Hears of one call. An object and no closures: those, kept on a request, make V8 keep dead requests for long. */
export interface Observer {
  /** The answer to the call, should its region pass its deadline; in place of the server's. */
  readonly onDeadline: (error: Deadline.DeadlineExceeded) => Transport.Reply
  /** All is over, the scope closed. Must not throw. Cheaper than one more finalizer of the scope. */
  readonly onEnd: () => void
}

/** What was sent to the client. */
export interface Progress {
  /** `undefined` until the head is out. */
  readonly status: number | undefined
  /** Of the body, before chunked coding. */
  readonly bytes: number
  /** Of the request's body, as far as it was read. */
  readonly received: number
  /** `failed`: the body broke off, or the handler had a defect. */
  readonly end: "open" | "complete" | "clientGone" | "deadline" | "shutdown" | "failed"
}

export type Handler<R> = (
  request: Request,
  region: Deadline.Region
) => Effect.Effect<Transport.Reply, never, R | Scope.Scope>

export interface Options {
  readonly host?: string | undefined
  /** 0 for any that is free. */
  readonly port: number
  /** Longest time that a client may take to send, or to take, its next bytes; 60 s. */
  readonly idle?: Duration.Input | undefined
  /** How long a drain waits for what is in flight when the scope closes; 25 s. */
  readonly drain?: Duration.Input | undefined
  /** How many clients may be connected at once; who comes after them is turned away unanswered. 10,000. */
  readonly maxConnections?: number | undefined
  /** Longest request target; beyond it, 414. 8 KiB, and never more than the whole head, for which Node allows 16. */
  readonly maxTargetBytes?: number | undefined
  /** The answer to a call whose region passed its deadline; a bare 504 unless given. Its body must be in memory. */
  readonly onDeadline?: ((error: Deadline.DeadlineExceeded) => Transport.Reply) | undefined
}

export interface Server {
  /** Where it listens. */
  readonly host: string
  readonly port: number
  /** How many requests it has not answered yet. */
  readonly inFlight: () => number
  /**
   * Stops listening and lets what is in flight end, within `budget`. Idle connections are kept until they speak once
   * more (and are told `Connection: close`) or have idled out, since a request may be on its way to us. Succeeds with
   * how many connections were cut when the budget had passed. A second drain joins the first, whose budget holds.
   */
  readonly drain: (budget: Duration.Input) => Effect.Effect<number>
}

/** The port cannot be listened on. */
export class ListenFailed extends Data.TaggedError("ListenFailed")<{
  readonly reason: "inUse" | "denied" | "noSuchAddress" | "other"
  readonly host: string
  readonly port: number
  readonly cause: unknown
}> {
  override get message(): string {
    const why = {
      inUse: "is in use",
      denied: "is not ours to listen on",
      noSuchAddress: "is no address of this machine",
      other: `cannot be listened on: ${String(this.cause)}`
    }
    return `${this.host}:${this.port} ${why[this.reason]}`
  }
}

/** Serves `handler` until the scope closes. */
export const serve = <R>(
  handler: Handler<R>,
  options: Options
): Effect.Effect<Server, ListenFailed, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function* () {
    const context = (yield* Effect.context()) as Context.Context<Exclude<R, Scope.Scope>>
    const settings: Settings = {
      idleMillis: millis(options.idle, 60_000),
      maxTargetBytes: options.maxTargetBytes ?? 8_192,
      onDeadline: options.onDeadline ?? (() => problem(504))
    }
    const live = new Calls()
    let draining: Deferred.Deferred<number> | undefined

    const onRequest = (request: http.IncomingMessage, response: http.ServerResponse) => {
      const call = new Call(request, response, settings)
      if (draining !== undefined) call.lastOfConnection()
      live.add(call)
      call.run(handler, context).addObserver(() => {
        live.remove(call)
        call.observer?.onEnd()
      })
    }
    const server = http
      // An upload may take its time: its silence is bounded by `idle`, not its length by `requestTimeout`.
      .createServer({ optimizeEmptyRequests: true, requestTimeout: 0, headersTimeout: 60_000 })
      .on("request", onRequest)
      .on("checkContinue", onRequest)
      .on("checkExpectation", onRequest)
      .on("connect", (_, socket: Duplex) =>
        refuse(
          socket.on("error", () => {}),
          501
        )
      )
      .on("clientError", onClientError)
    server.maxConnections = options.maxConnections ?? 10_000

    const drain = (budgetMillis: number): Effect.Effect<number> =>
      Effect.suspend(() => {
        if (draining !== undefined) return Deferred.await(draining)
        const done = (draining = Deferred.makeUnsafe<number>())
        for (const call of live.all.slice()) call.lastOfConnection()
        let cut = 0
        const timer = setTimeout(() => {
          for (const call of live.all.slice()) call.cut(new Reason.Shutdown())
          server.getConnections((_, count) => (cut = count))
          server.closeAllConnections()
        }, budgetMillis)
        // Not `server.close`: that closes idle connections first, and a request on its way to one is lost.
        net.Server.prototype.close.call(server, () => {
          clearTimeout(timer)
          // Only this stops Node's own timer; that it does not listen any more is known.
          server.close(() => {})
          const rest = live.all.map((call) => call.fiber!)
          Effect.runFork(
            Effect.andThen(
              Fiber.awaitAll(rest),
              Effect.sync(() => Deferred.doneUnsafe(done, Exit.succeed(cut)))
            )
          )
        })
        return Deferred.await(done)
      })

    const { host, port } = yield* Effect.acquireRelease(listen(server, options), () =>
      drain(millis(options.drain, 25_000))
    )
    return { host, port, inFlight: () => live.all.length, drain: (budget) => drain(Duration.toMillis(budget)) }
  })

/**
 * The calls under way, in no order. Not a `Set`: a set that calls enter and leave at a high rate grows a chain of
 * outgrown tables, each holding what was in it, and all of that outlives the young generation: 5 µs of garbage
 * collection for each request.
 */
class Calls {
  readonly all: Array<Call> = []

  add(call: Call) {
    call.place = this.all.push(call) - 1
  }

  remove(call: Call) {
    const last = this.all.pop()!
    if (last === call) return
    this.all[call.place] = last
    last.place = call.place
  }
}

interface Settings {
  readonly idleMillis: number
  readonly maxTargetBytes: number
  readonly onDeadline: (error: Deadline.DeadlineExceeded) => Transport.Reply
}

const millis = (input: Duration.Input | undefined, otherwise: number): number =>
  input === undefined ? otherwise : Duration.toMillis(input)

const reading = 1
const writing = 2

/** One request and its answer: what the handler is given, where its reply goes, and what became of it. */
class Call implements Request, Progress, Transport.Sink {
  readonly method: string
  readonly target: string
  readonly headers: Transport.Headers
  readonly body: Transport.Body
  status: number | undefined = undefined
  bytes = 0
  end: Progress["end"] = "open"
  observer: Observer | undefined = undefined
  fiber: Fiber.Fiber<void, unknown> | undefined = undefined
  /** Where it stands among the calls under way. */
  place = 0
  private region: Deadline.Region | undefined = undefined
  private turns = 0
  private continued = false
  private readonly request: http.IncomingMessage
  private readonly response: http.ServerResponse
  private readonly settings: Settings

  constructor(request: http.IncomingMessage, response: http.ServerResponse, settings: Settings) {
    this.request = request
    this.response = response
    this.settings = settings
    this.method = request.method!
    this.target = request.url!
    this.headers = request.rawHeaders
    const length = request.headers["content-length"]
    const chunked = request.headers["transfer-encoding"] !== undefined
    this.body =
      chunked || (length !== undefined && length !== "0")
        ? new Incoming(
            request,
            chunked ? undefined : Number(length),
            (clients) => this.turn(reading, clients),
            () => this.continue()
          )
        : Transport.empty
    const gone = () => this.cut(new Reason.ClientGone())
    response.on("close", gone)
    // Sent ahead while another call has the connection: Node does not tell such a response that the client has left.
    if (response.socket === null) request.socket.setMaxListeners(0).once("close", gone)
  }

  get received(): number {
    return this.body instanceof Incoming ? this.body.received : 0
  }

  get progress(): Progress {
    return this
  }

  get remoteAddress(): string | undefined {
    return this.request.socket.remoteAddress
  }

  get expectsContinue(): boolean {
    return this.request.headers.expect !== undefined
  }

  continue() {
    if (this.continued || !this.expectsContinue || this.response.headersSent) return
    this.continued = true
    this.response.writeContinue()
  }

  inform(status: number, headers: Transport.Headers) {
    const { headersSent, socket } = this.response
    if (headersSent || socket === null || this.request.httpVersionMinor === 0) return
    let head = `HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? ""}\r\n`
    try {
      for (let i = 0; i < headers.length; i += 2) {
        http.validateHeaderName(headers[i]!)
        http.validateHeaderValue(headers[i]!, headers[i + 1]!)
        head += `${headers[i]}: ${headers[i + 1]}\r\n`
      }
    } catch {
      // What cannot be said is not said: the answer itself is still to come.
      return
    }
    socket.write(`${head}\r\n`, "latin1")
  }

  /** Begins the call. */
  run<R>(handler: Handler<R>, context: Context.Context<Exclude<R, Scope.Scope>>): Fiber.Fiber<void, unknown> {
    const scope = Scope.makeUnsafe()
    const scoped = Context.add(context, Scope.Scope, scope) as Context.Context<R | Scope.Scope>
    this.fiber = Deadline.start(scoped, (region) => {
      this.region = region
      const call = Effect.flatMap(this.handle(handler, region), (reply) => this.send(reply))
      // `Effect.scoped` in one frame with the rest of what happens at the end.
      return Effect.onExitPrimitive(call, (exit) => {
        const said = Exit.isSuccess(exit) ? undefined : this.settle(exit.cause, region)
        const closed = Scope.closeUnsafe(scope, exit)
        return said === undefined || closed === undefined ? (said ?? closed) : Effect.andThen(said, closed)
      })
    })
    return this.fiber
  }

  private handle<R>(handler: Handler<R>, region: Deadline.Region): ReturnType<Handler<R>> {
    if (this.target.length > this.settings.maxTargetBytes) return Effect.succeed(problem(414))
    if (this.request.headers.upgrade?.toLowerCase() === "websocket") return Effect.succeed(problem(501))
    try {
      return handler(this, region)
    } catch (defect) {
      return Effect.die(defect)
    }
  }

  /** Writes the head, and moves the body where it has yet to come. */
  private send(reply: Transport.Reply): Effect.Effect<void, Transport.BodyFailed> {
    const { body } = reply
    if (!this.head(reply)) {
      body.abort()
      this.answer(problem(502))
      return Effect.void
    }
    if (body.bytes !== undefined || bodyless(this.method, reply.status)) {
      body.abort()
      this.finish(body.bytes)
      return Effect.void
    }
    // Head and first chunk often come together, and go out together then. Else the head does not wait.
    queueMicrotask(() => {
      if (this.bytes === 0 && this.end === "open") this.response.flushHeaders()
    })
    return Effect.map(body.pipeTo(this), () => this.finish(undefined))
  }

  /** Whether the head could be written: it cannot where the reply holds what no header may. */
  private head({ body, headers, status }: Transport.Reply): boolean {
    try {
      this.response.writeHead(status, framed(headers, body.length, bodyless(this.method, status)) as Array<string>)
      this.status = status
      return true
    } catch {
      // Node keeps the text of the status that it was given first.
      this.response.statusMessage = ""
      return false
    }
  }

  /** Sends a reply that is in memory. */
  private answer(reply: Transport.Reply) {
    if (this.head(reply)) this.finish(reply.body.bytes)
  }

  private finish(bytes: Uint8Array | undefined) {
    const { response } = this
    if (bytes === undefined || bytes.length === 0 || bodyless(this.method, this.status!)) response.end()
    else {
      this.bytes += bytes.length
      // As a string it goes out in one piece with the head: one `write` where two buffers take the dearer `writev`.
      if (bytes.length <= stringBytes) response.end(latin1.decode(bytes), "latin1")
      else response.end(bytes)
    }
    if (this.end === "open") this.end = "complete"
    // Bytes that a slow reader has yet to take. When they are gone, Node sets its own timeout.
    if (response.socket !== null && response.socket.writableLength > 0) this.turn(writing, true)
    if (this.body !== Transport.empty && !this.request.complete) this.linger()
  }

  /** The rest of a body that nobody wants is thrown away for a while, so that the client gets to read the answer. */
  private linger() {
    const { socket } = this.request
    const timer = setTimeout(() => socket.destroy(), lingerMillis).unref()
    this.request.once("close", () => clearTimeout(timer))
  }

  /** The region has ended, the scope is about to: nothing may stay half said. */
  private settle(cause: Cause.Cause<unknown>, region: Deadline.Region): Effect.Effect<void> | undefined {
    const answers = this.end === "open" && !this.response.headersSent
    const exceeded = Deadline.exceededBy(region)
    const defect = exceeded === undefined && Cause.hasDies(cause)
    if (this.end === "open") {
      this.end = exceeded !== undefined ? "deadline" : Cause.hasInterruptsOnly(cause) ? "shutdown" : "failed"
    }
    if (answers && exceeded !== undefined) this.answer((this.observer ?? this.settings).onDeadline(exceeded))
    if (answers && defect) this.answer(problem(500))
    // Said in full or cut: half an answer never ends cleanly.
    if (!this.response.writableEnded) this.response.destroy()
    return defect ? Effect.logError("A handler had a defect", cause) : undefined
  }

  /** Ends a call that is under way. */
  cut(reason: Reason.ClientGone | Reason.Shutdown) {
    if (this.end !== "open") return
    this.end = reason._tag === "ClientGone" ? "clientGone" : "shutdown"
    this.region?.cut(reason)
  }

  lastOfConnection() {
    this.response.shouldKeepAlive = false
  }

  write(chunk: Uint8Array): boolean {
    this.bytes += chunk.length
    if (this.response.write(chunk)) return true
    this.turn(writing, true)
    return false
  }

  onDrain(resume: () => void) {
    this.response.once("drain", () => {
      this.turn(writing, false)
      resume()
    })
  }

  /** While it is the client's turn to send or to take, the socket's timer runs, and closes it when nothing moves. */
  private turn(what: typeof reading | typeof writing, clients: boolean) {
    const before = this.turns
    this.turns = clients ? before | what : before & ~what
    if ((before === 0) === (this.turns === 0)) return
    this.response.socket?.setTimeout(this.turns === 0 ? 0 : this.settings.idleMillis)
  }
}

const lingerMillis = 10_000

/** Node copies a string of up to 16 KiB, head included, without allocating. */
const stringBytes = 8_192

const bodyless = (method: string, status: number): boolean => method === "HEAD" || status === 204 || status === 304

/** The headers without what belongs to the hop before, and with the length that the body has. */
const framed = (headers: Transport.Headers, length: number | undefined, bodyless: boolean): Transport.Headers => {
  const result: Array<string> = []
  let lengthSaid = bodyless
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!
    switch (name.length) {
      case 7:
      case 10:
      case 17:
        if (hop.has(name.toLowerCase())) continue
        break
      case 14:
        if (name.toLowerCase() === "content-length") {
          // Of an answer without a body, it says how long the body would have been.
          if (!bodyless && Number(headers[i + 1]) !== length) continue
          lengthSaid = true
        }
    }
    result.push(name, headers[i + 1]!)
  }
  if (!lengthSaid && length !== undefined) result.push("Content-Length", `${length}`)
  return result
}

const hop = new Set(["upgrade", "connection", "keep-alive", "transfer-encoding"])

/** An answer of the server's own: RFC 9457, and nothing but what the status says. */
const problem = (status: number): Transport.Reply => ({
  status,
  headers: ["Content-Type", "application/problem+json"],
  body: Transport.text(problemText(status))
})

const problemText = (status: number) =>
  JSON.stringify({ type: "about:blank", title: http.STATUS_CODES[status], status })

const onClientError = (error: NodeJS.ErrnoException, socket: Duplex & { _httpMessage?: http.ServerResponse }) => {
  const answered = socket._httpMessage?.headersSent === true
  if (!socket.writable || answered || error.code === "ECONNRESET") socket.destroy()
  else refuse(socket, clientErrors[error.code ?? ""] ?? 400)
}

const clientErrors: { readonly [code: string]: number } = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408
}

/** Answers where there is no request to answer, and closes the connection. */
const refuse = (socket: Duplex, status: number) => {
  const body = problemText(status)
  socket.end(
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nContent-Type: application/problem+json\r\n` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    () => socket.destroy()
  )
}

const listen = (
  server: http.Server,
  { host = "127.0.0.1", port }: Options
): Effect.Effect<{ readonly host: string; readonly port: number }, ListenFailed> =>
  Effect.callback((resume) => {
    // It stays: an error after that is a connection that could not be accepted, and concerns nobody else.
    server.on("error", (cause: NodeJS.ErrnoException) =>
      resume(Effect.fail(new ListenFailed({ reason: listenReasons[cause.code ?? ""] ?? "other", host, port, cause })))
    )
    server.listen({ host, port }, () =>
      resume(Effect.succeed({ host, port: (server.address() as net.AddressInfo).port }))
    )
  })

const listenReasons: { readonly [code: string]: ListenFailed["reason"] } = {
  EADDRINUSE: "inUse",
  EACCES: "denied",
  EADDRNOTAVAIL: "noSuchAddress",
  ENOTFOUND: "noSuchAddress"
}
