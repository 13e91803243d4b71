/**
 * How fast a line drains, and when those who are sent away may come back. Pure.
 *
 * Nothing is counted on the hot path but the starts themselves; the rate is read off the counter when somebody asks
 * (a refusal, a snapshot) and when a long line has come to its end, as a mean that forgets with a time constant of ten
 * seconds.
 *
 * Whoever is sent away is given an appointment, as call centres and theme parks do (a virtual queue):
 *
 *     now ├──── the line drains ────┤ ○  ○  ○  ○  ○ … one at a time, somewhat slower than the line drains
 *                                                 ▲ until: the last appointment given
 *
 * To send them all to the instant at which the line will have drained would bring them all back at once: of a burst of
 * ten times the line nine in ten would be sent away again. So each comes when it can be served, and the whole line is
 * room for what comes irregularly, and beside.
 */

export interface Rate {
  /** When it was read last, or somebody began to wait, in milliseconds. */
  readonly at: number
  /** The counter of starts then. */
  readonly count: number
  /** Starts per millisecond while somebody waited; 0 until something was seen. */
  readonly perMilli: number
  /** For how much of its memory it has seen that, in milliseconds. */
  readonly seenFor: number
  /** Starts per millisecond while nobody waited and nobody was expected: who comes anyway. */
  readonly calm: number
  /** The last appointment given. */
  readonly until: number
}

const memory = 10_000
/** Readings closer together than this tell nothing. */
const grain = 50
/** Fewer starts than this say little about a rate. */
export const enough = 64
/** Fewer than this say nothing even to people. */
export const few = 10
/** How much slower than the line drains they are called back. */
const ease = 1.1
/** How far behind the first that could be given appointments reach, in milliseconds; or as far again as that one is. */
const horizon = 60_000
/** At least this part of the rate is theirs, whoever else comes: the median is to start within 1.5 times of the ideal. */
const theirs = 0.77

export const start = (at: number, count: number): Rate => ({
  at,
  count,
  perMilli: 0,
  seenFor: 0,
  calm: 0,
  until: -Infinity
})

/** Reads the counter, while somebody waits or just when nobody does any more. */
export const read = (self: Rate, at: number, count: number): Rate => {
  const passed = at - self.at
  if (passed < grain) return self
  const seen = (count - self.count) / passed
  const seenFor = Math.min(memory, self.seenFor + passed)
  const perMilli = self.perMilli + Math.min(1, passed / seenFor) * (seen - self.perMilli)
  return { ...self, at, count, perMilli, seenFor }
}

/**
 * Somebody begins to wait. `rested` is what the counter was when the line got empty before: what came since shows who
 * comes anyway, or, if somebody was expected, whether they do.
 */
export const resume = (self: Rate, at: number, count: number, rested: number): Rate => {
  // What was learnt long ago is still the best there is, but gives way to what is seen now.
  const next = { ...self, at, count, seenFor: at - self.at > memory ? 0 : self.seenFor }
  const waited = self.perMilli === 0 ? 0 : (rested - self.count) / self.perMilli
  const calmFor = at - self.at - waited
  if (calmFor < grain) return next
  const seen = (count - rested) / calmFor
  if (self.until <= self.at) {
    return { ...next, calm: self.calm + Math.min(1, calmFor / memory) * (seen - self.calm) }
  }
  // Not even half of those who should have come did: so it will be with the rest of them.
  const expected = self.perMilli / ease
  const missed = calmFor * expected >= enough && seen < expected / 2
  return missed ? { ...next, until: at + Math.max(0, self.until - at) * (seen / expected) } : next
}

/**
 * After how many milliseconds one who is sent away may come back, `undefined` when nothing is known, and the next state.
 *
 * `ahead` stand in the line; before `floor` the windows let none in who stood behind them; over a long time they let no
 * more than `ceiling` start per millisecond (`Infinity` without windows). `spread` in [0, 1) is chance: several gates
 * that send away together must not call back in step.
 */
export const appoint = (
  self: Rate,
  now: number,
  ahead: number,
  floor: number,
  ceiling: number,
  spread: number
): readonly [millis: number | undefined, next: Rate] => {
  const perMilli = self.perMilli === 0 ? ceiling : Math.min(self.perMilli, ceiling)
  // Nothing is known but, at the best, when the windows open.
  if (perMilli === Infinity) return [floor === 0 ? undefined : floor * (1 + spread / 4), self]
  const gap = ease / perMilli / Math.max(1 - self.calm / perMilli, theirs)
  const first = now + Math.max((ahead + 1) / perMilli, floor)
  const last = first + Math.max(horizon, first - now)
  const until = Math.max(first, self.until + gap * (0.5 + spread))
  if (until <= last) return [until - now, { ...self, until }]
  // Beyond that nobody is told to wait: who asks again and again would take up one appointment after the other.
  return [first + spread * (last - first) - now, { ...self, until: last }]
}

/**
 * After how many milliseconds the `items`-th from now is likely to start, as the line drains; `undefined` where fewer than `least` starts
 * were seen of it lately.
 */
export const drain = (self: Rate, items: number, least = enough): number | undefined =>
  self.perMilli * self.seenFor < least ? undefined : items / self.perMilli
