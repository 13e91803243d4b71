/** Every adaptive limit against a simulated upstream whose latency curve is named; see support/upstream.ts. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber, Semaphore } from "effect"
import { TestClock } from "effect/testing"
import { ConcurrencyLimit, Gate } from "@fairlead/core"
import * as limits from "./support/limits.ts"
import { mean, service, simulate } from "./support/upstream.ts"
import type { Options, Report } from "./support/upstream.ts"

const { aimd, gradient, vegas } = ConcurrencyLimit

const seeds = [1, 2, 3, 4, 5]
const capacity = 20
/** Halves after 25 s, doubles after 50 s. */
const changing = (second: number) => (second >= 25 && second < 50 ? capacity / 2 : capacity)

/** By how much the limit was off, of the capacity: the worst second from one to another. */
const worst = (report: Report, from: number, to: number, of: number) =>
  Math.max(...report.seconds(from, to).map((limit) => Math.abs(limit / of - 1)))

const run = <S extends ConcurrencyLimit.State>(
  limit: ConcurrencyLimit.ConcurrencyLimit<S>,
  options: Partial<Options> & Pick<Options, "seed" | "upstream">
) => simulate(limit, { seconds: 75, capacity: changing, service: service.even(10), ...options })

const makers = { aimd, vegas, gradient }

const cases = (
  [
    ["aimd", "refusing"],
    ["vegas", "slots"],
    ["vegas", "shared"],
    ["gradient", "slots"],
    ["gradient", "shared"]
  ] as const
).flatMap(([name, upstream]) => [10, 100].map((millis) => ({ name, upstream, millis, make: makers[name] })))

describe.each(cases)("$name before a $upstream upstream of $millis ms", ({ make, millis, upstream }) => {
  it("finds the capacity, and follows within 10 s when it halves and doubles, each second within 20 %", () => {
    for (const seed of seeds) {
      const report = run(make({ max: 200 }), { seed, upstream, service: service.even(millis) })
      expect(worst(report, 10, 25, capacity)).toBeLessThanOrEqual(0.2)
      expect(worst(report, 35, 50, capacity / 2)).toBeLessThanOrEqual(0.2)
      expect(worst(report, 60, 75, capacity)).toBeLessThanOrEqual(0.2)
    }
  })

  it("finds it from three times as much", () => {
    for (const seed of seeds) {
      const options = { seed, upstream, seconds: 25, service: service.even(millis) }
      const report = run(make({ max: 200, initial: 3 * capacity }), options)
      expect(worst(report, 12, 25, capacity)).toBeLessThanOrEqual(0.2)
    }
  })

  it("leaves little of the capacity idle on the way, probes and all", () => {
    const report = run(make({ max: 200 }), {
      seed: 1,
      upstream,
      seconds: 40,
      capacity: () => capacity,
      service: service.even(millis)
    })
    expect(report.rate(10, 40) / ((capacity * 1000) / millis)).toBeGreaterThan(0.95)
  })
})

