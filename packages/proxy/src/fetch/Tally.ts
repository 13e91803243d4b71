/** What a run has come to so far: counts, and of what failed one example of each kind. */
import type { Entry, Wrong } from "./Entry.ts"
import { Latencies } from "./Latencies.ts"

/** Those of a kind that failed. */
export interface Failures {
  /** `status 503`, `ConnectionFailed (dns)`. */
  readonly title: string
  count: number
  /** The first of them. */
  readonly url: string | undefined
  readonly message: string
}

export class Tally {
  ok = 0
  failed = 0
  /** What an earlier run has fetched; and what was taken from the input and let go of. */
  skipped = 0
  left = 0
  bytes = 0
  /** Sent beyond the first time. */
  retries = 0
  /** How much of the input has ended, and how much of it was skipped, in its bytes. */
  weight = 0
  skippedWeight = 0
  readonly statuses = new Map<number, number>()
  readonly failures = new Map<string, Failures>()
  readonly latencies = new Latencies()

  add({ attempts, bytes, error, millis, ok, status, url }: Entry, weight: number): void {
    this.weight += weight
    this.bytes += bytes
    this.retries += Math.max(0, attempts - 1)
    if (status !== undefined) this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
    if (attempts > 0) this.latencies.add(millis)
    if (ok || error === undefined) {
      this.ok++
      return
    }
    this.failed++
    const title = titleOf(error, status)
    const alike = this.failures.get(title)
    if (alike === undefined) this.failures.set(title, { title, count: 1, url, message: error.message })
    else alike.count++
  }

  skip(weight: number): void {
    this.skipped++
    this.skippedWeight += weight
  }

  get ended(): number {
    return this.ok + this.failed
  }
}

const titleOf = ({ kind, reason }: Wrong, status: number | undefined): string =>
  kind === "StatusRejected" ? `status ${status}` : reason === undefined ? kind : `${kind} (${reason})`
