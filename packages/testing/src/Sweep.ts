/**
 * Runs a program once for each place where an interrupt can land.
 *
 * Almost every hard bug of concurrent code sits where an interruption meets the hand-over of a resource, and a test
 * that sleeps and interrupts hits such a place by luck. A sweep hits all of them: a scheduler counts the steps of the
 * program's fibers and interrupts the one whose step is the k-th, for k = 1, 2, … until the program ends before its
 * turn comes. Each place is tried twice: the interrupt strikes a running fiber, and it finds the fiber parked, after
 * it had yielded.
 *
 * A hand-over has two sides, and goes wrong where one gives while the other is interrupted. `pairs` tries those: at
 * each step of one fiber another is interrupted that waits meanwhile; and then two interrupts, one after the other.
 *
 * Time is virtual: when nothing can run, the clock jumps to the next sleeper.
 *
 * It does not reach what happens inside promises and sockets, nor between two steps of a synchronous block. And it
 * keeps to one order of the fibers, apart from what the interrupts change; for many orders one needs a simulation.
 */
import { Effect } from "effect"
import type { Context, Fiber, Scope } from "effect"
import { inOrder, Machine } from "./internal/machine.ts"
import type { Guide, Limits } from "./internal/machine.ts"
import * as points from "./internal/points.ts"
import { play } from "./internal/program.ts"
import type { Program } from "./internal/program.ts"

/** Where an interrupt struck. */
export interface Point {
  /** The number of the step among those of the subject's fibers, from 1; 0 where there was no interrupt. */
  readonly step: number
  /** Whether the fiber whose step it is was struck, `running` or `parked` after it had yielded; or another that was `waiting`. */
  readonly mode: "running" | "parked" | "waiting"
  /** Who was waiting, among the subject's fibers by their first steps, from 1. */
  readonly fiber?: number
  /** Where a second interrupt struck. */
  readonly second?: Point
}

/** What to sweep. */
export type Options<S, A, E, R = never> = Program<S, A, E, Point, R>

/** How much of the pairs was tried. */
export interface Pairs {
  readonly pairs: number
  /** How many there are: more than `pairs` where `limit` left some out; then the second interrupts are estimated. */
  readonly of: number
}

/** A check failed after an interrupt at `point`. */
export class SweepFailed extends Error {
  readonly point: Point
  constructor(point: Point, cause: unknown) {
    const when = point.step === 0 ? "without any interrupt" : `after an interrupt at ${place(point)}`
    super(`${when}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
    this.name = "SweepFailed"
    this.point = point
  }
}

const place = ({ fiber, mode, second, step }: Point): string => {
  const struck = fiber === undefined ? mode : `fiber ${fiber}, ${mode}`
  return `step ${step} (${struck})${second === undefined ? "" : `, and one at ${place(second)}`}`
}

/**
 * Sweeps `subject`; gives the number of places that were hit. Dies with `SweepFailed` at the first place after which
 * the check fails, something is left, or the subject does not end.
 */
export const sweep = <S, A, E, R = never>(
  options: Options<S, A, E, R>
): Effect.Effect<number, never, Exclude<R, Scope.Scope>> =>
  run(options, async (strike) => {
    // What goes wrong by itself is no interrupt's fault.
    await strike(nowhere)
    let hits = 0
    for (const mode of ["running", "parked"] as const) {
      for (let step = 1; (await strike({ step, mode })).steps >= step; step++) hits++
    }
    return hits
  })

/**
 * Sweeps pairs of places. First all with one interrupt: a step that one fiber takes, and another that waits meanwhile,
 * and is interrupted. Then all with two: one wherever it can land, and one wherever it can land after that.
 *
 * Of the latter there are very many, about the square of the former. At most `limit` (10,000 unless said) are tried,
 * spread evenly; the result says of how many. Dies as `sweep` does.
 */
export const pairs = <S, A, E, R = never>(
  options: Options<S, A, E, R>,
  { limit = 10_000 }: { readonly limit?: number } = {}
): Effect.Effect<Pairs, never, Exclude<R, Scope.Scope>> =>
  run(options, async (strike) => {
    const all = (await strike(nowhere)).points()
    const waiting = all.filter(({ mode }) => mode === "waiting")
    for (const point of evenly(waiting, limit)) await strike(point)
    let tried = Math.min(limit, waiting.length)
    const rest = limit - tried
    // As many firsts as seconds, or all firsts where there are fewer.
    const firsts = evenly(all, Math.sqrt(rest))
    let seconds = 0
    for (const first of firsts) {
      const after = (await strike(first)).points().filter(({ step }) => step > first.step)
      seconds += after.length
      for (const second of evenly(after, rest / firsts.length)) {
        await strike({ ...first, second })
        tried++
      }
    }
    const estimate = firsts.length === 0 ? 0 : (seconds * all.length) / firsts.length
    return { pairs: tried, of: waiting.length + Math.round(estimate) }
  })

const evenly = (all: ReadonlyArray<Point>, count: number): ReadonlyArray<Point> =>
  points.choose(all, Math.floor(count), () => 0.5)

interface Struck {
  /** How many steps there were. */
  readonly steps: number
  /** Where an interrupt could have landed. */
  readonly points: () => ReadonlyArray<Point>
}

const nowhere: Point = { step: 0, mode: "running" }

/** Hands `body` the means to run the program, with an interrupt at a point. */
const run = <S, A, E, R, B>(
  options: Options<S, A, E, R>,
  body: (strike: (point: Point) => Promise<Struck>) => Promise<B>
): Effect.Effect<B, never, Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.promise(() => body((point) => strike(options, context, point)))
  ) as Effect.Effect<B, never, Exclude<R, Scope.Scope>>

const strike = async <S, A, E, R>(
  options: Options<S, A, E, R>,
  context: Context.Context<R>,
  point: Point
): Promise<Struck> => {
  const machine = new Machine(limits)
  const lives = new points.Lives()
  const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
  let next: Point | undefined = point
  const step: Guide["step"] = (fiber, number) => {
    if (number <= 0) return false
    fibers[number] = fiber
    lives.note(number)
    if (lives.steps !== next?.step) return false
    const { fiber: waiting, mode } = next
    next = next.second
    if (mode === "running") fiber.interruptUnsafe()
    // Stands in the run queue before the fiber itself, which takes its place there when it yields.
    else if (mode === "parked") machine.defer(() => fiber.interruptUnsafe())
    else machine.first(() => fibers[waiting!]!.interruptUnsafe())
    return mode !== "running"
  }
  try {
    await play(machine, context, options, { ...inOrder, step }, point)
  } catch (cause) {
    throw new SweepFailed(point, cause)
  }
  const reached = () =>
    Array.from(lives.points(), ({ fiber, step }): Point => {
      return lives.taker(step) === fiber ? { step, mode: "running" } : { step, mode: "waiting", fiber }
    })
  return { steps: lives.steps, points: reached }
}

const limits: Limits = { maxSteps: 1_000_000, patience: 1_000 }
