/**
 * A wait that names itself: while it lasts, the region around it knows what it waits for. `DeadlineExceeded` says it,
 * and the tree and the profile will.
 */
import type { Region } from "./boundary.ts"

export interface Wait {
  /** What is waited for, e.g. `gate github`; undefined when that is not known. */
  readonly what: string | undefined
}

/** Notes that the region waits for something more. */
export const begin = (region: Region, wait: Wait): void => {
  ;(region.waits ??= new Set()).add(wait)
}

/** Notes that this wait is over, however it ended. */
export const end = (region: Region, wait: Wait): void => {
  region.waits?.delete(wait)
}
