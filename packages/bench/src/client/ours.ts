/** Ours: the port by itself, and with a stream around it. */
import { Transport } from "@fairlead/core"
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
  Effect.runPromise(Effect.scoped(Effect.flatMap(NodeTransport.make(), use)))

export const transport: Client = (load) => run((transport) => fibers(get(transport), load))

export const transportOfStream: Client = (load) =>
  run((transport) =>
    Stream.fromIterable(load.urls).pipe(
      Stream.mapEffect(get(transport), { concurrency: atOnce, unordered: true }),
      Stream.runForEach((length) => Effect.sync(() => load.answered(length)))
    )
  )
