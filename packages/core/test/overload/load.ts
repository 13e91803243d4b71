/** The load that the tests and the picture of overload share, and the gates it goes through. */
import { ConcurrencyLimit, Gate } from "@fairlead/core"
import { Cause, Exit } from "effect"
import type { Scenario } from "./scenario.ts"
import { Busy } from "./upstream.ts"
import type * as upstream from "./upstream.ts"

/** Serves fifty per second. */
export const fifty: upstream.Options = { slots: 10, serviceMillis: 200 }

/** Seconds before the overload and seconds of it; then calm again. */
export const calm = 5
export const loud = 30
export const after = 10

/**
 * Urgent calls at half the share they have with the default weights (64 of 128): a quarter of the capacity. The rest, up
 * to `multiple` times the capacity during the overload, and as much again as the urgent before and after, is of ten
 * tenants and, for two fifths, in the background. All have two seconds.
 */
export const overloaded = (
  multiple: number,
  gate?: Scenario["gate"],
  upstream: upstream.Options = fifty,
  seed = 1
): Scenario => {
  const rest = Math.max(0, multiple - 0.25)
  const wave = (part: number, around: number) =>
    [
      [0, around],
      [calm, rest * part],
      [calm + loud, around]
    ] as const
  return {
    seed,
    upstream,
    seconds: calm + loud + after,
    loads: [
      { urgency: 0, offered: [[0, 0.25]] },
      { urgency: 3, tenants: 10, offered: wave(0.6, 0.25) },
      { urgency: 6, offered: wave(0.4, 0) }
    ],
    ...(gate === undefined ? {} : { gate })
  }
}

/** The urgent calls alone. */
export const alone: Scenario = {
  seed: 1,
  upstream: fifty,
  seconds: loud,
  loads: [{ urgency: 0, offered: [[0, 0.25]] }]
}

const gate = (options: Gate.Options) => () => Gate.make("upstream", options)
/** Half a second of what it can serve. */
const half = { maxItems: 25 }
/** More than anybody will wait for. */
const long = { maxItems: 1000, overflow: "evictLeast" } as const

/** Gates that hold the other side to what it can do. */
export const holding = {
  "shares, and room of its own for each level": gate({
    limit: 10,
    line: { ...half, levels: { 3: { maxItems: 15 }, 6: { maxItems: 5 } } }
  }),
  "shares, and the least urgent put out for the others": gate({ limit: 10, line: { ...half, overflow: "evictLeast" } }),
  "shares, and the oldest put out for the newest": gate({ limit: 10, line: { ...half, overflow: "evictOldest" } }),
  "a line longer than anybody's patience": gate({ limit: 10, line: { maxItems: 1000 } }),
  "strict order": gate({ limit: 10, shares: "strict", line: { ...half, overflow: "evictLeast" } }),
  "a long line, and CoDel": gate({ limit: 10, line: long, protect: { codel: {} } }),
  "a long line, and the newest first": gate({ limit: 10, line: long, protect: { codel: {}, newestFirst: true } }),
  "a limit that finds itself": gate({
    limit: ConcurrencyLimit.gradient({ max: 200 }),
    line: { ...half, overflow: "evictLeast" }
  })
} as const

/** An upstream that refuses what comes when it is full, at some cost to itself. */
export const refusing: upstream.Options = { ...fifty, refuses: { beyond: 5, millis: 10 } }

/** What it refused, it had too much of. */
export const judge = (exit: Exit.Exit<unknown, unknown>): ConcurrencyLimit.Verdict => {
  if (Exit.isSuccess(exit)) return "ok"
  return Cause.squash(exit.cause) instanceof Busy ? "overload" : "ignore"
}

/** Gates that let in whoever comes, and what they do about it. */
export const open = {
  none: gate({ limit: 1000, line: half }),
  throttle: gate({ limit: 1000, line: half, judge, protect: { throttle: { memory: "10 seconds" } } }),
  shed: (_, upstream) =>
    Gate.make("upstream", {
      limit: 1000,
      line: half,
      protect: { shed: [{ name: "full", urgency: () => (upstream.inside < 14 ? 8 : 1) }] }
    })
} satisfies Readonly<Record<string, Scenario["gate"]>>
