import { describe, expect, it } from "@effect/vitest"
import { Duration } from "effect"
import * as millis from "../../src/internal/millis.ts"

describe("millis", () => {
  it("reads durations however they are written, and each time anew what is written anew", () => {
    expect([millis.from("2 seconds"), millis.from("1 minute"), millis.from("2 seconds")]).toEqual([2000, 60_000, 2000])
    expect([millis.from(250), millis.from(Duration.seconds(3)), millis.from(Duration.infinity)]).toEqual([
      250,
      3000,
      Infinity
    ])
    expect([millis.from(-0), millis.from(-5), millis.from(0.25), millis.from(-Infinity)]).toEqual([
      0,
      -5,
      0.25,
      -Infinity
    ])
    for (let i = 0; i < 300; i++) expect(millis.from(`${i} millis`)).toBe(i)
  })

  it("tells people whole milliseconds", () => {
    expect(millis.format(Duration.millis(150.858))).toBe("151ms")
    expect(millis.format(Duration.micros(200n))).toBe("0ms")
    expect(millis.format(Duration.millis(61_000.2))).toBe("1m 1s")
  })
})
