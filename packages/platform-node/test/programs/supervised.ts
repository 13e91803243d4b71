// A program under a supervisor: `node supervised.ts CONFIG`. What it does is in a JSON file, which each process reads when it starts: another
// content is another version. Each process prints what it is and its port, once it is ready.
import { Gate, RateWindow, Shutdown, Transport } from "@fairlead/core"
import { NodeHealth, NodeHttp, NodeMain, NodeSupervisor } from "@fairlead/platform-node"
import { Effect, Layer, Runtime } from "effect"
import cluster from "node:cluster"
import { readFileSync } from "node:fs"
import type { Config } from "../supervising.ts"

const config: Config = JSON.parse(readFileSync(process.argv[2]!, "utf8"))

class Wrong extends Error {
  override readonly [Runtime.errorExitCode] = 2
}

const answer = (text: string) => ({ status: 200, headers: [], body: Transport.text(text) })

const serve = Effect.gen(function* () {
  const gate = yield* Gate.make("upstream", {
    windows: [RateWindow.per(10, config.window ?? "1 second", { counts: "answer" })],
    line: { maxItems: 10_000 },
    store: NodeSupervisor.store
  })
  const call = Effect.promise(() => fetch(config.upstream!, { headers: { "x-pid": `${process.pid}` } }))
  const handler: NodeHttp.Handler<never> = ({ target }) => {
    const [, what, millis] = target.split("/")
    switch (what) {
      case "throw":
        setTimeout(() => {
          throw new Error("nobody's")
        })
        return Effect.succeed(answer("thrown"))
      case "say":
        console.log("said")
        console.error("said")
        return Effect.succeed(answer("said"))
      case "exit":
        setTimeout(() => process.exit(3))
        return Effect.succeed(answer("exits"))
      case "call":
        return gate.run(call).pipe(Effect.as(answer(`${process.pid}`)), Effect.orDie)
      case "beacon":
        return Effect.as(
          Effect.forkDetach(Shutdown.beacon(Effect.never, "work").pipe(Effect.provide(context))),
          answer("")
        )
      default:
        return Effect.delay(
          Effect.sync(() => answer(`${config.version} ${process.pid}`)),
          Number(millis) || 0
        )
    }
  }
  const context = yield* Effect.context<Shutdown.Shutdown>()
  const fd = NodeSupervisor.sockets()[0]?.fd
  const { host, port } = yield* NodeHttp.serve(handler, { port: config.port ?? 0, fd, tls: config.tls })
  console.log(`at ${host} ${port}`)
})

const behaviours = {
  serve: Layer.effectDiscard(serve),
  /** Says on another port how it is. */
  probed: Layer.effectDiscard(
    Effect.gen(function* () {
      yield* serve
      const health = yield* NodeHealth.make()
      const { port } = yield* NodeHttp.serve(
        health.wrap(() => Effect.succeed(answer(""))),
        { port: 0, edge: false }
      )
      console.log(`says how it is at ${port}`)
    })
  ),
  twice: Layer.effectDiscard(Effect.andThen(serve, serve)),
  fail: Effect.fail(new Wrong("the config is wrong")),
  /** Serves, and never says that it is ready. */
  silent: Effect.andThen(serve, Effect.never),
  /** Says so itself. */
  explicit: Effect.andThen(serve, Effect.andThen(NodeSupervisor.ready, Effect.never)),
  crash: Effect.sync(() => process.exit(3)),
  /** Breaks while it is built, and says nothing of being ready. */
  throws: Effect.andThen(
    Effect.sync(() => {
      setTimeout(() => {
        throw new Error("nobody's")
      })
    }),
    Effect.never
  ),
  /** Cannot be stopped. */
  hung: Effect.andThen(
    Effect.andThen(serve, NodeSupervisor.ready),
    Effect.sync(() => {
      // With time for what it said to get out.
      setTimeout(() => {
        for (;;);
      }, 100)
    })
  ).pipe(Effect.andThen(Effect.never)),
  finish: Effect.andThen(NodeSupervisor.ready, Effect.sleep("300 millis"))
}

const throws = (event: NodeSupervisor.Event): never => {
  console.error(NodeSupervisor.format(event))
  throw new Error("nobody takes it")
}

if (cluster.isPrimary) console.log(`primary ${process.pid}`)

if (config.does === "alone") NodeMain.launch(behaviours.serve)
else {
  NodeSupervisor.launch<unknown, unknown>(behaviours[config.does ?? "serve"] as Effect.Effect<unknown, unknown>, {
    workers: config.workers,
    ready: config.ready ?? "20 seconds",
    shutdown: config.shutdown ?? { drain: "10 seconds", interrupt: "1 second", total: "12 seconds" },
    ...(config.tells === "throws" ? { onEvent: throws } : {})
  })
}
