import { describe, expect, it } from "@effect/vitest"
import { constants, type PerformanceEntry, PerformanceObserver } from "node:perf_hooks"
import { runInNewContext } from "node:vm"
import { streamed } from "../../src/internal/streamed.ts"

/** How many collections somebody asked for while `run` ran. */
const collections = async (run: () => void) => {
  let count = 0
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries() as Array<
      PerformanceEntry & { readonly detail: { readonly flags: number } }
    >) {
      if ((entry.detail.flags & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) !== 0) count++
    }
  })
  observer.observe({ entryTypes: ["gc"] })
  run()
  await new Promise((resolve) => setTimeout(resolve, 30))
  observer.disconnect()
  return count
}

describe("streamed", () => {
  it("collects once for every 12 MiB that have passed", async () => {
    const mebibyte = 1_048_576
    expect(await collections(() => streamed(11 * mebibyte))).toBe(0)
    expect(await collections(() => streamed(mebibyte))).toBe(1)
    expect(
      await collections(() => {
        for (let i = 0; i < 36; i++) streamed(mebibyte)
      })
    ).toBe(3)
  })

  it("shows the collector to nobody else", () => {
    streamed(12_582_912)
    expect(runInNewContext("typeof globalThis.gc")).toBe("undefined")
  })
})
