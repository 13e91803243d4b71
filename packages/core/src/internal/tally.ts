/** What a join knows of the children, and what it makes of it. Without a join nothing of them is kept. */
import { Cause, Exit } from "effect"
import type * as Join from "../Join.ts"
import * as boundary from "./boundary.ts"

type AnyExit = Exit.Exit<any, any>
type AnyJoin = Join.Join<any, any, any, any>

/** Whether something went wrong; an interrupt is nothing of that kind. */
export const hasFailed = (exit: AnyExit): exit is Exit.Failure<any, any> =>
  Exit.isFailure(exit) && boundary.withoutInterrupts(exit.cause).length > 0

export class Tally implements Join.Tally<any, any> {
  readonly join: AnyJoin
  readonly expected: number | undefined
  readonly ended: Array<Join.Ended<any, any>> = []
  succeeded = 0
  failed = 0
  cut = 0
  /** Whether the join has had enough. What it comes to because of a cut from outside, it did not decide. */
  private decided = false

  constructor(join: AnyJoin, expected: number | undefined) {
    this.join = join
    this.expected = expected
  }

  note(ended: Join.Ended<any, any>): void {
    this.ended.push(ended)
    if (Exit.isSuccess(ended.exit)) this.succeeded++
    else if (hasFailed(ended.exit)) this.failed++
    else this.cut++
  }

  get enough(): boolean {
    return (this.decided ||= this.join.enough(this))
  }

  /** What the join comes to; a join that throws is a defect. */
  get result(): AnyExit {
    try {
      return this.join.result(this)
    } catch (defect) {
      return Exit.die(defect)
    }
  }

  /** What went wrong in the children, where there is no result. What the join puts up with is no failure. */
  get failures(): ReadonlyArray<Cause.Reason<any>> {
    if (this.failed === 0) return []
    const { result } = this
    return this.decided && Exit.isFailure(result) ? boundary.withoutInterrupts(result.cause) : this.uncleanly
  }

  /** The defects in the clean-up of children that were cut: no join puts up with those. */
  private get uncleanly(): ReadonlyArray<Cause.Reason<any>> {
    return this.ended.flatMap(({ exit, reason }) =>
      reason === undefined || Exit.isSuccess(exit) ? [] : exit.cause.reasons.filter(Cause.isDieReason)
    )
  }
}
