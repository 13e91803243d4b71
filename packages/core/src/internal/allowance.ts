/**
 * What an admission takes its part of: so many at once, and so many per time. The gate's is shared by all who come; a
 * tenant's or a key's is its own.
 *
 * It decides and keeps count; it reads no clock and waits for nothing.
 */
import { Duration } from "effect"
import * as RateWindow from "../RateWindow.ts"
import * as millis from "./millis.ts"

/** How long another's word holds at most, in milliseconds, where there is no window to bound it. */
const patience = 3_600_000

export class Allowance {
  readonly books: ReadonlyArray<RateWindow.Book>
  limit: number
  /** Invariant: running <= limit, or the limit was lowered below it meanwhile. */
  running = 0
  /** Until then nothing starts: another's word; `Infinity`: what was before is not known yet. */
  private shutUntil = -Infinity

  constructor(limit: number, windows: ReadonlyArray<RateWindow.RateWindow>) {
    this.limit = limit
    this.books = windows.map((window) => new RateWindow.Book(window))
    for (const { window } of this.books) {
      if (window.limit < 1) throw new RangeError(`Expected windows of at least 1, got ${RateWindow.format(window)}`)
    }
  }

  /** Whether it asks what time it is. */
  get timed(): boolean {
    return this.books.length > 0 || this.shutUntil > -Infinity
  }

  /** Whether something is to be paid for that cost more than it had reserved. */
  get indebted(): boolean {
    return this.books.some((book) => book.indebted)
  }

  /** Until when another's word holds. What is not known yet may be known at any time. */
  private get wordUntil(): number {
    return this.shutUntil === Infinity ? -Infinity : this.shutUntil
  }

  /** Nothing starts until `recall`: what was before is not known yet. */
  suspend(): void {
    this.shutUntil = Infinity
  }

  /** What was before is known, as far as it ever will be. */
  recall(): void {
    this.shutUntil = -Infinity
  }

  get suspended(): boolean {
    return this.shutUntil === Infinity
  }

  /** Whether another's word still holds, where it has no windows, or what was before is not known yet. */
  isShut(now: number): boolean {
    if (this.shutUntil <= now + millis.grain) this.shutUntil = -Infinity
    return this.shutUntil > -Infinity
  }

  /** The window that `cost` can never pass, if any. */
  tooSmall(cost: number): RateWindow.RateWindow | undefined {
    for (const { window } of this.books) if (cost > window.limit) return window
    return undefined
  }

  /** Whether `cost` may start now. */
  admits(now: number, cost: number): boolean {
    if (this.running >= this.limit || this.isShut(now)) return false
    for (const book of this.books) if (book.opensAt(now, cost) > now) return false
    return true
  }

  /** The instant at which `cost` may start as things stand; `Infinity` when that hangs on one who holds something. */
  opensAt(now: number, cost: number): number {
    if (this.running >= this.limit) return Infinity
    let at = this.isShut(now) ? this.shutUntil : -Infinity
    for (const book of this.books) at = Math.max(at, book.opensAt(now, cost))
    return at
  }

  /** The instant before which `cost` can certainly not start, whatever those who run, or hold a reservation, do. */
  notBefore(cost: number): number {
    let at = this.wordUntil
    for (const book of this.books) at = Math.max(at, book.notBefore(cost))
    return at
  }

  /** When `ahead` and then `cost` will have started, if all start as early as the windows let them. */
  reaches(now: number, ahead: number, cost: number): number {
    let at = Math.max(now, this.wordUntil)
    for (const book of this.books) at = Math.max(at, book.reaches(now, ahead, cost))
    return at
  }

  /** How many of this cost the windows let start per millisecond, over a long time. */
  perMilli(cost: number): number {
    let least = Infinity
    for (const { window } of this.books) least = Math.min(least, window.limit / Duration.toMillis(window.length) / cost)
    return least
  }

  /** The window that keeps `cost` out now, or what else does. */
  why(now: number, cost: number): string {
    if (this.running >= this.limit) return this.limit === 1 ? "the permit" : `one of ${this.limit} permits`
    for (const book of this.books) if (book.opensAt(now, cost) > now) return RateWindow.format(book.window)
    if (this.suspended) return "what is remembered of before"
    // The windows may have opened, and who is told of it by a timer has not been yet.
    return this.isShut(now) ? "the other side, which asked for a pause" : "nothing but its turn"
  }

  take(now: number, cost: number): void {
    this.running++
    for (const book of this.books) book.reserve(now, cost)
  }

  stamp(now: number, cost: number): void {
    for (const book of this.books) book.stamp(now, cost)
  }

  refund(cost: number): void {
    for (const book of this.books) book.refund(cost)
  }

  /** The answer is here, or the end without one. */
  answered(now: number, cost: number): void {
    for (const book of this.books) book.answered(now, cost)
  }

  /** What was taken for `cost` really cost `actual`. */
  settle(now: number, begunAt: number | undefined, heardAt: number | undefined, cost: number, actual: number): void {
    for (const book of this.books) {
      book.settle(now, book.window.counts === "answer" ? heardAt : begunAt, cost, actual)
    }
  }

  /** Another's word. It can only tighten, and for a bounded time. */
  tighten(now: number, hint: RateWindow.Hint): void {
    for (const book of this.books) book.tighten(now, hint)
    if (this.books.length > 0) return
    const { closedFor, remaining, resetsIn } = hint
    const shut = closedFor ?? (remaining !== undefined && remaining < 1 ? resetsIn : undefined)
    if (shut !== undefined) this.shutUntil = Math.max(this.shutUntil, now + Math.min(millis.from(shut), patience))
  }

  /** From when on there is nothing to remember of it; `Infinity` while somebody has something of it. */
  idleAt(now: number): number {
    let at = this.running > 0 ? Infinity : this.shutUntil
    for (const book of this.books) at = Math.max(at, book.idleAt(now))
    return at
  }

  statistics(now: number): ReadonlyArray<RateWindow.Statistics> {
    return this.books.map((book) => book.statistics(now))
  }
}
