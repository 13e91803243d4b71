/** A call by HTTP/1.1: one at a time on a connection, which ends with the call where it may not go on. */
import { Reason, Transport } from "@fairlead/core"
import * as http from "node:http"
import { Call } from "./call.ts"
import type { Settings } from "./call.ts"
import type { Client } from "./clients.ts"
import * as framing from "./framing.ts"
import * as latin1 from "./latin1.ts"

export class Call1 extends Call {
  private continued = false
  private readonly request: http.IncomingMessage
  private readonly response: http.ServerResponse
  private readonly client: Client

  constructor(request: http.IncomingMessage, response: http.ServerResponse, client: Client, settings: Settings) {
    const length = request.headers["content-length"]
    const chunked = request.headers["transfer-encoding"] !== undefined
    const incoming = chunked || (length !== undefined && length !== "0") ? request : undefined
    super(request.method!, request.url!, request.rawHeaders, incoming, chunked ? undefined : Number(length), settings)
    this.client = client
    this.request = request
    this.response = response
    client.begin()
    ;(response as Answered)[key] = this
    response.on("close", onClose)
    // Sent ahead while another call has the connection: Node does not tell such a response that the client has left.
    if (response.socket === null) request.socket.setMaxListeners(0).once("close", () => this.gone())
  }

  closed() {
    this.client.end()
    this.gone()
  }

  private gone() {
    this.letGo()
    this.cut(new Reason.ClientGone())
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

  trailers(): ReadonlyArray<string> {
    return this.request.rawTrailers
  }

  write(chunk: Uint8Array): boolean {
    this.bytes += chunk.length
    if (this.response.write(chunk)) return true
    this.clientTakes(true)
    return false
  }

  onDrain(resume: () => void) {
    this.response.once("drain", () => {
      this.clientTakes(false)
      resume()
    })
  }

  lastOfConnection() {
    this.response.shouldKeepAlive = false
  }

  protected get headSaid(): boolean {
    return this.response.headersSent
  }

  protected get allSaid(): boolean {
    return this.response.writableEnded
  }

  protected sayHead(status: number, fields: Transport.Headers) {
    try {
      this.response.writeHead(status, fields as Array<string>)
    } catch (error) {
      // Node keeps the text of the status that it was given first.
      this.response.statusMessage = ""
      throw error
    }
  }

  protected flushHead() {
    this.response.flushHeaders()
  }

  protected sayLast(bytes: Uint8Array | undefined) {
    if (bytes === undefined) this.response.end()
    // As a string it goes out in one piece with the head: one `write` where two buffers take the dearer `writev`.
    else if (bytes.length <= stringBytes) this.response.end(latin1.decode(bytes), "latin1")
    else this.response.end(bytes)
  }

  protected afterLast() {
    const { writableLength } = this.response
    // Bytes that a slow reader has yet to take, or that wait for the answers before. When they are gone, Node sets its own timeout.
    if (writableLength > 0) {
      this.clientTakes(true)
      this.holds(writableLength)
    }
    if (this.body !== Transport.empty && !this.request.complete) this.linger()
  }

  protected breakOff() {
    this.response.destroy()
  }

  protected turnAway() {
    this.client.turnedAway = true
  }

  /** While it is the client's turn the socket's timer runs, and closes it when nothing moves. */
  protected turned() {
    this.response.socket?.setTimeout(this.turns === 0 ? 0 : this.settings.idleMillis)
  }

  /** The rest of a body that nobody wants is thrown away for a while, so that the client gets to read the answer. */
  private linger() {
    const { socket } = this.request
    const timer = setTimeout(() => socket.destroy(), lingerMillis).unref()
    this.request.once("close", () => clearTimeout(timer))
  }
}

const key = Symbol("call")

interface Answered extends http.ServerResponse {
  [key]?: Call1
}

/**
 * One function for all of them. A closure for each call, kept on its response, lets dead calls pile up until a full collection, in every
 * other process or so: 5 µs of garbage collection for each request (16 µs of CPU in place of 11).
 */
function onClose(this: Answered) {
  this[key]!.closed()
}

const lingerMillis = 10_000

/** Node copies a string of up to 16 KiB, head included, without allocating. */
const stringBytes = 8_192
