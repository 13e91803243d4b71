import { Registry } from "@fairlead/core"
import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Metric } from "effect"
import * as EventLoopMonitor from "../src/EventLoopMonitor.ts"

const none = { alarm: Infinity }

const exitOf = (options: EventLoopMonitor.Options) => Effect.exit(Effect.scoped(EventLoopMonitor.make(options)))

describe("EventLoopMonitor", () => {
  it.effect("is in the registry for as long as it lives", () =>
    Effect.gen(function* () {
      yield* Effect.scoped(
        Effect.gen(function* () {
          const monitor = yield* EventLoopMonitor.make(none)
          const [entry] = yield* Registry.snapshot
          expect(entry).toMatchObject({ kind: "loop", name: "event loop" })
          expect(Object.keys(entry!.statistics)).toEqual(Object.keys(yield* monitor.statistics))
          expect(yield* monitor.statistics).toMatchObject({ overloaded: false, alarms: [] })
        })
      )
      expect(yield* Registry.snapshot).toEqual([])
    }).pipe(Effect.provideService(Registry.Registry, Registry.make()))
  )

  it.effect("leaves no timer, no thread and no wrapped method behind", () =>
    Effect.gen(function* () {
      const prototype = Object.getPrototypeOf(Effect.runFork(Effect.void))
      const [method, resources] = [prototype.runLoop, process.getActiveResourcesInfo().length]
      for (let i = 0; i < 2; i++) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* EventLoopMonitor.make()
            expect(prototype.runLoop).not.toBe(method)
          })
        )
      }
      expect(prototype.runLoop).toBe(method)
      expect(process.getActiveResourcesInfo().length).toBeLessThanOrEqual(resources)
    })
  )

  it.effect("sheds nobody while the loop is in time", () =>
    Effect.gen(function* () {
      const monitor = yield* EventLoopMonitor.make(none)
      const signal = EventLoopMonitor.signal(monitor, { above: 100, below: 100 })
      expect(signal.urgency()).toBe(8)
      expect(signal.name).toBe("the event loop is overloaded")
    })
  )

  it.effect("is a layer, for modules that shed by it", () =>
    Effect.gen(function* () {
      const monitor = yield* EventLoopMonitor.Service
      expect((yield* monitor.statistics).alarms).toEqual([])
    }).pipe(Effect.provide(EventLoopMonitor.layer(none)), Effect.provide(Layer.empty))
  )

  it.live("keeps metrics by OpenTelemetry's names, in seconds, when it is asked to", () =>
    Effect.gen(function* () {
      const { statistics } = yield* EventLoopMonitor.make(none)
      yield* Effect.sleep(700)
      expect((yield* statistics).delayMillis.p50).toBeLessThan(50)
      expect(yield* Metric.snapshot).toEqual([])
      yield* EventLoopMonitor.make({ ...none, metrics: true })
      yield* Effect.sleep(700)
      const metrics = yield* Metric.snapshot
      const ids = new Set(metrics.map(({ id }) => id))
      for (const part of ["delay.p50", "delay.p90", "delay.p99", "delay.max", "utilization", "time"]) {
        expect(ids).toContain(`nodejs.eventloop.${part}`)
      }
      const time = metrics.filter(({ id }) => id === "nodejs.eventloop.time")
      expect(time.map(({ attributes }) => attributes?.["nodejs.eventloop.state"]).toSorted()).toEqual([
        "active",
        "idle"
      ])
      const seconds = time.reduce((sum, { state }) => sum + Number((state as { count: number }).count), 0)
      expect(seconds).toBeGreaterThan(0.4)
      expect(seconds).toBeLessThan(5)
    }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  describe("misuse", () => {
    it.effect.each([
      [{ alarm: 10 }, "Expected an alarm of 25 ms at the least, got 10 ms"],
      [{ overload: { above: 10 } }, "Expected below to be at most above, got 20 ms and 10 ms"]
    ] as const)("%j is a defect", ([options, message]) =>
      Effect.gen(function* () {
        const exit = yield* exitOf(options)
        expect(Exit.isFailure(exit) && String(Cause.squash(exit.cause))).toContain(message)
      })
    )
  })
})
