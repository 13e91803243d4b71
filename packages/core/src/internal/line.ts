/**
 * Who waits, who is next, and who has to go when there is no room.
 *
 *     levels of urgency (shares, or strict) ──► tenants (equal cost) ──► the earliest deadline, then arrival
 *
 * One who lacks what only its own tenant or key may have is parked: it waits, and counts, and holds up nobody; where its
 * allowance has room again it comes back to the place it had.
 *
 * To enter, to leave from anywhere, to change urgency and to say who is next takes O(log n) steps, and O(1) where nobody
 * has a deadline. The bounds on how long one waits stand with `shares`.
 *
 * The line decides and keeps count; it reads no clock and wakes nobody.
 */
import type { Overflow } from "../Overflow.ts"
import { levels } from "../Priority.ts"
import { Heap } from "./heap.ts"
import type { Indexed } from "./heap.ts"
import { Lane } from "./lane.ts"
import type * as lane from "./lane.ts"
import { Level, Turns } from "./level.ts"
import { plenty } from "./means.ts"
import type { Means } from "./means.ts"
import type { Frame } from "./shares.ts"

/** One who waits. */
export interface Place extends lane.Place {
  urgency: number
  readonly tenant: string
  /** In milliseconds of the monotonic clock; infinite where there is none. */
  readonly deadline: number
  /** What it draws from the byte budget while it waits. */
  readonly draws: number
}

export interface Bound {
  readonly maxItems: number
  readonly maxCost: number
  readonly maxBytes: number
}

export interface Bounds extends Bound {
  /** What holds for a level on its own, beside. */
  readonly levels: ReadonlyArray<Bound | undefined>
}

/** Which bound keeps somebody out, and whether it is the level's. */
export interface Full {
  readonly bound: "items" | "cost" | "bytes"
  readonly limit: number
  readonly urgency: number | undefined
  /** What the process is short of, where that is why: the bound is all that is left. */
  readonly signal?: string
  /** It would not fit if all others left. */
  readonly forEver?: boolean
}

/** What those who wait come to, together. */
class Sums {
  items = 0
  cost = 0
  bytes = 0

  add(place: Place): void {
    this.items++
    this.cost += place.cost
    this.bytes += place.bytes
  }

  subtract(place: Place): void {
    this.items--
    // Fractions leave a rest in floats.
    this.cost = this.items === 0 ? 0 : this.cost - place.cost
    this.bytes = this.items === 0 ? 0 : this.bytes - place.bytes
  }

  /** What is left of a bound; one that is larger than it by itself may still wait alone: it could never enter otherwise. */
  full(bound: Bound, place: Place, urgency: number | undefined): Full | undefined {
    if (this.items >= bound.maxItems) return { bound: "items", limit: bound.maxItems, urgency }
    if (this.items === 0) return undefined
    if (this.cost + place.cost > bound.maxCost) return { bound: "cost", limit: bound.maxCost, urgency }
    if (this.bytes > 0 && this.bytes + place.bytes > bound.maxBytes) {
      return { bound: "bytes", limit: bound.maxBytes, urgency }
    }
    return undefined
  }
}

/** What is left of a bound of which a part holds; who is alone may wait in any case. */
const partOf = ({ maxBytes, maxCost, maxItems }: Bound, part: number): Bound => ({
  maxItems: Math.ceil(maxItems * part),
  maxCost: maxCost * part,
  maxBytes: maxBytes * part
})

/** Later than any deadline. */
const endless = 1e15

/** Those parked for one allowance: the most urgent first, then as in a lane. */
export class Lot<P extends Place> implements Indexed {
  private readonly lanes: Array<Lane<P> | undefined> = []
  size = 0
  index = -1

  get first(): P | undefined {
    if (this.size === 0) return undefined
    for (const lane of this.lanes) if (lane !== undefined && lane.size > 0) return lane.first
    return undefined
  }

  get last(): P | undefined {
    return this.lanes.findLast((lane) => lane !== undefined && lane.size > 0)?.last
  }

  /** All of them. */
  get members(): Array<P> {
    return this.lanes.flatMap((lane) => lane?.members ?? [])
  }

  has(place: P): boolean {
    return place.slot !== undefined && this.lanes[place.urgency] === place.slot.lane
  }

