// Jobs of cpu-bound.ts. A worker imports this module, and finds a job among its exports; so it starts nothing by itself.
import * as CpuJob from "@fairlead/platform-node/CpuJob"
import { Schema } from "effect"

export class TooMany extends Schema.TaggedError<TooMany>()("TooMany", { most: Schema.Number }) {}

/** How many primes there are below a number. */
export const count = (below: number): number => {
  let primes = 0
  for (let n = 2; n < below; n++) {
    let divisor = 2
    while (divisor * divisor <= n && n % divisor !== 0) divisor++
    if (divisor * divisor > n) primes++
  }
  return primes
}

export const primes = CpuJob.make(
  import.meta.url,
  "primes",
  { input: Schema.Number, output: Schema.Number, error: TooMany },
  (below) => {
    if (below > 1e9) throw new TooMany({ most: 1e9 })
    return count(below)
  }
)

export const forever = CpuJob.make(import.meta.url, "forever", { input: Schema.Void, output: Schema.Void }, () => {
  for (;;);
})
