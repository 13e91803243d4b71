/**
 * How urgent the work of this fiber is: ambient, inherited by children and by the next hop.
 *
 * The scale is RFC 9218's: 0 is the most urgent, 7 the least, 3 unless said. It orders admission (see `Gate`), never
 * fibers against each other.
 */
import { Context, Effect } from "effect"
import { dual } from "effect/Function"
import * as Boost from "./internal/boost.ts"

/** 0 (most urgent) to 7 (least). */
export type Urgency = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7

/** How many urgencies there are. */
export const levels = 8

/** That of whoever says nothing. */
export const usual: Urgency = 3

/** The urgency of the current fiber. */
export const Priority: Context.Reference<Urgency> = Context.Reference<Urgency>("@fairlead/core/Priority", {
  defaultValue: () => usual
})

/** Whether a value is a whole number from 0 to 7. */
export const isUrgency = (value: unknown): value is Urgency =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value < levels

/** Runs `self` at the given urgency. */
export const at: {
  (urgency: Urgency): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, urgency: Urgency): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, urgency: Urgency) => {
  return Effect.provideService(self, Priority, checked(urgency))
})

const checked = (urgency: Urgency): Urgency => {
  if (isUrgency(urgency)) return urgency
  throw new RangeError(`Expected an urgency from 0 to 7, got ${String(urgency)}`)
}

/**
 * Runs `body` with a way to say, while it goes on, how urgent those are who wait for it: work that many share is as urgent
 * as the most urgent of them, and no less than it is by itself. What stands in a gate's line moves to its new level, where
 * it comes last; `undefined` takes it back.
 */
export const boosted = <A, E, R>(
  body: (boost: (urgency: Urgency | undefined) => Effect.Effect<void>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const boost = new Boost.Boost()
    const set = (urgency: Urgency | undefined) =>
      Effect.sync(() => boost.set(urgency === undefined ? levels : checked(urgency)))
    return Effect.provideService(body(set), Boost.Current, boost)
  })

/** Runs `self` at urgency 7: the smallest share, and all the rest that nobody else wants. */
export const background: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = at(7)
