/**
 * Again, or twice: retries and hedges of one dependency, under one budget.
 *
 *     call ──► attempt ──► its end
 *                │ fails: may it be tried again? when (backoff)? is there time for that (deadline)? may one more be (budget)?
 *                └──► backoff ──► attempt ──► …
 *                │ slow: a hedge beside it, of what is idempotent and only if it need not wait; the first success wins
 *
 * A `Schedule` says when, the budget says whether. Retries multiply what a dependency sees just when it can bear that least:
 * three attempts of each call are three times the load, and at each of several layers once more. So all callers of a dependency
 * share one budget: a ratio of its calls, with a floor, in which an attempt counts from when it begins to wait. Once that is
 * spent a failure is a failure, at once.
 *
 * No attempt begins after the ambient deadline: where a sleep would outlast it, the failure comes at once. What the other
 * side says of when to come back is heeded as a minimum, and the backoff goes on top of it.
 *
 * A call runs on the caller's own fiber, but for hedging: then each attempt is a region, the loser is cut, and its clean-up
 * is waited for. Interrupting the caller in backoff gives back what was reserved; in a hedge it cuts both attempts.
 *
 * It does not limit how many calls go on at once: that is a `Gate`, within the attempt, so that each attempt waits its turn.
 * It gives no attempt a time of its own: that is `Deadline.within`, around the effect that is attempted.
 */
import { Cause, Clock, Duration, Effect, Exit, Option, Pull, Random, Schedule } from "effect"
import type { Fiber, Scope } from "effect"
import { dual } from "effect/Function"
import * as backoff from "./internal/backoff.ts"
import * as boundary from "./internal/boundary.ts"
import { Budget } from "./internal/budget.ts"
import { Hedging } from "./internal/hedging.ts"
import * as millis from "./internal/millis.ts"
import * as race from "./internal/race.ts"
import { Step } from "./internal/step.ts"
import * as timer from "./internal/timer.ts"
import { Wake } from "./internal/wake.ts"
import * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"

/** What becomes of a failure: never again, again, or again no earlier than after this time. */
export type Again = boolean | Duration.Input

export interface Options<in E> {
  /** How many attempts a call has at the most, the first and hedges included. Default: 3. */
  readonly max?: number | undefined
  /** When the next attempt begins, counted from the failure; a call whose schedule has ended is not tried again. Default: `fullJitter`. */
  readonly backoff?: Schedule.Schedule<unknown, E> | undefined
  /** Whether a failure may be tried again. Defects and interrupts never are. Default: `usual`. */
  readonly again?: ((error: E) => Again) | undefined
  /** How many attempts there may be beyond the first of each call. */
  readonly budget?: BudgetOptions | undefined
  /** A second attempt beside a slow one, of calls that are `idempotent`. Default: none. */
  readonly hedge?: HedgeOptions | undefined
}

export interface BudgetOptions {
  /**
   * Extra attempts as a part of the calls of a window, those counted in that wait in backoff. A tenth of the window may have a
   * third of what is left. Default: 0.2.
   */
  readonly ratio?: number | undefined
  /** So many per window in any case, since a part of few calls is none. Default: 10. */
  readonly floor?: number | undefined
  /** Default: 10 seconds. */
  readonly window?: Duration.Input | undefined
}

export interface HedgeOptions {
  /**
   * When an attempt is slow: after this time, or when slower than so many percent of those that succeeded lately.
   * Default: `p95`.
   */
  readonly after?: `p${number}` | Duration.Input | undefined
  /** Bounds of what is learnt. Defaults: 10 milliseconds, none. */
  readonly min?: Duration.Input | undefined
  readonly max?: Duration.Input | undefined
  /** Hedges as a part of all calls, at the most; they draw on the budget, too. Default: 0.05. */
  readonly ratio?: number | undefined
}

/** What one call asks for. */
export interface Ask<in E = never> {
  /** It may be done twice, and so hedged. Default: false. */
  readonly idempotent?: boolean | undefined
  /**
   * Told of each failure that the call does not come to, and of which attempt it was: before the backoff begins, or when the
   * other attempt of a hedged pair has won. For what such a failure holds. Not of a call that is interrupted first.
   */
  readonly dropped?: ((error: E, attempt: number) => Effect.Effect<void>) | undefined
}

