import { describe, expect, it } from "@effect/vitest"
import { ScriptedUpstream } from "@fairlead/testing/node"
import { Effect } from "effect"
import * as Connections from "../../src/internal/connections.ts"

describe("connections", () => {
  it.live("are used again, the last one first, and forgotten when they idle out", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200) })
      const connections = yield* Effect.acquireRelease(
        Effect.sync(() => Connections.make({ connectMillis: 1_000 })),
        (all) => Effect.promise(() => all.close())
      )
      const use = (lane: Connections.Connection) =>
        Effect.promise(async () => {
          const { body } = await lane.client.request({ path: "/", method: "GET" })
          await body.dump()
        })
      const one = connections.take(upstream.origin)
      const two = connections.take(upstream.origin)
      expect(two).not.toBe(one)
      yield* use(one)
      yield* use(two)
      one.free()
      two.free()
      expect(connections.take(upstream.origin)).toBe(two)
      two.free()
      const gone = Effect.callback<void>((resume) => void two.client.once("disconnect", () => resume(Effect.void)))
      upstream.received[1]!.hangUp()
      yield* Effect.timeout(gone, 1_000)
      expect(connections.take(upstream.origin)).toBe(one)
      expect(connections.take(upstream.origin)).not.toBe(two)
    })
  )
})
