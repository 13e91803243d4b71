import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import * as runs from "../../src/internal/runs.ts"

const prototype = Object.getPrototypeOf(Effect.runFork(Effect.void))
const own = (): (() => void) => prototype.runLoop

describe("runs", () => {
  it("finds the method in which a fiber of this Effect runs", () => {
    // When a new Effect has moved it: see what `FiberImpl` does around the slot of the current fiber, and wrap that.
    expect(runs.supported()).toBe(true)
    expect(own().toString()).toContain("currentFiber")
  })

  it("tells which fiber runs, of nested ones the inner", async () => {
    const seen: Array<string> = []
    const names = new Map<unknown, string>()
    const name = (fiber: unknown) => (fiber === undefined ? "none" : (names.get(fiber) ?? "?"))
    let resume: (effect: Effect.Effect<void>) => void
    const waits = Effect.callback<void>((go) => void (resume = go))
    const b = Effect.runFork(Effect.andThen(waits, Effect.void))
    names.set(b, "b")
    const stop = runs.observe((from, to) => void seen.push(`${name(from)} > ${name(to)}`))
    const a = Effect.withFiber<void>((fiber) => {
      names.set(fiber, "a")
      resume(Effect.void)
      return Effect.yieldNow
    })
    await Effect.runPromise(a)
    stop()
    expect(seen).toEqual(["none > ?", "a > b", "b > a", "a > none", "none > a", "a > none"])
    expect(b.pollUnsafe()).toBeDefined()
  })

  it("tells of a fiber that ends by a defect", async () => {
    const seen: Array<boolean> = []
    const stop = runs.observe((_, to) => seen.push(to !== undefined))
    await Effect.runPromiseExit(Effect.die("so"))
    stop()
    expect(seen).toEqual([true, false])
  })

  it("tells of an end, and not of a suspension", async () => {
    const seen: Array<boolean> = []
    const stop = runs.observe((from, _, ended) => from !== undefined && seen.push(ended))
    await Effect.runPromise(Effect.andThen(Effect.yieldNow, Effect.void))
    stop()
    expect(seen).toEqual([false, true])
  })

  it("tells all who observe, and leaves nothing behind when the last has gone", async () => {
    const before = own()
    const counts = [0, 0]
    const first = runs.observe(() => counts[0]!++)
    const second = runs.observe(() => counts[1]!++)
    expect(own()).not.toBe(before)
    await Effect.runPromise(Effect.void)
    first()
    first()
    await Effect.runPromise(Effect.yieldNow)
    second()
    expect(own()).toBe(before)
    await Effect.runPromise(Effect.yieldNow)
    expect(counts).toEqual([2, 6])
  })

  it("may end while a fiber runs", async () => {
    const before = own()
    let count = 0
    const stop = runs.observe(() => count++)
    const fiber = Effect.runFork(Effect.sync(stop))
    await Effect.runPromise(Fiber.join(fiber))
    expect(own()).toBe(before)
    expect(count).toBe(1)
  })
})
