/**
 * Durations as milliseconds. Those written as strings are read once: they are literals of the program, and reading one
 * costs as much as the rest of a deadline that is met at once.
 */
import { Duration, Option } from "effect"

/** The clock's grain, a nanosecond: an instant less than that away has come. Sums of floats end up there. */
export const grain = 1e-6

const read = new Map<string, number>()

export const from = (input: Duration.Input): number => {
  // As they are, and without a Duration each: a bulk call has one for every item. (Not -0.)
  if (Number.isInteger(input)) return (input as number) + 0
  // Effect takes it for no time at all.
  if (Number.isNaN(input)) throw new RangeError("Expected a duration, got NaN")
  if (typeof input !== "string") return Duration.toMillis(parse(input))
  let millis = read.get(input)
  if (millis === undefined) {
    millis = Duration.toMillis(parse(input))
    // A program has few of them. One that makes them up gains nothing here, and must not pile them up.
    if (read.size < 256) read.set(input, millis)
  }
  return millis
}

const parse = (input: Duration.Input): Duration.Duration => {
  const duration = Duration.fromInput(input)
  if (Option.isSome(duration)) return duration.value
  throw new RangeError(`Expected a duration such as "2 seconds" or 200 (milliseconds), got ${JSON.stringify(input)}`)
}

/** For people: whole milliseconds. What is below one is nobody's concern, and `150858ns` no one's unit. */
export const format = (duration: Duration.Duration): string => {
  const whole = Math.round(Duration.toMillis(duration))
  return whole === 0 ? "0ms" : Duration.format(Duration.millis(whole))
}
