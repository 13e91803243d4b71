/**
 * The book of one window: what counts now, and when there is room. The law it keeps is in `RateWindow.ts`.
 *
 * What counts is a ring of starts; a decision looks at the oldest few. Beside it: the leaky bucket as one instant (GCRA),
 * debts as one sum, hints as a staircase.
 */
import { Duration } from "effect"
import type { Hint, RateWindow, Snapshot, Statistics } from "../RateWindow.ts"
import { Hints } from "./hints.ts"
import * as millis from "./millis.ts"
import { Ring } from "./ring.ts"
import * as snapshots from "./snapshot.ts"

/** What sums of floats may leave of fractions, as a part of the limit. */
const rest = 1e-9

/**
 * The book of one window. It decides and keeps count; it reads no clock and waits for nothing: `now` is the caller's,
 * in milliseconds of a monotonic clock, and never goes back.
 *
 * A start is *reserved* when it is admitted, and counts as now until it is *stamped* with the instant at which it
 * began, or, by answers, until that of its answer; a reservation that never began is *refunded* whole. Later it may be
 * *settled* for what it really cost.
 */
export class Book {
  readonly window: RateWindow
  private readonly length: number
  private readonly limit: number
  private readonly rest: number
  private readonly burst: number
  private readonly answers: boolean
  /** Between two starts of cost 1 when paced; 0 when not. */
  private readonly spacing: number
  /** What was stamped, and the parts of debts that were paid. */
  private readonly ring: Ring
  /** Invariant: ring.sum + pending <= limit, but for what was restored. */
  private pending = 0
  /** How many reservations that is. Invariant: none make a pending of exactly 0, whatever floats leave of fractions. */
  private reservations = 0
  /** Invariant, after `pass`: where there is debt, ring.sum + pending >= limit. */
  private debt = 0
  /** When the leaky bucket is empty (GCRA's theoretical arrival time), and since when it has not been. */
  private emptyAt = -Infinity
  private busySince = -Infinity
  /** Since when there has been room for a start, after the window was closed. */
  private roomSince = -Infinity
  /** The widest limit under which what it remembers came about. */
  private widest: number
  /** `undefined` until there is one. */
  private hints: Hints | undefined = undefined

  constructor(window: RateWindow) {
    this.window = window
    this.length = Duration.toMillis(window.length)
    this.limit = window.limit
    this.widest = window.limit
    this.ring = new Ring(this.length)
    this.rest = window.limit * rest
    this.burst = window.burst
    this.answers = window.counts === "answer"
    this.spacing = window.burst < window.limit ? this.length / window.limit : 0
  }

  /**
   * The earliest instant at which `cost` may start as things stand: `now` or earlier when it may now, `Infinity` when
   * that hangs on a reservation that has not begun, or the cost is above the limit.
   */
  opensAt(now: number, cost: number): number {
    this.pass(now)
    let at = this.roomAt(cost, this.limit - this.ring.sum - this.pending)
    if (this.spacing > 0) at = Math.max(at, this.paceAt(cost))
    if (this.hints !== undefined) at = Math.max(at, this.hints.shutUntil(cost - this.rest))
    return at <= now + millis.grain ? now : at
  }

  /**
   * The instant before which `cost` can certainly not start, whatever others do until then: what has begun stays (that it
   * settles for less is not foreseen); what is reserved may be refunded, on the spot. Only asks: nothing changes.
   */
  notBefore(cost: number): number {
    const shut = this.hints?.shutUntil(cost - this.pending - this.rest) ?? -Infinity
    const at = Math.max(this.roomAt(cost, this.limit - this.ring.sum), shut)
    if (this.spacing === 0) return at
    // Refunding all that is reserved would take its cost out of the bucket; no other step lowers the bucket.
    return Math.max(at, this.emptyAt - this.pending * this.spacing - this.slack(cost), this.roomSince)
  }

