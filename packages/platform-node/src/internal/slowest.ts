/** The slowest of what has ended lately: a few, and none that is older than it may be. */

export interface Timed {
  readonly millis: number
  /** When it ended, in the milliseconds of whoever asks. */
  readonly at: number
}

export class Slowest<A extends Timed> {
  private readonly most: number
  private readonly ageMillis: number
  /** The slowest first. */
  private all: Array<A> = []
  /** When the first of them will be too old. */
  private staleAt = Infinity

  constructor(most: number, ageMillis: number) {
    this.most = most
    this.ageMillis = ageMillis
  }

  /** Whether one that has taken so long would be among them. */
  admits(millis: number, now: number): boolean {
    if (this.all.length < this.most || now >= this.staleAt) return this.most > 0
    return millis > this.all[this.all.length - 1]!.millis
  }

  add(it: A): void {
    const kept = this.fresh(it.at)
    const at = kept.findIndex(({ millis }) => millis < it.millis)
    this.all = kept.toSpliced(at < 0 ? kept.length : at, 0, it).slice(0, this.most)
    this.staleAt = Math.min(...this.all.map(({ at }) => at)) + this.ageMillis
  }

  fresh(now: number): ReadonlyArray<A> {
    return this.all.filter(({ at }) => now < at + this.ageMillis)
  }
}
