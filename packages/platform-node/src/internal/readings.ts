/** Reads how much memory the process uses, and what there is; and tells when garbage was collected. */
import { totalmem } from "node:os"
import { constants, PerformanceObserver } from "node:perf_hooks"
import type { NodeGCPerformanceDetail, PerformanceEntry } from "node:perf_hooks"
import { getHeapStatistics } from "node:v8"
import * as cgroup from "./cgroup.ts"

export interface Reading {
  /** On V8's heap, garbage included. */
  readonly heapUsedBytes: number
  readonly heapLimitBytes: number
  readonly rssBytes: number
  /** Outside of the heap, for objects on it: buffers, mostly. */
  readonly externalBytes: number
  /** What the control group allows; `null` where that is no less than the machine has. */
  readonly limitBytes: number | null
  /** What all processes of the control group use; `null` where it has no limit. */
  readonly groupBytes: number | null
  readonly machineBytes: number
}

export interface Readings {
  readonly read: () => Reading
  /** Calls `listener` soon after each collection; `major` is one of all of the heap. Gives what ends that. */
  readonly onCollection: (listener: (major: boolean) => void) => () => void
}

interface Collection extends PerformanceEntry {
  readonly detail: NodeGCPerformanceDetail
}

export const ofProcess = (): Readings => {
  const used = cgroup.reader()
  const machineBytes = totalmem()
  const read = (): Reading => {
    const { external_memory, heap_size_limit, used_heap_size } = getHeapStatistics()
    const allowed = process.constrainedMemory()
    // Where there is no limit it is 0, or more than any machine has.
    const limitBytes = allowed > 0 && allowed < machineBytes ? allowed : null
    return {
      heapUsedBytes: used_heap_size,
      heapLimitBytes: heap_size_limit,
      rssBytes: process.memoryUsage.rss(),
      externalBytes: external_memory,
      limitBytes,
      groupBytes: limitBytes === null ? null : (used?.() ?? null),
      machineBytes
    }
  }
  return { read, onCollection }
}

const onCollection: Readings["onCollection"] = (listener) => {
  const observer = new PerformanceObserver((list) => {
    listener(
      list.getEntries().some((entry) => (entry as Collection).detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR)
    )
  })
  observer.observe({ entryTypes: ["gc"] })
  return () => observer.disconnect()
}
