/**
 * Who held the event loop, for how long, and what is nobody's.
 *
 *     mark      mark                              mark
 *      │  idle   │ ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒  │          a stretch: nothing got on from one mark to the next
 *                      ▲    ▲    ▲    ▲                      looks: where it is in the midst of that
 *
 * A *mark* is a tick of a timer, or a switch from one fiber to another. A *stretch* of `alarmMillis` or more, is a *hold*, once what is not a
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
  /** How long another thread, which only sleeps, was not woken when it should have been. */
  readonly missed: () => number
}

/** What is seen in the midst of a stretch. */
export interface Look extends Culprit {
  /** Tells one callback of the loop from another. */
  readonly callback: number
  readonly span: string | null
  /** How long it was deaf. */
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
export const isNative = (deafForMillis: number): boolean => deafForMillis > deafMillis
/** Of an answer that came so late; the machine's part is none of it, where that is known. */
export const deafFor = (lateMillis: number, lostThen: number | undefined, lostNow: number): number =>
  lateMillis - (lostThen === undefined ? 0 : lostNow - lostThen)
const maxLooks = 64
/** How old may be what a stretch is measured from. */
const freshMillis = 20

export class Holds<Fiber> {
  private readonly meter: Meter
  private readonly spanOf: (fiber: Fiber) => string | null
  private readonly enough: number
  private base: Sums
  private looks: Array<Look> = []
  private fresh: Array<Pending> = []
  private settling: Array<Pending> = []

  constructor(meter: Meter, alarmMillis: number, spanOf: (fiber: Fiber) => string | null) {
    this.meter = meter
    this.spanOf = spanOf
    // A function that took exactly the alarm may be measured a little short.
    this.enough = alarmMillis - 1
    this.base = this.read(meter.now())
  }

  /** `from` runs no longer. Between this mark and the one before it there were `stoodMillis` at most. */
  switched(from: Fiber | undefined, stoodMillis: number, now: number): void {
    this.stretched(from, stoodMillis, now)
    // Where ticks are late, what was read at the last one says little of a stretch that begins now.
    if (now - this.base.at >= freshMillis) this.base = this.read(now)
  }

  private stretched(fiber: Fiber | undefined, stoodMillis: number, now: number): void {
    const { base, looks } = this
    this.looks = []
    if (stoodMillis < this.enough) return
    const sums = this.read(now)
    // The sums are of somewhat more than the stretch.
    const busy = Math.min(stoodMillis, now - base.at - (sums.idle - base.idle))
    const measured = { busy, cpu: Math.min(busy, sums.cpu - base.cpu), lost: sums.lost - base.lost }
    const millis = heldFor({ ...measured, missed: 0, waits: true })
    if (millis < this.enough || looks.some(({ callback }) => callback !== looks[0]!.callback)) return
    const span = looks.find(({ span }) => span !== null)?.span ?? (fiber === undefined ? null : this.spanOf(fiber))
    this.fresh.push({ hold: { ...blame(looks), span, millis, end: now }, before: base.missed, ...measured })
  }

  /** A mark, too, in a timer's turn; gives the holds that are certain now. */
  tick(stoodMillis: number, now: number, collected: Collected): ReadonlyArray<Hold> {
    const settled = this.settling
    this.settling = this.fresh
    this.fresh = []
    this.stretched(undefined, stoodMillis, now)
    this.base = this.read(now)
    return settled.flatMap(({ before, hold, ...measured }) => {
      const millis = heldFor({ ...measured, waits: hold.own, missed: this.base.missed - before })
      return millis - collected(hold.end - millis, hold.end) >= this.enough ? [{ ...hold, millis }] : []
    })
  }

  /** What has run since the last mark was the monitor itself. */
  excuse(): void {
    this.looks = []
  }

  looked(look: Look): void {
    if (this.looks.length < maxLooks) this.looks.push(look)
  }

  private read(at: number): Sums {
    const { cpu, idle, lost, missed } = this.meter
    return { at, cpu: cpu(), idle: idle(), lost: lost(), missed: missed() }
  }
}

interface Sums {
  readonly at: number
  readonly cpu: number
  readonly idle: number
  readonly lost: number
  readonly missed: number
}

/** A hold of which it is not known yet what the collector had of it, or whoever stopped the process. */
interface Pending extends Pick<Measured, "busy" | "cpu" | "lost"> {
  readonly hold: Hold
  /** What had been missed before. */
  readonly before: number
}

export interface Measured {
  /** In which the loop did not wait for events. */
  readonly busy: number
  readonly cpu: number
  readonly lost: number
  readonly missed: number
  /** Whether a function was seen that may wait by itself. */
  readonly waits: boolean
}

/**
 * How long somebody held the loop: while it was on the CPU, and while it waited for something itself, as `execFileSync` does. Nobody counts all
 * that a machine may take from us: so other threads must have run meanwhile.
 */
export const heldFor = ({ busy, cpu, lost, missed, waits }: Measured): number => {
  const waited = busy - cpu - lost
  return waits && waited > cpu && missed < waited * 0.2 ? cpu + waited : cpu
}

/** Native code of which it was not seen who had called it. */
export const nobody: Culprit = { function: "native code", place: "unknown", own: false }
const unseen = { ...nobody, native: true }

/** The function that most looks saw, by the time each of them stands for. */
export const blame = (looks: ReadonlyArray<Look>): Culprit & { readonly native: boolean } => {
  const seen = new Map<string, { found: typeof unseen; weight: number }>()
  const own = looks.filter((look) => look.own)
  // What Node does when it is asked between two steps of a promise is no answer.
  for (const { function: name, lateMillis, own: isOwn, place } of own.length > 0 ? own : looks) {
    const native = isNative(lateMillis)
    const found = { function: native && isOwn ? `${name} calling native code` : name, place, own: isOwn, native }
    const key = `${found.function} ${place.replace(/:\d+$/, "")}`
    const entry = seen.get(key) ?? { found, weight: 0 }
    // In the time of one that came late there could have been so many.
    seen.set(key, { found: entry.found, weight: entry.weight + Math.max(1, lateMillis / deafMillis) })
  }
  return [...seen.values()].toSorted((a, b) => b.weight - a.weight)[0]?.found ?? unseen
}