  /** When a cost of `ahead` and then `cost` more will have started, if all start as early as they may. */
  reaches(now: number, ahead: number, cost: number): number {
    const total = ahead + cost
    // Whole windows first: what does not fit into this one waits for as many of its length.
    const rounds = Math.ceil(total / this.limit) - 1
    const opens = this.opensAt(now, Math.max(cost, total - rounds * this.limit))
    return (opens === Infinity ? now + this.length : Math.max(now, opens)) + rounds * this.length
  }

  /** What it lets start per millisecond over a long time. */
  get perMilli(): number {
    return this.limit / this.length
  }

  /** Admits `cost`; only when `opensAt(now, cost) <= now`. */
  reserve(now: number, cost: number): void {
    this.pass(now)
    this.reservations++
    this.pending += cost
    if (this.hints !== undefined) this.hints.spend(cost)
    if (this.spacing === 0) return
    const level = this.bucket(cost)
    if (level <= now) this.busySince = now
    this.emptyAt = Math.max(now, level) + cost * this.spacing
  }

  /** What was reserved began at `now`. By answers it goes on counting as now. */
  stamp(now: number, cost: number): void {
    if (!this.answers) this.begin(now, cost)
  }

  /** The head of its answer came at `now`, or it ended without one. Nothing where starts count. */
  answered(now: number, cost: number): void {
    if (this.answers) this.begin(now, cost)
  }

  /** What was reserved will not begin. */
  refund(cost: number): void {
    this.unreserve(cost)
    if (this.hints !== undefined) this.hints.spend(-cost)
    if (this.spacing > 0) this.emptyAt -= cost * this.spacing
  }

  /**
   * What was granted for `cost` really cost `actual`; `at` is the instant from which on it counts (its stamp, or its
   * answer where those count), undefined while it is pending. Less is given back on the spot, unless it has left the
   * window; more is a debt. Gives the cost at which it stands from now on, which later calls for it must name.
   */
  settle(now: number, at: number | undefined, cost: number, actual: number): number {
    if (!(actual >= 0 && actual < Infinity))
      throw new RangeError(`Expected an actual cost of at least 0, got ${actual}`)
    this.pass(now)
    if (actual > cost) {
      this.debt += actual - cost
      this.hints?.spend(actual - cost)
      if (this.spacing > 0) this.emptyAt = Math.max(now, this.emptyAt) + (actual - cost) * this.spacing
      this.pay(now)
      return cost
    }
    if (actual < cost) this.giveBack(now, at, cost - actual)
    return actual
  }

  private giveBack(now: number, at: number | undefined, over: number): void {
    if (this.closed) this.roomSince = now
    // What the bucket has drained of a start before it was last empty is no longer in it.
    if (this.spacing > 0 && (at === undefined || at >= this.busySince)) this.emptyAt -= over * this.spacing
    if (at === undefined) this.pending = Math.max(0, this.pending - over)
    else if (at + this.length > now + millis.grain && this.ring.size > 0) this.ring.takeBack(at, over)
    if (this.debt > 0) this.pay(now)
  }

  /** An upstream's word; see `Hint`. */
  tighten(now: number, hint: Hint): void {
    const { closedFor, remaining, resetsIn } = hint
    if (remaining !== undefined && !(remaining >= 0)) {
      throw new RangeError(`Expected a remaining cost of at least 0, got ${remaining}`)
    }
    this.pass(now)
    if (closedFor !== undefined) this.heed(now, -Infinity, millis.from(closedFor))
    // The whole limit for a part of the length says nothing.
    if (remaining !== undefined && remaining < this.limit) {
      this.heed(now, remaining - this.pending, resetsIn === undefined ? Infinity : millis.from(resetsIn))
    }
  }

