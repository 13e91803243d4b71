/**
 * A world of its own time: a clock that jumps to the next instant for which anybody waits, and a scheduler that runs one
 * task after another as they come. Nothing of it is real, so half a minute under ten times the load takes a second, and
 * the same seed gives the same run to the last digit.
 *
 * `TestClock` steps with the event loop at each wake and keeps its sleepers in an array; `Simulation` looks for
 * interleavings. Neither is made for tens of thousands of callers at once.
 */
import { Clock, Context, Duration, Effect, Random, Scheduler } from "effect"
import type { Exit } from "effect"

/** Something that happens at an instant. */
interface Event {
  readonly at: number
  readonly order: number
  /** `undefined` when it was taken back. */
  task: (() => void) | undefined
}

export class World {
  /** Milliseconds since the world began. */
  now = 0
  private readonly events: Array<Event> = []
  private order = 0
  private tasks: Array<() => void> = []
  private readonly seed: number

  constructor(seed: number) {
    this.seed = seed
  }

  /** Chance of its own for whoever asks: the same `name`, the same draws. */
  chance(name: string): () => number {
    let state = this.seed
    for (const letter of name) state = Math.imul(state ^ letter.codePointAt(0)!, 0x9e3779b1)
    // mulberry32, by Tommy Ettinger (public domain).
    return () => {
      state = (state + 0x6d2b79f5) | 0
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
    }
  }

  /** Lets `task` happen at an instant that is not over; the result takes it back. */
  at(at: number, task: () => void): () => void {
    const event: Event = { at, order: this.order++, task }
    this.push(event)
    return () => {
      event.task = undefined
    }
  }

  /** Runs `effect` in this world until it has ended. */
  run<A, E>(effect: Effect.Effect<A, E>): Exit.Exit<A, E> {
    const next = this.chance("Random")
    const fiber = Effect.runForkWith(
      Context.make(Clock.Clock, this.clock).pipe(
        Context.add(Scheduler.Scheduler, this.scheduler),
        Context.add(Random.Random, {
          nextDoubleUnsafe: next,
          nextIntUnsafe: () => Math.floor((next() - 0.5) * 2 ** 53)
        })
      )
    )(effect)
    for (;;) {
      this.settle()
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return exit
      const event = this.pop()
      if (event === undefined) throw new Error(`nothing will ever happen again, at ${this.now} ms`)
      this.now = event.at
      event.task?.()
    }
  }

  private settle(): void {
    while (this.tasks.length > 0) {
      const { tasks } = this
      this.tasks = []
      for (const task of tasks) task()
    }
  }

  private readonly scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield,
    makeDispatcher: () => ({ scheduleTask: (task) => void this.tasks.push(task), flush: () => this.settle() })
  }

  private readonly nanos = () => BigInt(Math.round(this.now * 1e6))

  private readonly clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => Math.floor(this.now),
    currentTimeMillis: Effect.sync(() => Math.floor(this.now)),
    currentTimeNanosUnsafe: this.nanos,
    currentTimeNanos: Effect.sync(this.nanos),
    monotonicTimeNanosUnsafe: this.nanos,
    monotonicTimeNanos: Effect.sync(this.nanos),
    sleep: (duration) => {
      const millis = Duration.toMillis(duration)
      if (millis <= 0) return Effect.yieldNow
      if (millis === Infinity) return Effect.never
      return Effect.callback<void>((resume) => Effect.sync(this.at(this.now + millis, () => resume(Effect.void))))
    }
  }

  private push(event: Event): void {
    const { events } = this
    let index = events.length
    while (index > 0) {
      const above = (index - 1) >> 1
      if (!before(event, events[above]!)) break
      events[index] = events[above]!
      index = above
    }
    events[index] = event
  }

  private pop(): Event | undefined {
    const { events } = this
    const first = events[0]
    const last = events.pop()
    if (first === undefined || last === undefined || first === last) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= events.length) break
      if (child + 1 < events.length && before(events[child + 1]!, events[child]!)) child++
      if (!before(events[child]!, last)) break
      events[index] = events[child]!
      index = child
    }
    events[index] = last
    return first
  }
}

const before = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
