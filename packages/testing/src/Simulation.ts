/**
 * Runs a program in thousands of interleavings, each made by chance from a seed, so that one which fails is run again.
 *
 * A scheduler picks the next of all runnable fibers at random and makes fibers yield where they need not; a clock jumps
 * to the next sleeper as soon as nobody can run, and is late now and then, so that what is due at almost the same time
 * meets. With `cancelPoints` each seed is run again with one interrupt, at one step, of one fiber: the one that takes
 * the step, or another that waits meanwhile (which is where hand-overs break).
 *
 * After each run nothing may be left: no fiber, no sleeper, no entry of a shared timer. A program that cannot go on, or
 * does not end, is a failure with a seed like any other.
 *
 * What it does not reach: the order of things outside of Effect (promises, sockets, workers), and what stands
 * between two steps of a synchronous block, since no other fiber can run there. It shows bugs; it proves no absence.
 */
import { Cause, Context, Duration, Effect, Exit, Random } from "effect"
import type { Fiber, Scope } from "effect"
import * as chance from "./internal/chance.ts"
import { describe } from "./internal/fibers.ts"
import * as host from "./internal/host.ts"
import { Machine } from "./internal/machine.ts"
import type { Guide, Limits, Sleeper } from "./internal/machine.ts"
import * as points from "./internal/points.ts"
import type { Point } from "./internal/points.ts"
import { play } from "./internal/program.ts"
import type * as program from "./internal/program.ts"

export type { Point } from "./internal/points.ts"

/** One run: its seed, and the interrupt in it if there was one. */
export interface Run {
  readonly seed: number
  /** At the `step`-th step of the subject's fibers, from 1, its `fiber`-th (by their first steps, from 1) was interrupted. */
  readonly cancel?: Point
}

/**
 * What to run: that many seeds from 1; those from `from` to `to`; or the ones listed. A listed `Run` with a `cancel` is
 * exactly that one.
 */
export type Seeds = number | { readonly from: number; readonly to: number } | ReadonlyArray<number | Run>

/**
 * The program, made afresh for each run. A mere effect is a subject with nothing to set up. Without a `check`, a subject
 * that fails, fails the run, unless it was interrupted at a cancel point; a subject that dies always does.
 */
export interface Program<S, A, E, R = never> extends Omit<program.Program<S, A, E, Run, R>, "check"> {
  readonly check?: program.Program<S, A, E, Run, R>["check"]
}

export interface Options {
  /** How many times each seed is run again with an interrupt (fewer where it has fewer places); 0 unless said. */
  readonly cancelPoints?: number
  /** How likely a fiber yields at a step, from 0 to 1; 0.4 unless said. Below 0.1 it finds little. */
  readonly yieldChance?: number
  /**
   * By how much of its length a sleep may be late; 1 unless said: one of 10 ms may last up to 20 ms, if somebody else is
   * due by then. 0 is a clock that is never late.
   */
  readonly lateness?: number
  /** How many steps a run may take; a million unless said. */
  readonly maxSteps?: number
  /** For how long (real time) promises and sockets are waited for where nothing else can go on; a second unless said. */
  readonly patience?: Duration.Input
  /** How many of the seeds are run twice, to show that a run can be repeated; 1 unless said. */
  readonly replays?: number
  /**
   * Told whenever another fiber takes the next step, or is interrupted: when, which, and where it stands. For a run that is
   * run again to be understood: `{ onTurn: console.log }`.
   */
  readonly onTurn?: (turn: string) => void
}

export interface Report {
  readonly seeds: number
  /** All runs: those without an interrupt, those with one, and those that were repeated. */
  readonly runs: number
  /** How many interrupts struck, in all; and for the seed that had the fewest places. */
  readonly cancelPoints: number
  readonly fewestCancelPoints: number
  /** How many runs were repeated, and took the same decisions. */
  readonly replays: number
  /** The steps of all fibers in all runs. */
  readonly steps: number
  /** Of every decision in every run. */
  readonly fingerprint: string
}

/** A run failed; the message says how to run it again. */
export class SimulationFailed extends Error {
  readonly run: Run
  constructor(run: Run, options: Options, cause: unknown) {
    const { seed, cancel } = run
    const where = cancel === undefined ? "" : `, fiber ${cancel.fiber} interrupted at step ${cancel.step}`
    const { yieldChance, lateness, maxSteps } = options
    const chosen = JSON.stringify({ yieldChance, lateness, maxSteps })
    super(
      `seed ${seed}${where}: ${cause instanceof Error ? cause.message : String(cause)}\n` +
        `To run it again: Simulation.simulate([${cancel === undefined ? seed : JSON.stringify(run)}], program` +
        `${chosen === "{}" ? "" : `, ${chosen}`})`,
      { cause }
    )
    this.name = "SimulationFailed"
    this.run = run
  }
}

