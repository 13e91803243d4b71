/**
 * How many may start per time: never more than `limit` in any window of `length`, by cost.
 *
 * "Any" is meant: not per calendar minute, and not on average. What an upstream counts as 80 per minute is kept however
 * it lays its minutes. A `RateWindow` only decides; waiting for it is a `Gate`'s. It limits when work starts, not how
 * much runs at once.
 *
 *     limit 4, length ├──────┤     ×: a start, ○: the earliest next one
 *     burst 4   ××××   ○            the window of the first four must pass
 *     burst 1   × × × ×○ × ×        the same rate, spread by length/limit
 *
 * Without pacing a saturated window repeats its first burst for ever: everybody waits out the same gap, the urgent too.
 * `burst` is how many may start at once; the rest are spread by length/limit (a leaky bucket, GCRA of ITU-T I.371, in
 * front of the exact window). While the window is closed the bucket does not fill, so the burst is not saved up.
 *
 * Exact up to 4,096 starts in a window. Beyond that, neighbours within length/4,096 share an entry that ends with the
 * later one: rounded against us, never over.
 */
import { Duration } from "effect"
import { grain } from "./internal/millis.ts"

/** The specification of a window; a plain value. */
export interface RateWindow {
  /** The most cost that may start in any window. */
  readonly limit: number
  readonly length: Duration.Duration
  /** How much of it at once. */
  readonly burst: number
}

export interface Options {
  /** How much may start at once; the rest is spread by `length / limit`. Default: `limit`, no spreading. */
  readonly burst?: number | undefined
}

/** At most `limit` per `length`. */
export const per = (limit: number, length: Duration.Input, options?: Options): RateWindow => {
  const duration = Duration.fromInputUnsafe(length)
  const burst = options?.burst ?? limit
  if (!(limit > 0 && Number.isFinite(limit))) throw new RangeError(`Expected a limit above 0, got ${limit}`)
  const millis = Duration.toMillis(duration)
  if (!(millis > 0 && Number.isFinite(millis))) {
    throw new RangeError(`Expected a finite window length above 0, got ${Duration.format(duration)}`)
  }
  if (!(burst > 0 && burst <= limit)) {
    throw new RangeError(`Expected a burst above 0 and at most the limit of ${limit}, got ${burst}`)
  }
  return { limit, length: duration, burst }
}

/** As people write it: `80 per 1m`. */
export const format = (self: RateWindow): string => `${self.limit} per ${Duration.format(self.length)}`

/** How full a window is. */
export interface Statistics {
  readonly limit: number
  readonly lengthMillis: number
  readonly burst: number
  /** Cost started in the window that ends now. */
  readonly used: number
  /** Cost admitted that has not started yet; it counts as now. */
  readonly pending: number
}

/** One start, or neighbours that share an entry: from the first to the last of them. */
interface Start {
  readonly from: number
  at: number
  cost: number
}

const exact = 4096

/** What sums of floats may leave of fractions, as a part of the limit. */
const rest = 1e-9

/**
 * The book of one window. It decides and keeps count; it reads no clock and waits for nothing: `now` is the caller's,
 * in milliseconds of a monotonic clock, and never goes back.
 *
 * A start is *reserved* when it is admitted, and counts as now until it is *stamped* with the instant at which it
 * began; a reservation that never began is *refunded* whole.
 */
export class Book {
  readonly window: RateWindow
  private readonly millis: number
  private readonly limit: number
  /** Between two starts of cost 1 when paced; 0 when not. */
  private readonly spacing: number
  /** Starts in the window, oldest first, from `head` on. Invariant: used is the sum of their costs. */
  private starts: Array<Start> = []
  private head = 0
  private used = 0
  /** Invariant: used + pending <= limit. */
  private pending = 0
  /** How many reservations that is. Invariant: none make a pending of exactly 0, whatever floats leave of fractions. */
  private reservations = 0
  /** When the leaky bucket is empty (GCRA's theoretical arrival time). */
  private emptyAt = -Infinity
  /** Since when there has been room for a start, after the window was closed. */
  private roomSince = -Infinity

  constructor(window: RateWindow) {
    this.window = window
    this.millis = Duration.toMillis(window.length)
    this.limit = window.limit
    this.spacing = window.burst < window.limit ? this.millis / window.limit : 0
  }

