// The outbound API proxy, in one process with its upstream and its callers.
//
// Ten calls of urgency 5 and then five of urgency 1, five at a time, ten per 5 seconds: the urgent overtake those who
// stand in line, and the last five wait until the window opens.
import { Registry } from "@fairlead/core"
import { AccessLog, Config, Proxy } from "fairlead"
import { Clock, Console, Effect, Result } from "effect"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

const upstream = Effect.acquireRelease(
  Effect.promise(async () => {
    const server = createServer((request, response) => void setTimeout(() => response.end(request.url), 100))
    await once(server.listen(0, "127.0.0.1"), "listening")
    return server
  }),
  (server) => Effect.sync(() => server.close())
)

const program = Effect.gen(function* () {
  const { port } = (yield* upstream).address() as AddressInfo
  const config = Config.decode({
    listen: "127.0.0.1:0",
    upstreams: { api: { url: `http://127.0.0.1:${port}`, concurrency: 5, rate: "10 per 5 seconds" } }
  })
  const proxy = yield* Proxy.serve(Result.getOrThrow(config), { log: AccessLog.silent, drain: "100 millis" })
  const begun = yield* Clock.currentTimeMillis

  const call = (urgency: number) =>
    Effect.gen(function* () {
      const url = `http://127.0.0.1:${proxy.port}/api/hello`
      yield* Effect.promise(() => fetch(url, { headers: { priority: `u=${urgency}` } }).then((answer) => answer.text()))
      return { urgency, at: (yield* Clock.currentTimeMillis) - begun }
    })

  const answers = yield* Effect.all(
    Array.from({ length: 15 }, (_, i) => (i < 10 ? call(5) : Effect.delay(call(1), "50 millis"))),
    { concurrency: "unbounded" }
  )
  const window = (from: number, to: number) => {
    const inside = answers.filter(({ at }) => at >= from && at < to)
    const urgent = inside.filter(({ urgency }) => urgency === 1).length
    return `${inside.length} answers, ${urgent} of them urgent`
  }
  yield* Console.log(`in the first 5 seconds: ${window(0, 5000)}`)
  yield* Console.log(`after that:             ${window(5000, Infinity)}`)
  for (const { kind, name, statistics } of yield* Registry.snapshot) {
    if (kind !== "gate") continue
    const { completed, running, waiting } = statistics as Record<string, unknown>
    yield* Console.log(`left at gate ${name}:       ${running} running, ${waiting} waiting; ${completed} completed`)
  }
})

await Effect.runPromise(Effect.scoped(program))
