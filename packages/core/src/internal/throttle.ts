/**
 * Refuses here what the other side would refuse there: with a chance that follows from how much it took lately. It
 * reads no clock and knows no chance: `now` and a random number are the caller's.
 *
 *     chance = max(0, (requests − factor · accepts) / (requests + 1))
 *
 * Nothing is refused while it takes at least one in `factor`. Beyond that it is sent `factor` times what it takes; what
 * is refused here counts as a request, so the more it is offered the more is refused.
 *
 * The memory is the price: what was refused stays in it. After an outage that was longer than it, and in which nothing was
 * taken, half gets through again after 4 to 6 memories (at 10 and 100 a second, `factor` 2).
 *
 * What was cut by its deadline (`late`) was not taken: how much time it would have needed is not known here.
 *
 * Client-side throttling of "Site Reliability Engineering" (Beyer, Jones, Petoff, Murphy, 2016), chapter 21. One thing
 * differs: what was sent counts when it ends, not when it starts. Else a burst looks like so many refusals as long as
 * none of it has ended.
 */
import type { Verdict } from "../ConcurrencyLimit.ts"

interface Bucket {
  /** Which stretch of the memory it counts. */
  number: number
  requests: number
  accepts: number
}

/** The memory moves on by this part of itself. */
const parts = 12

export class Throttle {
  private readonly factor: number
  private readonly width: number
  private readonly buckets: ReadonlyArray<Bucket>
  /** Invariant: the sums over the buckets of the last `parts` stretches. */
  private requests = 0
  private accepts = 0
  private current = -Infinity

  constructor(factor: number, memory: number) {
    if (!(factor >= 1 && Number.isFinite(factor)))
      throw new RangeError(`Expected a factor of at least 1, got ${factor}`)
    if (!(memory > 0 && Number.isFinite(memory))) throw new RangeError(`Expected a memory above 0, got ${memory}`)
    this.factor = factor
    this.width = memory / parts
    this.buckets = Array.from({ length: parts }, () => ({ number: -Infinity, requests: 0, accepts: 0 }))
  }

  /** Whether to refuse a call that comes now; `random` is in [0, 1). One that is refused is counted. */
  refuses(now: number, random: number): boolean {
    if (random >= this.chance(now)) return false
    this.at(now).requests++
    this.requests++
    return true
  }

  /** What was sent has ended. */
  ended(now: number, verdict: Verdict): void {
    if (verdict === "ignore") return
    const accepted = verdict === "ok" ? 1 : 0
    const bucket = this.at(now)
    bucket.requests++
    bucket.accepts += accepted
    this.requests++
    this.accepts += accepted
  }

  /** The chance with which a call that comes now is refused. */
  chance(now: number): number {
    this.at(now)
    return Math.max(0, (this.requests - this.factor * this.accepts) / (this.requests + 1))
  }

  /** The bucket of this moment; those that are out of the memory are emptied. */
  private at(now: number): Bucket {
    const number = Math.floor(now / this.width)
    if (number > this.current) {
      this.current = number
      for (const bucket of this.buckets) {
        if (bucket.number > number - parts) continue
        this.requests -= bucket.requests
        this.accepts -= bucket.accepts
        bucket.requests = 0
        bucket.accepts = 0
      }
    }
    const bucket = this.buckets[((number % parts) + parts) % parts]!
    bucket.number = number
    return bucket
  }
}
