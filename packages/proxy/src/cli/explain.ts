/** `fairlead explain [ID]`: why a call waits; without an id, which there are. */
import { Inspect } from "@fairlead/platform-node"
import { Effect } from "effect"
import * as Look from "../inspect/Look.ts"
import * as admin from "./admin.ts"
import { print } from "./print.ts"
import { Stop } from "./Stop.ts"

export interface Options extends admin.Options {
  readonly id: string | undefined
  readonly json: boolean
}

export const explain = Effect.fnUntraced(function* (options: Options) {
  const { id } = options
  const { orStop, remote } = yield* admin.connect(options)
  if (id === undefined) {
    const { json } = yield* Effect.mapError(remote.get("/explain"), orStop)
    const tasks = Look.tree(json)
    if (options.json) return yield* print(`${JSON.stringify(tasks, null, 2)}\n`)
    return yield* print(tasks.length === 0 ? "No call is under way.\n" : Inspect.formatTree(tasks))
  }
  // A problem names its call by a URN.
  const bare = id.replace(/^urn:fairlead:call:/, "")
  const { json, status } = yield* Effect.mapError(remote.get(`/explain/${encodeURIComponent(bare)}`), orStop)
  const sentences = Look.sentences(json)
  if (options.json) yield* print(`${JSON.stringify({ id: bare, sentences }, null, 2)}\n`)
  else yield* print(sentences.map((line) => `${line}\n`).join(""))
  if (status === 404) return yield* new Stop({ message: "", code: 1 })
}, Effect.scoped)
