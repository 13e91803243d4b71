/**
 * `AbortSignal`, both ways: work that is cut when a signal aborts, and a signal that aborts when work is cut.
 *
 *     AbortSignal ──► run, bind ──────────► a region is cut; its finalizers read why (`CancelScope.reason`)
 *     a region is cut ──► promise, signal ──► AbortSignal, for fetch, timers, events; its `reason` says why
 *
 * No listener stays behind, whatever the end: not on a signal that lives as long as the process, and however many wait
 * for it there is one. `promise` hands out a signal of its own for each call, so what others leave on that goes with it.
 *
 * Interrupting a `promise` aborts its signal and waits until the promise has settled: nothing goes on behind the back of
 * who cut it. Effect's own `Effect.promise` and `Effect.abortSignal` abort without a reason, and do not wait.
 *
 * Signals of the operating system (SIGTERM) are `NodeMain`'s.
 */
import { CancelScope, Reason } from "@fairlead/core"
import { Cause, Effect, Option } from "effect"
import type { Duration, Scope } from "effect"
import { dual } from "effect/Function"
import { onAbort } from "./internal/aborts.ts"

/**
 * What a signal from here aborts with. By its `name` it is what those who are handed a signal know: a `TimeoutError`
 * where a deadline passed, else an `AbortError`.
 */
export class Aborted extends Error {
  override readonly name: "AbortError" | "TimeoutError"
  /** Why; `undefined` where an interrupt came without a reason, or the scope has just closed. */
  declare readonly cause: Reason.Reason | undefined

  constructor(reason: Option.Option<Reason.Reason>) {
    super(Option.match(reason, { onNone: () => "no longer wanted", onSome: say }), {
      cause: Option.getOrUndefined(reason)
    })
    this.name = this.cause?._tag === "Deadline" ? "TimeoutError" : "AbortError"
  }
}

const say = (reason: Reason.Reason): string => {
  switch (reason._tag) {
    case "Deadline":
      return "the time was up"
    case "ClientGone":
      return "whoever asked has left"
    case "Shutdown":
      return "shutting down"
    case "SiblingFailed":
      return `${reason.child} failed`
    case "Manual":
      return reason.text
  }
}

/**
 * Why a signal aborted, as a reason. What came from a reason is that reason again; a `TimeoutError`, as of
 * `AbortSignal.timeout`, is `Deadline`; `abort()` without a word is `ClientGone`; anything else is `Manual` with its text.
 */
export const reasonOf = (signal: AbortSignal): Reason.Reason => {
  const why: unknown = signal.reason
  if (isReason(why)) return why
  if (!(why instanceof Error)) return new Reason.Manual({ text: String(why) })
  if (isReason(why.cause)) return why.cause
  switch (why.name) {
    case "TimeoutError":
      return new Reason.Deadline()
    case "AbortError":
      return new Reason.ClientGone()
    default:
      return new Reason.Manual({ text: why.message })
  }
}

const kinds = [Reason.Deadline, Reason.ClientGone, Reason.Shutdown, Reason.SiblingFailed, Reason.Manual]

const isReason = (u: unknown): u is Reason.Reason => kinds.some((kind) => u instanceof kind)

/**
 * Runs `self` as a region that is cut when `signal` aborts. One that has aborted already starts nothing.
 *
 * The outcome is `Cancelled` with the reason of the signal (see `reasonOf`), or `DeadlineExceeded` where that is
 * `Deadline`. Interrupting the caller interrupts `self` and waits for its clean-up.
 */
export const run: {
  (signal: AbortSignal): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<CancelScope.Outcome<A>, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, signal: AbortSignal): Effect.Effect<CancelScope.Outcome<A>, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, signal: AbortSignal) =>
  Effect.flatMap(CancelScope.make(), (scope) => {
    let unbind = nothing
    const bound = Effect.suspend(() => {
      unbind = bindUnsafe(scope, signal)
      return scope.run(self)
    })
    return Effect.onExitPrimitive(bound, () => void unbind())
  })
)

/**
 * From now until the Scope closes, `signal` cancels `scope` when it aborts; at once if it has. It waits for no clean-up:
 * `scope.cancel` and the runs do.
 */
export const bind = (scope: CancelScope.CancelScope, signal: AbortSignal): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.sync(() => bindUnsafe(scope, signal)),
      (unbind) => Effect.sync(unbind)
    )
  )

const nothing = (): void => {}

const bindUnsafe = (scope: CancelScope.CancelScope, signal: AbortSignal): (() => void) => {
  const cut = () => {
    const reason = reasonOf(signal)
    // As a deadline that is now, `DeadlineExceeded` says how long it had.
    if (reason._tag === "Deadline") Effect.runSync(scope.narrow(0))
    scope.cancelUnsafe(reason)
  }
  if (!signal.aborted) return onAbort(signal, cut)
  cut()
  return nothing
}

/** A signal that aborts when the Scope closes, and says why: that of the region that was cut, if one was. */
export const signal: Effect.Effect<AbortSignal, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => new AbortController()),
    (controller) => abort(controller)
  ),
  (controller) => controller.signal
)

const abort = (controller: AbortController): Effect.Effect<void> =>
  Effect.map(CancelScope.reason, (reason) => controller.abort(new Aborted(reason)))

export interface Options {
  /** How long an interruption waits for the promise to settle, after the abort. Default: until it has. */
  readonly grace?: Duration.Input | undefined
}

/**
 * The value of the promise that `evaluate` makes; a rejection is a defect.
 *
 * Interrupting it aborts the signal and waits until the promise has settled, for `grace` at most: beyond that the promise
 * is left to itself. How it settles after the abort is of no concern.
 */
export const promise = <A>(evaluate: (signal: AbortSignal) => PromiseLike<A>, options?: Options): Effect.Effect<A> =>
  settle(evaluate, Effect.die, options)

/** As `promise`; a rejection is an `UnknownError`, or what `catch` makes of it. */
export const tryPromise: {
  <A>(evaluate: (signal: AbortSignal) => PromiseLike<A>, options?: Options): Effect.Effect<A, Cause.UnknownError>
  <A, E>(options: Catching<A, E>): Effect.Effect<A, E>
} = <A, E>(evaluate: ((signal: AbortSignal) => PromiseLike<A>) | Catching<A, E>, options?: Options) => {
  if (typeof evaluate === "function") {
    return settle(evaluate, (error) => Effect.fail(new Cause.UnknownError(error, "a promise was rejected")), options)
  }
  const { catch: toError, try: attempt } = evaluate
  return settle(attempt, (error) => Effect.failSync(() => toError(error)), evaluate)
}

export interface Catching<A, E> extends Options {
  readonly try: (signal: AbortSignal) => PromiseLike<A>
  readonly catch: (error: unknown) => E
}

const settle = <A, E>(
  evaluate: (signal: AbortSignal) => PromiseLike<A>,
  onRejected: (error: unknown) => Effect.Effect<never, E>,
  options: Options | undefined
): Effect.Effect<A, E> =>
  Effect.callback((resume) => {
    const controller = new AbortController()
    // What it throws is a rejection, too.
    const settled = (async () => evaluate(controller.signal))()
    settled.then(
      (value) => resume(Effect.succeed(value)),
      (error) => resume(onRejected(error))
    )
    const end = Effect.promise(() => settled.then(nothing, nothing))
    const wait = options?.grace === undefined ? end : Effect.ignore(CancelScope.shield(end, { grace: options.grace }))
    return Effect.andThen(abort(controller), wait)
  })
