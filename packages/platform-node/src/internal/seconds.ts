/** The totals as metrics of Effect: written a second after something has changed, not at every change, and by no timer while nothing does. */
import { Metric } from "effect"
import type { Context } from "effect"
import { states, zeros } from "./meter.ts"
import type { Times } from "./meter.ts"

const everyMillis = 1_000

const counter = Metric.counter("fairlead_task_seconds", {
  description: "Time of tasks by route and state: running, or what they waited for",
  incremental: true
})

/** What is written of one route. */
export class Written {
  private readonly times: Times = zeros()
  private readonly counters: Array<typeof counter | undefined> = []
  private readonly route: string

  constructor(route: string) {
    this.route = route
  }

  write(times: Times, context: Context.Context<never>): void {
    for (let i = 0; i < times.length; i++) {
      const more = times[i]! - this.times[i]!
      if (more <= 0) continue
      this.times[i] = times[i]!
      this.counters[i] ??= Metric.withAttributes(counter, { route: this.route, state: states[i]! })
      this.counters[i]!.updateUnsafe(more / 1000, context)
    }
  }
}

/** Calls `write` once, a while after the first `touch` since it was called last. */
export class Soon {
  private readonly write: () => void
  private timer: NodeJS.Timeout | undefined = undefined

  constructor(write: () => void) {
    this.write = write
  }

  touch(): void {
    this.timer ??= setTimeout(this.flush, everyMillis).unref()
  }

  readonly flush = (): void => {
    clearTimeout(this.timer)
    this.timer = undefined
    this.write()
  }
}
