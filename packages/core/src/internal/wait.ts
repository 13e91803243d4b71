/**
 * A wait that names itself: while it lasts, the region around it knows what it waits for. `DeadlineExceeded` says it,
 * and the tree does.
 *
 * The waits of a region are a list threaded through them, for there may be a hundred thousand, and at a gate that is handed
 * over a million times a second each of them comes and goes: a `Set` of them was a tenth of all that took.
 */
import type * as Reason from "../Reason.ts"
import type * as Public from "../Wait.ts"
import type { Region } from "./boundary.ts"

export interface Wait extends Public.Wait {
  /**
   * The region was cut, and this goes on waiting: in code that cannot be interrupted, or until its own fiber's turn to
   * be interrupted has come.
   */
  told(reason: Reason.Reason): void
}

/** One that stands in the list of its region, between its neighbours by when they began; `begin` and `end` write that. */
export interface Listed extends Wait {
  earlier: Listed | undefined
  later: Listed | undefined
}

/** A wait that whoever is cut leaves by himself. */
export const named = (what: string, kind: Public.Kind): Wait => ({ what, kind, told: () => {} })

/** Notes that the region waits for something more. */
export const begin = (region: Region, wait: Listed): void => {
  link(region, wait)
  region.ledger?.began(wait)
}

/** From now on it is that which began last. It goes on. */
export const last = (region: Region, wait: Listed): void => {
  if (region.lastWait === wait) return
  unlink(region, wait)
  link(region, wait)
}

const link = (region: Region, wait: Listed): void => {
  const last = region.lastWait
  wait.earlier = last
  if (last !== undefined) last.later = wait
  region.lastWait = wait
}

/** Notes that this wait is over, however it ended. Does nothing where it had not begun. */
export const end = (region: Region, wait: Listed): void => {
  if (region.ledger !== undefined && isListed(region, wait)) region.ledger.ended(wait)
  unlink(region, wait)
}

const unlink = (region: Region, wait: Listed): void => {
  const { earlier, later } = wait
  if (later !== undefined) later.earlier = earlier
  else if (region.lastWait === wait) region.lastWait = earlier
  if (earlier !== undefined) earlier.later = later
  wait.earlier = wait.later = undefined
}

const isListed = (region: Region, wait: Listed): boolean => wait.later !== undefined || region.lastWait === wait

/** All of a region's, in the order in which they began. */
export const all = (region: Region): Array<Wait> => {
  const waits: Array<Wait> = []
  for (let wait = region.lastWait; wait !== undefined; wait = wait.earlier) waits.push(wait)
  return waits.toReversed()
}
