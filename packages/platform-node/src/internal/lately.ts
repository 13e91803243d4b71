/**
 * Figures of the event loop, of lately and not since the start: of the last ten seconds or so.
 */

/** What is read off once a second. Sums, in milliseconds and counts. */
export interface Reading {
  readonly at: number
  readonly active: number
  readonly iterations: number
  readonly events: number
}

export interface Delay {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly max: number
}

/** The last values of many. */
export class Samples {
  private readonly ring: Float64Array
  private count = 0

  constructor(size: number) {
    this.ring = new Float64Array(size)
  }

  add(value: number): void {
    this.ring[this.count++ % this.ring.length] = value
  }

  /** Of the last `n`, or of all there are. */
  delay(n = this.ring.length): Delay {
    const size = Math.min(n, this.count, this.ring.length)
    if (size === 0) return { p50: 0, p90: 0, p99: 0, max: 0 }
    const sorted = Float64Array.from({ length: size }, (_, i) => this.ring[(this.count - 1 - i) % this.ring.length]!)
    sorted.sort()
    // The smallest that so many are not above.
    const at = (part: number) => sorted[Math.max(0, Math.ceil(part * size) - 1)]!
    return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: sorted[size - 1]! }
  }
}

export interface Rates {
  readonly utilization: number
  readonly iterationsPerSecond: number
  readonly eventsPerIteration: number
}

/** Between two readings. */
export const rates = (from: Reading, to: Reading): Rates => {
  const millis = to.at - from.at
  const iterations = to.iterations - from.iterations
  return {
    utilization: millis > 0 ? Math.min(1, Math.max(0, (to.active - from.active) / millis)) : 0,
    iterationsPerSecond: millis > 0 ? (iterations * 1000) / millis : 0,
    eventsPerIteration: iterations > 0 ? (to.events - from.events) / iterations : 0
  }
}

export interface Pause {
  readonly start: number
  readonly millis: number
}

/** What the collector did in the last seconds. */
export class Pauses {
  private readonly keepMillis: number
  private pauses: Array<Pause> = []

  constructor(keepMillis: number) {
    this.keepMillis = keepMillis
  }

  add(pause: Pause): void {
    this.pauses.push(pause)
    // A heap about to run out is collected all the time.
    if (this.pauses.length > maxPauses) this.pauses = this.pauses.slice(maxPauses / 2)
  }

  forget(now: number): void {
    const first = this.pauses.findIndex(({ start }) => start >= now - this.keepMillis)
    if (first !== 0) this.pauses = first < 0 ? [] : this.pauses.slice(first)
  }

  statistics(now: number): { readonly pauses: number; readonly totalMillis: number; readonly maxMillis: number } {
    this.forget(now)
    let [totalMillis, maxMillis] = [0, 0]
    for (const { millis } of this.pauses) {
      totalMillis += millis
      maxMillis = Math.max(maxMillis, millis)
    }
    return { pauses: this.pauses.length, totalMillis, maxMillis }
  }

  /** How much of the time between two instants was theirs. */
  between(from: number, to: number): number {
    let sum = 0
    for (const { millis, start } of this.pauses) {
      sum += Math.max(0, Math.min(to, start + millis) - Math.max(from, start))
    }
    return sum
  }
}

const maxPauses = 2048