  /**
   * The earliest instant at which `cost` may start as things stand: `now` or earlier when it may now, `Infinity` when
   * that hangs on a reservation that has not begun.
   */
  opensAt(now: number, cost: number): number {
    this.expire(now)
    const room = this.roomAt(cost, this.limit - this.used - this.pending)
    const at = this.spacing === 0 || room === Infinity ? room : Math.max(room, this.paceAt(cost))
    return at <= now + grain ? now : at
  }

  /**
   * The instant before which `cost` can certainly not start, whatever others do until then: what has begun stays; what
   * is reserved may be refunded, on the spot. Only asks: nothing changes.
   */
  notBefore(cost: number): number {
    const room = this.roomAt(cost, this.limit * (1 + rest) - this.used)
    if (this.spacing === 0) return room
    // Refunding all that is reserved would take its cost out of the bucket; no other step lowers the bucket.
    const level = this.emptyAt - this.pending * this.spacing - this.slack(cost)
    return Math.max(room, level, this.roomSince)
  }

  /** When a cost of `ahead` and then `cost` more will have started, if all start as early as they may. */
  reaches(now: number, ahead: number, cost: number): number {
    const total = ahead + cost
    // Whole windows first: what does not fit into this one waits for as many of its length.
    const rounds = Math.ceil(total / this.limit) - 1
    const opens = this.opensAt(now, Math.max(cost, total - rounds * this.limit))
    return (opens === Infinity ? now + this.millis : Math.max(now, opens)) + rounds * this.millis
  }

  /** Admits `cost`; only when `opensAt(now, cost) <= now`. */
  reserve(now: number, cost: number): void {
    this.expire(now)
    this.reservations++
    this.pending += cost
    if (this.spacing > 0) this.emptyAt = Math.max(now, this.bucket(cost)) + cost * this.spacing
  }

  /** What was reserved began at `now`. */
  stamp(now: number, cost: number): void {
    this.settle(cost)
    this.used += cost
    const last = this.starts.length > this.head ? this.starts[this.starts.length - 1]! : undefined
    const full = this.starts.length - this.head >= exact
    if (last !== undefined && (last.at === now || (full && now - last.from <= this.millis / exact))) {
      last.at = now
      last.cost += cost
    } else this.starts.push({ from: now, at: now, cost })
  }

  /** What was reserved will not begin. */
  refund(cost: number): void {
    this.settle(cost)
    if (this.spacing > 0) this.emptyAt -= cost * this.spacing
  }

  private settle(cost: number): void {
    this.reservations--
    this.pending = this.reservations === 0 ? 0 : this.pending - cost
  }

  statistics(now: number): Statistics {
    this.expire(now)
    const { burst, limit } = this.window
    return { limit, lengthMillis: this.millis, burst, used: this.used, pending: this.pending }
  }

  /** When enough of the window will have passed, beside what is free of it. */
  private roomAt(cost: number, free: number): number {
    if (cost <= free) return -Infinity
    for (let i = this.head; i < this.starts.length; i++) {
      const start = this.starts[i]!
      free += start.cost
      if (cost <= free) return start.at + this.millis
    }
    // Floats may add up to less than the limit: what waits for no reservation may start when the window is empty.
    const last = this.starts[this.starts.length - 1]
    return this.reservations > 0 || last === undefined || cost > this.limit ? Infinity : last.at + this.millis
  }

  /** When the bucket has drained enough for `cost`; a cost above the burst needs it empty. */
  private paceAt(cost: number): number {
    return this.bucket(cost) - this.slack(cost)
  }

  /** The bucket's level, as the instant at which it is empty: had the window been closed, it began full at its opening. */
  private bucket(cost: number): number {
    return Math.max(this.emptyAt, this.roomSince + this.slack(cost))
  }

  /** How full the bucket may still be when `cost` comes, in milliseconds of draining. */
  private slack(cost: number): number {
    return (this.window.burst - Math.min(cost, this.window.burst)) * this.spacing
  }

  private expire(now: number): void {
    const starts = this.starts
    while (this.head < starts.length && starts[this.head]!.at + this.millis <= now + grain) {
      const start = starts[this.head]!
      if (this.used + this.pending > this.limit - Math.min(1, this.limit)) this.roomSince = start.at + this.millis
      this.used -= start.cost
      this.head++
    }
    if (this.head === starts.length) {
      this.starts = []
      this.head = 0
      this.used = 0
    } else if (this.head > 1024 && this.head > starts.length / 2) {
      this.starts = starts.slice(this.head)
      this.head = 0
    }
  }
}
