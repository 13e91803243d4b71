/**
 * How long things took, lately: a histogram with four equal buckets between each power of two and the next (as HdrHistogram
 * has, by Gil Tene). To find the bucket of a time takes no logarithm, and there is one time for every call.
 */

/** The finest grain, in milliseconds. */
const unit = 1 / 16
/** Times of 2^25 units, some 35 minutes, and more are one. */
const most = 2 ** 25 - 1
const buckets = 96
/** So many times weigh as much as all before them. */
const memory = 512

export class Histogram {
  /** Invariant: `total` is the sum. */
  private readonly counts = new Float64Array(buckets)
  total = 0

  add(millis: number): void {
    this.counts[bucketOf(unitsOf(millis))]!++
    if (++this.total < 2 * memory) return
    this.total /= 2
    for (let i = 0; i < buckets; i++) this.counts[i]! /= 2
  }

  /** How many took no longer than this; a bucket that it divides counts in part. */
  upTo(millis: number): number {
    const units = unitsOf(millis)
    const last = bucketOf(units)
    let count = (this.counts[last]! * (units - beginOf(last))) / widthOf(last)
    for (let i = 0; i < last; i++) count += this.counts[i]!
    return count
  }

  /** Within how many milliseconds the `count` fastest ended; within their bucket by its width. */
  within(count: number): number {
    let rest = count
    let i = 0
    while (rest > this.counts[i]!) rest -= this.counts[i++]!
    return unit * (beginOf(i) + (rest / this.counts[i]!) * widthOf(i))
  }

  /** As `within`, to the end of their bucket: all that took about as long as the slowest of them are within it. */
  wellWithin(count: number): number {
    let rest = count
    let i = 0
    while (rest > this.counts[i]!) rest -= this.counts[i++]!
    return unit * beginOf(i + 1)
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
