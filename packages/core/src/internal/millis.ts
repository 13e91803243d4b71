/**
 * Durations as milliseconds. Those written as strings are read once: they are literals of the program, and reading one
 * costs as much as the rest of a deadline that is met at once.
 */
import { Duration } from "effect"

/** The clock's grain, a nanosecond: an instant less than that away has come. Sums of floats end up there. */
export const grain = 1e-6

const read = new Map<string, number>()

export const from = (input: Duration.Input): number => {
  // Effect takes it for no time at all.
  if (Number.isNaN(input)) throw new RangeError("Expected a duration, got NaN")
  if (typeof input !== "string") return Duration.toMillis(Duration.fromInputUnsafe(input))
  let millis = read.get(input)
  if (millis === undefined) {
    millis = Duration.toMillis(Duration.fromInputUnsafe(input))
    // A program has few of them. One that makes them up gains nothing here, and must not pile them up.
    if (read.size < 256) read.set(input, millis)
  }
  return millis
}

/** For people: whole milliseconds. What is below one is nobody's concern, and `150858ns` no one's unit. */
export const format = (duration: Duration.Duration): string => {
  const whole = Math.round(Duration.toMillis(duration))
  return whole === 0 ? "0ms" : Duration.format(Duration.millis(whole))
}
