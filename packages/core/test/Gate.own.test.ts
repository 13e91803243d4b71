import { describe, expect, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, Gate, Priority, RateWindow, Refused, Tenant } from "@fairlead/core"
import { atOnce, defect, endOf, fork, nothingLeft, reasonOf, refusal, settle, stage, timers } from "./gates.ts"

const only = (name: string, allowance: Gate.Allowance) => (asked: string) => (asked === name ? allowance : undefined)

describe("Gate, what a tenant has of its own", () => {
  it.effect("one that lacks only that is parked: it holds up nobody, and comes back to its place", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2, perTenant: only("t", { limit: 1 }) })
      const { began, come, end, endAll } = stage(gate)
      yield* come("t1", { tenant: "t" })
      yield* come("t2", { tenant: "t" })
      yield* come("z1", { tenant: "z" })
      // A permit was free all the while, and the first in line had no use for it.
      expect(began).toEqual(["t1", "z1"])
      expect(yield* gate.statistics).toMatchObject({ running: 2, waiting: 1, parked: 1 })
      yield* come("z2", { tenant: "z" })
      yield* come("z3", { tenant: "z" })
      yield* end("t1")
      // Turns are the tenants': t2 came back before the last of z.
      expect(began.slice(2)).toEqual(["z2"])
      yield* end("z1")
      expect(began.slice(2)).toEqual(["z2", "t2"])
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("they wait for their own window, and the others do not", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perTenant: { windows: [RateWindow.per(2, "1 second")] } })
      const starts: Array<string> = []
      const call = (tenant: string) =>
        gate
          .run(Effect.map(Clock.currentTimeMillis, (now) => void starts.push(`${tenant} ${now}`)))
          .pipe(Tenant.as(tenant), fork)
      for (let i = 0; i < 5; i++) yield* call("a")
      for (let i = 0; i < 2; i++) yield* call("b")
      expect(starts).toEqual(["a 0", "a 0", "b 0", "b 0"])
      expect(yield* timers).toBe(1)
      yield* TestClock.adjust("2 seconds")
      expect(starts.slice(4)).toEqual(["a 1000", "a 1000", "a 2000"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("its limit holds whoever of it waits, leaves or comes meanwhile", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2, perTenant: only("t", { limit: 1 }) })
      const { began, come, end, endAll } = stage(gate)
      yield* come("z1", { tenant: "z" })
      yield* come("z2", { tenant: "z" })
      yield* come("t1", { tenant: "t" })
      const t2 = yield* come("t2", { tenant: "t" })
      yield* Fiber.interrupt(t2)
      yield* come("t3", { tenant: "t" })
      yield* end("z1", "z2")
      expect(began).toEqual(["z1", "z2", "t1"])
      yield* endAll
      expect(began).toEqual(["z1", "z2", "t1", "t3"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("one admission takes all or nothing: a permit is not held for an allowance, nor the other way round", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        limit: 2,
        windows: [RateWindow.per(10, "1 minute")],
        perTenant: only("t", { limit: 1 }),
        perKey: only("k", { windows: [RateWindow.per(1, "1 minute")] })
      })
      const { began, come, end, endAll } = stage(gate)
      yield* come("k1", { key: "k" })
      yield* end("k1")
      // It lacks its key's window; its tenant's permit, and the gate's, are still there for another.
      const both = yield* come("both", { key: "k", tenant: "t" })
      yield* come("t1", { tenant: "t" })
      expect(began).toEqual(["k1", "t1"])
      expect(yield* gate.statistics).toMatchObject({ running: 1, parked: 1, windows: [{ used: 2, pending: 0 }] })
      yield* TestClock.adjust("1 minute")
      // Now its key's is there, and its tenant's is not.
      expect(began).toEqual(["k1", "t1"])
      yield* end("t1")
      expect(began).toEqual(["k1", "t1", "both"])
      yield* endAll
      expect(yield* Fiber.join(both)).toBe("both")
      yield* nothingLeft(gate)
    })
  )

  it.effect("of those that are parked the most urgent comes back first, and nobody who comes later overtakes it", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perTenant: { limit: 1 } })
      const { began, come, endAll } = stage(gate)
      yield* come("running")
      for (const urgency of [7, 3, 0, 3] as const) yield* come(`${urgency}, number ${began.length}`, { urgency })
      yield* come("late", { urgency: 7 })
      yield* endAll
      expect(began).toEqual(["running", "0, number 1", "3, number 1", "3, number 1", "7, number 1", "late"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("whoever leaves while it is parked, or is next of its tenant, leaves its turn to the one behind it", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 2, perTenant: only("t", { limit: 1 }) })
      const { began, come, end, endAll } = stage(gate)
      yield* come("t1", { tenant: "t" })
      const t2 = yield* come("t2", { tenant: "t" })
      const t3 = yield* come("t3", { tenant: "t" })
      yield* come("t4", { tenant: "t" })
      yield* come("z1", { tenant: "z" })
      yield* come("z2", { tenant: "z" })
      yield* Fiber.interrupt(t2)
      expect((yield* gate.statistics).parked).toBe(2)
      // t3 comes back to the line, behind z2 that has the permit by now.
      yield* end("t1")
      expect(began).toEqual(["t1", "z1", "z2"])
      expect((yield* gate.statistics).parked).toBe(1)
      yield* Fiber.interrupt(t3)
      yield* end("z1")
      expect(began).toEqual(["t1", "z1", "z2", "t4"])
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("what was reserved and not begun goes back to the tenant, too", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perTenant: { windows: [RateWindow.per(1, "1 hour")] } })
      const held = yield* fork(Effect.scoped(Effect.andThen(gate.hold({ pending: true }), Effect.never)))
      const next = yield* fork(gate.run(Effect.succeed("in")))
      expect(next.pollUnsafe()).toBe(undefined)
      yield* Fiber.interrupt(held)
      yield* settle
      expect(endOf(next)).toEqual(Exit.succeed("in"))
      yield* nothingLeft(gate)
    })
  )

  it.effect("parked, one waits no longer than its maxWait, its deadline, or the gate", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const make = Gate.make("api", { line: { maxWait: "2 seconds" }, perTenant: { limit: 1 } })
      const gate = yield* Scope.provide(make, scope)
      const { come, endAll } = stage(gate)
      yield* come("running", { tenant: "web" })
      const patient = yield* come("patient", { tenant: "web" })
      const hurried = yield* fork(
        Effect.flip(gate.run(Effect.void).pipe(Deadline.within("1 second"), Tenant.as("web")))
      )
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(hurried)
      expect(error._tag === "DeadlineExceeded" && error.waitingFor).toEqual(Option.some("tenant web at gate api"))
      yield* TestClock.adjust("1 second")
      expect(reasonOf(endOf(patient))).toEqual(new Refused.WaitExceeded({ maxWait: Duration.seconds(2) }))
      const last = yield* come("last", { tenant: "web" })
      yield* Scope.close(scope, Exit.void)
      yield* settle
      expect(reasonOf(endOf(last))._tag).toBe("ShuttingDown")
      yield* endAll
      yield* nothingLeft(gate)
    })
  )

  it.effect("refused at once: where that is asked for, where it opens after the maxWait, or after the deadline", () =>
    Effect.gen(function* () {
      const windows = [RateWindow.per(2, "1 minute")]
      const gate = yield* Gate.make("test", {
        perTenant: (tenant) => (tenant === "strict" ? { windows, spent: "refuse" } : { windows })
      })
      const call = (tenant: string, ask?: Gate.Ask) => gate.run(Effect.succeed("in"), ask).pipe(Tenant.as(tenant))
      for (const tenant of ["strict", "patient"]) yield* Effect.all([call(tenant), call(tenant)])
      yield* TestClock.adjust("20 seconds")
      const refused = yield* Effect.flip(call("strict"))
      expect(refused.reason).toEqual(new Refused.RateLimited({ window: "2 per 1m" }))
      // When its own window opens, and somewhat spread.
      const retryAfter = Duration.toMillis(Option.getOrThrow(refused.retryAfter))
      expect(retryAfter).toBeGreaterThanOrEqual(40_000)
      expect(retryAfter).toBeLessThan(50_000)
      expect((yield* Effect.flip(call("patient", { maxWait: "39 seconds" }))).reason._tag).toBe("RateLimited")
      const late = yield* Effect.flip(call("patient").pipe(Deadline.within("39 seconds")))
      expect(late._tag === "Refused" && late.reason).toEqual(new Refused.TooLate({ short: Duration.seconds(1) }))
      const waiting = yield* fork(call("patient", { maxWait: "41 seconds" }))
      yield* TestClock.adjust(retryAfter)
      expect(endOf(waiting)).toEqual(Exit.succeed("in"))
      expect(yield* call("strict")).toBe("in")
      yield* nothingLeft(gate)
    })
  )

  it.effect("of a tenant that has nothing to do with it nothing is asked", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      const gate = yield* Gate.make("test", {
        perTenant: (tenant) => (asked.push(tenant), undefined),
        perKey: (key) => (asked.push(key), undefined)
      })
      yield* gate.run(Effect.void).pipe(Tenant.as("a"))
      yield* gate.run(Effect.void, { key: "/x" })
      expect(asked).toEqual(["a", "", "/x"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("misuse names the expectation and the value", () =>
    Effect.gen(function* () {
      const make = (perTenant: Gate.Allowance) => defect(() => Gate.make("x", { perTenant }))
      expect(yield* make({ limit: 0 })).toBe("RangeError: Expected a limit of at least 1 permit for each tenant, got 0")
      expect(yield* make({ spent: "never" as "wait" })).toBe(
        'TypeError: Expected spent to be wait or refuse, got "never"'
      )
      expect(yield* make({ windows: [RateWindow.per(0.5, "1 second")] })).toBe(
        "RangeError: Expected windows of at least 1, got 0.5 per 1s"
      )
      expect(yield* defect(() => Gate.make("x", { perKey: { limit: 0.5 } }))).toContain("for each key, got 0.5")
      const gate = yield* Gate.make("x", { perTenant: { windows: [RateWindow.per(2, "1 second")] } })
      expect(yield* defect(() => gate.run(Effect.void, { cost: 3 }).pipe(Tenant.as("web")))).toBe(
        "RangeError: Expected a cost of at most 2 (2 per 1s of tenant web), got 3"
      )
      expect(yield* defect(() => gate.run(Effect.void, { cost: 3 }))).toContain("(2 per 1s of tenant (none))")
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, what a key has of its own", () => {
  it.effect("is apart from the tenant's, and costs nothing where no key is named", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perKey: { limit: 1 } })
      const { began, come, endAll } = stage(gate)
      yield* come("a1", { key: "/a" })
      yield* come("a2", { key: "/a", urgency: 0, tenant: "other" })
      yield* come("b1", { key: "/b" })
      yield* come("plain")
      expect(began).toEqual(["a1", "b1", "plain"])
      yield* endAll
      expect(began).toEqual(["a1", "b1", "plain", "a2"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("one that was told to pause cools, for as long as it was said, and the others go on", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {})
      const ask = (key: string) => atOnce(gate, { key })
      yield* gate.tighten({ closedFor: "10 seconds" }, "/a")
      expect([yield* ask("/a"), yield* ask("/b"), yield* atOnce(gate)]).toEqual(["RateLimited", "in", "in"])
      expect((yield* gate.statistics).closedKeys).toBe(1)
      // Less than that changes nothing.
      yield* gate.tighten({ closedFor: "1 second" }, "/a")
      const waiting = yield* fork(gate.run(Effect.succeed("in"), { key: "/a" }))
      yield* TestClock.adjust("9999 millis")
      expect(waiting.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 millis")
      expect(endOf(waiting)).toEqual(Exit.succeed("in"))
      expect((yield* gate.statistics).closedKeys).toBe(0)
      yield* nothingLeft(gate)
    })
  )

  it.effect("a pause that is over leaves nothing behind: nobody asks what time it is any more", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      let reads = 0
      const counted = { ...clock, monotonicTimeNanosUnsafe: () => (reads++, clock.monotonicTimeNanosUnsafe()) }
      const gate = yield* Effect.provideService(Gate.make("test", { limit: 2 }), Clock.Clock, counted)
      for (const key of ["/a", "/b", "/c"]) yield* gate.tighten({ closedFor: "1 second" }, key)
      yield* gate.tighten({ closedFor: "1 second" })
      yield* TestClock.adjust("1 second")
      // None of them has one of those keys.
      for (let i = 0; i < 3; i++) yield* gate.run(Effect.void)
      reads = 0
      for (let i = 0; i < 10; i++) yield* gate.run(Effect.void)
      expect(reads).toBe(0)
      yield* nothingLeft(gate)
    })
  )

  it.effect("the holder of a permit passes that on; and those of the key who wait already are held back", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      const { began, come, end } = stage(gate)
      const held = yield* fork(
        Effect.scoped(
          Effect.gen(function* () {
            const permit = yield* gate.hold({ key: "/a" })
            yield* Effect.sleep("1 second")
            permit.tighten({ closedFor: "5 seconds" })
          })
        )
      )
      for (const name of ["/a", "/b"]) yield* come(name, { key: name })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(held)
      expect(began).toEqual(["/b"])
      yield* end("/b")
      yield* TestClock.adjust("5 seconds")
      expect(began).toEqual(["/b", "/a"])
      yield* end("/a")
      yield* nothingLeft(gate)
    })
  )

  it.effect("a pause ends after an hour at the latest, or after the length of its windows", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perKey: only("w", { windows: [RateWindow.per(5, "1 minute")] }) })
      for (const key of ["w", "x"]) yield* gate.tighten({ closedFor: "1 day" }, key)
      const starts: Array<string> = []
      for (const key of ["w", "x"]) {
        const note = Effect.map(Clock.currentTimeMillis, (now) => void starts.push(`${key} ${now / 60_000}`))
        yield* fork(gate.run(note, { key }))
      }
      yield* TestClock.adjust("1 minute")
      yield* TestClock.adjust("1 day")
      expect(starts).toEqual(["w 1", "x 60"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("no calls remaining until a reset is a pause until then; some are none, without windows", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {})
      yield* gate.tighten({ remaining: 0, resetsIn: "3 seconds" }, "/a")
      yield* gate.tighten({ remaining: 7, resetsIn: "3 seconds" }, "/b")
      expect([yield* atOnce(gate, { key: "/a" }), yield* atOnce(gate, { key: "/b" })]).toEqual(["RateLimited", "in"])
      yield* TestClock.adjust("3 seconds")
      expect(yield* atOnce(gate, { key: "/a" })).toBe("in")
      yield* nothingLeft(gate)
    })
  )

  it.effect("says how long to stay away, and does not stand in the way of the urgent either", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1 })
      yield* gate.tighten({ closedFor: "8 seconds" }, "/a")
      const { come, endAll } = stage(gate)
      yield* come("running")
      const parked = yield* come("/a", { key: "/a", urgency: 0 })
      const refused = refusal(yield* Effect.exit(gate.run(Effect.void, { key: "/a", maxWait: "1 second" })))
      expect(refused.reason._tag).toBe("RateLimited")
      const retryAfter = Duration.toMillis(Option.getOrThrow(refused.retryAfter))
      expect(retryAfter).toBeGreaterThanOrEqual(8000)
      expect(retryAfter).toBeLessThanOrEqual(10_000)
      const other = yield* come("other", { key: "/b", urgency: 7 })
      yield* endAll
      expect(endOf(other)).toEqual(Exit.succeed("other"))
      yield* Fiber.interrupt(parked)
      yield* nothingLeft(gate)
    })
  )

  it.effect("goes with the line's order once it is back: by urgency, not by how long it was parked", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, shares: "strict" })
      yield* gate.tighten({ closedFor: "1 second" }, "/a")
      const { began, come, endAll } = stage(gate)
      yield* come("running")
      yield* come("/a", { key: "/a" })
      yield* come("plain")
      yield* come("urgent", { urgency: 0 })
      yield* TestClock.adjust("2 seconds")
      yield* endAll
      // It came before the plain one, and has its place back.
      expect(began).toEqual(["running", "urgent", "/a", "plain"])
      yield* nothingLeft(gate)
    })
  )
})

