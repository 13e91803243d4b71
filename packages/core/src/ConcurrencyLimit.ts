/**
 * How many at once, found out instead of guessed.
 *
 *     every end ──► Sample { now, latencyMillis, inFlight, verdict } ──► step(state, sample) ──► State { limit }
 *
 * A `ConcurrencyLimit` only decides; permits and waiting are a `Gate`'s. It is a value: `step` reads no clock, knows no
 * chance and changes nothing, so the same samples give the same limits.
 *
 * All of them stay within `min` and `max`, and do not grow while less runs than they allow: what was not tried is not
 * known. They say how many run at once, not how many start per time; that is a `RateWindow`'s.
 */
import type { Duration } from "effect"
import * as latency from "./internal/latency.ts"
import * as millis from "./internal/millis.ts"

/**
 * What an end says about the other side: it took the work; it did not answer before a deadline, which may be its doing or
 * that of the line before it; it had too much of it; or nothing.
 */
export type Verdict = "ok" | "late" | "overload" | "ignore"

/** One end of work that held a permit. */
export interface Sample {
  /** When it ended, in milliseconds of a monotonic clock. */
  readonly now: number
  /** How long it held its permit. */
  readonly latencyMillis: number
  /** How many held one when it ended, itself among them. */
  readonly inFlight: number
  /** `overload` cuts the limit, `ignore` changes nothing; what `late` does, each limit says. */
  readonly verdict: Verdict
}

/** What a limit remembers; plain data. */
export interface State {
  /** How many may run at once; only whole permits are given out. Never below 1. */
  readonly limit: number
}

export interface ConcurrencyLimit<S extends State = State> {
  readonly name: string
  readonly min: number
  readonly max: number
  readonly initial: S
  step(state: S, sample: Sample): S
}

export interface Options {
  /** The least there ever is. Default: 1. */
  readonly min?: number | undefined
  /** The most there ever is: what the process, not the other side, can bear. */
  readonly max: number
  /**
   * Where it begins; it doubles with every round of calls until it meets resistance. Default: `min` for `aimd`, and 20 or
   * the bound nearest to it for those that go by latency, which learn the more the more calls end.
   */
  readonly initial?: number | undefined
}

/** As people write it: `gradient 2–200`. */
export const format = (self: ConcurrencyLimit): string =>
  `${self.name} ${self.min === self.max ? self.min : `${self.min}–${self.max}`}`

/** Always `limit`. */
export const fixed = (limit: number): ConcurrencyLimit => {
  whole("limit", limit)
  return { name: "fixed", min: limit, max: limit, initial: { limit }, step: (state) => state }
}

export interface AimdOptions extends Options {
  /** How much it grows in a round, which is as many good ends as the limit is. Default: 1. */
  readonly increase?: number | undefined
  /** What is left of the limit after a cut, above 0 and below 1. Default: 0.9. */
  readonly backoff?: number | undefined
  /** An end as late as this counts as `overload`, whatever its verdict. Default: none does. */
  readonly slow?: Duration.Input | undefined
}

export interface AimdState extends State {
  /** Work that began before this knows nothing of the last cut; -Infinity before the first. */
  readonly cutAt: number
}

/**
 * Grows by `increase` a round, and is cut to `backoff` of itself on `overload`: once, however many of those that ran
 * together say so. Before the first cut it doubles every round, and that cut halves it.
 *
 * For an other side that says when it has too much (429, 503, a timeout). One that only gets slower never says so. It does
 * not know how long calls take, so `late` is `overload`, however little time the call had.
 *
 * Additive increase and multiplicative decrease let several who share one capacity end up with equal parts (Chiu & Jain
 * 1989); doubling at first is TCP's slow start (Jacobson 1988).
 */
export const aimd = (options: AimdOptions): ConcurrencyLimit<AimdState> => {
  const { initial, max, min } = bounds(options)
  const increase = options.increase ?? 1
  const backoff = part("backoff", options.backoff ?? 0.9)
  const slow = options.slow === undefined ? Infinity : millis.from(options.slow)
  if (!(increase > 0 && Number.isFinite(increase)))
    throw new RangeError(`Expected an increase above 0, got ${increase}`)
  if (!(slow > 0)) throw new RangeError(`Expected a slow latency above 0, got ${slow}`)
  return {
    name: "aimd",
    min,
    max,
    initial: { limit: initial, cutAt: -Infinity },
    step(state, sample) {
      if (sample.verdict === "ignore" || began(sample) < state.cutAt) return state
      const rising = state.cutAt === -Infinity
      if (sample.verdict !== "ok" || sample.latencyMillis >= slow) {
        return { limit: Math.max(min, state.limit * (rising ? 0.5 : backoff)), cutAt: sample.now }
      }
      if (!latency.used(state.limit, sample.inFlight)) return state
      return { limit: Math.min(max, state.limit + (rising ? 1 : increase / state.limit)), cutAt: state.cutAt }
    }
  }
}

