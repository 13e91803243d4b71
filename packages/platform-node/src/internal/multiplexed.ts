/**
 * A connection of HTTP/2: many exchanges at a time, each on a stream of its own, by `node:http2`.
 *
 * Why not undici's: it sends a request again of its own accord (after a GOAWAY or a refused stream), over a second socket beside the
 * first; joins header fields that are repeated; and keeps a timer for each connection. Here nothing is sent twice, and a stream
 * that the other side promises not to have looked at says so (`StreamReset.unsent`).
 */
import type { Transport } from "@fairlead/core"
import type { Dispatcher } from "undici"
import { validateHeaderValue } from "node:http"
import * as http2 from "node:http2"
import type { Socket } from "node:net"
import { Readable } from "node:stream"
import type { Connection, Connections, Origin, Place, Request } from "./connections.ts"
import { StreamReset } from "./failures.ts"
import { bodyless } from "./framing.ts"

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants

/** How many streams of ours there are at once, where the other side would take more: one connection is one queue of bytes. */
const maxStreams = 100

/** How long an idle one is kept. As undici does for HTTP/1.1. */
const idleMillis = 4_000

/** A connection over which nothing came while a stream was waited for in vain for so long is not trusted with another. */
const deafMillis = 1_000

/** How much of a body may be on its way unread; of a connection that much for each stream, or one far away would wait for it. */
const windowBytes = 262_144

type Parsed = Parameters<NonNullable<Dispatcher.DispatchHandler["onResponseStart"]>>[2]

export class Session implements Place {
  readonly origin: Origin
  readonly protocol = "h2"
  readonly session: http2.ClientHttp2Session
  readonly pool: Connections
  private readonly socket: Socket
  /** Whether the other side has said what it takes. Until then it is one stream, and another connection would be too early. */
  isNew = true
  private most = 1
  private streams = 0
  private served = 0
  private retired = false
  private isClosing = false
  private timer: NodeJS.Timeout | undefined = undefined

  constructor(pool: Connections, origin: Origin, socket: Socket) {
    this.pool = pool
    this.origin = origin
    this.socket = socket
    this.session = http2.connect(origin.name, {
      createConnection: () => socket,
      // In megabytes: more than all windows.
      maxSessionMemory: 64,
      // A head is bounded by its bytes.
      maxHeaderListPairs: 2_000,
      settings: { enablePush: false, initialWindowSize: windowBytes, maxHeaderListSize: 65_536 }
    })
    this.session
      .once("connect", () => {
        // Node tells so of one that is destroyed, too.
        if (!this.session.destroyed) this.session.setLocalWindowSize(maxStreams * windowBytes)
      })
      .on("remoteSettings", ({ maxConcurrentStreams = maxStreams }) => {
        this.isNew = false
        this.most = Math.min(maxConcurrentStreams, maxStreams)
        pool.pump()
      })
      // Streams that it names end with it; nothing new begins here.
      .on("goaway", () => this.retire())
      .on("error", () => {})
    socket.once("close", () => {
      this.close()
      pool.gone(this)
    })
    origin.sessions.add(this)
    pool.begin(this)
    this.rest()
  }

  get state(): Place["state"] {
    if (this.isClosing) return "closing"
    return this.streams === 0 ? "idle" : "busy"
  }

  get hasRoom(): boolean {
    return this.streams < this.most && !this.session.closed
  }

  /** How many bytes have come over it. */
  get heard(): number {
    return this.socket.bytesRead
  }

  open(): Connection {
    if (this.served++ > 0) this.pool.reused++
    if (this.streams++ === 0) {
      clearTimeout(this.timer)
      this.session.ref()
      this.pool.idle.delete(this)
    }
    return new Stream(this)
  }

  /** A stream has ended. */
  left(): void {
    this.streams--
    if (this.streams === 0) {
      if (this.retired || this.pool.closed || (this.pool.keeps === 0 && this.pool.waiting === 0)) return this.close()
      this.rest()
    }
    if (this.pool.waiting > 0) this.pool.pump()
  }

  close(): void {
    if (this.isClosing) return
    this.isClosing = true
    this.pool.closing++
    this.retire()
    clearTimeout(this.timer)
    this.session.destroy()
    // A session that was told to end would wait for the other side to close, too.
    setImmediate(() => this.socket.destroy())
  }

  private rest(): void {
    this.session.unref()
    this.timer = setTimeout(() => this.close(), idleMillis).unref()
    if (this.pool.bounded) this.pool.idle.add(this)
  }

  /** Nothing new begins here; it is closed with its last stream. */
  retire(): void {
    this.retired = true
    this.origin.sessions.delete(this)
    this.pool.idle.delete(this)
    if (this.streams === 0) this.close()
    if (this.pool.waiting > 0) this.pool.pump()
  }
}

/** One exchange on it; speaks to the handler as undici does. */
class Stream implements Connection, Dispatcher.DispatchController {
  readonly origin: Origin
  readonly keepsTime = false
  readonly forward = undefined
  awaitsHead = true
  rawHeaders: Array<string> = []
  rawTrailers: Array<string> = []
  paused = false
  aborted = false
  reason = null
  private readonly on: Session
  private stream: http2.ClientHttp2Stream | undefined = undefined
  private handler: Dispatcher.DispatchHandler | undefined = undefined
  private upload: Readable | undefined = undefined
  private error: Error | undefined = undefined
  private began = 0
  private heard = 0
  /** How much of the answer is to come; NaN where nobody knows. */
  private length = NaN
  private method = ""

