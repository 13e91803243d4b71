/** `fairlead check [FILE]`: says what a config means, or all that is wrong with it. Nothing is started. */
import { NodeHttp } from "@fairlead/platform-node"
import { Effect } from "effect"
import * as config from "./config.ts"
import { print, say } from "./print.ts"
import * as summary from "./summary.ts"

export const check = Effect.fnUntraced(function* ({ file }: { readonly file: string }) {
  const checked = yield* config.read(file)
  if (checked.tls !== undefined) {
    const files = { certFile: checked.tls.cert, keyFile: checked.tls.key }
    yield* Effect.mapError(NodeHttp.checkTls(files), (error) => config.badTls(error, file))
  }
  for (const warning of summary.warnings(checked)) say(`fairlead: warning: ${warning}`)
  yield* print(`${file} is fine.\n\n${summary.all(checked)}\n`)
})
