/**
 * Every part of the bench, by the name `pnpm bench NAME` takes. Each is loaded by itself: what a process has loaded decides
 * what V8 takes for long-lived, and with that what the next contender pays.
 */
import type { Part } from "./harness.ts"

const load: Record<string, () => Promise<Part>> = {
  gate: () => import("./Gate.ts").then(({ gate }) => gate),
  bulk: () => import("./Bulk.ts").then(({ bulk }) => bulk),
  queue: () => import("./WorkQueue.ts").then(({ queue }) => queue),
  batch: () => import("./Batcher.ts").then(({ batching }) => batching),
  coalesce: () => import("./Coalesce.ts").then(({ coalescing }) => coalescing),
  attempts: () => import("./Attempts.ts").then(({ attempts }) => attempts),
  breaker: () => import("./CircuitBreaker.ts").then(({ breaker }) => breaker),
  rate: () => import("./RateWindow.ts").then(({ rate }) => rate),
  deadline: () => import("./Deadline.ts").then(({ deadline }) => deadline),
  nursery: () => import("./Nursery.ts").then(({ nursery }) => nursery),
  cpu: () => import("./Cpu.ts").then(({ cpuPool }) => cpuPool),
  server: () => import("./Server.ts").then(({ server }) => server),
  client: () => import("./Client.ts").then(({ client }) => client),
  proxy: () => import("./Proxy.ts").then(({ proxy }) => proxy),
  observe: () => import("./Observe.ts").then(({ observe }) => observe)
}

export const names: ReadonlyArray<string> = Object.keys(load)

export const part = (name: string): Promise<Part> | undefined => load[name]?.()
