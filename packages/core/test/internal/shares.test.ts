import { describe, expect, it } from "@effect/vitest"
import { Frame, usual } from "../../src/internal/shares.ts"

/** Who has its turn, of all eight levels that all have somebody waiting. */
const turns = (frame: Frame, count: number): ReadonlyArray<number> => {
  const turns: Array<number> = []
  for (let position = 0; turns.length < count;) {
    const level = frame.next(position, 255)
    turns.push(level)
    position = frame.after(position, level)
  }
  return turns
}

/** The most turns from one of `level` to its next. */
const gap = (turns: ReadonlyArray<number>, level: number): number => {
  let most = 0
  let last = -1
  for (const [at, turn] of turns.entries()) {
    if (turn !== level) continue
    if (last >= 0) most = Math.max(most, at - last)
    last = at
  }
  return most
}

/** What else there is: each level's next turn is a stride after its last, the earliest goes. */
const stride = (weights: ReadonlyArray<number>, count: number): ReadonlyArray<number> => {
  const total = weights.reduce((sum, weight) => sum + weight)
  const next = weights.map((weight) => total / weight)
  return Array.from({ length: count }, () => {
    const turn = next.indexOf(Math.min(...next))
    next[turn]! += total / weights[turn]!
    return turn
  })
}

describe("the frame of shares", () => {
  it("lays the turns of powers of two exactly W/w apart", () => {
    const laid = turns(usual, 1280)
    expect(usual.weights.map((_, level) => gap(laid, level))).toEqual([2, 4, 8, 16, 32, 64, 128, 128])
    expect(laid.slice(0, 16)).toEqual([0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0, 4])
  })

  it("spreads other weights as well as whole turns can; strides may bunch them", () => {
    for (const weights of [
      [10, 7, 5, 3, 1, 1, 1, 1],
      [16, 1, 1, 8, 1, 1, 1, 1],
      [100, 1, 1, 1, 1, 1, 1, 1]
    ]) {
      const frame = new Frame(weights)
      const laid = turns(frame, 20 * frame.total)
      const strides = stride(weights, 20 * frame.total)
      for (const [level, weight] of weights.entries()) {
        const even = frame.total / weight
        expect(gap(laid, level)).toBeLessThan(2 * even)
        // Exactly its share in each frame, which strides give, too.
        for (const all of [laid, strides]) expect(all.filter((turn) => turn === level).length).toBe(20 * weight)
      }
    }
    // Seven levels of weight 1 that stride in step are served in one row: the level of weight 100 waits for all of them.
    const weights = [100, 1, 1, 1, 1, 1, 1, 1]
    expect([gap(turns(new Frame(weights), 2140), 0), gap(stride(weights, 2140), 0)]).toEqual([2, 8])
  })
})

describe("what the decision on shares says of the others", () => {
  it("a lottery has no bound: one in three waits longer than W/w, one in a hundred 4.6 times as long", () => {
    const longer = (turns: number) => (127 / 128) ** turns
    expect(longer(128)).toBeCloseTo(0.37, 2)
    expect(longer(587)).toBeCloseTo(0.01, 4)
  })

  it("at three times the load, to move those who waited long to the front makes the line first come, first served", () => {
    /** 200 hand-overs a second, 600 come: 50 of urgency 0, the rest of urgency 7. The median wait of the urgent. */
    const median = (pick: (urgent: ReadonlyArray<number>, others: ReadonlyArray<number>, now: number) => boolean) => {
      const urgent: Array<number> = []
      const others: Array<number> = []
      const waits: Array<number> = []
      for (let now = 0; now < 60_000; now += 5) {
        for (let i = 0; i < 3; i++) {
          // A line of 2,000 that is full of others makes room for the urgent.
          if ((now / 5) % 4 === 0 && i === 0) {
            urgent.push(now)
            if (urgent.length + others.length > 2000) others.pop()
          } else if (urgent.length + others.length < 2000) others.push(now)
        }
        const from = others.length === 0 || (urgent.length > 0 && pick(urgent, others, now)) ? urgent : others
        const came = from.shift()!
        if (from === urgent && now > 20_000) waits.push(now - came)
      }
      return waits.toSorted((a, b) => a - b)[waits.length >> 1]! / 1000
    }
    const aging = (after: number) =>
      median((urgent, others, now) => now - others[0]! < after || urgent[0]! <= others[0]!)
    let position = 0
    const shares = median(() => {
      const level = usual.next(position, 0b1000_0001)
      position = usual.after(position, level)
      return level === 0
    })
    expect(shares).toBeLessThan(0.02)
    for (const after of [1000, 5000]) expect(aging(after)).toBeGreaterThan(9.9)
  })
})
