/** One call on the server's side: from the request's head to the last byte of its answer. */
import { Cause, Context, Effect, Exit, Scope } from "effect"
import type { Fiber } from "effect"
import { Deadline, Reason, Transport } from "@fairlead/core"
import * as http from "node:http"
import type { Handler, Observer, Progress, Request } from "../NodeHttp.ts"
import type { Client } from "./clients.ts"
import * as framing from "./framing.ts"
import { Incoming } from "./incoming.ts"
import type { Sender } from "./incoming.ts"
import * as latin1 from "./latin1.ts"
import { problem } from "./refusals.ts"
import type { Bounds } from "./strict.ts"

export interface Settings extends Bounds {
  readonly idleMillis: number
  readonly onDeadline: (error: Deadline.DeadlineExceeded) => Transport.Reply
}

const reading = 1
const writing = 2

/** One request and its answer: what the handler is given, where its reply goes, and what became of it. */
export class Call implements Request, Progress, Transport.Sink, Sender {
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
  private readonly client: Client
  private readonly settings: Settings

  constructor(request: http.IncomingMessage, response: http.ServerResponse, client: Client, settings: Settings) {
    this.client = client
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
        ? new Incoming(request, chunked ? undefined : Number(length), settings.maxBodyBytes, this)
        : Transport.empty
    const gone = () => this.cut(new Reason.ClientGone())
    client.begin()
    response.on("close", () => {
      client.end()
      gone()
    })
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
    // A client of HTTP/1.0 would take the 100 for its answer.
    return this.request.headers.expect !== undefined && this.request.httpVersionMinor !== 0
  }

  continue() {
    if (this.continued || !this.expectsContinue || this.response.headersSent) return
    this.continued = true
    this.response.writeContinue()
  }

  inform(status: number, headers: Transport.Headers) {
    const { headersSent, socket } = this.response
    if (headersSent || socket === null || this.request.httpVersionMinor === 0) return
    // 100 and 101 are about one connection, and below is nothing. For who takes nothing, nothing is piled up.
    if (!(status > 101 && status < 200) || socket.writableNeedDrain) return
    let head = `HTTP/1.1 ${status} ${http.STATUS_CODES[status] ?? ""}\r\n`
    try {
      const fields = framing.ofReply(headers, undefined, false)
      for (let i = 0; i < fields.length; i += 2) {
        http.validateHeaderName(fields[i]!)
        http.validateHeaderValue(fields[i]!, fields[i + 1]!)
        head += `${fields[i]}: ${fields[i + 1]}\r\n`
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
    if (body.bytes !== undefined || framing.bodyless(this.method, reply.status)) {
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
      // A 204 has no length; what a HEAD or a 304 says is that of the body they stand for.
      const fields =
        status === 204
          ? framing.ofReply(headers, undefined, false)
          : framing.ofReply(headers, body.length, framing.bodyless(this.method, status))
      this.response.writeHead(status, fields as Array<string>)
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
    if (bytes === undefined || bytes.length === 0 || framing.bodyless(this.method, this.status!)) response.end()
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
    const unanswered = this.end === "shutdown" && !this.response.headersSent
    const exceeded = Deadline.exceededBy(region)
    const defect = exceeded === undefined && Cause.hasDies(cause)
    if (this.end === "open") {
      this.end = exceeded !== undefined ? "deadline" : Cause.hasInterruptsOnly(cause) ? "shutdown" : "failed"
    }
    if (answers && exceeded !== undefined) this.answer((this.observer ?? this.settings).onDeadline(exceeded))
    if (answers && defect) this.answer(problem(500))
    if (unanswered) {
      this.lastOfConnection()
      this.answer(problem(503))
    }
    // Said in full or cut: half an answer never ends cleanly.
    if (!this.response.writableEnded) this.response.destroy()
    return defect ? Effect.logError("A handler had a defect", cause) : undefined
  }

  /** For people: what was asked, how old it is, and what it waits for. */
  get title(): string {
    const { region } = this
    const { method, url } = this.request
    const path = url!.split("?", 1)[0]!
    const waits = region?.what === undefined ? "" : `, waiting for ${region.what}`
    return `${method} ${path.length > 60 ? `${path.slice(0, 60)}…` : path} (${Math.round(region?.ageMillis ?? 0)} ms${waits})`
  }

  /** Ends a call that is under way. */
  cut(reason: Reason.ClientGone | Reason.Shutdown) {
    if (this.end !== "open") return
    this.end = reason._tag === "ClientGone" ? "clientGone" : "shutdown"
    this.region?.cut(reason)
  }

  /** The body turned out to be none that is taken: whatever the handler is about, nobody waits for it any more. */
  refuse(status: number) {
    if (this.end !== "open") return
    this.end = "failed"
    this.client.turnedAway = true
    if (this.response.headersSent) this.response.destroy()
    else {
      this.lastOfConnection()
      this.answer(problem(status))
    }
    this.region?.cut(new Reason.ClientGone())
  }

  lastOfConnection() {
    this.response.shouldKeepAlive = false
  }

  /** Whether it is the client's turn to send. */
  clientSends(its: boolean) {
    this.turn(reading, its)
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