/**
 * Runs `program` once for each seed, and again for each cancel point. Dies with `SimulationFailed` at the first run that
 * fails. Interrupting it ends it after the run that is under way.
 */
export const simulate: {
  <S, A, E, R = never>(
    seeds: Seeds,
    program: Program<S, A, E, R>,
    options?: Options
  ): Effect.Effect<Report, never, Exclude<R, Scope.Scope>>
  <A, E, R = never>(
    seeds: Seeds,
    program: Effect.Effect<A, E, R>,
    options?: Options
  ): Effect.Effect<Report, never, Exclude<R, Scope.Scope>>
} = <S, A, E, R>(
  seeds: Seeds,
  program: Program<S, A, E, R> | Effect.Effect<A, E, R>,
  options: Options = {}
): Effect.Effect<Report, never, Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: Context.Context<R>) => {
    const { cancelPoints = 0, lateness = 0, yieldChance = 0 } = options
    expected(cancelPoints >= 0, "at least 0 cancelPoints", cancelPoints)
    expected(lateness >= 0, "a lateness of at least 0", lateness)
    expected(yieldChance >= 0 && yieldChance <= 1, "a yieldChance from 0 to 1", yieldChance)
    const simulator = new Simulator(
      Effect.isEffect(program)
        ? { setup: Effect.void as Effect.Effect<unknown>, subject: () => program }
        : (program as Program<unknown, A, E, R>),
      context,
      options
    )
    return Effect.promise((signal) => simulator.all(runsOf(seeds), signal))
  }) as Effect.Effect<Report, never, Exclude<R, Scope.Scope>>

const expected = (right: boolean, what: string, got: unknown): void => {
  if (!right) throw new RangeError(`Expected ${what}, got ${String(got)}`)
}

const runsOf = (seeds: Seeds): ReadonlyArray<Run> => {
  if (typeof seeds === "object" && "length" in seeds) {
    return seeds.map((one) => (typeof one === "number" ? { seed: one } : one))
  }
  const { from, to } = typeof seeds === "number" ? { from: 1, to: seeds } : seeds
  expected(from <= to, "at least 1 seed", `those from ${from} to ${to}`)
  return Array.from({ length: to - from + 1 }, (_, i) => ({ seed: from + i }))
}

/** What one run showed. */
interface Played {
  readonly struck: boolean
  readonly fingerprint: string
  /** Where an interrupt could have landed. */
  readonly points: ReadonlyArray<Point>
}

class Simulator<S, A, E, R> {
  private readonly program: Program<S, A, E, R>
  private readonly context: Context.Context<R>
  private readonly options: Options
  private readonly limits: Limits
  private runs = 0
  private steps = 0
  private cancelPoints = 0
  private replays = 0
  private readonly trace = new chance.Trace()

  constructor(program: Program<S, A, E, R>, context: Context.Context<R>, options: Options) {
    this.program = program
    this.context = context
    this.options = options
    const { maxSteps = 1_000_000, patience = "1 second" } = options
    this.limits = { maxSteps, patience: Duration.toMillis(Duration.fromInputUnsafe(patience)) }
  }

  async all(runs: ReadonlyArray<Run>, signal: { readonly aborted: boolean }): Promise<Report> {
    const { cancelPoints = 0, replays = 1 } = this.options
    let fewest = Infinity
    for (const run of runs) {
      const played = await this.one(run)
      if (this.replays < replays) await this.again(run, played)
      const before = this.cancelPoints
      if (played.struck) this.cancelPoints++
      for (const cancel of points.choose(played.points, cancelPoints, chance.draw(run.seed, streams.cancel))) {
        if (signal.aborted) break
        if ((await this.one({ ...run, cancel })).struck) this.cancelPoints++
      }
      fewest = Math.min(fewest, this.cancelPoints - before)
      if (signal.aborted) break
    }
    return {
      seeds: runs.length,
      runs: this.runs,
      cancelPoints: this.cancelPoints,
      fewestCancelPoints: runs.length === 0 ? 0 : fewest,
      replays: this.replays,
      steps: this.steps,
      fingerprint: this.trace.fingerprint
    }
  }

  private async one(run: Run): Promise<Played> {
    const machine = new Machine(this.limits)
    const guide = new Chance(machine, run, this.options)
    const check = this.program.check ?? ((_: S, exit: Exit.Exit<A, E>) => succeeded(exit, run))
    try {
      const context = Context.add(this.context, Random.Random, chance.random(chance.draw(run.seed, streams.program)))
      const exit = await play(machine, context, { ...this.program, check }, guide, run)
      if (Exit.isFailure(exit) && Cause.hasDies(exit.cause)) throw Cause.squash(exit.cause)
    } catch (cause) {
      throw new SimulationFailed(run, this.options, cause)
    }
    this.runs++
    this.steps += machine.steps
    guide.trace.add(machine.steps)
    const { fingerprint } = guide.trace
    for (const half of [fingerprint.slice(0, 8), fingerprint.slice(8)]) this.trace.add(Number.parseInt(half, 16))
    await breathe()
    return { struck: guide.struck, fingerprint, points: guide.lives === undefined ? [] : [...guide.lives.points()] }
  }

