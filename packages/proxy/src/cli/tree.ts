/** `fairlead tree`: what goes on in a running process, who belongs to whom and what each waits for. */
import { Inspect } from "@fairlead/platform-node"
import { Effect } from "effect"
import * as Look from "../inspect/Look.ts"
import * as admin from "./admin.ts"
import { print } from "./print.ts"

export interface Options extends admin.Options {
  readonly json: boolean
}

export const tree = Effect.fnUntraced(function* (options: Options) {
  const { orStop, remote } = yield* admin.connect(options)
  const { json } = yield* Effect.mapError(remote.get("/tree"), orStop)
  const nodes = Look.tree(json)
  if (options.json) return yield* print(`${JSON.stringify(nodes, null, 2)}\n`)
  if (nodes.length === 0) return yield* print("Nothing goes on.\n")
  return yield* print(Inspect.formatTree(nodes, process.stdout.isTTY ? "box" : "plain"))
}, Effect.scoped)
