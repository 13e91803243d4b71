/** Starts again what fails, by a schedule, within an intensity that all children of a nursery share. */
import { Cause, Duration, Effect, Pull, Schedule } from "effect"
import type { Clock } from "effect"
import type { Restart } from "../Join.ts"
import * as Wait from "../Wait.ts"
import { note } from "./blame.ts"
import * as boundary from "./boundary.ts"
import * as millis from "./millis.ts"
import * as timer from "./timer.ts"

/** How often there were restarts lately. */
export class Intensity {
  /** Restarts altogether. */
  count = 0
  private readonly clock: Clock.Clock
  private readonly restart: Restart
  private readonly lengthMillis: number
  /** When the last ones were, as many as are allowed within the length, each written over the one that many before it. */
  private readonly instants: Array<number> = []

  constructor(restart: Restart, clock: Clock.Clock) {
    this.restart = restart
    this.clock = clock
    this.lengthMillis = millis.from(restart.within)
  }

  /**
   * Runs `effect`, and again after it has failed. Each attempt is a region: what it forked has ended before the next
   * begins. An interrupt is no failure.
   */
  around<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    const attempt = Effect.withFiber<A, E, R>((fiber) =>
      boundary.run(
        fiber,
        new boundary.Timed(boundary.current(fiber), this.clock, timer.now(this.clock), Infinity),
        effect
      )
    )
    return Effect.flatMap(Schedule.toStepWithSleep(this.restart.schedule), (step) => {
      const again: Effect.Effect<A, E, R> = Effect.catchCause(attempt, (cause) => {
        if (Cause.hasInterrupts(cause)) return Effect.failCause(cause)
        const { restarts, within } = this.restart
        if (!this.allows()) {
          const time = millis.format(Duration.fromInputUnsafe(within))
          return Effect.failCause(note(cause, `given up: no more than ${restarts} restarts within ${time}`))
        }
        const next = step(cause)
        return Pull.matchEffect(Wait.on(next, "its next attempt", "sleep") as typeof next, {
          onSuccess: () => again,
          onFailure: (why) => Effect.failCause(Cause.combine(cause, why)),
          onDone: () => Effect.failCause(note(cause, "given up: its schedule has ended"))
        })
      })
      return again
    })
  }

  private allows(): boolean {
    const now = timer.now(this.clock)
    const { restarts } = this.restart
    if (restarts !== Infinity) {
      const place = this.count % restarts
      if (restarts < 1 || this.instants[place]! > now - this.lengthMillis) return false
      this.instants[place] = now
    }
    this.count++
    return true
  }
}
