/**
 * The only place that resumes a waiter.
 *
 * Resuming a fiber runs it at once, on the stack of whoever resumes it. If the one who leaves a gate resumed the next
 * himself, short bodies would nest hand-over in hand-over, and some 600 deep Node aborts. So a hand-over only marks
 * the next as the holder; here he is started, from a loop of its own, through a dispatcher that belongs to the gate
 * (the releasing fiber's own would make him wait behind whatever that fiber has to do: half the speed).
 *
 * Whoever is handed a permit while the loop runs is started by the same loop, so a line of synchronous bodies costs no
 * event-loop turn each. After `turn` of them the rest waits for the next turn, so that sockets get theirs.
 */
import type { Fiber, Scheduler } from "effect"

/** Something that can be started, or has meanwhile gone away and ignores it. */
export interface Waiter {
  begin(): void
}

const turn = 1024

export class Wake {
  private dispatcher: Scheduler.SchedulerDispatcher | undefined
  private queue: Array<Waiter> = []
  private scheduled = false

  /** Starts `waiter` from the loop, in the order of these calls. `fiber` lends its scheduler the first time. */
  push(waiter: Waiter, fiber: Fiber.Fiber<unknown, unknown>): void {
    this.queue.push(waiter)
    if (this.scheduled) return
    this.scheduled = true
    this.dispatcher ??= fiber.cache.scheduler.makeDispatcher()
    this.dispatcher.scheduleTask(this.flush, 0)
  }

  private readonly flush = (): void => {
    const queue = this.queue
    let i = 0
    while (i < queue.length && i < turn) queue[i++]!.begin()
    if (i === queue.length) {
      this.queue = []
      this.scheduled = false
    } else {
      this.queue = queue.slice(i)
      this.dispatcher!.scheduleTask(this.flush, 0)
    }
  }
}
