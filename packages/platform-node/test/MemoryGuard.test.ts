import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Logger, Metric, Scope } from "effect"
import { TestClock } from "effect/testing"
import { ByteBudget, Gate, Pressure, Priority, Registry } from "@fairlead/core"
import { Leaks } from "@fairlead/testing"
import { MemoryGuard } from "@fairlead/platform-node"

const mib = 1024 * 1024

const plenty: MemoryGuard.Reading = {
  heapUsedBytes: 100 * mib,
  heapLimitBytes: 1000 * mib,
  rssBytes: 200 * mib,
  externalBytes: 10 * mib,
  limitBytes: null,
  groupBytes: null,
  machineBytes: 4000 * mib
}

/** A process whose memory a test sets. */
const scripted = () => {
  const listeners = new Set<(major: boolean) => void>()
  let reading = plenty
  let reads = 0
  const readings: MemoryGuard.Readings = {
    read: () => {
      reads++
      return reading
    },
    onCollection: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    }
  }
  return {
    readings,
    listeners,
    reads: () => reads,
    set: (changed: Partial<MemoryGuard.Reading>) => (reading = { ...reading, ...changed }),
    collect: (major: boolean) => listeners.forEach((listener) => listener(major))
  }
}

const make = (options: MemoryGuard.Options = {}) =>
  Effect.gen(function* () {
    const process = scripted()
    const guard = yield* MemoryGuard.make({ readings: process.readings, ...options })
    yield* Effect.yieldNow
    return { guard, ...process, level: () => guard.pressure.level }
  })

const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
  return { lines, layer: Logger.layer([logger]) }
}

