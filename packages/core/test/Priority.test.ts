import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Priority } from "@fairlead/core"

describe("Priority", () => {
  it.effect("is 3 unless said, and the innermost word counts", () =>
    Effect.gen(function* () {
      expect(yield* Priority.Priority).toBe(3)
      expect(yield* Priority.Priority.pipe(Priority.at(1))).toBe(1)
      expect(yield* Priority.Priority.pipe(Priority.at(1), Priority.background)).toBe(1)
      expect(yield* Priority.Priority.pipe(Priority.background, Priority.at(1))).toBe(7)
    })
  )

  it.effect("is inherited by children", () =>
    Effect.gen(function* () {
      const seen = yield* Effect.all([Priority.Priority, Priority.Priority], { concurrency: 2 }).pipe(Priority.at(0))
      expect(seen).toEqual([0, 0])
    })
  )

  describe("misuse", () => {
    it("names the expectation and the value", () => {
      expect(() => Priority.at(Effect.void, 8 as Priority.Urgency)).toThrow("Expected an urgency from 0 to 7, got 8")
    })
  })
})