  /**
   * From when on nothing of it is left: who forgets it then, and makes a new one, has forgotten nothing. `Infinity` while
   * something is pending.
   */
  idleAt(now: number): number {
    this.pass(now)
    if (this.reservations > 0) return Infinity
    let opened = this.hints?.end ?? -Infinity
    if (this.debt > 0) opened = Math.max(opened, this.roomAt(0, this.limit - this.ring.sum) + this.length)
    else if (this.ring.size > 0) opened = Math.max(opened, this.ring.newest + this.length)
    // One that just opened has no burst saved up, and a new one has.
    return Math.max(now, opened, this.bucket(0), opened + this.slack(0))
  }

  get indebted(): boolean {
    return this.debt > 0
  }

  statistics(now: number): Statistics {
    this.pass(now)
    const { burst, counts, limit } = this.window
    const hints = this.hints?.entries(now) ?? []
    return {
      limit,
      lengthMillis: this.length,
      burst,
      counts,
      // A window that was wider when it was restored may count more: it is as full as it can be.
      used: Math.max(0, Math.min(this.ring.sum, limit - this.pending)),
      pending: this.pending,
      debt: this.debt,
      hints: hints.map(([left, forMillis]) => ({ remaining: Math.max(0, left), forMillis }))
    }
  }

  /** What it remembers at `now`, which is `wallNow` in Unix time. */
  snapshot(now: number, wallNow: number): Snapshot {
    this.pass(now)
    const hints = this.hints?.entries(now) ?? []
    return {
      version: 1,
      wallMillis: wallNow,
      clockMillis: now,
      limit: this.widest,
      lengthMillis: this.length,
      counts: this.window.counts,
      starts: this.ring.entries().map(([at, cost]) => [Math.max(0, now - at), cost]),
      pending: this.pending,
      debt: this.debt,
      level: this.spacing === 0 ? null : Math.max(0, this.bucket(0) - now) / this.spacing,
      hints: hints.map(([left, forMillis]) => [left === -Infinity ? null : left, forMillis])
    }
  }

  /**
   * Takes up what a snapshot remembers, beside what it knows itself. Where that cannot be told, it is taken for more:
   *
   * - Time passed since by the wall clock or the monotonic one, whichever says less: a wall clock that jumps, and a
   *   snapshot from the future, shorten nothing. (A monotonic clock that is behind the snapshot's was started anew and
   *   says nothing.)
   * - What was pending began just now.
   * - By answers, what a window by starts counted was answered when the snapshot was taken.
   * - Of a longer window than the snapshot's, what that had forgotten is taken as used.
   *
   * Throws a `TypeError` on what is no snapshot, and changes nothing then.
   */
  restore(now: number, wallNow: number, snapshot: unknown): void {
    const past = snapshots.read(snapshot)
    if (!Number.isFinite(wallNow)) throw new RangeError(`Expected Unix time in milliseconds, got ${wallNow}`)
    this.pass(now)
    const byWall = wallNow - past.wallMillis
    const byClock = now - past.clockMillis
    const then = now - Math.max(0, byClock < 0 ? byWall : Math.min(byWall, byClock))
    const entries = this.ring.entries()
    this.widest = Math.max(this.widest, past.limit)
    const forgotten = Math.ceil((this.length - past.lengthMillis) / past.lengthMillis)
    if (forgotten > 0) entries.push([then - past.lengthMillis, forgotten * past.limit])
    const unanswered = this.answers && past.counts === "start"
    for (const [age, cost] of past.starts) entries.push([unanswered ? then : then - age, cost])
    this.ring.clear()
    // Nonsense would leave nothing of the fractions beside it.
    const most = this.limit * 1e6
    for (const [at, cost] of entries.toSorted((a, b) => a[0] - b[0])) this.ring.push(at, Math.min(cost, most))
    // What a longer window knew and this one does not paid no debts; what was pending has left no room for any since.
    const { debt, pending } = this
    this.debt = 0
    this.pending += Math.min(past.pending, most)
    this.pass(then)
    this.debt = debt + past.debt
    this.pass(now)
    this.pending = pending
    if (past.pending > 0) this.ring.push(now, Math.min(past.pending, most))
    if (this.spacing > 0) this.emptyAt = Math.max(this.emptyAt, then + (past.level ?? this.burst) * this.spacing)
    for (const [left, forMillis] of past.hints) this.heed(then, left ?? -Infinity, forMillis)
  }

