/**
 * How urgent the work of this fiber is: ambient, inherited by children and by the next hop.
 *
 * The scale is RFC 9218's: 0 is the most urgent, 7 the least, 3 unless said. It orders admission (see `Gate`), never
 * fibers against each other.
 */
import { Context, Effect } from "effect"
import { dual } from "effect/Function"

/** 0 (most urgent) to 7 (least). */
export type Urgency = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7

/** How many urgencies there are. */
export const levels = 8

/** The urgency of the current fiber. */
export const Priority: Context.Reference<Urgency> = Context.Reference<Urgency>("@fairlead/core/Priority", {
  defaultValue: () => 3
})

/** Whether a value is a whole number from 0 to 7. */
export const isUrgency = (value: unknown): value is Urgency =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value < levels

/** Runs `self` at the given urgency. */
export const at: {
  (urgency: Urgency): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, urgency: Urgency): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, urgency: Urgency) => {
  if (!isUrgency(urgency)) throw new RangeError(`Expected an urgency from 0 to 7, got ${urgency}`)
  return Effect.provideService(self, Priority, urgency)
})

/** Runs `self` at urgency 7: whenever nobody else wants the turn. */
export const background: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = at(7)
