// Relays every call to the origin it is given: `node relay.ts ORIGIN`. Prints its port; over IPC it tells the most memory
// that it has held since it was last asked.
import { NodeHttp, NodeMain, NodeTransport } from "@fairlead/platform-node"
import { relay } from "./relaying.ts"
import { Effect } from "effect"

let most = 0
setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 20).unref()
process.on("message", () => {
  process.send?.(most)
  most = process.memoryUsage.rss()
})

NodeMain.launch(
  Effect.scoped(
    Effect.gen(function* () {
      const transport = yield* NodeTransport.make()
      const server = yield* NodeHttp.serve(relay(transport, process.argv[2]!), { port: 0, drain: "5 seconds" })
      console.log(server.port)
      yield* Effect.never
    })
  ).pipe(
    // The channel to the test would hold the process open.
    Effect.ensuring(Effect.sync(() => process.connected && process.disconnect()))
  )
)
