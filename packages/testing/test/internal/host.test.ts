import { describe, expect, it } from "vitest"
import * as host from "../../src/internal/host.ts"

describe("host", () => {
  it("in a turn hears what the event loop has to say; promises without one", async () => {
    const heard: Array<string> = []
    setImmediate(() => heard.push("immediate"))
    void Promise.resolve()
      .then(() => undefined)
      .then(() => heard.push("promise"))
    await host.promises()
    expect(heard).toEqual(["promise"])
    await host.turn()
    expect(heard).toEqual(["promise", "immediate"])
  })

  it("waits until something is so, and no longer than it may", async () => {
    let done = false
    setTimeout(() => (done = true), 20)
    await host.until(() => done, 5_000)
    expect(done).toBe(true)
    const start = performance.now()
    await host.until(() => false, 20)
    expect(performance.now() - start).toBeGreaterThanOrEqual(19)
  })
})