  enter(place: P): void {
    this.size++
    // They do not come as they arrived. By a key of its own each finds its place in O(log n), those without a deadline too.
    const key = place.deadline === Infinity ? endless + place.order : place.deadline
    ;(this.lanes[place.urgency] ??= new Lane<P>()).enter(place, key)
  }

  leave(place: P): void {
    this.size--
    this.lanes[place.urgency]!.leave(place)
  }
}

/** One that was taken out, and whose it was. */
interface Victim<P extends Place> {
  readonly place: P
  readonly from: Turns<P> | Lot<P>
}

export class Line<P extends Place> {
  readonly bounds: Bounds
  /** Undefined: strict, the most urgent level first. */
  readonly frame: Frame | undefined
  private readonly overflow: Overflow
  private readonly levels: Array<Level<P> | undefined> = []
  private readonly sums: Array<Sums> = Array.from({ length: levels }, () => new Sums())
  private readonly all = new Sums()
  /** Bit u is set when somebody of urgency u waits, and is not parked. */
  private occupied = 0
  /** Where in the frame the next hand-over stands. */
  private position = 0
  private arrivals = 0
  /** How many are parked. */
  parked = 0
  /** Where they are, the largest lot first. */
  private readonly lots = new Heap<Lot<P>>((a, b) => a.size > b.size)
  /** In each tenant the last in order is next. */
  newestFirst = false
  private readonly means: Means
  /** What those who wait have drawn. */
  private drawn = 0
  /** What those had drawn who were put out for the one that enters next. */
  private freed = 0

  constructor(bounds: Bounds, frame: Frame | undefined, overflow: Overflow, means: Means = plenty) {
    this.means = means
    this.bounds = bounds
    this.frame = frame
    this.overflow = overflow
  }

  /** Invariant: items, cost and bytes are the sums over all places in the line, parked or not. */
  get items(): number {
    return this.all.items
  }

  get cost(): number {
    return this.all.cost
  }

  get bytes(): number {
    return this.all.bytes
  }

  /** How many wait for what all share. */
  get ready(): number {
    return this.all.items - this.parked
  }

  /** How many wait at each urgency. */
  get byUrgency(): ReadonlyArray<number> {
    return this.sums.map((sums) => sums.items)
  }

  /** All that are not parked. */
  get members(): Array<P> {
    return this.levels.flatMap((level) => level?.members ?? [])
  }

  /** Which bound keeps a newcomer out, if any. */
  full(place: P): Full | undefined {
    return this.overfull(place) ?? this.squeezed(place) ?? this.overdrawn(place)
  }

  /** The bounds that were set. */
  private overfull(place: P): Full | undefined {
    const { urgency } = place
    const bound = this.bounds.levels[urgency]
    return (
      this.all.full(this.bounds, place, undefined) ??
      (bound === undefined ? undefined : this.sums[urgency]!.full(bound, place, urgency))
    )
  }

  /** What is left of them while the process is short of something. */
  private squeezed(place: P): Full | undefined {
    const { name, reaction } = this.means.pressure
    const { lines } = reaction
    if (lines === 1) return undefined
    const { urgency } = place
    const bound = this.bounds.levels[urgency]
    const full =
      this.all.full(partOf(this.bounds, lines), place, undefined) ??
      (bound === undefined ? undefined : this.sums[urgency]!.full(partOf(bound, lines), place, urgency))
    return full === undefined ? undefined : { ...full, signal: name }
  }

  /** What is left for all lines, and for others; `freed` of what is drawn goes back when it enters. */
  private overdrawn({ draws, urgency }: P, freed = 0): Full | undefined {
    const { budget } = this.means
    const room = budget?.roomFor(draws - freed, urgency) ?? "now"
    if (room === "now") return undefined
    return {
      bound: "bytes",
      limit: budget!.maxBytes,
      urgency: undefined,
      signal: budget!.name,
      forEver: room === "never"
    }
  }

  private add(place: P): void {
    const more = place.draws - this.freed
    this.freed = 0
    this.drawn += more
    this.all.add(place)
    // Who lets it in has looked whether there is room.
    this.means.budget?.takeUnsafe(more, 0)
    this.means.budget?.giveUnsafe(-more)
  }

