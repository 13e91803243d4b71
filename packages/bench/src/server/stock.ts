/** Effect's `HttpRouter` on Effect's server, as its documentation starts it. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Layer } from "effect"
import { createServer } from "node:http"
import { app } from "./routes.ts"

const server = NodeHttpServer.layer(createServer, { port: Number(process.argv[2]), host: "127.0.0.1" })

NodeRuntime.runMain(Layer.launch(Layer.provide(app, server)))
