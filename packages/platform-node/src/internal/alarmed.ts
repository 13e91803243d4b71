/**
 * Alarms, the latest last: equal ones are one that counts. Pure but for what it remembers.
 */
import type { Hold } from "./holds.ts"

export interface Alarm {
  /** When it last ended: ISO 8601. */
  readonly at: string
  /** How long the loop was held, the last time. */
  readonly millis: number
  readonly function: string
  readonly place: string
  readonly span: string | null
  /** How often. */
  readonly count: number
}

export const kept = 10
/** An equal one is told again after this. */
const quietMillis = 10_000

const isSame = (a: Hold, b: Alarm) => a.function === b.function && a.place === b.place && a.span === b.span

export class Alarms {
  private entries: ReadonlyArray<{ readonly alarm: Alarm; readonly told: number }> = []

  get latest(): ReadonlyArray<Alarm> {
    return this.entries.map(({ alarm }) => alarm)
  }

  /** Gives the alarm, and whether it is told: not where an equal one was a moment ago. */
  add(hold: Hold, wallNow: number): { readonly alarm: Alarm; readonly tell: boolean } {
    const { function: name, millis, place, span } = hold
    const before = this.entries.find(({ alarm }) => isSame(hold, alarm))
    const at = new Date(wallNow).toISOString()
    const alarm = { at, millis, function: name, place, span, count: (before?.alarm.count ?? 0) + 1 }
    const tell = before === undefined || wallNow - before.told >= quietMillis
    const entry = { alarm, told: tell ? wallNow : before.told }
    this.entries = [...this.entries.filter((it) => it !== before), entry].slice(-kept)
    return { alarm, tell }
  }
}

/** `The event loop was held for 203 ms by parse (src/report.ts:12), in span GET /report` */
export const say = ({ count, function: name, millis, place, span }: Alarm): string =>
  `The event loop was held for ${Math.round(millis)} ms by ${name} (${place})` +
  (span === null ? "" : `, in span ${span}`) +
  (count === 1 ? "" : `; ${count} times so far`)
