/**
 * One timer for everything that waits for an instant: a heap of entries, and one driver that sleeps to the earliest.
 *
 * A sleep of its own for each deadline costs a fiber, a closure and a host timer each; most deadlines never fire. Here
 * one costs a place in a heap, and leaving takes it out again (nothing is left behind to expire later).
 *
 * The driver is a detached fiber with the clock and scheduler of the first who waits, and nothing else of its context.
 * It exists only while there are entries: when the last one leaves it is put down at the end of the turn, so that a
 * program which sets and clears a deadline a million times a second starts it once, and an idle process has no timer.
 *
 * Time is milliseconds of the clock's monotonic time.
 */
import { Clock, Context, Duration, Effect, Scheduler } from "effect"
import type { Fiber } from "effect"
import { Heap } from "./heap.ts"
import type { Indexed } from "./heap.ts"
import { grain } from "./millis.ts"

/**
 * Marks fibers that serve many callers and belong to none. Tests leave them out when they look for what is left, or
 * choose where to interrupt.
 */
export const Background: Context.Reference<boolean> = Context.Reference<boolean>("fairlead/Background", {
  defaultValue: () => false
})

/** Monotonic milliseconds. */
export const now = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** Something that rings at an instant, unless it is taken back. */
export interface Entry extends Indexed {
  /** Does not change while the entry is set. */
  readonly at: number
  /** Breaks ties: of two entries for one instant, the one that was set earlier rings first. */
  order: number
  /** Its instant has come. */
  ring(): void
}

/** An entry that is nothing else. */
export class Alarm implements Entry {
  readonly at: number
  readonly ring: () => void
  index = -1
  order = 0

  constructor(at: number, ring: () => void) {
    this.at = at
    this.ring = ring
  }
}

const before = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

export class Timer {
  readonly clock: Clock.Clock
  private readonly heap = new Heap(before)
  private order = 0
  private driver: Fiber.Fiber<void> | undefined
  /** The instant the driver sleeps to. Invariant: driver === undefined, or armedFor <= the instant of the first entry */
  private armedFor = Infinity
  private putDownScheduled = false

  constructor(clock: Clock.Clock) {
    this.clock = clock
  }

  /** How many entries wait. */
  get size(): number {
    return this.heap.size
  }

  /** Lets `entry` ring at its instant, on the driver's stack. `fiber` lends its scheduler if a driver must be started. */
  set(entry: Entry, fiber: Fiber.Fiber<unknown, unknown>): void {
    entry.order = this.order++
    this.heap.push(entry)
    if (this.driver === undefined) this.start(fiber.cache.scheduler)
    else if (entry.at < this.armedFor) {
      this.driver.interruptUnsafe()
      this.start(fiber.cache.scheduler)
    }
  }

  /** Takes an entry back; does nothing if it is not set. */
  clear(entry: Entry, fiber: Fiber.Fiber<unknown, unknown>): void {
    if (entry.index < 0) return
    this.heap.remove(entry)
    if (this.heap.size === 0 && !this.putDownScheduled) {
      this.putDownScheduled = true
      fiber.cache.scheduler.makeDispatcher().scheduleTask(this.putDown, 0)
    }
  }

  private readonly putDown = (): void => {
    this.putDownScheduled = false
    if (this.heap.size > 0 || this.driver === undefined) return
    const driver = this.driver
    this.driver = undefined
    this.armedFor = Infinity
    driver.interruptUnsafe()
  }

  private start(scheduler: Scheduler.Scheduler): void {
    const context = Context.make(Clock.Clock, this.clock).pipe(
      Context.add(Scheduler.Scheduler, scheduler),
      Context.add(Background, true)
    )
    const driver = Effect.runForkWith(context)(this.drive)
    this.driver = driver
  }

  /** Sleeps to the earliest entry, fires what is due, and begins again; ends when nothing waits. */
  private readonly drive: Effect.Effect<void> = Effect.suspend(() => {
    const { first } = this.heap
    // The last may have been taken back while this had given way.
    if (first === undefined) {
      this.driver = undefined
      this.armedFor = Infinity
      return Effect.void
    }
    this.armedFor = first.at
    const rest = this.armedFor - now(this.clock)
    // In whole milliseconds while it can, as the host counts: one timeout with a fraction, and V8 gives every timeout of
    // the process a number of its own on the heap. Never at once: whoever sets an entry must have it in hand before.
    const sleep = rest > 0 ? this.clock.sleep(Duration.millis(rest < 1 ? rest : Math.floor(rest))) : Effect.yieldNow
    return Effect.flatMap(sleep, () => {
      const defects = this.fire()
      const logged = defects.length === 0 ? Effect.void : Effect.logError("What a deadline has cut threw:", ...defects)
      return Effect.andThen(logged, this.drive)
    })
  })

  /** Gives what those that rang have thrown: one must not keep the others from ringing. */
  private fire(): ReadonlyArray<unknown> {
    const defects: Array<unknown> = []
    // While it fires, whatever is set anew must not start a second driver: this one looks at the heap when it is done.
    this.armedFor = -Infinity
    const time = now(this.clock) + grain
    for (let entry = this.heap.first; entry !== undefined && entry.at <= time; entry = this.heap.first) {
      this.heap.remove(entry)
      try {
        entry.ring()
      } catch (defect) {
        defects.push(defect)
      }
    }
    return defects
  }
}

const timers = new WeakMap<Clock.Clock, Timer>()

/** The timer of a clock. */
export const of = (clock: Clock.Clock): Timer => {
  let timer = timers.get(clock)
  if (timer === undefined) timers.set(clock, (timer = new Timer(clock)))
  return timer
}
