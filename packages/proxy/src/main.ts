#!/usr/bin/env node
/** `fairlead`: command line → program → process. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { NodeMain, NodeSupervisor } from "@fairlead/platform-node"
import { Effect } from "effect"
import * as fairlead from "./cli/fairlead.ts"

const args = process.argv.slice(2)
const program = fairlead.run(args).pipe(Effect.provide(NodeServices.layer))

if (!fairlead.isRolling(args)) NodeMain.launch(program, { onLedger: fairlead.onLedger })
else NodeSupervisor.launch(program, { onEvent: fairlead.onEvent })
