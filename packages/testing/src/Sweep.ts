/**
 * Runs a program once for each place where an interrupt can land.
 *
 * Almost every hard bug of concurrent code sits where an interruption meets the hand-over of a resource, and a test
 * that sleeps and interrupts hits such a place by luck. A sweep hits all of them: a scheduler counts the steps of the
 * program's fibers and interrupts the one whose step is the k-th, for k = 1, 2, … until the program ends before its
 * turn comes. Each place is tried twice: the interrupt strikes a running fiber, and it finds the fiber parked, after
 * it had yielded.
 *
 * Time is virtual: when nothing can run, the clock jumps to the next sleeper.
 *
 * It does not reach what happens inside promises and sockets, nor between two steps of a synchronous block, and it
 * strikes one fiber at one place; for many fibers in many orders one needs a simulation.
 */
import { Effect, Exit, Fiber } from "effect"
import type { Scope } from "effect"
import { isBackground, Machine } from "./internal/machine.ts"

/** Where an interrupt struck. */
export interface Point {
  /** The number of the step among those of the subject's fibers, from 1. */
  readonly step: number
  /** Whether the fiber was `running`, or had yielded and was `parked`. */
  readonly mode: "running" | "parked"
}

export interface Options<S, A, E> {
  /** Makes what the subject works on, afresh for each run; no interrupt lands here. */
  readonly setup: Effect.Effect<S, never, Scope.Scope>
  /** The program to interrupt. */
  readonly subject: (state: S) => Effect.Effect<A, E, Scope.Scope>
  /** Looks at what is left when the subject has ended (its own scope closed); no interrupt lands here. Throw, or die, to fail. */
  readonly check: (state: S, exit: Exit.Exit<A, E>, point: Point) => Effect.Effect<void> | void
}

/** A check failed after an interrupt at `point`. */
export class SweepFailed extends Error {
  readonly point: Point
  constructor(point: Point, cause: unknown) {
    super(`after an interrupt at step ${point.step} (${point.mode}): ${String(cause)}`, { cause })
    this.point = point
  }
}

/**
 * Sweeps `subject`; gives the number of places that were hit. Dies with `SweepFailed` at the first place after which
 * the check fails.
 */
export const sweep = <S, A, E>(options: Options<S, A, E>): Effect.Effect<number> =>
  Effect.promise(async () => {
    let hits = 0
    for (const mode of ["running", "parked"] as const) {
      for (let step = 1; await strike(options, { step, mode }); step++) hits++
    }
    return hits
  })

/** One run, interrupted at one point; whether the point was reached. */
const strike = async <S, A, E>(options: Options<S, A, E>, point: Point): Promise<boolean> => {
  let harness: Fiber.Fiber<unknown, unknown> | undefined
  let armed = false
  let steps = 0
  const machine = new Machine((fiber) => {
    if (!armed || fiber === harness || isBackground(fiber) || ++steps !== point.step) return false
    armed = false
    if (point.mode === "running") fiber.interruptUnsafe()
    // Stands in the run queue before the fiber itself, which takes its place there when it yields.
    else machine.defer(() => fiber.interruptUnsafe())
    return point.mode === "parked"
  })
  const program = Effect.withFiber((self) => {
    harness = self
    return Effect.scoped(
      Effect.gen(function* () {
        const state = yield* options.setup
        armed = true
        const fiber = yield* Effect.forkChild(Effect.scoped(options.subject(state)), { startImmediately: true })
        const exit = yield* Fiber.await(fiber)
        const reached = !armed
        armed = false
        const checked = options.check(state, exit, point)
        if (Effect.isEffect(checked)) yield* checked
        return reached
      })
    )
  })
  const exit = await Effect.runPromise(Fiber.await(machine.run(program)))
  if (Exit.isFailure(exit)) throw new SweepFailed(point, exit.cause)
  return exit.value
}