export interface LatencyOptions extends Options {
  /** Which part of what is let in may queue at the other side, above 0 and below 1. Default: 0.1. */
  readonly headroom?: number | undefined
}

/** What `vegas` and `gradient` remember. */
export type LatencyState = latency.Watch

/**
 * Lets a few calls queue at the other side, so that it is never idle, and no more: between half of `headroom` and the
 * whole of it (one call at least). How many queue follows from how much longer calls take than they would without a
 * queue: `limit · (1 − base / latency)`. Outside of that it is set, in one step, to where their number would be right.
 * What queues is what certainly does, by the standard error. A call that is `late` counts with what it lasted if that is no
 * less than the base, and else not at all; where most are `late`, the limit halves.
 *
 * For an other side that gets slower with load.
 *
 * After TCP Vegas (Brakmo & Peterson 1995) and the limit of that name in Netflix's concurrency-limits.
 */
export const vegas = (options: LatencyOptions): ConcurrencyLimit<LatencyState> => {
  const headroom = part("headroom", options.headroom ?? 0.1)
  return byLatency("vegas", options, (held, base, latency, error) => {
    const most = Math.max(1, headroom * held)
    const queued = held * (1 - base / Math.max(base, latency - error))
    return queued > most || queued < most / 2 ? held - queued + 0.75 * most : held
  })
}

/**
 * Follows the gradient: calls that take twice as long as without a queue mean that twice as many run as should. So the
 * next limit is `limit · base / latency`, half of the limit at the least, and `headroom` on top, by which it grows where
 * there is no queue. There is no band in which it rests: it follows sooner than `vegas`, and sways a little. Latency counts
 * as what it is at the least, by its standard error: where calls take very different times, it rests a little higher in
 * place of letting the other side stand idle. What is `late` counts as for `vegas`.
 *
 * For an other side that gets slower with load.
 *
 * After Gradient2 in Netflix's concurrency-limits, whose base is a long mean of all latencies; here it is measured as
 * it is for `vegas`.
 */
export const gradient = (options: LatencyOptions): ConcurrencyLimit<LatencyState> => {
  const headroom = part("headroom", options.headroom ?? 0.1)
  return byLatency("gradient", options, (held, base, latency, error) => {
    const slope = Math.min(1, Math.max(0.5, base / Math.max(base, latency - error)))
    return held * slope + Math.max(0.5, headroom * held)
  })
}

const byLatency = (name: string, options: Options, law: latency.Law): ConcurrencyLimit<LatencyState> => {
  const { initial, max, min } = bounds(options, many)
  const terms = { min, max, law }
  return {
    name,
    min,
    max,
    initial: latency.start(initial),
    step: (state, sample) => latency.step(terms, state, sample)
  }
}

const began = (sample: Sample): number => sample.now - sample.latencyMillis

/** Where those begin that go by latency. */
const many = 20

const bounds = ({ initial: given, max, min = 1 }: Options, usual = 1) => {
  whole("min", min)
  whole("max", max)
  if (max < min) throw new RangeError(`Expected a max of at least the min of ${min}, got ${max}`)
  const initial = given ?? Math.min(max, Math.max(min, usual))
  if (!(initial >= min && initial <= max)) {
    throw new RangeError(`Expected an initial limit from ${min} to ${max}, got ${initial}`)
  }
  return { initial, max, min }
}

const whole = (what: string, value: number): void => {
  if (!(Number.isInteger(value) && value >= 1)) {
    throw new RangeError(`Expected a whole ${what} of at least 1, got ${value}`)
  }
}

const part = (what: string, value: number): number => {
  if (!(value > 0 && value < 1)) throw new RangeError(`Expected a ${what} above 0 and below 1, got ${value}`)
  return value
}
