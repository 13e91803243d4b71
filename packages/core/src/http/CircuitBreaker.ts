/**
 * A switch in front of a dependency that fails: calls it no more until it has had time to recover.
 *
 *     closed ── so many failures ──► open ── its time is over: one call goes, the probe ──► half-open
 *       ▲                             ▲                                                        │
 *       │                             └──────────────────────── it fails ──────────────────────┤
 *       └────────────────────────────────────────────────────── it succeeds ───────────────────┘
 *
 * `breaker.run(effect)` runs `effect` on the caller's fiber, or refuses it (`Refused`, reason `CircuitOpen`): then it has not
 * begun, and `retryAfter` says when the circuit lets a probe through, where that is known. One breaker has a circuit for each
 * key: a host, a route, a tenant.
 *
 * Interrupting a call says nothing about the dependency; a probe that is interrupted makes room for the next. What began before
 * a circuit opened ends as it would, and changes nothing any more.
 *
 * Before a line (a `Gate` around the `run`) stands `breaker.admit`: while the circuit is open nobody takes a place in vain, and the
 * probe is taken by whoever's turn it is, not by one who waits.
 *
 * It decides as Effect's own `CircuitBreaker` (`effect/persistence`) does, and asks it wherever the answer is not known. What
 * is added: an error that says the same as every other door's, statistics in the `Registry`, a bound on keys, and speed.
 *
 * It bounds neither how much runs nor how long (`Gate`, `Deadline`), and tries nothing again. Put a deadline inside, so that
 * silence counts. With retries inside, a call which was rescued counts as one success; with retries outside each attempt counts.
 */
import { Clock, Effect } from "effect"
import type { Duration, Exit, Schedule, Scope } from "effect"
import { Breaker } from "../internal/breaker.ts"
import type { Outcome, Store } from "../internal/breaker.ts"
import type { State } from "../internal/circuit.ts"
import type * as Refused from "../Refused.ts"
import * as Registry from "../Registry.ts"

/**
 * What an end says of the dependency: it works (`success`), it does not (`failure`, which may carry its word on when to come
 * back), or nothing (`ignored`).
 */
export { failure, ignored, success } from "../internal/breaker.ts"
export type { Outcome, State }

/** Opens at a rate of failures: of the last `of` calls (100) that counted, once there were `atLeast` (as many). */
export interface Rate {
  /** From 0 to 1. Default: 0.5. */
  readonly rate?: number | undefined
  readonly of?: number | undefined
  readonly atLeast?: number | undefined
}

export interface Options {
  /** What opens a circuit: so many failures in a row, in the order in which they end, or a rate of them. Default: 5. */
  readonly failures?: number | Rate | undefined
  /**
   * For how long it is open before it lets a probe through; or a schedule, whose n-th delay is that of the n-th opening until
   * it has stayed closed for as long as it was open last. Default: 10 seconds.
   */
  readonly open?: Duration.Input | Schedule.Schedule<unknown, number> | undefined
  /** How long the `retryAfter` of a failure may keep it open at most. Default: an hour. */
  readonly maxOpen?: Duration.Input | undefined
  /**
   * What an end says. Default: a success is one; `Refused` says nothing; other failures and defects are failures, a deadline
   * inside of the call among them. What is only an interruption never says anything, and is not asked about. To throw, or to
   * give anything but these three, is a defect of that call, which then says nothing.
   */
  readonly judge?: ((exit: Exit.Exit<unknown, unknown>) => Outcome) | undefined
  /** How many keys it remembers something of; beyond that, the one that was asked about least lately is as new. Default: 1,000. */
  readonly maxKeys?: number | undefined
  /**
   * Where the state of the circuits is, in place of this process: Effect's `CircuitBreakerStore`. One that cannot be reached
   * stops no call. What of it the statistics show is what this breaker has seen.
   */
  readonly store?: Store | undefined
}

export interface CircuitBreaker {
  readonly name: string
  /** Runs `effect` where the circuit of `key` lets it. Default key: the empty one. */
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>, key?: string) => Effect.Effect<A, E | Refused.Refused, R>
  /**
   * Refuses as `run` would while the circuit of `key` is open and its time is not over, and takes nothing: for the door of a
   * line at whose end `run` is. While a probe runs it lets in, for that may be over when the turn comes. Of a `store` elsewhere it
   * goes by what this breaker has seen.
   */
  readonly admit: (key?: string) => Effect.Effect<void, Refused.Refused>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** One consistent snapshot; plain data. The counts are since the breaker was made. */
export interface Statistics {
  readonly name: string
  /** How many circuits are open now, and half-open. */
  readonly open: number
  readonly halfOpen: number
  readonly running: number
  readonly offered: number
  /** How many calls were successes and failures, and how many said nothing. */
  readonly completed: number
  readonly failed: number
  readonly ignored: number
  readonly refused: number
  readonly openings: number
  /** The keys of which there is something to remember. */
  readonly circuits: ReadonlyArray<Circuit>
}

/** One circuit, as far as it is remembered. */
export interface Circuit {
  readonly key: string
  /** One whose time is over is `open` until the next call. */
  readonly state: State
  /** Since its last success. */
  readonly failures: number
  readonly openings: number
  readonly refused: number
  /** For how long it has been in this state. */
  readonly sinceMillis: number
  /** In how long it lets a probe through; `null` where it is not open. */
  readonly retryAfterMillis: number | null
}

/** What is wrong with a snapshot, as sentences; empty when all invariants hold. */
export const check = (self: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const { completed, failed, ignored, name, offered, refused, running } = self
  if (offered !== completed + failed + ignored + refused + running) {
    broken.push(
      `${name}: expected offered = completed + failed + ignored + refused + running, got ${offered} = ` +
        `${completed} + ${failed} + ${ignored} + ${refused} + ${running}`
    )
  }
  if (running < 0) broken.push(`${name}: expected running >= 0, got ${running}`)
  return broken
}

/** Makes a breaker that stands in the registry for as long as the scope lives. */
export const make = (name: string, options: Options = {}): Effect.Effect<CircuitBreaker, never, Scope.Scope> =>
  Effect.gen(function* () {
    const breaker = new Breaker(name, options, yield* Clock.Clock)
    yield* breaker.start
    yield* Registry.register("breaker", name, () => breaker.snapshot())
    return breaker
  })
