/**
 * Many items in one run, and each caller gets what his own came to.
 *
 *     submit(7) ─┐                                                      ┌─► value
 *     submit(8) ─┼──► batch, until full or `linger` ──► gate ──► run ───┼─► its own error
 *     submit(9) ─┘                                                      └─► value
 *
 * A batch goes when it is full (`maxItems`, `maxBytes`), or `linger` after its first item: later ones do not put that off. It
 * goes sooner for a caller with little time. Then it waits for its permit (`through`), and takes more as long as it has room.
 *
 * A batch belongs to none of its callers: its deadline is the latest of those who wait for it, it is as urgent as the most
 * urgent of them, and both follow as they come and go. It has the services and the tenant of whoever made the batcher.
 *
 * Interrupting a caller takes his item out; once it is sent, it takes him away. The last to leave cuts the run, for the reason
 * for which he leaves, and waits for its clean-up.
 *
 * What the whole run fails with is every caller's, unless `bisect` finds out whose it is. Wherever a batch is flushed from
 * (size, time, a deadline, the end), its callers get their outcomes.
 *
 * Closing the scope lets nothing more in, sends what has gathered, and waits for it: nothing is lost.
 *
 * What it does not do: identical calls in one run, each at its own time, are `Coalesce`; one run an item is `Gate.forEach` or
 * `WorkQueue`. It keeps no results.
 *
 * After Facebook's DataLoader, whose batches are a turn of the event loop and are never refused, cut, or bounded in number.
 */
import { Clock, Effect } from "effect"
import type { ByteSize, Duration, Request, RequestResolver, Result, Scope, Stream } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as ConcurrencyLimit from "./ConcurrencyLimit.ts"
import * as Gate from "./Gate.ts"
import { Batches } from "./internal/batcher.ts"
import * as requests from "./internal/requests.ts"
import type * as Refused from "./Refused.ts"
import * as Registry from "./Registry.ts"

export interface Options<A, B, E, E2, R, K = undefined> {
  /**
   * What the items come to: one result for each, in their order. `key` is that of their partition. Any other number of results
   * is a defect of all. Runs with the services the batcher was made with.
   */
  readonly run: (items: NonEmptyReadonlyArray<A>, key: K) => Effect.Effect<ReadonlyArray<Result.Result<B, E>>, E2, R>
  /**
   * How many items a batch has at most: a number, or one that finds itself by how long runs take, such as
   * `ConcurrencyLimit.aimd({ min: 10, max: 500, slow: "100 millis" })`, for which a full batch is a round.
   */
  readonly maxItems: number | ConcurrencyLimit.ConcurrencyLimit
  /** How many bytes, as `weigh` says. An item above that is a defect. Default: no bound. */
  readonly maxBytes?: ByteSize.Input | undefined
  /** What an item weighs. Default: 0. */
  readonly weigh?: ((item: A) => ByteSize.Input) | undefined
  /** How long a batch waits for more after its first item. Default: 0, for what comes in the same turn of the event loop. */
  readonly linger?: Duration.Input | undefined
  /** How many callers wait for their run to begin; one more is refused (`QueueFull`). Default: 10,000. */
  readonly maxPending?: number | undefined
  /** Where batches are admitted: how many run at once, or a gate that other work shares. Default: 4. */
  readonly through?: number | Gate.Gate | undefined
  /** Only items of the same key go together; compared as a `Map` compares. Default: all do. */
  readonly partition?: ((item: A) => K) | undefined
  /** Whether batches of a partition run one after another, in the order in which their items came. Default: false. */
  readonly inOrder?: boolean | undefined
  /** Items that are the same by this, in one batch, are sent once, for all who asked. Default: each is sent. */
  readonly same?: ((item: A) => unknown) | undefined
  /**
   * Whether a run that has failed with this is tried again in halves, to find out which items it is about. Each half goes
   * through the gate by itself. Default: never.
   */
  readonly bisect?: ((error: E2) => boolean) | undefined
}

