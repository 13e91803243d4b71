/**
 * What is known of one circuit: a mirror of what the store that decides has said of it.
 *
 * It is written down in the same step in which the store answers, so that a snapshot is consistent, and so that a call can be
 * spared the store where its answer is known.
 */
import { Duration, Option } from "effect"
import type { Admission, Rejection, Recorded, Store, Transition } from "./breaker.ts"

export type State = "closed" | "open" | "half-open"

export class Circuit {
  readonly key: string
  /** Who decides. */
  readonly store: Store
  /** Whose outcomes count now; `undefined` where nobody's do, or it is not known. */
  generation: number | undefined = undefined
  /** Whose outcomes counted first. */
  first: number | undefined = undefined
  /** The last openings, as far as they lengthen the next. */
  backoff = 0
  /** Whether its probe runs. */
  private probing = false
  /** Outcomes on their way to the store. */
  feeding = 0
  state: State = "closed"
  /** Since the last success. */
  failures = 0
  openings = 0
  refused = 0
  /** When it came into this state. */
  since: number
  openUntil = 0

  constructor(key: string, store: Store, now: number) {
    this.key = key
    this.store = store
    this.since = now
  }

  /** Whether the store would let anybody in, and as of now each opening would be the first. */
  get calm(): boolean {
    return this.state === "closed" && this.backoff === 0
  }

  /** Whether a success changes anything. */
  get failing(): boolean {
    return this.failures > 0 || this.feeding > 0
  }

  /** Whether there is nothing to remember. */
  get blank(): boolean {
    return this.openings === 0 && this.calm && !this.failing
  }

  /** Whether the store would refuse whoever comes now, and when it may let him in; `None` while a probe runs. */
  refuses(now: number): Option.Option<Duration.Duration> | undefined {
    if (this.state === "open")
      return now < this.openUntil ? Option.some(Duration.millis(this.openUntil - now)) : undefined
    return this.probing ? Option.none() : undefined
  }

  /** The store lets a call in. */
  admitted(admission: Admission, now: number): void {
    this.move(admission.probe ? "half-open" : "closed", now)
    this.probing = admission.probe
    this.generation = admission.generation
    this.first ??= admission.generation
    this.backoff = admission.consecutiveOpenings
  }

  /** The store lets a call not in. */
  rejected(reason: Rejection, now: number): void {
    this.refused++
    this.move(reason._tag === "CircuitOpen" ? "open" : "half-open", now)
    if (reason._tag === "CircuitOpen") this.openUntil = now + Duration.toMillis(reason.retryAfter)
  }

  /** The store knows how a call ended. */
  recorded({ generation, outcome }: Recorded, transition: Transition | undefined, now: number): void {
    // The outcome of one that was let in before it opened, or closed, changes nothing.
    if (transition === undefined && generation !== this.generation) return
    this.probing = false
    if (outcome === "Failure") this.failures++
    else if (outcome === "Success") this.failures = 0
    if (transition === undefined) return
    this.generation = undefined
    if (transition.to === "Open") {
      this.openings++
      this.backoff = transition.consecutiveOpenings
      this.openUntil = now + Duration.toMillis(transition.retryAfter)
      this.move("open", now)
    } else this.move("closed", now)
  }

  private move(state: State, now: number): void {
    if (this.state === state) return
    this.state = state
    this.since = now
  }
}