describe("MemoryGuard", () => {
  it.effect("goes by what is fullest: the heap, the process, its control group", () =>
    Effect.gen(function* () {
      const { guard, level, set } = yield* make({ max: 1000 * mib })
      const at = (reading: Partial<MemoryGuard.Reading>) =>
        Effect.gen(function* () {
          set({ ...plenty, ...reading })
          yield* TestClock.adjust("10 seconds")
          const { fullest } = yield* guard.statistics
          return [level(), fullest.of, Math.round(fullest.part * 100)]
        })
      expect(yield* at({})).toEqual(["calm", "rss", 20])
      expect(yield* at({ rssBytes: 760 * mib })).toEqual(["tight", "rss", 76])
      expect(yield* at({ heapUsedBytes: 950 * mib })).toEqual(["critical", "heap", 95])
      expect(yield* at({ limitBytes: 100 * mib, groupBytes: 72 * mib })).toEqual(["tight", "cgroup", 72])
      expect(yield* at({})).toEqual(["calm", "rss", 20])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("takes of the heap what was live after the last collection of all of it", () =>
    Effect.gen(function* () {
      const { collect, guard, level, set } = yield* make()
      set({ heapUsedBytes: 500 * mib })
      collect(true)
      // Garbage.
      set({ heapUsedBytes: 950 * mib })
      collect(false)
      yield* TestClock.adjust("1 minute")
      expect(level()).toBe("calm")
      expect(yield* guard.statistics).toMatchObject({ heapLiveBytes: 500 * mib, heapUsedBytes: 950 * mib })
      set({ heapUsedBytes: 800 * mib })
      collect(true)
      expect(level()).toBe("tight")
      // A small collection has found more than the large one before.
      set({ heapUsedBytes: 600 * mib })
      yield* TestClock.adjust("1 second")
      expect(level()).toBe("calm")
    })
  )

  it.effect("looks rarely while there is plenty, after collections, and more often near a mark", () =>
    Effect.gen(function* () {
      const { collect, reads, set } = yield* make({ max: 1000 * mib })
      const looks = (during: Effect.Effect<unknown>) =>
        Effect.gen(function* () {
          const before = reads()
          yield* during
          return reads() - before
        })
      const soon = (times: number, millis: number) =>
        Effect.forEach(Array.from({ length: times }), () =>
          Effect.andThen(
            TestClock.adjust(millis),
            Effect.sync(() => collect(false))
          )
        )
      // Idle.
      expect(yield* looks(TestClock.adjust("60 seconds"))).toBe(6)
      yield* TestClock.adjust("1 second")
      // Busy: once a second, however often it collects.
      expect(yield* looks(soon(50, 100))).toBe(5)
      set({ rssBytes: 660 * mib })
      yield* TestClock.adjust("10 seconds")
      expect(yield* looks(TestClock.adjust("10 seconds"))).toBe(10)
      expect(yield* looks(soon(50, 50))).toBe(25)
      expect(MemoryGuard.intervalMillis(0.64, { tight: 0.75, critical: 0.9, margin: 0.05 })).toBe(10_000)
      expect(MemoryGuard.intervalMillis(0.66, { tight: 0.75, critical: 0.9, margin: 0.05 })).toBe(1000)
    })
  )

  it.effect("hurries from the moment in which a collection tells that there is little left", () =>
    Effect.gen(function* () {
      const { collect, level, set } = yield* make({ max: 1000 * mib })
      yield* TestClock.adjust("1 second")
      set({ rssBytes: 920 * mib })
      collect(false)
      expect(level()).toBe("critical")
      set({ rssBytes: 100 * mib })
      yield* TestClock.adjust("1 second")
      expect(level()).toBe("calm")
    })
  )

  it.effect("logs one line for each change, with numbers", () => {
    const { layer, lines } = logged()
    return Effect.gen(function* () {
      const { collect, guard, set } = yield* make({ max: 1000 * mib, budget: 100 * mib })
      guard.budget.takeUnsafe(50 * mib)
      yield* TestClock.adjust("5 seconds")
      set({ rssBytes: 780 * mib })
      collect(true)
      yield* TestClock.adjust(0)
      collect(true)
      yield* TestClock.adjust("1 minute")
      set({ rssBytes: 100 * mib, limitBytes: 500 * mib, groupBytes: 100 * mib })
      yield* TestClock.adjust("1 minute")
      expect(lines).toEqual([
        "Warn memory is tight, and was calm: heap 10 % of 1000 MiB, RSS 78 % of 1000 MiB, budget 50 % of 100 MiB",
        "Info memory is calm, and was tight: heap 10 % of 1000 MiB, RSS 10 % of 1000 MiB, cgroup 20 % of 500 MiB, budget 50 % of 100 MiB"
      ])
      expect((yield* guard.statistics).changes).toBe(2)
    }).pipe(Effect.provide(layer))
  })

  it.effect("provides its pressure and its budget to what is made in it, and is calm when it has ended", () =>
    Effect.gen(function* () {
      const { readings, set } = scripted()
      set({ rssBytes: 950 * mib })
      const layer = MemoryGuard.layer({ readings, max: 1000 * mib, budget: 100 })
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(layer, scope)
      const [pressure, budget, guard] = yield* Effect.all([
        Pressure.Pressure,
        ByteBudget.ByteBudget,
        MemoryGuard.MemoryGuard
      ]).pipe(Effect.provide(context))
      expect([pressure, budget, pressure.level]).toEqual([guard.pressure, guard.budget, "critical"])
      const ambient = guard.provide(Effect.all([Pressure.Pressure, ByteBudget.ByteBudget]))
      expect(yield* ambient).toEqual([guard.pressure, guard.budget])
      const gate = yield* Gate.make("test", { limit: 1, protect: { shed: [guard.signal] } })
      const least = Effect.exit(Priority.background(gate.run(Effect.void)))
      expect([(yield* least)._tag, (yield* Effect.exit(gate.run(Effect.void)))._tag]).toEqual(["Failure", "Success"])
      yield* Scope.close(scope, Exit.void)
      expect([pressure.level, (yield* least)._tag]).toEqual(["calm", "Success"])
    })
  )

  it.effect("is in the registry, and listens to nobody when it has ended", () =>
    Effect.gen(function* () {
      const { listeners, readings } = scripted()
      yield* Effect.scoped(
        Effect.gen(function* () {
          const guard = yield* MemoryGuard.make({ readings, max: 1000 * mib })
          yield* Effect.exit(guard.provide(Effect.scoped(ByteBudget.hold(300 * mib))))
          const [budget, memory] = yield* Registry.snapshot
          expect([budget!.kind, budget!.name]).toEqual(["budget", "memory budget"])
          expect(memory).toEqual({
            kind: "memory",
            name: "memory",
            statistics: {
              level: "calm",
              fullest: { of: "rss", part: 0.2 },
              heapUsedBytes: 100 * mib,
              heapLiveBytes: 100 * mib,
              heapLimitBytes: 1000 * mib,
              rssBytes: 200 * mib,
              externalBytes: 10 * mib,
              limitBytes: 1000 * mib,
              groupBytes: null,
              changes: 0,
              budget: { limitBytes: 250 * mib, usedBytes: 0, refused: 1 }
            }
          })
          expect(listeners.size).toBe(1)
        })
      )
      expect([listeners.size, yield* Registry.snapshot]).toEqual([0, []])
    }).pipe(Effect.provideService(Registry.Registry, Registry.make()))
  )

  it.effect("holds a process without a bound of its own against its control group, or the machine", () =>
    Effect.gen(function* () {
      const { guard } = yield* make()
      expect([(yield* guard.statistics).limitBytes, guard.budget.maxBytes]).toEqual([null, 1000 * mib])
      const { readings, set } = scripted()
      set({ limitBytes: 400 * mib, groupBytes: 250 * mib })
      const grouped = yield* MemoryGuard.make({ readings, name: "grouped", max: 800 * mib })
      expect(yield* grouped.statistics).toMatchObject({ limitBytes: 400 * mib, fullest: { of: "cgroup", part: 0.625 } })
      const loose = yield* MemoryGuard.make({ readings, name: "loose" })
      expect([(yield* loose.statistics).limitBytes, loose.budget.maxBytes]).toEqual([400 * mib, 100 * mib])
    })
  )

  it.effect("keeps the metrics that OpenTelemetry names", () =>
    Effect.gen(function* () {
      const { set } = yield* make()
      set({ heapUsedBytes: 7, rssBytes: 9 })
      yield* TestClock.adjust("10 seconds")
      const all = yield* Metric.snapshot
      const valueOf = (id: string) => (all.find((metric) => metric.id === id)!.state as { value: number }).value
      expect(["v8js.memory.heap.used", "v8js.memory.heap.limit", "process.memory.usage"].map(valueOf)).toEqual([
        7,
        1000 * mib,
        9
      ])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("reads this process, where nobody else is to be read", () =>
    Effect.gen(function* () {
      const guard = yield* MemoryGuard.make()
      const { externalBytes, heapLimitBytes, heapUsedBytes, rssBytes } = yield* guard.statistics
      expect(heapUsedBytes).toBeGreaterThan(mib)
      expect(heapLimitBytes).toBeGreaterThan(heapUsedBytes)
      expect(rssBytes).toBeGreaterThan(10 * mib)
      expect(externalBytes).toBeGreaterThan(0)
    })
  )

  describe("misuse", () => {
    it.effect("marks and sizes that are none", () =>
      Effect.gen(function* () {
        const wrong = (options: MemoryGuard.Options) =>
          Effect.map(Effect.exit(MemoryGuard.make(options)), (exit) =>
            Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "fine"
          )
        expect(yield* wrong({ tight: 0 })).toContain("Expected tight to be above 0 and at most 1, got 0")
        expect(yield* wrong({ critical: 1.1 })).toContain("Expected critical to be above 0 and at most 1, got 1.1")
        expect(yield* wrong({ tight: 0.9 })).toContain("Expected tight to be less than critical (0.9), got 0.9")
        expect(yield* wrong({ max: 0 })).toContain("Expected max of at least 1 byte, got 0")
        expect(yield* wrong({ budget: 0 })).toContain("Expected budget of at least 1 byte, got 0")
      })
    )
  })
})
