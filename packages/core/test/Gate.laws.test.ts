/**
 * What holds for every gate, whatever it is made of: random loads through every overflow policy and every limit, with
 * windows and without, by shares and strict, with tenants' own allowances and without.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Duration, Effect, Exit, Fiber, Option, Random } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { ConcurrencyLimit, Deadline, Gate, Overflow, Priority, RateWindow, Refused, Tenant } from "@fairlead/core"
import { grain } from "../src/internal/millis.ts"
import { fork, nothingLeft } from "./gates.ts"

/** On a loaded machine. */
const slow = { timeout: 120_000 }

const limits = {
  fixed: 3,
  aimd: ConcurrencyLimit.aimd({ min: 1, max: 6, initial: 3 }),
  vegas: ConcurrencyLimit.vegas({ min: 1, max: 6, initial: 3 }),
  gradient: ConcurrencyLimit.gradient({ min: 1, max: 6, initial: 3 })
}
const most = 6

const windows = [RateWindow.per(12, "100 millis", { burst: 6 }), RateWindow.per(40, "1 second")]
const tenants = ["", "a", "b"] as const
const tenantWindows = [RateWindow.per(8, "150 millis")]
const allowances: ReadonlyArray<Gate.Allowance | undefined> = [
  undefined,
  { limit: 2, windows: tenantWindows },
  { limit: 1, windows: tenantWindows, spent: "refuse" }
]

const maybe = <A>(arbitrary: fc.Arbitrary<A>) => fc.option(arbitrary, { nil: undefined, freq: 2 })
const urgency = fc.integer({ min: 0, max: 7 }).map((u) => u as Priority.Urgency)

const call = fc.record({
  after: fc.constantFrom(0, 0, 0, 1, 5, 20),
  urgency,
  tenant: fc.constantFrom(...tenants),
  key: maybe(fc.constantFrom("x", "y")),
  cost: fc.integer({ min: 1, max: 4 }),
  bytes: fc.constantFrom(0, 10, 60),
  maxWait: maybe(fc.constantFrom(0, 30, 200)),
  budget: maybe(fc.integer({ min: 1, max: 300 })),
  lasts: fc.constantFrom(0, 5, 20, 60),
  ends: fc.constantFrom("ok", "ok", "ok", "fails", "dies", "refused"),
  cutAfter: maybe(fc.integer({ min: 0, max: 150 })),
  how: fc.constantFrom("run", "run", "hold", "pending", "never sent", "released", "settled")
})

const turn = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant("call" as const), call }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("resize" as const), limit: fc.integer({ min: 1, max: most }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("tighten" as const),
      key: maybe(fc.constantFrom("x", "y")),
      hint: fc.constantFrom<RateWindow.Hint>({ closedFor: 40 }, { remaining: 2, resetsIn: 60 }, { remaining: 0 })
    })
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("explain" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("shed" as const), urgency: fc.integer({ min: 2, max: 8 }) }) }
)

const bound = fc.record(
  {
    maxItems: fc.integer({ min: 0, max: 10 }),
    maxCost: fc.integer({ min: 1, max: 20 }),
    maxBytes: fc.integer({ min: 0, max: 150 })
  },
  { requiredKeys: [] }
)

const load = fc.record({
  line: fc.record({ all: bound, levels: fc.dictionary(fc.constantFrom("0", "3", "7"), bound) }),
  maxWait: maybe(fc.constant(250)),
  protect: fc.boolean(),
  turns: fc.array(turn, { minLength: 10, maxLength: 50, size: "max" }),
  seed: fc.integer()
})

type Call = typeof call extends fc.Arbitrary<infer C> ? C : never
type Load = typeof load extends fc.Arbitrary<infer L> ? L : never

/** What became of a call, as its caller knows. */
interface Fate {
  readonly call: Call
  begun: number
  /** Holds its permit now. */
  holds: boolean
  /** What its gate must have counted; undefined: interrupted, or refused and then interrupted. */
  end: "completed" | "failed" | "interrupted" | "refused" | "gone" | undefined
  reason: Refused.Reason | undefined
}

interface Start {
  readonly at: number
  readonly tenant: string
  cost: number
}

