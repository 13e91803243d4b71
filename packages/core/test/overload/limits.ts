/** A limit that adapts, at a gate whose upstream changes. */
import { Gate } from "@fairlead/core"
import type { ConcurrencyLimit } from "@fairlead/core"
import { Effect } from "effect"
import { judge } from "./load.ts"
import { goodput, play } from "./scenario.ts"
import type { Load, Outcome } from "./scenario.ts"
import type { Upstream } from "./upstream.ts"
import type * as upstream from "./upstream.ts"

/** What becomes of an upstream at a second. */
export type Change = readonly [second: number, change: (upstream: Upstream) => void]

export interface Course {
  readonly upstream: upstream.Options
  readonly loads: ReadonlyArray<Load>
  readonly seconds: number
  readonly seed: number
  readonly changes?: ReadonlyArray<Change>
  /** Default: none of its own. */
  readonly judge?: Gate.Options["judge"]
  /** Default: 25 who wait, and the one is put out who would go last. */
  readonly line?: Gate.Line
}

export interface Report {
  readonly outcome: Outcome
  /** The mean of the limit from one second to another. */
  limit(from: number, to: number): number
  /** Of the capacity as it was at first. */
  goodput(from: number, to: number): number
}

const short = { maxItems: 25, overflow: "evictLeast" } as const

/** What becomes of a limit. */
export const follow = (limit: ConcurrencyLimit.ConcurrencyLimit, course: Course): Report => {
  const { changes = [], judge, line = short, loads, seconds, seed } = course
  const limits: Array<number> = []
  const outcome = play({
    seed,
    upstream: course.upstream,
    seconds,
    loads,
    gate: () => Gate.make("upstream", { limit, judge, line }),
    meanwhile: (world, upstream, gate) => {
      for (const [second, change] of changes) world.at(second * 1000, () => change(upstream))
      for (let at = 0; at < seconds * 1000; at += 100) {
        world.at(at, () => limits.push(Effect.runSync(gate!.statistics).limit!))
      }
    }
  })
  return {
    outcome,
    limit: (from, to) => {
      const seen = limits.slice(from * 10, to * 10)
      return seen.reduce((sum, each) => sum + each, 0) / seen.length
    },
    goodput: (from, to) => goodput(outcome, from, to)
  }
}

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
  const report = follow(limit, {
    seed,
    upstream: {
      slots: capacity[0][1],
      serviceMillis: 50,
      ...(full === "refuses" ? { refuses: { beyond: 0, millis: 5 } } : {})
    },
    seconds: 45,
    loads: [{ urgency: 3, offered: [[0, 1.5]] }],
    judge,
    line: { maxItems: 50, overflow: "evictOldest" },
    changes: capacity.map(([second, slots]) => [second, (upstream) => upstream.resize(slots)])
  })
  return capacity.map(([second, slots]) => {
    const from = second + settled
    return {
      slots,
      limit: report.limit(from, from + looked),
      goodput: report.goodput(from, from + looked) * (capacity[0][1] / slots)
    }
  })
}
