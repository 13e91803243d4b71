/**
 * A burst of callers, many times what the line holds, who do what they are told: whoever is sent away comes back after
 * `retryAfter`, until it is let in.
 *
 * The ideal is the same burst before a line without a bound, where nobody is sent away.
 */
import { Priority } from "@fairlead/core"
import type { Gate } from "@fairlead/core"
import { Duration, Effect, Exit, Fiber, Option } from "effect"
import type { Scope } from "effect"
import { quantile } from "./scenario.ts"
import { Upstream } from "./upstream.ts"
import type { Busy } from "./upstream.ts"
import { World } from "./world.ts"

export interface Burst {
  readonly seed: number
  readonly slots: number
  readonly serviceMillis: number
  readonly maxItems: number
  /** How many come, as multiples of `maxItems`. */
  readonly times: number
  /** Within how many milliseconds. */
  readonly withinMillis?: number
  readonly urgencies?: ReadonlyArray<Priority.Urgency>
  /** They come back after up to this part more than they were told. Default: 0, to the millisecond. */
  readonly jitter?: number
  /** What they are told is rounded up to these milliseconds. Default: to nothing. */
  readonly grainMillis?: number
  /** Others who come all the time and never back, as a part of the capacity. Default: 0. */
  readonly beside?: number
  /** The part of them that does not come back at all. Default: 0. */
  readonly gone?: number
  readonly gate: (maxItems: number) => Effect.Effect<Gate.Gate, never, Scope.Scope>
}

interface Caller {
  readonly urgency: Priority.Urgency
  readonly arrived: number
  refusals: number
  /** It was sent away without a word about when to come back. */
  untold: boolean
  began: number
}

export interface Report {
  /** How many were sent away at first. */
  readonly sentAway: number
  /** Of those, the part that got in at the first retry. */
  readonly firstRetry: number
  /** When the median of those who were sent away began, as a multiple of the ideal. */
  readonly median: number
  /** The same for each urgency. */
  readonly medians: Readonly<Record<number, number>>
  /** When the last of all had begun, as a multiple of the ideal. */
  readonly last: number
  readonly untold: number
}

export const obey = (burst: Burst): Report => {
  const real = run(burst, burst.maxItems)
  const ideal = run(burst, Infinity)
  const away = real.map((caller, index) => [caller, ideal[index]!] as const).filter(([caller]) => caller.refusals > 0)
  const back = away.filter(([caller]) => caller.began < Infinity)
  const compare = (of: typeof away) =>
    quantile(
      of.map(([caller]) => caller.began - caller.arrived),
      0.5
    ) /
    quantile(
      of.map(([, other]) => other.began - other.arrived),
      0.5
    )
  const urgencies = burst.urgencies ?? [3]
  return {
    sentAway: away.length,
    firstRetry: back.filter(([caller]) => caller.refusals === 1).length / back.length,
    median: compare(back),
    medians: Object.fromEntries(
      urgencies.map((urgency) => [urgency, compare(back.filter(([caller]) => caller.urgency === urgency))])
    ),
    last: Math.max(...back.map(([{ began }]) => began)) / Math.max(...ideal.map(({ began }) => began)),
    untold: away.filter(([caller]) => caller.untold).length
  }
}

/** When the burst comes: until then the gate learns what it is like. */
const at = 10_000

const run = (burst: Burst, maxItems: number): ReadonlyArray<Caller> => {
  const { beside = 0, gone = 0, grainMillis = 0, jitter = 0, serviceMillis, slots, times } = burst
  const { urgencies = [3], withinMillis = 0 } = burst
  const world = new World(burst.seed)
  const upstream = new Upstream(world, { slots, serviceMillis, thrash: 0 })
  const chance = world.chance("callers")
  const callers: Array<Caller> = Array.from({ length: Math.round(times * burst.maxItems) }, () => ({
    urgency: urgencies[Math.floor(chance() * urgencies.length)]!,
    arrived: at + chance() * withinMillis,
    refusals: 0,
    untold: false,
    began: Infinity
  })).toSorted((a, b) => a.arrived - b.arrived)
  const rounded = (millis: number) => (grainMillis === 0 ? millis : Math.ceil(millis / grainMillis) * grainMillis)
  const obedient = world.chance("obedient")
  const exit = world.run(
    Effect.scoped(
      Effect.gen(function* () {
        const gate = yield* burst.gate(maxItems)
        const body = gate.run(upstream.call)
        const attempt = (caller: Caller): Effect.Effect<void, Busy> =>
          gate
            .run(
              Effect.suspend(() => {
                caller.began = world.now
                return upstream.call
              })
            )
            .pipe(
              Effect.catchTag("Refused", (refused) => {
                caller.refusals++
                const told = Option.getOrUndefined(Option.map(refused.retryAfter, Duration.toMillis))
                if (told === undefined) caller.untold = true
                if (obedient() < gone) return Effect.void
                return Effect.delay(
                  Effect.suspend(() => attempt(caller)),
                  told === undefined ? 1000 : rounded(told) * (1 + jitter * obedient())
                )
              })
            )
        // Some seconds just above what it can serve, so that it knows how fast the line drains; and then none waits.
        const warm = world.chance("warm")
        const gap = (part: number) => (-Math.log(1 - warm()) * 1000) / (upstream.capacity * part)
        const poisson = (from: number, to: number, part: number) =>
          Effect.gen(function* () {
            for (let time = from; time < to; time += gap(part)) {
              if (time > world.now) yield* Effect.sleep(time - world.now)
              yield* Effect.forkScoped(Effect.ignore(body), { startImmediately: true })
            }
          })
        yield* Effect.forkChild(poisson(0, 4000, 1.1), { startImmediately: true })
        if (beside > 0) yield* Effect.forkChild(poisson(5000, 120_000, beside), { startImmediately: true })
        const fibers = []
        for (const caller of callers) {
          if (caller.arrived > world.now) yield* Effect.sleep(caller.arrived - world.now)
          fibers.push(yield* Effect.forkChild(Priority.at(attempt(caller), caller.urgency), { startImmediately: true }))
        }
        for (const fiber of fibers) yield* Fiber.await(fiber)
      })
    )
  )
  if (Exit.isFailure(exit)) throw new Error(String(exit.cause))
  return callers
}
