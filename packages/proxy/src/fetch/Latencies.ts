/** How long calls took, all of them, in little memory: counts in buckets of which each is 5 % wider than the one before. */

const base = Math.log(1.05)
/** From 10 µs to some 50 minutes. */
const buckets = 400
const unit = 0.01

export class Latencies {
  private readonly counts = new Float64Array(buckets)
  total = 0
  min = Infinity
  max = 0

  add(millis: number): void {
    this.counts[Math.min(buckets - 1, Math.max(0, Math.floor(Math.log(millis / unit) / base)))]!++
    this.total++
    this.min = Math.min(this.min, millis)
    this.max = Math.max(this.max, millis)
  }

  /** Within how many milliseconds a part of them ended (0.5: half), 5 % at most too high. */
  within(part: number): number {
    let rest = Math.max(1, Math.ceil(part * this.total))
    for (let i = 0; i < buckets; i++) {
      rest -= this.counts[i]!
      if (rest <= 0) return Math.min(this.max, Math.max(this.min, unit * 1.05 ** (i + 1)))
    }
    return this.max
  }

  /** How many there are between round numbers, from the fastest to the slowest: 1, 2, 5, 10 … ms, or finer where those are few. */
  get rows(): ReadonlyArray<Row> {
    const coarse = this.between(rounds)
    return coarse.length < 5 ? this.between(finer) : coarse
  }

  private between(edges: ReadonlyArray<number>): ReadonlyArray<Row> {
    if (this.total === 0) return []
    const rows = edges
      .map((from, i) => ({ from, to: edges[i + 1] ?? Infinity, count: 0 }))
      .filter(({ from, to }) => from <= this.max && this.min < to)
    for (let i = 0; i < buckets; i++) {
      const count = this.counts[i]!
      if (count === 0) continue
      const middle = unit * 1.05 ** (i + 0.5)
      const row = rows.find(({ to }) => middle < to) ?? rows.at(-1)!
      row.count += count
    }
    return rows
  }
}

export interface Row {
  readonly from: number
  readonly to: number
  readonly count: number
}

const decades = (steps: ReadonlyArray<number>) => [
  0,
  ...[1, 10, 100, 1_000, 10_000, 100_000].flatMap((power) => steps.map((step) => step * power))
]
const rounds = decades([1, 2, 5])
const finer = decades([1, 1.5, 2, 2.5, 3, 4, 5, 6, 8])
