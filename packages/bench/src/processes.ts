/**
 * Servers in processes of their own, under a load from another: CPU time of the server's process, all its threads, for each
 * request. Requests per second say as much about the load, the upstream and how many cores they share.
 */
import { fork } from "node:child_process"
import type { ChildProcess, ForkOptions } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs"
import { connect, createServer } from "node:net"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { Measure } from "./harness.ts"

export const here = import.meta.dirname

/** A port nobody listens on now: not every proxy here says which one it took. */
export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
}

/** Until somebody does. */
export const listening = async (port: number): Promise<void> => {
  for (let tries = 0; tries < 200; tries++) {
    const socket = connect(port, "127.0.0.1")
    const up = await Promise.race([
      once(socket, "connect").then(() => true),
      once(socket, "error").then(() => false)
    ]).catch(() => false)
    socket.destroy()
    if (up) return
    await sleep(50)
  }
  throw new Error(`Expected a listener on port ${port} within 10 s`)
}

const ask = async <A>(child: ChildProcess): Promise<A> => {
  child.send("?")
  const [answer] = await once(child, "message")
  return answer as A
}

/** Until so many answers have come: in time alone, a slow minute of the machine would measure half-compiled code. */
const warm = async (load: ChildProcess, answers: number): Promise<void> => {
  while ((await ask<number>(load)) < answers) await sleep(100)
}

/** A program under test, and how to call it: arguments and output for its process, and the path of a call. */
export interface Program {
  readonly file: string
  readonly args: ReadonlyArray<string>
  readonly path: string
}

/** A round of a program that serves `port`, with an upstream that it may call. */
export const underLoad =
  (program: (port: number, upstream: string, folder: string) => Program) =>
  async (scale: number): Promise<Measure> => {
    const folder = mkdtempSync(join(tmpdir(), "fairlead-bench-"))
    const said = join(folder, "stderr")
    const [port, upstreamPort] = [await freePort(), await freePort()]
    const { args, file, path } = program(port, `http://127.0.0.1:${upstreamPort}`, folder)
    const children: Array<ChildProcess> = []
    const start = (file: string, args: ReadonlyArray<string>, options: ForkOptions) => {
      const child = fork(file, args, { execArgv: [], ...options })
      children.push(child)
      return child
    }
    try {
      start(join(here, "proxy/upstream.ts"), [String(upstreamPort)], {})
      const server = start(file, args, {
        execArgv: ["--import", join(here, "proxy/probe.ts")],
        stdio: ["ignore", openSync(join(folder, "stdout"), "w"), openSync(said, "w"), "ipc"]
      })
      await Promise.all([listening(port), listening(upstreamPort)])
      const load = start(join(here, "proxy/load.ts"), [String(port), path], {})
      await warm(load, 60_000 * scale)
      const sample = async () => {
        const [usage, answers] = await Promise.all([ask<NodeJS.CpuUsage>(server), ask<number>(load)])
        return { cpu: usage.user + usage.system, answers, at: performance.now() }
      }
      const before = await sample()
      await sleep(3000 * scale)
      const after = await sample()
      const requests = after.answers - before.answers
      if (requests === 0) throw new Error("Expected answers, got none")
      return {
        micros: (after.cpu - before.cpu) / requests,
        perSecond: (requests * 1000) / (after.at - before.at)
      }
    } catch (cause) {
      throw new Error(`${file} said:\n${readFileSync(said, "utf8").slice(0, 2000)}`, { cause })
    } finally {
      for (const child of children.toReversed()) child.kill("SIGKILL")
      rmSync(folder, { recursive: true, force: true })
    }
  }
