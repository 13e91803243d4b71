/**
 * One exchange: undici's handler, and the body of the reply where that streams.
 */
import { Effect } from "effect"
import type { Context, Fiber, Scope } from "effect"
import { Transport, Wait } from "@fairlead/core"
import type { ByteBudget, Gate } from "@fairlead/core"
import type { Dispatcher } from "undici"
import { maxTimeout } from "./dial.ts"
import type { Connection, Connections, Origin, Taker } from "./connections.ts"
import { kindOf, ProxyRefused, StreamReset } from "./failures.ts"
import * as framing from "./framing.ts"
import * as latin1 from "./latin1.ts"
import type { Phase } from "./phases.ts"
import { streamed } from "./streamed.ts"
import { Upload } from "./upload.ts"

/** What holds for every exchange of a transport that is not told otherwise. Times are in milliseconds; 0 is for ever. */
export interface Limits {
  readonly firstByteMillis: number
  readonly idleMillis: number
  readonly totalMillis: number
  readonly wholeBytes: number
  readonly maxBytes: number
  /** What is taken in whole draws from it until it is. */
  readonly budget: ByteBudget.ByteBudget | undefined
}

type Resume<A, E> = (effect: Effect.Effect<A, E>) => void

/** Up to this, times of silence are kept to within some milliseconds, by a timer for each; undici's own may be a second late. */
const exactMillis = 10_000

/** How many interim answers one exchange may have. */
const maxInterim = 100

/**
 *     head ──▶ whole ──▶ ended          (a short answer)
 *       └────▶ open ───▶ ended          (a Reply has been given, bytes are to come)
 */
export class Exchange implements Dispatcher.DispatchHandler, Transport.Body, Taker {
  length: number | undefined = undefined
  readonly bytes = undefined

  private state: "head" | "whole" | "open" | "ended" = "head"
  private giveReply: Resume<Transport.Reply, Transport.UpstreamFailed> | undefined = undefined
  private giveEnd: Resume<void, Transport.BodyFailed> | undefined = undefined
  private connections: Connections | undefined = undefined
  private connection: Connection | undefined = undefined
  private controller: Dispatcher.DispatchController | undefined = undefined
  private upload: Upload | undefined = undefined
  private sent = false
  private interim = 0
  private status = 0
  private headers: Transport.Headers = []
  private sink: Transport.Sink | undefined = undefined
  // whole: all so far; open: what came before there was a sink.
  private chunks: Array<Uint8Array> = []
  /** How much of the body may come still. */
  private left: number
  /** What it has drawn for an answer that is taken in whole. */
  private drawn = 0
  private failure: Transport.BodyFailed | undefined = undefined
  /** Longest silence before the head, and in the body, as far as it is not undici that keeps to it. */
  private headMillis = 0
  private idleMillis = 0
  private silence: NodeJS.Timeout | undefined = undefined
  private total: NodeJS.Timeout | undefined = undefined
  /** Who waits, and what for, where that is known to a region. */
  private fiber: Fiber.Fiber<unknown, unknown>
  private wait: Wait.Handle | undefined = undefined
  private readonly limits: Limits
  private readonly context: Context.Context<Scope.Scope>
  private readonly request: Transport.Request
  private readonly options: Transport.Options
  private readonly permit: Gate.Permit | undefined

  constructor(
    limits: Limits,
    fiber: Fiber.Fiber<unknown, unknown>,
    request: Transport.Request,
    options: Transport.Options,
    permit: Gate.Permit | undefined
  ) {
    this.limits = limits
    this.fiber = fiber
    this.context = fiber.context as Context.Context<Scope.Scope>
    this.request = request
    this.options = options
    this.permit = permit
    this.left = options.maxBytes ?? limits.maxBytes
  }

  begin(
    connections: Connections,
    origin: string,
    giveReply: Resume<Transport.Reply, Transport.UpstreamFailed>
  ): Effect.Effect<void> {
    this.giveReply = giveReply
    if (inside === 0) this.start(connections, origin)
    else outside(() => this.start(connections, origin))
    return this.aborting
  }

  private start(connections: Connections, origin: string) {
    if (this.state === "ended") return
    this.connections = connections
    const total = finite(this.options.totalMillis ?? this.limits.totalMillis)
    if (total > 0) this.total = setTimeout(() => this.late("totalTimeout", total), total)
    try {
      const connection = connections.take(origin, this)
      if (connection !== undefined) this.taken(connection)
    } catch (error) {
      // An origin that is no URL, or the transport is closed; undici hands everything else to the handler.
      this.onResponseError(undefined, error)
    }
  }

