/**
 * Costs by the instants they count from, oldest first, and their sum: what a window remembers of its starts.
 *
 * Two numbers each, in a ring that grows to what the window holds. Up to 4,096 are known one by one; beyond that,
 * neighbours that are closer than `apart` share an entry, which counts from the later one.
 */
const exact = 4096

const nothing = new Float64Array(0)

export class Ring {
  /** Instants and costs by turns; as long as a power of two. */
  private slots = nothing
  private head = 0
  /** The first instant of the newest entry. */
  private from = 0
  private readonly apart: number
  size = 0
  /** Invariant: the sum of the costs, and exactly 0 where there are none, whatever floats leave of fractions. */
  sum = 0

  constructor(length: number) {
    this.apart = length / exact
  }

  at(i: number): number {
    return this.slots[this.slot(i)]!
  }

  cost(i: number): number {
    return this.slots[this.slot(i) + 1]!
  }

  /** Only where there is one. */
  get newest(): number {
    return this.at(this.size - 1)
  }

  /** `at` is no earlier than all before it. */
  push(at: number, cost: number): void {
    this.sum += cost
    if (this.size > 0) {
      const last = this.slot(this.size - 1)
      if (this.slots[last] === at || (this.size >= exact && at - this.from <= this.apart)) {
        this.slots[last] = at
        this.slots[last + 1]! += cost
        return
      }
    }
    if (this.size * 2 === this.slots.length) this.grow()
    const slot = this.slot(this.size++)
    this.slots[slot] = at
    this.slots[slot + 1] = cost
    this.from = at
  }

  /** Forgets the oldest. */
  shift(): void {
    this.sum = this.size === 1 ? 0 : this.sum - this.cost(0)
    this.size--
    this.head = (this.head + 1) & (this.slots.length / 2 - 1)
  }

  clear(): void {
    this.size = 0
    this.sum = 0
  }

  /** Takes up to `cost` out of the entry that holds what was pushed at `at`. */
  takeBack(at: number, cost: number): void {
    const slot = this.slot(this.find(at))
    const back = Math.min(cost, this.slots[slot + 1]!)
    this.slots[slot + 1]! -= back
    this.sum -= back
  }

  /** Moves all of them. */
  delay(millis: number): void {
    for (let i = 0; i < this.size; i++) this.slots[this.slot(i)]! += millis
    this.from += millis
  }

  entries(): Array<readonly [at: number, cost: number]> {
    return Array.from({ length: this.size }, (_, i) => [this.at(i), this.cost(i)])
  }

  private slot(i: number): number {
    return ((this.head + i) * 2) & (this.slots.length - 1)
  }

  /** The first entry that ends at `at` or later; the newest if none does. */
  private find(at: number): number {
    let low = 0
    let high = this.size - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.at(middle) < at) low = middle + 1
      else high = middle
    }
    return low
  }

  private grow(): void {
    const slots = new Float64Array(Math.max(16, this.slots.length * 2))
    slots.set(this.slots.subarray(this.head * 2))
    slots.set(this.slots.subarray(0, this.head * 2), this.slots.length - this.head * 2)
    this.slots = slots
    this.head = 0
  }
}
