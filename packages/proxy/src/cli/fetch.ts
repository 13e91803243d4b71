/** `fairlead fetch`: input → many calls, bounded → lines or files → what it came to. */
import { ParallelHttp, RateWindow, Shutdown, Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Cause, Clock, Deferred, Effect, Exit, Stream } from "effect"
import type { Duration } from "effect"
import * as fs from "node:fs"
import type { Rate } from "../Config.ts"
import * as Entry from "../fetch/Entry.ts"
import { Flights, Left } from "../fetch/Flight.ts"
import * as Folder from "../fetch/Folder.ts"
import * as Input from "../fetch/Input.ts"
import * as Item from "../fetch/Item.ts"
import * as Progress from "../fetch/Progress.ts"
import * as Summary from "../fetch/Summary.ts"
import { Tally } from "../fetch/Tally.ts"
import { say, write } from "./print.ts"
import { Stop } from "./Stop.ts"
import { version } from "./version.ts"

export interface Options {
  readonly urls: ReadonlyArray<string>
  readonly from: string | undefined
  readonly method: string | undefined
  readonly headers: ReadonlyArray<string>
  readonly concurrency: number
  readonly perHost: number | undefined
  readonly rate: Rate | undefined
  readonly timeout: Duration.Duration
  readonly maxBytes: number
  readonly order: "input" | "completed"
  readonly body: Entry.BodyMode
  readonly include: boolean
  readonly out: string | undefined
  readonly resume: boolean
  readonly failFast: boolean
  readonly progress: Progress.Mode | "auto"
  readonly quiet: boolean
}

/** Fetches all of it. Ends with code 1 where not all of it succeeded, or it was stopped before its end. */
export const fetch = Effect.fnUntraced(function* (options: Options) {
  const { body, concurrency, failFast, include, maxBytes, order, out, perHost, quiet, rate, timeout } = options
  if (options.resume && out === undefined) {
    return yield* new Stop({ message: "--resume goes on in a folder of answers: give --out DIR, too", code: 2 })
  }
  const from = options.from ?? (options.urls.length === 0 ? yield* piped : undefined)
  const headers = yield* parseHeaders(options.headers)
  const defaults: Item.Defaults = { method: options.method, headers: [...headers, ...usual(headers)].flat() }
  const input = yield* Effect.mapError(Input.open(options.urls, from, defaults), stop(2))
  const folder = out === undefined ? undefined : yield* Effect.mapError(Folder.open(out, options.resume), stop(2))

  const clock = yield* Clock.Clock
  const stopping = yield* Deferred.make<void>()
  const flights = new Flights(clock, stopping, timeout)
  const transport = yield* NodeTransport.make()
  // Those of other hosts go on while some wait for theirs; in the order of the input they would only pile up.
  const isPolite = perHost !== undefined || rate !== undefined
  const ahead = concurrency * (isPolite && order === "completed" ? 20 : 2)
  const http = yield* ParallelHttp.make("fetch", {
    inFlight: concurrency,
    perHost: {
      limit: perHost ?? concurrency,
      windows: rate === undefined ? [] : [RateWindow.per(rate.limit, rate.per)],
      line: { maxItems: ahead }
    },
    maxBytes
  }).pipe(Effect.provideService(Transport.Transport, flights.watch(transport)))

  const tally = new Tally()
  const since = clock.currentTimeMillisUnsafe()
  const lately = new Progress.Rate(since)
  let skippedWeight = 0
  const state = (): Progress.State => {
    const now = clock.currentTimeMillisUnsafe()
    const { ended, failed, skipped, weight } = tally
    const rest = input.weight === undefined ? undefined : input.weight - weight - skippedWeight
    return {
      done: ended,
      failed,
      skipped,
      inFlight: flights.exchanges,
      waiting: Math.max(0, flights.taken - flights.exchanges),
      part: rest === undefined ? undefined : 1 - rest / input.weight!,
      left: rest === undefined ? undefined : Progress.leftMillis(now - since, weight, rest),
      perSecond: lately.perSecond(now, ended)
    }
  }
  const { stderr, stdout } = process
  const mode =
    options.progress !== "auto" ? options.progress : quiet ? "none" : Progress.modeOf(stderr.isTTY, process.env.TERM)
  const screen: Progress.Screen = {
    get columns() {
      return stderr.columns ?? 80
    },
    write: (text) => void stderr.write(text)
  }

  let exhausted = false
  let abandoned = false
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
      tally.skipped++
      skippedWeight += item.weight
      return false
    })
  )

  const read =
    (item: Item.Item) =>
    (answer: ParallelHttp.Answer): Effect.Effect<Entry.Got, Folder.WriteFailed | ReadErrors> => {
      const { headers, status, url } = answer
      return folder === undefined
        ? Effect.map(answer.bytes, (body) => ({ url, status, headers, bytes: body.length, file: undefined, body }))
        : Effect.map(folder.keep(item, answer, maxBytes), (kept) => ({
            url,
            status,
            headers,
            ...kept,
            body: undefined
          }))
    }
  const entryOptions: Entry.Options = { body, headers: include, key: folder !== undefined }
  const fetchOne = (item: Item.Item | Item.Mistake): Effect.Effect<Ended | undefined, Folder.WriteFailed> =>
    item._tag === "Mistake"
      ? Effect.succeed({ item, entry: Entry.ofMistake(item) })
      : Effect.flatMap(flights.fly(item.request.url, http.fetch(item.request, read(item))), ({ exit, flight }) => {
          const failure = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
          if (failure instanceof Folder.WriteFailed) return Effect.fail(failure)
          if (failure instanceof Left) {
            tally.left++
            return Effect.succeed(undefined)
          }
          return Effect.succeed({ item, entry: Entry.make(item, flight, exit, flights.now(), entryOptions) })
        })

  const run = Effect.gen(function* () {
    const progress = yield* Progress.show(mode, screen, state)
    yield* Shutdown.hook(
      "fetch",
      { phase: "closing" },
      Effect.andThen(
        quiet ? Effect.void : progress.aside(Effect.sync(() => say(stoppingWith(flights.exchanges)))),
        Deferred.succeed(stopping, undefined)
      )
    )
    const record = (line: string): Effect.Effect<boolean, Stop | Folder.WriteFailed> =>
      folder !== undefined
        ? Effect.as(folder.record(line), true)
        : stdout.isTTY
          ? progress.aside(write(line))
          : write(line)
    // Whether to go on: whoever reads no longer wants no more, and what is in flight is cut.
    const emit = ({ entry, item }: Ended) => {
      tally.add(entry)
      tally.weight += item.weight
      const written = Effect.map(record(Entry.line(entry)), (isRead) => {
        abandoned = !isRead
        return isRead
      })
      return failFast && !entry.ok ? Effect.andThen(Deferred.succeed(stopping, undefined), written) : written
    }
    yield* items.pipe(
      Stream.mapEffect(fetchOne, { concurrency: ahead, unordered: order === "completed" }),
      Stream.filter((ended) => ended !== undefined),
      Stream.runForEachWhile(emit)
    )
  }).pipe(Effect.scoped, Shutdown.beacon("fetch"))

  const tell = Effect.sync(() => {
    tally.left += flights.cut
    if (quiet || abandoned) return
    const rest = input.weight === undefined ? undefined : 1 - (tally.weight + skippedWeight) / input.weight
    const isStopped = !exhausted || tally.left > 0
    say(
      Summary.render(tally, {
        elapsedMillis: clock.currentTimeMillisUnsafe() - since,
        stopped: isStopped ? { unread: rest, resumes: folder !== undefined } : undefined,
        columns: screen.columns
      })
    )
  })
  yield* run.pipe(
    Effect.ensuring(tell),
    Effect.mapError((error: Stop | Folder.WriteFailed | Input.ReadFailed) =>
      error instanceof Stop ? error : stop(1)(error)
    )
  )
  if (tally.failed > 0 || (!abandoned && (!exhausted || tally.left > 0)))
    return yield* new Stop({ message: "", code: 1 })
}, Effect.scoped)

