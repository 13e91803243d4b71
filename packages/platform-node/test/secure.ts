/** What tests of a server with TLS need: certificates in files, and clients that speak HTTP/2, in words of it or in bare frames. */
import { NodeHttp } from "@fairlead/platform-node"
import { Certificates } from "@fairlead/testing/node"
import { Deferred, Effect } from "effect"
import type { Scope } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import * as http2 from "node:http2"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as tls from "node:tls"

export interface Pair extends Certificates.Certificates {
  readonly certFile: string
  readonly keyFile: string
}

/** A folder that goes with the scope. */
export const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "fairlead-tls-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** A certificate and its key in files; over those that are there. */
export const write = (path: string, made = Certificates.make()): Pair => {
  const files = { certFile: join(path, "tls.crt"), keyFile: join(path, "tls.key") }
  writeFileSync(files.certFile, made.cert)
  writeFileSync(files.keyFile, made.key)
  return { ...made, ...files }
}

/** What is thrown where nobody can catch it, as some of Node's own bugs are, until the scope closes. */
export const uncaught: Effect.Effect<ReadonlyArray<unknown>, never, Scope.Scope> = Effect.gen(function* () {
  const errors: Array<unknown> = []
  const note = (error: unknown) => void errors.push(error)
  process.on("uncaughtException", note)
  yield* Effect.addFinalizer(() => Effect.sync(() => void process.off("uncaughtException", note)))
  return errors
})

export interface Secure extends NodeHttp.Server {
  readonly pair: Pair
  readonly folder: string
}

export const serve = (
  handler: NodeHttp.Handler<never>,
  options: Partial<NodeHttp.Options> = {}
): Effect.Effect<Secure, NodeHttp.ListenFailed | NodeHttp.TlsFailed, Scope.Scope> =>
  Effect.gen(function* () {
    const path = yield* folder
    const pair = write(path)
    const server = yield* NodeHttp.serve(handler, { port: 0, drain: 0, tls: pair, ...options })
    return { ...server, pair, folder: path }
  })

/** A connection of HTTP/2, until the scope closes. */
export const connect = (
  server: Secure,
  options: http2.SecureClientSessionOptions = {}
): Effect.Effect<http2.ClientHttp2Session, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<http2.ClientHttp2Session>((resume) => {
      const session = http2.connect(`https://localhost:${server.port}`, { ca: server.pair.ca, ...options }, () =>
        resume(Effect.succeed(session.on("error", () => {})))
      )
      session.once("error", (error) => resume(Effect.die(error)))
    }),
    (session) => Effect.sync(() => session.destroy())
  )

export interface Answer {
  readonly status: number | undefined
  readonly headers: http2.IncomingHttpHeaders
  readonly text: string
  /** With what it was reset; 0 where it was not. */
  readonly code: number
  readonly error: string | undefined
  readonly informed: ReadonlyArray<http2.IncomingHttpHeaders>
}

export const answerOf = (stream: http2.ClientHttp2Stream): Promise<Answer> =>
  new Promise((resolve) => {
    let headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader = {}
    let text = ""
    let error: string | undefined
    const informed: Array<http2.IncomingHttpHeaders> = []
    stream
      .setEncoding("latin1")
      .on("headers", (each) => void informed.push(each))
      .on("response", (each) => (headers = each))
      .on("data", (chunk: string) => (text += chunk))
      .on("error", (cause) => (error = cause.message))
      .on("close", () =>
        resolve({ status: headers[":status"], headers, text, code: stream.rstCode ?? 0, error, informed })
      )
  })

/** One request, and all that came of it. */
export const request = (
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders = {},
  body?: string | Uint8Array
): Effect.Effect<Answer> =>
  Effect.promise(() => {
    const stream = session.request(headers, { endStream: body === undefined })
    if (body !== undefined) stream.end(body)
    return answerOf(stream)
  })

