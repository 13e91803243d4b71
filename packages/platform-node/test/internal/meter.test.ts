import { describe, expect, it } from "@effect/vitest"
import { add, indexOf, kinds, Meter, runs, sum, zeros } from "../../src/internal/meter.ts"

const spent = (meter: Meter) =>
  Object.fromEntries(
    ["running", ...kinds].map((name, i) => [name, meter.times[i]!] as const).filter(([, millis]) => millis > 0)
  )

describe("a meter", () => {
  it("parts time into running and waiting, without gaps", () => {
    const meter = new Meter(100)
    meter.run(110)
    meter.rest(115)
    meter.begin(indexOf.gate, 115)
    meter.end(indexOf.gate, 135)
    meter.run(135)
    meter.charge(136)
    expect(spent(meter)).toEqual({ other: 10, running: 6, gate: 20 })
    expect(sum(meter.times)).toBe(36)
  })

  it("counts of several waits the innermost, however they overlap", () => {
    const meter = new Meter(0)
    meter.begin(indexOf.gate, 0)
    meter.begin(indexOf.body, 1)
    meter.begin(indexOf.gate, 3)
    meter.end(indexOf.gate, 7)
    meter.end(indexOf.body, 15)
    meter.end(indexOf.gate, 31)
    meter.charge(63)
    expect(spent(meter)).toEqual({ gate: 1 + 16, body: 2 + 4 + 8, other: 32 })
  })

  it("runs, whatever it waits for meanwhile", () => {
    const meter = new Meter(0)
    meter.run(0)
    meter.begin(indexOf.body, 100)
    meter.rest(5)
    meter.charge(7)
    expect(spent(meter)).toEqual({ running: 5, body: 2 })
  })

  it.each(kinds.map((kind, i) => [kind, kinds[i + 1]] as const).slice(0, -1))("takes %s before %s", (first, second) => {
    const meter = new Meter(0)
    meter.begin(indexOf[second!], 0)
    meter.begin(indexOf[first], 0)
    expect(meter.state).toBe(indexOf[first])
  })

  it("has a place for each state, and plain numbers in it", () => {
    expect(zeros()).toEqual([runs, ...kinds].map(() => 0))
    const total = zeros()
    add(total, [1, 2])
    add(total, [0.5, 1])
    expect(total.slice(0, 3)).toEqual([1.5, 3, 0])
  })
})
