/**
 * When a call is slow enough for a second attempt, and whether there may be one. It reads no clock.
 *
 *     took   ▁▂▅█▇▅▃▂▁ ▁▁     ▁
 *            ├────────┤ p95: whoever is slower gets a second attempt, if there is credit for one
 *
 * Learnt from first attempts that succeeded. One that was overtaken counts as having taken as long as it was given, which is
 * more than the quantile: so the slow stay where they are, and the quantile does not sink by being used. Attempts that overtook
 * do not count, for they are seen only where they were fast.
 *
 * After the p95 one call in twenty is a candidate by definition, and when the other side gets slower all are, until that is
 * learnt. So what bounds the load is credit: each call earns `ratio` of a hedge, and a few are kept.
 *
 * Hedged requests are from "The Tail at Scale" (Dean, Barroso, 2013); a bound on them as a part of the calls is in Finagle's
 * backup requests and in gRPC's hedging (A6).
 */
import { one } from "./budget.ts"
import { Histogram } from "./histogram.ts"

export interface Terms {
  /** After so many milliseconds; or when slower than this part of the calls, between 0 and 1. */
  readonly afterMillis: number | undefined
  readonly quantile: number
  readonly minMillis: number
  readonly maxMillis: number
  readonly ratio: number
}

/** Fewer calls than this say nothing of their slowest. */
const enough = 100
/** After so many the quantile is looked up again. */
const every = 16
/** So many hedges may follow one another at once when there were none for a while. */
const atOnce = 10

export class Hedging {
  private readonly terms: Terms
  private readonly times = new Histogram()
  private seen = 0
  private credit = 0
  /** After how long a call is slow, in milliseconds; `undefined` while too little was seen. */
  afterMillis: number | undefined

  constructor(terms: Terms) {
    this.terms = terms
    this.afterMillis = terms.afterMillis
  }

  /** Whether it has to be told how long attempts take. */
  get learns(): boolean {
    return this.terms.afterMillis === undefined
  }

  /** A call begins. */
  called(): void {
    this.credit = Math.min(atOnce, this.credit + this.terms.ratio)
  }

  /** A first attempt has succeeded after so many milliseconds, or would have taken longer. */
  took(millis: number): void {
    this.times.add(millis)
    if (++this.seen % every !== 0 || this.seen < enough) return
    const { maxMillis, minMillis, quantile } = this.terms
    const learnt = this.times.wellWithin(this.times.total * quantile)
    this.afterMillis = Math.min(maxMillis, Math.max(minMillis, learnt))
  }

  /** Whether there may be one more; then it is spent. */
  take(): boolean {
    if (this.credit < one) return false
    this.credit--
    return true
  }

  /** One has come to nothing. */
  giveBack(): void {
    this.credit = Math.min(atOnce, this.credit + 1)
  }
}
