/**
 * Who waits, and who is next: levels of urgency, each in order of arrival.
 *
 * Places are linked into the line themselves, so to enter, to leave from anywhere and to look at the head take the
 * same few steps however long the line is. Order inside a level is the level's own affair: fairness between tenants,
 * deadlines and shares between levels change `Level` and `head`, and nobody outside.
 *
 * The line decides and keeps count; it reads no clock and wakes nobody.
 */
import { levels } from "../Priority.ts"
import { Chain } from "./chain.ts"
import type { Link } from "./chain.ts"

/** One who waits. */
export interface Place extends Link {
  readonly urgency: number
  readonly cost: number
  /** What is held in memory for it while it waits. */
  readonly bytes: number
}

export interface Bounds {
  readonly maxItems: number
  readonly maxBytes: number
}

/** One level: first come first served. */
class Level<P extends Place> extends Chain<P> {
  cost = 0

  enter(place: P): void {
    this.push(place)
    this.cost += place.cost
  }

  leave(place: P): void {
    this.remove(place)
    this.cost = this.size === 0 ? 0 : this.cost - place.cost
  }
}

export class Line<P extends Place> {
  readonly bounds: Bounds
  private readonly levels: ReadonlyArray<Level<P>> = Array.from({ length: levels }, () => new Level<P>())
  /** Bit u is set when somebody of urgency u waits. */
  private occupied = 0
  /** Invariant: items, cost and bytes are the sums over all places in the line. */
  items = 0
  cost = 0
  bytes = 0

  constructor(bounds: Bounds) {
    this.bounds = bounds
  }

  /** Which bound keeps a newcomer out, if any. */
  full(bytes: number): "items" | "bytes" | undefined {
    if (this.items >= this.bounds.maxItems) return "items"
    // One that is larger than the bound by itself may still wait alone: it could never enter otherwise.
    if (this.bytes + bytes > this.bounds.maxBytes && this.bytes > 0) return "bytes"
    return undefined
  }

  enter(place: P): void {
    this.levels[place.urgency]!.enter(place)
    this.occupied |= 1 << place.urgency
    this.items++
    this.cost += place.cost
    this.bytes += place.bytes
  }

  /** Takes a place out of the line, wherever it stands in it. */
  leave(place: P): void {
    const level = this.levels[place.urgency]!
    level.leave(place)
    if (level.size === 0) this.occupied &= ~(1 << place.urgency)
    this.items--
    // Fractions leave a rest in floats.
    this.cost = this.items === 0 ? 0 : this.cost - place.cost
    this.bytes -= place.bytes
  }

  /** Who is next: the first of the most urgent level that has anybody. */
  get head(): P | undefined {
    if (this.occupied === 0) return undefined
    return this.levels[31 - Math.clz32(this.occupied & -this.occupied)]!.first
  }

  /** How many stand before a newcomer of this urgency, and what they cost together. */
  ahead(urgency: number): { readonly items: number; readonly cost: number } {
    let items = 0
    let cost = 0
    for (let level = 0; level <= urgency; level++) {
      items += this.levels[level]!.size
      cost += this.levels[level]!.cost
    }
    return { items, cost }
  }

  /** How many wait at each urgency. */
  get byUrgency(): ReadonlyArray<number> {
    return this.levels.map((level) => level.size)
  }
}
