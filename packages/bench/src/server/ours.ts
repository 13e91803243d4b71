/** Our server with nothing to do: one small answer, in memory. Says when it listens. */
import { Transport } from "@fairlead/core"
import { NodeHttp, NodeMain } from "@fairlead/platform-node"
import { Effect } from "effect"

const answer = Effect.succeed<Transport.Reply>({
  status: 200,
  headers: ["content-type", "text/plain"],
  body: Transport.bytes(Buffer.alloc(229, "x"))
})

NodeMain.launch(
  Effect.gen(function* () {
    const { port } = yield* NodeHttp.serve(() => answer, { port: Number(process.argv[2]) })
    console.log(port)
    return yield* Effect.never
  })
)
