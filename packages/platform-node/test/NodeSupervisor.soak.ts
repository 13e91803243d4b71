/**
 * A hundred rolls under 500 requests a second, on connections that are kept, by a client that tries nothing again. Prints what became of
 * them. (Ten rolls are in NodeSupervisor.socket.test.ts.)
 */
import { afterEach, describe, expect, it } from "vitest"
import { load, sleep, Supervised } from "./supervising.ts"

const rolls = 100
const perSecond = 500

describe.each([1, 2])("a hundred rolls, %i workers", (workers) => {
  let supervised: Supervised
  afterEach(() => supervised.clear())

  it("fail no request", async () => {
    supervised = new Supervised({ version: "v0", workers })
    const port = await supervised.port()
    await supervised.until(/is ready/, workers)
    const end = load(port, perSecond, "/work/5")
    const begun = performance.now()
    const took: Array<number> = []
    for (let i = 1; i <= rolls; i++) {
      supervised.write({ version: `v${i}`, workers })
      const at = performance.now()
      await supervised.roll()
      took.push(performance.now() - at)
      // At least 55,000 requests, however fast it rolls.
      await sleep(Math.max(200, 1100 - took.at(-1)!))
    }
    const { answers, connections, failures, sent, slowestMillis } = await end()
    const seconds = (performance.now() - begun) / 1000
    const versions = new Set([...answers.keys()].map((answer) => answer.split(" ")[1]))
    console.table({
      rolls: supervised.count(/roll is done/),
      requests: sent,
      "per second": Math.round(sent / seconds),
      "on connections": connections,
      failed: failures.length,
      versions: versions.size,
      "a roll, s": (took.reduce((sum, each) => sum + each, 0) / rolls / 1000).toFixed(2),
      "slowest request, ms": Math.round(slowestMillis)
    })
    expect(failures).toEqual([])
    expect([...answers.values()].reduce((sum, each) => sum + each, 0)).toBe(sent)
    expect(sent).toBeGreaterThanOrEqual(50_000)
    expect(supervised.count(/roll is done/)).toBe(rolls)
    expect(versions.size).toBe(rolls + 1)
    expect(supervised.alive.length).toBe(workers + 1)
    expect(await supervised.stop()).toBe(0)
    expect(supervised.alive).toEqual([])
  })
})
