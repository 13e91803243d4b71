// A server whose answers take 20 ms, or as long as `/MILLIS` says; it prints its port.
import { Transport } from "@fairlead/core"
import { NodeHttp, NodeMain } from "@fairlead/platform-node"
import { Effect } from "effect"

const [drain = "10 seconds", interrupt = "1 second"] = process.argv.slice(2)

NodeMain.launch(
  Effect.gen(function* () {
    const server = yield* NodeHttp.serve(
      (request) => {
        const millis = Number.parseInt(request.target.slice(1)) || 20
        return Effect.as(Effect.sleep(millis), { status: 200, headers: [], body: Transport.text("ok") })
      },
      { port: 0 }
    )
    console.log(server.port)
    yield* Effect.never
  }),
  { shutdown: { drain: drain as "10 seconds", interrupt: interrupt as "1 second" } }
)
