/**
 * A call that succeeds, under a policy that would try it again: what it costs to be ready for a failure. One call after another,
 * of no wait at all and of a resolved promise; with hedging too, whose moment never comes, and around a circuit breaker.
 */
import { Attempts } from "@fairlead/core"
import { CircuitBreaker } from "@fairlead/core/http"
import { ExponentialBackoff, handleAll, retry } from "cockatiel"
import { Effect, Schedule, Scope } from "effect"
import { perOperation } from "./harness.ts"
import type { Measure, Part } from "./harness.ts"

type Policy = <A>(effect: Effect.Effect<A>) => Effect.Effect<A, unknown>

const items = Array.from({ length: 1000 })

const effects =
  (body: Effect.Effect<void>, policy: () => Policy) =>
  (scale: number): Promise<Measure> => {
    const around = policy()
    const all = Effect.forEach(items, () => around(body), { discard: true })
    return perOperation(items.length, scale, () => Effect.runPromise(all))
  }

const promises =
  (body: () => unknown) =>
  (scale: number): Promise<Measure> => {
    const policy = retry(handleAll, { maxAttempts: 3, backoff: new ExponentialBackoff() })
    return perOperation(items.length, scale, async () => {
      for (const _ of items) await policy.execute(body)
    })
  }

const make = (options?: Attempts.Options<unknown>) =>
  Effect.runSync(Attempts.make("bench", options).pipe(Scope.provide(Scope.makeUnsafe())))

const ours = (): Policy => {
  const attempts = make()
  return (effect) => attempts.run(effect)
}

const aroundBreaker = (): Policy => {
  const attempts = make()
  const breaker = Effect.runSync(CircuitBreaker.make("bench").pipe(Scope.provide(Scope.makeUnsafe())))
  return (effect) => attempts.run(breaker.run(effect))
}

/** The first calls are not hedged: nothing is learnt yet. */
const hedged = (): Policy => {
  const attempts = make({ hedge: { min: "10 seconds" } })
  return (effect) => attempts.run(effect, { idempotent: true })
}

const effectRetry = (): Policy => {
  const schedule = Schedule.exponential("100 millis").pipe(Schedule.upTo({ times: 2 }))
  return Effect.retry(schedule)
}

const none = (): Policy => (effect) => effect

const row = (name: string, body: Effect.Effect<void>, plain: () => unknown) => ({
  name: `attempts of ${name}`,
  contenders: [
    { name: "Attempts.run", round: effects(body, ours) },
    { name: "Attempts.run, hedged", round: effects(body, hedged) },
    { name: "Attempts.run, around CircuitBreaker.run", round: effects(body, aroundBreaker) },
    { name: "no policy", round: effects(body, none) },
    { name: "Effect.retry", round: effects(body, effectRetry) },
    { name: "cockatiel retry", round: promises(plain) }
  ]
})

const rows = [
  row(
    "a synchronous body",
    Effect.sync(() => {}),
    () => {}
  ),
  row(
    "a resolved promise",
    Effect.promise(() => Promise.resolve()),
    () => Promise.resolve()
  )
]

export const attempts: Part = {
  name: "attempts",
  rows,
  figures: rows.map(({ name }) => ({
    name: `${name}: what budget and breaker add together, in µs`,
    of: (micros) => micros(name, "Attempts.run, around CircuitBreaker.run") - micros(name, "no policy"),
    atMost: 1
  }))
}
