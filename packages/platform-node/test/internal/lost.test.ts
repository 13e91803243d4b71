import { describe, expect, it } from "@effect/vitest"
import { delayOf, open } from "../../src/internal/lost.ts"

describe("lost time", () => {
  it("is the second figure that Linux tells, in nanoseconds", () => {
    expect(delayOf("24654655 56294859 25\n")).toBe(56.294859)
    expect(delayOf("")).toBe(0)
  })

  it("never shrinks, by Linux or otherwise", () => {
    const lost = open(() => 7)
    const first = lost.read()
    expect(lost.read()).toBeGreaterThanOrEqual(first)
    lost.close()
  })
})
