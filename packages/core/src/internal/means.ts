/**
 * What the process has left for those who wait: the byte budget that lines draw from, and how short it is of memory. Both are ambient;
 * whoever is made goes by those of its maker.
 */
import type { Fiber } from "effect"
import { ByteBudget } from "../ByteBudget.ts"
import { Pressure, calm } from "../Pressure.ts"

export class Means {
  readonly budget: ByteBudget | undefined
  readonly pressure: Pressure

  constructor(budget: ByteBudget | undefined, pressure: Pressure) {
    this.budget = budget
    this.pressure = pressure
  }

  /** Calls `listener` once, when there may be more than there was, on the stack of whoever made it so. Gives what takes that back. */
  whenMore(listener: () => void): () => void {
    const ends: Array<() => void> = []
    const end = () => ends.forEach((end) => end())
    const once = () => {
      end()
      listener()
    }
    ends.push(this.pressure.subscribe(once))
    if (this.budget !== undefined) ends.push(this.budget.subscribe(once))
    return end
  }
}

/** No bound, and always calm. */
export const plenty = new Means(undefined, calm)

export const of = (maker: Fiber.Fiber<any, any>): Means => {
  const budget = maker.getRef(ByteBudget)
  const pressure = maker.getRef(Pressure)
  return budget === undefined && pressure === calm ? plenty : new Means(budget, pressure)
}
