/** `fairlead top`: what goes on in a running process, live on a terminal; elsewhere one picture of it. */
import { Effect, Queue, Schedule } from "effect"
import type { Duration } from "effect"
import * as Look from "../inspect/Look.ts"
import type * as Remote from "../inspect/Remote.ts"
import * as Terminal from "../inspect/Terminal.ts"
import * as Top from "../inspect/Top.ts"
import * as admin from "./admin.ts"
import { print } from "./print.ts"

export interface Options extends admin.Options {
  readonly every: Duration.Duration
  readonly once: boolean
}

export const top = Effect.fnUntraced(function* (options: Options) {
  const { orStop, remote } = yield* admin.connect(options)
  const before = yield* Effect.mapError(look(remote), orStop)
  const state = Top.looked(Top.start, before)
  if (options.once || !process.stdout.isTTY || !process.stdin.isTTY) {
    const now = yield* Effect.delay(Effect.mapError(look(remote), orStop), options.every)
    return yield* print(picture(Top.looked(state, now)))
  }
  return yield* live(remote, state, options.every)
}, Effect.scoped)

/** All of it, as wide as the terminal. */
const picture = (state: Top.State): string =>
  Top.render(state, process.stdout.columns || 120, Infinity)
    .map((line) => `${Top.paint(line, Terminal.colours(process.stdout.isTTY, process.env)).trimEnd()}\n`)
    .join("")

const look = ({ get }: Remote.Remote): Effect.Effect<Look.Look, Remote.Unreachable> =>
  Effect.map(
    Effect.all([get("/statistics"), get("/explain"), get("/lint")], { concurrency: 3 }),
    ([statistics, tasks, findings]) => Look.read(statistics.json, tasks.json, findings.json, performance.now())
  )

type Event = { readonly found: Look.Look | string } | { readonly typed: string } | "resized"

/** Until a key ends it, or a signal. */
const live = Effect.fnUntraced(function* (remote: Remote.Remote, first: Top.State, every: Duration.Duration) {
  // Who types faster than it draws is not waited for.
  const events = yield* Queue.dropping<Event>(256)
  const tell = (event: Event) => void Queue.offerUnsafe(events, event)
  const terminal = yield* Terminal.make(
    { input: process.stdin, output: process.stdout },
    {
      colours: Terminal.colours(true, process.env),
      onInput: (typed) => tell({ typed }),
      onResize: () => tell("resized")
    }
  )
  yield* Effect.match(look(remote), {
    onSuccess: (found) => tell({ found }),
    onFailure: ({ message }) => tell({ found: `${message}; trying again` })
  }).pipe(Effect.delay(every), Effect.repeat(Schedule.forever), Effect.forkScoped)
  let state: Top.State | undefined = first
  while (state !== undefined) {
    terminal.draw(Top.render(state, terminal.columns, terminal.rows))
    const event: Event = yield* Queue.take(events)
    if (event === "resized") continue
    if ("found" in event) state = Top.looked(state, event.found)
    else for (const key of Top.keys(event.typed)) state = state && Top.pressed(state, key)
  }
})
