/**
 * What the time that calls take says about a limit: how long they take now, against how long they take without a queue
 * at the other side (the *base*). Pure; `vegas` and `gradient` are laws on top of it.
 *
 *     rise: a round of calls, twice the limit, …      ── a queue? ──►  probe  ── yes ──►  window, law, window, law, …
 *           ▲                                                            │                       │          ▲
 *           └──────────────────────────── no ────────────────────────────┘                       └── probe ─┘
 *
 * Ends are taken together in windows, since one latency tells nothing. After each change of the limit as many ends pass
 * uncounted as were in flight: they began under the old one. A window is as short as its mean allows: it closes when the
 * standard error is small, or when it has waited long enough for that. Outliers count as twice the usual latency.
 *
 * While it rises, a window is one round of calls, so that growth hangs on how many have ended and not on time; only what
 * is twice the standard error off is taken for a queue, and a probe has to confirm it.
 *
 * The base is learnt from live traffic, where there is no queue: while half of the limit or less is in use, at the least
 * limit, in the first rounds, and, when none of these comes, in a *probe*: for one window the limit is lowered. A base
 * is the mean of several, each by the number of its ends; one that is certainly wrong is replaced. A probe comes every
 * hundred latencies; sooner while the base is not sure, for a quarter of the time at the most; and when the limit has
 * fallen by a third since the last one: either the capacity is less, then the base is confirmed, or the calls themselves
 * take longer, then no fall would help.
 *
 * A probe lowers the limit to 0.7 of itself. One in which calls get faster in proportion has lowered a queue and found no
 * base: it raises none, and the next goes deeper, as does the one that has to confirm the first queue. In a deep one
 * what began before it does not count, for it waited in the queue that the probe is to get rid of.
 *
 * A call that was cut by its deadline (`late`) took no less than it lasted. One that lasted less than the base says nothing:
 * it stood in line for too long. One that lasted longer is one more latency, so that one of fifty moves nothing, and as
 * many as a queue would cut do. Where most of a window are such, their mean means nothing: nothing is learnt from it, and the
 * limit halves. At the least limit that cannot be the doing of a queue of ours, so all begins anew.
 *
 * The least latency that was ever seen would not do for a base: a minimum over noise sinks for ever. TCP Vegas (Brakmo &
 * Peterson 1995) has one for its path; that others must be measured anew in a lull made on purpose is from BBR (Cardwell
 * et al. 2016) and Envoy's adaptive concurrency. Rounds that double are TCP's slow start (Jacobson 1988).
 */
import type { Sample, State } from "../ConcurrencyLimit.ts"

export interface Watch extends State {
  /** The limit outside of probes: `limit` is this, or `depth` of it. */
  readonly held: number
  readonly probing: boolean
  /** Whether no queue was ever found: then it doubles. */
  readonly rising: boolean
  /** How long a call takes without a queue; `undefined` until the first window has closed. */
  readonly base: number | undefined
  /** How many ends the base is the mean of. */
  readonly weight: number
  /** When to probe again, and to which part of the limit. */
  readonly probeAt: number
  readonly depth: number
  /** What `held` was when the base was measured. */
  readonly heldThen: number
  /** Work that began before this knows nothing of the last cut. */
  readonly cutAt: number
  /** When the last window closed, and how many ends from then on do not count. */
  readonly closedAt: number
  readonly skip: number
  /** Whether the limit held somebody up in the window before. */
  readonly busy: boolean
  /** What has ended in this window: since when, how many, their latencies, the squares of these, the most in flight … */
  readonly from: number
  readonly count: number
  readonly sum: number
  readonly squares: number
  readonly peak: number
  /** … how many of them ended while the limit was in use, and how many had been cut by their deadline. */
  readonly inUse: number
  readonly late: number
  /** The mean of the window before, and the limit in it. */
  readonly usual: number | undefined
  readonly usualAt: number
  /** The variance of latencies lately, as part of the square of their mean. */
  readonly spread: number
}

/**
 * What a window says of the limit: the next one, by the mean of its latencies, and by how much this may be off beyond what
 * counts as precise.
 */
export type Law = (held: number, base: number, latency: number, error: number) => number

export interface Terms {
  readonly min: number
  readonly max: number
  readonly law: Law
}

/** What a window waits for: so many ends, and so small an error (as part of the mean) or so many more ends … */
const enough = 10
const precise = 0.04
const most = { window: 60, probe: 100, deep: 50 }
/** … but no longer than for so many latencies, if there are a few ends by then. */
const patience = 8
const few = 5
/** No window is closed before what began with it has had time to end: in a deep probe those first, too, that take long. */
const shortest = { window: 1, deep: 3 }

