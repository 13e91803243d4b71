/**
 * How urgent those are who wait for a run, while it goes on: what it has standing at gates moves with them, and what
 * comes there later comes so.
 */
import { Context } from "effect"
import { levels } from "../Priority.ts"
import type { Claim } from "./claim.ts"

export class Boost {
  /** `levels`: nobody is. */
  urgency = levels
  private readonly waiting = new Set<Claim>()

  set(urgency: number): void {
    this.urgency = urgency
    for (const claim of this.waiting) claim.gate.move(claim, claim.asked)
  }

  begin(claim: Claim): void {
    this.waiting.add(claim)
  }

  end(claim: Claim): void {
    this.waiting.delete(claim)
  }
}

/** The boost of the run that a fiber works for, if it has one. */
export const Current: Context.Reference<Boost | undefined> = Context.Reference<Boost | undefined>("fairlead/Boost", {
  defaultValue: () => undefined
})