export interface Attempts<in E = unknown> {
  readonly name: string
  /** Runs `effect`, and again as the options say. Fails as the last attempt has failed. */
  readonly run: <A, E1 extends E, R>(effect: Effect.Effect<A, E1, R>, ask?: Ask<E1>) => Effect.Effect<A, E1, R>
  /**
   * From now on nothing is tried again: a failure is the call's at once, and whoever waits in backoff is given his last, also if
   * `dropped` was told of it. For a program that ends, and lets end what is in flight.
   */
  readonly drain: Effect.Effect<void>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** The attempts of many dependencies, told apart by a key: each has a budget, and what it has learnt, of its own. */
export interface PerKey<in E = unknown> {
  readonly name: string
  /** As `Attempts.run`, for the dependency of `key`. */
  readonly run: <A, E1 extends E, R>(
    key: string,
    effect: Effect.Effect<A, E1, R>,
    ask?: Ask<E1>
  ) => Effect.Effect<A, E1, R>
  /** As `Attempts.drain`, for all. */
  readonly drain: Effect.Effect<void>
  /** One consistent snapshot, of all together; takes as many steps as there are keys. */
  readonly statistics: Effect.Effect<Statistics>
}

/** One consistent snapshot; plain data. */
export interface Statistics {
  readonly name: string
  readonly calls: number
  /** How many calls are in an attempt, and in backoff. */
  readonly running: number
  readonly waiting: number
  readonly succeeded: number
  readonly failed: number
  readonly interrupted: number
  /** All attempts that have begun; of these, those after a failure and those beside a slow one. */
  readonly attempts: number
  readonly retries: number
  readonly hedges: number
  /**
   * How many hedges succeeded before the first attempt; and how many were refused on the spot, since they would have had to
   * wait. These are no attempts.
   */
  readonly hedgesWon: number
  readonly hedgesRefused: number
  /** How many retries and hedges there were not, since the budget was spent. */
  readonly retriesDenied: number
  readonly hedgesDenied: number
  /** How many retries and hedges there were not, since they would have begun after the deadline. */
  readonly tooLate: number
  /** Extra attempts that the last window may have, and has had; those in backoff count. */
  readonly budget: { readonly allowed: number; readonly spent: number }
  /** After how long an attempt is hedged; `null` where none is, or before enough was seen. */
  readonly hedgeAfterMillis: number | null
}

/** What is wrong with a snapshot, as sentences; empty when all invariants hold. */
export const check = (self: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const expect = (holds: boolean, what: string) => {
    if (!holds) broken.push(`${self.name}: expected ${what}`)
  }
  const { attempts, budget, calls, failed, hedges, hedgesWon, interrupted, retries, running, succeeded, waiting } = self
  expect(
    calls === succeeded + failed + interrupted + running + waiting,
    `calls = succeeded + failed + interrupted + running + waiting, got ${calls} = ` +
      `${succeeded} + ${failed} + ${interrupted} + ${running} + ${waiting}`
  )
  expect(
    attempts === calls + retries + hedges,
    `attempts = calls + retries + hedges, got ${attempts} = ${calls} + ${retries} + ${hedges}`
  )
  expect(hedgesWon <= hedges, `no more hedges that won than there were, got ${hedgesWon} of ${hedges}`)
  // Not that no more is spent than is allowed: what has been spent counts for a bucket longer than the calls it was spent for.
  expect(budget.spent >= waiting, `what waits in the budget, got ${budget.spent} spent and ${waiting} waiting`)
  const extra = retries + hedges + waiting
  expect(budget.spent <= extra, `no more spent than there were, got ${budget.spent} spent of ${extra}`)
  return broken
}

/**
 * Waits by chance, from nothing to `first`, then to twice that, and so on to `most` ("full jitter"); without end. Defaults: 100
 * milliseconds, 10 seconds.
 */
// Of all jitters it leaves the fewest calls at one instant: "Exponential Backoff And Jitter" (Brooker, AWS, 2015).
export const fullJitter = (
  first: Duration.Input = "100 millis",
  most: Duration.Input = "10 seconds"
): Schedule.Schedule<unknown> => {
  const mostMillis = millis.from(most)
  return Schedule.exponential(first).pipe(
    Schedule.modifyDelay(({ duration }) =>
      Effect.map(Random.next, (random) => random * Math.min(mostMillis, millis.from(duration)))
    )
  )
}

/**
 * The default of what is tried again: every failure; one that says when to come back (`retryAfter`, as `Refused` does) no earlier; a
 * refusal never where that is no use: the gate is shutting down, or its turn would come after the deadline.
 */
export const usual = (error: unknown): Again => {
  if (error instanceof Refused.Refused && (error.reason._tag === "ShuttingDown" || error.reason._tag === "TooLate"))
    return false
  const retryAfter = typeof error === "object" && error !== null && "retryAfter" in error ? error.retryAfter : undefined
  return Option.isOption(retryAfter) && Option.isSome(retryAfter) && Duration.isDuration(retryAfter.value)
    ? retryAfter.value
    : true
}

/** Makes the attempts of one dependency. They are listed in the registry until the scope closes. */
export const make = <E = unknown>(
  name: string,
  options: Options<E> = {}
): Effect.Effect<Attempts<E>, never, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const policy = new Policy(name, options as Options<any>, fiber.getRef(Clock.Clock))
    return Effect.as(
      Registry.register("attempts", name, () => policy.snapshot()),
      policy as Attempts<E>
    )
  })

