/** A call by HTTP/2: one stream of a connection, beside others. */
import { Reason } from "@fairlead/core"
import type { Transport } from "@fairlead/core"
import * as http from "node:http"
import { constants } from "node:http2"
import type { OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2"
import { Call } from "./call.ts"
import type { Settings } from "./call.ts"
import * as framing from "./framing.ts"
import type { Session } from "./session.ts"
import type { Head2 } from "./strict2.ts"

export class Call2 extends Call {
  readonly remoteAddress: string | undefined
  readonly expectsContinue: boolean
  /** Where it stands among the streams of its session. */
  row = 0
  private continued = false
  private said = false
  private trailing: ReadonlyArray<string> = []
  /** How many chunks the client has taken. */
  private taken = 0
  private onTaken: (() => void) | undefined = undefined
  /** What had moved when it was last looked at; negative where it was not the client's turn then. */
  private mark = -1
  private readonly stream: ServerHttp2Stream
  private readonly session: Session

  constructor(stream: ServerHttp2Stream, head: Head2, session: Session, settings: Settings) {
    const incoming = stream.endAfterHeaders ? undefined : stream
    super(head.method, head.target, head.headers, incoming, head.length, settings)
    this.stream = stream
    this.session = session
    this.remoteAddress = session.remoteAddress
    this.expectsContinue = head.expects
    if (incoming !== undefined) stream.on("trailers", (_, __, fields) => (this.trailing = fields))
    const gone = () => this.cut(new Reason.ClientGone())
    stream.on("aborted", gone)
    stream.on("close", () => {
      this.letGo()
      session.leave(this)
      gone()
    })
    // Said by `close`. Without a listener, the error of a client that leaves would end the process.
    stream.on("error", () => {})
  }

  continue() {
    if (this.continued || !this.expectsContinue || this.headSaid || this.stream.closed) return
    this.continued = true
    this.stream.additionalHeaders({ ":status": 100 })
  }

  inform(status: number, headers: Transport.Headers) {
    const { stream } = this
    if (this.headSaid || stream.closed) return
    // 100 and 101 are about one connection, and below is nothing. For who takes nothing, nothing is piled up.
    if (!(status > 101 && status < 200) || this.session.congested) return
    try {
      stream.additionalHeaders(fieldsOf(status, framing.ofReply(headers, undefined, false)))
    } catch {
      // What cannot be said is not said: the answer itself is still to come.
    }
  }

  trailers(): ReadonlyArray<string> | undefined {
    // Node ends what it reads from a stream that was reset, as if that were its end.
    return this.stream.aborted || this.stream.rstCode !== 0 ? undefined : this.trailing
  }

  write(chunk: Uint8Array): boolean {
    this.bytes += chunk.length
    this.onTaken ??= () => void this.taken++
    if (this.stream.write(chunk, this.onTaken)) return true
    this.clientTakes(true)
    return false
  }

  onDrain(resume: () => void) {
    this.stream.once("drain", () => {
      this.clientTakes(false)
      resume()
    })
  }

  /** The connection has many: it is told by a GOAWAY. */
  lastOfConnection() {}

  /** Ends it where it was the client's turn when it was last looked at, and nothing has moved since. */
  look() {
    const moved = this.received + this.taken
    if (this.turns !== 0 && this.mark === moved) return this.breakOff()
    this.mark = this.turns === 0 ? -1 : moved
  }

  protected get headSaid(): boolean {
    return this.stream.headersSent
  }

  protected get allSaid(): boolean {
    return this.said
  }

  protected sayHead(status: number, fields: Transport.Headers, last: boolean) {
    this.stream.respond(fieldsOf(status, fields), last ? endStream : undefined)
  }

  /** Node sends it with the turn of the loop. */
  protected flushHead() {}

  protected sayLast(bytes: Uint8Array | undefined) {
    this.said = true
    // Node has ended it with the head: after HEAD, and where the status has no body.
    if (this.stream.writableEnded) return
    if (bytes === undefined) return void this.stream.end()
    this.holds(bytes.length)
    this.sayPieces(bytes, 0)
  }

  /** In one piece, nobody could tell whether a slow client takes any of it. */
  private sayPieces(bytes: Uint8Array, from: number) {
    const { stream } = this
    const to = from + pieceBytes
    if (to >= bytes.length) stream.end(from === 0 ? bytes : bytes.subarray(from))
    else {
      stream.write(bytes.subarray(from, to), (error) => {
        this.taken++
        if (error == null) this.sayPieces(bytes, to)
      })
    }
  }

  protected afterLast() {
    this.clientTakes(true)
    // RFC 9113, 8.1: what is left of a body that nobody wants need not be sent, and the answer is none the worse for it.
    if (!this.stream.endAfterHeaders && !this.stream.readableEnded) this.stream.close(constants.NGHTTP2_NO_ERROR)
  }

  protected breakOff() {
    // Not `close`: that ends what we send first, and so half an answer would end as a whole one does.
    this.stream.destroy(new Error("The call was cut"))
  }

  protected turnAway() {}

  /** Its session looks at it from time to time: see `look`. */
  protected turned() {}
}

/** A head for Node, which takes them as an object; in it are no lines that HTTP/1.1 would not have. Throws where there are. */
export const fieldsOf = (status: number, fields: Transport.Headers): OutgoingHttpHeaders => {
  const head = Object.assign(Object.create(null), { ":status": status }) as OutgoingHttpHeaders
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!.toLowerCase()
    const value = fields[i + 1]!
    http.validateHeaderName(name)
    http.validateHeaderValue(name, value)
    if (hop.has(name)) continue
    // An answer that has no content says how long it is by its end.
    if (status === 205 && name === "content-length") continue
    const before = head[name]
    if (before === undefined) head[name] = value
    else if (Array.isArray(before)) before.push(value)
    else head[name] = [before as string, value]
  }
  return head
}

/** What is left of a connection's own, which nobody may send by HTTP/2. */
const hop = new Set(["http2-settings", "proxy-connection", "te"])

const endStream = { endStream: true }

const pieceBytes = 32_768
