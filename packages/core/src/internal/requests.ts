/**
 * The bridge from Effect's `Request` to a batcher, and back to the resolver that it is for.
 *
 *     Effect.request ──► preCheck: submit ──► batch ──► run: the resolver's `runAll` ──► each request completed
 *
 * The batches are not Effect's: it is told of each request that it is not to be processed, as a resolver with a cache does
 * for those it knows.
 */
import { Cause, Context, Effect, Exit, Request, RequestResolver, Scheduler } from "effect"
import type { Fiber } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"

type AnyExit = Exit.Exit<any, any>

/** A resolver's `runAll` as a run of a batcher. */
export const run =
  <A extends Request.Any>(self: RequestResolver.RequestResolver<A>) =>
  (entries: NonEmptyReadonlyArray<Request.Entry<A>>, key: unknown): Effect.Effect<ReadonlyArray<AnyExit>, unknown> =>
    Effect.suspend(() => {
      const exits: Array<AnyExit | undefined> = entries.map(() => undefined)
      const inner = entries.map((entry, index) =>
        Request.makeEntry<A>({
          ...entry,
          completeUnsafe: (exit) =>
            void (exits[index] ??= Exit.isSuccess(exit) ? exit : Exit.failCause(owned(exit.cause)))
        })
      )
      const all = (rest: AnyExit) => Effect.succeed(exits.map((exit) => exit ?? rest))
      return Effect.matchCauseEffect(self.runAll(inner as [Request.Entry<A>, ...Array<Request.Entry<A>>], key), {
        onSuccess: () => all(Exit.die(new Error("Expected the resolver to complete every request, got one left"))),
        // What it has completed stands.
        onFailure: (cause) =>
          exits.every((exit) => exit === undefined) ? Effect.failCause(owned(cause)) : all(Exit.failCause(owned(cause)))
      })
    })

/** An error of the resolver's: `Refused` may be among those, and is not the batcher's then. */
export class Owned {
  readonly error: unknown

  constructor(error: unknown) {
    this.error = error
  }
}

const owned = (cause: Cause.Cause<unknown>): Cause.Cause<Owned> => Cause.map(cause, (error) => new Owned(error))

/** To its caller a request fails as the resolver has said, and dies of a refusal, which is no error that it could have. */
const toCaller = (exit: AnyExit): AnyExit => {
  if (Exit.isSuccess(exit)) return exit
  const reasons = exit.cause.reasons.map((reason) => {
    if (!Cause.isFailReason(reason)) return reason
    return reason.error instanceof Owned ? Cause.makeFailReason(reason.error.error) : Cause.makeDieReason(reason.error)
  })
  return Exit.failCause(Cause.fromReasons(reasons))
}

/** A resolver that submits every request, and completes it with what it came to. */
export const through = <A extends Request.Any>(
  self: RequestResolver.RequestResolver<A>,
  submit: (entry: Request.Entry<A>) => Effect.Effect<unknown, unknown>
): RequestResolver.RequestResolver<A> => {
  const fibers = new WeakMap<Request.Entry<A>, Fiber.Fiber<unknown, unknown>>()
  return RequestResolver.makeWith<A>({
    preCheck(entry) {
      if (self.preCheck !== undefined && !self.preCheck(entry)) return false
      const scheduler = Context.get(entry.context as Context.Context<never>, Scheduler.Scheduler)
      const fiber = Effect.runForkWith(entry.context as Context.Context<never>)(submit(entry), { scheduler })
      fibers.set(entry, fiber)
      fiber.addObserver((exit) => entry.completeUnsafe(toCaller(exit) as never))
      return false
    },
    // Of a request that is not processed it is asked when its caller is interrupted, and only then. See "a caller of a
    // request who is interrupted".
    batchKey: (entry) => fibers.get(entry)?.interruptUnsafe(),
    delay: Effect.void,
    collectWhile: () => true,
    runAll: () => Effect.die(new Error("Expected every request to be submitted"))
  })
}
