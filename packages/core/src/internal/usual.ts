/**
 * How much time a call should have left when it begins. It reads no clock.
 *
 * In a line under overload, whoever is first is the one whose deadline is nearest. Who begins with less time than the
 * work takes is cut, and what was done for it is lost: with 20 slots of 100 ms, and calls of 2 s, two thirds of all work.
 * So who comes to its turn too late is passed over. What is too late is learnt from how long permits were held:
 *
 *     held for  ▁▂▅█▇▅▃▂▁▁
 *               ├───────┤ the least time with which 19 in 20 of those end who would with all the time it came with
 *
 * Measured by its own time, not by that of all: where one call in ten takes a hundred times as long as the rest, one
 * that has not the time for that anyway is judged by the rest.
 *
 * Of one that was cut is known only that it would have taken longer; it counts as twice as long. Else work that has
 * become slower would be seen in nobody who came to an end, and in a long line nobody would.
 */
import { Histogram } from "./histogram.ts"

/** Fewer ends than this say nothing. */
const enough = 8
/** After so many ends the most is looked up again. */
const every = 16
/** Of the chance that it came with, this much must be left. */
const left = 0.95

export class Usual {
  private readonly times = new Histogram()
  /** What `needed` says of an endless time, as it was lately: the most that it says of any. */
  private utmost = 0
  private unread = 0

  /** One has ended that held its permit for so many milliseconds; or it was `cut` then. */
  observe(millis: number, cut: boolean): void {
    this.times.add(cut ? 2 * millis : millis)
    if (++this.unread < every) return
    this.unread = 0
    this.utmost = this.needed(Infinity)
  }

  /** Whether so much time is enough for any. */
  suffices(left: number): boolean {
    return left >= this.utmost
  }

  /** By how many milliseconds one that came with `budget` and has `left` of them has too little; 0 or less: it has enough. */
  short(left: number, budget: number): number {
    return this.suffices(left) ? 0 : this.needed(budget) - left
  }

  /** How many milliseconds one should have left when it begins that came with `budget`. Never more than that. */
  needed(budget: number): number {
    const within = this.times.upTo(budget)
    return within < enough ? 0 : Math.min(budget, this.times.within(within * left))
  }
}