  private subtract(place: P): void {
    this.drawn -= place.draws
    this.all.subtract(place)
    this.means.budget?.giveUnsafe(place.draws)
  }

  enter(place: P): void {
    place.order = this.arrivals++
    this.add(place)
    this.sums[place.urgency]!.add(place)
    this.insert(place)
  }

  /** Takes a place out of the line, wherever it stands in it; out of `lot` if it is parked there. */
  leave(place: P, lot?: Lot<P>): void {
    this.subtract(place)
    this.sums[place.urgency]!.subtract(place)
    if (lot === undefined) this.remove(place)
    else {
      lot.leave(place)
      this.parked--
      this.sort(lot)
    }
    this.settle()
  }

  /** It is the head, and goes: takes it out, and its turn is over. */
  handOver(place: P): void {
    const { urgency } = place
    const level = this.levels[urgency]!
    this.subtract(place)
    this.sums[urgency]!.subtract(place)
    level.handOver(place)
    if (this.frame !== undefined) this.position = this.frame.after(this.position, urgency)
    if (level.size > 0) return
    this.occupied &= ~(1 << urgency)
    this.settle()
  }

  /** No one has a claim on the frame that begins when nobody waits. */
  private settle(): void {
    if (this.occupied === 0) this.position = 0
  }

  /** Who is next. */
  get head(): P | undefined {
    if (this.occupied === 0) return undefined
    return this.levels[this.turn(this.occupied, this.position)]!.next(this.newestFirst)
  }

  /** Whose turn it is of the levels in `occupied`, at this place in the frame. */
  private turn(occupied: number, position: number): number {
    const alone = (occupied & (occupied - 1)) === 0
    if (alone || this.frame === undefined) return 31 - Math.clz32(occupied & -occupied)
    return this.frame.next(position, occupied)
  }

  /** All that are. */
  get parkedMembers(): Array<P> {
    return this.lots.all.flatMap((lot) => lot.members)
  }

  /** All that are not parked, in the order in which they would go if nobody came or went. */
  get order(): Array<P> {
    const queues = this.levels.map((level) => level?.order(this.newestFirst) ?? [])
    const heads = queues.map(() => 0)
    const order: Array<P> = []
    let { occupied, position } = this
    while (occupied !== 0) {
      const urgency = this.turn(occupied, position)
      const queue = queues[urgency]!
      order.push(queue[heads[urgency]!++]!)
      if (heads[urgency] === queue.length) occupied &= ~(1 << urgency)
      if (this.frame !== undefined) position = this.frame.after(position, urgency)
    }
    return order
  }

  /** Moves it to another level, where it has come just now. */
  move(place: P, urgency: number, lot?: Lot<P>): void {
    this.sums[place.urgency]!.subtract(place)
    if (lot === undefined) this.remove(place)
    else lot.leave(place)
    place.urgency = urgency
    place.order = this.arrivals++
    this.sums[urgency]!.add(place)
    if (lot === undefined) this.insert(place)
    else lot.enter(place)
  }

  park(place: P, lot: Lot<P>): void {
    this.remove(place)
    lot.enter(place)
    this.parked++
    this.sort(lot)
  }

  unpark(place: P, lot: Lot<P>): void {
    lot.leave(place)
    this.parked--
    this.sort(lot)
    this.insert(place)
  }

  /** After about how many hand-overs a newcomer would start, its own included, and what all before it cost. */
  forecast(place: P): { readonly items: number; readonly cost: number } {
    const own = this.levels[place.urgency]
    const ahead = own === undefined ? 0 : own.ahead(place.tenant, place.deadline, place.cost)
    let items = ahead
    let cost = own === undefined || own.size === 0 ? 0 : (own.cost * ahead) / own.size
    for (let urgency = 0; urgency < levels; urgency++) {
      const level = this.levels[urgency]
      if (level === undefined || level.size === 0 || urgency === place.urgency) continue
      const before = Math.min(level.size, this.while(ahead + 1, place.urgency, urgency))
      items += before
      cost += (level.cost * before) / level.size
    }
    return { items: items + 1, cost }
  }

  /** How many of level `other` go while `turns` of level `urgency` do. */
  private while(turns: number, urgency: number, other: number): number {
    if (this.frame === undefined) return other < urgency ? Infinity : 0
    return (turns * this.frame.weights[other]!) / this.frame.weights[urgency]!
  }

