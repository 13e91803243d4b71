import { describe, expect, it } from "@effect/vitest"
import { Pressure } from "@fairlead/core"
import { ScriptedUpstream } from "@fairlead/testing/node"
import { Effect } from "effect"
import { Connections } from "../../src/internal/connections.ts"
import type { Connection, Options } from "../../src/internal/connections.ts"
import { dialer } from "../../src/internal/dial.ts"
import * as forward from "../../src/internal/forward.ts"

/** Nobody asks what is waited for. */
const waits = () => {}

const nobody = { waits, taken: () => {}, missed: () => {} }

const make = (bounds: Partial<Options> = {}) =>
  Effect.acquireRelease(
    Effect.sync(
      () =>
        new Connections({
          dial: dialer({ connectMillis: 1_000 }),
          choose: forward.never,
          maxSockets: Infinity,
          perOrigin: Infinity,
          connectMillis: 1_000,
          http2: false,
          pressure: Pressure.calm,
          ...bounds
        })
    ),
    (all) => Effect.promise(() => all.close(0))
  )

const use = (lane: Connection) =>
  Effect.callback<void>((resume) =>
    lane.dispatch(
      { path: "/", method: "GET" },
      {
        waits,
        onRequestStart: () => {},
        onResponseStart: () => {},
        onResponseData: () => {},
        onResponseEnd: () => {
          lane.free()
          resume(Effect.void)
        },
        onResponseError: (_, error) => resume(Effect.die(error))
      }
    )
  )

const soon = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.timeout(self, 1_000)

describe("connections", () => {
  it.live("are used again, the last one first, and forgotten when they idle out", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200) })
      const connections = yield* make()
      const one = connections.take(upstream.origin, nobody)!
      const two = connections.take(upstream.origin, nobody)!
      expect(two).not.toBe(one)
      yield* use(one)
      yield* use(two)
      expect(connections.take(upstream.origin, nobody)).toBe(two)
      two.free()
      upstream.received[1]!.hangUp()
      yield* soon(Effect.repeat(Effect.sleep(5), { until: () => connections.all.size === 1 }))
      expect(connections.take(upstream.origin, nobody)).toBe(one)
      expect(connections.take(upstream.origin, nobody)).not.toBe(two)
    })
  )

  it.live("leave nothing behind of an origin when the last one is gone", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200) })
      const connections = yield* make()
      yield* use(connections.take(upstream.origin, nobody)!)
      expect(connections.origins.size).toBe(1)
      upstream.received[0]!.hangUp()
      yield* soon(Effect.repeat(Effect.sleep(5), { until: () => connections.origins.size === 0 }))
      expect([connections.all.size, connections.closing, connections.opened, connections.shut]).toEqual([0, 0, 1, 1])
    })
  )

  it.live("give their place back when the socket has closed, not before", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200) })
      const connections = yield* make({ maxSockets: 1 })
      const one = connections.take(upstream.origin, nobody)!
      yield* use(one)
      expect(connections.take(upstream.origin, nobody)).toBe(one)
      let closed = false
      one.cut(() => (closed = true))
      let given: Connection | undefined
      const taker = { waits, taken: (connection: Connection) => void (given = connection), missed: () => {} }
      expect(connections.take(upstream.origin, taker)).toBe(undefined)
      for (let i = 0; i < 20; i++) yield* Effect.promise(() => Promise.resolve())
      // No turn of the event loop has passed: the socket cannot have closed.
      expect([closed, given, connections.all.size, connections.closing]).toEqual([false, undefined, 1, 1])
      yield* soon(Effect.repeat(Effect.sleep(2), { until: () => given !== undefined }))
      expect([closed, connections.all.size, connections.closing, connections.waiting]).toEqual([true, 1, 0, 0])
    })
  )

  it.live("are waited for no longer than a connection may take, nor by who has left", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200) })
      const connections = yield* make({ maxSockets: 1, connectMillis: 50 })
      yield* use(connections.take(upstream.origin, nobody)!)
      connections.take(upstream.origin, nobody)
      const told: Array<string> = []
      const taker = (name: string) => ({
        waits,
        taken: () => void told.push(name),
        missed: (error: Error) => void told.push(`${name} ${error.name}`)
      })
      const left = taker("left")
      expect(connections.take(upstream.origin, left)).toBe(undefined)
      expect(connections.take(upstream.origin, taker("stayed"))).toBe(undefined)
      connections.leave(left)
      expect(connections.waiting).toBe(1)
      yield* Effect.sleep(100)
      expect(told).toEqual(["stayed ConnectTimeoutError"])
      expect(connections.waiting).toBe(0)
    })
  )
})