  private async again(run: Run, first: Played): Promise<void> {
    const second = await this.one(run)
    this.replays++
    if (second.fingerprint === first.fingerprint) return
    throw new SimulationFailed(
      run,
      this.options,
      new Error(
        "run twice, it took two courses, so no seed can be trusted: it keeps something from run to run, or takes time or chance from elsewhere than Effect's Clock and Random"
      )
    )
  }
}

const succeeded = (exit: Exit.Exit<unknown, unknown>, run: Run): void => {
  if (Exit.isFailure(exit) && run.cancel === undefined) throw Cause.squash(exit.cause)
}

/** Each end draws from a stream of its own, so that one more draw for one of them does not change the others. */
const streams = { schedule: 0, program: 1, cancel: 2 }

/** Makes every choice by chance, and strikes once if told to. */
class Chance implements Guide {
  readonly trace = new chance.Trace()
  /** Noted where no interrupt changes the course. */
  readonly lives: points.Lives | undefined
  /** Whether the interrupt found its fiber. */
  struck = false
  private steps = 0
  /** By number, for how many steps a fiber does not yield again. */
  private readonly rests = new Map<number, number>()
  private victim: Fiber.Fiber<unknown, unknown> | undefined
  private readonly machine: Machine
  private readonly draw: chance.Draw
  private readonly cancel: Point | undefined
  private readonly yieldChance: number
  private readonly lateness: number
  private readonly onTurn: Options["onTurn"]
  private turn: Fiber.Fiber<unknown, unknown> | undefined

  constructor(machine: Machine, { cancel, seed }: Run, options: Options) {
    const { cancelPoints = 0, lateness = 1, onTurn, yieldChance = 0.4 } = options
    this.machine = machine
    this.onTurn = onTurn
    this.draw = chance.draw(seed, streams.schedule)
    this.cancel = cancel
    this.lives = cancel === undefined && cancelPoints > 0 ? new points.Lives() : undefined
    this.yieldChance = yieldChance
    this.lateness = lateness
  }

  readonly step = (fiber: Fiber.Fiber<unknown, unknown>, number: number): boolean => {
    this.trace.add(number)
    if (number > 0) {
      this.steps++
      if (this.onTurn !== undefined && fiber !== this.turn) this.tell(fiber, number, "")
      this.lives?.note(number)
      if (number === this.cancel?.fiber) this.victim = fiber
      if (this.steps === this.cancel?.step) return this.strike(fiber)
    }
    // Asked on waking, and then once more for the step before which it yielded: else few would ever get past one.
    const rest = this.rests.get(number) ?? 0
    const yields = rest === 0 && this.draw() < this.yieldChance
    if (rest > 0 || yields) this.rests.set(number, yields ? 2 : rest - 1)
    this.trace.add(yields ? 1 : 0)
    return yields
  }

  readonly pick = (count: number): number => {
    if (count === 1) return 0
    const index = Math.floor(this.draw() * count)
    this.trace.add(index)
    return index
  }

  /** On time, or when another sleeper is due who is not too far away: half of the time, where there is one. */
  readonly land = (now: number, next: number, sleepers: Iterable<Sleeper>): number => {
    const latest = next + (next - now) * this.lateness
    let landing = next
    let others = 0
    for (const { at } of sleepers) {
      if (at > next && at <= latest && this.draw() * ++others < 1) landing = at
    }
    if (others > 0 && this.draw() < 0.5) landing = next
    this.trace.add(landing)
    return landing
  }

  /**
   * One that stands at its step is interrupted there. Another is as soon as this one has yielded, not from within its
   * step: Effect's own `all` does not survive that, when an earlier child ends while a later one starts on its stack.
   */
  private strike(taker: Fiber.Fiber<unknown, unknown>): boolean {
    const { machine, victim } = this
    const interrupt = () => {
      if (victim === undefined || victim.pollUnsafe() !== undefined) return
      this.struck = true
      this.tell(victim, this.cancel!.fiber, ", is interrupted")
      victim.interruptUnsafe()
    }
    if (victim === taker) interrupt()
    else machine.first(interrupt)
    return victim !== taker
  }

  private tell(fiber: Fiber.Fiber<unknown, unknown>, number: number, what: string): void {
    this.turn = fiber
    this.onTurn?.(`${this.machine.now / 1e6} ms, step ${this.steps}: fiber ${number}, ${describe(fiber)}${what}`)
  }
}

let breathed = 0

/** Between two runs, a turn of the event loop now and then: others are there, too. */
const breathe = async (): Promise<void> => {
  if (Date.now() - breathed < 20) return
  await host.turn()
  breathed = Date.now()
}
