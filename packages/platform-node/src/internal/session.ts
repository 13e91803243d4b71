/**
 * A connection that speaks HTTP/2: its streams become calls. It leaves as RFC 9113, 6.8 asks: it says that it is about to; takes
 * what was on its way by then, for which a PING finds the end; names the last stream that it has taken; and closes when the streams
 * have ended. What the client sent behind that one it knows to be unserved, and may send elsewhere.
 *
 * Like a client of HTTP/1.1 (see clients.ts) it has one timer from its first to its last moment, which no request sets or takes
 * back. It leaves when it has served nobody from one look to the next.
 */
import { performServerHandshake } from "node:http2"
import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2"
import type { TLSSocket } from "node:tls"
import type { Settings } from "./call.ts"
import { Call2, fieldsOf } from "./call2.ts"
import { problem } from "./refusals.ts"
import { headOf } from "./strict2.ts"
import type { Bounds2 } from "./strict2.ts"
import { Wire } from "./wire.ts"

export interface SessionSettings extends Settings, Bounds2 {
  /** Until the first request. */
  readonly headMillis: number
  readonly maxStreams: number
}

export class Session {
  readonly remoteAddress: string | undefined
  private state: "open" | "leaving" | "closed" = "open"
  /** Streams whose answer is not out yet. */
  private readonly calls: Array<Call2> = []
  private served = 0
  private seen = 0
  private readonly socket: TLSSocket
  private readonly settings: SessionSettings
  private readonly begin: (call: Call2) => void
  private readonly wire: Wire
  private readonly session: ServerHttp2Session
  private timer: NodeJS.Timeout

  constructor(socket: TLSSocket, settings: SessionSettings, begin: (call: Call2) => void) {
    this.socket = socket
    this.settings = settings
    this.begin = begin
    // It has none any more when a stream of it ends.
    this.remoteAddress = socket.remoteAddress
    this.wire = new Wire(socket)
    this.session = performServerHandshake(this.wire, {
      // Ours to count, and to answer. Beyond twice our bounds, nghttp2 resets the stream.
      maxHeaderListPairs: settings.maxHeaders * 2 + pseudoFields,
      // A reply goes on as it came, be it wrong.
      strictSingleValueFields: false,
      settings: {
        maxConcurrentStreams: settings.maxStreams,
        maxHeaderListSize: settings.maxHeaderBytes * 2 + (settings.maxHeaders + pseudoFields) * fieldOverhead
      }
    })
    this.wire.endWith(this.session)
    // What is read is told to the client at once, whoever it is for: so no stream waits for another, each has its own window.
    this.session.setLocalWindowSize(windowBytes)
    this.session.on("stream", this.onStream)
    // Said by `close`. Without a listener, the error of a client that leaves would end the process.
    this.session.on("error", () => {})
    this.timer = setTimeout(this.look, settings.headMillis).unref()
    socket.once("close", () => {
      this.state = "closed"
      clearTimeout(this.timer)
    })
  }

  /** Takes nothing new, in a moment, and closes when what is there has ended. */
  readonly goAway = () => {
    if (this.state !== "open" || this.session.destroyed) return
    this.state = "leaving"
    this.wire.sayThatWeLeave()
    clearTimeout(this.timer)
    this.timer = setTimeout(this.close, patienceMillis).unref()
    // None is sent where the client has said already that it leaves.
    if (!this.session.closed) this.session.ping(() => this.close())
  }

  /** Takes nothing new from now on. */
  readonly close = () => {
    if (this.state === "closed") return
    this.state = "closed"
    this.session.close()
    clearTimeout(this.timer)
    this.timer = setTimeout(this.look, this.settings.idleMillis).unref()
    this.letGo()
  }

  /** Not one stream is left. */
  get idle(): boolean {
    return this.calls.length === 0
  }

  /** Bytes wait here for the client to take them. */
  get congested(): boolean {
    return this.socket.writableNeedDrain
  }

  /** The stream of a call is gone. */
  leave(call: Call2) {
    const last = this.calls.pop()!
    if (last !== call) {
      this.calls[call.row] = last
      last.row = call.row
    }
    this.letGo()
  }

  /** Node closes our side with the last stream, and waits for the client to close its own. */
  private letGo() {
    if (this.state !== "closed" || !this.idle || this.socket.destroyed) return
    clearTimeout(this.timer)
    // A stream that it has taken may have yet to become a call.
    this.timer = setTimeout(() => void (this.idle && this.socket.destroy()), patienceMillis).unref()
  }

  private readonly onStream = (stream: ServerHttp2Stream, _: unknown, __: number, fields: ReadonlyArray<string>) => {
    this.served++
    const head = headOf(fields, this.settings)
    if (typeof head === "number") return turnAway(stream, head)
    const call = new Call2(stream, head, this, this.settings)
    call.row = this.calls.push(call) - 1
    this.begin(call)
  }

  private readonly look = () => {
    for (const call of this.calls.slice()) call.look()
    if (this.idle && this.served === this.seen && this.state === "open") return this.goAway()
    this.seen = this.served
    this.timer = setTimeout(this.look, this.settings.idleMillis).unref()
  }
}

/** To a request that goes to no handler. The others on the connection are none the worse for it. */
const turnAway = (stream: ServerHttp2Stream, status: number) => {
  const { body, headers } = problem(status)
  stream.on("error", () => {})
  if (stream.closed) return
  stream.respond(fieldsOf(status, [...headers, "content-length", `${body.length}`]))
  if (!stream.writableEnded) stream.end(body.bytes)
  // What is left of its body need not be sent.
  stream.close()
}

/** How long a client may take for a PING, and to close when we have. */
const patienceMillis = 1_000

/** `:method`, `:scheme`, `:authority`, `:path`. */
const pseudoFields = 4

/** What each counts for beside its bytes, in SETTINGS_MAX_HEADER_LIST_SIZE. */
const fieldOverhead = 32

const windowBytes = 1_048_576
