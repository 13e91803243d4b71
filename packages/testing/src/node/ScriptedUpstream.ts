/**
 * The other side of an HTTP call, played by the test: a real server on a free port that answers when it is told to.
 *
 *     const upstream = yield* ScriptedUpstream.make()
 *     // … something calls upstream.origin …
 *     const received = yield* upstream.expect("GET", "/hello")
 *     received.reply(200, ["content-type", "text/plain"], "hello")
 *
 * It stalls wherever the test says nothing: before the head, after it, in mid-body; and a body that nobody takes is not
 * read, so that an upload stalls, too. Requests that nobody has taken wait, unanswered. A test that does not care what comes
 * gives `answer`. When the scope closes, every connection is cut.
 */
import { Deferred, Effect, Queue } from "effect"
import type { Scope } from "effect"
import * as http from "node:http"
import * as https from "node:https"
import type { AddressInfo, Socket } from "node:net"

/** One request as it came, and the hand that answers it. */
export interface Received {
  readonly method: string
  readonly target: string
  /** Flat, as on the wire. */
  readonly headers: ReadonlyArray<string>
  /** The first value of a header, by its name in lower case. */
  readonly header: (name: string) => string | undefined
  /** When its head was there, by `performance.now()`. */
  readonly at: number
  /** All of its body, read from when it is first asked for; never comes where the client leaves before the end. */
  readonly body: Effect.Effect<Buffer>
  /** Answers in full, with a `Content-Length` unless the headers say otherwise or the status has no body. */
  readonly reply: (status: number, headers?: ReadonlyArray<string>, body?: string | Uint8Array) => void
  /** Begins an answer: the head goes out at once. */
  readonly head: (status: number, headers?: ReadonlyArray<string>) => void
  /** Goes on with it; `false` when the client takes no more for now. */
  readonly write: (chunk: string | Uint8Array) => boolean
  /** Ends it. */
  readonly end: () => void
  /** An interim answer. */
  readonly inform: (status: 100 | 102 | 103, headers?: ReadonlyArray<string>) => void
  /** Cuts the connection, wherever the answer stands: with a reset, or orderly. */
  readonly reset: () => void
  readonly hangUp: () => void
  /** When the connection was closed, by `performance.now()`; waits for it. */
  readonly closed: Effect.Effect<number>
  readonly socket: Socket
}

export interface ScriptedUpstream {
  readonly origin: string
  readonly port: number
  /** The next request that nobody has taken yet; waits for it. */
  readonly next: Effect.Effect<Received>
  /** As `next`; dies when it is not this request, by method and target as on the wire. */
  readonly expect: (method: string, target: string) => Effect.Effect<Received>
  /** All requests so far, in the order in which they came. */
  readonly received: ReadonlyArray<Received>
  /** How many connections are open. */
  readonly connections: () => number
}

export interface Options {
  /** Answers every request on the spot; `next` then never has one. */
  readonly answer?: (received: Received) => void
  /** Speaks TLS with this. */
  readonly tls?: { readonly key: string; readonly cert: string }
}

/** A server on a free port of 127.0.0.1, until the scope closes. */
export const make = (options: Options = {}): Effect.Effect<ScriptedUpstream, never, Scope.Scope> =>
  Effect.gen(function* () {
    const waiting = yield* Queue.unbounded<Received>()
    const received: Array<Received> = []
    const sockets = new Set<Socket>()
    const server: http.Server = options.tls === undefined ? http.createServer() : https.createServer(options.tls)
    const take = (request: http.IncomingMessage, response: http.ServerResponse) => {
      const one = receive(request, response)
      received.push(one)
      if (options.answer === undefined) Queue.offerUnsafe(waiting, one)
      else options.answer(one)
    }
    server.on("request", take).on("checkContinue", take)
    server.on("connection", (socket: Socket) => {
      sockets.add(socket)
      // Each request on it listens for its end.
      socket.setMaxListeners(0)
      socket.on("close", () => sockets.delete(socket))
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          for (const socket of sockets) socket.destroy()
        })
    )
    const { port } = server.address() as AddressInfo
    const next = Queue.take(waiting)
    return {
      origin: `http${options.tls === undefined ? "" : "s"}://127.0.0.1:${port}`,
      port,
      next,
      expect: (method, target) =>
        Effect.flatMap(next, (one) => {
          if (one.method === method && one.target === target) return Effect.succeed(one)
          return Effect.die(new Error(`Expected ${method} ${target}, got ${one.method} ${one.target}`))
        }),
      received,
      connections: () => sockets.size
    }
  })

const receive = (request: http.IncomingMessage, response: http.ServerResponse): Received => {
  const { socket } = request
  const at = performance.now()
  const closed = Deferred.makeUnsafe<number>()
  socket.once("close", () => Deferred.doneUnsafe(closed, Effect.succeed(performance.now())))
  let body: Promise<Buffer> | undefined
  const head = (status: number, headers: ReadonlyArray<string> = []) =>
    void response.writeHead(status, headers as Array<string>)
  return {
    method: request.method!,
    target: request.url!,
    headers: request.rawHeaders,
    header: (name) => {
      const value = request.headers[name]
      return Array.isArray(value) ? value[0] : value
    },
    at,
    body: Effect.promise(
      () =>
        (body ??= new Promise((resolve) => {
          const chunks: Array<Buffer> = []
          request.on("data", (chunk: Buffer) => chunks.push(chunk)).on("end", () => resolve(Buffer.concat(chunks)))
        }))
    ),
    reply: (status, headers = [], body = "") => {
      const bytes = Buffer.from(body)
      const framed = headers.some((name, i) => i % 2 === 0 && /^(content-length|transfer-encoding)$/i.test(name))
      head(
        status,
        framed || status === 204 || status === 304 ? headers : [...headers, "Content-Length", `${bytes.length}`]
      )
      response.end(bytes)
    },
    head: (status, headers) => {
      head(status, headers)
      response.flushHeaders()
    },
    write: (chunk) => response.write(chunk),
    end: () => void response.end(),
    inform: (status, headers = []) => {
      const fields = headers.map((part, i) => (i % 2 === 0 ? `${part}: ` : `${part}\r\n`)).join("")
      socket.write(`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\n${fields}\r\n`)
    },
    reset: () => void socket.resetAndDestroy(),
    hangUp: () => void socket.end(),
    closed: Deferred.await(closed),
    socket
  }
}
