/**
 * How the children of a nursery come together: when there is enough, and what comes out of it.
 *
 * A join is a value of two pure functions over the tally of those that have ended. `enough` is asked after each end; once
 * it says so the rest is cut. `result` is asked when all have ended. Write your own in the same way.
 *
 *     failFast      every value, or the first failure             collectAll    every end, failures too
 *     anySuccess    the first value                                until         every end, until one is found
 *     quorum        the first n values                             soFar         every end within a time
 *     supervise     as failFast, after restarts
 *
 * No failure is lost: where a join fails, all of them stand in one cause, in the order in which they came. What fails in
 * the clean-up of a child that was cut is a failure too, and fails the join, though it has its values.
 */
import { Cause, Exit } from "effect"
import type { Duration, Schedule } from "effect"
import type * as Reason from "./Reason.ts"
import * as millis from "./internal/millis.ts"

/** How a child ended. */
export interface Ended<out A, out E> {
  readonly name: string
  /** Its place in the order of spawning, from 0. */
  readonly index: number
  readonly exit: Exit.Exit<A, E>
  /** Why it was cut; `undefined` when it ended by itself. */
  readonly reason: Reason.Reason | undefined
}

/** What is known of the children. */
export interface Tally<out A, out E> {
  /** Those that have ended, in the order in which they did. */
  readonly ended: ReadonlyArray<Ended<A, E>>
  readonly succeeded: number
  /** Ended with an error or a defect, be it in their clean-up. */
  readonly failed: number
  /** Interrupted, and nothing went wrong in that. */
  readonly cut: number
  /** How many there will be in all; `undefined` while more may be spawned. */
  readonly expected: number | undefined
}

/** A policy over children that give `A` or fail with `E`; it comes to `B` or fails with `E2`. */
export interface Join<in A, in E, out B, out E2> {
  /** Its name in the tree and in reasons. */
  readonly policy: string
  readonly enough: (tally: Tally<A, E>) => boolean
  readonly result: (tally: Tally<A, E>) => Exit.Exit<B, E2>
  /** The children are cut after this time, and what there is counts. */
  readonly within?: Duration.Input | undefined
  /** Children that fail are started again. */
  readonly restart?: Restart | undefined
}

/** When, and how often at most, children that fail are started again. */
export interface Restart {
  /** When the next attempt of a child begins, and after how many it is given up; fed with the cause of each failure. */
  readonly schedule: Schedule.Schedule<unknown, Cause.Cause<unknown>>
  /** How many restarts there are at most `within` a time, in the whole nursery. */
  readonly restarts: number
  readonly within: Duration.Input
}

/** Every value, in the order of spawning. The first failure cuts the rest. */
export const failFast = <A = never, E = never>(): Join<A, E, ReadonlyArray<A>, E> => ({
  policy: "failFast",
  enough: ({ failed }) => failed > 0,
  result: (tally) => (tally.failed + tally.cut > 0 ? failed(tally) : Exit.succeed(values(inOrder(tally))))
})

/** How every child ended, in the order of spawning. Nothing cuts anything. */
export const collectAll = <A = never, E = never>(): Join<A, E, ReadonlyArray<Ended<A, E>>, never> => ({
  policy: "collectAll",
  enough: () => false,
  result: (tally) => Exit.succeed(inOrder(tally))
})

/** As `collectAll`, and the end of a child that matches cuts the rest. */
export const until = <A = never, E = never>(
  predicate: (ended: Ended<A, E>) => boolean
): Join<A, E, ReadonlyArray<Ended<A, E>>, never> => ({
  ...collectAll(),
  policy: "until",
  enough: ({ ended }) => predicate(ended.at(-1)!)
})

/** As `collectAll`, and what has not ended within `budget` is cut, for `Reason.Deadline`. */
export const soFar = <A = never, E = never>(budget: Duration.Input): Join<A, E, ReadonlyArray<Ended<A, E>>, never> => ({
  ...collectAll(),
  policy: "soFar",
  within: budget
})

/** The first `n` values, in the order in which they came; then the rest is cut, and also once so many cannot come. */
export const quorum = <A = never, E = never>(n: number): Join<A, E, ReadonlyArray<A>, E> => {
  if (!(Number.isInteger(n) && n >= 1)) {
    throw new RangeError(`Expected a quorum of at least 1, got ${JSON.stringify(n)}`)
  }
  return {
    policy: `quorum(${n})`,
    enough: ({ cut, expected = Infinity, failed, succeeded }) => succeeded >= n || expected - failed - cut < n,
    result: (tally) => {
      const { ended, expected = Infinity } = tally
      // No failure of theirs made it impossible.
      if (expected < n) return tooFew(n, expected)
      if (tally.succeeded >= n && !uncleanly(tally)) return Exit.succeed(values(tally.ended).slice(0, n))
      if (tally.failed + tally.cut > 0) return failed(tally)
      return tooFew(n, ended.length)
    }
  }
}

const tooFew = (n: number, got: number): Exit.Exit<never> =>
  Exit.die(new RangeError(`Expected at least ${n} ${n === 1 ? "child" : "children"}, got ${got}`))

/** The first value; the rest is cut. When all fail, with all of their failures. */
export const anySuccess = <A = never, E = never>(): Join<A, E, A, E> => {
  const first = quorum<A, E>(1)
  return { ...first, policy: "anySuccess", result: (tally) => Exit.map(first.result(tally), ([value]) => value as A) }
}

/**
 * As `failFast`, but a child that fails, with an error or a defect, is started again when `schedule` says so. A child is
 * given up, and fails, when its schedule ends, or when there were more than `restarts` restarts `within` the time in the
 * whole nursery: what fails that often is not mended by starting it again. (Erlang's supervisors call this the
 * intensity.) Default: 10 within a minute.
 */
export const supervise = <A = never, E = never>(
  schedule: Schedule.Schedule<unknown, Cause.Cause<unknown>>,
  intensity: { readonly restarts: number; readonly within: Duration.Input } = { restarts: 10, within: "1 minute" }
): Join<A, E, ReadonlyArray<A>, E> => {
  const { restarts } = intensity
  if (!(restarts === Infinity || (Number.isInteger(restarts) && restarts >= 0))) {
    throw new RangeError(`Expected at least 0 restarts, got ${restarts}`)
  }
  if (!(millis.from(intensity.within) > 0)) throw new RangeError("Expected restarts within more than no time, got 0")
  return { ...failFast(), policy: "supervise", restart: { schedule, ...intensity } }
}

/** Every end, in the order of spawning. */
export const inOrder = <A, E>(tally: Tally<A, E>): ReadonlyArray<Ended<A, E>> =>
  tally.ended.toSorted((a, b) => a.index - b.index)

/** The values of those that succeeded. */
export const values = <A, E>(ended: ReadonlyArray<Ended<A, E>>): Array<A> =>
  ended.flatMap(({ exit }) => (Exit.isSuccess(exit) ? [exit.value] : []))

/** A failure with all that went wrong, in the order in which it did; where nothing did, an interruption. */
export const failed = <A, E>({ ended }: Tally<A, E>): Exit.Exit<never, E> => {
  const reasons = ended.flatMap(({ exit }) => (Exit.isFailure(exit) ? exit.cause.reasons : []))
  const failures = reasons.filter((reason) => !Cause.isInterruptReason(reason))
  return Exit.failCause(Cause.fromReasons(failures.length > 0 ? failures : reasons))
}

/** Whether the clean-up of a child that was cut went wrong. */
const uncleanly = <A, E>({ ended }: Tally<A, E>): boolean =>
  ended.some(({ exit, reason }) => reason !== undefined && Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause))
