/**
 * What an upstream left us, as a staircase: until each instant so much more may be reserved, later ones leave more. Of
 * several hints each holds until it lapses; one that another says too says nothing.
 */
import { grain } from "./millis.ts"

/** So many steps are kept apart; beyond that the two that lapse first become one, against us. */
const most = 8

interface Step {
  left: number
  readonly until: number
}

export class Hints {
  private steps: Array<Step> = []

  /** From `now` until then only `left` may be reserved; `-Infinity`: nothing, whatever is refunded. */
  heed(now: number, left: number, until: number): void {
    if (!(until > now) || this.steps.some((other) => other.left <= left && other.until >= until)) return
    const apart = this.steps.filter((other) => other.left < left || other.until > until)
    this.steps = [...apart, { left, until }].toSorted((a, b) => a.until - b.until)
    const [first, second] = this.steps
    if (this.steps.length > most) this.steps.splice(0, 2, { left: first!.left, until: second!.until })
  }

  /** A reservation; below 0 a refund. */
  spend(cost: number): void {
    for (const step of this.steps) step.left -= cost
  }

  /** Until when less than `cost` is left. */
  shutUntil(cost: number): number {
    for (let i = this.steps.length - 1; i >= 0; i--) if (cost > this.steps[i]!.left) return this.steps[i]!.until
    return -Infinity
  }

  /** When the last one lapses. */
  get end(): number {
    return this.steps.at(-1)?.until ?? -Infinity
  }

  /** Forgets what has lapsed; until when that left less than `cost`. */
  pass(now: number, cost: number): number {
    let shut = -Infinity
    while (this.steps.length > 0 && this.steps[0]!.until <= now + grain) {
      const { left, until } = this.steps.shift()!
      if (left < cost) shut = until
    }
    return shut
  }

  entries(now: number): ReadonlyArray<readonly [left: number, forMillis: number]> {
    return this.steps.map(({ left, until }) => [left, until - now])
  }
}
