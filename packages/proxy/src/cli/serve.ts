import { Effect } from "effect"
import * as config from "./config.ts"

export const serve = Effect.fnUntraced(function* (options: {
  readonly config: string | undefined
  readonly demo: boolean
  readonly listen: string | undefined
}) {
  yield* config.read(options.config ?? config.usual)
  yield* Effect.never
})
