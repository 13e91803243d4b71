import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { blamed, decide, initial, least, most, none } from "../../src/internal/shedding.ts"
import type { Measure, State } from "../../src/internal/shedding.ts"

const marks = { aboveMillis: 50, belowMillis: 20 }
const late: Measure = { delayMillis: 60, utilization: 1 }
const between: Measure = { delayMillis: 30, utilization: 0.5 }
const calm: Measure = { delayMillis: 1, utilization: 0.5 }
const busy: Measure = { delayMillis: 1, utilization: 0.97 }

const after = (measures: ReadonlyArray<Measure>, from: State = initial) =>
  measures.reduce((state, measure) => decide(state, measure, marks), from)
const times = (n: number, measure: Measure) => Array.from({ length: n }, () => measure)

describe("shedding", () => {
  it.each([
    ["nobody while timers are in time", times(50, calm), none],
    ["nobody of a loop that is busy without being late", times(50, busy), none],
    ["nobody at the mark", times(50, { ...late, delayMillis: marks.aboveMillis }), none],
    ["the least urgent after one look", [late], 7],
    ["one more at each", times(4, late), 4],
    ["never the most urgent", times(50, late), 1],
    ["the same while it is neither late nor calm", [late, late, ...times(50, between)], 6],
    ["the same while there is no room", [late, late, ...times(50, busy)], 6],
    ["the same for a while when it is calm", [late, late, ...times(least - 1, calm)], 6],
    ["one less then", [late, late, ...times(least, calm)], 7],
    ["the same where calm was interrupted", [late, late, ...times(least - 1, calm), between, calm], 6],
    ["nobody in the end", [...times(20, late), ...times(7 * least, calm)], none]
  ])("%s", (_, measures, urgency) => {
    expect(after(measures).urgency).toBe(urgency)
  })

  it("takes twice as long to come back after a step back that was wrong, up to a bound", () => {
    let state = after([late])
    let patience = least
    for (let round = 0; round < 8; round++) {
      state = after(times(patience - 1, calm), state)
      expect(state.urgency).toBe(7)
      state = after([calm], state)
      expect(state.urgency).toBe(none)
      state = after([late], state)
      patience = Math.min(most, patience * 2)
      expect(state).toMatchObject({ urgency: 7, patience })
    }
  })

  it("does not blame a step back for an overload that comes long after, and forgets in the end", () => {
    const back = after([late, ...times(least, calm)])
    expect(after([...times(blamed, calm), late], back).patience).toBe(least)
    expect(after([...times(blamed - 1, calm), late], back).patience).toBe(least * 2)
    const slow = after(times(2 * least, calm), after([late], back))
    expect(slow).toMatchObject({ urgency: none, patience: 2 * least })
    expect(after(times(most + 1, calm), slow).patience).toBe(least)
  })

  it("goes one step at a time, stays in range, and sheds less only after enough calm looks in a row", () => {
    const measure = fc.constantFrom(late, between, calm, busy)
    fc.assert(
      fc.property(fc.array(measure, { maxLength: 300 }), (measures) => {
        let state = initial
        let run = 0
        for (const it of measures) {
          const next = decide(state, it, marks)
          run = it === calm ? run + 1 : 0
          expect(Math.abs(next.urgency - state.urgency)).toBeLessThanOrEqual(1)
          expect(next.urgency).toBeGreaterThanOrEqual(1)
          expect(next.urgency).toBeLessThanOrEqual(none)
          if (next.urgency > state.urgency) {
            expect(run).toBeGreaterThanOrEqual(state.patience)
            run = 0
          }
          if (next.urgency < state.urgency) expect(it).toBe(late)
          expect(next.patience).toBeGreaterThanOrEqual(least)
          expect(next.patience).toBeLessThanOrEqual(most)
          state = next
        }
      })
    )
  })

  it("does not flap: where each step back is wrong, there are ever fewer of them", () => {
    let state = initial
    const backs: Array<number> = []
    // A load that one level too many brings over: late whenever nobody is shed, and calm when 7 is.
    for (let look = 0; look < 2000; look++) {
      const next = decide(state, state.urgency === none ? late : calm, marks)
      if (next.urgency > state.urgency) backs.push(look)
      state = next
    }
    expect(backs.length).toBeLessThan(2000 / most + 8)
  })
})
