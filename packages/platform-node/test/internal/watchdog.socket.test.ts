import { execFileSync } from "node:child_process"
import { setTimeout as sleep } from "node:timers/promises"
import { describe, expect, it } from "@effect/vitest"
import * as watchdog from "../../src/internal/watchdog.ts"

const spin = (millis: number) => {
  for (const until = performance.now() + millis; performance.now() < until;);
}

/** With a beat each 10 ms, as a monitor gives it. */
const watching = async (body: (dog: watchdog.Watchdog, looks: Array<number>) => Promise<void>) => {
  const looks: Array<number> = []
  const dog = watchdog.start({
    everyMillis: 10,
    patienceMillis: 60,
    stuckMillis: Infinity,
    look: (lateMillis) => {
      looks.push(lateMillis)
      return "here"
    }
  })
  const beats = setInterval(() => dog.beat(), 10)
  try {
    while (!dog.watches) await sleep(5)
    await sleep(100)
    await body(dog, looks)
  } finally {
    clearInterval(beats)
    await dog.stop()
  }
}

describe("the watchdog", () => {
  it("looks at a main thread that stands still, again and again", () =>
    watching(async (_, looks) => {
      looks.length = 0
      spin(400)
      await sleep(50)
      expect(looks.length).toBeGreaterThan(3)
      for (const late of looks) expect(late).toBeGreaterThanOrEqual(0)
    }))

  it("counts what it misses itself, and that is not the time in which it asks", () =>
    watching(async (dog) => {
      const before = dog.missedMillis
      // It waits for an answer all the time.
      execFileSync(process.execPath, ["-e", "setTimeout(() => {}, 500)"])
      await sleep(50)
      expect(dog.missedMillis - before).toBeLessThan(400)
    }))

  it("leaves nothing behind", async () => {
    const hooks = () =>
      Object.getOwnPropertySymbols(globalThis).filter((it) => it.description?.includes("EventLoopMonitor"))
    await watching(async (_, looks) => {
      expect(hooks()).toHaveLength(1)
      await watching(async () => {})
      expect(hooks()).toHaveLength(1)
      looks.length = 0
      spin(300)
      expect(looks.length).toBeGreaterThan(0)
    })
    expect(hooks()).toEqual([])
    expect(process.getActiveResourcesInfo()).not.toContain("MessagePort")
  })
})
