/**
 * What a circuit breaker costs: a call that succeeds, on the spot or as a resolved promise, and one that is refused because the
 * circuit is open. A thousand calls of one fiber, one after the other; of cockatiel, which knows promises, a thousand awaits.
 */
import { CircuitBreaker } from "@fairlead/core/http"
import { BrokenCircuitError, circuitBreaker, ConsecutiveBreaker, handleAll } from "cockatiel"
import { Effect, Scope } from "effect"
import * as Effects from "effect/persistence/CircuitBreaker"
import { perOperation } from "./harness.ts"
import type { Measure, Part } from "./harness.ts"

const size = 1000
const thousand = Array.from({ length: size }, (_, i) => i)
const sync = Effect.sync(() => 1)
const resolved = () => Promise.resolve(1)
const promise = Effect.promise(resolved)
const fails = Effect.fail("no")

type Guard = <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, unknown>

const make = <A>(breaker: Effect.Effect<A, never, Scope.Scope>): A =>
  Effect.runSync(breaker.pipe(Scope.provide(Scope.makeUnsafe())))

const bare: Guard = (effect) => effect

const ours = (): Guard => make(CircuitBreaker.make("bench", { failures: 5, open: "1 hour" })).run

const byRate = (): Guard => make(CircuitBreaker.make("bench", { failures: { rate: 0.5 }, open: "1 hour" })).run

const effects = (): Guard => {
  const breaker = make(
    Effects.make({ tripPolicy: Effects.consecutive(5), openDuration: "1 hour" }).pipe(
      Effect.provide(Effects.layerStoreMemory())
    )
  )
  return (effect) => breaker.execute(effect, { key: "" })
}

const calls =
  (guard: () => Guard, effect: Effect.Effect<number>) =>
  (scale: number): Promise<Measure> => {
    const call = guard()(effect)
    const all = Effect.forEach(thousand, () => call, { discard: true })
    return perOperation(size, scale, () => Effect.runPromise(all))
  }

const refusals =
  (guard: () => Guard) =>
  async (scale: number): Promise<Measure> => {
    const call = Effect.ignore(guard()(fails))
    const all = Effect.forEach(thousand, () => call, { discard: true })
    return perOperation(size, scale, () => Effect.runPromise(all))
  }

const cockatiel = () => circuitBreaker(handleAll, { halfOpenAfter: 3_600_000, breaker: new ConsecutiveBreaker(5) })

const awaited = (scale: number): Promise<Measure> => {
  const policy = cockatiel()
  return perOperation(size, scale, async () => {
    for (let i = 0; i < size; i++) await policy.execute(resolved)
  })
}

const awaitedRefusals = async (scale: number): Promise<Measure> => {
  const policy = cockatiel()
  const call = () =>
    policy.execute(() => Promise.reject(new Error("no"))).catch((error: unknown) => error instanceof BrokenCircuitError)
  for (let i = 0; i < 10; i++) await call()
  return perOperation(size, scale, async () => {
    for (let i = 0; i < size; i++) await call()
  })
}

const onTheSpot = "breaker, a call that succeeds on the spot"
const later = "breaker, a call that is a resolved promise"

export const breaker: Part = {
  name: "breaker",
  rows: [
    {
      name: onTheSpot,
      contenders: [
        { name: "CircuitBreaker.run", round: calls(ours, sync) },
        { name: "no breaker", round: calls(() => bare, sync) },
        { name: "Effect CircuitBreaker", round: calls(effects, sync), atLeast: 1 },
        { name: "CircuitBreaker.run, by a rate", round: calls(byRate, sync) }
      ]
    },
    {
      name: later,
      contenders: [
        { name: "CircuitBreaker.run", round: calls(ours, promise) },
        { name: "no breaker", round: calls(() => bare, promise) },
        { name: "Effect CircuitBreaker", round: calls(effects, promise), atLeast: 1 },
        { name: "cockatiel circuitBreaker, no effect", round: awaited }
      ]
    },
    {
      name: "breaker, a call that is refused",
      contenders: [
        { name: "CircuitBreaker.run", round: refusals(ours) },
        { name: "Effect CircuitBreaker", round: refusals(effects), atLeast: 1 },
        { name: "cockatiel circuitBreaker, no effect", round: awaitedRefusals }
      ]
    }
  ],
  figures: [onTheSpot, later].map((row) => ({
    name: `${row}: µs that the breaker adds`,
    of: (micros) => micros(row, "CircuitBreaker.run") - micros(row, "no breaker"),
    atMost: 0.5
  }))
}
