/**
 * What the time that calls take says about a limit: how long they take now, against how long they take without a queue
 * at the other side (the *base*). Pure; `vegas` and `gradient` are laws on top of it.
 *
 *     window      window      window      probe       window
 *     ├─settle─┼──mean──┤ law ├───…        ├─ 0.7 of the limit ─┤ base ├───…
 *
 * Ends are taken together in windows, since one latency tells nothing. After each change of the limit one latency passes
 * first: until then what ends began under the old one. A window is as short as its mean allows: it closes when the
 * standard error is small, or when it has waited long enough for that. Outliers count as twice the usual latency.
 *
 * The base is learnt from live traffic, where there is no queue: while half of the limit or less is in use, at the least
 * limit, and, when neither comes, in a *probe*: for one window the limit is lowered to 0.7 of itself. A probe comes every
 * hundred latencies, soon again when it has found the base to be wrong, and when the limit has fallen by a third since
 * the last one: either the capacity is less, then the base is confirmed, or the calls themselves take longer, then no
 * fall would help. A probe in which calls get faster in proportion has lowered a queue and found no base: it raises none.
 * A base that was learnt under a queue all the same gets right within a few probes, each from a smaller queue.
 *
 * The least latency that was ever seen would not do for a base: a minimum over noise sinks for ever. TCP Vegas (Brakmo &
 * Peterson 1995) has one for its path; that others must be measured anew in a lull made on purpose is from BBR (Cardwell
 * et al. 2016) and Envoy's adaptive concurrency.
 */
import type { Sample, State } from "../ConcurrencyLimit.ts"

export interface Watch extends State {
  /** The limit outside of probes: `limit` is this, or `depth` of it. */
  readonly held: number
  readonly probing: boolean
  /** Whether it has never had to give way: then it doubles. */
  readonly rising: boolean
  /** How long a call takes without a queue; `undefined` until the first window has closed. */
  readonly base: number | undefined
  /** How many probes the base is the mean of. */
  readonly probes: number
  /** When to probe again. */
  readonly probeAt: number
  /** What `held` was when the base was measured. */
  readonly heldThen: number
  /** Work that began before this knows nothing of the last cut. */
  readonly cutAt: number
  /** Ends before this do not count; -Infinity: from the first one on. */
  readonly from: number
  /** What has ended in this window: how many, their latencies, the squares of these, and the most in flight. */
  readonly count: number
  readonly sum: number
  readonly squares: number
  readonly peak: number
  /** The mean of the window before, and the limit in it. */
  readonly usual: number | undefined
  readonly usualAt: number
  /** The variance of latencies lately, as part of the square of their mean. */
  readonly spread: number
}

/** What a window says of the limit: the next one, by the mean of its latencies and the standard error of that. */
export type Law = (held: number, base: number, latency: number, error: number) => number

export interface Terms {
  readonly min: number
  readonly max: number
  readonly law: Law
}

/** What a window waits for: so many ends, and so small an error (as part of the mean) or so many more ends … */
const enough = 10
const precise = 0.04
const most = { window: 60, probe: 100 }
/** … but no longer than for so many latencies, if there are a few ends by then. */
const patience = 8
const few = 5
/** No window is closed before all that began with it have had time to end. */
const shortest = 1

const depth = 0.7
/** Latencies between probes, millis at least; and as long as the base is not sure. */
const spaced = 100
const interval = 1000
const soon = 5
/** A limit that has fallen to this part has its base measured again. */
const fallen = 0.7
/** How many probes a base needs to be sure, and how many it is the mean of where latencies vary. */
const sure = 3
const memory = 5

/** A microsecond: no call takes no time at all. */
const least = 1e-3

/** Whether so many in flight show that the limit holds somebody up. */
export const used = (limit: number, inFlight: number): boolean => inFlight >= 0.8 * Math.floor(limit)

const clean = { count: 0, sum: 0, squares: 0, peak: 0 }

export const start = (limit: number): Watch => ({
  limit,
  held: limit,
  probing: false,
  rising: true,
  base: undefined,
  probes: 0,
  probeAt: -Infinity,
  heldThen: limit,
  cutAt: -Infinity,
  from: -Infinity,
  ...clean,
  usual: undefined,
  usualAt: limit,
  spread: 0
})

