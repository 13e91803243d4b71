/**
 * How many extra attempts a dependency may see: a part of its calls, with a floor.
 *
 *     calls    ▁▃▅▂▃▄▃▅▂▃   of the last window                      at most max(floor, ratio × calls), whole ones
 *     extra      ▁  ▁▁ ▁ ─► of the last window, and what waits in backoff now
 *
 * What waits counts from when it is reserved. Else an outage as long as a backoff would let all of its retries through, to
 * come back together. It follows that no window, wherever it begins, sees more extra attempts than the budget of one window;
 * and that all of them together are no more than `ratio` of all calls, and the floor for each window.
 *
 * What is left is not spent all at once: a bad second is helped by up to a third of the budget, and while an outage lasts the
 * rest is spread. Else each window of an outage would begin with the load of two, as the budget of the last is forgotten.
 *
 * Counted in buckets, with no timer: extra attempts over a window and up to a bucket more, calls over up to a bucket less, so
 * that what is rounded is rounded against us. It reads no clock: `now` is the caller's.
 *
 * The retry budget of "Site Reliability Engineering" (Beyer, Jones, Petoff, Murphy, 2016), chapter 21, and of Finagle. Those
 * count an attempt when it is made; and with Finagle's tokens the first window of an outage sees twice its part.
 */

/** A window moves on by this part of itself. */
const parts = 10
const buckets = parts + 1
/** One stretch may have this part of what was left when it began; or its even part, or the floor. */
const atOnce = 3
/** A whole one, as floats go: ten times a tenth is less than one, and a hundred times 0.07 more than seven. */
export const one = 1 - 1e-9

export interface Terms {
  readonly ratio: number
  readonly floor: number
  readonly windowMillis: number
}

export class Budget {
  private readonly terms: Terms
  private readonly width: number
  /** By stretch, in a ring. */
  private readonly calls = new Float64Array(buckets)
  private readonly extra = new Float64Array(buckets)
  /** The stretch that goes on. Invariant: the sums are those of the window that it ends. */
  private current = 0
  private callsOfWindow = 0
  private extraOfWindow = 0
  /** How many were reserved in the stretch that goes on, and not given back. */
  private granted = 0
  /** Reserved and not begun. */
  waiting = 0

  constructor(terms: Terms) {
    this.terms = terms
    this.width = terms.windowMillis / parts
  }

  /** One more call. */
  called(now: number): void {
    this.calls[this.at(now)]!++
    this.callsOfWindow++
  }

  /**
   * Reserves an extra attempt: gives what `release` and `takeBack` have to be told, or `undefined` where nothing is left. One
   * of `begin` and `release` follows.
   */
  reserve(now: number): number | undefined {
    const allowed = this.allowed(now)
    const left = allowed - this.spent(now)
    const pace = Math.max(this.terms.floor, allowed / parts, (left + this.granted) / atOnce)
    if (left < one || this.granted >= pace) return undefined
    this.granted++
    this.waiting++
    return this.current
  }

  /** What was reserved begins. */
  begin(now: number): void {
    this.waiting--
    this.extra[this.at(now)]!++
    this.extraOfWindow++
  }

  /** What was reserved in that stretch will not begin. */
  release(stretch: number): void {
    this.waiting--
    this.giveBack(stretch)
  }

  /** What was reserved and began in that stretch has come to nothing: the dependency has not seen it. */
  takeBack(stretch: number, now: number): void {
    this.at(now)
    this.giveBack(stretch)
    if (stretch <= this.current - buckets) return
    this.extra[slotOf(stretch)]!--
    this.extraOfWindow--
  }

  /** How many extra attempts the window may have. */
  allowed(now: number): number {
    this.at(now)
    return Math.max(this.terms.floor, this.terms.ratio * this.callsOfWindow)
  }

  /** How many it has had, and those that wait. */
  spent(now: number): number {
    this.at(now)
    return this.extraOfWindow + this.waiting
  }

  /** To the pace of that stretch, while it goes on: who comes next in it may have what nobody used. */
  private giveBack(stretch: number): void {
    if (stretch === this.current) this.granted--
  }

  /** Where to count what happens now; what is older than a window is forgotten. */
  private at(now: number): number {
    const stretch = Math.floor(now / this.width)
    if (stretch > this.current) this.moveTo(stretch)
    return slotOf(this.current)
  }

  private moveTo(stretch: number): void {
    for (let i = Math.max(this.current + 1, stretch - parts); i <= stretch; i++) {
      this.calls[slotOf(i)] = 0
      this.extra[slotOf(i)] = 0
    }
    this.current = stretch
    this.granted = 0
    this.extraOfWindow = sum(this.extra)
    // The oldest is only in part in the window: for calls it does not count.
    this.callsOfWindow = sum(this.calls) - this.calls[slotOf(stretch - parts)]!
  }
}

const slotOf = (stretch: number): number => ((stretch % buckets) + buckets) % buckets

const sum = (counts: Float64Array): number => {
  let sum = 0
  for (const count of counts) sum += count
  return sum
}
