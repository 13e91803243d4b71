/**
 * A wait that names itself: while it lasts, the region around it knows what it waits for. `DeadlineExceeded` says it,
 * and the tree does.
 */
import type * as Reason from "../Reason.ts"
import type { Region } from "./boundary.ts"

export interface Wait {
  /** What is waited for, e.g. `gate github`; undefined when that is not known. */
  readonly what: string | undefined
  /**
   * The region was cut, and this goes on waiting: in code that cannot be interrupted, or until its own fiber's turn to
   * be interrupted has come.
   */
  told(reason: Reason.Reason): void
}

/** Notes that the region waits for something more. */
export const begin = (region: Region, wait: Wait): void => {
  ;(region.waits ??= new Set()).add(wait)
}

/** Notes that this wait is over, however it ended. */
export const end = (region: Region, wait: Wait): void => {
  region.waits?.delete(wait)
}
