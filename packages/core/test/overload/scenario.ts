/**
 * Callers before an upstream, through a gate or not: who got what, and when.
 *
 * Callers arrive as Poisson processes, one for each kind of load. Each has a budget, set by `Deadline.within`; who is
 * refused or cut goes away and does not come back.
 */
import { Deadline, Priority, Refused, Tenant } from "@fairlead/core"
import type { Gate } from "@fairlead/core"
import { Cause, Effect, Exit } from "effect"
import type { Scope } from "effect"
import { Busy, Upstream } from "./upstream.ts"
import type * as upstream from "./upstream.ts"
import { World } from "./world.ts"

export interface Load {
  readonly urgency: Priority.Urgency
  /** Arrivals per second as multiples of the upstream's capacity, over time in seconds: steps `[from, multiple]`. */
  readonly offered: ReadonlyArray<readonly [from: number, multiple: number]>
  /** How many tenants, each as often as the others. Default: 1. */
  readonly tenants?: number
  /** What each caller gives it. Default: 2,000. */
  readonly budgetMillis?: number
}

export interface Scenario {
  readonly seed: number
  readonly upstream: upstream.Options
  readonly loads: ReadonlyArray<Load>
  /** When the last caller comes. */
  readonly seconds: number
  /** The gate that callers go through; none: they go straight to the upstream. */
  readonly gate?: (world: World, upstream: Upstream) => Effect.Effect<Gate.Gate, never, Scope.Scope>
  /** What else happens, at instants of its own. */
  readonly meanwhile?: (world: World, upstream: Upstream, gate: Gate.Gate | undefined) => void
}

/** What became of one caller. Instants are milliseconds of the world. */
export interface Call {
  readonly urgency: Priority.Urgency
  readonly tenant: string
  readonly arrived: number
  /** When it was let through to the upstream; NaN if never. */
  began: number
  ended: number
  /** `cut`: its deadline passed; `busy`: the upstream refused it. */
  outcome: "answered" | "cut" | "busy" | Refused.Reason["_tag"]
}

export interface Outcome {
  readonly calls: ReadonlyArray<Call>
  /** Per second. */
  readonly capacity: number
  readonly upstream: Upstream
  readonly statistics: Gate.Statistics | undefined
}

/** Runs it to the end of the last call. */
export const play = (scenario: Scenario): Outcome => {
  const world = new World(scenario.seed)
  const upstream = new Upstream(world, scenario.upstream)
  const { capacity } = upstream
  const arrivals = scenario.loads
    .flatMap((load, index) => arrivalsOf(load, capacity, scenario.seconds, world.chance(`load ${index}`)))
    .toSorted((a, b) => a.call.arrived - b.call.arrived)
  const exit = world.run(
    Effect.scoped(
      Effect.gen(function* () {
        const gate = yield* scenario.gate?.(world, upstream) ?? Effect.undefined
        scenario.meanwhile?.(world, upstream, gate)
        for (const arrival of arrivals) {
          if (arrival.call.arrived > world.now) yield* Effect.sleep(arrival.call.arrived - world.now)
          yield* Effect.forkChild(one(world, upstream, gate, arrival), { startImmediately: true })
        }
        while (arrivals.some(({ call }) => Number.isNaN(call.ended))) yield* Effect.sleep("1 second")
        return gate === undefined ? undefined : yield* gate.statistics
      })
    )
  )
  if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
  return { calls: arrivals.map(({ call }) => call), capacity, upstream, statistics: exit.value }
}

interface Arrival {
  readonly call: Call
  readonly budgetMillis: number
}

const one = (
  world: World,
  upstream: Upstream,
  gate: Gate.Gate | undefined,
  { budgetMillis, call }: Arrival
): Effect.Effect<void> => {
  const body = Effect.suspend(() => {
    call.began = world.now
    return upstream.call
  })
  const asked = (gate === undefined ? body : gate.run(body)).pipe(
    Deadline.within(budgetMillis),
    Priority.at(call.urgency),
    Tenant.as(call.tenant)
  )
  return Effect.map(Effect.exit(asked), (exit) => {
    call.ended = world.now
    call.outcome = outcomeOf(exit)
  })
}

const outcomeOf = (exit: Exit.Exit<void, Refused.Refused | Deadline.DeadlineExceeded | Busy>): Call["outcome"] => {
  if (Exit.isSuccess(exit)) return "answered"
  const error = Cause.squash(exit.cause)
  if (error instanceof Busy) return "busy"
  return error instanceof Refused.Refused ? error.reason._tag : "cut"
}

const arrivalsOf = (load: Load, capacity: number, seconds: number, chance: () => number): Array<Arrival> => {
  const { budgetMillis = 2000, offered, tenants = 1, urgency } = load
  const arrivals: Array<Arrival> = []
  offered.forEach(([from, multiple], index) => {
    const to = Math.min(seconds, offered[index + 1]?.[0] ?? seconds) * 1000
    const gap = () => (-Math.log(1 - chance()) * 1000) / (capacity * multiple)
    for (let at = from * 1000 + gap(); at < to; at += gap()) {
      const tenant = `tenant ${Math.floor(chance() * tenants)}`
      arrivals.push({
        call: { urgency, tenant, arrived: at, began: Number.NaN, ended: Number.NaN, outcome: "cut" },
        budgetMillis
      })
    }
  })
  return arrivals
}

/** Which of a sorted list has `part` of it below; NaN of an empty one. */
export const quantile = (values: ReadonlyArray<number>, part: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}

/** Answers per second between two instants, as a part of the capacity. */
export const goodput = ({ calls, capacity }: Outcome, from: number, to: number): number =>
  calls.filter((call) => call.outcome === "answered" && call.ended >= from * 1000 && call.ended < to * 1000).length /
  (capacity * (to - from))

/** From arrival to the answer, in milliseconds, of those answered who came between two instants. */
export const latencies = ({ calls }: Outcome, urgency: number, from: number, to: number): ReadonlyArray<number> =>
  calls
    .filter((call) => call.urgency === urgency && call.arrived >= from * 1000 && call.arrived < to * 1000)
    .map((call) => (call.outcome === "answered" ? call.ended - call.arrived : Infinity))

/**
 * How many seconds after `from` everything is normal: from then on every caller was let through within `waitMillis`, and
 * answered.
 */
export const normalAgain = ({ calls }: Outcome, from: number, waitMillis: number): number => {
  const last = calls.findLast(
    (call) => call.arrived >= from * 1000 && !(call.outcome === "answered" && call.began - call.arrived <= waitMillis)
  )
  return last === undefined ? 0 : last.arrived / 1000 - from
}

/** How many came to each end. */
export const outcomes = ({ calls }: Pick<Outcome, "calls">, urgency?: number): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const call of calls) {
    if (urgency === undefined || call.urgency === urgency) counts[call.outcome] = (counts[call.outcome] ?? 0) + 1
  }
  return counts
}
