/**
 * A scheduler and a clock under our own hand: one task runs after another, in an order that a guide picks, and when
 * nothing is runnable the clock jumps to the next sleeper. What takes an hour takes no time, and the same program
 * under the same guide takes the same steps each time.
 *
 * Promises and sockets are outside its reach. Before each jump, promises that have settled are heard; and where
 * nothing runs and nobody sleeps it gives the host some time, before it says that nothing will ever happen.
 */
import { Clock, Context, Duration, Effect, Scheduler } from "effect"
import type { Exit } from "effect"
import { describe, Fibers } from "./fibers.ts"
import type { AnyFiber } from "./fibers.ts"
import * as host from "./host.ts"

/** What is left to choose. Instants are nanoseconds of the machine's clock. */
export interface Guide {
  /**
   * Asked before each step of each fiber. It may interrupt fibers; `true` makes this one yield. `number` counts the
   * fibers that took their first step under this guide, from 1; those from before and in the background have none above 0.
   */
  readonly step: (fiber: AnyFiber, number: number) => boolean
  /** Which of `count` runnable tasks goes next. */
  readonly pick: (count: number) => number
  /** Where the clock lands: at `next`, when the first sleeper wakes, or somewhat later. */
  readonly land: (now: number, next: number, sleepers: Iterable<Sleeper>) => number
}

export interface Sleeper {
  readonly fiber: AnyFiber
  readonly at: number
  readonly wake: () => void
}

/** One task after another as they came, no yields, and a clock that is never late. */
export const inOrder: Guide = { step: () => false, pick: () => 0, land: (_, next) => next }

/** The program cannot end, or does not. */
export class Stuck extends Error {}

export interface Limits {
  /** How many steps all fibers together may take. */
  readonly maxSteps: number
  /** Real milliseconds for which promises and sockets are waited for when nothing else can go on. */
  readonly patience: number
}

export class Machine {
  readonly fibers = new Fibers()
  /** The steps that were taken, by all fibers together. */
  steps = 0
  private readonly limits: Limits
  private guide: Guide = inOrder
  private seenBefore = 0
  private readonly tasks: Array<() => void> = []
  private readonly urgent: Array<() => void> = []
  private readonly sleepers = new Set<Sleeper>()
  private nanos = 0

  constructor(limits: Limits) {
    this.limits = limits
  }

  /** Nanoseconds of the machine's clock. */
  get now(): number {
    return this.nanos
  }

  /** From now on `guide` chooses, and counts the fibers that are new to it; until `disarm`. */
  arm(guide: Guide): void {
    // Whoever was forked already takes its first step, and is not new.
    for (let forked = this.tasks.length; forked > 0; forked--) this.next()
    this.guide = guide
    this.seenBefore = this.fibers.count
  }

  disarm(): void {
    this.guide = inOrder
  }

  /** Runs `effect` on this machine until it has ended; rejects with `Stuck` where it does not. */
  async run<A, E, R>(effect: Effect.Effect<A, E, R>, context: Context.Context<R>): Promise<Exit.Exit<A, E>> {
    const fiber = Effect.runForkWith(
      context.pipe(
        Context.add(Clock.Clock, this.clock),
        Context.add(Scheduler.Scheduler, this.scheduler),
        // Fibers that never ask would not be seen.
        Context.add(Scheduler.PreventSchedulerYield, false)
      ) as Context.Context<R>
    )(effect)
    for (;;) {
      let exit = fiber.pollUnsafe()
      while (exit === undefined && this.tasks.length > 0) {
        if (this.steps > this.limits.maxSteps) throw new Stuck(`still runs after ${this.limits.maxSteps} steps`)
        this.next()
        exit = fiber.pollUnsafe()
      }
      if (exit !== undefined) return exit
      await host.promises()
      if (this.tasks.length > 0 || fiber.pollUnsafe() !== undefined || this.jump()) continue
      await host.until(() => this.busy || fiber.pollUnsafe() !== undefined, this.limits.patience)
      if (!this.busy && fiber.pollUnsafe() === undefined) {
        throw new Stuck(["nothing can run and nobody sleeps (a deadlock, or a promise)", ...this.left].join("\n  "))
      }
    }
  }

