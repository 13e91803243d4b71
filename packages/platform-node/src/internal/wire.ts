/**
 * What lies between an HTTP/2 session and its socket: bytes pass both ways, and a frame of ours can be put between those of the
 * session.
 *
 * There is one that Node does not send: the GOAWAY that says that a server is about to leave, and still takes what is on its way
 * (RFC 9113, 6.8). The one that `session.goaway` sends makes nghttp2 deaf at once, whatever stream it names last: what the client
 * sent before it heard would be lost. Written past the session to the socket itself it could come into the middle of another write,
 * which ends the process. A session on a stream of ours writes whole frames, in one turn, so between them there is room.
 *
 * The price is that bytes pass through JavaScript: 3 to 9 µs for a request. See docs/decisions/0010-http2-on-a-stream-of-ours.md.
 */
import type { ServerHttp2Session } from "node:http2"
import { Duplex } from "node:stream"
import type { TLSSocket } from "node:tls"

type Done = (error?: Error | null) => void

export class Wire extends Duplex {
  private readonly socket: TLSSocket

  constructor(socket: TLSSocket) {
    super()
    this.socket = socket
    socket.on("data", (chunk) => {
      if (!this.push(chunk)) socket.pause()
    })
    socket.on("end", () => this.push(null))
    socket.on("error", (error) => this.destroy(error))
    socket.on("close", () => this.destroy())
    // Without a listener, the error of a client that leaves would end the process.
    this.on("error", () => {})
    // Else what Node made around us is held by a session that has ended with an error: from below JavaScript where its client has not
    // acknowledged the settings, by the error's stack, in a circle that no collection sees. Any client could fill the memory.
    this.once("close", () => this.removeAllListeners().on("error", () => {}))
  }

  /** That no stream will be begun, and all that are on their way are taken: of all streams there can be, the last is the last. */
  sayThatWeLeave() {
    if (this.socket.writable) this.socket.write(leaving)
  }

  override _read() {
    this.socket.resume()
  }

  // The socket has a queue of its own, one is enough.

  override cork() {
    this.socket.cork()
  }

  override uncork() {
    this.socket.uncork()
  }

  override write(chunk: unknown, ...rest: ReadonlyArray<unknown>): boolean {
    const done = rest.at(-1) as Done
    if (this.socket.writable) return this.socket.write(chunk as Uint8Array, done)
    process.nextTick(done, new Error("Expected a socket that takes bytes"))
    return false
  }

  /**
   * Takes over how a session ends. Node would ask us for the end, and wait; and it takes what the session still writes then, its last
   * GOAWAY or a reset, for a bug of its own, and throws where nobody can catch it: any client could end the process. So the socket that
   * it made around us ends by itself, and the one below when what was to be written is. `session.socket` hands on what is set there, as
   * its documentation says. See "cuts the call of a client that resets it, or goes", and "outlives whatever clients do".
   */
  endWith(session: ServerHttp2Session) {
    session.socket._final = (done) => this._final(done)
  }

  override _final(done: Done) {
    setImmediate(() => setImmediate(() => this.socket.end()))
    done()
  }

  override _destroy(error: Error | null, done: Done) {
    this.socket.destroy()
    done(error)
  }
}

/** GOAWAY: eight bytes on stream 0; last stream 2^31-1, error 0. */
const leaving = Buffer.from("0000080700000000007fffffff00000000", "hex")
