/**
 * Whose turn it is between levels: a frame of W hand-overs, of which a level of weight w has w, spread evenly.
 *
 *     weights 4 2 1 1:   0 1 0 2 0 1 0 3 | 0 1 0 2 …
 *
 * The frame goes on by hand-overs alone. A slot whose level has nobody waiting is skipped, so idle share is lent to those
 * who wait, in proportion to their own; whoever comes back finds its slots where they were.
 *
 * What follows, whatever the others do, since each hand-over passes at least one slot:
 * - Of any W consecutive hand-overs a level of weight w that has waiters all the while gets at least w.
 * - One with k before it in its level starts after at most `bound(level, k)` hand-overs, its own included: (k+1)·W/w where
 *   weights and W are powers of two, as they are unless said otherwise, and in no case more than (k+2)·W/w. (No schedule
 *   keeps ⌈(k+1)·W/w⌉ for all weights: of 3, 2 and 1 the levels would need every second, third and sixth turn, and no such
 *   order exists: Holte et al., "The pinwheel", 1989.)
 *
 * The slots are laid by earliest deadline: the j-th of a level's w lies in [⌊(j-1)·W/w⌋, ⌈j·W/w⌉) (Pfair: Baruah et al.,
 * "Proportionate progress", 1996). Pure.
 */
import { levels } from "../Priority.ts"

/** A weight for each level, the most urgent first. */
export type Weights = ReadonlyArray<number>

/** The most that weights may add up to: a frame is a table. */
export const maxTotal = 8192

export class Frame {
  readonly weights: Weights
  /** W: how many hand-overs a frame has. */
  readonly total: number
  /** Which level each slot belongs to. */
  private readonly slots: Uint8Array
  /** At `level * total + position`: how many slots after that position the level's next one is. */
  private readonly distance: Uint16Array

  constructor(weights: Weights) {
    this.weights = weights
    this.total = weights.reduce((sum, weight) => sum + weight, 0)
    this.slots = lay(weights, this.total)
    this.distance = distances(this.slots, this.total)
  }

  /** Which of the levels in `occupied` (bit u for level u, at least one) has the next slot from `position` on. */
  next(position: number, occupied: number): number {
    const own = this.slots[position]!
    if ((occupied & (1 << own)) !== 0) return own
    let best = -1
    let least = Infinity
    for (let rest = occupied; rest !== 0; rest &= rest - 1) {
      const level = 31 - Math.clz32(rest & -rest)
      const distance = this.distance[level * this.total + position]!
      if (distance < least) {
        least = distance
        best = level
      }
    }
    return best
  }

  /** The position after the next slot of `level`. */
  after(position: number, level: number): number {
    const next = position + this.distance[level * this.total + position]! + 1
    return next >= this.total ? next - this.total : next
  }

  /** After how many hand-overs one with `ahead` before it in its level has started at the latest. */
  bound(level: number, ahead: number): number {
    const weight = this.weights[level]!
    const frames = Math.floor(ahead / weight)
    let most = 0
    for (let start = 0; start < this.total; start++) {
      let position = start
      let passed = 0
      for (let i = frames * weight; i <= ahead; i++) {
        passed += this.distance[level * this.total + position]! + 1
        position = this.after(position, level)
      }
      most = Math.max(most, passed)
    }
    return frames * this.total + most
  }
}

/** Which level each slot belongs to. */
const lay = (weights: Weights, total: number): Uint8Array => {
  const slots = new Uint8Array(total)
  const laid = weights.map(() => 0)
  for (let slot = 0; slot < total; slot++) {
    let best = -1
    let earliest = Infinity
    for (let level = 0; level < weights.length; level++) {
      const weight = weights[level]!
      const job = laid[level]!
      const deadline = Math.ceil(((job + 1) * total) / weight)
      // Of equal deadlines the greater weight: weights that divide one another are laid strictly periodically then.
      const first = deadline < earliest || (deadline === earliest && weight > weights[best]!)
      if (job < weight && Math.floor((job * total) / weight) <= slot && first) {
        earliest = deadline
        best = level
      }
    }
    laid[best]!++
    slots[slot] = best
  }
  return slots
}

const distances = (slots: Uint8Array, total: number): Uint16Array => {
  const distance = new Uint16Array(levels * total)
  for (let level = 0; level < levels; level++) {
    let last = -1
    // Twice round: the next slot may lie in the frame after.
    for (let i = 2 * total - 1; i >= 0; i--) {
      if (slots[i % total] === level) last = i
      if (i < total) distance[level * total + i] = last - i
    }
  }
  return distance
}

/** Each level has twice the share of the next: 64 : 32 : 16 : 8 : 4 : 2 : 1 : 1. */
export const usual = new Frame([64, 32, 16, 8, 4, 2, 1, 1])
