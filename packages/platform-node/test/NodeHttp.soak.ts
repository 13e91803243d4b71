/** A busy server that is stopped by SIGTERM, again and again. `pnpm soak NodeHttp` prints what became of the calls. */
import { expect, it } from "vitest"
import * as http from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import { get, load, start, wrong } from "./stopped.ts"
import type { Answer } from "./stopped.ts"

/** How long an answer takes, and how long the end may take beyond it. */
const inFlightMillis = 20
const endMillis = 200

it("50 times with every socket active: no call fails, all are told to close, and it ends with the last of them", async () => {
  const connections = 50
  const answers: Array<Answer> = []
  const took: Array<number> = []
  for (let round = 0; round < 50; round++) {
    const server = await start()
    const before = answers.length
    const done = load(server.port, connections, answers)
    await sleep(300)
    const asked = performance.now()
    server.kill("SIGTERM")
    await done
    const { at, code, err } = await server.ended
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect(answers.slice(before).filter(({ close }) => close)).toHaveLength(connections)
    took.push(at - asked)
  }
  took.sort((a, b) => a - b)
  console.log(
    `${answers.length} calls, ${answers.filter(wrong).length} failed; from SIGTERM to the end ` +
      `${took[25]!.toFixed(0)} ms at the median, ${took[49]!.toFixed(0)} ms at the most`
  )
  expect(answers.filter(wrong)).toEqual([])
  expect(took[49]).toBeLessThan(inFlightMillis + endMillis)
})

it("10 times with idle sockets beside them: none is reset, and it ends within the drain", async () => {
  const took: Array<number> = []
  for (let round = 0; round < 10; round++) {
    const server = await start()
    const idle = Array.from({ length: 20 }, () => new http.Agent({ keepAlive: true, maxSockets: 1 }))
    const first = await Promise.all(idle.map((agent) => get(agent, server.port)))
    const answers: Array<Answer> = []
    const done = load(server.port, 20, answers)
    await sleep(300)
    const asked = performance.now()
    server.kill("SIGTERM")
    await done
    // Half of them speak once more, which none of these may lose; the others are silent until they idle out.
    const late = await Promise.all(idle.slice(0, 10).map((agent) => get(agent, server.port)))
    const { at, code, err } = await server.ended
    for (const agent of idle) agent.destroy()
    expect({ code, err }).toEqual({ code: 0, err: "" })
    expect([...first, ...answers, ...late].filter(wrong)).toEqual([])
    expect(late.every(({ close }) => close)).toBe(true)
    took.push(at - asked)
  }
  console.log(`from SIGTERM to the end ${Math.max(...took).toFixed(0)} ms at the most, of 10 s`)
  expect(Math.max(...took)).toBeLessThan(10_000)
})
