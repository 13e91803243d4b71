/** What is done with the figures of several rounds, and in which order a round measures. Pure. */

/** A figure over rounds: the middle one, and between what the middle half lies. */
export interface Summary {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** The value below which the share `q` of `values` lies, interpolated between neighbours. */
export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const place = (sorted.length - 1) * q
  const below = sorted[Math.floor(place)] ?? Number.NaN
  const above = sorted[Math.ceil(place)] ?? Number.NaN
  return below + (above - below) * (place - Math.floor(place))
}

export const summarize = (values: ReadonlyArray<number>): Summary => ({
  median: quantile(values, 0.5),
  low: quantile(values, 0.25),
  high: quantile(values, 0.75)
})

/**
 * How many times as fast `ours` is as `theirs`, both in time for each operation, round by round. Ratios first, then the
 * median: what slows the machine for a minute slows both sides of that round, and falls out.
 */
export const timesAsFast = (ours: ReadonlyArray<number>, theirs: ReadonlyArray<number>): Summary =>
  summarize(ours.map((micros, round) => (theirs[round] ?? Number.NaN) / micros))

/** How many times as much `ours` takes as `theirs`, round by round. */
export const timesAsMuch = (ours: ReadonlyArray<number>, theirs: ReadonlyArray<number>): Summary =>
  timesAsFast(theirs, ours)

/**
 * The order in which round `round` measures: two rounds start with the same contender, one forwards and one backwards,
 * and the next two start one later, so that nobody always follows the same neighbour or always comes last.
 */
export const order = <A>(contenders: ReadonlyArray<A>, round: number): ReadonlyArray<A> => {
  const start = Math.floor(round / 2) % Math.max(1, contenders.length)
  const turned = [...contenders.slice(start), ...contenders.slice(0, start)]
  return round % 2 === 0 ? turned : turned.toReversed()
}
