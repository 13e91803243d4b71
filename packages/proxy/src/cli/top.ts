/** `fairlead top`: what goes on in a running process, live on a terminal; elsewhere one picture of it. */
import { Effect } from "effect"
import type { Duration } from "effect"
import * as Live from "../inspect/Live.ts"
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
  const look = Effect.mapError(Live.look(remote), orStop)
  const state = Top.looked(Top.start, yield* look)
  const { stdin: input, stdout: output } = process
  const colours = Terminal.colours(output.isTTY, process.env)
  // A terminal that is dumb cannot be drawn on anew.
  const isLive = !options.once && output.isTTY && input.isTTY && process.env["TERM"] !== "dumb"
  if (isLive) return yield* Live.run(remote, state, options.every, { input, output }, colours)
  const now = yield* Effect.delay(look, options.every)
  return yield* print(picture(Top.looked(state, now), output.columns || 120, colours))
}, Effect.scoped)

/** All of it, however many lines it takes. */
const picture = (state: Top.State, width: number, colours: boolean): string =>
  Top.render(state, width, Infinity)
    .map((line) => `${Top.paint(line, colours).trimEnd()}\n`)
    .join("")