  constructor(on: Session) {
    this.on = on
    this.origin = on.origin
  }

  dispatch(request: Request, handler: Dispatcher.DispatchHandler): void {
    const { body } = request
    const fields = fieldsOf(request, this.origin)
    const stream = this.on.session.request(fields, { endStream: body === null })
    this.stream = stream
    this.handler = handler
    this.method = request.method
    this.began = performance.now()
    this.heard = this.on.heard
    stream
      .on("headers", (headers, _, raw) => this.head(headers, raw))
      .on("response", (headers, _, raw) => this.head(headers, raw))
      .on("data", (chunk: Buffer) => {
        this.length -= chunk.length
        this.handler?.onResponseData?.(this, chunk)
      })
      .on("end", () => this.ended())
      .on("error", (error) => (this.error = error))
      .on("close", () => this.shut())
    // Nothing is written before this stack has ended.
    handler.onRequestStart?.(this, undefined)
    if (body instanceof Readable) this.send(body)
    else if (body !== null) stream.end(body as Uint8Array)
  }

  pause(): void {
    this.paused = true
    this.stream!.pause()
  }

  resume(): void {
    this.paused = false
    this.stream!.resume()
  }

  abort(): void {
    this.cut()
  }

  free(): void {
    this.handler = undefined
    // An answer that came before all of the request was sent: nobody wants the rest.
    if (this.upload?.readableEnded === false) this.reset()
    else this.on.left()
  }

  cut(closed?: () => void): void {
    this.handler = undefined
    // Of a peer that is gone without a word TCP tells only after many minutes.
    if (this.on.heard === this.heard && performance.now() - this.began > deafMillis) this.on.retire()
    this.reset(closed)
  }

  /** Its place is free when the other side will hear of the reset before it hears of the next stream. */
  private reset(closed?: () => void): void {
    const { stream } = this
    const left = () => {
      this.on.left()
      closed?.()
    }
    this.upload?.destroy()
    if (stream === undefined || stream.destroyed) return left()
    stream.once("close", left).close(NGHTTP2_CANCEL)
    // One that has come to its end already would wait until somebody has read it.
    stream.destroy()
  }

  private head(headers: http2.IncomingHttpHeaders, raw: ReadonlyArray<string>): void {
    const status = Number(headers[":status"])
    this.length = bodyless(this.method, status) ? 0 : Number(headers["content-length"] ?? NaN)
    this.rawHeaders = raw.filter((_, i) => !raw[i - (i % 2)]!.startsWith(":"))
    this.handler?.onResponseStart?.(this, status, headers as Parsed)
  }

  private ended(): void {
    const { length, on, stream } = this
    // Node ends a stream that was cut as it does one that has come to its end.
    const isCut = stream!.rstCode !== NGHTTP2_NO_ERROR || on.session.destroyed
    if (!isCut && !this.awaitsHead && !(length > 0)) this.handler?.onResponseEnd?.(this, {})
  }

  private shut(): void {
    this.handler?.onResponseError?.(this, this.whatWentWrong())
  }

  private whatWentWrong(): Error {
    const { error, on, stream } = this
    const code = (error as NodeJS.ErrnoException | undefined)?.code
    // What befell the socket says more than what that did to the stream.
    if (error !== undefined && code?.startsWith("ERR_HTTP2") !== true) return error
    const reset = stream!.rstCode ?? NGHTTP2_NO_ERROR
    const message = error?.message ?? `the stream was closed with code ${reset}`
    return new StreamReset(message, this.kind(reset), reset === NGHTTP2_REFUSED_STREAM && !on.pool.closed)
  }

  private kind(reset: number): Transport.Kind {
    if (this.on.pool.closed) return "closed"
    const isShort = this.length > 0 || (this.on.session.destroyed && !this.awaitsHead)
    if (isShort && reset !== NGHTTP2_REFUSED_STREAM) return "incomplete"
    return reset === NGHTTP2_PROTOCOL_ERROR ? "protocol" : "reset"
  }

  private send(upload: Readable): void {
    this.upload = upload
    upload.on("error", (error) => this.handler?.onResponseError?.(this, error))
    upload.pipe(this.stream!)
  }
}

/** Fields that belong to one hop of HTTP/1.1; Node would throw. The rest of them is gone already. */
const hop = new Set(["host", "http2-settings", "proxy-connection"])

const fieldsOf = ({ body, headers, method, path }: Request, { target }: Origin): Array<string> => {
  if (!/^\/[^\0- \x7f]*$/.test(path) && path !== "/") throw new Error("invalid request path")
  if (method === "CONNECT") throw new Error("invalid request method")
  const all = headers as ReadonlyArray<string>
  let authority: string | undefined
  const fields: Array<string> = []
  for (let i = 0; i < all.length; i += 2) {
    const name = all[i]!.toLowerCase()
    const value = all[i + 1]!
    validateHeaderValue(name, value)
    if (name === "host") {
      if (authority !== undefined) throw new Error("duplicate host header")
      authority = value
    }
    if (hop.has(name) || (name === "te" && value !== "trailers")) continue
    fields.push(name, value)
  }
  if (body instanceof Uint8Array) fields.push("content-length", `${body.length}`)
  return [":method", method, ":scheme", "https", ":authority", authority ?? target.host!, ":path", path, ...fields]
}
