#!/usr/bin/env node
/** `fairlead`: command line → program → process. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { NodeMain } from "@fairlead/platform-node"
import { Effect } from "effect"
import * as fairlead from "./cli/fairlead.ts"

fairlead.run(process.argv.slice(2)).pipe(Effect.provide(NodeServices.layer), NodeMain.launch)
