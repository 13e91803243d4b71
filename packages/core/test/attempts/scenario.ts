/**
 * Callers of an upstream that is slow now and then, or fails for a while: what they wait, and what the upstream sees. In a world
 * of its own time; the same seed gives the same run.
 *
 * The upstream takes any number of calls at once, each for a time of its own: what is measured is what retries and hedges do,
 * and nothing of a line. A service is Erlang-4 (four exponential stages), as in the pictures of overload.
 */
import { Attempts } from "@fairlead/core"
import { Cause, Effect, Exit } from "effect"
import { World } from "../overload/world.ts"

export interface Scenario {
  readonly seed: number
  /** Arrivals per second, a Poisson process. */
  readonly perSecond: number
  readonly seconds: number
  /** The mean of a service, in milliseconds; and a part of all calls that takes so long instead. */
  readonly serviceMillis: number
  readonly slow?: readonly [part: number, millis: number]
  /** It fails from one second to another. */
  readonly fails?: readonly [from: number, to: number]
  /** Default: one attempt each. */
  readonly attempts?: Attempts.Options<unknown>
}

export interface Outcome {
  /** How long each call took, in milliseconds. */
  readonly took: ReadonlyArray<number>
  /** When the upstream was called. */
  readonly seen: ReadonlyArray<number>
  /** When calls came. */
  readonly came: ReadonlyArray<number>
  readonly statistics: Attempts.Statistics
}

export const play = (scenario: Scenario): Outcome => {
  const { attempts: options = { max: 1 }, fails = [0, 0], perSecond, seconds, serviceMillis, slow = [0, 0] } = scenario
  const world = new World(scenario.seed)
  const [arrives, serves] = [world.chance("arrivals"), world.chance("service")]
  const took: Array<number> = []
  const seen: Array<number> = []
  const came: Array<number> = []
  const service = () => {
    const product = (1 - serves()) * (1 - serves()) * (1 - serves()) * (1 - serves())
    return serves() < slow[0] ? slow[1] : (-Math.log(product) / 4) * serviceMillis
  }
  const call = Effect.suspend(() => {
    seen.push(world.now)
    const failing = world.now >= fails[0] * 1000 && world.now < fails[1] * 1000
    return Effect.andThen(Effect.sleep(service()), failing ? Effect.fail("down") : Effect.void)
  })
  const program = Effect.gen(function* () {
    const attempts = yield* Attempts.make("upstream", options)
    const one = Effect.suspend(() => {
      const since = world.now
      return Effect.ensuring(
        Effect.ignore(attempts.run(call, { idempotent: true })),
        Effect.sync(() => took.push(world.now - since))
      )
    })
    for (;;) {
      yield* Effect.sleep((-Math.log(1 - arrives()) * 1000) / perSecond)
      if (world.now > seconds * 1000) break
      came.push(world.now)
      yield* Effect.forkChild(one, { startImmediately: true })
    }
    while (took.length < came.length) yield* Effect.sleep("1 second")
    return yield* attempts.statistics
  })
  const exit = world.run(Effect.scoped(program))
  if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
  return { took, seen, came, statistics: exit.value }
}

/** Two in a hundred answers take fifty times as long. */
export const slowNowAndThen = (attempts?: Attempts.Options<unknown>, seed = 1): Scenario => ({
  seed,
  perSecond: 200,
  seconds: 60,
  serviceMillis: 20,
  slow: [0.02, 1000],
  ...(attempts === undefined ? {} : { attempts })
})

/** It is down for half a minute; until then all is well, and after it. */
export const downForAWhile = (attempts?: Attempts.Options<unknown>, seed = 1): Scenario => ({
  seed,
  perSecond: 100,
  seconds: 50,
  serviceMillis: 20,
  fails: [10, 40],
  ...(attempts === undefined ? {} : { attempts })
})

export const policies = {
  retries: {},
  hedges: { hedge: {} },
  /** Every attempt is slow enough for a hedge. */
  eager: { hedge: { after: "1 millis" } },
  /** What one writes without a budget. */
  unbounded: { budget: { ratio: 10 } }
} as const satisfies Record<string, Attempts.Options<unknown>>

/** What the upstream sees for each call, from one second to another. */
export const amplification = ({ came, seen }: Outcome, from = 0, to = Infinity): number => {
  const within = (times: ReadonlyArray<number>) => times.filter((at) => at >= from * 1000 && at < to * 1000).length
  return within(seen) / within(came)
}
