/**
 * A server that is told to stop while it is busy: nobody who had his call accepted loses it.
 */
import { describe, expect, it } from "vitest"
import * as http from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import { get, load, start, wrong } from "./stopped.ts"
import type { Answer } from "./stopped.ts"

describe("a busy server that is stopped", () => {
  it("by SIGTERM, with every connection active: no call is lost, each is told to close, and it ends at once with 0", async () => {
    for (let round = 0; round < 3; round++) {
      const server = await start()
      const answers: Array<Answer> = []
      const done = load(server.port, 30, answers)
      await sleep(300)
      const asked = performance.now()
      server.kill("SIGTERM")
      await done
      const { at, code, err } = await server.ended
      expect({ code, err }).toEqual({ code: 0, err: "" })
      expect(answers.filter(wrong)).toEqual([])
      expect(answers.filter(({ close }) => close)).toHaveLength(30)
      expect(answers.length).toBeGreaterThan(60)
      // 20 ms in flight and 200 ms, five times that for a busy machine.
      expect(at - asked).toBeLessThan(1100)
    }
  })

  it("with idle connections, too: these are left until they idle out, and nothing is reset", async () => {
    const server = await start()
    const agent = new http.Agent({ keepAlive: true })
    expect((await get(agent, server.port)).status).toBe(200)
    server.kill("SIGTERM")
    await sleep(200)
    // It speaks once more, and is told.
    expect(await get(agent, server.port)).toMatchObject({ status: 200, close: true, error: undefined })
    agent.destroy()
    expect(await server.ended).toMatchObject({ code: 0, err: "" })
  })

  it("what outlasts the drain is answered 503, and named; the code is 1", async () => {
    const server = await start("300 millis", "500 millis")
    const agent = new http.Agent({ keepAlive: true })
    const straggler = get(agent, server.port, "/60000?secret=1")
    const short = get(agent, server.port, "/200")
    await sleep(100)
    server.kill("SIGTERM")
    expect(await short).toMatchObject({ status: 200 })
    expect(await straggler).toMatchObject({ status: 503, close: true, error: undefined })
    const { code, err } = await server.ended
    expect(code).toBe(1)
    expect(err).toMatch(/failed {2}hook http 127\.0\.0\.1:\d+ .*: cut 1: GET \/60000 \(\d+ ms\)/)
    expect(err).not.toContain("secret")
    agent.destroy()
  })
})
