/**
 * The sleep between two attempts: a wait that its region knows by name, and one entry in the shared timer.
 *
 * Interrupting it takes the entry back. Where it cannot be interrupted it ends at the deadline all the same, as if it had been.
 */
import { Cause, Effect, Exit } from "effect"
import type { Clock, Fiber } from "effect"
import type * as Reason from "../Reason.ts"
import * as boundary from "./boundary.ts"
import * as timer from "./timer.ts"
import * as wait from "./wait.ts"
import type { Wake, Waiter } from "./wake.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** Sleepers, who can be told that there is nothing to wait for any more. */
export class Sleepers {
  readonly all = new Set<timer.Entry>()

  wake(): void {
    for (const sleeper of Array.from(this.all)) sleeper.ring()
  }
}

/** Sleeps until `at`, in milliseconds of `clock`. `what` is what the region waits for meanwhile. */
export const until = (
  at: number,
  what: string,
  fiber: AnyFiber,
  clock: Clock.Clock,
  wake: Wake,
  sleepers: Sleepers
): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const backoff = new Backoff(at, what, fiber, clock, wake, sleepers, resume)
    backoff.await()
    return Effect.sync(() => backoff.end("Gone"))
  })

class Backoff implements timer.Entry, wait.Listed, Waiter {
  readonly at: number
  readonly what: string
  index = -1
  order = 0
  readonly kind = "sleep"
  earlier: wait.Listed | undefined = undefined
  later: wait.Listed | undefined = undefined
  /** Settled: its time has come, and it goes on soon. */
  private state: "Waiting" | "Settled" | "Gone" = "Waiting"
  private exit: Exit.Exit<void> = Exit.void
  private readonly fiber: AnyFiber
  private readonly clock: Clock.Clock
  private readonly wake: Wake
  private readonly sleepers: Sleepers
  private readonly around: boundary.Region | undefined
  private readonly resume: (exit: Exit.Exit<void>) => void

  constructor(
    at: number,
    what: string,
    fiber: AnyFiber,
    clock: Clock.Clock,
    wake: Wake,
    sleepers: Sleepers,
    resume: (exit: Exit.Exit<void>) => void
  ) {
    this.at = at
    this.what = what
    this.fiber = fiber
    this.clock = clock
    this.wake = wake
    this.sleepers = sleepers
    this.around = boundary.current(fiber)
    this.resume = resume
  }

  await(): void {
    if (this.around !== undefined) wait.begin(this.around, this)
    timer.of(this.clock).set(this, this.fiber)
    this.sleepers.all.add(this)
  }

  ring(): void {
    this.settle(Exit.void)
  }

  told(reason: Reason.Reason): void {
    if (reason._tag !== "Deadline" || this.state !== "Waiting") return
    this.settle(Exit.failCause(Cause.annotate(Cause.interrupt(), boundary.annotation(reason)!)))
  }

  begin(): void {
    if (this.state === "Gone") return
    this.state = "Gone"
    this.resume(this.exit)
  }

  end(state: "Settled" | "Gone"): void {
    if (this.state === "Waiting") {
      timer.of(this.clock).clear(this, this.fiber)
      this.sleepers.all.delete(this)
      if (this.around !== undefined) wait.end(this.around, this)
    }
    this.state = state
  }

  private settle(exit: Exit.Exit<void>): void {
    this.exit = exit
    this.end("Settled")
    this.wake.push(this, this.fiber)
  }
}