  taken(connection: Connection) {
    const { body, method, target } = this.request
    const { forward } = connection
    const payload = body.bytes ?? (this.upload = new Upload(body, this.context, (stalled) => this.stalls(stalled)))
    const head = finite(this.options.firstByteMillis ?? this.limits.firstByteMillis)
    const idle = finite(this.options.idleMillis ?? this.limits.idleMillis)
    this.connection = connection
    // undici looks at an idle socket in the next turn of the loop before it writes.
    this.waits(connection.origin, "pool")
    if (!connection.keepsTime || head <= exactMillis) this.headMillis = head
    if (!connection.keepsTime || idle <= exactMillis) this.idleMillis = idle
    const headers = framing.ofRequest(this.request)
    try {
      connection.dispatch(
        {
          path: forward === undefined ? target : absolute(connection.origin.name, target),
          method,
          headers: (forward?.authorization === undefined
            ? headers
            : [...headers, "proxy-authorization", forward.authorization]) as Array<string>,
          body: body.length === 0 ? null : payload,
          headersTimeout: this.headMillis > 0 ? 0 : head,
          bodyTimeout: this.idleMillis > 0 ? 0 : idle
        },
        this
      )
    } catch (error) {
      this.onResponseError(undefined, error)
    }
  }

  waits({ words }: Origin, phase: Phase) {
    if (this.state === "ended") return
    if (this.wait === undefined) this.wait = Wait.beginUnsafe(this.fiber, words[phase], phase)
    else this.wait.become(words[phase], phase)
  }

  private waitsNoMore() {
    if (this.wait === undefined) return
    this.wait.end()
    this.wait = undefined
  }

  missed(error: Error) {
    this.onResponseError(undefined, error)
  }

  /** The connection stands. The head is written next; of a request with a body to stream, with its first chunk. */
  onRequestStart(controller: Dispatcher.DispatchController) {
    this.controller = controller
    const { origin } = this.connection!
    if (this.upload === undefined) {
      this.stamp()
      this.waits(origin, "firstByte")
      return this.awaitHead()
    }
    this.waits(origin, "other")
    // These listeners stand before undici's own, which write.
    const stamp = () => this.stamp()
    this.upload.once("data", stamp).once("end", stamp)
    this.upload.once("end", () => {
      if (this.state !== "head") return
      this.waits(origin, "firstByte")
      this.awaitHead()
    })
  }

  private stamp() {
    if (this.sent) return
    this.sent = true
    this.options.onSent?.()
  }

  /** An upload that the other side takes no more of has sent its last byte for now. */
  private stalls(stalled: boolean) {
    if (this.state !== "head") return
    this.hush()
    if (stalled) this.awaitHead()
  }

  private awaitHead() {
    this.hush()
    if (this.headMillis === 0 || this.state !== "head" || !this.connection!.awaitsHead) return
    this.silence = setTimeout(() => this.late("headersTimeout", this.headMillis), this.headMillis)
  }

  private awaitChunk() {
    if (this.idleMillis === 0) return
    this.silence = setTimeout(() => this.late("idleTimeout", this.idleMillis), this.idleMillis)
  }

  private hush() {
    if (this.silence === undefined) return
    clearTimeout(this.silence)
    this.silence = undefined
  }

  private late(kind: Transport.Kind, millis: number) {
    this.fail(kind, new Error(`longer than ${millis} ms`))
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, parsed: ParsedHeaders) {
    if (this.state === "ended") return
    inside++
    try {
      const headers = strings(controller.rawHeaders as ReadonlyArray<Buffer> | ReadonlyArray<string>)
      if (status < 200) {
        this.silence?.refresh()
        if (++this.interim > maxInterim) {
          return this.fail("protocol", new Error(`more than ${maxInterim} interim answers`))
        }
        return this.options.onInformation?.(status, headers)
      }
      const connection = this.connection!
      connection.awaitsHead = false
      this.hush()
      // Only a proxy may say so (RFC 9110, 15.5.8); of a tunnel it was asked before.
      if (status === 407 && connection.forward !== undefined) {
        return this.fail("proxy", new ProxyRefused("the proxy answered 407"))
      }
      const length = lengthOf(this.request.method, status, parsed)
      const isTooLarge = length !== undefined && length > this.left
      this.awaitChunk()
      if (!isTooLarge && length !== undefined && length <= this.limits.wholeBytes && this.draws(length)) {
        this.state = "whole"
        this.waits(connection.origin, "body")
        this.status = status
        this.headers = headers
        return
      }
      this.state = "open"
      this.waitsNoMore()
      this.length = length
      // Between the head and `pipeTo` the caller may be cut anywhere; its scope sees to it that nothing stays open.
      Effect.runSyncWith(this.context)(Effect.addFinalizer(() => this.aborting))
      this.give({ status, headers, body: this })
      if (isTooLarge) return this.fail("tooLarge", tooLarge(this.left, `${length}`))
      // Most callers have come to `pipeTo` by now, on this very stack.
      if (this.sink === undefined && !this.isOver) this.pause()
    } finally {
      inside--
    }
  }

