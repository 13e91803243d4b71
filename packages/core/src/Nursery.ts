/**
 * A block that ends only when everything it has started has ended: on success, on failure, on interruption.
 *
 *     Nursery.run ──► body ──spawn──► child ──┐
 *                       │   └─spawn──► child ──┼──► all have ended ──► the body's value, or every failure in one cause
 *                       └──────────────────────┘
 *
 * The first failure, of the body or a child, cuts the rest (`Reason.SiblingFailed`) and is the block's failure. What else
 * fails meanwhile, clean-up included, stands in the same cause, each under its child's name (`failures`). Interrupting the
 * block interrupts all of it and waits. A `Join` changes when there is enough and what comes out.
 *
 * A child begins on the spot, on the spawner's stack, on a fiber of its own with the spawner's context; it is cut with
 * the nursery, not with the spawner. It may spawn siblings. `maxRunning` and `maxPending` bound how many there are; those
 * who wait come in order.
 *
 * A nursery holds nothing of a child that has ended, but what its join keeps. To let a group be cancelled from elsewhere
 * use a `CancelScope` around it; to order admission by urgency, a `Gate` in the children.
 */
import { Cause, Context, Effect, Exit, Fiber, Option, Queue, Stream } from "effect"
import { ChildName } from "./internal/blame.ts"
import * as boundary from "./internal/boundary.ts"
import * as engine from "./internal/nursery.ts"
import * as CancelScope from "./CancelScope.ts"
import * as Join from "./Join.ts"
import * as Reason from "./Reason.ts"
import type { Refused } from "./Refused.ts"

export interface Options {
  /** How the tree and messages call it. Default: `nursery`. */
  readonly name?: string | undefined
  /** How many children run at once. Default: as many as are spawned. */
  readonly maxRunning?: number | undefined
  /** How many more may be spawned and wait for their turn. Default: 0. */
  readonly maxPending?: number | undefined
  /** What a spawn beyond that does: `suspend` waits for room, `reject` fails with `Refused`. Default: `suspend`. */
  readonly overflow?: "suspend" | "reject" | undefined
}

/** The handle of a child. It may outlive the nursery. */
export interface Child<out A, out E = never> {
  readonly name: string
  /**
   * Waits for its value. It has no error: a child that fails ends the block, and the joiner with it. Whoever joins a
   * child that failed, or was cut, is interrupted.
   */
  readonly join: Effect.Effect<A>
  /** Waits for its end, whatever it is. */
  readonly await: Effect.Effect<Exit.Exit<A, E>>
  /** Cuts this child alone, which is no failure, and waits for its clean-up; from inside it waits for nothing. */
  readonly cancel: (reason?: Reason.Reason | string) => Effect.Effect<void>
}

/** `X` is what a spawn itself may fail with. */
export interface Nursery<out X = never> {
  readonly name: string
  /**
   * Starts a child. Its error is the block's, and so stands here, for the type alone: to handle it, handle it in the
   * child. A spawn itself does not fail with it.
   *
   * Where there is no room it waits, or fails with `Refused`; interrupting it then takes the child back. A child spawned
   * into a nursery that is being cut never begins; one that has ended takes no child: that is a defect.
   */
  readonly spawn: <A, E, R>(effect: Effect.Effect<A, E, R>, name?: string) => Effect.Effect<Child<A, E>, E | X, R>
  /**
   * Starts a child and waits until it says that it is ready; gives the value it says. What fails before fails the caller,
   * and nobody else; what fails after, the block. Ending without a word, or a second one, is a defect.
   *
   * Interrupting the caller before the child is ready cuts the child and waits for it.
   */
  readonly start: <V, A, E, R>(
    body: (ready: (value: V) => Effect.Effect<void>) => Effect.Effect<A, E, R>,
    name?: string
  ) => Effect.Effect<V, E | X, R>
  /**
   * Cuts the children, those to come included, and waits for their clean-up; from inside one of them it waits for nothing.
   * The body goes on.
   */
  readonly cancel: (reason?: Reason.Reason | string) => Effect.Effect<void>
}

/** A nursery whose children are alike, since a join takes what they come to: their errors are the join's. */
export interface Joined<in A, in E, out X = never> extends Omit<Nursery<X>, "spawn" | "start"> {
  readonly spawn: <B extends A, F extends E, R>(
    effect: Effect.Effect<B, F, R>,
    name?: string
  ) => Effect.Effect<Child<B, F>, X, R>
  readonly start: <V, B extends A, F extends E, R>(
    body: (ready: (value: V) => Effect.Effect<void>) => Effect.Effect<B, F, R>,
    name?: string
  ) => Effect.Effect<V, F | X, R>
}

/**
 * Runs `body` with a nursery, and ends when the body and every child have ended, with the body's value.
 *
 * With a `join`, the children are alike and the value is the join's.
 */
export const run: {
  <A, E, R>(
    body: (nursery: Nursery) => Effect.Effect<A, E, R>,
    options?: Options & { readonly overflow?: "suspend" | undefined; readonly join?: undefined }
  ): Effect.Effect<A, E, R>
  <A, E, R>(
    body: (nursery: Nursery<Refused>) => Effect.Effect<A, E, R>,
    options: Options & { readonly overflow: "reject"; readonly join?: undefined }
  ): Effect.Effect<A, E, R>
  <T, F, B, E2, E, R>(
    body: (nursery: Joined<T, F>) => Effect.Effect<unknown, E, R>,
    options: Options & { readonly overflow?: "suspend" | undefined; readonly join: Join.Join<T, F, B, E2> }
  ): Effect.Effect<B, E | E2, R>
  <T, F, B, E2, E, R>(
    body: (nursery: Joined<T, F, Refused>) => Effect.Effect<unknown, E, R>,
    options: Options & { readonly overflow: "reject"; readonly join: Join.Join<T, F, B, E2> }
  ): Effect.Effect<B, E | E2, R>
  // For options that are not known here.
  <A, E, R>(body: (nursery: Nursery<Refused>) => Effect.Effect<A, E, R>, options: Options): Effect.Effect<A, E, R>
} = (
  body: (nursery: any) => Effect.Effect<any, any, any>,
  options: Options & { readonly join?: Join.Join<any, any, any, any> | undefined } = {}
) => engine.run(engine.terms(options, options.join), body)

