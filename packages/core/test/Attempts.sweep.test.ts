/**
 * Retries and hedges with an interrupt at every place where one can land, for pairs of places, and in programs and
 * interleavings made by chance: every call comes to one end, its own, the budget holds, and nothing is left of any attempt.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Option, Random, Schedule } from "effect"
import { Attempts, Deadline, Gate } from "@fairlead/core"
import { Simulation } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"
import { all, interruptedAnywhere } from "./sweeps.ts"

interface Setup {
  readonly attempts: Attempts.Attempts<any>
  readonly gate: Gate.Gate
  /** Of all attempts, what they have open. */
  open: number
}

const make = (options: Attempts.Options<any> = {}) =>
  Effect.gen(function* () {
    const gate = yield* Gate.make("api", { limit: 1 })
    const attempts = yield* Attempts.make<any>("swept", { backoff: Schedule.spaced("5 millis"), ...options })
    return { attempts, gate, open: 0 } as Setup
  })

/** An attempt that holds something, and takes a while to let go of it. */
const attempt = (setup: Setup, ...times: ReadonlyArray<number>) => {
  let n = 0
  return Effect.acquireUseRelease(
    Effect.sync(() => setup.open++),
    () => {
      const time = times[n++ % times.length]!
      return Effect.andThen(Effect.sleep(Math.abs(time)), time < 0 ? Effect.fail("no") : Effect.succeed(time))
    },
    () =>
      Effect.andThen(
        Effect.yieldNow,
        Effect.sync(() => setup.open--)
      )
  )
}

const nothingLeft = ({ attempts, gate, open }: Setup) =>
  Effect.gen(function* () {
    const statistics = yield* attempts.statistics
    expect(Attempts.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting, open]).toEqual([0, 0, 0])
    const { running, waiting } = yield* gate.statistics
    expect([running, waiting]).toEqual([0, 0])
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
  })

const idempotent = { idempotent: true }
const hedge = { after: "5 millis", ratio: 1 } as const

const scenes: Record<
  string,
  {
    readonly options?: Attempts.Options<any>
    readonly subject: (setup: Setup) => Effect.Effect<unknown, unknown>
    readonly places: number
  }
> = {
  "failures, backoff and a success": {
    options: { budget: { floor: 3 } },
    subject: (setup) =>
      all(
        setup.attempts.run(attempt(setup, -2, -2, 2), { dropped: () => Effect.yieldNow }),
        setup.attempts.run(attempt(setup, -3, 1)),
        setup.attempts.run(Effect.fail("at once"))
      ),
    places: 25
  },
  "backoff and a deadline, of one that cannot be interrupted, too": {
    subject: (setup) =>
      all(
        setup.attempts.run(attempt(setup, -2)).pipe(Deadline.within("12 millis")),
        Deadline.region((region) =>
          all(
            Effect.delay(region.narrow("1 millis"), "3 millis"),
            Effect.uninterruptible(setup.attempts.run(attempt(setup, -2)))
          )
        )
      ),
    places: 25
  },
  "hedges: one wins, one loses, one fails, both fail": {
    options: { hedge },
    subject: (setup) =>
      all(
        setup.attempts.run(attempt(setup, 20, 2), idempotent),
        setup.attempts.run(attempt(setup, 8, 20), idempotent),
        setup.attempts.run(attempt(setup, -8, 8), idempotent),
        setup.attempts.run(attempt(setup, -8, -2, 1), { idempotent: true, dropped: () => Effect.yieldNow })
      ),
    places: 40
  },
  "a hedge at a full gate, and one at a free one": {
    options: { hedge },
    subject: (setup) =>
      all(
        setup.attempts.run(setup.gate.run(attempt(setup, 12, 1)), idempotent),
        Effect.delay(setup.attempts.run(setup.gate.run(attempt(setup, -1, 7)), idempotent), "13 millis")
      ),
    places: 25
  }
}

