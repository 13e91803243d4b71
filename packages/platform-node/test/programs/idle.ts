// Serves one request, and prints what there is while nobody is connected, before it and after: timers that would ring
// within a day, whether or not they hold the process, and how often its loop turns in a second.
import { Transport } from "@fairlead/core"
import { NodeHttp } from "@fairlead/platform-node"
import { RawClient } from "@fairlead/testing/node"
import { Effect } from "effect"
import { createHook } from "node:async_hooks"
import { performance } from "node:perf_hooks"

const timers = new Map<number, { readonly _idleTimeout: number }>()
createHook({
  init: (id, type, _, timer) => void (type === "Timeout" && timers.set(id, timer as { readonly _idleTimeout: number })),
  destroy: (id) => void timers.delete(id)
}).enable()

const turns = () => performance.nodeTiming.uvMetricsInfo.loopCount

const look = Effect.gen(function* () {
  // The text of `Date` is kept by Node, with a timer, for the rest of its second; and one that rings is still there.
  yield* Effect.sleep("1100 millis")
  for (let i = 0; i < 2; i++) yield* Effect.promise(() => new Promise(setImmediate))
  const set = [...timers.values()].filter(({ _idleTimeout }) => _idleTimeout < 86_400_000).length
  const before = turns()
  yield* Effect.sleep("1 second")
  console.log(JSON.stringify({ timers: set, turns: turns() - before }))
})

const reply = { status: 200, headers: [], body: Transport.text("hello") }

Effect.runFork(
  Effect.scoped(
    Effect.gen(function* () {
      const { port } = yield* NodeHttp.serve(() => Effect.succeed(reply), { port: 0, drain: 0 })
      yield* look
      yield* RawClient.get(port, "/")
      yield* look
    })
  )
)