export interface AllOptions extends Omit<Options, "maxPending" | "overflow"> {
  /** How each child is called. Default: by its place, from `child 1`. */
  readonly label?: ((index: number) => string) | undefined
}

/**
 * Runs all of `effects` as children and joins them: `failFast` unless said otherwise.
 *
 * With `maxRunning` the effects are taken from their source one by one, as there is room for them.
 */
export const all: {
  <Eff extends Effect.Effect<any, any, any>, B, E2>(
    effects: Iterable<Eff>,
    join: Join.Join<Effect.Success<Eff>, Effect.Error<Eff>, B, E2>,
    options?: AllOptions
  ): Effect.Effect<B, E2, Effect.Services<Eff>>
  <Eff extends Effect.Effect<any, any, any>>(
    effects: Iterable<Eff>,
    join?: undefined,
    options?: AllOptions
  ): Effect.Effect<ReadonlyArray<Effect.Success<Eff>>, Effect.Error<Eff>, Effect.Services<Eff>>
} = (
  effects: Iterable<Effect.Effect<any, any, any>>,
  join: Join.Join<any, any, any, any> = Join.failFast(),
  options: AllOptions = {}
) => {
  const expected = Array.isArray(effects) ? effects.length : effects instanceof Set ? effects.size : undefined
  return engine.run(engine.terms(options, join, expected), (nursery) => spawnAll(nursery, effects, options))
}

/**
 * Runs `effects` as children and gives how each ended, in the order of completion. Nothing cuts anything.
 *
 * At most `maxRunning` children run, or have ended and wait to be taken; the source is read no further ahead. Ending the
 * stream early cuts the rest and waits for it; what fails in that is a defect of the stream.
 */
export const stream = <Eff extends Effect.Effect<any, any, any>>(
  effects: Iterable<Eff>,
  options: AllOptions = {}
): Stream.Stream<Join.Ended<Effect.Success<Eff>, Effect.Error<Eff>>, never, Effect.Services<Eff>> =>
  Stream.unwrap(
    Effect.gen(function* () {
      // Without a place of its own: a child hands its end over itself, and holds its place until that is taken.
      const ended = yield* Queue.bounded<Join.Ended<any, any>, Cause.Done>(0)
      const tell = (effect: Effect.Effect<any, any, any>, name: string, index: number) =>
        Effect.flatMap(Effect.exit(effect), (exit) => Queue.offer(ended, { name, index, exit, reason: undefined }))
      const scope = yield* CancelScope.make()
      const block = engine.run(engine.terms(options), (nursery) => spawnAll(nursery, effects, options, tell))
      yield* Effect.acquireRelease(
        Effect.map(
          Effect.forkDetach(scope.run(block) as Effect.Effect<unknown, never, Effect.Services<Eff>>, {
            startImmediately: true
          }),
          (fiber) => {
            fiber.addObserver((exit) => {
              if (Exit.isSuccess(exit)) Queue.endUnsafe(ended)
              else Queue.failCauseUnsafe(ended, exit.cause)
            })
            return fiber
          }
        ),
        (fiber) =>
          fiber.pollUnsafe() !== undefined
            ? Effect.void
            : Effect.gen(function* () {
                const reason = yield* CancelScope.reason
                yield* scope.cancel(Option.getOrElse(reason, () => Reason.from("the stream has ended")))
                yield* boundary.cleanUp(yield* Fiber.await(fiber))
              })
      )
      return Stream.fromQueue(ended)
    })
  )

/** One thing that went wrong, and in which child: a path where nurseries nest (`import/page 3`), `undefined` for a body. */
export interface Failure<out E> {
  readonly child: string | undefined
  readonly failure: Cause.Fail<E> | Cause.Die
}

/** All that went wrong in a nursery, in the order in which it did. */
export const failures = <E>(cause: Cause.Cause<E>): ReadonlyArray<Failure<E>> =>
  boundary.withoutInterrupts(cause).map((reason) => ({
    child: Context.getOrUndefined(Cause.reasonAnnotations(reason), ChildName),
    failure: reason as Cause.Fail<E> | Cause.Die
  }))

/** Spawns one after another, each taken from its source when there is room for it. */
const spawnAll = (
  nursery: engine.Block,
  effects: Iterable<Effect.Effect<any, any, any>>,
  { label }: AllOptions,
  wrap: (effect: Effect.Effect<any, any, any>, name: string, index: number) => Effect.Effect<any, any, any> = (
    effect
  ) => effect
): Effect.Effect<void, any, any> =>
  Effect.suspend(() => {
    const source = effects[Symbol.iterator]()
    let index = 0
    const next: Effect.Effect<void, any, any> = Effect.suspend(() => {
      const { done, value } = source.next()
      if (done === true) return Effect.void
      const name = label?.(index)
      return Effect.andThen(nursery.spawn(wrap(value, name ?? `child ${index + 1}`, index++), name), more)
    })
    const more = Effect.andThen(
      Effect.suspend(() => nursery.room),
      next
    )
    return Effect.onExit(more, (exit) =>
      Effect.sync(() => {
        if (Exit.isFailure(exit)) source.return?.()
      })
    )
  })
