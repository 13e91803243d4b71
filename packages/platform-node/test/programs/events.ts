// A server of event streams, `node events.ts [router]`: each says hello, and then nothing. It prints its port.
import { Shutdown, Transport } from "@fairlead/core"
import { NodeEvents, NodeHttp, NodeMain } from "@fairlead/platform-node"
import { Effect, Stream } from "effect"

const hello = Stream.concat(Stream.make({ data: "hello" }), Stream.never)

NodeMain.launch(
  Effect.gen(function* () {
    const shutdown = yield* Shutdown.Shutdown
    const server = yield* NodeHttp.serve(
      ({ target }) =>
        target === "/events"
          ? NodeEvents.reply(hello)
          : Effect.succeed({ status: 200, headers: [], body: Transport.text("ok") }),
      { port: 0 }
    )
    yield* Effect.forkScoped(Stream.runForEach(shutdown.phases, () => Effect.void))
    console.log(server.port)
    yield* Effect.never
  }),
  { shutdown: { drain: "10 seconds", interrupt: "1 second" } }
)
