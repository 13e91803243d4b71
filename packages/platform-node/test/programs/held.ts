// A server with TLS on its own. For each line that it reads it prints how many connections are in its memory: not in the process of the test,
// where whoever reads the stack of an error lets go of what that holds.
import { Transport } from "@fairlead/core"
import { Effect } from "effect"
import { TLSSocket } from "node:tls"
import { queryObjects } from "node:v8"
import { serve } from "../secure.ts"

const body = Transport.text("a".repeat(100_000))

const program = Effect.gen(function* () {
  const server = yield* serve(() => Effect.succeed({ status: 200, headers: [], body }))
  console.log(JSON.stringify({ port: server.port, ca: server.pair.ca }))
  process.stdin.on("data", () => console.log(queryObjects(TLSSocket, { format: "count" })))
  // Until its input ends.
  yield* Effect.callback<void>((resume) => void process.stdin.once("end", () => resume(Effect.void)))
})

await Effect.runPromise(Effect.scoped(program))