  /**
   * Makes room for a newcomer: takes those out of the line that have to go for it, and gives them; undefined where there
   * is no room to be made, and nobody has to. Whom they go for enters next: it draws what they had drawn.
   */
  evict(newcomer: P): ReadonlyArray<P> | undefined {
    if (this.overflow === "reject") return undefined
    // What others hold, nobody looks through this line for.
    if (this.overdrawn(newcomer, this.drawn) !== undefined) return undefined
    const victims: Array<Victim<P>> = []
    let freed = 0
    // A line that is to get shorter does so by itself: for one who comes, one goes.
    const full = () =>
      this.overfull(newcomer) ??
      (victims.length === 0 ? this.squeezed(newcomer) : undefined) ??
      this.overdrawn(newcomer, freed)
    for (let bound = full(); bound !== undefined; bound = full()) {
      const victim = bound.forEver === true ? undefined : this.victim(newcomer, bound.urgency)
      if (victim === undefined) {
        for (const kept of victims.toReversed()) this.putBack(kept)
        return undefined
      }
      victims.push(this.takeOut(victim))
      freed += victim.draws
    }
    this.freed = freed
    for (const { from, place } of victims) if (from instanceof Turns) this.levels[place.urgency]!.rest()
    this.settle()
    return victims.map(({ place }) => place)
  }

  private takeOut(place: P): Victim<P> {
    this.all.subtract(place)
    this.sums[place.urgency]!.subtract(place)
    const lot = this.lots.first
    if (lot !== undefined && lot.has(place)) {
      lot.leave(place)
      this.parked--
      this.sort(lot)
      return { place, from: lot }
    }
    const level = this.levels[place.urgency]!
    const from = level.takeOut(place)
    if (level.size === 0) this.occupied &= ~(1 << place.urgency)
    return { place, from }
  }

  private putBack({ from, place }: Victim<P>): void {
    this.all.add(place)
    this.sums[place.urgency]!.add(place)
    if (from instanceof Lot) {
      from.enter(place)
      this.parked++
      this.sort(from)
    } else {
      this.levels[place.urgency]!.putBack(place, from)
      this.occupied |= 1 << place.urgency
    }
  }

  private victim(newcomer: P, only: number | undefined): P | undefined {
    // Those who are parked could not go now, whoever's turn it were.
    const lot = this.lots.first
    const parked = this.overflow === "evictOldest" ? lot?.first : lot?.last
    if (parked !== undefined && (only ?? parked.urgency) === parked.urgency && parked.urgency >= newcomer.urgency) {
      return parked
    }
    const urgency = only ?? this.largest(newcomer.urgency)
    const level = this.levels[urgency]
    if (level === undefined || level.size === 0) return undefined
    if (this.overflow === "evictOldest") return level.largest!.first
    return urgency === newcomer.urgency ? level.after(newcomer) : level.largest!.last
  }

  /** The level whose last would go last: the one with the most waiting for its share, with one more in `newcomer`. */
  private largest(newcomer: number): number {
    let last = newcomer
    let most = 0
    for (let urgency = 0; urgency < levels; urgency++) {
      const size = (this.levels[urgency]?.size ?? 0) + (urgency === newcomer ? 1 : 0)
      const turns = this.frame === undefined ? Math.min(1, size) : size / this.frame.weights[urgency]!
      if (size === 0 || turns < most) continue
      most = turns
      last = urgency
    }
    return last
  }

  /** Keeps the largest lot first. */
  private sort(lot: Lot<P>): void {
    if (lot.size === 0) this.lots.remove(lot)
    else if (lot.index < 0) this.lots.push(lot)
    else this.lots.moved(lot)
  }

  private insert(place: P): void {
    this.level(place.urgency).enter(place, place.tenant, place.deadline)
    this.occupied |= 1 << place.urgency
  }

  private remove(place: P): void {
    const level = this.levels[place.urgency]!
    level.leave(place)
    if (level.size === 0) this.occupied &= ~(1 << place.urgency)
  }

  private level(urgency: number): Level<P> {
    return (this.levels[urgency] ??= new Level<P>(this.overflow !== "reject"))
  }
}
