/**
 * TLS in front of HTTP: whoever offers `h2` (ALPN, RFC 7301) speaks HTTP/2 with a `Session`, everybody else HTTP/1.1 with the server
 * of Node that has its own port otherwise.
 *
 * The certificate can be changed while it serves. Connections keep what they began with; tickets and sessions to resume are of the
 * certificate that they were given with, and are worth nothing with the next: who comes back makes a whole handshake, and sees it.
 */
import { Effect, Semaphore } from "effect"
import type { Scope } from "effect"
import type * as http from "node:http"
import * as net from "node:net"
import { resolve } from "node:path"
import * as tls from "node:tls"
import type { Call } from "./call.ts"
import * as certificate from "./certificate.ts"
import { clientOf } from "./clients.ts"
import type { Clients } from "./clients.ts"
import { Session } from "./session.ts"
import type { SessionSettings } from "./session.ts"

/** What listens, and what has come in by it. */
export interface Front {
  readonly listener: net.Server
  /** Says to each connection that it takes nothing new, as far as its protocol has words for that. */
  readonly goAway: () => void
  /** Ends the connections on which nothing goes on. */
  readonly closeIdle: () => void
  /** Ends all. What was said on them by now still goes out. */
  readonly closeAll: () => void
  /** Reads the certificate again. */
  readonly reload: Effect.Effect<void, certificate.TlsFailed>
}

/** A front without TLS. */
export const plain = (server: http.Server): Front => ({
  listener: server,
  goAway: () => {},
  closeIdle: () => server.closeIdleConnections(),
  closeAll: () => server.closeAllConnections(),
  reload: Effect.void
})

export const make = (
  { certFile, keyFile }: certificate.Files,
  server: http.Server,
  clients: Clients,
  settings: SessionSettings,
  begin: (call: Call) => void
): Effect.Effect<Front, certificate.TlsFailed, Scope.Scope> =>
  Effect.gen(function* () {
    // Where they are now, wherever the process goes.
    const files = { certFile: resolve(certFile), keyFile: resolve(keyFile) }
    let pair = yield* certificate.load(files)
    yield* sayAge(pair, files)
    const sessions = new Map<tls.TLSSocket, Session>()
    const others = new Set<tls.TLSSocket>()
    const raw = new Set<net.Socket>()
    let leaving = false

    const secure = tls
      .createServer({
        ...pair,
        minVersion: "TLSv1.2",
        ALPNProtocols: ["h2", "http/1.1"],
        handshakeTimeout: settings.headMillis
      })
      .on("secureConnection", (socket) => {
        if (socket.alpnProtocol !== "h2") {
          others.add(socket)
          socket.once("close", () => others.delete(socket))
          server.emit("connection", socket)
          return
        }
        const session = new Session(socket, settings, begin)
        sessions.set(socket, session)
        socket.once("close", () => sessions.delete(socket))
        if (leaving) session.goAway()
      })
      // Who did not come through the handshake, or not in time.
      .on("tlsClientError", (_, socket) => socket.destroy())

    // In front of TLS, so that who is turned away costs no handshake.
    const listener = net.createServer({ noDelay: true }, (socket) => {
      if (!clients.admit(socket)) return void socket.destroy()
      raw.add(socket)
      socket.once("close", () => raw.delete(socket))
      // Until TLS has it. Without a listener, the error of a client that leaves would end the process.
      socket.on("error", () => {})
      secure.emit("connection", socket)
    })

    const one = Semaphore.makeUnsafe(1)
    const reload = Effect.gen(function* () {
      const next = yield* certificate.load(files)
      if (next.cert === pair.cert && next.key === pair.key) return
      secure.setSecureContext({ ...next, minVersion: "TLSv1.2" })
      pair = next
      yield* Effect.logInfo(`The certificate in ${files.certFile} is in service, until ${next.validTo.toISOString()}`)
      yield* sayAge(next, files)
    }).pipe(one.withPermits(1))

    let said = ""
    const context = yield* Effect.context()
    const run = Effect.runForkWith(context)
    const changed = () =>
      void run(
        Effect.matchEffect(reload, {
          onSuccess: () => Effect.sync(() => (said = "")),
          // Once: other things may happen in the folder, too.
          onFailure: ({ message }) => {
            if (message === said) return Effect.void
            said = message
            return Effect.logWarning(`The certificate is not changed: ${message}`)
          }
        })
      )
    yield* certificate.watched(files, changed)

    return {
      listener,
      goAway: () => {
        leaving = true
        for (const session of sessions.values()) session.goAway()
      },
      closeIdle: () => {
        for (const [socket, session] of sessions) {
          if (session.idle) socket.destroy()
          else session.close()
        }
        for (const socket of others) if (clientOf(socket)?.idle !== false) socket.destroy()
      },
      closeAll: () => {
        for (const socket of others) socket.destroy()
        // What a stream has said is on its way through a session, and a socket, in turns of the loop.
        for (const session of sessions.values()) session.close()
        const timer = setTimeout(() => raw.forEach((socket) => socket.destroy()), flushMillis).unref()
        listener.once("close", () => clearTimeout(timer))
      },
      reload
    }
  })

const sayAge = ({ validFrom, validTo }: certificate.Pair, { certFile }: certificate.Files): Effect.Effect<void> => {
  const now = Date.now()
  const wrong =
    validTo.getTime() <= now
      ? `too old: it was valid until ${validTo.toISOString()}`
      : validFrom.getTime() > now
        ? `too new: it is valid from ${validFrom.toISOString()} on`
        : undefined
  return wrong === undefined ? Effect.void : Effect.logWarning(`The certificate in ${certFile} is ${wrong}`)
}

const flushMillis = 250