describe("Attempts, interrupted anywhere", () => {
  for (const [name, { options, places, subject }] of Object.entries(scenes)) {
    interruptedAnywhere(name, { setup: make(options), subject, check: nothingLeft }, { places })
  }
})

/** Calls by chance, which fail, hang, are cut and have deadlines; each comes to an end of an attempt of its own. */
const program = Effect.gen(function* () {
  const random = yield* Random.Random
  const clock = yield* Clock.Clock
  const below = (n: number) => Math.floor(random.nextDoubleUnsafe() * n)
  const max = 1 + below(4)
  const [ratio, floor] = [below(3) / 2, below(4)]
  const window = 20
  // An attempt that waits at a gate has begun, and is seen here later.
  const waits = below(2) === 0
  const gate = yield* Gate.make("api", { limit: 2 })
  const attempts = yield* Attempts.make<string>("simulated", {
    max,
    budget: { ratio, floor, window },
    backoff: Schedule.fromStep(Effect.succeed(() => Effect.succeed([0, below(12)] as any))),
    again: (error) => (error.endsWith("4") ? false : below(3) === 0 ? below(10) : true),
    ...(below(3) === 0 ? {} : { hedge: { after: below(6), ratio: below(2) === 0 ? 1 : 0.3 } })
  })
  let alive = 0
  const called: Array<number> = []
  const extra: Array<number> = []
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const caller = (name: string) =>
    Effect.gen(function* () {
      yield* Effect.sleep(below(60))
      let begun = 0
      const mine = new Set<string>()
      const work = Effect.acquireUseRelease(
        Effect.sync(() => alive++),
        () =>
          Effect.gen(function* () {
            begun++
            if (begun > 1) extra.push(now())
            const id = `${name} ${begun}`
            mine.add(id)
            if (below(4) > 0) yield* Effect.sleep(below(15))
            return below(2) === 0 ? yield* Effect.fail(id) : id
          }),
        () => Effect.sync(() => alive--)
      )
      const gated =
        !waits || below(2) === 0
          ? work
          : gate.run(work).pipe(Effect.mapError((e) => (typeof e === "string" ? e : "refused")))
      called.push(now())
      const call = attempts
        .run(gated, { idempotent: below(2) === 0 })
        .pipe(Effect.catch((error) => Effect.succeed(error)))
      const outcome = below(3) === 0 ? yield* Deadline.option(call, below(40)) : Option.some(yield* call)
      if (begun > max) throw new Error(`Expected ${max} attempts at the most, got ${begun}`)
      if (Option.isSome(outcome) && outcome.value !== "refused" && !mine.has(outcome.value)) {
        throw new Error(`Expected an end of ${name}, got ${outcome.value}`)
      }
    })
  yield* Effect.forEach(Array.from({ length: 14 }), (_, i) => caller(`call ${i}`), {
    concurrency: "unbounded",
    discard: true
  })
  const statistics = yield* attempts.statistics
  const broken = Attempts.check(statistics)
  if (broken.length > 0) throw new Error(broken.join())
  const { running, waiting } = yield* gate.statistics
  const left = [alive, statistics.running, statistics.waiting, running, waiting, timer.of(clock).size]
  if (left.some((count) => count !== 0)) throw new Error(`Expected nothing left, got ${left.join()}`)
  // In every window no more extra attempts than the most calls of any window allow.
  const most = (times: ReadonlyArray<number>) =>
    Math.max(0, ...times.map((end) => times.filter((at) => at > end - window && at <= end).length))
  const bound = Math.max(floor, ratio * most(called))
  if (!waits && most(extra) > bound) throw new Error(`Expected ${bound} extra attempts in a window, got ${most(extra)}`)
  return statistics.attempts
})

describe("Attempts, by chance", () => {
  it.live(
    "every call comes to one end, that of an attempt of its own, and the budget holds in every window",
    () => Simulation.simulate(1500, program, { cancelPoints: 5 }),
    60_000
  )
})
