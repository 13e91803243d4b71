/** Our server and our transport, with no stage between them. */
import { Transport } from "@fairlead/core"
import { NodeHttp, NodeMain, NodeTransport } from "@fairlead/platform-node"
import { Effect } from "effect"

const [port, upstream] = [Number(process.argv[2]), process.argv[3] ?? ""]
const failed: Transport.Reply = { status: 502, headers: [], body: Transport.empty }

NodeMain.launch(
  Effect.gen(function* () {
    const transport = yield* NodeTransport.make({ name: "upstreams", maxSockets: "unbounded" })
    const handler = (request: NodeHttp.Request) =>
      transport.exchange(upstream, request).pipe(Effect.orElseSucceed(() => failed))
    yield* NodeHttp.serve(handler, { port })
    return yield* Effect.never
  }).pipe(Effect.scoped)
)
