/**
 * How much to shed while the event loop is overloaded, by how late its timers are. Pure.
 *
 *     shed from   8 ──late──▶ 7 ──late──▶ 6 …      one step for each look
 *                 8 ◀──calm── 7 ◀──calm── 6        one step for several calm looks in a row
 *
 * Not by utilization alone: that is 1 for a loop that has just enough to do. It only says whether there is room to come back. Timers are
 * in time again as soon as something is shed; were that enough, what was shed would come back at once, too.
 *
 * A step back that turns out wrong makes the next ones take twice as many calm looks, up to `most`.
 */
import { Priority } from "@fairlead/core"

/** What was seen since the last look. */
export interface Measure {
  /** How late timers were, in milliseconds: the 90th percentile, which one long callback alone does not raise. */
  readonly delayMillis: number
  /** 0 to 1. */
  readonly utilization: number
}

export interface Marks {
  /** Later than this: shed more. */
  readonly aboveMillis: number
  /** Not later than this, and with room on the loop: shed less. Invariant: belowMillis <= aboveMillis */
  readonly belowMillis: number
}

export interface State {
  /** This urgency and less urgent ones are shed; `none`: nobody is. */
  readonly urgency: number
  /** Calm looks in a row. */
  readonly calm: number
  /** How many of them it takes to shed less. */
  readonly patience: number
  /** Looks since it last shed less. */
  readonly sinceLess: number
}

export const none = Priority.levels
/** A loop busier than this has no room for what was shed. */
export const room = 0.9
export const least = 4
export const most = 64
/** Overload within so many looks after a step back was that step's doing. */
export const blamed = 10

export const initial: State = { urgency: none, calm: 0, patience: least, sinceLess: most }

/** The most urgent is never shed. */
const first = 1

export const decide = (state: State, { delayMillis, utilization }: Measure, marks: Marks): State => {
  const sinceLess = state.sinceLess + 1
  if (delayMillis > marks.aboveMillis) {
    const patience = sinceLess <= blamed ? Math.min(most, state.patience * 2) : state.patience
    return { urgency: Math.max(first, state.urgency - 1), calm: 0, patience, sinceLess: most }
  }
  if (state.urgency === none) return { ...state, sinceLess, patience: sinceLess > most ? least : state.patience }
  const calm = delayMillis <= marks.belowMillis && utilization < room ? state.calm + 1 : 0
  return calm < state.patience
    ? { ...state, calm, sinceLess }
    : { ...state, urgency: state.urgency + 1, calm: 0, sinceLess: 0 }
}
