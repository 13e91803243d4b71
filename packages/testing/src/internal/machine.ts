/**
 * A scheduler and a clock under our own hand: tasks run one after another in the order in which they were scheduled,
 * and when nothing is runnable the clock jumps to the next sleeper. What takes an hour takes no time, and the same
 * program takes the same steps each time.
 *
 * Promises and sockets are outside its reach: before each jump it lets one turn of the host's event loop pass, so that
 * what they have to say is heard first.
 */
import { Clock, Context, Duration, Effect, Scheduler } from "effect"
import type { Fiber } from "effect"

interface Sleeper {
  readonly at: bigint
  readonly wake: () => void
}

/** Marks fibers that serve many callers and belong to none, such as the driver of a shared timer. */
const Background: Context.Reference<boolean> = Context.Reference<boolean>("fairlead/Background", {
  defaultValue: () => false
})

export const isBackground = (fiber: Fiber.Fiber<unknown, unknown>): boolean => fiber.getRef(Background)

export class Machine {
  private readonly host = new Scheduler.MixedScheduler().makeDispatcher()
  private tasks: Array<() => void> = []
  private sleepers: Array<Sleeper> = []
  private nanos = 0n
  private awake = false
  private readonly shouldYield: (fiber: Fiber.Fiber<unknown, unknown>) => boolean

  /** `shouldYield` is asked before each step of each fiber; it may interrupt the fiber, or make it yield. */
  constructor(shouldYield: (fiber: Fiber.Fiber<unknown, unknown>) => boolean) {
    this.shouldYield = shouldYield
  }

  /** How many sleeps are under way. */
  get sleeping(): number {
    return this.sleepers.length
  }

  /** Runs `effect` on this machine. */
  run<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    const context = Context.make(Clock.Clock, this.clock).pipe(Context.add(Scheduler.Scheduler, this.scheduler))
    return Effect.runForkWith(context)(effect)
  }

  /** Puts a task behind those that are scheduled already. */
  defer(task: () => void): void {
    this.tasks.push(task)
    this.start()
  }

  private readonly scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => this.shouldYield(fiber),
    makeDispatcher: () => ({ scheduleTask: (task) => this.defer(task), flush: () => {} })
  }

  private readonly clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => Number(this.nanos / 1_000_000n),
    currentTimeMillis: Effect.sync(() => Number(this.nanos / 1_000_000n)),
    currentTimeNanosUnsafe: () => this.nanos,
    currentTimeNanos: Effect.sync(() => this.nanos),
    monotonicTimeNanosUnsafe: () => this.nanos,
    monotonicTimeNanos: Effect.sync(() => this.nanos),
    sleep: (duration) =>
      Effect.callback<void>((resume) => {
        const nanos = Duration.toNanosUnsafe(duration)
        const sleeper: Sleeper = { at: this.nanos + (nanos > 0n ? nanos : 0n), wake: () => resume(Effect.void) }
        this.sleepers.push(sleeper)
        this.start()
        return Effect.sync(() => {
          this.sleepers = this.sleepers.filter((other) => other !== sleeper)
        })
      })
  }

  private start(): void {
    if (this.awake) return
    this.awake = true
    this.host.scheduleTask(this.turn, 0)
  }

  private readonly turn = (): void => {
    if (this.tasks.length === 0) this.jump()
    while (this.tasks.length > 0) {
      const tasks = this.tasks
      this.tasks = []
      for (const task of tasks) task()
    }
    this.awake = false
    if (this.sleepers.length > 0) this.start()
  }

  private jump(): void {
    let next: Sleeper | undefined
    for (const sleeper of this.sleepers) if (next === undefined || sleeper.at < next.at) next = sleeper
    if (next === undefined) return
    if (next.at > this.nanos) this.nanos = next.at
    this.sleepers = this.sleepers.filter((other) => other !== next)
    next.wake()
  }
}