interface Ended {
  readonly item: Item.Item | Item.Mistake
  readonly entry: Entry.Entry
}

type ReadErrors = Transport.BodyFailed | Folder.TooLarge | ParallelHttp.Failure

/** What is wrong with a header is not shown: it may be a secret. */
const parseHeaders = (given: ReadonlyArray<string>) =>
  Effect.forEach(given, (text) =>
    Effect.mapError(
      Effect.fromResult(Item.header(text)),
      (expected) => new Stop({ message: `--header: expected ${expected}; what was found is not shown`, code: 2 })
    )
  )

/** What is sent unless something else is said. */
const usual = (headers: ReadonlyArray<readonly [name: string, value: string]>) => {
  const given = new Set(headers.map(([name]) => name.toLowerCase()))
  return [
    ["user-agent", `fairlead/${version}`],
    ["accept", "*/*"]
  ].filter(([name]) => !given.has(name!))
}

const stop =
  (code: 1 | 2) =>
  ({ message }: { readonly message: string }) =>
    new Stop({ message, code })

/** Standard input, where somebody gives us something there. */
const piped = Effect.suspend(() => {
  const stat = fs.fstatSync(0)
  return stat.isFIFO() || stat.isFile() || stat.isSocket()
    ? Effect.succeed("-")
    : Effect.fail(new Stop({ message: "expected URLs, or --from FILE with one on each line, found nothing", code: 2 }))
})

const stoppingWith = (exchanges: number) =>
  `fairlead: stopping: nothing more is taken, ${exchanges} in flight will be finished. Ctrl-C again cuts them.`