describe("Gate, work that is raised while it waits", () => {
  it.effect("moves to its new level, in the line and where it is parked", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 1, perTenant: only("t", { limit: 1 }), shares: "strict" })
      const { began, body, come, endAll } = stage(gate)
      const boosts: Array<(urgency: Priority.Urgency | undefined) => Effect.Effect<void>> = []
      const boosted = (name: string, tenant: string) =>
        Priority.boosted((boost) => {
          boosts.push(boost)
          return gate.run(body(name))
        }).pipe(Priority.background, Tenant.as(tenant), fork)
      yield* come("running", { tenant: "t" })
      yield* boosted("shared", "")
      yield* boosted("shared of t", "t")
      yield* come("plain")
      yield* Effect.all(boosts.map((boost) => boost(1)))
      expect((yield* gate.statistics).waitingByUrgency).toEqual([0, 2, 0, 1, 0, 0, 0, 0])
      yield* endAll
      expect(began).toEqual(["running", "shared", "shared of t", "plain"])
      yield* nothingLeft(gate)
    })
  )

  it.effect("where it is the first of those that are parked then, and needs less than they do, it begins at once", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { perKey: { windows: [RateWindow.per(4, "1 hour")] } })
      yield* gate.run(Effect.void, { cost: 3, key: "k" })
      const big = yield* fork(gate.run(Effect.void, { cost: 3, key: "k" }))
      const small = yield* Priority.boosted((boost) =>
        Effect.andThen(fork(Effect.delay(boost(0), "1 second")), gate.run(Effect.succeed("small"), { key: "k" }))
      ).pipe(Priority.background, fork)
      // It fits, and does not overtake.
      expect(small.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 second")
      expect(endOf(small)).toEqual(Exit.succeed("small"))
      yield* Fiber.interrupt(big)
      yield* nothingLeft(gate)
    })
  )
})
