/**
 * A server that is told to stop while it is busy: nobody who had his call accepted loses it.
 */
import { describe, expect, it } from "vitest"
import { spawn } from "node:child_process"
import * as http from "node:http"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"

interface Running {
  readonly port: number
  readonly kill: (signal: NodeJS.Signals) => void
  /** Its exit code, and when. */
  readonly ended: Promise<{ readonly code: number | null; readonly at: number; readonly err: string }>
}

const start = (...args: ReadonlyArray<string>) =>
  new Promise<Running>((resolve) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL("programs/server.ts", import.meta.url)), ...args])
    let err = ""
    child.stderr.on("data", (chunk) => (err += chunk))
    const ended = new Promise<Awaited<Running["ended"]>>((end) =>
      child.on("close", (code) => end({ code, at: performance.now(), err }))
    )
    child.stdout.once("data", (chunk) => resolve({ port: Number(chunk), kill: (signal) => child.kill(signal), ended }))
  })

interface Answer {
  readonly status: number | undefined
  readonly close: boolean
  readonly error: string | undefined
  readonly at: number
}

const get = (agent: http.Agent, port: number, path = "/") =>
  new Promise<Answer>((resolve) => {
    const end = (status: number | undefined, close: boolean, error?: string) =>
      resolve({ status, close, error, at: performance.now() })
    http
      .get({ agent, host: "127.0.0.1", port, path }, (response) => {
        response.resume().on("end", () => end(response.statusCode, response.headers.connection === "close"))
        response.on("error", (error) => end(response.statusCode, false, String(error)))
      })
      .on("error", (error: NodeJS.ErrnoException) => end(undefined, false, error.code))
  })

/** Each connection sends its next call when it has its answer, until it is told to close. */
const load = async (port: number, connections: number, answers: Array<Answer>) => {
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      for (;;) {
        const answer = await get(agent, port)
        // Who comes anew finds nobody who listens.
        if (answer.error === "ECONNREFUSED") break
        answers.push(answer)
        if (answer.close || answer.error !== undefined) break
      }
      agent.destroy()
    })
  )
}

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
      expect(answers.filter(({ error, status }) => status !== 200 || error !== undefined)).toEqual([])
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
