/**
 * `Transport` on undici's HTTP/1.1 client: the head resumes the caller's fiber on undici's own stack, and the body then
 * goes from undici's parser straight to the sink.
 *
 *     exchange ─▶ dispatch … onRequestStart ─▶ onSent … onResponseStart ─▶ Reply ─▶ pipeTo: onResponseData ─▶ sink
 *
 * An answer of known length up to `wholeBytes` is taken in whole before the `Reply` is given: a slow reader of it holds
 * no connection. Interrupting `exchange` or `pipeTo`, or closing the scope of `exchange`, closes the connection.
 * Connections are made as needed and kept for the next exchange; how many there are is bounded by who admits exchanges.
 * Trailers are dropped. There are no retries here.
 */
import { Duration, Effect } from "effect"
import type { Context, Scope } from "effect"
import { Transport } from "@fairlead/core"
import type { Dispatcher } from "undici"
import type { Connection } from "./internal/connections.ts"
import * as Connections from "./internal/connections.ts"
import { kindOf } from "./internal/failures.ts"
import * as framing from "./internal/framing.ts"
import * as latin1 from "./internal/latin1.ts"
import { streamed } from "./internal/streamed.ts"
import { Upload } from "./internal/upload.ts"

export interface Options {
  /** Longest wait from the request's last byte to the answer's head; 60 s. Kept to within a second. */
  readonly firstByte?: Duration.Input | undefined
  /** Longest silence between two chunks of an answer; 60 s. Kept to within a second. */
  readonly idle?: Duration.Input | undefined
  /** Longest wait for a connection; 10 s. */
  readonly connect?: Duration.Input | undefined
  /** Answers of a known length up to this are taken in whole; 64 KiB. */
  readonly wholeBytes?: number | undefined
}

interface Limits {
  readonly firstByteMillis: number
  readonly idleMillis: number
  readonly wholeBytes: number
}

/** A transport whose connections live as long as the scope. */
export const make = (options: Options = {}): Effect.Effect<Transport.Transport, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => Connections.make({ connectMillis: millis(options.connect, 10_000) })),
      (connections) => Effect.promise(() => connections.close())
    ),
    (connections) => {
      const limits: Limits = {
        firstByteMillis: millis(options.firstByte, 60_000),
        idleMillis: millis(options.idle, 60_000),
        wholeBytes: options.wholeBytes ?? 65_536
      }
      return {
        exchange: (origin, request, asked = none) =>
          Effect.contextWith((context: Context.Context<Scope.Scope>) =>
            Effect.callback((resume) => {
              const exchange = new Exchange(limits, context, request, asked, resume)
              if (inside === 0) exchange.start(connections, origin)
              else outside(() => exchange.start(connections, origin))
              return exchange.aborting
            })
          )
      }
    }
  )

const none: Transport.Options = {}

const millis = (input: Duration.Input | undefined, otherwise: number): number =>
  input === undefined ? otherwise : Duration.toMillis(input)

type Resume<A, E> = (effect: Effect.Effect<A, E>) => void

/**
 * One exchange: undici's handler, and the body of the reply where that streams.
 *
 *     head ──▶ whole ──▶ ended          (a short answer)
 *       └────▶ open ───▶ ended          (a Reply has been given, bytes are to come)
 */
class Exchange implements Dispatcher.DispatchHandler, Transport.Body {
  length: number | undefined = undefined
  readonly bytes = undefined

  private state: "head" | "whole" | "open" | "ended" = "head"
  private giveReply: Resume<Transport.Reply, Transport.UpstreamFailed> | undefined
  private giveEnd: Resume<void, Transport.BodyFailed> | undefined = undefined
  private connection: Connection | undefined = undefined
  private controller: Dispatcher.DispatchController | undefined = undefined
  private upload: Upload | undefined = undefined
  private sent = false
  private status = 0
  private headers: Transport.Headers = []
  private sink: Transport.Sink | undefined = undefined
  // whole: all so far; open: what came before there was a sink.
  private chunks: Array<Uint8Array> = []
  private failure: Transport.BodyFailed | undefined = undefined
  private readonly limits: Limits
  private readonly context: Context.Context<Scope.Scope>
  private readonly request: Transport.Request
  private readonly options: Transport.Options

  constructor(
    limits: Limits,
    context: Context.Context<Scope.Scope>,
    request: Transport.Request,
    options: Transport.Options,
    giveReply: Resume<Transport.Reply, Transport.UpstreamFailed>
  ) {
    this.limits = limits
    this.context = context
    this.request = request
    this.options = options
    this.giveReply = giveReply
  }

  start(connections: Connections.Connections, origin: string) {
    if (this.state === "ended") return
    const { body, method, target } = this.request
    const payload = body.bytes ?? (this.upload = new Upload(body, this.context))
    try {
      this.connection = connections.take(origin)
      this.connection.client.dispatch(
        {
          path: target,
          method,
          headers: framing.ofRequest(this.request) as Array<string>,
          body: body.length === 0 ? null : payload,
          headersTimeout: this.options.firstByteMillis ?? this.limits.firstByteMillis,
          bodyTimeout: this.options.idleMillis ?? this.limits.idleMillis
        },
        this
      )
    } catch (error) {
      // An origin that is no URL, or the transport is closed; undici hands everything else to the handler.
      this.onResponseError(undefined, error)
    }
  }

  /** The connection stands. The head is written next; of a request with a body to stream, with its first chunk. */
  onRequestStart(controller: Dispatcher.DispatchController) {
    this.controller = controller
    if (this.upload === undefined) return this.stamp()
    // These listeners stand before undici's own, which write.
    const stamp = () => this.stamp()
    this.upload.once("data", stamp).once("end", stamp)
  }

