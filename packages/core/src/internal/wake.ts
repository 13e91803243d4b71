/**
 * The only place that resumes a waiter.
 *
 * Resuming a fiber runs it at once, on the stack of whoever resumes it. If the one who leaves a gate resumed the next
 * himself, short bodies would nest hand-over in hand-over, and some 600 deep Node aborts. So a hand-over only marks
 * the next as the holder; here he is started, from a loop of its own, through a dispatcher that belongs to the gate
 * (the releasing fiber's own would make him wait behind whatever that fiber has to do: half the speed).
 *
 * Whoever is handed a permit while the loop runs is started by the same loop, so a line of synchronous bodies costs no
 * event-loop turn each. Bodies that end in a microtask, as most short ones do, are followed up in one: a turn of the
 * event loop for every few hand-overs would cost more than they do. After `turn` hand-overs the rest waits for the
 * next turn all the same, so that sockets get theirs.
 */
import { Scheduler } from "effect"
import type { Fiber } from "effect"

/** Something that can be started, or has meanwhile gone away and ignores it. */
export interface Waiter {
  begin(): void
}

const turn = 1024

export class Wake {
  private dispatcher: Scheduler.SchedulerDispatcher | undefined
  /** A scheduler that is not Effect's own (a test's clock, a simulation) has every say in what runs when. */
  private micro = false
  private queue: Array<Waiter> = []
  /** When the loop runs next: in a microtask, in a turn of the event loop, or it does. */
  private state: "Idle" | "Soon" | "Later" | "Running" = "Idle"
  /** Whether somebody who begins in that microtask was handed a permit. */
  private handed = false
  /** Hand-overs since the last turn of the event loop that was ours. */
  private spent = 0

  /** Starts `waiter` from the loop, in the order of these calls. `fiber` lends its scheduler the first time. */
  push(waiter: Waiter, fiber: Fiber.Fiber<unknown, unknown>): void {
    this.queue.push(waiter)
    if (this.state !== "Idle") return
    if (this.dispatcher === undefined) {
      const { scheduler } = fiber.cache
      this.dispatcher = scheduler.makeDispatcher()
      this.micro = scheduler.constructor === Scheduler.MixedScheduler
    }
    if (this.micro && this.spent < turn) {
      this.state = "Soon"
      void microtask.then(this.flush)
    } else this.later()
  }

  /** As `push`, for one who was handed a permit. */
  handOver(waiter: Waiter, fiber: Fiber.Fiber<unknown, unknown>): void {
    this.push(waiter, fiber)
    if (this.state === "Soon") this.handed = true
  }

  /**
   * Somebody was handed a permit in this run of microtasks, and begins before the event loop turns. (Others who are started
   * say nothing of that: whoever takes results may have slept since anything was handed over.)
   */
  get soon(): boolean {
    return this.handed
  }

  /** As `push`, but not before the next turn of the event loop: whoever asks has had a whole one. */
  rest(waiter: Waiter, fiber: Fiber.Fiber<unknown, unknown>): void {
    this.spent = turn
    this.push(waiter, fiber)
  }

  private readonly begin = (): void => {
    this.spent = 0
    this.flush()
  }

  private later(): void {
    this.state = "Later"
    this.dispatcher!.scheduleTask(this.begin, 0)
  }

  private readonly flush = (): void => {
    this.state = "Running"
    this.handed = false
    const { queue } = this
    let i = 0
    try {
      while (i < queue.length && this.spent < turn) {
        this.spent++
        queue[i++]!.begin()
      }
    } finally {
      // One that throws must not keep the others from beginning.
      if (i === queue.length) {
        this.queue = []
        this.state = "Idle"
      } else {
        this.queue = queue.slice(i)
        this.later()
      }
    }
  }
}

const microtask = Promise.resolve()
