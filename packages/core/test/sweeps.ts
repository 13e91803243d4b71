/**
 * What a thing that waits for others has to pass: an interrupt at every place where one can land, at pairs of places, and in
 * interleavings made by chance.
 */
import { expect, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Scope } from "effect"
import { Simulation, Sweep } from "@fairlead/testing"

/** All of them at once, each to its own end. */
export const all = (...effects: ReadonlyArray<Effect.Effect<unknown, unknown>>): Effect.Effect<void> =>
  Effect.all(
    effects.map((effect) => Effect.ignore(effect)),
    { concurrency: "unbounded", discard: true }
  )

/** What is done, with what was set up, and what must hold when it is over, however it was struck. */
export interface Plan<S> {
  readonly setup: Effect.Effect<S, never, Scope.Scope>
  readonly subject: (setup: S) => Effect.Effect<unknown, unknown>
  readonly check: (setup: S) => Effect.Effect<void>
}

/** At the least so many places, of which `pairs` were tried in pairs. */
export const interruptedAnywhere = <S>(
  name: string,
  plan: Plan<S>,
  { interleavings = 100, pairs: least = 200, places }: { places: number; pairs?: number; interleavings?: number }
): void => {
  it.live(`passes the sweep: ${name}`, () =>
    Effect.gen(function* () {
      expect(yield* Sweep.sweep(plan)).toBeGreaterThanOrEqual(places)
    })
  )

  it.live(`passes for pairs of places: ${name}`, () =>
    Effect.gen(function* () {
      const { pairs } = yield* Sweep.pairs(plan, { limit: 300 })
      expect(pairs).toBeGreaterThan(least)
    })
  )

  it.live(`passes in random interleavings: ${name}`, () =>
    Simulation.simulate(interleavings, plan, { cancelPoints: 10 })
  )
}