  private stamp() {
    if (this.sent) return
    this.sent = true
    this.options.onSent?.()
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, parsed: ParsedHeaders) {
    if (this.state === "ended") return
    inside++
    try {
      const headers = strings(controller.rawHeaders as ReadonlyArray<Buffer>)
      if (status < 200) return this.options.onInformation?.(status, headers)
      this.connection!.awaitsHead = false
      const length = lengthOf(this.request.method, status, parsed)
      if (length !== undefined && length <= this.limits.wholeBytes) {
        this.state = "whole"
        this.status = status
        this.headers = headers
        return
      }
      this.state = "open"
      this.length = length
      // Between the head and `pipeTo` the caller may be cut anywhere; its scope sees to it that nothing stays open.
      Effect.runSyncWith(this.context)(Effect.addFinalizer(() => this.aborting))
      this.give({ status, headers, body: this })
      // Most callers have come to `pipeTo` by now, on this very stack.
      if (this.sink === undefined) controller.pause()
    } finally {
      inside--
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer) {
    if (this.state === "ended") return
    if (this.state === "open") streamed(chunk.length)
    // When the peer has closed, undici hands out what it has, paused or not.
    if (this.sink === undefined) return void this.chunks.push(chunk)
    inside++
    try {
      if (this.sink.write(chunk)) return
      controller.pause()
      this.onDrain(this.sink)
    } finally {
      inside--
    }
  }

  onResponseEnd() {
    if (this.state === "ended") return
    const whole = this.state === "whole"
    this.state = "ended"
    this.connection!.free()
    inside++
    try {
      if (whole) this.give({ status: this.status, headers: this.headers, body: joined(this.chunks) })
      else this.finish(Effect.void)
    } finally {
      inside--
    }
  }

  onResponseError(_: unknown, cause: unknown) {
    if (this.state === "ended") return
    const { giveReply, sent, state } = this
    const kind = kindOf(cause, state !== "head")
    this.failure = new Transport.BodyFailed({ kind, cause })
    this.release()
    inside++
    try {
      if (state === "open") this.finish(Effect.fail(this.failure))
      else giveReply!(Effect.fail(new Transport.UpstreamFailed({ kind, sent, cause })))
    } finally {
      inside--
    }
  }

  pipeTo(sink: Transport.Sink): Effect.Effect<void, Transport.BodyFailed> {
    return Effect.callback((resume) => {
      if (this.sink !== undefined) return resume(Effect.die(new Error("Expected a body that has not begun to flow")))
      this.sink = sink
      this.giveEnd = resume
      let room = true
      for (const chunk of this.chunks) room = sink.write(chunk)
      this.chunks = []
      if (this.state === "ended") {
        return this.finish(this.failure === undefined ? Effect.void : Effect.fail(this.failure))
      }
      if (room) this.flow()
      else this.onDrain(sink)
      return this.aborting
    })
  }

  private flow() {
    if (this.controller!.paused) outside(() => this.controller!.resume())
  }

  private onDrain(sink: Transport.Sink) {
    sink.onDrain(() => this.flow())
  }

  abort() {
    if (this.state === "ended") return
    this.failure = new Transport.BodyFailed({ kind: "closed", cause: undefined })
    this.release()
  }

  readonly aborting = Effect.sync(() => this.abort())

  /** Closes everything without a word to anybody. */
  private release() {
    this.state = "ended"
    this.giveReply = undefined
    this.connection?.cut()
    // Before it began, nobody but us knows of the request's body.
    if (this.upload === undefined) this.request.body.abort()
    else this.upload.destroy()
  }

  private give(reply: Transport.Reply) {
    const give = this.giveReply
    this.giveReply = undefined
    give?.(Effect.succeed(reply))
  }

  private finish(end: Effect.Effect<void, Transport.BodyFailed>) {
    const give = this.giveEnd
    this.giveEnd = undefined
    give?.(end)
  }
}

type ParsedHeaders = { readonly [name: string]: string | ReadonlyArray<string> | undefined }

/** `undefined` where only the end of the answer tells. */
const lengthOf = (method: string, status: number, headers: ParsedHeaders): number | undefined => {
  if (framing.bodyless(method, status)) return 0
  const length = headers["content-length"]
  return typeof length === "string" && headers["transfer-encoding"] === undefined ? Number(length) : undefined
}

/**
 * undici gives each name and value as a view of what came in. Where all are of one piece (a head that is split over two
 * chunks is not) that piece is decoded once, and the rest is cutting: half the price of decoding each.
 */
const strings = (raw: ReadonlyArray<Buffer>): Transport.Headers => {
  const headers: Array<string> = []
  if (raw.length === 0) return headers
  const { buffer, byteOffset: from } = raw[0]!
  const last = raw[raw.length - 1]!
  const to = last.buffer === buffer ? last.byteOffset + last.length : from
  const text = to > from ? latin1.decode(new Uint8Array(buffer, from, to - from)) : ""
  for (let i = 0; i < raw.length; i++) {
    const part = raw[i]!
    const start = part.byteOffset - from
    const end = start + part.length
    headers.push(
      part.buffer === buffer && start >= 0 && end <= text.length ? text.slice(start, end) : latin1.decode(part)
    )
  }
  return headers
}

const joined = (chunks: ReadonlyArray<Uint8Array>): Transport.Body =>
  chunks.length === 0 ? Transport.empty : Transport.bytes(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))

/**
 * undici has one parser for all connections, and asserts that it is not entered twice. Our callbacks run inside it, and
 * on from there the caller's fiber; what that fiber does to another exchange has to wait until the parser is left.
 */
let inside = 0
const outside = (f: () => void) => (inside === 0 ? f() : queueMicrotask(f))
