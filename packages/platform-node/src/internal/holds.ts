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
 * A hold is told two ticks later, since pauses of the collector, and of the whole process, are known only after them.
 */
import type { Culprit } from "./frames.ts"

/** What the stretches are measured with. All are sums, in milliseconds. */
export interface Meter {
  readonly now: () => number
  /** How long the loop has waited for events. */
  readonly idle: () => number
  /** CPU time of this thread. */
  readonly cpu: () => number
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
  private fresh: Array<Pending> = []
  private settling: Array<Pending> = []

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
    return settled.flatMap((pending) => {
      const { hold } = pending
      const millis = heldFor({ ...pending, paused: this.base.paused - pending.before })
      // Someone who waits is seen to: a machine that stood still is not.
      if (millis > pending.cpu * 2 && hold.native && hold.place === unseen.place) return []
      return millis - collected(hold.end - millis, hold.end) >= this.enough ? [{ ...hold, millis }] : []
    })
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
    const { base } = this
    const sums = this.read()
    const busy = now - this.last - (sums.idle - base.idle)
    const [cpu, lost] = [Math.min(busy, sums.cpu - base.cpu), sums.lost - base.lost]
    const millis = heldFor({ busy, cpu, lost, paused: 0 })
    if (millis < this.enough || looks.some(({ callback }) => callback !== looks[0]!.callback)) return
    const span = looks.find(({ span }) => span !== null)?.span ?? (fiber === undefined ? null : this.spanOf(fiber))
    const hold = { ...blame(looks), span, millis, end: now }
    this.fresh.push({ hold, busy, cpu, lost, before: base.paused })
  }

  private read(): Sums {
    const { cpu, idle, lost, paused } = this.meter
    return { cpu: cpu(), idle: idle(), lost: lost(), paused: paused() }
  }
}

/** A hold of which it is not known yet what the collector and a stop of the process had of it: both are told after they are over. */
interface Pending {
  readonly hold: Hold
  readonly busy: number
  readonly cpu: number
  readonly lost: number
  /** How long the process had been stopped before. */
  readonly before: number
}

interface Sums {
  readonly cpu: number
  readonly idle: number
  readonly lost: number
  readonly paused: number
}

/**
 * How long somebody held the loop, of a time in which it did not wait for events: while it was on the CPU, and while it waited for something
 * itself, as `execFileSync` does. What it lacked of the CPU otherwise is the machine's doing; not all of that is counted by anybody.
 */
export const heldFor = (of: {
  readonly busy: number
  readonly cpu: number
  readonly lost: number
  readonly paused: number
}) => {
  // A machine that is short of time may seem to have stopped us, too.
  const waited = of.busy - of.cpu - Math.max(of.lost, of.paused)
  return waited > of.cpu ? of.cpu + waited : of.cpu
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
