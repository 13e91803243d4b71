/** Ours: the port by itself, and `ParallelHttp` on it. */
import { ParallelHttp, Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Effect, Stream } from "effect"
import { fibers } from "./fibers.ts"
import { atOnce } from "./load.ts"
import type { Client } from "./load.ts"

const get = (transport: Transport.Transport) => (url: string) => {
  const { origin, pathname, search } = new URL(url)
  const request = { method: "GET", target: `${pathname}${search}`, headers: [], body: Transport.empty }
  return Effect.map(
    Effect.scoped(Effect.flatMap(transport.exchange(origin, request), ({ body }) => Transport.collect(body))),
    ({ length }) => length
  )
}

const run = <E>(use: (transport: Transport.Transport) => Effect.Effect<void, E>) =>
  Effect.runPromise(Effect.scoped(Effect.flatMap(NodeTransport.make({ maxSockets: "unbounded" }), use)))

export const transport: Client = (load) => run((transport) => fibers(get(transport), load))

/** Attempts and statistics are on by default; no two URLs are alike, so that nothing could be shared. */
export const parallel: Client = (load) =>
  Stream.fromIterable(load.urls).pipe(
    ParallelHttp.stream({ inFlight: atOnce, perHost: atOnce, attempts: { max: 3 }, timeout: "30 seconds" }),
    Stream.runForEach(({ exit }) => Effect.map(exit, ({ length }) => load.answered(length))),
    // Its own gates bound the sockets.
    Effect.provide(NodeTransport.layer({ maxSockets: "unbounded" })),
    Effect.runPromise
  )
