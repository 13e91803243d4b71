/**
 * Who held the event loop, for how long, and what is nobody's.
 *
 *     mark      mark                              mark
 *      │  idle   │ ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒  │          a stretch: nothing got on from one mark to the next
 *                      ▲    ▲    ▲    ▲                      looks: where it is in the midst of that
 *
 * A *mark* is a tick of a timer, or a switch from one fiber to another. A *stretch* of `alarmMillis` or more is a *hold*, once what is not a
 * function's doing has been taken off: waiting for events, collecting garbage, and time in which the machine did not let us run. A turn of
 * many short callbacks is none: fibers switch in it, or the looks see several callbacks.
 *
 * A hold is told two ticks later, since pauses of the collector are known only a turn of the loop after them.
 */
import type { Culprit } from "./frames.ts"

/** What the stretches are measured with. All are sums, in milliseconds. */
export interface Meter {
  readonly now: () => number
  /** How long the loop has waited for events. */
  readonly idle: () => number
  /** How long this thread could have run, and did not come to. */
  readonly lost: () => number
  /** How long the whole process was stopped, as far as that is no part of `lost`. */
  readonly paused: () => number
}

/** What is seen in the midst of a stretch. */
export interface Look extends Culprit {
  /** Tells one callback of the loop from another. */
  readonly callback: number
  readonly span: string | null
  /** How long nothing answered: then it was in native code. */
  readonly lateMillis: number
}

export interface Hold extends Culprit {
  readonly span: string | null
  readonly millis: number
  /** By the meter's clock. */
  readonly end: number
  /** Most of it was in native code, so that the function is at best the one that called it. */
  readonly native: boolean
}

/** How long the collector stopped everything between two instants. */
export type Collected = (from: number, to: number) => number

/** One that answers later than this was in native code: a look takes about one. */
const deafMillis = 15
const maxLooks = 64

export class Holds<Fiber> {
  private readonly meter: Meter
  private readonly spanOf: (fiber: Fiber) => string | null
  private readonly enough: number
  private last: number
  private base: Sums
  private looks: Array<Look> = []
  private seenLost: number
  private fresh: Array<Hold> = []
  private settling: Array<Hold> = []

  constructor(meter: Meter, alarmMillis: number, spanOf: (fiber: Fiber) => string | null) {
    this.meter = meter
    this.spanOf = spanOf
    // A function that took exactly the alarm may be measured a little short.
    this.enough = alarmMillis - 1
    this.last = meter.now()
    this.base = this.read()
    this.seenLost = this.base.lost
  }

  /** From now on another fiber runs, or none, and `from` no longer. On the hot path. */
  switched(from: Fiber | undefined, now: number): void {
    if (now - this.last >= this.enough) this.stretched(from, now)
    else if (this.looks.length > 0) this.looks = []
    this.last = now
  }

  /** A timer's turn; gives the holds that are certain now. */
  tick(now: number, collected: Collected): ReadonlyArray<Hold> {
    const settled = this.settling
    this.settling = this.fresh
    this.fresh = []
    this.switched(undefined, now)
    this.base = this.read()
    this.seenLost = this.base.lost
    return settled.filter(({ end, millis }) => millis - collected(end - millis, end) >= this.enough)
  }

  /** What has run since the last mark was the monitor itself. */
  excuse(now: number): void {
    this.looks = []
    this.last = now
  }

  looked(look: Look): void {
    const lost = this.meter.lost()
    // What the machine took until the answer is no deafness. That was after the last look, or else after the last tick.
    const lateMillis = look.lateMillis - (lost - this.seenLost)
    this.seenLost = lost
    if (this.looks.length < maxLooks) this.looks.push({ ...look, lateMillis })
  }

  private stretched(fiber: Fiber | undefined, now: number): void {
    const { looks } = this
    this.looks = []
    const { idle, lost, paused } = this.read()
    const { base } = this
    // A machine that is short of time may seem to have stopped us, too.
    const taken = idle - base.idle + Math.max(lost - base.lost, paused - base.paused)
    const millis = now - this.last - taken
    if (millis < this.enough || looks.some(({ callback }) => callback !== looks[0]!.callback)) return
    const span = looks.find(({ span }) => span !== null)?.span ?? (fiber === undefined ? null : this.spanOf(fiber))
    this.fresh.push({ ...blame(looks), span, millis, end: now })
  }

  private read(): Sums {
    const { idle, lost, paused } = this.meter
    return { idle: idle(), lost: lost(), paused: paused() }
  }
}

interface Sums {
  readonly idle: number
  readonly lost: number
  readonly paused: number
}

const unseen = { function: "native code", place: "unknown", native: true }

/** The function that most looks saw, by the time each of them stands for. */
export const blame = (looks: ReadonlyArray<Look>): Culprit & { readonly native: boolean } => {
  const seen = new Map<string, { found: typeof unseen; weight: number }>()
  for (const { function: name, lateMillis, place } of looks) {
    const native = lateMillis > deafMillis
    const found = { function: native ? `${name} calling native code` : name, place, native }
    const key = `${found.function} ${place.replace(/:\d+$/, "")}`
    const entry = seen.get(key) ?? { found, weight: 0 }
    // In the time of one that came late there could have been so many.
    seen.set(key, { found: entry.found, weight: entry.weight + Math.max(1, lateMillis / deafMillis) })
  }
  return [...seen.values()].toSorted((a, b) => b.weight - a.weight)[0]?.found ?? unseen
}
