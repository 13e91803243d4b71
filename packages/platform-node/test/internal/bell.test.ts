import { describe, expect, it } from "vitest"
import * as bell from "../../src/internal/bell.ts"

describe("a bell", () => {
  it("calls whoever waits, when it is rung, once", async () => {
    const rung = bell.make()
    let calls = 0
    const called = new Promise<void>((resolve) => {
      expect(
        bell.next(rung, 0, () => {
          calls++
          resolve()
        })
      ).toBe(true)
    })
    expect(calls).toBe(0)
    bell.ring(rung)
    bell.ring(rung)
    // A wait for shared memory keeps no process alive, and this one has others.
    await called
    expect(calls).toBe(1)
    expect(bell.rung(rung)).toBe(2)
  })

  it("says that it has been rung meanwhile, and calls nobody then", async () => {
    const rung = bell.make()
    bell.ring(rung)
    let calls = 0
    expect(bell.next(rung, 0, () => calls++)).toBe(false)
    await Promise.resolve()
    expect(calls).toBe(0)
  })
})
