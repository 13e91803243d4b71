import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import * as stack from "../../src/internal/stack.ts"

const effect = Effect.succeed(1)

describe("stack", () => {
  it("lets begin on the spot, however much came before, and whatever became of it", () => {
    for (let i = 0; i < 1000; i++) {
      stack.nest(() => i)
      expect(() =>
        stack.nest(() => {
          throw new Error("boom")
        })
      ).toThrow("boom")
    }
    expect(stack.flat(effect)).toBe(effect)
  })

  it("gives way where it is deep", () => {
    const deep = (depth: number): Effect.Effect<number> =>
      depth === 0 ? stack.flat(effect) : stack.nest(() => deep(depth - 1))
    expect(deep(10)).toBe(effect)
    expect(deep(1000)).not.toBe(effect)
  })
})