describe.each([
  { name: "vegas", make: vegas },
  { name: "gradient", make: gradient }
])("$name", ({ make }) => {
  const steady = { upstream: "slots", capacity: () => capacity } as const

  it("is not brought down by 2 % of calls that take ten times as long", () => {
    for (const seed of seeds) {
      const report = run(make({ max: 200 }), {
        ...steady,
        seed,
        seconds: 40,
        service: service.outliers(service.even(10), 0.02, 10)
      })
      expect(worst(report, 10, 40, capacity)).toBeLessThanOrEqual(0.2)
    }
  })

  it("finds the capacity on average where service times are exponential", () => {
    for (const seed of seeds) {
      const report = run(make({ max: 200 }), { ...steady, seed, seconds: 60, service: service.exponential(10) })
      expect(Math.abs(mean(report.seconds(15, 60)) / capacity - 1)).toBeLessThanOrEqual(0.2)
    }
  })

  it("finds it where one call in five takes five times as long, and is not led astray by those that are all short", () => {
    for (const seed of seeds) {
      const report = run(make({ max: 200 }), {
        ...steady,
        seed,
        seconds: 60,
        service: service.outliers(service.even(10), 0.2, 5)
      })
      expect(Math.abs(mean(report.seconds(15, 60)) / capacity - 1)).toBeLessThanOrEqual(0.2)
      // 1.8 times as long on average.
      expect(report.rate(15, 60) / ((capacity * 1000) / 18)).toBeGreaterThan(0.955)
    }
  })

  it("learns that calls take half as long, and does not take the rest for room", () => {
    for (const seed of seeds) {
      const report = run(make({ max: 200 }), {
        ...steady,
        seed,
        seconds: 50,
        service: (random, second) => service.even(second < 20 ? 100 : 50)(random)
      })
      expect(worst(report, 10, 20, capacity)).toBeLessThanOrEqual(0.2)
      expect(worst(report, 30, 50, capacity)).toBeLessThanOrEqual(0.2)
    }
  })

  it("learns that calls take twice as long, and does not take that for a queue", () => {
    for (const seed of seeds) {
      const report = run(make({ max: 200 }), {
        ...steady,
        seed,
        seconds: 50,
        service: (random, second) => service.even(second < 20 ? 100 : 200)(random)
      })
      expect(worst(report, 30, 50, capacity)).toBeLessThanOrEqual(0.2)
    }
  })

  it("gives way when nine tenths of the capacity go, and takes no queue for how long calls take", () => {
    for (const seed of seeds) {
      const options = { seed, upstream: "slots", seconds: 50, service: service.even(100) } as const
      const report = run(make({ max: 200 }), { ...options, capacity: (second) => (second < 20 ? 40 : 4) })
      expect(mean(report.seconds(10, 20))).toBeGreaterThan(38)
      expect(Math.max(...report.seconds(32, 50))).toBeLessThan(6)
    }
  })

  it("is not blown up by traffic that does not need it", () => {
    for (const seed of seeds) {
      // A tenth of the limit is in use on average.
      const report = run(make({ max: 200, initial: 40 }), { ...steady, seed, offered: () => 400, seconds: 30 })
      expect(Math.max(...report.limits)).toBe(40)
      expect(Math.min(...report.limits.slice(50))).toBe(40)
    }
  })

  it("holds up nobody where there is no queue to be found", () => {
    const report = run(make({ max: 200 }), { ...steady, seed: 1, capacity: () => 1000, seconds: 20 })
    expect(Math.min(...report.seconds(5, 20))).toBeGreaterThan(180)
  })

  it("goes by refusals where they are all it gets", () => {
    for (const seed of seeds) {
      const report = run(make({ max: 200 }), { ...steady, seed, upstream: "refusing", seconds: 30 })
      expect(worst(report, 10, 30, capacity)).toBeLessThanOrEqual(0.2)
    }
  })
})

describe("aimd", () => {
  it("finds a capacity by latency where it is told what is slow", () => {
    for (const seed of seeds) {
      const report = run(aimd({ max: 200, slow: 12 }), { seed, upstream: "slots", seconds: 25 })
      expect(worst(report, 10, 25, capacity)).toBeLessThanOrEqual(0.2)
    }
  })

  it("has few refused for what it gets through", () => {
    const report = run(aimd({ max: 200 }), { seed: 1, upstream: "refusing", seconds: 25, capacity: () => capacity })
    expect(report.refused / (report.rate(0, 25) * 25)).toBeLessThan(0.02)
  })
})

describe.each([
  { name: "vegas", make: vegas },
  { name: "gradient", make: gradient }
])("$name at a gate", ({ make }) => {
  it.effect("finds the capacity of what is behind it, from what the gate tells it, and leaves nothing held", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: make({ max: 200 }), line: { maxItems: 3000 } })
      const upstream = Semaphore.makeUnsafe(capacity)
      let calls = 0
      const call = upstream.withPermits(1)(Effect.suspend(() => Effect.sleep(90 + ((calls++ * 13) % 21))))
      const callers = yield* Effect.forEach(Array.from({ length: 3000 }), () => Effect.forkChild(gate.run(call)))
      const limits: Array<number> = []
      for (let passed = 0; passed < 10_000; passed += 10) {
        yield* TestClock.adjust(10)
        limits.push((yield* gate.statistics).limit!)
      }
      expect(Math.abs(mean(limits.slice(-400)) / capacity - 1)).toBeLessThanOrEqual(0.2)
      yield* Fiber.interruptAll(callers)
      const after = yield* gate.statistics
      expect(Gate.check(after)).toEqual([])
      expect([after.running, after.waiting]).toEqual([0, 0])
    })
  )
})

describe("docs/ConcurrencyLimit.md", () => {
  it("shows what the simulation measures", () => {
    const text = readFileSync(join(limits.docs, "ConcurrencyLimit.md"), "utf8")
    expect(text).toBe(limits.page(text))
    expect(readFileSync(join(limits.docs, "ConcurrencyLimit.svg"), "utf8")).toBe(limits.picture())
  }, 30_000)
})
