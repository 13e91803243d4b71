// Many HTTP calls at once: five at a time, each with an end of its own, over one pool of connections; and an endless source.
//
// Eighteen calls to a server in this program: answers that take one to three seconds (here tenths of that), and statuses 200, 404
// and 500. Then a host that is down for a moment, and is asked again; and the first three of an endless stream of pages.
import { ParallelHttp, Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Console, Effect, Exit, Layer, Result, Schedule, Stream } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

const seen = { connections: 0, running: 0, most: 0, down: 2 }
const server = createServer((request, response) => {
  const [, kind, value] = request.url!.split("/")
  const status = kind === "status" ? Number(value) : kind === "flaky" && seen.down-- > 0 ? 503 : 200
  seen.most = Math.max(seen.most, ++seen.running)
  const answer = () => {
    seen.running--
    response.writeHead(status).end(`${kind} ${value}`)
  }
  setTimeout(answer, kind === "delay" ? 100 * Number(value) : 10)
}).on("connection", () => seen.connections++)

const listening = Effect.acquireRelease(
  Effect.callback<string>((resume) => {
    server.listen(0, "127.0.0.1", () =>
      resume(Effect.succeed(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
    )
  }),
  () => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
)

const program = Effect.gen(function* () {
  const origin = yield* listening
  const http = yield* ParallelHttp.make("example", {
    inFlight: 5,
    attempts: { backoff: Schedule.spaced("20 millis") }
  }).pipe(Effect.provide(Layer.effect(Transport.Transport, NodeTransport.make())))
  const paths = ["delay/1", "delay/2", "delay/3", "status/200", "status/404", "status/500"]
  const urls = [1, 2, 3].flatMap(() => paths.map((path) => `${origin}/${path}`))
  yield* Console.log(`${urls.length} calls, five at a time:`)
  const counts = new Map<number, number>()
  const count = ({ exit, trace }: ParallelHttp.Outcome<string, string>) =>
    Exit.isSuccess(exit) || trace.status !== undefined
      ? Effect.sync(() => void counts.set(trace.status!, (counts.get(trace.status!) ?? 0) + 1))
      : Console.log(`  no answer: ${String(exit.cause)}`)
  yield* Stream.fromIterable(urls).pipe(http.stream({ read: ParallelHttp.text }), Stream.runForEach(count))
  for (const [status, times] of [...counts].toSorted()) yield* Console.log(`  ${status}: ${times}`)
  yield* Console.log(`  the server saw ${seen.most} at once, over ${seen.connections} connections`)
  const [flaky] = yield* http.all([`${origin}/flaky/page`], { read: ParallelHttp.text })
  yield* Console.log(
    `Down for a moment: ${String(Exit.getSuccess(flaky!.exit))}, after ${flaky!.trace.attempts} attempts`
  )
  const pages = Stream.iterate(1, (n) => n + 1).pipe(
    http.stream({ request: (n) => `${origin}/page/${n}`, read: ParallelHttp.text, order: "input" }),
    Stream.take(3)
  )
  const first = yield* Stream.runCollect(pages)
  yield* Console.log(
    `Of endless pages the first three: ${first.map(({ exit }) => Exit.getSuccess(exit).pipe((o) => (o._tag === "Some" ? o.value : "?"))).join(", ")}`
  )
})

await Effect.runPromise(Effect.scoped(program))
