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

  /** How many there are between round numbers (1, 2, 5, 10, 20 … ms), from the fastest to the slowest. */
  get rows(): ReadonlyArray<{ readonly from: number; readonly to: number; readonly count: number }> {
    if (this.total === 0) return []
    const edges = rounds.filter((edge, i) => edge < this.max && (rounds[i + 1] ?? Infinity) > this.min)
    const rows = edges.map((from) => ({ from, to: rounds[rounds.indexOf(from) + 1] ?? Infinity, count: 0 }))
    if (rows.length === 0) rows.push({ from: 0, to: rounds[1]!, count: 0 })
    for (let i = 0; i < buckets; i++) {
      const middle = unit * 1.05 ** (i + 0.5)
      const row = rows.find(({ to }) => middle < to) ?? rows.at(-1)!
      row.count += this.counts[i]!
    }
    return rows
  }
}

const rounds = [0, ...[1, 10, 100, 1_000, 10_000, 100_000].flatMap((power) => [power, 2 * power, 5 * power])]