/** No window has more than its limit. */
const keeps = (starts: ReadonlyArray<Start>, { length, limit }: RateWindow.RateWindow) => {
  const millis = Duration.toMillis(length)
  for (const { at } of starts) {
    const within = starts.filter((start) => start.at > at - millis + grain && start.at <= at)
    const sum = within.reduce((sum, { cost }) => sum + cost, 0)
    if (sum > limit) throw new Error(`${sum} began in the ${millis} ms up to ${at}, and ${limit} may`)
  }
}

const elsewhere = new Refused.Refused({
  reason: new Refused.CircuitOpen({ failures: 1 }),
  gate: "another",
  waited: Duration.zero,
  retryAfter: Option.none()
})

const endings: Record<Call["ends"], Effect.Effect<void, unknown>> = {
  ok: Effect.void,
  fails: Effect.fail("no"),
  dies: Effect.die("!"),
  refused: Effect.fail(elsewhere)
}

/** One who comes to `gate`, and notes what becomes of it. */
const caller = (gate: Gate.Gate, fate: Fate, starts: Array<Start>): Effect.Effect<unknown> => {
  const { bytes, budget, cost, cutAfter, ends, how, key, lasts, maxWait, tenant, urgency } = fate.call
  const ask = { bytes, cost, key, maxWait }
  const begins = Effect.sync(() => {
    fate.begun++
    fate.holds = true
  })
  const starting = Effect.map(Clock.currentTimeMillis, (at) => {
    const start = { at, tenant, cost }
    starts.push(start)
    return start
  })
  const work: Effect.Effect<void, unknown> = Effect.andThen(Effect.sleep(lasts), endings[ends])
  const held = Effect.gen(function* () {
    const permit = yield* gate.hold({ ...ask, pending: how === "pending" || how === "never sent" })
    yield* begins
    if (how === "pending") {
      yield* Effect.sleep(lasts)
      permit.sent()
      permit.sent()
    }
    const start = how === "never sent" ? undefined : yield* starting
    if (how === "settled") {
      yield* Effect.sleep(lasts)
      permit.answered()
      permit.settle(cost / 2)
      permit.settle(cost / 4)
      permit.settle(cost)
      start!.cost = cost / 4
    }
    if (how === "released") {
      permit.release()
      fate.end = "completed"
      fate.holds = false
    }
    yield* work
  })
  const asked =
    how === "run" ? gate.run(Effect.andThen(Effect.andThen(begins, starting), work), ask) : Effect.scoped(held)
  return asked.pipe(
    Effect.onExit((exit) =>
      Effect.sync(() => {
        fate.holds = false
        const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        if (error instanceof Refused.Refused && error.gate === gate.name) fate.reason = error.reason
        fate.end ??= Exit.isSuccess(exit)
          ? "completed"
          : Exit.hasInterrupts(exit)
            ? fate.begun > 0
              ? "interrupted"
              : "gone"
            : fate.reason === undefined
              ? "failed"
              : "refused"
      })
    ),
    Priority.at(urgency),
    Tenant.as(tenant),
    (self): Effect.Effect<unknown, unknown> => (budget === undefined ? self : Deadline.within(self, budget)),
    Effect.exit,
    (self): Effect.Effect<unknown> => (cutAfter === undefined ? self : Effect.timeoutOption(self, cutAfter))
  )
}

