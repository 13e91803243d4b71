/**
 * The places where an interrupt can land in a run that is always the same up to there: a step that somebody takes, and
 * a fiber that lives at that time, whether the step is its own or it waits for something.
 */
import type { Draw } from "./chance.ts"

/** At the `step`-th step of all, from 1, the fiber `fiber` is interrupted. */
export interface Point {
  readonly step: number
  readonly fiber: number
}

/** Notes who lives when. */
export class Lives {
  steps = 0
  /** By step, who took it. */
  private readonly takers: Array<number> = []
  /** By fiber number, its last step. */
  private readonly last: Array<number> = []

  note(fiber: number): void {
    this.takers.push(fiber)
    this.last[fiber] = ++this.steps
  }

  /** Whose step it was. */
  taker(step: number): number | undefined {
    return this.takers[step - 1]
  }

  /** All points, those of one step side by side, the fiber that takes it first. */
  *points(): Iterable<Point> {
    const living = new Set<number>()
    for (const [index, taker] of this.takers.entries()) {
      const step = index + 1
      living.add(taker)
      yield { step, fiber: taker }
      for (const fiber of living) if (fiber !== taker) yield { step, fiber }
      if (this.last[taker] === step) living.delete(taker)
    }
  }
}

/** `count` of them, one by chance out of each of as many even stretches; all where there are no more. */
export const choose = <P>(all: ReadonlyArray<P>, count: number, draw: Draw): ReadonlyArray<P> => {
  if (all.length <= count) return all
  return Array.from({ length: count }, (_, i) => all[Math.floor(((i + draw()) * all.length) / count)]!)
}
