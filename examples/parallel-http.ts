// Many HTTP calls at once: five at a time, each with an end of its own, over one pool of connections; and an endless source.
//
// Eighteen calls to a server in this program: answers that take one to three seconds (here tenths of that), and statuses 200, 404
// and 500. Then a page that is not there at once, and is asked for again; and the first three of endless pages.
import { ParallelHttp } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Cause, Console, Effect, Exit, Schedule, Stream } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

const seen = { connections: 0, running: 0, most: 0, flaky: 0 }
const server = createServer((request, response) => {
  const [, kind, value] = request.url!.split("/")
  const status = kind === "status" ? Number(value) : kind === "flaky" && ++seen.flaky < 3 ? 503 : 200
  seen.most = Math.max(seen.most, ++seen.running)
  const answer = () => {
    seen.running--
    response.writeHead(status).end(`${kind} ${value}`)
  }
  setTimeout(answer, kind === "delay" ? 100 * Number(value) : 10)
}).on("connection", () => seen.connections++)

const listening = Effect.acquireRelease(
  Effect.callback<string>((resume) => {
    const told = () => resume(Effect.succeed(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
    server.listen(0, "127.0.0.1", told)
  }),
  () => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
)

const shown = (exit: Exit.Exit<string, Error>) => (Exit.isSuccess(exit) ? exit.value : String(Cause.squash(exit.cause)))

const program = Effect.gen(function* () {
  const origin = yield* listening
  const backoff = Schedule.spaced("20 millis")
  const http = yield* ParallelHttp.make("example", { inFlight: 5, timeout: "5 seconds", attempts: { backoff } })

  const paths = ["delay/1", "delay/2", "delay/3", "status/200", "status/404", "status/500"]
  const urls = [1, 2, 3].flatMap(() => paths.map((path) => `${origin}/${path}`))
  yield* Console.log(`${urls.length} calls, five at a time:`)
  const ends = yield* http.all(urls, { read: ParallelHttp.text })
  const { statuses } = yield* http.statistics
  for (const [status, calls] of Object.entries(statuses)) yield* Console.log(`  ${status}: ${calls}`)
  yield* Console.log(`  at once: ${seen.most}, connections: ${seen.connections}`)
  yield* Console.log(`  the last: ${shown(ends[17]!.exit).replace(origin, "")}`)

  const [flaky] = yield* http.all([`${origin}/flaky/page`], { read: ParallelHttp.text })
  yield* Console.log(`Not there at once: ${shown(flaky!.exit)}, after ${flaky!.trace.attempts} attempts`)

  const pages = Stream.iterate(1, (n) => n + 1).pipe(
    http.stream({ request: (n) => `${origin}/page/${n}`, read: ParallelHttp.text, order: "input" }),
    Stream.map(({ exit }) => shown(exit)),
    Stream.take(3)
  )
  yield* Console.log(`Of endless pages: ${(yield* Stream.runCollect(pages)).join(", ")}`)
})

await Effect.runPromise(Effect.scoped(program).pipe(Effect.provide(NodeTransport.layer())))
