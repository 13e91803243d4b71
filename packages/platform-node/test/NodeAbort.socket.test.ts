import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { CancelScope, Deadline, Reason } from "@fairlead/core"
import { NodeAbort } from "@fairlead/platform-node"
import { ScriptedUpstream } from "@fairlead/testing/node"
import { getEventListeners } from "node:events"

const listeners = (signal: AbortSignal) => getEventListeners(signal, "abort").length

const text = (url: string) =>
  NodeAbort.tryPromise({
    try: async (signal) => (await fetch(url, { signal })).text(),
    catch: (error) => error
  })

describe("NodeAbort with fetch", () => {
  it.live("a call that is cut closes its connection, before or in the middle of the answer", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      for (const begun of [false, true]) {
        const call = yield* Effect.forkChild(Deadline.option(text(upstream.origin), "100 millis"))
        const received = yield* upstream.next
        if (begun) {
          received.head(200, ["content-length", "100"])
          received.write("half of it")
        }
        expect((yield* Fiber.join(call))._tag).toBe("None")
        yield* received.closed
      }
    })
  )

  it.live("leaves no listener on a signal that lives long", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: ({ reply }) => reply(200, [], "hello") })
      const { signal } = new AbortController()
      for (let i = 0; i < 20; i++) {
        const outcome = yield* NodeAbort.run(text(upstream.origin), signal)
        expect(outcome).toEqual(new CancelScope.Completed({ value: "hello" }))
      }
      expect(listeners(signal)).toBe(0)
    })
  )

  it.live("an abort reaches the connection through the region", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const controller = new AbortController()
      const call = yield* Effect.forkChild(NodeAbort.run(text(upstream.origin), controller.signal))
      const received = yield* upstream.next
      controller.abort()
      expect(yield* Fiber.join(call)).toEqual(new CancelScope.Cancelled({ reason: new Reason.ClientGone() }))
      yield* received.closed
      expect(listeners(controller.signal)).toBe(0)
    })
  )
})