export interface Frame {
  readonly type: (typeof types)[number]
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

const types = [
  "DATA",
  "HEADERS",
  "PRIORITY",
  "RST_STREAM",
  "SETTINGS",
  "PUSH_PROMISE",
  "PING",
  "GOAWAY",
  "WINDOW_UPDATE",
  "CONTINUATION"
] as const

export const frame = (
  type: Frame["type"],
  flags: number,
  stream: number,
  payload: Uint8Array = Buffer.alloc(0)
): Buffer => {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = types.indexOf(type)
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** Fields as HPACK has them without any compression (RFC 7541, 6.2.2): literals of up to 126 bytes, or some more. */
export const block = (...fields: ReadonlyArray<readonly [name: string, value: string]>): Buffer => {
  const text = (value: string) => {
    const bytes = Buffer.from(value, "latin1")
    const length: Array<number> = bytes.length < 127 ? [bytes.length] : [127]
    if (bytes.length >= 127) {
      let rest = bytes.length - 127
      for (; rest >= 128; rest >>= 7) length.push((rest & 127) | 128)
      length.push(rest)
    }
    return Buffer.concat([Buffer.from(length), bytes])
  }
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]))
}

export const usual = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "localhost"],
  [":path", "/"]
] as const

export const endHeaders = 4
export const endStream = 1

export interface Raw {
  readonly socket: tls.TLSSocket
  readonly write: (...frames: ReadonlyArray<Buffer>) => void
  readonly frames: ReadonlyArray<Frame>
  /** The first frame that is so, once it has come; dies when the connection ends without. */
  readonly until: (is: (frame: Frame) => boolean) => Effect.Effect<Frame>
  readonly ended: Effect.Effect<void>
}

/** A connection whose frames the test spells out, each of them, and which does not close with the server's side; its settings have been sent. */
export const raw = (server: {
  readonly port: number
  readonly pair: { readonly ca: string }
}): Effect.Effect<Raw, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<tls.TLSSocket>((resume) => {
        const options = { host: "localhost", ca: server.pair.ca, ALPNProtocols: ["h2"], allowHalfOpen: true }
        const socket = tls.connect(server.port, options, () => resume(Effect.succeed(socket)))
        socket.once("error", (error) => resume(Effect.die(error)))
      }),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    (socket) => {
      const frames: Array<Frame> = []
      const looks = new Set<() => void>()
      const ended = Deferred.makeUnsafe<void>()
      let rest = Buffer.alloc(0)
      socket.on("data", (chunk) => {
        rest = Buffer.concat([rest, chunk])
        while (rest.length >= 9 && rest.length >= 9 + rest.readUIntBE(0, 3)) {
          const end = 9 + rest.readUIntBE(0, 3)
          frames.push({
            type: types[rest[3]!]!,
            flags: rest[4]!,
            stream: rest.readUInt32BE(5),
            payload: rest.subarray(9, end)
          })
          rest = rest.subarray(end)
        }
        for (const look of looks) look()
      })
      socket.on("error", () => {})
      const end = () => {
        Deferred.doneUnsafe(ended, Effect.void)
        for (const look of looks) look()
      }
      socket.on("end", end).on("close", end)
      socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
      socket.write(frame("SETTINGS", 0, 0))
      return {
        socket,
        write: (...all) => void socket.write(Buffer.concat(all)),
        frames,
        until: (is) =>
          Effect.callback((resume) => {
            const look = () => {
              const found = frames.find(is)
              if (found === undefined && !socket.readableEnded && !socket.destroyed) return
              looks.delete(look)
              const said = frames.map(({ stream, type }) => `${type} ${stream}`).join(", ")
              resume(
                found === undefined
                  ? Effect.die(new Error(`Expected another frame, got ${said}`))
                  : Effect.succeed(found)
              )
            }
            looks.add(look)
            look()
            return Effect.sync(() => looks.delete(look))
          }),
        ended: Deferred.await(ended)
      }
    }
  )
