/**
 * How far a run is: one line that is drawn again and again on a terminal, or lines now and then where there is none.
 *
 *     [=========>        ]  43 %  1,203 done  12 failed  412/s  50 in flight  0:07 left
 *
 * What it shows is decided by pure functions; the line is on stderr, and gives way to what others write. It has no timer once its
 * scope is closed.
 */
import { Effect, Schedule } from "effect"
import type { Scope } from "effect"
import * as Words from "./Words.ts"

/** One moment. */
export interface State {
  readonly done: number
  readonly failed: number
  readonly skipped: number
  readonly inFlight: number
  /** Taken, and waiting for their turn. */
  readonly waiting: number
  /** How much of the input has ended, as a part of it; `undefined` where that is not known. */
  readonly part: number | undefined
  /** About how long the rest takes, in milliseconds. */
  readonly left: number | undefined
  /** Done per second, lately. */
  readonly perSecond: number
}

export type Mode = "bar" | "plain" | "none"

/** What is shown where nobody has said. A terminal that is dumb cannot draw a line anew. */
export const modeOf = (isTerminal: boolean, term: string | undefined): Mode =>
  isTerminal && term !== "dumb" ? "bar" : "plain"

/** The shortest bar. */
const barest = 8

/** One line of fewer than `columns`: what matters least is left out where it has no room. */
export const bar = (state: State, columns: number): string => {
  const { done, failed, inFlight, left, part, perSecond, skipped, waiting } = state
  // The `^C` that a terminal shows stands behind it, and would break the line.
  const room = columns - 3
  // By what they are worth; shown in the order in which they stand.
  const facts: ReadonlyArray<readonly [worth: number, text: string]> = [
    [6, part === undefined ? "" : percent(part)],
    [7, `${Words.count(done)} done`],
    [5, failed === 0 ? "" : `${Words.count(failed)} failed`],
    [0, skipped === 0 ? "" : `${Words.count(skipped)} skipped`],
    [3, Words.perSecond(perSecond)],
    [2, `${inFlight} in flight`],
    [1, waiting === 0 ? "" : `${waiting} waiting`],
    [4, left === undefined ? "" : `${Words.clock(left)} left`]
  ]
  let shown = facts.filter(([, text]) => text !== "")
  const text = () => shown.map(([, text]) => text).join("  ")
  for (;;) {
    const least = Math.min(...shown.map(([worth]) => worth))
    // The bar is worth more than some of them.
    const needed = text().length + (part !== undefined && least <= 2 ? barest + 4 : 0)
    if (needed <= room || shown.length === 1) break
    shown = shown.filter(([worth]) => worth !== least)
  }
  const width = Math.min(30, room - text().length - 4)
  if (part === undefined || width < barest) return text().slice(0, room)
  const filled = Math.min(width, Math.floor(part * width))
  const head = filled < width && filled > 0 ? ">" : ""
  return `[${`${"=".repeat(filled - head.length)}${head}`.padEnd(width)}]  ${text()}`
}

/** One line for a log. */
export const plain = (state: State): string => {
  const { done, failed, inFlight, left, part, perSecond, skipped, waiting } = state
  return [
    `${Words.count(done)} done`,
    ...(failed === 0 ? [] : [`${Words.count(failed)} failed`]),
    ...(skipped === 0 ? [] : [`${Words.count(skipped)} skipped`]),
    Words.perSecond(perSecond),
    `${inFlight} in flight`,
    ...(waiting === 0 ? [] : [`${waiting} waiting`]),
    ...(part === undefined ? [] : [percent(part)]),
    ...(left === undefined ? [] : [`about ${Words.clock(left)} left`])
  ].join(", ")
}

const percent = (part: number) => `${Math.floor(Math.min(1, part) * 100)} %`

/** How long what is left of the input takes, if it goes on as it did; of what has just begun, too little is known. */
export const leftMillis = (elapsedMillis: number, ended: number, left: number): number | undefined =>
  ended <= 0 || elapsedMillis < 1_000 ? undefined : (elapsedMillis / ended) * Math.max(0, left)

/** When the next plain line is due, in milliseconds from the one before: the first after 2 s, then less and less often. */
export const pauses: ReadonlyArray<number> = [2_000, 3_000, 5_000, 10_000, 20_000, 20_000, 60_000]

/** Where it is drawn: standard error. */
export interface Screen {
  readonly columns: number
  readonly write: (text: string) => void
}

export interface Progress {
  /** Runs what writes something else, with the line out of its way. */
  readonly aside: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** Shows how far it is until the scope closes, and then nothing. */
export const show = (mode: Mode, screen: Screen, state: () => State): Effect.Effect<Progress, never, Scope.Scope> => {
  if (mode === "none") return Effect.succeed({ aside: (effect) => effect })
  if (mode === "plain") return Effect.as(plainly(screen, state), { aside: (effect) => effect })
  const line = new Line(screen, state)
  return Effect.gen(function* () {
    yield* Effect.addFinalizer(() => Effect.sync(() => line.clear()))
    yield* Effect.sync(() => line.draw()).pipe(Effect.repeat(Schedule.spaced("200 millis")), Effect.forkScoped)
    return {
      aside: (effect) =>
        Effect.suspend(() => {
          line.clear()
          return Effect.ensuring(
            effect,
            Effect.sync(() => line.draw())
          )
        })
    }
  })
}

const plainly = (screen: Screen, state: () => State): Effect.Effect<unknown, never, Scope.Scope> =>
  Effect.gen(function* () {
    for (let i = 0; ; i++) {
      yield* Effect.sleep(pauses[Math.min(i, pauses.length - 1)]!)
      screen.write(`fairlead: ${plain(state())}\n`)
    }
  }).pipe(Effect.forkScoped)

/** The line on the terminal. */
class Line {
  private readonly screen: Screen
  private readonly state: () => State
  // How long what stands there is; 0: nothing does.
  private length = 0

  constructor(screen: Screen, state: () => State) {
    this.screen = screen
    this.state = state
  }

  draw(): void {
    const text = bar(this.state(), this.screen.columns)
    this.screen.write(`${this.erase()}${text}`)
    this.length = text.length
  }

  clear(): void {
    if (this.length > 0) this.screen.write(this.erase())
    this.length = 0
  }

  /** A terminal that became narrower has broken the line. */
  private erase(): string {
    const rows = Math.max(1, Math.ceil(this.length / this.screen.columns))
    return `\r${rows > 1 ? `\u001b[${rows - 1}A` : ""}\u001b[J`
  }
}

/** How many per second there were lately: over some five seconds, weighing what is older less. */
export class Rate {
  private readonly since: number
  private at: number
  private count = 0
  private value = 0

  constructor(now: number) {
    this.since = now
    this.at = now
  }

  /** Told how many there are in all; it counts anew at most four times a second. */
  perSecond(now: number, count: number): number {
    const millis = now - this.at
    if (millis < 250) return this.value
    const latest = ((count - this.count) / millis) * 1_000
    // At first it is the mean.
    const weight = Math.max(1 - Math.exp(-millis / 5_000), millis / (now - this.since))
    this.value += (latest - this.value) * weight
    this.at = now
    this.count = count
    return this.value
  }
}
