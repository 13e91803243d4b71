/**
 * The fibers that a scheduler has seen. Effect keeps no list of all fibers, but asks the scheduler before each step of
 * each of them; so a fiber is seen as soon as it has taken one step.
 */
import { Context } from "effect"
import type { Fiber } from "effect"

export type AnyFiber = Fiber.Fiber<unknown, unknown>

/** Marks fibers that serve many callers and belong to none, such as the driver of a shared timer. */
const Background: Context.Reference<boolean> = Context.Reference<boolean>("fairlead/Background", {
  defaultValue: () => false
})

export class Fibers {
  /** How many were seen, those in the background left out. */
  count = 0
  private readonly numbers = new Map<AnyFiber, number>()
  private last: AnyFiber | undefined
  private lastNumber = 0
  private sweepAt = 1024

  /** The number of a fiber: 1 for the first that was seen; 0 for all in the background. */
  note(fiber: AnyFiber): number {
    if (fiber === this.last) return this.lastNumber
    let number = this.numbers.get(fiber)
    if (number === undefined) {
      if (this.numbers.size >= this.sweepAt) this.forget()
      number = fiber.getRef(Background) ? 0 : ++this.count
      this.numbers.set(fiber, number)
    }
    this.last = fiber
    this.lastNumber = number
    return number
  }

  /** Those that have not ended, with their numbers; background ones left out. */
  get unfinished(): ReadonlyArray<readonly [number: number, fiber: AnyFiber]> {
    const unfinished: Array<readonly [number, AnyFiber]> = []
    for (const [fiber, number] of this.numbers) {
      if (number > 0 && fiber.pollUnsafe() === undefined) unfinished.push([number, fiber])
    }
    return unfinished
  }

  /** Fibers that have ended never come back: a program that forks a million one after another holds none of them. */
  private forget(): void {
    for (const fiber of this.numbers.keys()) if (fiber.pollUnsafe() !== undefined) this.numbers.delete(fiber)
    this.sweepAt = Math.max(1024, 2 * this.numbers.size)
  }
}

/** Work of Fairlead's is part of a region, which knows what it waits for. Read by its key: this package depends on Effect alone. */
const Region = Context.Reference<Named | undefined>("@fairlead/core/Region", { defaultValue: () => undefined })

interface Named {
  /** What it is called, e.g. `child orders`. */
  readonly label?: string | undefined
  readonly what?: string | undefined
  readonly parent?: Named | undefined
}

/** The nearest name around a region. */
const labelOf = (region: Named | undefined): string | undefined =>
  region === undefined ? undefined : (region.label ?? labelOf(region.parent))

/** What a reader knows a fiber by: its span, the place where that or its `Effect.fn` stands, what its region waits for. */
export const describe = (fiber: AnyFiber): string => {
  const { span, stackFrame } = fiber.cache
  const name = span?._tag === "Span" ? `in "${span.name}"` : "without a span"
  const place = stackFrame?.stack()?.trim()
  const region = fiber.getRef(Region)
  const label = labelOf(region)
  const what = region?.what
  return [
    name + (place ? ` ${place}` : ""),
    ...(label === undefined ? [] : [`in ${label}`]),
    ...(what === undefined ? [] : [`in a region that waits for ${what}`])
  ].join(", ")
}
