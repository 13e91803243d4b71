/**
 * How urgent those are who wait for a run, while it goes on: what it has standing at gates moves with them, and what
 * comes there later comes so.
 */
import { Context } from "effect"
import { levels } from "../Priority.ts"

/** What has something standing at a gate: a ticket, or a bulk call with all its items. */
export interface Boosted {
  /** What it has standing is as urgent as it says from now on. */
  boosted(): void
}

export class Boost {
  /** `levels`: nobody is. */
  urgency = levels
  private readonly waiting = new Set<Boosted>()

  set(urgency: number): void {
    this.urgency = urgency
    for (const each of this.waiting) each.boosted()
  }

  begin(boosted: Boosted): void {
    this.waiting.add(boosted)
  }

  end(boosted: Boosted): void {
    this.waiting.delete(boosted)
  }
}

/** How urgent it is that comes at `urgency` by itself. */
export const raise = (boost: Boost | undefined, urgency: number): number =>
  boost === undefined || boost.urgency > urgency ? urgency : boost.urgency

/** The boost of the run that a fiber works for, if it has one. */
export const Current: Context.Reference<Boost | undefined> = Context.Reference<Boost | undefined>("fairlead/Boost", {
  defaultValue: () => undefined
})
