/**
 * How fast a line drains, and the advice that follows from it. Pure.
 *
 * Nothing is counted on the hot path but the starts themselves; the rate is read off the counter when somebody asks
 * (a refusal, a snapshot), as a mean that forgets with a time constant of ten seconds.
 */

export interface Rate {
  /** When it was read last, in milliseconds. */
  readonly at: number
  /** The counter then. */
  readonly count: number
  /** Starts per millisecond; 0 until something was seen. */
  readonly perMilli: number
}

const memory = 10_000
/** Readings closer together than this tell nothing. */
const grain = 50

export const start = (at: number, count: number): Rate => ({ at, count, perMilli: 0 })

/** Begins a new stretch, in which the line is not empty, and keeps what was learnt in those before. */
export const resume = (self: Rate, at: number, count: number): Rate => ({ at, count, perMilli: self.perMilli })

/** Reads the counter. */
export const read = (self: Rate, at: number, count: number): Rate => {
  const passed = at - self.at
  if (passed < grain) return self
  const seen = (count - self.count) / passed
  const weight = self.perMilli === 0 ? 1 : 1 - Math.exp(-passed / memory)
  return { at, count, perMilli: self.perMilli + weight * (seen - self.perMilli) }
}

/**
 * After how many milliseconds one who now stands behind `ahead` others is likely to start: as the line drains, and not
 * before `floor`, the earliest that the windows allow. `undefined` when nothing is known. `spread` in [0, 1) moves those
 * who are sent away together apart by up to a quarter, so that they do not come back together.
 */
export const advice = (self: Rate, ahead: number, floor: number, spread: number): number | undefined => {
  const drained = self.perMilli === 0 ? 0 : (ahead + 1) / self.perMilli
  const millis = Math.max(drained, floor)
  return millis === 0 ? undefined : millis * (1 + spread / 4)
}
