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

/**
 * What goes on waiting in a region: nothing, one wait by itself, or a set in the order in which they began. Most regions
 * never have two waits at once, and a set of one costs 150 bytes.
 */
export type Waits = Wait | Set<Wait> | undefined

/** Notes that the region waits for something more. */
export const begin = (region: Region, wait: Wait): void => {
  const { waits } = region
  if (waits === undefined) region.waits = wait
  else if (waits instanceof Set) waits.add(wait)
  else if (waits !== wait) region.waits = new Set([waits, wait])
}

/** Notes that this wait is over, however it ended; tells whether it had begun in this region. */
export const end = (region: Region, wait: Wait): boolean => {
  const { waits } = region
  if (waits instanceof Set) return waits.delete(wait)
  if (waits !== wait) return false
  region.waits = undefined
  return true
}

/** All of them, in the order in which they began. */
export const all = (waits: Waits): Iterable<Wait> => (waits === undefined ? [] : waits instanceof Set ? waits : [waits])