  private begin(now: number, cost: number): void {
    this.pass(now)
    this.unreserve(cost)
    this.ring.push(now, cost)
  }

  private unreserve(cost: number): void {
    this.reservations--
    this.pending = this.reservations === 0 ? 0 : Math.max(0, this.pending - cost)
  }

  /**
   * When enough of the window will have passed, beside what is free of it, to pay the debt and then start `cost`. `Infinity`
   * if it will not while what is reserved stays so.
   */
  private roomAt(cost: number, free: number): number {
    let short = cost + this.debt - free
    if (short <= this.rest) return -Infinity
    // All that can become free.
    const { ring } = this
    const whole = free + ring.sum
    if (whole <= 0 || cost > whole + this.rest) return Infinity
    // Only if all that is reserved were refunded, which may be now.
    if (ring.size === 0) return -Infinity
    // What pays a debt leaves a length after what it took the place of: a debt of whole windows goes round with them.
    const rounds = this.debt > 0 ? Math.max(0, Math.ceil((short + Math.min(0, free) - this.rest) / whole) - 1) : 0
    short -= rounds * whole
    for (let i = 0; i < ring.size; i++) {
      short -= ring.cost(i)
      if (short <= this.rest) return ring.at(i) + (rounds + 1) * this.length
    }
    // What floats leave of fractions.
    return ring.newest + (rounds + 1) * this.length
  }

  /** When the bucket has drained enough for `cost`; a cost above the burst needs it empty. */
  private paceAt(cost: number): number {
    return Math.max(this.emptyAt - this.slack(cost), this.roomSince)
  }

  /** The bucket's level, as the instant at which it is empty: had the window been closed, it began full at its opening. */
  private bucket(cost: number): number {
    return Math.max(this.emptyAt, this.roomSince + this.slack(cost))
  }

  /** How full the bucket may still be when `cost` comes, in milliseconds of draining. */
  private slack(cost: number): number {
    return (this.burst - Math.min(cost, this.burst)) * this.spacing
  }

  private heed(now: number, left: number, forMillis: number): void {
    this.hints ??= new Hints()
    this.hints.heed(now, left, now + Math.min(forMillis, this.length))
  }

  /** No room for a start of cost 1. */
  private get closed(): boolean {
    return this.ring.sum + this.pending > this.limit - Math.min(1, this.limit)
  }

  /** Time has come to `now`: what has left the window is forgotten, and debts are paid from it. */
  private pass(now: number): void {
    const { ring } = this
    while (ring.size > 0) {
      const leaves = ring.at(0) + this.length
      if (leaves > now + millis.grain) break
      if (this.debt > 0 && this.skip(now - leaves)) continue
      if (this.closed) this.roomSince = Math.max(this.roomSince, leaves)
      ring.shift()
      if (this.debt > 0) this.pay(leaves)
    }
    if (this.debt > 0) this.pay(now)
    if (this.hints !== undefined) {
      this.roomSince = Math.max(this.roomSince, this.hints.pass(now, Math.min(1, this.limit)))
    }
  }

  /** Whole lengths that went by while a debt was paid: all that counts is as it was, that much later. */
  private skip(behind: number): boolean {
    const { length, ring } = this
    const rounds = Math.min(Math.floor(behind / length), Math.floor(this.debt / ring.sum))
    if (!(rounds >= 1) || ring.sum + this.pending > this.limit + this.rest) return false
    ring.delay(rounds * length)
    this.debt -= rounds * ring.sum
    this.roomSince = Math.max(this.roomSince, ring.newest)
    return true
  }

  private pay(at: number): void {
    const part = Math.min(this.debt, this.limit - this.ring.sum - this.pending)
    if (part <= 0) return
    this.debt = this.debt - part <= this.rest ? 0 : this.debt - part
    this.ring.push(at, part)
  }
}
