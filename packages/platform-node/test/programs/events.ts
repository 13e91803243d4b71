// A server of event streams, each of which says hello and then nothing. It prints its port.
import { Shutdown, Transport } from "@fairlead/core"
import { NodeEvents, NodeHttp, NodeMain } from "@fairlead/platform-node"
import * as NodeRouter from "@fairlead/platform-node/NodeRouter"
import { Effect, Layer, Stream } from "effect"
import { HttpRouter, HttpServer, HttpServerResponse } from "effect/http"

const hello = Stream.concat(Stream.make({ data: "hello" }), Stream.never)
const contentType = NodeEvents.contentType

/** The same by way of a router: once as it is made here, and once of bare text that ends with the drain. */
const routes = Layer.mergeAll(
  HttpRouter.add("GET", "/events", Effect.succeed(HttpServerResponse.stream(NodeEvents.bytes(hello), { contentType }))),
  HttpRouter.add(
    "GET",
    "/bare",
    Effect.map(Shutdown.Shutdown, (shutdown) =>
      HttpServerResponse.stream(
        Stream.map(hello, NodeEvents.encode).pipe(
          shutdown.endAtDrain,
          Stream.concat(Stream.succeed("event: end\ndata: bare\n\n")),
          Stream.encodeText
        ),
        { contentType }
      )
    )
  )
)

const router = Layer.effectDiscard(
  HttpServer.HttpServer.useSync(({ address }) => console.log("port" in address && address.port))
).pipe(
  Layer.merge(HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true })),
  Layer.provide(NodeRouter.layer({ port: 0, health: {} }))
)

const plain = Effect.gen(function* () {
  const server = yield* NodeHttp.serve(
    ({ target }) =>
      target === "/events"
        ? NodeEvents.reply(hello)
        : Effect.succeed({ status: 404, headers: [], body: Transport.empty }),
    { port: 0 }
  )
  console.log(server.port)
  yield* Effect.never
})

const options = { shutdown: { drain: "10 seconds", interrupt: "1 second" } } as const
if (process.argv[2] === "router") NodeMain.launch(router, options)
else NodeMain.launch(plain, options)
