/**
 * When those are asked for who wait for room in the line: whenever somebody has left it, and when an allowance of theirs
 * has room again.
 */
import type { Clock, Fiber } from "effect"
import { Feeders } from "./feeders.ts"
import type { Blocked, Feeder } from "./feeders.ts"
import * as timer from "./timer.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

/** Lets a feeder's claim in, or says what keeps it out. */
export type LetIn = (feeder: Feeder, fiber: AnyFiber) => Blocked | undefined

export class Feeding {
  private readonly clock: Clock.Clock
  private readonly letIn: LetIn
  private readonly feeders = new Feeders()
  /** They are being asked: whoever makes room meanwhile need not ask them again. */
  private asking = false
  /** Some have left the line since: those who were asked before are asked once more. */
  private thinnedMeanwhile = false
  /** Set while a feeder waits for what its tenant or key has of its own. */
  private again: timer.Alarm | undefined = undefined

  constructor(clock: Clock.Clock, letIn: LetIn) {
    this.clock = clock
    this.letIn = letIn
  }

  /** How many wait for room. */
  get size(): number {
    return this.feeders.size
  }

  /** Whether somebody of this urgency waits, whom a newcomer must not overtake. */
  waits(urgency: number): boolean {
    return this.feeders.size > 0 && this.feeders.waits(urgency)
  }

  get all(): Array<Feeder> {
    return this.feeders.all
  }

  /** Somebody waits for room from now on, at the urgency with which it asks. */
  begin(feeder: Feeder, fiber: AnyFiber): void {
    feeder.claim.urgency = feeder.claim.asked
    this.feeders.push(feeder)
    this.feed(fiber)
  }

  /** Takes that back; only before it was told. */
  end(feeder: Feeder, fiber: AnyFiber): void {
    this.feeders.remove(feeder)
    this.feed(fiber)
    if (this.feeders.size > 0 || this.again === undefined) return
    timer.of(this.clock).clear(this.again, fiber)
    this.again = undefined
  }

  /** It wants in at another urgency. */
  move(feeder: Feeder, fiber: AnyFiber): void {
    this.feeders.remove(feeder)
    this.begin(feeder, fiber)
  }

  /** Some have left the line. */
  thinned(fiber: AnyFiber): void {
    this.thinnedMeanwhile = this.asking
    this.feed(fiber)
  }

  /** Asks for those who have room. */
  feed(fiber: AnyFiber): void {
    if (this.feeders.size === 0 || this.asking) return
    this.asking = true
    try {
      do {
        this.thinnedMeanwhile = false
        this.feeders.feed((feeder) => this.letIn(feeder, fiber))
      } while (this.thinnedMeanwhile)
    } finally {
      this.asking = false
    }
  }

  /** Asks once more at `at`, or before. */
  feedAt(at: number, fiber: AnyFiber): void {
    if (at >= (this.again?.at ?? Infinity)) return
    if (this.again !== undefined) timer.of(this.clock).clear(this.again, fiber)
    this.again = new timer.Alarm(at, () => {
      this.again = undefined
      this.feed(fiber)
    })
    timer.of(this.clock).set(this.again, fiber)
  }
}
