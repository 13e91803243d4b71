/**
 * A breaker with an interrupt at every place where one can land, for pairs of places, and in interleavings made by chance: one
 * probe at a time, each call counted once, and nothing left.
 */
import { describe, expect } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { Deadline } from "@fairlead/core"
import { CircuitBreaker } from "@fairlead/core/http"
import * as timer from "../../src/internal/timer.ts"
import { all, interruptedAnywhere } from "../sweeps.ts"

interface Setup {
  readonly breaker: CircuitBreaker.CircuitBreaker
  /** Calls that run, by their own count. */
  running: number
  /** Of them, those that began as a probe. */
  probes: number
}

const make = (options: CircuitBreaker.Options) =>
  Effect.map(CircuitBreaker.make("swept", options), (breaker): Setup => ({ breaker, running: 0, probes: 0 }))

const call = (setup: Setup, ends: "works" | "fails", millis: number) =>
  setup.breaker.run(
    Effect.acquireUseRelease(
      Effect.gen(function* () {
        const { halfOpen } = yield* setup.breaker.statistics
        setup.running++
        setup.probes += halfOpen
        if (setup.probes > 1) throw new Error(`Expected one probe at a time, got ${setup.probes}`)
        return halfOpen
      }),
      () => Effect.andThen(Effect.sleep(millis), ends === "works" ? Effect.void : Effect.fail("no")),
      (halfOpen) =>
        Effect.sync(() => {
          setup.running--
          setup.probes -= halfOpen
        })
    )
  )

const nothingLeft = ({ breaker, probes, running }: Setup) =>
  Effect.gen(function* () {
    const statistics = yield* breaker.statistics
    expect(CircuitBreaker.check(statistics)).toEqual([])
    expect([statistics.running, running, probes]).toEqual([0, 0, 0])
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
    // Whatever was interrupted: once its time is over somebody is let in, and closes it. (By a rate a success may open it.)
    for (let i = 0; i < 3; i++) yield* Effect.delay(Effect.ignore(breaker.run(Effect.void)), "20 millis")
    expect((yield* breaker.statistics).halfOpen + (yield* breaker.statistics).open).toBe(0)
  })

const scenes: Record<
  string,
  {
    readonly options: CircuitBreaker.Options
    readonly subject: (setup: Setup) => Effect.Effect<unknown, unknown>
    readonly places: number
  }
> = {
  "failures, refusals and a probe": {
    options: { failures: 2, open: "10 millis" },
    subject: (setup) =>
      all(
        call(setup, "fails", 2),
        call(setup, "fails", 3),
        call(setup, "works", 5),
        Effect.delay(call(setup, "works", 1), 5),
        Effect.delay(call(setup, "works", 3), 14),
        Effect.delay(call(setup, "works", 3), 15),
        Effect.delay(call(setup, "fails", 3), 20)
      ),
    places: 20
  },
  "a probe that is cut, and one that fails": {
    options: { failures: 1, open: "5 millis" },
    subject: (setup) =>
      all(
        call(setup, "fails", 0),
        Effect.delay(call(setup, "works", 10), 6).pipe(Deadline.within("8 millis")),
        Effect.delay(call(setup, "fails", 1), 9),
        Effect.delay(call(setup, "works", 1), 16)
      ),
    places: 20
  },
  "by a rate, every call asked for": {
    options: { failures: { rate: 0.5, of: 4, atLeast: 2 }, open: "5 millis" },
    subject: (setup) =>
      all(
        call(setup, "works", 1),
        call(setup, "fails", 2),
        call(setup, "works", 4),
        Effect.delay(call(setup, "works", 1), 8)
      ),
    places: 12
  }
}

describe("CircuitBreaker, interrupted anywhere", () => {
  for (const [name, { options, places, subject }] of Object.entries(scenes)) {
    interruptedAnywhere(
      name,
      { setup: make(options), subject, check: nothingLeft },
      { places, pairs: 100, interleavings: 200 }
    )
  }
})
