/**
 * The figures of an event loop as metrics, under the names and in the units of OpenTelemetry's semantic conventions for Node.js and V8.
 */
import { Metric } from "effect"
import type { Context } from "effect"
import type { Delay } from "./lately.ts"

const seconds = (millis: number) => millis / 1000

const gauge = (name: string, description: string, unit: string) =>
  Metric.gauge(name, { description, attributes: { unit } })

const delay = {
  p50: gauge("nodejs.eventloop.delay.p50", "Event loop 50 percentile delay.", "s"),
  p90: gauge("nodejs.eventloop.delay.p90", "Event loop 90 percentile delay.", "s"),
  p99: gauge("nodejs.eventloop.delay.p99", "Event loop 99 percentile delay.", "s"),
  max: gauge("nodejs.eventloop.delay.max", "Event loop maximum delay.", "s")
}
const utilization = gauge("nodejs.eventloop.utilization", "Event loop utilization.", "1")
const time = Metric.counter("nodejs.eventloop.time", {
  description: "Cumulative duration of time the event loop has been in each state.",
  attributes: { unit: "s" }
})
const active = Metric.withAttributes(time, { "nodejs.eventloop.state": "active" })
const idle = Metric.withAttributes(time, { "nodejs.eventloop.state": "idle" })
const collection = Metric.histogram("v8js.gc.duration", {
  description: "Garbage collection duration.",
  attributes: { unit: "s" },
  boundaries: [0.01, 0.1, 1, 10]
})

export interface Figures {
  readonly delayMillis: Delay
  readonly utilization: number
  /** Since the last time. */
  readonly activeMillis: number
  readonly idleMillis: number
}

export const update = (figures: Figures, context: Context.Context<never>): void => {
  for (const part of ["p50", "p90", "p99", "max"] as const) {
    delay[part].updateUnsafe(seconds(figures.delayMillis[part]), context)
  }
  utilization.updateUnsafe(figures.utilization, context)
  active.updateUnsafe(seconds(figures.activeMillis), context)
  idle.updateUnsafe(seconds(figures.idleMillis), context)
}

export type CollectionKind = "minor" | "major" | "incremental" | "weakcb"

const collections = Object.fromEntries(
  (["minor", "major", "incremental", "weakcb"] as const).map((kind) => [
    kind,
    Metric.withAttributes(collection, { "v8js.gc.type": kind })
  ])
) as Record<CollectionKind, typeof collection>

export const collected = (kind: CollectionKind, millis: number, context: Context.Context<never>): void =>
  collections[kind].updateUnsafe(seconds(millis), context)
