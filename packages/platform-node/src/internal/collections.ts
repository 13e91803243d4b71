/** Tells of each pause of the garbage collector, a turn of the loop after it, until it is told to stop. */
import { constants, PerformanceObserver } from "node:perf_hooks"
import type { PerformanceEntry } from "node:perf_hooks"
import type { CollectionKind } from "./loopMetrics.ts"

const kinds: Record<number, CollectionKind> = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: "minor",
  [constants.NODE_PERFORMANCE_GC_MAJOR]: "major",
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: "incremental",
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: "weakcb"
}

export const observe = (told: (start: number, millis: number, kind: CollectionKind) => void): (() => void) => {
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind } = (entry as PerformanceEntry & { readonly detail: { readonly kind: number } }).detail
      told(entry.startTime, entry.duration, kinds[kind] ?? "major")
    }
  })
  observer.observe({ type: "gc" })
  return () => observer.disconnect()
}