const play = (options: Gate.Options, { line, maxWait, protect, seed, turns }: Load) =>
  Effect.gen(function* () {
    let shedFrom = 8
    const signal = { name: "test", urgency: () => shedFrom }
    const protections: Gate.Protect = {
      codel: { target: 20, interval: 100 },
      newestFirst: true,
      throttle: {},
      shed: [signal]
    }
    const bounds: Gate.Bound = line.all
    const levels = line.levels as Gate.Line["levels"]
    const whole: Gate.Line = { ...bounds, overflow: options.line?.overflow, levels, maxWait }
    const gate = yield* Gate.make("laws", { ...options, line: whole, protect: protect ? protections : undefined })
    const starts: Array<Start> = []
    const fates: Array<Fate> = []
    const fibers: Array<Fiber.Fiber<unknown>> = []
    const own = options.perTenant as Gate.Allowance | undefined

    const look = Effect.gen(function* () {
      const statistics = yield* gate.statistics
      expect(Gate.check(statistics)).toEqual([])
      const { limit, surplus } = statistics
      expect(limit! >= 1 && limit! <= most).toBe(true)
      const holders = fates.filter(({ holds }) => holds)
      expect(holders.length).toBeLessThanOrEqual(limit! + surplus)
      for (const { call } of holders) {
        const same = holders.filter((other) => other.call.tenant === call.tenant)
        expect(same.length).toBeLessThanOrEqual(own?.limit ?? Infinity)
      }
      return statistics
    })

    for (const turn of turns) {
      if (turn.do === "call") {
        yield* TestClock.adjust(turn.call.after)
        const fate: Fate = { call: turn.call, begun: 0, holds: false, end: undefined, reason: undefined }
        fates.push(fate)
        fibers.push(yield* fork(caller(gate, fate, starts)))
      } else if (turn.do === "resize") yield* gate.resize(turn.limit)
      else if (turn.do === "tighten") yield* gate.tighten(turn.hint, turn.key)
      else if (turn.do === "shed") shedFrom = turn.urgency
      else {
        const { parked, waiting } = yield* gate.statistics
        const places = (yield* gate.explain).map(({ place }) => place)
        expect(places.filter((place) => place === null).length).toBe(parked)
        expect(places.flatMap((place) => place ?? [])).toEqual(
          Array.from({ length: waiting - parked }, (_, i) => i + 1)
        )
      }
      yield* look
    }
    shedFrom = 8
    yield* TestClock.adjust("10 minutes")

    // Nobody hangs, and nothing is left.
    expect(fibers.map((fiber) => fiber.pollUnsafe()).filter((exit) => exit === undefined)).toEqual([])
    yield* nothingLeft(gate)
    const { completed, failed, interrupted, offered, refused } = yield* look

    // What the gate has counted is what became of those who came.
    const count = (end: Fate["end"]) => fates.filter((fate) => fate.end === end).length
    expect([offered, completed, failed]).toEqual([fates.length, count("completed"), count("failed")])
    expect(interrupted + refused).toBe(count("interrupted") + count("refused") + count("gone"))
    expect(interrupted).toBeGreaterThanOrEqual(count("interrupted"))
    // Whoever is refused is told, and why; has not begun; and nobody is put out for one less urgent.
    expect(refused).toBeGreaterThanOrEqual(count("refused"))
    for (const { begun, call, reason } of fates) {
      expect(begun).toBeLessThanOrEqual(reason === undefined ? 1 : 0)
      if (reason?._tag !== "Evicted") continue
      expect(options.line?.overflow).not.toBe("reject")
      if (options.shares === "strict") expect(reason.by).toBeLessThanOrEqual(call.urgency)
    }
    for (const window of options.windows ?? []) keeps(starts, window)
    for (const window of own?.windows ?? []) {
      for (const tenant of tenants)
        keeps(
          starts.filter((start) => start.tenant === tenant),
          window
        )
    }
    return fates.flatMap(({ end, reason }) => [String(end), ...(reason === undefined ? [] : [reason._tag])])
  }).pipe(Effect.scoped, Random.withSeed(seed), Effect.provide(TestClock.layer()), Effect.runPromise)

describe("Gate, laws", () => {
  for (const overflow of Overflow.all) {
    for (const [name, limit] of Object.entries(limits)) {
      it(`all is accounted for, nobody hangs, nothing is left: ${overflow}, ${name}`, slow, async () => {
        const seen = new Set<string>()
        for (const shares of ["strict", undefined, { 0: 3, 3: 2 }] as const) {
          for (const windowed of [false, true]) {
            for (const perTenant of allowances) {
              const options = { limit, shares, windows: windowed ? windows : [], perTenant, line: { overflow } }
              await fc.assert(
                fc.asyncProperty(load, async (load) => {
                  for (const what of await play(options, load)) seen.add(what)
                }),
                { numRuns: 6 }
              )
            }
          }
        }
        for (const end of ["completed", "failed", "interrupted", "refused", "gone"]) expect(seen).toContain(end)
        for (const reason of ["QueueFull", "WaitExceeded", "TooLate", "RateLimited", "Shed"])
          expect(seen).toContain(reason)
        expect(seen.has("Evicted")).toBe(overflow !== "reject")
      })
    }
  }
})

