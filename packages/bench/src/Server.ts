/**
 * A server with nothing to do: 64 keep-alive connections, answers of 229 bytes, no pause between them. The figure is CPU time
 * for each request (`processes.ts`).
 *
 * And how long one takes that nobody calls, from SIGTERM to its end.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { Measure, Part } from "./harness.ts"
import { here, underLoad } from "./processes.ts"

const file = (name: string) => join(here, `server/${name}.ts`)

const serving = (name: string) => underLoad((port) => ({ file: file(name), args: [String(port)], path: "/" }))

const stopping =
  (name: string) =>
  async (scale: number): Promise<Measure> => {
    const times = Math.max(1, Math.round(5 * scale))
    let millis = 0
    for (let i = 0; i < times; i++) {
      const server = spawn(process.execPath, [file(name), "0"], { stdio: ["ignore", "pipe", "inherit"] })
      await once(server.stdout, "data")
      // What it does right after its start is not what it does when it is idle.
      await sleep(300)
      const ended = once(server, "exit")
      const asked = performance.now()
      server.kill("SIGTERM")
      const [code] = await ended
      if (code !== 0) throw new Error(`Expected ${name} to end with 0, got ${code}`)
      millis += performance.now() - asked
    }
    return { micros: (millis * 1000) / times }
  }

export const server: Part = {
  name: "server",
  rows: [
    {
      name: "server, nothing to do (CPU)",
      contenders: [
        { name: "NodeHttp.serve", round: serving("ours") },
        { name: "bare: node:http", round: serving("bare"), atLeast: 0.9 }
      ]
    },
    {
      name: "an HttpRouter with one route (CPU)",
      contenders: [
        { name: "NodeRouter.layer", round: serving("router") },
        { name: "NodeHttpServer.layer, Effect's", round: serving("stock") }
      ]
    },
    {
      name: "an idle server, from SIGTERM to its end",
      contenders: [
        { name: "NodeMain.launch", round: stopping("ours"), atLeastPerSecond: 10 },
        { name: "bare: server.close()", round: stopping("bare") }
      ]
    }
  ]
}
