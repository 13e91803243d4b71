/** `fairlead top` on a terminal: looks again and again, heeds keys and the terminal's size, and draws, until a key ends it. */
import { Effect, Queue, Schedule } from "effect"
import type { Duration, Scope } from "effect"
import * as Look from "./Look.ts"
import type * as Remote from "./Remote.ts"
import * as Terminal from "./Terminal.ts"
import * as Top from "./Top.ts"

/** All that is shown, in one moment. */
export const look = ({ get }: Pick<Remote.Remote, "get">): Effect.Effect<Look.Look, Remote.Unreachable> =>
  Effect.map(
    Effect.all([get("/statistics"), get("/explain"), get("/lint")], { concurrency: 3 }),
    ([statistics, tasks, findings]) => Look.read(statistics.json, tasks.json, findings.json, performance.now())
  )

type Event = { readonly found: Look.Look | string } | { readonly typed: string } | "resized"

export const run = (
  remote: Pick<Remote.Remote, "get">,
  first: Top.State,
  every: Duration.Input,
  streams: Terminal.Streams,
  colours: boolean
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    // Who types faster than it draws is not waited for.
    const events = yield* Queue.dropping<Event>(256)
    const tell = (event: Event) => void Queue.offerUnsafe(events, event)
    const terminal = yield* Terminal.make(streams, {
      colours,
      onInput: (typed) => tell({ typed }),
      onResize: () => tell("resized")
    })
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