/**
 * Makes the attempts of many dependencies. Beyond `maxKeys` (10,000) the one that was asked for least lately, and has no call going
 * on, is forgotten: should it come back, its budget is as new. One for which there are only such is remembered all the same:
 * whoever bounds the calls bounds these.
 */
export const perKey = <E = unknown>(
  name: string,
  options: Options<E> = {},
  { maxKeys = 10_000 }: { readonly maxKeys?: number | undefined } = {}
): Effect.Effect<PerKey<E>, never, Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const keys = new Keys(name, options as Options<any>, fiber.getRef(Clock.Clock), wholeFrom1("maxKeys", maxKeys))
    return Effect.as(
      Registry.register("attempts", name, () => keys.snapshot()),
      keys as PerKey<E>
    )
  })

/** Runs `self`, and again as `attempts` says. */
export const run: {
  <E, E1 extends E>(
    attempts: Attempts<E>,
    ask?: Ask<E1>
  ): <A, R>(self: Effect.Effect<A, E1, R>) => Effect.Effect<A, E1, R>
  <A, E, E1 extends E, R>(self: Effect.Effect<A, E1, R>, attempts: Attempts<E>, ask?: Ask<E1>): Effect.Effect<A, E1, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, E1 extends E, R>(self: Effect.Effect<A, E1, R>, attempts: Attempts<E>, ask?: Ask<E1>) =>
    attempts.run(self, ask)
)

type AnyEffect = Effect.Effect<any, any, any>
type AnyFiber = Fiber.Fiber<unknown, unknown>

/** What all calls of one dependency share. */
class Policy implements Attempts<any> {
  readonly name: string
  readonly clock: Clock.Clock
  readonly max: number
  readonly schedule: Schedule.Schedule<unknown, any>
  readonly again: (error: any) => Again
  readonly budget: Budget
  readonly hedging: Hedging | undefined
  readonly wake = new Wake()
  readonly sleepers = new backoff.Sleepers()
  draining = false
  calls = 0
  running = 0
  waiting = 0
  succeeded = 0
  failed = 0
  interrupted = 0
  retries = 0
  hedges = 0
  hedgesWon = 0
  hedgesRefused = 0
  retriesDenied = 0
  hedgesDenied = 0
  tooLate = 0

  constructor(name: string, options: Options<any>, clock: Clock.Clock) {
    this.name = name
    this.clock = clock
    this.max = wholeFrom1("max", options.max ?? 3)
    this.schedule = options.backoff ?? fullJitter()
    this.again = options.again ?? usual
    this.budget = new Budget(budgetTerms(options.budget))
    this.hedging = options.hedge === undefined ? undefined : new Hedging(hedgeTerms(options.hedge))
    // `pipe(attempts.run)` is what one writes.
    this.run = this.run.bind(this)
  }

  get now(): number {
    return timer.now(this.clock)
  }

  run<A, E, R>(effect: Effect.Effect<A, E, R>, ask: Ask<any> = unasked): Effect.Effect<A, E, R> {
    // The frame that counts its end stands before anything is counted.
    return Effect.withFiber((fiber) => {
      const call = new Call(this, fiber, effect, ask)
      return Effect.onExitPrimitive(call as unknown as Effect.Effect<A, E, R>, call.ended.bind(call))
    })
  }

