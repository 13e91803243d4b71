/** Fibers that take their URLs from one load. */
import { Effect } from "effect"
import { atOnce } from "./load.ts"
import type { Load } from "./load.ts"

/** `get` gives the length of an answer. */
export const fibers = <E, R>(
  get: (url: string) => Effect.Effect<number, E, R>,
  load: Load
): Effect.Effect<void, E, R> => {
  const one = Effect.gen(function* () {
    for (const url of load.urls) load.answered(yield* get(url))
  })
  return Effect.all(
    Array.from({ length: atOnce }, () => one),
    { concurrency: "unbounded", discard: true }
  )
}
