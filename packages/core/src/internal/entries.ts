/**
 * What became of everything, for a ledger: one line for each name and end, with the oldest of them. However much a drain lets end,
 * its ledger stays short: ends that differ only by what they waited for or failed with are told apart up to a bound.
 */
import type { Entry } from "../Shutdown.ts"

export type Outcome = Entry["outcome"]

/** How many lines there are at most that are told apart by more than their names. */
const most = 200

export class Entries {
  private readonly lines = new Map<string, Entry>()

  add(entry: Omit<Entry, "count">): void {
    const { kind, name, outcome } = entry
    const told = JSON.stringify([kind, name, outcome, entry.waitingFor, entry.error])
    const key = this.lines.has(told) || this.lines.size < most ? told : JSON.stringify([kind, name, outcome])
    const line = this.lines.get(key)
    if (line === undefined) return void this.lines.set(key, { ...entry, count: 1 })
    const older = entry.ageMillis > line.ageMillis ? entry : line
    this.lines.set(key, { ...older, count: line.count + 1 })
  }

  copy(): Entries {
    const copy = new Entries()
    for (const [key, line] of this.lines) copy.lines.set(key, line)
    return copy
  }

  get all(): ReadonlyArray<Entry> {
    return Array.from(this.lines.values())
  }
}
