/**
 * How many may start per time: never more than `limit` in any window of `length`, by cost.
 *
 * "Any" is meant: not per calendar minute, and not on average. What an upstream counts as 80 per minute is kept however
 * it lays its minutes. A `RateWindow` only decides; waiting for it is a `Gate`'s. It limits when work starts, not how
 * much runs at once.
 *
 *     limit 4, length ├──────┤     ×: a start, ○: the earliest next one
 *     burst 4   ××××   ○            the window of the first four must pass
 *     burst 1   × × × ×○ × ×        the same rate, spread by length/limit
 *
 * The law: whenever a cost is admitted, it and all that counts then are at most `limit`. What counts is
 *
 * - what is *reserved* and not yet *stamped*, as now;
 * - what was stamped less than one length ago, with `counts: "start"` at its start, with `"answer"` at its answer's head
 *   (so it is never over as the upstream counts, whenever between the two it does);
 * - at the cost that was reserved or, from its settlement on, at what it really was, if that is less;
 * - what calls cost beyond what they had reserved, a *debt*: nothing is admitted before it is paid. It is paid out of the
 *   allowance as that becomes free, and each part counts for one length from then on.
 *
 * So in any window the starts, at what they reserved or settled for below it, and the debts paid are at most `limit`; and
 * over any long stretch all of what calls really cost is. Costs may be fractions; sums are kept to 1e-9 of the limit.
 *
 * Without pacing a saturated window repeats its first burst for ever: everybody waits out the same gap, the urgent too.
 * `burst` is how many may start at once; the rest are spread by length/limit (a leaky bucket, GCRA of ITU-T I.371, in
 * front of the exact window). While the window is closed the bucket does not fill, so the burst is not saved up. What is
 * given back is given back to the bucket too.
 *
 * What an upstream says of itself (`Hint`) can only tighten, and for one length at most.
 *
 * Exact up to 4,096 starts in a window. Beyond that, neighbours within length/4,096 share an entry that ends with the
 * later one: rounded against us, never over.
 */
import { Duration, Effect, Option } from "effect"
import { Book } from "./internal/book.ts"
import * as snapshot from "./internal/snapshot.ts"

export { Book }

/** From when on a start counts: when it began, or when the head of its answer came. */
export type Counts = "start" | "answer"

/** The specification of a window; a plain value. */
export interface RateWindow {
  /** The most cost that may start in any window. */
  readonly limit: number
  readonly length: Duration.Duration
  /** How much of it at once. */
  readonly burst: number
  readonly counts: Counts
}

export interface Options {
  /** How much may start at once; the rest is spread by `length / limit`. Default: `limit`, no spreading. */
  readonly burst?: number | undefined
  /**
   * `"answer"`: a start counts as now until the head of its answer is here, and for one length from then on. Never over as
   * the upstream counts, however long a call is on its way; at most limit per (length + latency). Default: `"start"`.
   */
  readonly counts?: Counts | undefined
}

/** At most `limit` per `length`. */
export const per = (limit: number, length: Duration.Input, options?: Options): RateWindow => {
  const duration = Duration.fromInputUnsafe(length)
  const burst = options?.burst ?? limit
  const counts = options?.counts ?? "start"
  if (!(limit > 0 && Number.isFinite(limit))) throw new RangeError(`Expected a limit above 0, got ${limit}`)
  const lengthMillis = Duration.toMillis(duration)
  if (!(lengthMillis > 0 && Number.isFinite(lengthMillis))) {
    throw new RangeError(`Expected a finite window length above 0, got ${Duration.format(duration)}`)
  }
  if (!(burst > 0 && burst <= limit)) {
    throw new RangeError(`Expected a burst above 0 and at most the limit of ${limit}, got ${burst}`)
  }
  if (counts !== "start" && counts !== "answer") {
    throw new TypeError(`Expected to count by "start" or "answer", got ${JSON.stringify(counts)}`)
  }
  return { limit, length: duration, burst, counts }
}

/** As people write it: `80 per 1m`. */
export const format = (self: RateWindow): string => `${self.limit} per ${Duration.format(self.length)}`

/**
 * What an upstream says of its own limit. It can only tighten a window, for the window's length at most; of several, each
 * holds until it lapses.
 */
export interface Hint {
  /** Nothing starts for so long (`Retry-After`). */
  readonly closedFor?: Duration.Input | undefined
  /**
   * Only so much more may start until `resetsIn` has passed, by what it reserves. What is pending is part of it; what
   * settles for less later does not come back to it.
   */
  readonly remaining?: number | undefined
  /** Default: the window's length. */
  readonly resetsIn?: Duration.Input | undefined
}

