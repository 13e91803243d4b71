/**
 * Where the time of one thing goes, without gaps and overlaps: it runs, or it waits for what counts most of all that it waits for then.
 *
 *     waits    ├─────── gate ───────┤
 *                     ├──────── body ────────┤
 *     runs                                   ├──┤
 *     times     gate  │     body             │run│ other …
 *
 * Instants are milliseconds of one clock, and never go back.
 */
import type { Wait } from "@fairlead/core"

/**
 * What is waited for, innermost first: of several waits at once the first in this row counts. `other`, too, is what has not said what it
 * waits for.
 */
export const kinds = [
  "body",
  "firstByte",
  "tls",
  "connect",
  "dns",
  "pool",
  "batch",
  "shared",
  "queue",
  "window",
  "gate",
  "child",
  "sleep",
  "other"
] as const satisfies ReadonlyArray<Wait.Kind>

/** What it is about at any time. */
export const states: ReadonlyArray<"running" | Wait.Kind> = ["running", ...kinds]

/** Milliseconds in each of `states`. */
export type Times = Array<number>

/** Where time that is spent running stands in `Times`. */
export const runs = 0

/** Where those of each kind stand. */
export const indexOf = Object.fromEntries(kinds.map((kind, i) => [kind, i + 1])) as Readonly<Record<Wait.Kind, number>>

const { other } = indexOf

/** Copied from a literal, with a fraction in it, so that V8 keeps plain numbers from the start: a tenth of what `fill` takes. */
export const zeros = (): Times => {
  const times = [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  times[runs] = 0
  return times
}

/** Adds those of one to those of another. */
export const add = (to: Times, times: Times): void => {
  for (let i = 0; i < times.length; i++) to[i]! += times[i]!
}

export const sum = (times: Times): number => times.reduce((total, each) => total + each, 0)

export class Meter {
  /** Invariant: their sum is `since` − the instant at which it began. */
  readonly times = zeros()
  /** Up to when they are known. */
  since: number
  running = false
  /** Bit i is set while a wait of kind i goes on. */
  private mask = 0
  /** How many beyond the first of each kind go on; most never have a second. */
  private more: Array<number> | undefined = undefined

  constructor(now: number) {
    this.since = now
  }

  /** What goes on: `runs`, or the index of a kind. */
  get state(): number {
    if (this.running) return runs
    const { mask } = this
    return mask === 0 ? other : 31 - Math.clz32(mask & -mask)
  }

  /** Brings the times up to `now`. */
  charge(now: number): void {
    this.times[this.state]! += now - this.since
    this.since = now
  }

  run(now: number): void {
    this.charge(now)
    this.running = true
  }

  rest(now: number): void {
    this.charge(now)
    this.running = false
  }

  /** A wait begins. Where it runs meanwhile, `now` may be any. */
  begin(index: number, now: number): void {
    if (!this.running) this.charge(now)
    this.raise(index)
  }

  /** It ends; likewise. */
  end(index: number, now: number): void {
    if (!this.running) this.charge(now)
    this.lower(index)
  }

  /** It goes on as another, since it was looked at last. */
  rename(from: number, to: number): void {
    this.lower(from)
    this.raise(to)
  }

  private raise(index: number): void {
    const bit = 1 << index
    if ((this.mask & bit) === 0) this.mask |= bit
    else {
      this.more ??= zeros()
      this.more[index]!++
    }
  }

  private lower(index: number): void {
    if (this.more === undefined || this.more[index] === 0) this.mask &= ~(1 << index)
    else this.more[index]!--
  }
}