export const step = (terms: Terms, state: Watch, sample: Sample): Watch => {
  const { now, verdict } = sample
  if (verdict === "ignore" || !Number.isFinite(sample.latencyMillis)) return state
  if (verdict === "overload") return now - sample.latencyMillis < state.cutAt ? state : cut(terms, state, now)
  if (now < state.from) return state
  const latency = Math.min(Math.max(least, sample.latencyMillis), 2 * (state.usual ?? Infinity))
  const count = state.count + 1
  const sum = state.sum + latency
  const squares = state.squares + latency * latency
  const peak = Math.max(state.peak, sample.inFlight)
  const from = state.from === -Infinity ? now : state.from
  const mean = sum / count
  // A few that happen to be alike say little about how alike all are.
  const variance = Math.max(0, squares / (count * mean * mean) - 1)
  const error = mean * Math.sqrt(Math.max(variance, state.spread) / count)
  const passed = (now - from) / (state.usual ?? mean)
  const clear = count >= enough && (error <= precise * mean || count >= (state.probing ? most.probe : most.window))
  if (passed >= shortest && (clear || (passed >= patience && count >= few))) {
    const spread = state.spread + (variance - state.spread) / 5
    return close(terms, { ...state, spread }, now, mean, error, peak)
  }
  return { ...state, from, count, sum, squares, peak }
}

/** The other side says that it has too much. */
const cut = ({ min }: Terms, state: Watch, now: number): Watch => {
  const held = Math.max(min, 0.9 * state.held)
  const limit = state.probing ? Math.max(min, depth * held) : held
  return { ...state, ...clean, limit, held, rising: false, cutAt: now, from: now + (state.usual ?? 0) }
}

const close = (terms: Terms, state: Watch, now: number, mean: number, error: number, peak: number): Watch => {
  const fresh = { ...state, ...clean, from: now + mean, usual: mean, usualAt: state.limit }
  const probeAt = now + Math.max(interval, spaced * mean)
  if (state.base === undefined) return next(terms, { ...fresh, base: mean, probes: 1 })
  if (state.probing) {
    // Lowered in proportion, or still growing: that is a queue, and nobody knows yet how long calls take without.
    const proportional = (state.usual! * state.limit) / state.usualAt
    if (mean > state.base && (mean < 1.15 * proportional || mean > 1.2 * state.usual!)) {
      return { ...fresh, limit: state.held, probing: false, probeAt: now + soon * mean, heldThen: state.held }
    }
    const wrong = Math.abs(mean - state.base) > 3 * error + 0.02 * state.base
    const probes = wrong ? 1 : Math.min(state.probes + 1, memory)
    const vague = probes < (error > precise * mean ? memory : sure)
    return {
      ...fresh,
      limit: state.held,
      probing: false,
      base: state.base + (mean - state.base) / probes,
      probes,
      probeAt: vague ? now + soon * mean : probeAt,
      heldThen: state.held
    }
  }
  const { held } = state
  const light = peak <= held / 2 || held <= terms.min
  // What is this much faster is no chance: the calls themselves have become faster.
  const faster = mean < state.base - 5 * error
  const base = faster ? mean : light ? state.base + (mean - state.base) / 10 : state.base
  const learnt = faster
    ? { ...fresh, base, probes: 1, probeAt: now + soon * mean }
    : light
      ? { ...fresh, base, probeAt, heldThen: held }
      : fresh
  const aim = Math.min(terms.max, Math.max(terms.min, terms.law(held, base, mean, error)))
  if (aim < held) return next(terms, { ...learnt, held: aim, rising: false })
  if (!used(held, peak)) return next(terms, learnt)
  return next(terms, { ...learnt, held: state.rising && aim > held ? Math.min(terms.max, 2 * held) : aim })
}

/** The next window, or a probe if one is due. */
const next = ({ min }: Terms, state: Watch): Watch => {
  const { held } = state
  const due = state.from - state.usual! >= state.probeAt || held < fallen * state.heldThen
  return due && held > min ? { ...state, limit: Math.max(min, depth * held), probing: true } : { ...state, limit: held }
}
