/**
 * Runs that several wait for, with an interrupt at every place where one can land, for pairs of places, and in programs
 * and interleavings made by chance: every caller comes to one end, his own key's, and nothing is left of any run.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Option, Random } from "effect"
import { Coalesce, Deadline, Gate, Priority } from "@fairlead/core"
import { Simulation } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"
import { all, interruptedAnywhere } from "./sweeps.ts"

interface Setup {
  readonly calls: Coalesce.Coalesce<string, string, string>
  readonly gate: Gate.Gate
  /** Of all runs, what they have open. */
  open: number
}

const make = (options: Partial<Coalesce.Options<string, string, string, never>> = {}) =>
  Effect.gen(function* () {
    const gate = yield* Gate.make("api", { limit: 1 })
    const setup = { gate, open: 0 }
    const calls = yield* Coalesce.make<string, string, string>("swept", {
      run: (key) =>
        Effect.acquireUseRelease(
          Effect.sync(() => setup.open++),
          () =>
            key === "gate"
              ? gate.run(Effect.sleep("10 millis")).pipe(Effect.mapError(String), Effect.as(key))
              : Effect.andThen(Effect.sleep("10 millis"), key === "fails" ? Effect.fail("no") : Effect.succeed(key)),
          () =>
            Effect.andThen(
              Effect.yieldNow,
              Effect.sync(() => setup.open--)
            )
        ),
      ...options
    })
    return Object.assign(setup, { calls }) as Setup
  })

const nothingLeft = ({ calls, gate, open }: Setup) =>
  Effect.gen(function* () {
    const statistics = yield* calls.statistics
    expect(Coalesce.check(statistics)).toEqual([])
    expect([statistics.runs, statistics.waiting, open]).toEqual([0, 0, 0])
    expect((yield* gate.statistics).running).toBe(0)
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
  })

const scenes: Record<
  string,
  {
    readonly options?: Partial<Coalesce.Options<string, string, string, never>>
    readonly subject: (setup: Setup) => Effect.Effect<unknown, unknown>
    readonly places: number
  }
> = {
  "three share a run, and one comes late": {
    subject: ({ calls }) => all(calls.call("a"), calls.call("a"), calls.call("b"), Effect.delay(calls.call("a"), 5)),
    places: 25
  },
  "failures, each of one": {
    options: { failures: "own" },
    subject: ({ calls }) => all(calls.call("fails"), calls.call("fails"), Effect.delay(calls.call("fails"), 15)),
    places: 25
  },
  "a run in a gate's line, urgent and not, cut by deadlines": {
    subject: ({ calls, gate }) =>
      all(
        gate.run(Effect.sleep("5 millis")),
        calls.call("gate").pipe(Priority.at(6), Deadline.within("12 millis")),
        calls.call("gate").pipe(Priority.at(1), Deadline.within("8 millis")),
        Effect.uninterruptible(calls.call("gate")).pipe(Deadline.within("7 millis"))
      ),
    places: 25
  },
  "what is remembered, and what is refused": {
    options: { remember: { for: "20 millis" }, maxRuns: 1, maxCallers: 2 },
    subject: ({ calls }) =>
      all(calls.call("a"), calls.call("b"), calls.call("a"), calls.call("a"), Effect.delay(calls.call("a"), 15)),
    places: 25
  }
}

describe("Coalesce, interrupted anywhere", () => {
  for (const [name, { options, places, subject }] of Object.entries(scenes)) {
    interruptedAnywhere(name, { setup: make(options), subject, check: nothingLeft }, { places })
  }
})

/** Callers by chance, who come when they like and may leave before the end; what each came to is what a run of his key did. */
const program = Effect.gen(function* () {
  const random = yield* Random.Random
  const below = (n: number) => Math.floor(random.nextDoubleUnsafe() * n)
  let alive = 0
  const began = new Set<string>()
  const failures = below(2) === 0 ? "own" : "shared"
  const calls = yield* Coalesce.make<string, string, string>("simulated", {
    failures,
    run: (key) => {
      const id = `${key} ${began.size}`
      began.add(id)
      return Effect.acquireUseRelease(
        Effect.sync(() => alive++),
        () =>
          Effect.gen(function* () {
            if (below(4) > 0) yield* Effect.sleep(below(20))
            return below(4) === 0 ? yield* Effect.fail(id) : id
          }),
        () => Effect.sync(() => alive--)
      )
    }
  })
  const told: Array<string> = []
  const caller = Effect.gen(function* () {
    yield* Effect.sleep(below(30))
    const key = "abc"[below(3)]!
    const call = Effect.flip(Effect.flip(calls.call(key).pipe(Effect.catch((error) => Effect.succeed(String(error))))))
    const outcome = below(3) === 0 ? yield* Deadline.option(call, below(15)) : Option.some(yield* call)
    if (Option.isNone(outcome)) return
    told.push(outcome.value)
    if (outcome.value[0] !== key) throw new Error(`Expected an end of ${key}, got ${outcome.value}`)
    if (!began.has(outcome.value)) throw new Error(`Expected the end of a run, got ${outcome.value}`)
  })
  yield* Effect.forEach(Array.from({ length: 12 }), () => caller, { concurrency: "unbounded", discard: true })
  const statistics = yield* calls.statistics
  const broken = Coalesce.check(statistics)
  const { begun, completed, failed, interrupted, joined, offered, runs, waiting } = statistics
  if (broken.length > 0) throw new Error(broken.join())
  const right =
    alive === 0 &&
    runs === 0 &&
    waiting === 0 &&
    begun >= began.size &&
    // Who was told may be cut before he goes on; a run may fail and be cut at once.
    told.length <= completed + failed + interrupted
  if (!right)
    throw new Error(`Expected nothing left, got ${JSON.stringify({ ...statistics, alive, told: told.length })}`)
  // Failures of one's own are of as many runs; else nobody begins one who finds one.
  if (failures === "shared" && begun + joined !== offered)
    throw new Error(`Expected ${offered}, got ${begun} + ${joined}`)
  if (failures === "own" && failed > begun)
    throw new Error(`Expected a run for each failure, got ${begun} of ${failed}`)
  return interrupted
})

describe("Coalesce, by chance", () => {
  it.live(
    "every caller comes to one end, that of a run of his key",
    () => Simulation.simulate(1500, program, { cancelPoints: 5 }),
    60_000
  )

  it.live("a caller that comes while the last one leaves begins anew, whatever comes first", () =>
    Simulation.simulate(
      300,
      Effect.gen(function* () {
        const open = yield* Deferred.make<void>()
        const calls = yield* Coalesce.make<string, string>("simulated", {
          run: () => Effect.as(Deferred.await(open), "end")
        })
        const leaving = calls.call("x").pipe(Deadline.option("1 millis"))
        const coming = Effect.delay(calls.call("x"), "1 millis")
        const opens = Effect.delay(Deferred.succeed(open, undefined), "2 millis")
        const [, came] = yield* Effect.all([leaving, coming, opens], { concurrency: "unbounded" })
        if (came !== "end") throw new Error(`Expected the end of a run of his own, got ${came}`)
      })
    )
  )
})