  get drain(): Effect.Effect<void> {
    return Effect.sync(() => {
      this.draining = true
      this.sleepers.wake()
    })
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { budget, now } = this
    return {
      name: this.name,
      calls: this.calls,
      running: this.running,
      waiting: this.waiting,
      succeeded: this.succeeded,
      failed: this.failed,
      interrupted: this.interrupted,
      attempts: this.calls + this.retries + this.hedges,
      retries: this.retries,
      hedges: this.hedges,
      hedgesWon: this.hedgesWon,
      hedgesRefused: this.hedgesRefused,
      retriesDenied: this.retriesDenied,
      hedgesDenied: this.hedgesDenied,
      tooLate: this.tooLate,
      budget: { allowed: budget.allowed(now), spent: budget.spent(now) },
      hedgeAfterMillis: this.hedging?.afterMillis ?? null
    }
  }
}

const unasked: Ask<any> = {}

class Keys implements PerKey<any> {
  readonly name: string
  private readonly options: Options<any>
  private readonly clock: Clock.Clock
  private readonly maxKeys: number
  /** Who was asked for last is last. */
  private readonly all = new Map<string, Policy>()
  private last: Policy
  private draining = false
  /** What became of the calls of those that were forgotten. */
  private past: Statistics

  constructor(name: string, options: Options<any>, clock: Clock.Clock, maxKeys: number) {
    this.name = name
    this.options = options
    this.clock = clock
    this.maxKeys = maxKeys
    // Its mistakes are the maker's, not the first caller's.
    this.last = new Policy(name, options, clock)
    this.past = { ...this.last.snapshot(), budget: { allowed: 0, spent: 0 }, hedgeAfterMillis: null }
  }

  run<A, E, R>(key: string, effect: Effect.Effect<A, E, R>, ask?: Ask<any>): Effect.Effect<A, E, R> {
    return Effect.suspend(() => this.of(key).run(effect, ask))
  }

  get drain(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.draining = true
      return Effect.forEach(this.all.values(), ({ drain }) => drain, { discard: true })
    })
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    let sum = this.past
    for (const policy of this.all.values()) sum = plus(sum, policy.snapshot())
    return sum
  }

  private of(key: string): Policy {
    // Calls of one dependency mostly come together.
    if (this.last.name === key && this.all.size > 0) return this.last
    let policy = this.all.get(key)
    if (policy !== undefined) this.all.delete(key)
    else {
      if (this.all.size >= this.maxKeys) this.forget()
      policy = new Policy(key, this.options, this.clock)
      policy.draining = this.draining
    }
    this.all.set(key, policy)
    return (this.last = policy)
  }

  private forget(): void {
    for (const [key, policy] of this.all) {
      if (policy.running + policy.waiting > 0) continue
      this.all.delete(key)
      this.past = plus(this.past, { ...policy.snapshot(), budget: { allowed: 0, spent: 0 } })
      return
    }
  }
}

const plus = (a: Statistics, b: Statistics): Statistics => ({
  name: a.name,
  calls: a.calls + b.calls,
  running: a.running + b.running,
  waiting: a.waiting + b.waiting,
  succeeded: a.succeeded + b.succeeded,
  failed: a.failed + b.failed,
  interrupted: a.interrupted + b.interrupted,
  attempts: a.attempts + b.attempts,
  retries: a.retries + b.retries,
  hedges: a.hedges + b.hedges,
  hedgesWon: a.hedgesWon + b.hedgesWon,
  hedgesRefused: a.hedgesRefused + b.hedgesRefused,
  retriesDenied: a.retriesDenied + b.retriesDenied,
  hedgesDenied: a.hedgesDenied + b.hedgesDenied,
  tooLate: a.tooLate + b.tooLate,
  budget: { allowed: a.budget.allowed + b.budget.allowed, spent: a.budget.spent + b.budget.spent },
  hedgeAfterMillis: null
})

/** One call, from its first attempt to its end. */
class Call extends Step implements race.Host {
  private readonly policy: Policy
  private readonly fiber: AnyFiber
  private readonly effect: AnyEffect
  private readonly ask: Ask<any>
  private state: "New" | "Trying" | "Waiting" | "Gone" = "New"
  /** How many attempts have begun. */
  private begun = 0
  /** When the attempt that goes on began; of a hedged pair the first. */
  private since = 0
  /** It was left to a race to say how long that took. */
  private raced = false
  /** The last of them is the hedge of the one before. */
  private hedged = false
  /** In which of the budget the last extra attempt was reserved. */
  private stretch = 0
  private step: ((now: number, error: unknown) => Pull.Pull<[unknown, Duration.Duration], never, unknown>) | undefined

