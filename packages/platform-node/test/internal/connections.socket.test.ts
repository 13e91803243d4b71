import { describe, expect, it } from "@effect/vitest"
import { ScriptedUpstream } from "@fairlead/testing/node"
import { Effect } from "effect"
import { Connections } from "../../src/internal/connections.ts"
import type { Connection } from "../../src/internal/connections.ts"
import { dialer } from "../../src/internal/dial.ts"
import * as forward from "../../src/internal/forward.ts"

const nobody = { taken: () => {}, missed: () => {} }

const make = (bounds: { readonly maxSockets?: number; readonly perOrigin?: number } = {}) =>
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
})