/** To what part of the limit a probe lowers it: as a rule, if the last one met a queue, and if that is the question. */
const depth = { usual: 0.7, queue: 0.5, first: 0.3 }
/** Latencies between probes, millis at least; and, as long as the base is not sure, in latencies and in times of its own. */
const spaced = 100
const interval = 1000
const soon = 5
const share = 3
/** A limit that has fallen to this part has its base measured again. */
const fallen = 0.7
/** A base is the mean of no more ends than this: what is older is forgotten. */
const memory = 400
/** A limit of so many is low enough to begin with: a queue would be short. */
const low = 4
/** How many standard errors are no chance: for a queue while it rises, and for a base that is wrong. */
const queues = 2
const certain = 3

/** A microsecond: no call takes no time at all. */
const least = 1e-3

/** Whether so many in flight show that the limit holds somebody up. */
export const used = (limit: number, inFlight: number): boolean => inFlight >= 0.8 * Math.floor(limit)

const clean = { from: -Infinity, count: 0, sum: 0, squares: 0, peak: 0, inUse: 0, late: 0 }

export const start = (limit: number): Watch => ({
  limit,
  held: limit,
  probing: false,
  rising: true,
  base: undefined,
  weight: 0,
  probeAt: Infinity,
  depth: depth.first,
  heldThen: limit,
  cutAt: -Infinity,
  closedAt: -Infinity,
  skip: Math.floor(limit),
  busy: true,
  ...clean,
  usual: undefined,
  usualAt: limit,
  spread: 0
})

export const step = (terms: Terms, state: Watch, sample: Sample): Watch => {
  const { now, verdict } = sample
  if (verdict === "ignore" || !Number.isFinite(sample.latencyMillis)) return state
  const began = now - sample.latencyMillis
  if (verdict === "overload") return began < state.cutAt ? state : cut(terms, state, sample)
  const { base, rising, usual = Infinity } = state
  const cutOff = verdict === "late"
  // It had not the time that a call takes without a queue: nobody knows whether there is one.
  if (cutOff && base !== undefined && sample.latencyMillis < base) return state
  if (state.skip > 0) return { ...state, skip: state.skip - 1 }
  const deep = state.probing && state.depth < depth.usual
  if (deep && began < state.closedAt) return state
  const late = state.late + (cutOff ? 1 : 0)
  if (cutOff && base === undefined) {
    // How long a call takes is learnt from those that come to an end; at the least limit it waits for them.
    const most = late >= Math.max(enough, state.limit) && late > state.count && state.held > terms.min
    return most ? collapse(terms, state, sample) : { ...state, late }
  }
  const latency = Math.min(Math.max(least, sample.latencyMillis), (rising ? 4 : 2) * usual)
  const count = state.count + 1
  const sum = state.sum + latency
  const squares = state.squares + latency * latency
  const peak = Math.max(state.peak, sample.inFlight)
  const inUse = state.inUse + (used(state.limit, sample.inFlight) ? 1 : 0)
  const from = count === 1 ? now : state.from
  const mean = sum / count
  // A few that happen to be alike say little about how alike all are.
  const variance = Math.max(0, squares / (count * mean * mean) - 1) + (rising ? 0.5 / count : 0)
  const error = mean * Math.sqrt(Math.max(variance, state.spread) / count)
  const passed = (now - from) / mean
  const full = deep ? most.deep : state.probing ? most.probe : most.window
  const round = rising && !state.probing && count >= Math.max(2, state.limit)
  const clear = round || (count >= enough && (error <= precise * mean || count >= full))
  if (passed >= (deep ? shortest.deep : shortest.window) && (clear || (passed >= patience && count >= few))) {
    if (base !== undefined && late > count / 2) return collapse(terms, state, sample)
    const spread = state.spread + (variance - state.spread) * (count / (count + 50))
    return close(terms, { ...state, from, count, peak, inUse, spread }, sample, mean, error)
  }
  return { ...state, from, count, sum, squares, peak, inUse, late }
}

/** The other side says that it has too much. */
const cut = ({ min }: Terms, state: Watch, { inFlight, now }: Sample): Watch => {
  const held = Math.max(min, 0.9 * state.held)
  const limit = state.probing ? Math.max(min, state.depth * held) : held
  // At a low limit that is one call's misfortune: what holds for hundreds is not learnt from it.
  const rising = state.rising && held <= low
  const probeAt = rising ? state.probeAt : Math.min(state.probeAt, now + interval)
  return { ...state, ...clean, limit, held, rising, probeAt, cutAt: now, skip: inFlight }
}

/** Most were cut by their deadline: how long calls take now, nobody knows, but it is longer than there is time for. */
const collapse = ({ min }: Terms, state: Watch, { inFlight, now }: Sample): Watch => {
  // At the least limit no queue of ours can be the cause; so what was learnt of the other side holds no longer.
  if (state.held <= min) return { ...start(min), skip: inFlight }
  const held = Math.max(min, state.held / 2)
  // From there it comes back as it came at first, should the other side be fast again.
  const rising = state.held <= low
  const probeAt = rising ? state.probeAt : Math.min(state.probeAt, now + interval)
  return turn({ ...state, ...clean, held, probing: false, rising, probeAt, closedAt: now, skip: inFlight }, held)
}

