/** What tests of calls over the network share. */
import { Transport } from "@fairlead/core"
import type { Refused } from "@fairlead/core"
import { Deferred, Effect } from "effect"
import type { Scope } from "effect"
import * as net from "node:net"

export const get = (target: string, headers: Transport.Headers = []): Transport.Request => ({
  method: "GET",
  target,
  headers,
  body: Transport.empty
})

/** A sink that keeps everything and is never full. */
export const keep = () => {
  const chunks: Array<Uint8Array> = []
  return {
    write: (chunk: Uint8Array) => chunks.push(chunk) > 0,
    onDrain: () => {},
    text: () => Buffer.concat(chunks).toString()
  }
}

/** A body that is sent when the test says so. */
export const scripted = (length?: number) => {
  const sink = Deferred.makeUnsafe<Transport.Sink>()
  const end = Deferred.makeUnsafe<void, Transport.BodyFailed>()
  const state = { aborted: false }
  const abort = () => (state.aborted = true)
  const body: Transport.Body = {
    length,
    bytes: undefined,
    pipeTo: (to) =>
      Effect.onInterrupt(
        Effect.suspend(() => {
          Deferred.doneUnsafe(sink, Effect.succeed(to))
          return Deferred.await(end)
        }),
        () => Effect.sync(abort)
      ),
    abort
  }
  return { body, sink: Deferred.await(sink), end, state }
}

export const text = (body: Transport.Body) => {
  const sink = keep()
  return Effect.map(body.pipeTo(sink), sink.text)
}

/** What an exchange fails with, where no pool is so small that it refuses. */
export const failure = <A, R>(self: Effect.Effect<A, Transport.UpstreamFailed | Refused.Refused, R>) =>
  Effect.flip(Effect.catchTag(self, "Refused", Effect.die))

/** Runs `self` and fails unless it takes less than `millis`. */
export const soon = <A, E, R>(self: Effect.Effect<A, E, R>, millis = 500) => Effect.timeout(self, millis)

/** Waits until something is so. */
export const until = (holds: () => boolean, millis = 1_000) =>
  soon(Effect.repeat(Effect.sleep(2), { until: holds }), millis)

/** The kind of a failed exchange, or of the body of one that began. */
export const kindOf = (
  transport: Transport.Transport,
  origin: string,
  options?: Transport.Options,
  request = get("/")
): Effect.Effect<readonly [where: "head" | "body" | "none", kind: Transport.Kind | "none"]> =>
  Effect.scoped(
    Effect.matchEffect(transport.exchange(origin, request, options), {
      onFailure: (error) =>
        error._tag === "Refused" ? Effect.die(error) : Effect.succeed(["head", error.kind] as const),
      onSuccess: ({ body }) =>
        Effect.match(body.pipeTo(keep()), {
          onFailure: ({ kind }) => ["body", kind] as const,
          onSuccess: () => ["none", "none"] as const
        })
    })
  )

export interface RawServer {
  readonly port: number
  readonly origin: string
  readonly sockets: Set<net.Socket>
  /** How many there have been, and the most that were open at once. */
  readonly seen: { total: number; most: number }
}

/** A server of bare sockets on a free port, until the scope closes. */
export const rawServer = (onSocket: (socket: net.Socket) => void): Effect.Effect<RawServer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const sockets = new Set<net.Socket>()
    const seen = { total: 0, most: 0 }
    const server = net.createServer((socket) => {
      sockets.add(socket)
      seen.total++
      seen.most = Math.max(seen.most, sockets.size)
      socket.on("error", () => {}).on("close", () => sockets.delete(socket))
      onSocket(socket)
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          for (const socket of sockets) socket.destroy()
        })
    )
    const { port } = server.address() as net.AddressInfo
    return { port, origin: `http://127.0.0.1:${port}`, sockets, seen }
  })

/** One that says this to each request head. */
export const saying = (say: (socket: net.Socket, head: string) => void) =>
  rawServer((socket) => {
    let head = ""
    socket.on("data", (chunk) => {
      head += chunk.toString("latin1")
      if (!head.includes("\r\n\r\n")) return
      const whole = head
      head = ""
      say(socket, whole)
    })
  })
