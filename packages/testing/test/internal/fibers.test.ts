import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { Fibers } from "../../src/internal/fibers.ts"

describe("fibers", () => {
  it("that have ended are forgotten, by and by", () => {
    const fibers = new Fibers()
    for (let i = 0; i < 10_000; i++) fibers.note(Effect.runFork(Effect.void))
    expect(fibers.count).toBe(10_000)
    expect((fibers as unknown as { readonly numbers: ReadonlyMap<unknown, unknown> }).numbers.size).toBeLessThan(1025)
  })

  it("keep their numbers", () => {
    const fibers = new Fibers()
    const [one, two] = [Effect.runFork(Effect.never), Effect.runFork(Effect.never)]
    expect([one, two, one, two].map((fiber) => fibers.note(fiber))).toEqual([1, 2, 1, 2])
    expect(fibers.unfinished).toEqual([
      [1, one],
      [2, two]
    ])
    two.interruptUnsafe()
    expect(fibers.unfinished).toEqual([[1, one]])
    one.interruptUnsafe()
  })
})