export interface Batcher<in A, out B, out E = never> {
  readonly name: string
  /** What `item` comes to, in a batch with others. From inside of a run of the same batcher it is a defect. */
  readonly submit: (item: A) => Effect.Effect<B, E | Refused.Refused>
  /**
   * For code without Effect. It has the urgency and the patience of the process: nobody can interrupt it. Rejects with the item's
   * error, or `Refused`.
   */
  readonly submitPromise: (item: A) => Promise<B>
  /**
   * As an operator: what each item of a stream comes to, in their order. Where there is no room it is waited for. The source's
   * end sends what has gathered.
   */
  readonly stream: (
    options?: StreamOptions
  ) => <E2, R2>(self: Stream.Stream<A, E2, R2>) => Stream.Stream<Result.Result<B, E | Refused.Refused>, E2, R2>
  /** What has gathered goes now. It is not waited for. */
  readonly flush: Effect.Effect<void>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

export interface StreamOptions {
  /** How many items at most have been taken from the source and not been handed on. Default: twice what a batch may have. */
  readonly maxAhead?: number | undefined
  /** Whether results come as soon as they are there, whatever their order. Default: false. */
  readonly unordered?: boolean | undefined
}

/** One consistent snapshot; plain data. Callers are counted but in `batches`, `runs` and `sent`. */
export interface Statistics {
  readonly name: string
  /** How many items a batch may have now, and what sets that. */
  readonly maxItems: number
  readonly sizedBy: string
  /** How many batches gather, wait for a permit, or run. */
  readonly batches: number
  /** How many wait for their run to begin. */
  readonly waiting: number
  /** How many wait for room, in a stream. */
  readonly suspended: number
  /** How many wait for a run to end. */
  readonly running: number
  readonly offered: number
  readonly completed: number
  readonly failed: number
  readonly interrupted: number
  readonly refused: number
  /** How often `run` was called, and with how many items in all. */
  readonly runs: number
  readonly sent: number
}

/** What is wrong with a snapshot, as sentences; empty when all invariants hold. */
export const check = (self: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const { batches, completed, failed, interrupted, name, offered, refused, running, suspended, waiting } = self
  const ended = completed + failed + interrupted + refused
  if (offered !== ended + waiting + suspended + running) {
    broken.push(
      `${name}: expected offered = completed + failed + interrupted + refused + waiting + suspended + running, got ` +
        `${offered} = ${completed} + ${failed} + ${interrupted} + ${refused} + ${waiting} + ${suspended} + ${running}`
    )
  }
  if (waiting + running > 0 && batches === 0) {
    broken.push(`${name}: expected a batch where ${waiting + running} wait for one, got none`)
  }
  return broken
}

/** A `run` that takes a key has items that have one. */
type Partitioned<A, K> = undefined extends K ? unknown : { readonly partition: (item: A) => K }

/** Makes a batcher that lives as long as the scope. When that closes, what has gathered is sent, and waited for. */
export const make = <A, B, E = never, E2 = never, R = never, K = undefined>(
  name: string,
  options: Options<A, B, E, E2, R, K> & Partitioned<A, K>
): Effect.Effect<Batcher<A, B, E | E2>, never, R | Scope.Scope> =>
  Effect.gen(function* () {
    const { maxPending = 10_000, through = 4 } = options
    const gate =
      typeof through === "number" ? yield* Gate.make(name, { limit: through, line: { maxItems: maxPending } }) : through
    const batches = yield* Effect.withFiber((fiber) =>
      Effect.succeed(new Batches(name, options, gate, fiber.getRef(Clock.Clock), fiber))
    )
    yield* Effect.acquireRelease(
      Registry.register("batcher", name, () => batches.snapshot()),
      () => batches.close
    )
    return batches as Batcher<any, any, any>
  })

/** What bounds the batches of a `RequestResolver`; see `Options`. */
export type ResolverOptions<A extends Request.Any> = Pick<
  Options<A, unknown, unknown, Request.Error<A>, never>,
  "maxItems" | "maxBytes" | "weigh" | "linger" | "maxPending" | "through" | "inOrder" | "same" | "bisect"
>

/**
 * A resolver whose requests go through a batcher: with these bounds in place of its own `delay` and `batchN`, and with all else
 * as above. Its groups are partitions. A request that is refused dies with `Refused`, which is no error that it could have.
 */
export const resolver = <A extends Request.Any>(
  name: string,
  self: RequestResolver.RequestResolver<A>,
  options: ResolverOptions<A>
): Effect.Effect<RequestResolver.RequestResolver<A>, never, Scope.Scope> => {
  const { bisect, same, weigh } = options
  const batcher = make<Request.Entry<A>, unknown, unknown, requests.Owned, never, unknown>(name, {
    ...options,
    run: requests.run(self) as never,
    partition: (entry) => self.batchKey(entry),
    weigh: weigh === undefined ? undefined : ({ request }) => weigh(request),
    same: same === undefined ? undefined : ({ request }) => same(request),
    bisect: bisect === undefined ? undefined : ({ error }) => bisect(error as Request.Error<A>)
  })
  return Effect.map(batcher, ({ submit }) => requests.through(self, submit))
}