  constructor(policy: Policy, fiber: AnyFiber, effect: AnyEffect, ask: Ask<any>) {
    super()
    this.policy = policy
    this.fiber = fiber
    this.effect = effect
    this.ask = ask
  }

  enter(): AnyEffect {
    const { policy } = this
    const { now } = policy
    this.state = "Trying"
    policy.calls++
    policy.running++
    policy.budget.called(now)
    policy.hedging?.called()
    return this.attempt(now)
  }

  private attempt(now: number): AnyEffect {
    const { effect, policy } = this
    const after = this.ask.idempotent === true ? policy.hedging?.afterMillis : undefined
    this.begun++
    this.hedged = false
    this.since = now
    this.raced = after !== undefined && this.begun < policy.max
    const attempt = this.raced ? race.run(this.fiber, this, effect, policy.clock, now + after!) : effect
    return Effect.catchCause(attempt, (cause) => this.failed(cause))
  }

  /** What follows a failure: the next attempt, or the failure itself, and beside it what went wrong on the way to the next. */
  private failed(cause: Cause.Cause<unknown>): AnyEffect {
    const failure = Effect.failCause(cause)
    const { policy } = this
    const error = failureOf(cause)
    if (error === undefined || this.begun >= policy.max || policy.draining) return failure
    const next = Effect.suspend(() => {
      const least = leastOf(policy.again(error.error))
      return least === undefined
        ? Cause.done()
        : Effect.map(this.next(error.error), ([, delay]) => least + Math.max(0, millis.from(delay)))
    })
    return Pull.matchEffect(next, {
      onSuccess: (delay) => this.waitFor(delay, error.error, cause) ?? failure,
      onFailure: (why) => Effect.failCause(Cause.combine(cause, why)),
      onDone: () => failure
    })
  }

  private next(error: unknown): Pull.Pull<[unknown, Duration.Duration], never, unknown> {
    const now = this.policy.clock.currentTimeMillisUnsafe()
    if (this.step !== undefined) return this.step(now, error)
    return Effect.flatMap(Schedule.toStep(this.policy.schedule), (step) => {
      this.step = step
      return step(now, error)
    })
  }

  /** The next attempt after so many milliseconds; `undefined` where there is none. */
  private waitFor(delayMillis: number, error: unknown, cause: Cause.Cause<unknown>): AnyEffect | undefined {
    const { fiber, policy } = this
    const { now } = policy
    const at = now + delayMillis
    if (this.tooLate(at)) return undefined
    const stretch = policy.budget.reserve(now)
    if (stretch === undefined) {
      policy.retriesDenied++
      return undefined
    }
    this.stretch = stretch
    this.state = "Waiting"
    policy.running--
    policy.waiting++
    const what = `backoff of ${policy.name}, attempt ${this.begun + 1}`
    const sleep: Effect.Effect<void> =
      delayMillis > 0
        ? Effect.suspend(() =>
            policy.draining ? Effect.void : backoff.until(at, what, fiber, policy.clock, policy.wake, policy.sleepers)
          )
        : Effect.void
    const dropped = this.dropped(error, this.begun - (this.hedged ? 1 : 0))
    const wait = dropped === undefined ? sleep : Effect.andThen(race.beside(dropped, cause), sleep)
    return Effect.flatMap(wait, () => (policy.draining ? Effect.failCause(cause) : this.retry()))
  }

  private dropped(error: unknown, attempt: number): AnyEffect | undefined {
    const { dropped } = this.ask
    if (dropped === undefined) return undefined
    return Effect.suspend(() => {
      const told: unknown = dropped(error, attempt)
      if (Effect.isEffect(told)) return told as Effect.Effect<void>
      throw new TypeError(`Expected \`dropped\` to give an effect, got ${String(told)}`)
    })
  }

  /** Whether what begins at this instant would begin after the deadline. */
  private tooLate(at: number): boolean {
    const late = at >= (boundary.current(this.fiber)?.deadline ?? Infinity) - millis.grain
    if (late) this.policy.tooLate++
    return late
  }

  private retry(): AnyEffect {
    const { policy } = this
    const { now } = policy
    this.state = "Trying"
    policy.waiting--
    policy.running++
    policy.retries++
    policy.budget.begin(now)
    return this.attempt(now)
  }

