import { describe, expect, it } from "@effect/vitest"
import { Alarms, kept, say } from "../../src/internal/alarmed.ts"

const hold = (name = "parse", more: object = {}) => ({
  function: name,
  place: "src/report.ts:12",
  span: null,
  millis: 200,
  end: 0,
  own: true,
  native: false,
  ...more
})

describe("alarms", () => {
  it("that are equal are one that counts, with the latest time and duration", () => {
    const alarms = new Alarms()
    alarms.add(hold(), 0)
    alarms.add(hold("other"), 1)
    alarms.add(hold("parse", { millis: 300 }), 2000)
    expect(alarms.latest).toEqual([
      {
        at: "1970-01-01T00:00:00.001Z",
        millis: 200,
        function: "other",
        place: "src/report.ts:12",
        span: null,
        count: 1
      },
      {
        at: "1970-01-01T00:00:02.000Z",
        millis: 300,
        function: "parse",
        place: "src/report.ts:12",
        span: null,
        count: 2
      }
    ])
  })

  it("are told again only after a while", () => {
    const alarms = new Alarms()
    const told = [0, 5000, 9999, 10_000, 10_001].map((at) => alarms.add(hold(), at).tell)
    expect(told).toEqual([true, false, false, true, false])
  })

  it("of different spans and places are different", () => {
    const alarms = new Alarms()
    for (const more of [{}, { span: "a" }, { place: "src/report.ts:13" }])
      expect(alarms.add(hold("f", more), 0).tell).toBe(true)
    expect(alarms.latest.length).toBe(3)
  })

  it("are the latest ten", () => {
    const alarms = new Alarms()
    for (let i = 0; i < 30; i++) alarms.add(hold(`f${i}`), i)
    expect(alarms.latest.map((it) => it.function)).toEqual(Array.from({ length: kept }, (_, i) => `f${i + 20}`))
  })

  it("are said in one line", () => {
    const { alarm } = new Alarms().add(hold("parse", { span: "GET /report", millis: 203.4 }), 0)
    expect(say(alarm)).toBe("The event loop was held for 203 ms by parse (src/report.ts:12), in span GET /report")
    expect(say({ ...alarm, span: null, count: 3 })).toBe(
      "The event loop was held for 203 ms by parse (src/report.ts:12); 3 times so far"
    )
  })
})
