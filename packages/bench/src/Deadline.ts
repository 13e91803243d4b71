/** A time limit that is not reached: what it costs to have one, around a resolved promise and around no wait at all. */
import { Deadline } from "@fairlead/core"
import { timeout, TimeoutStrategy } from "cockatiel"
import { Effect } from "effect"
import { perOperation } from "./harness.ts"
import type { Measure, Part } from "./harness.ts"

type Limit = <A>(effect: Effect.Effect<A>) => Effect.Effect<A, unknown>

const items = Array.from({ length: 1000 })

/** One after another: nothing but the limit and its body. */
const effects =
  (body: Effect.Effect<void>, limit: Limit) =>
  (scale: number): Promise<Measure> => {
    const all = Effect.forEach(items, () => limit(body), { discard: true })
    return perOperation(items.length, scale, () => Effect.runPromise(all))
  }

const promises =
  (body: () => unknown) =>
  (scale: number): Promise<Measure> => {
    const policy = timeout(1000, TimeoutStrategy.Aggressive)
    return perOperation(items.length, scale, async () => {
      for (const _ of items) await policy.execute(body)
    })
  }

const row = (name: string, body: Effect.Effect<void>, plain: () => unknown) => ({
  name: `deadline around ${name}`,
  contenders: [
    { name: "Deadline.within", round: effects(body, Deadline.within("1 second")) },
    { name: "no limit", round: effects(body, (effect) => effect) },
    { name: "Effect.timeout", round: effects(body, Effect.timeout("1 second")), atLeast: 2 },
    { name: "cockatiel timeout", round: promises(plain) }
  ]
})

export const deadline: Part = {
  name: "deadline",
  rows: [
    row(
      "a resolved promise",
      Effect.promise(() => Promise.resolve()),
      () => Promise.resolve()
    ),
    row(
      "a synchronous body",
      Effect.sync(() => {}),
      () => {}
    )
  ]
}