/** How full a window is. */
export interface Statistics {
  readonly limit: number
  readonly lengthMillis: number
  readonly burst: number
  readonly counts: Counts
  /** Cost that counts in the window that ends now, beside what is pending. */
  readonly used: number
  /** Cost admitted that has not started yet (with `"answer"`: is not answered yet); it counts as now. */
  readonly pending: number
  /** What calls cost beyond what they had reserved, and has not been paid yet. */
  readonly debt: number
  /** What the upstream's hints leave, and for how long. */
  readonly hints: ReadonlyArray<{ readonly remaining: number; readonly forMillis: number }>
}

/**
 * What a window remembers, as JSON; see `Book.restore`. Instants are ages, in milliseconds before `wallMillis`, which is
 * Unix time; `clockMillis` is the same instant by the monotonic clock.
 */
export interface Snapshot {
  readonly version: 1
  readonly wallMillis: number
  readonly clockMillis: number
  /** The widest that it or those it was restored from ever were. */
  readonly limit: number
  readonly lengthMillis: number
  readonly counts: Counts
  /** Age and cost of what counts. */
  readonly starts: ReadonlyArray<readonly [age: number, cost: number]>
  readonly pending: number
  readonly debt: number
  /** How full the leaky bucket is, as a cost; `null` where the window is not paced. */
  readonly level: number | null
  /** What the upstream left us (`null`: nothing, whatever is refunded), and for how many milliseconds. */
  readonly hints: ReadonlyArray<readonly [remaining: number | null, forMillis: number]>
}

/** Where what windows remember outlives a gate: loaded when it is made, saved when its scope ends. */
export interface Store {
  /** `None`: nothing is known of that name. It may take its time: until then nobody begins at the gate, but they may wait. */
  readonly load: (name: string) => Effect.Effect<Option.Option<ReadonlyArray<Snapshot>>>
  /** One snapshot for each window, in place of those before. */
  readonly save: (name: string, snapshots: ReadonlyArray<Snapshot>) => Effect.Effect<void>
}

/**
 * Gives each window of a gate the snapshot that tells it the most, whatever windows the gate had when they were taken: all
 * of them saw the same starts. Says what is wrong with those that are no snapshots. See `Book.restore`.
 */
export const restore = (
  books: ReadonlyArray<Book>,
  now: number,
  wallNow: number,
  snapshots: ReadonlyArray<unknown>
): ReadonlyArray<string> => {
  const mistakes: Array<string> = []
  const read = snapshots.flatMap((input) => {
    try {
      return [snapshot.read(input)]
    } catch (mistake) {
      mistakes.push((mistake as TypeError).message)
      return []
    }
  })
  const byLength = read.toSorted((a, b) => a.lengthMillis - b.lengthMillis)
  for (const book of books) {
    const { counts, length } = book.window
    const reach = byLength.find((past) => past.lengthMillis >= Duration.toMillis(length)) ?? byLength.at(-1)
    const alike = byLength.filter((past) => past.lengthMillis === reach?.lengthMillis)
    const best = alike.find((past) => past.counts === counts) ?? alike[0]
    if (best !== undefined) book.restore(now, wallNow, best)
  }
  return mistakes
}

/**
 * Remembers in this process, for gates that come and go. What remembers nothing takes no place; beyond `maxNames` (10,000)
 * the one that was saved longest ago is forgotten.
 */
export const memory = (options?: { readonly maxNames?: number | undefined }): Store => {
  const maxNames = options?.maxNames ?? 10_000
  if (!(maxNames >= 1)) throw new RangeError(`Expected maxNames of at least 1, got ${maxNames}`)
  const known = new Map<string, ReadonlyArray<Snapshot>>()
  return {
    load: (name) => Effect.sync(() => Option.fromUndefinedOr(known.get(name))),
    save: (name, snapshots) =>
      Effect.sync(() => {
        known.delete(name)
        if (!snapshots.some(remembers)) return
        known.set(name, snapshots)
        if (known.size > maxNames) known.delete(known.keys().next().value!)
      })
  }
}

const remembers = ({ debt, hints, level, pending, starts }: Snapshot): boolean =>
  starts.length > 0 || pending > 0 || debt > 0 || hints.length > 0 || (level ?? 0) > 0
