/**
 * Those who wait for room in a line, to put more into it: first come first served at each urgency, the most urgent first.
 */
import { levels } from "../Priority.ts"
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"
import type { Claim } from "./claim.ts"
import type { Waiter } from "./wake.ts"

export interface Feeder extends Link, Waiter {
  /** What it wants to put in. */
  readonly claim: Claim
  /** What was thrown when it was asked for, instead of an answer. */
  defect: { readonly thrown: unknown } | undefined
}

/** What keeps a feeder's claim out: what its tenant or key has of its own, its level's bound, or the whole line's. */
export type Blocked = "own" | "level" | "gate"

export class Feeders {
  private readonly chains = Array.from({ length: levels }, () => new Chain<Feeder>())
  size = 0
  /** The one that is asked for just now, which stands in no chain. */
  private asked: Feeder | undefined = undefined

  push(feeder: Feeder): void {
    this.chains[feeder.claim.urgency]!.push(feeder)
    this.size++
  }

  remove(feeder: Feeder): void {
    if (this.asked === feeder) return
    this.chains[feeder.claim.urgency]!.remove(feeder)
    this.size--
  }

  /** Whether somebody of this urgency waits, whom a newcomer must not overtake. */
  waits(urgency: number): boolean {
    return this.chains[urgency]!.size > 0
  }

  get all(): Array<Feeder> {
    return this.chains.flatMap((chain) => chain.members)
  }

  /**
   * Asks for one after another until no more has room; `letIn` says what keeps it out, if anything does. One that is kept
   * out by its own allowance holds up nobody, by its level's bound its level, by the line's all less urgent ones.
   */
  feed(letIn: (feeder: Feeder) => Blocked | undefined): void {
    for (const chain of this.chains) {
      let feeder = chain.first
      while (feeder !== undefined) {
        const next = feeder.behind as Feeder | undefined
        // Taken out before: what it comes to may be told on the spot, and whoever hears it may go on at once.
        chain.remove(feeder)
        this.size--
        this.asked = feeder
        const blocked = letIn(feeder)
        this.asked = undefined
        if (blocked === undefined) {
          feeder = chain.first
          continue
        }
        // A function of somebody's that was asked may have made the next leave.
        const stays = next !== undefined && (next === chain.first || next.before !== undefined)
        if (stays) chain.putBefore(feeder, next)
        else chain.push(feeder)
        this.size++
        if (blocked === "gate") return
        if (blocked === "level") break
        feeder = stays ? next : undefined
      }
    }
  }
}