  /** Lets everything run that can, with no jump of the clock. */
  settle(): void {
    while (this.tasks.length > 0 && this.steps <= this.limits.maxSteps) this.next()
  }

  /** What has not ended: fibers, and sleeps of those in the background, such as a shared timer's. One line each. */
  get left(): ReadonlyArray<string> {
    const asleep = new Map(Array.from(this.sleepers, (sleeper) => [sleeper.fiber, sleeper]))
    const until = (sleeper: Sleeper) => `sleeps until ${sleeper.at / 1e6} ms (now ${this.nanos / 1e6} ms)`
    const fibers = this.fibers.unfinished.map(([number, fiber]) => {
      const sleeper = asleep.get(fiber)
      asleep.delete(fiber)
      const name = number > this.seenBefore ? `fiber ${number - this.seenBefore}` : "a fiber from before"
      return `${name}, ${describe(fiber)}, ${sleeper === undefined ? "is parked" : until(sleeper)}`
    })
    return [...fibers, ...Array.from(asleep.values(), (sleeper) => `a timer in the background ${until(sleeper)}`)]
  }

  /** Runs `task` before all others, as soon as nobody is at work. */
  first(task: () => void): void {
    this.urgent.push(task)
  }

  /** Puts a task behind those that are scheduled already. */
  defer(task: () => void): void {
    this.tasks.push(task)
  }

  private get busy(): boolean {
    return this.tasks.length > 0 || this.sleepers.size > 0
  }

  private next(): void {
    const { tasks, urgent } = this
    if (urgent.length > 0) return urgent.shift()!()
    const index = this.guide.pick(tasks.length)
    if (index === 0) return tasks.shift()!()
    const task = tasks[index]!
    const last = tasks.pop()!
    if (index < tasks.length) tasks[index] = last
    task()
  }

  /** Lands where the next sleeper is due; whoever is due then may run. `false` when nobody sleeps. */
  private jump(): boolean {
    if (this.sleepers.size === 0) return false
    let next = Infinity
    for (const { at } of this.sleepers) if (at < next) next = at
    this.nanos = this.guide.land(this.nanos, next, this.sleepers)
    const due = Array.from(this.sleepers).filter(({ at }) => at <= this.nanos)
    for (const sleeper of due.toSorted((one, other) => one.at - other.at)) {
      this.sleepers.delete(sleeper)
      this.defer(sleeper.wake)
    }
    return true
  }

  private readonly scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => {
      const number = this.fibers.note(fiber) - this.seenBefore
      // Yields for good: the task that would go on is never picked.
      return ++this.steps > this.limits.maxSteps || this.guide.step(fiber, number)
    },
    makeDispatcher: () => ({ scheduleTask: (task) => this.defer(task), flush: () => {} })
  }

  private readonly clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => Math.floor(this.nanos / 1e6),
    currentTimeMillis: Effect.sync(() => Math.floor(this.nanos / 1e6)),
    currentTimeNanosUnsafe: () => BigInt(this.nanos),
    currentTimeNanos: Effect.sync(() => BigInt(this.nanos)),
    monotonicTimeNanosUnsafe: () => BigInt(this.nanos),
    monotonicTimeNanos: Effect.sync(() => BigInt(this.nanos)),
    sleep: (duration) => {
      const nanos = Math.round(Duration.toMillis(duration) * 1e6)
      if (nanos <= 0) return Effect.yieldNow
      if (nanos === Infinity) return Effect.never
      return Effect.withFiber((fiber) =>
        Effect.callback<void>((resume) => {
          const sleeper: Sleeper = { fiber, at: this.nanos + nanos, wake: () => resume(Effect.void) }
          this.sleepers.add(sleeper)
          return Effect.sync(() => {
            this.sleepers.delete(sleeper)
          })
        })
      )
    }
  }
}
