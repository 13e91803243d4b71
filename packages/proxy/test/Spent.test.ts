import { describe, expect, it } from "@effect/vitest"
import { IoProfile } from "@fairlead/platform-node"
import * as Spent from "../src/Spent.ts"

const times = (some: { readonly [state in IoProfile.State]?: number }): IoProfile.Times =>
  IoProfile.states.map((state) => some[state] ?? 0)

describe("where the time of a call went", () => {
  it("goes on in a Server-Timing, without what is not known or too little", () => {
    expect(Spent.serverTiming(times({ running: 0.31, gate: 0.04, firstByte: 12.345, other: 3 }))).toBe(
      ", run;dur=0.31, firstByte;dur=12.35"
    )
  })

  it("is JSON in the log, with what is not known", () => {
    expect(Spent.json(times({ gate: 2, other: 3.5 }))).toBe('{"run":0,"gate":2,"other":3.50}')
  })
})