describe("Gate, after 10,000 random cancels", () => {
  for (const overflow of Overflow.all) {
    it.effect(
      `permits and tokens are exact, the tenants' and the keys' too: ${overflow}`,
      () =>
        Effect.gen(function* () {
          const gate = yield* Gate.make("test", {
            limit: 7,
            windows: [RateWindow.per(500, "1 second"), RateWindow.per(900, "3 seconds", { burst: 50 })],
            line: { maxItems: 8_000, maxCost: 15_000, maxWait: "20 seconds", overflow },
            perTenant: { limit: 5, windows: [RateWindow.per(200, "1 second")] },
            perKey: { limit: 4 }
          })
          const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
          let cancelled = 0
          while (cancelled < 10_000) {
            const cost = yield* Random.nextIntBetween(1, 4)
            const urgency = (yield* Random.nextIntBetween(0, 7)) as Priority.Urgency
            const ask = { cost, key: fibers.length % 5 === 0 ? "x" : undefined }
            const call = gate
              .run(Effect.sleep(fibers.length % 3), ask)
              .pipe(
                Priority.at(urgency),
                Tenant.as(`t${fibers.length % 4}`),
                fibers.length % 7 === 0 ? Deadline.option("3 seconds") : Effect.map(Option.some)
              )
            fibers.push(yield* fork(call))
            const other = fibers[yield* Random.nextIntBetween(0, fibers.length - 1)]!
            if (other.pollUnsafe() === undefined) cancelled++
            other.interruptUnsafe()
            if (fibers.length % 50 === 0) yield* TestClock.adjust("1 millis")
            if (fibers.length % 2000 === 0) expect(Gate.check(yield* gate.statistics)).toEqual([])
          }
          for (let i = 0; i < 40; i++) yield* TestClock.adjust("1 second")
          expect(fibers.filter((fiber) => fiber.pollUnsafe() === undefined)).toEqual([])
          yield* nothingLeft(gate)
          const { windows } = yield* gate.statistics
          expect(windows.map(({ debt, pending, used }) => [used, pending, debt])).toEqual([
            [0, 0, 0],
            [0, 0, 0]
          ])
          // All is there: as much as at first, and no more.
          const now = (tenant: string, ask: Gate.Ask) =>
            fork(gate.run(Effect.never, { maxWait: 0, ...ask }).pipe(Tenant.as(tenant)))
          const holders = []
          for (let i = 0; i < 5; i++) holders.push(yield* now("t0", { key: i < 4 ? "x" : undefined }))
          for (let i = 0; i < 2; i++) holders.push(yield* now("t1", {}))
          expect((yield* gate.statistics).running).toBe(7)
          expect((yield* now("t2", {})).pollUnsafe()).toBeDefined()
          yield* Fiber.interruptAll(holders)
          // What they had begun leaves the windows.
          yield* TestClock.adjust("1 minute")
          const all = yield* now("t3", { cost: 50 })
          expect((yield* gate.statistics).running).toBe(1)
          yield* Fiber.interrupt(all)
          yield* nothingLeft(gate)
        }).pipe(Random.withSeed(7)),
      slow.timeout
    )
  }
})

describe("Gate, what the laws have found", () => {
  for (const how of ["run", "hold"] as const) {
    it.effect(
      `one that puts out the head and begins at once has begun: its grant is spent, and it has completed (${how})`,
      () =>
        Effect.gen(function* () {
          const gate = yield* Gate.make("test", {
            windows: [RateWindow.per(2, "1 second")],
            line: { maxItems: 1, overflow: "evictLeast" }
          })
          const call = how === "run" ? gate.run(Effect.void) : Effect.scoped(gate.hold())
          yield* call
          const big = yield* fork(Effect.flip(gate.run(Effect.void, { cost: 2 })))
          yield* call.pipe(Priority.at(0))
          expect((yield* Fiber.join(big)).reason).toEqual(new Refused.Evicted({ by: 0 }))
          const { completed, interrupted, windows } = yield* gate.statistics
          expect([completed, interrupted, windows[0]!.used]).toEqual([2, 0, 2])
          yield* nothingLeft(gate)
        })
    )
  }
})
