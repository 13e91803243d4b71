import { Duration, Exit, Option } from "effect"
import type { Clock, Effect } from "effect"
import * as Deadline from "../Deadline.ts"
import * as boundary from "./boundary.ts"
import * as timer from "./timer.ts"

/**
 * A boundary turned round: what runs in it is not cut with the regions around it, but a grace after them.
 *
 * The reasons around it can still be read inside.
 */
export class Shield extends boundary.Timed {
  private readonly graceMillis: number
  /** When the grace began to count; -1 before. */
  private from = -1

  constructor(parent: boundary.Region | undefined, clock: Clock.Clock, since: number, graceMillis: number) {
    super(parent, clock, since, Infinity)
    this.graceMillis = graceMillis
  }

  override get outer(): boundary.Region | undefined {
    return undefined
  }

  override get own(): number {
    const own = super.own
    if (this.from >= 0) return own
    let around = this.parent
    while (around !== undefined && around.over) around = around.parent
    return around === undefined ? own : Math.min(own, around.deadline + this.graceMillis)
  }

  /** The grace counts from now. */
  count(): void {
    if (this.from >= 0) return
    this.from = timer.now(this.clock)
    this.narrowUnsafe(this.graceMillis)
  }

  override told(): void {
    this.count()
  }

  override leave(): Effect.Effect<void> {
    this.count()
    // That it was cut after all is told to whoever is being interrupted, too.
    return this.untilEnd((exit) => boundary.cleanUp(this.outcome(exit)))
  }

  override outcome(exit: Exit.Exit<any, any>): Exit.Exit<any, any> {
    if (this.reason === undefined) return exit
    const exceeded = new Deadline.DeadlineExceeded({
      timeBudget: Duration.millis(this.graceMillis),
      spent: Duration.millis(timer.now(this.clock) - this.from),
      waitingFor: Option.fromUndefinedOr(this.waitedFor)
    })
    return boundary.cutInto(exit, Exit.fail(exceeded))
  }
}
