/**
 * One run of `fairlead fetch`, from its input to its last line.
 *
 *     items ──pulled──► not fetched before? ──► flight: its turn, calls, body ──► entry ──► written, counted
 *
 * What is taken from the input is bounded, and so is what waits to be written: a slow reader slows the calls. To `stop` takes nothing
 * more and lets what has begun end; interrupting it cuts that, too. It knows no terminal and no signals.
 */
import { ParallelHttp, RateWindow, Transport } from "@fairlead/core"
import { Cause, Clock, Deferred, Effect, Exit, Stream } from "effect"
import type { Duration, Scope } from "effect"
import type { Rate } from "../Config.ts"
import * as Entry from "./Entry.ts"
import { Flights, Left } from "./Flight.ts"
import * as Folder from "./Folder.ts"
import type * as Input from "./Input.ts"
import type * as Item from "./Item.ts"
import * as Progress from "./Progress.ts"
import { Tally } from "./Tally.ts"

export interface Options {
  readonly concurrency: number
  readonly perHost: number | undefined
  /** At each host. */
  readonly rate: Rate | undefined
  /** How often each is tried again, and how many redirects are followed. */
  readonly retries: number
  readonly redirects: number
  /** Of each item, from when it is its turn. */
  readonly timeout: Duration.Duration
  readonly maxBytes: number
  readonly order: "input" | "completed"
  readonly body: Entry.BodyMode
  readonly include: boolean
  readonly failFast: boolean
}

/** Where lines go, if not to a folder's record. Gives whether anybody reads them still. */
export type Write<E> = (line: string) => Effect.Effect<boolean, E>

export interface Run<E> {
  readonly tally: Tally
  readonly state: () => Progress.State
  readonly stop: Effect.Effect<void>
  readonly run: (write: Write<E>) => Effect.Effect<void, E | Folder.WriteFailed | Input.ReadFailed>
  /** Nobody reads what it writes. */
  readonly isAbandoned: () => boolean
  /** Not all of the input was taken, or not all that was taken has ended; how much of it is left, as a part, where that is known. */
  readonly rest: () => { readonly part: number | undefined } | undefined
  readonly elapsedMillis: () => number
}

