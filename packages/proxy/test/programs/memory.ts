/**
 * A proxy as a process of its own, before the upstream of its first argument, with the `memory` of its second (JSON), one call at a time and a
 * queue that hardly ends. Tells its port; and when asked its memory, and what the guard sees.
 */
import { Registry } from "@fairlead/core"
import { NodeMain } from "@fairlead/platform-node"
import { Duration, Effect } from "effect"
import { silent } from "../../src/AccessLog.ts"
import { defaults } from "../../src/Config.ts"
import type { Config } from "../../src/Config.ts"
import * as Proxy from "../../src/Proxy.ts"
import { bare } from "../bare.ts"

NodeMain.launch(
  Effect.scoped(
    Effect.gen(function* () {
      const { port } = yield* Proxy.serve(
        {
          ...bare,
          memory: JSON.parse(process.argv[3]!).memory as Config["memory"],
          upstreams: [
            {
              ...defaults,
              breaker: undefined,
              coalesce: undefined,
              retry: undefined,
              name: "up",
              url: new URL(process.argv[2]!),
              concurrency: 4,
              rate: [],
              queue: { items: 100_000, bytes: 1e12, wait: Duration.seconds(60), overflow: "reject" },
              headers: []
            }
          ]
        },
        { log: silent, drain: "1 second" }
      )
      const registry = yield* Registry.Registry
      process.on("message", () => {
        const all = registry.snapshot()
        const of = (kind: string) => all.find((one) => one.kind === kind)?.statistics
        process.send!({ rss: process.memoryUsage.rss(), memory: of("memory"), gate: of("gate") })
      })
      // Whoever started it is gone: so are we.
      process.on("disconnect", () => process.exit())
      process.send!({ port })
      return yield* Effect.never
    })
  )
)
