/**
 * A client that is a bare socket: it sends what a test spells out, byte for byte, and shows what came back, and how the
 * connection ended. For what no HTTP client would send, and for who leaves in the middle.
 */
import { Deferred, Effect } from "effect"
import type { Scope } from "effect"
import * as net from "node:net"

export interface RawClient {
  readonly write: (bytes: string | Uint8Array) => void
  /** All that has come so far, one character for each byte. */
  readonly text: () => string
  /** Waits until what has come matches, and gives all of it; dies when the connection ends without. */
  readonly until: (pattern: RegExp | string) => Effect.Effect<string>
  /** How the connection ended: orderly, or by a reset; waits for it. */
  readonly ended: Effect.Effect<"end" | "reset">
  /** Takes nothing more until `resume`. */
  readonly pause: () => void
  readonly resume: () => void
  /** Leaves: orderly, or with a reset. */
  readonly leave: () => void
  readonly reset: () => void
  readonly socket: net.Socket
}

/** A connection to a port of 127.0.0.1, until the scope closes. */
export const connect = (port: number): Effect.Effect<RawClient, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<net.Socket>((resume) => {
        const socket = net.connect({ host: "127.0.0.1", port, noDelay: true }, () => resume(Effect.succeed(socket)))
        socket.once("error", (error) => resume(Effect.die(error)))
      }),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    (socket) => {
      let text = ""
      let reset = false
      const ended = Deferred.makeUnsafe<"end" | "reset">()
      const looks = new Set<() => void>()
      socket.on("data", (chunk) => {
        text += chunk.toString("latin1")
        for (const look of looks) look()
      })
      socket.on("error", () => (reset = true))
      socket.on("close", () => {
        Deferred.doneUnsafe(ended, Effect.succeed(reset ? "reset" : "end"))
        for (const look of looks) look()
      })
      return {
        write: (bytes) => void socket.write(bytes),
        text: () => text,
        until: (pattern) =>
          Effect.callback((resume) => {
            const look = () => {
              const found = typeof pattern === "string" ? text.includes(pattern) : pattern.test(text)
              if (!found && !socket.destroyed) return
              looks.delete(look)
              resume(found ? Effect.succeed(text) : Effect.die(new Error(`Expected ${pattern}, got ${text}`)))
            }
            looks.add(look)
            look()
            return Effect.sync(() => looks.delete(look))
          }),
        ended: Deferred.await(ended),
        pause: () => void socket.pause(),
        resume: () => void socket.resume(),
        leave: () => void socket.destroy(),
        reset: () => void socket.resetAndDestroy(),
        socket
      }
    }
  )

/** One `GET`, on a connection of its own that the server is to close. Gives everything that came. */
export const get = (port: number, target: string, ...headers: ReadonlyArray<string>): Effect.Effect<string> =>
  Effect.scoped(
    Effect.gen(function* () {
      const client = yield* connect(port)
      const fields = [`Host: 127.0.0.1:${port}`, "Connection: close", ...headers]
      client.write(`GET ${target} HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`)
      yield* client.ended
      return client.text()
    })
  )
