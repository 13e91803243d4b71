import { describe, expect, it } from "@effect/vitest"
import { Context, Metric } from "effect"
import { vi } from "vitest"
import { zeros } from "../../src/internal/meter.ts"
import { Soon, Written } from "../../src/internal/seconds.ts"

describe("the metrics of a route", () => {
  it("count what has come since they were written last", () => {
    const context = Context.make(Metric.MetricRegistry, new Map()) as Context.Context<never>
    const written = new Written("job")
    const times = zeros()
    times[0] = 2_000
    written.write(times, context)
    written.write(times, context)
    times[0] = 2_500
    written.write(times, context)
    expect(Metric.snapshotUnsafe(context).map(({ state }) => state)).toEqual([{ count: 2.5, incremental: true }])
  })

  it("are written once, a second after the first change, and by no timer until the next", () => {
    vi.useFakeTimers()
    try {
      let writes = 0
      const soon = new Soon(() => writes++)
      soon.touch()
      soon.touch()
      vi.advanceTimersByTime(999)
      expect(writes).toBe(0)
      vi.advanceTimersByTime(10_000)
      expect([writes, vi.getTimerCount()]).toEqual([1, 0])
      soon.touch()
      soon.flush()
      expect([writes, vi.getTimerCount()]).toEqual([2, 0])
    } finally {
      vi.useRealTimers()
    }
  })
})
