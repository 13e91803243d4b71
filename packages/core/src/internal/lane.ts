/**
 * Who is next of those who wait for the same tenant at the same level: the earliest deadline first, then arrival.
 *
 *     lane ──► slots by deadline (a treap) ──► each a chain in order of arrival
 *
 * Most callers have no deadline, and all of those share one slot: a lane is then a list, and every step on it is O(1).
 * With n different deadlines to enter and to leave is O(log n). Each node of the tree knows how many wait below it, so
 * that one can say how many are before a newcomer.
 *
 * The tree: Seidel & Aragon, "Randomized search trees", 1996. Pure.
 */
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"

/** One who waits. */
export interface Place extends Link {
  readonly cost: number
  /** What is held in memory for it while it waits. */
  readonly bytes: number
  /** Its arrival: of equals the lower goes first. */
  order: number
  /** Where it stands; undefined when it does not wait. */
  slot: Slot<any> | undefined
}

/** All of a lane with the same deadline, in order of arrival; a node of the lane's tree. */
export class Slot<P extends Place> extends Chain<P> {
  readonly lane: Lane<P>
  deadline = Infinity
  /** Invariant: no node has a higher one than its parent. */
  readonly height: number
  /** Invariant: how many wait in this slot and in those below it. */
  count = 0
  earlier: Slot<P> | undefined = undefined
  later: Slot<P> | undefined = undefined

  constructor(lane: Lane<P>, height: number) {
    super()
    this.lane = lane
    this.height = height
  }

  /** As arrived. Who was moved here from elsewhere stands before those who came after it. */
  insert(place: P): void {
    let next: P | undefined
    for (let last = this.last; last !== undefined && last.order > place.order; last = last.before as P | undefined) {
      next = last
    }
    if (next === undefined) this.push(place)
    else this.putBefore(place, next)
  }
}

export class Lane<P extends Place> {
  private root: Slot<P> | undefined = undefined
  /** The slot of the earliest deadline. */
  private head: Slot<P> | undefined = undefined
  /** The slot that got empty last, to be used again. */
  private spare: Slot<P> | undefined = undefined
  private seed = 1
  size = 0
  cost = 0

  enter(place: P, deadline: number): void {
    this.size++
    this.cost += place.cost
    const slot = this.found(deadline) ?? this.grown(deadline)
    slot.insert(place)
    place.slot = slot
  }

  leave(place: P): void {
    const slot = place.slot as Slot<P>
    slot.remove(place)
    place.slot = undefined
    this.size--
    // Fractions leave a rest in floats.
    this.cost = this.size === 0 ? 0 : this.cost - place.cost
    let above: Slot<P> | undefined
    for (let node = this.root!; node !== slot; above = node, node = below(node, slot.deadline)!) node.count--
    slot.count--
    if (slot.size === 0) this.drop(slot, above)
  }

  /** Who is next: the first in order, or the last. */
  next(newestFirst: boolean): P | undefined {
    return newestFirst ? this.last : this.head?.first
  }

  get first(): P | undefined {
    return this.head?.first
  }

  get last(): P | undefined {
    let slot = this.root
    while (slot?.later !== undefined) slot = slot.later
    return slot?.last
  }

  /** How many go before a newcomer with this deadline. */
  ahead(deadline: number): number {
    let ahead = 0
    for (let slot = this.root; slot !== undefined;) {
      if (deadline < slot.deadline) slot = slot.earlier
      else {
        ahead += slot.count - (slot.later?.count ?? 0)
        slot = slot.later
      }
    }
    return ahead
  }

  /** All that wait, in order. */
  get members(): Array<P> {
    const members: Array<P> = []
    const visit = (slot: Slot<P> | undefined): void => {
      if (slot === undefined) return
      visit(slot.earlier)
      for (const member of slot.members) members.push(member)
      visit(slot.later)
    }
    visit(this.root)
    return members
  }

  /** The slot of a deadline, with room for one more in all the counts on the way there. */
  private found(deadline: number): Slot<P> | undefined {
    for (let slot = this.root; slot !== undefined; slot = below(slot, deadline)) {
      slot.count++
      if (slot.deadline === deadline) return slot
    }
    return undefined
  }

  /** A new slot for a deadline that `found` has looked for in vain. */
  private grown(deadline: number): Slot<P> {
    const slot = this.spare ?? new Slot(this, this.chance())
    this.spare = undefined
    slot.deadline = deadline
    if (this.head === undefined || deadline < this.head.deadline) this.head = slot
    let above: Slot<P> | undefined
    let node = this.root
    while (node !== undefined && node.height >= slot.height) {
      above = node
      node = below(node, deadline)
    }
    split(node, slot)
    slot.count = 1 + (slot.earlier?.count ?? 0) + (slot.later?.count ?? 0)
    this.hang(slot, deadline, above)
    return slot
  }

  /** Heights by chance keep the tree flat; they need not be different from run to run (xorshift: Marsaglia, 2003). */
  private chance(): number {
    this.seed ^= this.seed << 13
    this.seed ^= this.seed >>> 17
    this.seed ^= this.seed << 5
    return this.seed
  }

  /** Takes an empty slot out of the tree. */
  private drop(slot: Slot<P>, above: Slot<P> | undefined): void {
    if (this.head === slot) {
      let head = slot.later
      while (head?.earlier !== undefined) head = head.earlier
      // Nothing is earlier than the head, so it is the earlier child of whoever is above.
      this.head = head ?? above
    }
    this.hang(merge(slot.earlier, slot.later), slot.deadline, above)
    slot.earlier = slot.later = undefined
    this.spare = slot
  }

  private hang(slot: Slot<P> | undefined, deadline: number, above: Slot<P> | undefined): void {
    if (above === undefined) this.root = slot
    else if (deadline < above.deadline) above.earlier = slot
    else above.later = slot
  }
}

const below = <P extends Place>(slot: Slot<P>, deadline: number): Slot<P> | undefined =>
  deadline < slot.deadline ? slot.earlier : slot.later

/** Hangs what is earlier than `at`, and what is later, below it. One was counted for `at` in all that are passed. */
const split = <P extends Place>(root: Slot<P> | undefined, at: Slot<P>): void => {
  if (root === undefined) {
    at.earlier = at.later = undefined
  } else if (root.deadline < at.deadline) {
    const moved = root.later?.count ?? 1
    split(root.later, at)
    root.later = at.earlier
    root.count += (root.later?.count ?? 0) - moved
    at.earlier = root
  } else {
    const moved = root.earlier?.count ?? 1
    split(root.earlier, at)
    root.earlier = at.later
    root.count += (root.earlier?.count ?? 0) - moved
    at.later = root
  }
}

const merge = <P extends Place>(earlier: Slot<P> | undefined, later: Slot<P> | undefined): Slot<P> | undefined => {
  if (earlier === undefined) return later
  if (later === undefined) return earlier
  if (earlier.height > later.height) {
    earlier.count += later.count
    earlier.later = merge(earlier.later, later)
    return earlier
  }
  later.count += earlier.count
  later.earlier = merge(earlier, later.earlier)
  return later
}