  private draws(bytes: number): boolean {
    const { budget } = this.limits
    if (budget === undefined) return true
    if (!budget.takeUnsafe(bytes)) return false
    this.drawn = bytes
    return true
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer) {
    if (this.state === "ended") return
    this.silence?.refresh()
    streamed(chunk.length)
    if (this.state === "open") {
      this.left -= chunk.length
      if (this.left < 0) {
        const most = this.options.maxBytes ?? this.limits.maxBytes
        return this.fail("tooLarge", tooLarge(most, `${most - this.left} or more`))
      }
    }
    // When the peer has closed, undici hands out what it has, paused or not.
    if (this.sink === undefined) return void this.chunks.push(chunk)
    inside++
    try {
      if (this.sink.write(chunk)) return
      if (this.isOver) return
      this.pause()
      this.onDrain(this.sink)
    } catch (defect) {
      this.die(defect)
    } finally {
      inside--
    }
  }

  onResponseEnd() {
    if (this.state === "ended") return
    const whole = this.state === "whole"
    this.state = "ended"
    this.quiet()
    this.connection!.free()
    this.permit?.release()
    inside++
    try {
      if (whole) this.give({ status: this.status, headers: this.headers, body: joined(this.chunks) })
      else this.finish(Effect.void)
    } finally {
      inside--
    }
  }

  onResponseError(_: unknown, cause: unknown) {
    this.fail(kindOf(cause, this.state !== "head"), cause)
  }

  private fail(kind: Transport.Kind, cause: unknown) {
    if (this.state === "ended") return
    const { giveReply, state } = this
    const sent = this.sent && !(cause instanceof StreamReset && cause.unsent)
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

  /** What its sink has thrown is nothing that the other side did. */
  private die(defect: unknown) {
    if (this.state !== "ended") this.release()
    this.finish(Effect.die(defect))
  }

  pipeTo(sink: Transport.Sink): Effect.Effect<void, Transport.BodyFailed> {
    const begin = Effect.callback<void, Transport.BodyFailed>((resume) => {
      if (this.sink !== undefined) return resume(Effect.die(new Error("Expected a body that has not begun to flow")))
      this.sink = sink
      this.giveEnd = resume
      try {
        let room = true
        for (const chunk of this.chunks) room = sink.write(chunk)
        this.chunks = []
        if (this.state === "ended") {
          return this.finish(this.failure === undefined ? Effect.void : Effect.fail(this.failure))
        }
        if (room) this.flow()
        else this.onDrain(sink)
      } catch (defect) {
        return this.die(defect)
      }
      return this.aborting
    })
    return Effect.withFiber((fiber) => {
      this.fiber = fiber
      return begin
    })
  }

  private flow() {
    if (!this.isOver) this.waits(this.connection!.origin, "body")
    if (!this.controller!.paused) return
    if (this.silence === undefined) this.awaitChunk()
    outside(() => this.controller!.resume())
  }

  /** A sink that is full is not the other side's silence. */
  private pause() {
    this.hush()
    this.waitsNoMore()
    this.controller!.pause()
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
    this.quiet()
    // The permit goes back when the socket has closed: as the other side counts, it is open until then.
    if (this.connection !== undefined)
      this.connection.cut(this.permit === undefined ? undefined : () => this.permit!.release())
    else {
      this.connections?.leave(this)
      this.permit?.release()
    }
    // Before it began, nobody but us knows of the request's body.
    if (this.upload === undefined) this.request.body.abort()
    else this.upload.destroy()
  }

  private quiet() {
    this.hush()
    if (this.drawn > 0) {
      this.limits.budget!.giveUnsafe(this.drawn)
      this.drawn = 0
    }
    this.waitsNoMore()
    if (this.total !== undefined) clearTimeout(this.total)
  }

  // TypeScript does not know that callbacks may have ended it.
  private get isOver(): boolean {
    return this.state === "ended"
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
const strings = (raw: ReadonlyArray<Buffer> | ReadonlyArray<string>): Transport.Headers => {
  const headers: Array<string> = []
  if (raw.length === 0) return headers
  // Of HTTP/2 they are strings already.
  if (isText(raw)) return raw
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

/** 0 is for ever. */
const finite = (millis: number): number => (millis === Infinity ? 0 : Math.min(millis, maxTimeout))

const isText = (raw: ReadonlyArray<Buffer> | ReadonlyArray<string>): raw is ReadonlyArray<string> =>
  typeof raw[0] === "string"

/** What a forward proxy is asked for. */
const absolute = (origin: string, target: string): string => {
  if (!target.startsWith("/")) throw new Error("invalid request path")
  return new URL(origin).origin + target
}

const tooLarge = (most: number, got: string) => new Error(`Expected at most ${most} bytes, got ${got}`)

const joined = (chunks: ReadonlyArray<Uint8Array>): Transport.Body =>
  chunks.length === 0 ? Transport.empty : Transport.bytes(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))

/**
 * undici has one parser for all connections, and asserts that it is not entered twice. Our callbacks run inside it, and
 * on from there the caller's fiber; what that fiber does to another exchange has to wait until the parser is left.
 */
let inside = 0
const outside = (f: () => void) => (inside === 0 ? f() : queueMicrotask(f))
