/**
 * Keeps the stack flat. A region begins on its caller's stack and ends on it, and so does its cut: regions in regions
 * nest there, and some thousand deep Node ends the process. Beyond a depth the next step gives way first, and so goes on
 * from a stack of its own. (Then it is not for `Effect.runSync`, which needs all to be done on one stack.)
 */
import { Effect } from "effect"
import type { Fiber } from "effect"

const maxDepth = 64
let depth = 0

/** Runs `step`, which may run other fibers on this stack. */
export const nest = <A>(step: () => A): A => {
  depth++
  try {
    return step()
  } finally {
    depth--
  }
}

/** `effect` as it is, or, where the stack is deep already, after giving way. */
export const flat = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  depth <= maxDepth ? effect : Effect.andThen(Effect.yieldNow, effect)

/** Resumes a fiber, which runs on this stack. */
export const resume = <A, E, R>(
  resume: (effect: Effect.Effect<A, E, R>) => void,
  effect: Effect.Effect<A, E, R>
): void => {
  depth++
  try {
    resume(flat(effect))
  } finally {
    depth--
  }
}

/** A step that may run other fibers on its stack, which is flat when it is taken. */
export const step = <A, E, R>(
  next: (fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => Effect.suspend(() => flat(Effect.withFiber(next)))
