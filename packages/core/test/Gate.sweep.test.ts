/**
 * Each operation of a gate, with an interrupt at every place where one can land, and in random interleavings: permits,
 * tokens, places in the line and allowances are all there afterwards.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { ConcurrencyLimit, Deadline, Gate, Overflow, Priority, RateWindow, Tenant } from "@fairlead/core"
import { Simulation, Sweep } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"
import { nothingLeft } from "./gates.ts"
import { all } from "./sweeps.ts"

interface Scene {
  readonly options: Gate.Options
  readonly subject: (gate: Gate.Gate) => Effect.Effect<unknown, unknown>
  /** The fewest places where an interrupt lands, or there is less in it than it says. */
  readonly places: number
}

const work = Effect.sleep("10 millis")
const after = (millis: number, effect: Effect.Effect<unknown, unknown>) => Effect.delay(effect, millis)
const held = (gate: Gate.Gate, ask: Gate.HoldAsk, body: (permit: Gate.Permit) => void) =>
  Effect.scoped(
    Effect.flatMap(gate.hold(ask), (permit) =>
      Effect.andThen(
        work,
        Effect.sync(() => body(permit))
      )
    )
  )

const eviction = (overflow: Overflow.Overflow): Scene => ({
  options: { limit: 1, line: { maxItems: 2, overflow } },
  subject: (gate) =>
    all(
      gate.run(work),
      Priority.background(gate.run(work)),
      Priority.background(gate.run(work)),
      gate.run(work),
      Priority.at(gate.run(work), 0),
      after(5, Priority.at(gate.run(work), 0))
    ),
  places: 60
})

const scenes: Record<string, Scene> = {
  "allowances of their own, parked and brought back": {
    options: {
      limit: 1,
      perTenant: (tenant) => (tenant === "t" ? { limit: 1 } : undefined),
      perKey: { windows: [RateWindow.per(2, "20 millis")] }
    },
    subject: (gate) =>
      Tenant.as(
        all(
          gate.run(work),
          gate.run(work, { key: "k" }),
          Priority.at(gate.run(work), 1),
          gate.run(work, { key: "k", maxWait: "25 millis" }),
          // More urgent: those of the tenant are back in the line by then, and wait there.
          gate.run(work).pipe(Tenant.as("other"), Priority.at(0)),
          after(15, gate.run(work, { key: "k" }).pipe(Tenant.as("other"), Priority.at(0))),
          held(gate, { key: "k", pending: true }, () => {})
        ),
        "t"
      ),
    places: 80
  },
  "the other side's word, for all and for a key": {
    options: { limit: 2, windows: [RateWindow.per(4, "50 millis", { counts: "answer" })] },
    subject: (gate) =>
      all(
        held(gate, { key: "k" }, (permit) => permit.tighten({ closedFor: "20 millis" })),
        gate.run(work, { key: "k" }),
        gate.run(work, { key: "k", maxWait: "10 millis" }),
        gate.run(work),
        after(5, gate.tighten({ remaining: 1, resetsIn: "15 millis" })),
        after(7, gate.tighten({ closedFor: "5 millis" }, "other"))
      ),
    places: 70
  },
  "answers, settlements and early releases": {
    options: {
      limit: 2,
      windows: [RateWindow.per(5, "30 millis", { counts: "answer" }), RateWindow.per(8, "1 second")]
    },
    subject: (gate) =>
      all(
        held(gate, { cost: 3, pending: true }, (permit) => {
          permit.sent()
          permit.settle(1)
          permit.answered()
        }),
        held(gate, { cost: 2 }, (permit) => {
          permit.answered("overload", 5)
          permit.settle(3)
          permit.release("ignore")
        }),
        held(gate, { cost: 4, pending: true }, (permit) => permit.settle(2)),
        gate.run(work, { cost: 4 })
      ),
    places: 50
  },
  "limits that change": {
    options: { limit: ConcurrencyLimit.aimd({ min: 1, max: 3 }) },
    subject: (gate) =>
      all(
        gate.run(work),
        gate.run(work),
        gate.run(work),
        Deadline.within(gate.run(Effect.never), "25 millis"),
        after(5, gate.resize(2)),
        after(12, gate.resize(1)),
        after(15, gate.resize(ConcurrencyLimit.aimd({ min: 1, max: 3 })))
      ),
    places: 70
  },
  "deadlines, shedding and explain": {
    options: {
      limit: 1,
      protect: {
        codel: { target: "5 millis", interval: "15 millis" },
        newestFirst: true,
        throttle: { memory: "1 second" },
        shed: [{ name: "signal", urgency: () => 7 }]
      }
    },
    subject: (gate) =>
      all(
        gate.run(work),
        gate.run(work),
        Deadline.within(gate.run(work), "12 millis"),
        Deadline.within(gate.run(work), "25 millis"),
        Priority.background(gate.run(work)),
        Effect.uninterruptible(Deadline.within(gate.run(work), "8 millis")),
        after(6, gate.explain)
      ),
    places: 70
  },
  "work that is raised while it waits": {
    options: { limit: 1, perTenant: (tenant) => (tenant === "t" ? { limit: 1 } : undefined) },
    subject: (gate) => {
      const shared = Priority.boosted((boost) =>
        all(gate.run(work), after(3, boost(0)), after(6, boost(undefined)), after(9, boost(2)))
      )
      return all(
        Tenant.as(gate.run(work), "t"),
        gate.run(work),
        Priority.background(shared),
        shared.pipe(Priority.background, Tenant.as("t"))
      )
    },
    places: 90
  },
  ...Object.fromEntries(Overflow.all.map((overflow) => [`a full line: ${overflow}`, eviction(overflow)]))
}

/** All that its scope gives back is back, and it lets in as many as at first. */
const asAtFirst = (gate: Gate.Gate) =>
  Effect.gen(function* () {
    yield* nothingLeft(gate)
    const { windows } = yield* gate.statistics
    for (const { pending } of windows) expect(pending).toBe(0)
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
  })

describe("Gate, interrupted anywhere", () => {
  for (const [name, { options, places, subject }] of Object.entries(scenes)) {
    it.live(`passes the sweep: ${name}`, () =>
      Effect.gen(function* () {
        const hits = yield* Sweep.sweep({ setup: Gate.make("swept", options), subject, check: asAtFirst })
        expect(hits).toBeGreaterThanOrEqual(places)
      })
    )

    it.live(`passes for pairs of places: ${name}`, () =>
      Effect.gen(function* () {
        const { pairs } = yield* Sweep.pairs(
          { setup: Gate.make("swept", options), subject, check: asAtFirst },
          { limit: 300 }
        )
        expect(pairs).toBeGreaterThan(280)
      })
    )

    it.live(`passes in random interleavings: ${name}`, () =>
      Simulation.simulate(
        40,
        { setup: Gate.make("simulated", options), subject, check: asAtFirst },
        { cancelPoints: 10 }
      )
    )
  }
})