/** Prepares one. */
export const make = <E>(
  input: Input.Input,
  folder: Folder.Folder | undefined,
  options: Options
): Effect.Effect<Run<E>, never, Transport.Transport | Scope.Scope> =>
  Effect.gen(function* () {
    const { body, concurrency, failFast, include, maxBytes, order, perHost, rate, redirects, retries, timeout } =
      options
    const clock = yield* Clock.Clock
    const stopping = yield* Deferred.make<void>()
    const flights = new Flights(clock, stopping, timeout)
    // Those of other hosts go on while some wait for theirs; in the order of the input they would only pile up.
    const isPolite = perHost !== undefined || rate !== undefined
    const ahead = concurrency * (isPolite ? (order === "completed" ? 20 : 2) : 1)
    const http = yield* ParallelHttp.make("fetch", {
      inFlight: concurrency,
      perHost: {
        limit: perHost ?? concurrency,
        windows: rate === undefined ? [] : [RateWindow.per(rate.limit, rate.per)],
        line: { maxItems: ahead }
      },
      maxBytes,
      attempts: retries === 0 ? false : { max: retries + 1 },
      redirects,
      maxCalls: ahead
    }).pipe(Effect.provideService(Transport.Transport, flights.watch(yield* Transport.Transport)))

    const tally = new Tally()
    const since = flights.now()
    const lately = new Progress.Rate(since)
    // The input has come to its end; some of it was read, and not taken.
    let exhausted = false
    let untaken = false
    let stopped = false
    let abandoned = false

    const stop = Effect.suspend(() => {
      stopped = true
      return Effect.asVoid(Deferred.succeed(stopping, undefined))
    })

    const items = Stream.concat(
      input.items,
      Stream.suspend(() => {
        exhausted = true
        return Stream.empty
      })
    ).pipe(
      Stream.interruptWhen(Deferred.await(stopping)),
      Stream.filter((item) => {
        if (item._tag === "Mistake" || !folder?.finished.has(item.key)) return true
        tally.skip(item.weight)
        return false
      })
    )

    const read =
      (item: Item.Item) =>
      (answer: ParallelHttp.Answer): Effect.Effect<Entry.Got, ParallelHttp.BodyFailure | Folder.WriteFailed> => {
        const { headers, status, url } = answer
        const got = { url, status, headers, file: undefined, body: undefined }
        if (body === "none") return Effect.map(lengthOf(answer), (bytes) => ({ ...got, bytes }))
        return folder !== undefined
          ? Effect.map(folder.keep(item, answer), (kept) => ({ ...got, ...kept }))
          : Effect.map(answer.bytes, (body) => ({ ...got, bytes: body.length, body }))
      }

    const shown: Entry.Options = { body, headers: include, key: folder !== undefined }
    const fly = (item: Item.Item): Effect.Effect<Entry.Entry | undefined, Folder.WriteFailed> =>
      Effect.flatMap(flights.fly(http.fetch(item.request, read(item))), ({ exit, flight }) => {
        const failure = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        if (failure instanceof Folder.WriteFailed) return Effect.fail(failure)
        if (!(failure instanceof Left)) return Effect.succeed(Entry.make(item, flight, exit, flights.now(), shown))
        tally.left++
        return Effect.succeed(undefined)
      })
    const take = (item: Item.Item | Item.Mistake) => {
      // The rest of a chunk of the input, which was in hand.
      if (stopped) {
        untaken = true
        return Effect.succeed({ item, entry: undefined })
      }
      const entry = item._tag === "Mistake" ? Effect.succeed(Entry.ofMistake(item)) : fly(item)
      return Effect.map(entry, (entry) => ({ item, entry }))
    }

    return {
      tally,
      stop,
      run: (write) => {
        const put: Write<E | Folder.WriteFailed> =
          folder === undefined ? write : (line) => Effect.as(folder.record(line), true)
        return items.pipe(
          Stream.mapEffect(take, { concurrency: ahead, unordered: order === "completed" }),
          // Whoever reads no longer wants no more: what is in flight is cut, too.
          Stream.runForEachWhile(({ entry, item }) => {
            if (entry === undefined) return Effect.succeed(true)
            tally.add(entry, item.weight)
            const written = Effect.map(put(Entry.line(entry)), (isRead) => {
              abandoned = !isRead
              return isRead
            })
            return failFast && !entry.ok ? Effect.andThen(stop, written) : written
          }),
          Effect.ensuring(
            Effect.sync(() => {
              tally.left += flights.cut
            })
          )
        )
      },
      state: () => {
        const now = flights.now()
        const { ended, failed, skipped, skippedWeight, weight } = tally
        const rest = input.weight === undefined ? undefined : input.weight - weight - skippedWeight
        return {
          done: ended,
          failed,
          skipped,
          inFlight: flights.exchanges,
          waiting: isPolite ? Math.max(0, flights.taken - flights.exchanges) : 0,
          part: rest === undefined ? undefined : 1 - rest / input.weight!,
          left: rest === undefined ? undefined : Progress.leftMillis(now - since, weight, rest),
          perSecond: lately.perSecond(now, ended)
        }
      },
      isAbandoned: () => abandoned,
      rest: () => {
        if (exhausted && !untaken && tally.left === 0) return undefined
        const { skippedWeight, weight } = tally
        return { part: input.weight === undefined ? undefined : 1 - (weight + skippedWeight) / input.weight }
      },
      elapsedMillis: () => flights.now() - since
    }
  })

/** How long a body is that nobody wants. */
const lengthOf = (answer: ParallelHttp.Answer) =>
  Stream.runFold(
    answer.stream,
    () => 0,
    (bytes, chunk) => bytes + chunk.length
  )
