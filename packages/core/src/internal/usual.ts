/**
 * How long something usually takes, at the most: a mean and a mean deviation, as TCP does it for its timeout (RFC 6298).
 * Pure.
 */
export interface Usual {
  readonly seen: number
  /** In milliseconds, both. */
  readonly mean: number
  readonly deviation: number
}

export const start: Usual = { seen: 0, mean: 0, deviation: 0 }

/** Fewer say nothing. */
const enough = 8

export const observe = ({ deviation, mean, seen }: Usual, millis: number): Usual =>
  seen === 0
    ? { seen: 1, mean: millis, deviation: millis / 2 }
    : {
        seen: seen + 1,
        mean: mean + (millis - mean) / 8,
        deviation: deviation + (Math.abs(millis - mean) - deviation) / 4
      }

/** What most of them take, in milliseconds; 0 until enough were seen. */
export const needed = (self: Usual): number => (self.seen < enough ? 0 : self.mean + 4 * self.deviation)
