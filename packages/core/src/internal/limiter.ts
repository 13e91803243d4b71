/**
 * A limit at work: a plain number, or a `ConcurrencyLimit` with what it remembers and the whole permits that come of it.
 */
import * as ConcurrencyLimit from "../ConcurrencyLimit.ts"
import * as terms from "./terms.ts"

export class Limiter {
  private readonly policy: ConcurrencyLimit.ConcurrencyLimit | undefined
  private readonly fixed: number
  private state: ConcurrencyLimit.State | undefined

  /** Undefined: none. */
  constructor(limit: number | ConcurrencyLimit.ConcurrencyLimit = Infinity) {
    this.policy = typeof limit === "number" ? undefined : limit
    this.fixed = typeof limit === "number" ? terms.limit(limit) : limit.max
    this.state = this.policy?.initial
  }

  /** Whether what ends changes it. */
  get adapts(): boolean {
    return this.policy !== undefined && this.policy.min !== this.policy.max
  }

  get name(): string {
    if (this.policy !== undefined) return ConcurrencyLimit.format(this.policy)
    return this.fixed === Infinity ? "none" : `fixed ${this.fixed}`
  }

  get limit(): number {
    return this.state === undefined ? this.fixed : Math.max(1, Math.floor(this.state.limit))
  }

  /** What it never rises above. */
  get most(): number {
    return this.fixed
  }

  learn(sample: ConcurrencyLimit.Sample): void {
    const state = this.policy!.step(this.state!, sample)
    const { max, name } = this.policy!
    if (!(state.limit >= 1 && state.limit <= max)) {
      throw new RangeError(`Expected a limit from 1 to ${max} of ${name}, got ${state.limit}`)
    }
    this.state = state
  }
}
