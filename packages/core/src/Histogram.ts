/**
 * How long things took, lately: 768 bytes, however many they are. A time is known to within a quarter; half of the weight is that of
 * the last 512.
 */
import * as engine from "./internal/histogram.ts"

export interface Histogram {
  add(millis: number): void
  /** Within how many milliseconds a part of them ended (0.5: half); `undefined` where there are none. */
  quantile(part: number): number | undefined
}

/** One without times. */
export const make = (): Histogram => new Impl()

class Impl implements Histogram {
  private readonly times = new engine.Histogram()

  add(millis: number): void {
    this.times.add(millis)
  }

  quantile(part: number): number | undefined {
    const { total } = this.times
    return total === 0 ? undefined : this.times.within(part * total)
  }
}
