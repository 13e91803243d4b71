/** Effect's `HttpRouter` on our server. */
import { NodeMain } from "@fairlead/platform-node"
import * as NodeRouter from "@fairlead/platform-node/NodeRouter"
import { Layer } from "effect"
import { app } from "./routes.ts"

NodeMain.launch(Layer.provide(app, NodeRouter.layer({ port: Number(process.argv[2]) })))