/** A window has come to its end. */
const close = (terms: Terms, window: Watch, { inFlight, now }: Sample, mean: number, error: number): Watch => {
  const { base, count, rising, weight } = window
  const busy = window.inUse >= count / 2
  const state: Watch = { ...window, ...clean, busy, closedAt: now, skip: inFlight, usual: mean, usualAt: window.limit }
  if (base === undefined) {
    // The first window is the base of a low limit; of a high one it only says how long calls take there.
    const sound = window.held <= low || window.peak <= window.held / 2
    const probeAt = sound && rising ? Infinity : now
    return next(terms, { ...state, base: mean, weight: sound ? count : 1, probeAt }, now)
  }
  const both = error * Math.sqrt(1 + count / weight)
  if (window.probing) return probed(terms, window, state, now, mean, both)
  const { held } = window
  const light = window.peak <= held / 2 || held <= terms.min
  const later = now + Math.max(interval, spaced * mean)
  let learnt = state
  if (mean < base - 5 * both) {
    // What is this much faster is no chance: the calls themselves have become faster.
    learnt = { ...state, base: mean, weight: count, probeAt: rising ? Infinity : now + soon * mean }
  } else if (light || (rising && mean - base < both)) {
    learnt = { ...state, ...merge(state, mean, count, weight) }
    if (light && !rising) learnt = { ...learnt, probeAt: later, heldThen: held }
  }
  const known = learnt.base!
  if (rising) {
    if (mean - known >= queues * both) return next(terms, { ...learnt, probeAt: now, depth: depth.first }, now)
    const more = Math.min(terms.max, 2 * held)
    const risen = more === terms.max ? { rising: false, probeAt: later } : {}
    // The first window of a rush is half of what was before.
    return next(terms, busy && window.busy ? { ...learnt, ...risen, held: more } : learnt, now)
  }
  const aim = bounded(terms, terms.law(held, known, mean, Math.max(0, both - precise * mean)))
  return next(terms, aim < held || busy ? { ...learnt, held: aim } : learnt, now)
}

/** A probe has come to its end. */
const probed = (terms: Terms, window: Watch, state: Watch, now: number, mean: number, both: number): Watch => {
  const { count, held, weight } = window
  const base = window.base!
  const usual = window.usual!
  // Lowered in proportion, or still growing: that is a queue, and nobody knows yet how long calls take without. Not at the
  // least limit, where the queue is not ours: from little above it a probe lowers next to nothing, and would find one for ever.
  const queue = window.limit > terms.min && mean < (1.15 * usual * window.limit) / window.usualAt
  const again = now + Math.max(soon * mean, share * (now - window.from + mean))
  if (mean > base && (queue || mean > 1.2 * usual)) {
    return turn({ ...state, probing: false, probeAt: again, heldThen: held }, held)
  }
  const wrong = Math.abs(mean - base) > certain * both + 0.02 * base
  // What a deep probe finds to be less was a queue before; it need not be believed any longer.
  const before = wrong ? 0 : window.depth < depth.usual && mean < base ? Math.min(weight, count) : weight
  const learnt = merge(state, mean, count, before)
  const sure = !wrong && (weight + count >= memory || state.spread <= precise * precise * (weight + count))
  const rising = window.rising && usual - learnt.base < queues * both
  // The queue that ended the rise is known by now.
  const found = window.rising && !rising ? bounded(terms, terms.law(held, learnt.base, usual, 0)) : held
  const probeAt = queue ? now : sure ? now + Math.max(interval, spaced * mean) : again
  return turn(
    {
      ...state,
      base: learnt.base,
      weight: queue ? Math.min(learnt.weight, count) : wrong ? count : Math.min(memory, weight + count),
      probing: false,
      rising,
      held: found,
      heldThen: found,
      probeAt: rising ? Infinity : probeAt,
      depth: queue ? depth.queue : depth.usual
    },
    found
  )
}

/** The base as the mean of what it was, of so many ends, and of some more. */
const merge = (state: Watch, mean: number, count: number, before: number) => ({
  base: before === 0 ? mean : state.base! + ((mean - state.base!) * count) / (before + count),
  weight: Math.min(memory, before + count)
})

/** The next window, or a probe if one is due. */
const next = ({ min }: Terms, state: Watch, now: number): Watch => {
  const { held } = state
  const due = now >= state.probeAt || (!state.rising && held < fallen * state.heldThen)
  if (!due || held <= min) return turn({ ...state, probing: false }, held)
  // Who did not need all of the limit shall not wait for a deep probe.
  const to = state.busy ? state.depth : depth.usual
  return turn({ ...state, probing: true, depth: to }, Math.max(min, to * held))
}

/** Another limit: what is in flight now began under the old one. */
const turn = (state: Watch, limit: number): Watch => ({
  ...state,
  limit,
  skip: Math.max(state.skip, Math.floor(limit))
})

const bounded = ({ max, min }: Terms, limit: number): number => Math.min(max, Math.max(min, limit))
