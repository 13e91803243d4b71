/**
 * A proxy as a process of its own: before the upstream of its first argument, on a free port. Tells its port, and its
 * memory when asked. Writes its access log where the second argument is `log`.
 */
import { NodeMain } from "@fairlead/platform-node"
import { Duration, Effect } from "effect"
import { defaults } from "../../src/Config.ts"
import * as Proxy from "../../src/Proxy.ts"
import { silent } from "../../src/AccessLog.ts"
import { bare } from "../bare.ts"

NodeMain.launch(
  Effect.scoped(
    Effect.gen(function* () {
      const { port } = yield* Proxy.serve(
        {
          ...bare,
          upstreams: [
            {
              ...defaults,
              name: "up",
              url: new URL(process.argv[2]!),
              concurrency: 10,
              rate: [],
              queue: { items: 10, bytes: 1e6, wait: Duration.seconds(10), overflow: "reject" },
              headers: []
            }
          ]
        },
        { log: process.argv[3] === "log" ? undefined : silent, drain: "1 second" }
      )
      process.on("message", () => process.send!({ rss: process.memoryUsage.rss() }))
      // Whoever started it is gone: so are we.
      process.on("disconnect", () => process.exit())
      process.send!({ port })
      return yield* Effect.never
    })
  )
)
