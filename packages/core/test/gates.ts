/**
 * What tests of a gate have in common.
 */
import { expect } from "@effect/vitest"
import { Cause, Clock, Deferred, Effect, Exit } from "effect"
import type { Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Gate, Priority, Refused, Tenant } from "@fairlead/core"
import * as timer from "../src/internal/timer.ts"

/** How many instants somebody waits for. */
export const timers = Effect.map(Clock.Clock, (clock) => timer.of(clock).size)

/** Nobody runs or waits, the counts agree, and no timer is left. */
export const nothingLeft = (gate: Gate.Gate) =>
  Effect.gen(function* () {
    const statistics = yield* gate.statistics
    expect(Gate.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting, statistics.parked]).toEqual([0, 0, 0])
    expect(yield* timers).toBe(0)
  })

/** Lets everything run that can. */
export const settle = Effect.forEach([1, 2, 3], () => Effect.yieldNow, { discard: true }).pipe(
  Effect.andThen(TestClock.adjust(0))
)

export const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Who a caller is. */
export interface Caller extends Gate.Ask {
  readonly urgency?: Priority.Urgency
  readonly tenant?: string
}

/** Callers of `gate` whose bodies a test ends when it likes, and the order in which those began. */
export const stage = (gate: Gate.Gate) => {
  const began: Array<string> = []
  const ends = new Map<string, Deferred.Deferred<void>>()
  const body = (name: string) =>
    Effect.gen(function* () {
      began.push(name)
      const end = yield* Deferred.make<void>()
      ends.set(name, end)
      yield* Deferred.await(end)
      return name
    })
  /** Comes to the gate. */
  const come = (name: string, { tenant = "", urgency = 3, ...ask }: Caller = {}) =>
    fork(gate.run(body(name), ask).pipe(Priority.at(urgency), Tenant.as(tenant)))
  const end = (...names: ReadonlyArray<string>) =>
    Effect.forEach(names, (name) => Effect.andThen(Deferred.succeed(ends.get(name)!, undefined), settle), {
      discard: true
    })
  /** Ends whoever runs, one after the other, until nobody does. */
  const endAll = Effect.gen(function* () {
    for (let i = 0; i < began.length; i++) yield* end(began[i]!)
  })
  return { began, body, come, end, endAll }
}

/** The reason of a refusal, where that is what it came to. */
export const refusal = (exit: Exit.Exit<unknown, unknown> | undefined): Refused.Refused => {
  if (exit !== undefined && Exit.isFailure(exit)) {
    const error = Cause.squash(exit.cause)
    if (error instanceof Refused.Refused) return error
  }
  throw new Error(`Expected a refusal, got ${exit === undefined ? "nothing yet" : String(exit)}`)
}

export const reasonOf = (exit: Exit.Exit<unknown, unknown> | undefined): Refused.Reason => refusal(exit).reason

/** What asking comes to, now or not at all. */
export const atOnce = (gate: Gate.Gate, { tenant = "", urgency = 3, ...ask }: Caller = {}) =>
  gate.run(Effect.succeed("in"), { maxWait: 0, ...ask }).pipe(
    Priority.at(urgency),
    Tenant.as(tenant),
    Effect.catch(({ reason }) => Effect.succeed(reason._tag))
  )

/** What an effect dies of, as text. */
export const defect = (effect: () => Effect.Effect<unknown, unknown, any>) =>
  Effect.map(Effect.exit(Effect.suspend(effect)), (exit) => {
    if (Exit.isSuccess(exit)) return "no defect"
    const found = exit.cause.reasons.find((reason) => reason._tag === "Die")
    return String(found?.defect)
  })

/** The end of a fiber that must have ended by now. */
export const endOf = <A, E>(fiber: Fiber.Fiber<A, E>): Exit.Exit<A, E> => {
  const exit = fiber.pollUnsafe()
  if (exit === undefined) throw new Error("Expected an end, got none yet")
  return exit
}