  ended(exit: Exit.Exit<unknown, unknown>): undefined {
    const { policy, state } = this
    this.state = "Gone"
    if (state === "New") return
    if (state === "Trying") policy.running--
    else {
      policy.waiting--
      policy.budget.release(this.stretch)
    }
    if (Exit.isSuccess(exit)) {
      policy.succeeded++
      if (!this.raced && policy.hedging?.learns === true) this.took()
    } else if (Exit.hasInterrupts(exit)) policy.interrupted++
    else policy.failed++
  }

  // --- its hedge ------------------------------------------------------------------------------------------------------

  hedge(): boolean {
    const { policy } = this
    const { now } = policy
    const hedging = policy.hedging!
    // Of a caller who cannot be interrupted it may have passed long ago.
    if (this.tooLate(now)) return false
    if (!hedging.take()) {
      policy.hedgesDenied++
      return false
    }
    const stretch = policy.budget.reserve(now)
    if (stretch === undefined) {
      hedging.giveBack()
      policy.hedgesDenied++
      return false
    }
    this.stretch = stretch
    policy.budget.begin(now)
    this.begun++
    this.hedged = true
    policy.hedges++
    return true
  }

  unhedged(): void {
    const { policy } = this
    policy.hedging!.giveBack()
    policy.budget.takeBack(this.stretch, policy.now)
    this.begun--
    this.hedged = false
    policy.hedges--
    policy.hedgesRefused++
  }

  overtook(): void {
    this.policy.hedgesWon++
  }

  took(): void {
    const { now } = this.policy
    if (this.policy.hedging!.learns) this.policy.hedging!.took(now - this.since)
  }

  lost(error: unknown, which: "first" | "second"): AnyEffect | undefined {
    return this.dropped(error, which === "first" ? this.begun - 1 : this.begun)
  }
}

/** The failure of the world, where there is nothing but that. */
const failureOf = (cause: Cause.Cause<unknown>): Cause.Fail<unknown> | undefined =>
  cause.reasons.every(Cause.isFailReason) ? cause.reasons[0] : undefined

/** How many milliseconds it waits at the least; `undefined` where it is not tried again. */
const leastOf = (again: Again): number | undefined => {
  if (typeof again === "boolean") return again ? 0 : undefined
  // Effect takes any object for a duration.
  const least = Effect.isEffect(again) ? NaN : millis.from(again)
  if (least >= 0) return least
  throw new RangeError(`Expected \`again\` to give true, false, or a time of at least 0, got ${String(again)}`)
}

const wholeFrom1 = (what: string, value: number): number => {
  if (Number.isInteger(value) && value >= 1) return value
  throw new RangeError(`Expected ${what} of at least 1, got ${value}`)
}

const from0 = (what: string, value: number): number => {
  if (value >= 0 && value < Infinity) return value
  throw new RangeError(`Expected ${what} of at least 0, got ${value}`)
}

const budgetTerms = ({ floor = 10, ratio = 0.2, window = "10 seconds" }: BudgetOptions = {}) => {
  const windowMillis = millis.from(window)
  if (!(windowMillis > 0 && windowMillis < Infinity)) {
    throw new RangeError(`Expected a window of some time, got ${windowMillis} ms`)
  }
  return { floor: from0("floor", floor), ratio: from0("ratio", ratio), windowMillis }
}

const hedgeTerms = ({ after = "p95", max = Infinity, min = 10, ratio = 0.05 }: HedgeOptions) => {
  const percent = typeof after === "string" && after.startsWith("p") ? Number(after.slice(1)) : undefined
  const afterMillis = percent === undefined ? millis.from(after as Duration.Input) : undefined
  if (percent === undefined ? afterMillis! < 0 : !(percent > 0 && percent < 100)) {
    throw new RangeError(`Expected to hedge after p1 to p99, or after a time, got ${String(after)}`)
  }
  const minMillis = millis.from(min)
  const maxMillis = millis.from(max)
  if (minMillis > maxMillis) throw new RangeError(`Expected min of at most max, got ${minMillis} and ${maxMillis} ms`)
  if (!(ratio >= 0 && ratio <= 1)) throw new RangeError(`Expected a ratio of hedges from 0 to 1, got ${ratio}`)
  return {
    afterMillis,
    quantile: (percent ?? 0) / 100,
    minMillis,
    maxMillis,
    ratio
  }
}
