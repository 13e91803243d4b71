/**
 * `gradient` where service times vary: Erlang-4, exponential, and one call in fifty twenty times as long; of 10 ms to 1 s,
 * at capacities of 5 to 100 that halve and double, beginning at 1 and at its default.
 */
import { describe, expect, it } from "@effect/vitest"
import { ConcurrencyLimit } from "@fairlead/core"
import { mean, service, simulate } from "./support/upstream.ts"
import type { Report } from "./support/upstream.ts"

const kinds = {
  "Erlang-4": { of: service.erlang4, within: 0.2 },
  exponential: { of: service.exponential, within: 0.35 },
  "long-tailed": { of: (millis: number) => service.outliers(service.even(millis), 0.02, 20), within: 0.35 }
} as const

const cases = (["Erlang-4", "exponential", "long-tailed"] as const).flatMap((kind) =>
  [10, 100, 200, 1000].flatMap((millis) => [5, 10, 20, 100].map((slots) => ({ kind, millis, slots })))
)

/** The longest time in seconds for which less than half of the capacity is let in. */
const starved = ({ limits }: Report, capacity: (second: number) => number): number => {
  let most = 0
  let run = 0
  limits.forEach((limit, tenth) => {
    run = limit < capacity(tenth / 10) / 2 ? run + 0.1 : 0
    most = Math.max(most, run)
  })
  return most
}

describe.each(cases)("gradient before $slots slots of $millis ms, $kind", ({ kind, millis, slots }) => {
  const { of, within } = kinds[kind]
  /** Seconds between the changes: 300 service times, and 12 s at the least. */
  const stretch = Math.max(12, Math.ceil((300 * millis) / 1000))
  const capacity = (second: number) => (second >= stretch && second < 2 * stretch ? Math.ceil(slots / 2) : slots)
  const runs = (initial: number | undefined, seconds: number) =>
    [1, 2, 3].map((seed) =>
      simulate(ConcurrencyLimit.gradient({ max: 200, initial }), {
        seed,
        seconds,
        upstream: "slots",
        capacity,
        service: of(millis)
      })
    )

  it("finds the capacity and follows it, and leaves little of it idle", () => {
    const reports = runs(undefined, 3 * stretch)
    for (const from of [0, stretch, 2 * stretch]) {
      // From half of the stretch on.
      const settled = reports.flatMap((report) => report.limits.slice((from + stretch / 2) * 10, (from + stretch) * 10))
      const now = capacity(from)
      expect(Math.abs(mean(settled) / now - 1)).toBeLessThanOrEqual(within)
      const served = mean(settled.map((limit) => Math.min(1, limit / now)))
      expect(served).toBeGreaterThan(now < 10 ? 0.85 : 0.9)
    }
  })

  it("is not below half of it for longer than 40 service times, from 1 on", () => {
    // A call that takes twenty times as long is alone at a limit of 1.
    const alone = kind === "long-tailed" ? 2 : 1
    for (const report of runs(1, stretch)) {
      expect(starved(report, capacity)).toBeLessThanOrEqual(2 + (40 * alone * millis) / 1000)
    }
  })
})

describe("gradient before one server that all share, exponential", () => {
  it.each([5, 10, 20])("is not led to a multiple of a capacity of %d by calls that began under a queue", (slots) => {
    for (const seed of [1, 2, 3, 4, 5]) {
      for (const initial of [1, 20]) {
        const report = simulate(ConcurrencyLimit.gradient({ max: 200, initial }), {
          seed,
          seconds: 60,
          upstream: "shared",
          capacity: () => slots,
          service: service.exponential(100)
        })
        expect(mean(report.seconds(30, 60)) / slots).toBeLessThan(2)
      }
    }
  })
})
