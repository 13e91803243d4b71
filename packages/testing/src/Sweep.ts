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
import { Effect } from "effect"
import type { Context, Scope } from "effect"
import { inOrder, Machine } from "./internal/machine.ts"
import type { Guide, Limits } from "./internal/machine.ts"
import { play } from "./internal/program.ts"
import type { Program } from "./internal/program.ts"

/** Where an interrupt struck. */
export interface Point {
  /** The number of the step among those of the subject's fibers, from 1. */
  readonly step: number
  /** Whether the fiber was `running`, or had yielded and was `parked`. */
  readonly mode: "running" | "parked"
}

/** What to sweep. */
export type Options<S, A, E, R = never> = Program<S, A, E, Point, R>

/** A check failed after an interrupt at `point`. */
export class SweepFailed extends Error {
  readonly point: Point
  constructor(point: Point, cause: unknown) {
    super(
      `after an interrupt at step ${point.step} (${point.mode}): ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause }
    )
    this.point = point
  }
}

/**
 * Sweeps `subject`; gives the number of places that were hit. Dies with `SweepFailed` at the first place after which
 * the check fails, something is left, or the subject does not end.
 */
export const sweep = <S, A, E, R = never>(
  options: Options<S, A, E, R>
): Effect.Effect<number, never, Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.promise(async () => {
      let hits = 0
      for (const mode of ["running", "parked"] as const) {
        for (let step = 1; await strike(options, context, { step, mode }); step++) hits++
      }
      return hits
    })
  ) as Effect.Effect<number, never, Exclude<R, Scope.Scope>>

/** One run, interrupted at one point; whether the point was reached. */
const strike = async <S, A, E, R>(
  options: Options<S, A, E, R>,
  context: Context.Context<R>,
  point: Point
): Promise<boolean> => {
  const machine = new Machine(limits)
  let steps = 0
  const step: Guide["step"] = (fiber, number) => {
    if (number <= 0 || ++steps !== point.step) return false
    if (point.mode === "running") fiber.interruptUnsafe()
    // Stands in the run queue before the fiber itself, which takes its place there when it yields.
    else machine.defer(() => fiber.interruptUnsafe())
    return point.mode === "parked"
  }
  try {
    await play(machine, context, options, { ...inOrder, step }, point)
  } catch (cause) {
    throw new SweepFailed(point, cause)
  }
  return steps >= point.step
}

const limits: Limits = { maxSteps: 1_000_000, patience: 1_000 }
