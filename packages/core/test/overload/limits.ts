/** A limit that adapts, at a gate whose upstream's capacity changes. */
import { Gate } from "@fairlead/core"
import type { ConcurrencyLimit } from "@fairlead/core"
import { Effect } from "effect"
import { judge } from "./load.ts"
import { goodput, play } from "./scenario.ts"

/** Slots of the upstream from a second on. */
const capacity = [
  [0, 20],
  [15, 10],
  [30, 20]
] as const
/** How long after each change the limit may take, and for how long it is looked at then. */
const settled = 10
const looked = 5

export interface Found {
  readonly slots: number
  /** The mean of the limit. */
  readonly limit: number
  /** Of the capacity. */
  readonly goodput: number
}

/**
 * What the limit is ten seconds after each change of the capacity, which halves and doubles, under half as much again as
 * can be served. The upstream's latency curve is the knee of `Upstream`; one that `refuses` lets nobody wait inside.
 */
export const adapts = (
  limit: ConcurrencyLimit.ConcurrencyLimit,
  full: "slows" | "refuses",
  seed: number
): ReadonlyArray<Found> => {
  const limits: Array<number> = []
  const outcome = play({
    seed,
    upstream: {
      slots: capacity[0][1],
      serviceMillis: 50,
      ...(full === "refuses" ? { refuses: { beyond: 0, millis: 5 } } : {})
    },
    seconds: 45,
    loads: [{ urgency: 3, offered: [[0, 1.5]] }],
    gate: () => Gate.make("upstream", { limit, judge, line: { maxItems: 50, overflow: "evictOldest" } }),
    meanwhile: (world, upstream, gate) => {
      for (const [second, slots] of capacity) world.at(second * 1000, () => upstream.resize(slots))
      for (let at = 0; at < 45_000; at += 100) {
        world.at(at, () => limits.push(Effect.runSync(gate!.statistics).limit!))
      }
    }
  })
  return capacity.map(([second, slots]) => {
    const from = second + settled
    const seen = limits.slice(from * 10, (from + looked) * 10)
    return {
      slots,
      limit: seen.reduce((sum, each) => sum + each, 0) / seen.length,
      goodput: goodput(outcome, from, from + looked) * (capacity[0][1] / slots)
    }
  })
}
