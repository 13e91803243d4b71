/** What a run has come to so far: counts, and no item by itself but the first that failed. */
import type { Entry, Wrong } from "./Entry.ts"
import { Latencies } from "./Latencies.ts"

/** How many failures are told one by one. */
const told = 5

export class Tally {
  ok = 0
  failed = 0
  /** What an earlier run has fetched; and what was taken from the input and let go of. */
  skipped = 0
  left = 0
  bytes = 0
  /** Sent beyond the first time. */
  retries = 0
  /** Of the input, in its bytes, that has ended. */
  weight = 0
  readonly statuses = new Map<number, number>()
  readonly kinds = new Map<string, number>()
  readonly failures: Array<{ readonly url: string | undefined; readonly error: Wrong }> = []
  readonly latencies = new Latencies()

  add({ attempts, bytes, error, millis, ok, status, url }: Entry): void {
    this.bytes += bytes
    this.retries += Math.max(0, attempts - 1)
    if (status !== undefined) this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
    if (attempts > 0) this.latencies.add(millis)
    if (ok) {
      this.ok++
      return
    }
    this.failed++
    if (error === undefined) return
    const kind = titleOf(error)
    this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1)
    if (this.failures.length < told) this.failures.push({ url, error })
  }

  get ended(): number {
    return this.ok + this.failed
  }
}

/** `ConnectionFailed (dns)`. */
export const titleOf = ({ kind, reason }: Wrong): string => (reason === undefined ? kind : `${kind} (${reason})`)
