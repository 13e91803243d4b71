/**
 * Identical calls that share a run: a thousand callers ask for one key at once, each on a fiber of its own; the run is one
 * resolved promise. A join is one caller, from asking to having the value.
 *
 * Effect's `Cache` shares a lookup that goes on and remembers nothing after it here (a time to live of 0). A map of promises
 * is what one writes by hand: nobody can leave it, and nothing is cut.
 */
import { Coalesce } from "@fairlead/core"
import { Cache, Effect, Scope } from "effect"
import { perOperation } from "./harness.ts"
import type { Measure, Part } from "./harness.ts"

const size = 1000
const callers = Array.from({ length: size }, (_, caller) => caller)
const run = (key: string) => Effect.promise(() => Promise.resolve(key))

/** `make` gives, once, how one asks. */
const joins =
  (make: () => (key: string) => Effect.Effect<string, unknown>) =>
  (scale: number): Promise<Measure> => {
    const ask = make()
    const all = Effect.forEach(callers, () => ask("key"), { concurrency: "unbounded", discard: true })
    return perOperation(size, scale, () => Effect.runPromise(all))
  }

const coalesce = () => Effect.runSync(Coalesce.make("bench", { run }).pipe(Scope.provide(Scope.makeUnsafe()))).call

const cache = () => {
  const made = Effect.runSync(Cache.make({ capacity: 10, timeToLive: 0, lookup: run }))
  return (key: string) => Cache.get(made, key)
}

const promises = () => {
  const open = new Map<string, Promise<string>>()
  const ask = (key: string) => {
    let found = open.get(key)
    if (found === undefined) {
      found = Effect.runPromise(run(key)).finally(() => open.delete(key))
      open.set(key, found)
    }
    return found
  }
  return (key: string) => Effect.promise(() => ask(key))
}

export const coalescing: Part = {
  name: "coalesce",
  rows: [
    {
      name: "a thousand callers share a run",
      contenders: [
        { name: "Coalesce.call", round: joins(coalesce), atLeastPerSecond: 1_000_000 },
        { name: "no sharing: the run itself", round: joins(() => run) },
        { name: "Effect Cache", round: joins(cache) },
        { name: "a map of promises", round: joins(promises) }
      ]
    }
  ]
}
