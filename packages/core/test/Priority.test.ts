import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Gate, Priority } from "@fairlead/core"

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

  it.effect("work that many share moves in line with those who wait for it, and what it asks for later comes so", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("desk", { limit: 1 })
      const open = yield* Deferred.make<void>()
      const done: Array<string> = []
      const task = (name: string) => gate.run(Effect.sync(() => void done.push(name)))
      let boost!: (urgency: Priority.Urgency | undefined) => Effect.Effect<void>
      const shared = Priority.boosted((given) => {
        boost = given
        return Effect.andThen(task("shared"), task("shared again"))
      })
      yield* Effect.forkChild(gate.run(Deferred.await(open)))
      yield* TestClock.adjust(0)
      const others = ["a", "b", "c"].map((name) => task(name).pipe(Priority.at(4)))
      const fibers = [yield* Effect.forkChild(shared.pipe(Priority.background))]
      for (const other of others) fibers.push(yield* Effect.forkChild(other))
      yield* TestClock.adjust(0)
      const urgencies = Effect.map(gate.explain, (all) => all.map(({ urgency }) => urgency).toSorted())
      expect(yield* urgencies).toEqual([4, 4, 4, 7])
      yield* boost(1)
      expect(yield* urgencies).toEqual([1, 4, 4, 4])
      yield* boost(undefined)
      expect(yield* urgencies).toEqual([4, 4, 4, 7])
      yield* boost(0)
      yield* Deferred.succeed(open, undefined)
      yield* Effect.forEach(fibers, Fiber.join)
      expect(done).toEqual(["shared", "a", "shared again", "b", "c"])
      expect(Gate.check(yield* gate.statistics)).toEqual([])
      yield* boost(7)
    })
  )

  describe("misuse", () => {
    it("names the expectation and the value", () => {
      expect(() => Priority.at(Effect.void, 8 as Priority.Urgency)).toThrow("Expected an urgency from 0 to 7, got 8")
    })
  })
})
