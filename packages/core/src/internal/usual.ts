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
 *
 * The histogram has four equal buckets between each power of two and the next (as HdrHistogram has, by Gil Tene): to find
 * the one of a time takes no logarithm, and there is one time for every call.
 */

/** The finest grain, in milliseconds. */
const unit = 1 / 16
/** Times of 2^25 units, some 35 minutes, and more are one. */
const most = 2 ** 25 - 1
const buckets = 96
/** Fewer ends than this say nothing. */
const enough = 8
/** So many ends weigh as much as all before them. */
const memory = 512
/** After so many ends the most is looked up again. */
const every = 16
/** Of the chance that it came with, this much must be left. */
const left = 0.95

export class Usual {
  /** Invariant: `total` is the sum. */
  private readonly counts = new Float64Array(buckets)
  private total = 0
  /** What `needed` says of an endless time, as it was lately: the most that it says of any. */
  private utmost = 0
  private unread = 0

  /** One has ended that held its permit for so many milliseconds; or it was `cut` then. */
  observe(millis: number, cut: boolean): void {
    this.counts[bucketOf(unitsOf(cut ? 2 * millis : millis))]!++
    if (++this.unread === every) {
      this.unread = 0
      this.utmost = this.needed(Infinity)
    }
    if (++this.total < 2 * memory) return
    this.total /= 2
    for (let i = 0; i < buckets; i++) this.counts[i]! /= 2
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
    const units = unitsOf(budget)
    const last = bucketOf(units)
    let within = (this.counts[last]! * (units - beginOf(last))) / widthOf(last)
    for (let i = 0; i < last; i++) within += this.counts[i]!
    if (within < enough) return 0
    let rest = within * left
    let i = 0
    while (rest > this.counts[i]!) rest -= this.counts[i++]!
    return Math.min(budget, unit * (beginOf(i) + (rest / this.counts[i]!) * widthOf(i)))
  }
}

const unitsOf = (millis: number): number => Math.min(most, millis / unit)

/** Of the numbers below 4 each has a bucket of its own. */
const bucketOf = (units: number): number => {
  const power = 31 - Math.clz32(units)
  return power < 2 ? units | 0 : ((power - 1) << 2) + ((units >> (power - 2)) & 3)
}

const beginOf = (bucket: number): number => (bucket < 4 ? bucket : (4 + (bucket & 3)) << ((bucket >> 2) - 1))

const widthOf = (bucket: number): number => beginOf(bucket + 1) - beginOf(bucket)
