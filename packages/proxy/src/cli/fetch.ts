/** `fairlead fetch`: input → many calls, bounded → lines or files → what it came to. */
import { Shutdown, Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Deferred, Effect, Exit } from "effect"
import { X509Certificate } from "node:crypto"
import * as fs from "node:fs"
import * as Folder from "../fetch/Folder.ts"
import * as Input from "../fetch/Input.ts"
import * as Item from "../fetch/Item.ts"
import * as Progress from "../fetch/Progress.ts"
import * as Run from "../fetch/Run.ts"
import * as Summary from "../fetch/Summary.ts"
import { say, write } from "./print.ts"
import { Stop } from "./Stop.ts"
import { version } from "./version.ts"

export interface Options extends Run.Options {
  readonly urls: ReadonlyArray<string>
  readonly from: string | undefined
  readonly method: string | undefined
  readonly headers: ReadonlyArray<string>
  readonly out: string | undefined
  /** `none`, or a URL. */
  readonly proxy: string | undefined
  readonly ca: string | undefined
  readonly resume: boolean
  readonly progress: Progress.Mode | "auto"
  readonly quiet: boolean
}

/**
 * Fetches all of it. Ends with code 1 where not all of it succeeded, or it was stopped before its end. Where a shutdown begins, that
 * waits until what has begun is finished.
 */
export const fetch = Effect.fnUntraced(function* (options: Options) {
  const ended = yield* Deferred.make<void, Stop>()
  // A hook that fails makes the exit code 1 even where all is over before our own failure has gone its way.
  yield* Shutdown.hook("fetch", { phase: "draining" }, Deferred.await(ended))
  yield* Effect.onExit(run(options), (exit) =>
    Deferred.done(
      ended,
      Exit.isSuccess(exit) ? exit : Exit.fail(new Stop({ message: "it did not come to its end", code: 1 }))
    )
  )
}, Effect.scoped)

const run = Effect.fnUntraced(function* (options: Options) {
  const { out, quiet, urls } = options
  if (options.resume && out === undefined) {
    return yield* new Stop({ message: "--resume goes on in a folder of answers: give --out DIR, too", code: 2 })
  }
  if (out === "") return yield* new Stop({ message: "--out: expected a folder, found nothing", code: 2 })
  if (options.from === "") return yield* new Stop({ message: "--from: expected a file, found nothing", code: 2 })
  const headers = yield* parseHeaders(options.headers)
  const defaults: Item.Defaults = { method: options.method, headers: [...headers, ...usual(headers)].flat() }
  const from = options.from ?? (urls.length === 0 ? yield* piped : undefined)
  const input = yield* Effect.mapError(Input.open(urls, from, defaults), orStop(2))
  const folder = out === undefined ? undefined : yield* Effect.mapError(Folder.open(out, options.resume), orStop(2))
  const transport = yield* connect(options)
  const run = yield* Effect.provideService(Run.make<Stop>(input, folder, options), Transport.Transport, transport)

  let asked = false
  // Ctrl-C ends whoever reads in the same pipe, too; then there is still something to tell.
  const isUnread = () => run.isAbandoned() && !asked
  const tell = Effect.sync(() => {
    const left = run.rest()
    if (quiet || isUnread()) return
    const stopped = left === undefined ? undefined : { part: left.part, resumes: folder !== undefined }
    say(Summary.render(run.tally, { elapsedMillis: run.elapsedMillis(), stopped, columns: screen.columns }))
  })
  yield* Effect.gen(function* () {
    const progress = yield* Progress.show(modeOf(options, from === "-"), screen, run.state)
    const stopping = Effect.sync(() => {
      asked = true
      if (!quiet) say(stoppingWith(run.state().inFlight))
    })
    yield* Shutdown.hook("stop fetching", { phase: "closing" }, Effect.andThen(progress.aside(stopping), run.stop))
    yield* run.run(process.stdout.isTTY ? (line) => progress.aside(write(line)) : write)
  }).pipe(
    Effect.scoped,
    Effect.ensuring(tell),
    Effect.mapError((error) => (error instanceof Stop ? error : orStop(1)(error)))
  )

  const isWhole = isUnread() || run.rest() === undefined
  if (run.tally.failed > 0 || !isWhole) return yield* new Stop({ message: "", code: 1 })
}, Effect.scoped)

/** Its own times are no shorter than what an item has. */
const connect = ({ ca, concurrency, proxy, timeout }: Options) =>
  Effect.flatMap(ca === undefined ? Effect.undefined : authorities(ca), (pem) =>
    NodeTransport.make({
      name: "connections",
      maxSockets: concurrency,
      connect: timeout,
      firstByte: timeout,
      idle: timeout,
      proxy: proxy === "none" ? undefined : (proxy ?? "environment"),
      tls: pem === undefined ? undefined : { ca: pem }
    })
  )

/** With none in it nobody at all would be trusted. */
const authorities = (file: string) =>
  Effect.try({
    try: () => fs.readFileSync(file),
    catch: (error) => orStop(2)(Input.ReadFailed.of(`--ca: ${file}`, error))
  }).pipe(
    Effect.tap((pem) =>
      Effect.try({
        try: () => new X509Certificate(pem),
        catch: () => new Stop({ message: `--ca: expected certificates (PEM) in ${file}, found none`, code: 2 })
      })
    )
  )

/** Standard input, where somebody gives us something there. */
const piped = Effect.suspend(() => {
  const stat = fs.fstatSync(0)
  return stat.isFIFO() || stat.isFile() || stat.isSocket()
    ? Effect.succeed("-")
    : Effect.fail(new Stop({ message: "expected URLs, or --from FILE with one on each line, found nothing", code: 2 }))
})

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

const modeOf = ({ progress, quiet }: Options, readsStdin: boolean): Progress.Mode => {
  if (progress !== "auto") return progress
  // What somebody types is not drawn over.
  return quiet || (readsStdin && process.stdin.isTTY) ? "none" : Progress.modeOf(process.stderr.isTTY, process.env.TERM)
}

const screen: Progress.Screen = {
  get columns() {
    // A terminal whose size nobody has told it says 0.
    return process.stderr.columns || 80
  },
  write: (text) => void process.stderr.write(text)
}

const stoppingWith = (inFlight: number) =>
  `fairlead: stopping: nothing more is taken, ${inFlight} in flight will be finished. Ctrl-C again cuts them.`

const orStop =
  (code: 1 | 2) =>
  ({ message }: { readonly message: string }) =>
    new Stop({ message, code })
