/** A supervisor and its workers as a test sees them: by what they print, and by who is alive. */
import type { Shutdown } from "@fairlead/core"
import { spawn } from "node:child_process"
import type { ChildProcess, StdioOptions } from "node:child_process"
import type { NodeHttp } from "@fairlead/platform-node"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as http from "node:http"
import * as http2 from "node:http2"
import * as https from "node:https"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as compiled from "./compiled.ts"

/** What `programs/supervised.ts` does. */
export interface Config {
  readonly version?: string
  readonly does?:
    | "serve"
    | "alone"
    | "probed"
    | "twice"
    | "fail"
    | "silent"
    | "explicit"
    | "crash"
    | "throws"
    | "hung"
    | "finish"
  /** What is told of events. */
  readonly tells?: "throws"
  readonly port?: number
  readonly tls?: NodeHttp.Options["tls"]
  readonly workers?: number
  readonly ready?: `${number} seconds`
  readonly shutdown?: Shutdown.Budgets
  readonly upstream?: string
  readonly window?: `${number} seconds`
}

export interface Start {
  readonly stdio?: StdioOptions
  readonly env?: Record<string, string>
  readonly detached?: boolean
  /** Whether it is told that sockets were passed to it, as a service manager tells: by its own number. */
  readonly activated?: boolean
}

export class Supervised {
  readonly child: ChildProcess
  private readonly folder = mkdtempSync(join(tmpdir(), "supervised-"))
  private readonly file = join(this.folder, "config.json")
  /** All that any of the processes printed. */
  text = ""
  /** All that were ever started. */
  readonly pids: Array<number> = []
  readonly ended: Promise<number | string>
  private readonly looks = new Set<() => void>()

  constructor(config: Config, how: Start = {}) {
    const { activated = false, detached = false, env = {}, stdio = ["ignore", "pipe", "pipe"] } = how
    this.write(config)
    const program = [process.execPath, fileURLToPath(new URL("programs/supervised.ts", import.meta.url)), this.file]
    const [command, ...args] = activated ? ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", ...program] : program
    this.child = spawn(command!, args, { stdio, detached, env: { ...compiled.env, ...env } })
    this.pids.push(this.child.pid!)
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        for (const [, pid] of chunk.matchAll(/\(pid (\d+)\) has started/g)) this.pids.push(Number(pid))
        this.text += chunk
        for (const look of this.looks) look()
      })
    }
    this.ended = new Promise((resolve) => this.child.once("exit", (code, signal) => resolve(code ?? signal!)))
  }

  /** From now on what starts does this. */
  write(config: Config): void {
    writeFileSync(this.file, JSON.stringify(config))
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** How often something was printed. */
  count(pattern: RegExp): number {
    return [...this.text.matchAll(new RegExp(pattern, "gm"))].length
  }

  /** Waits until something was printed so often. */
  until(pattern: RegExp, times = 1, limit = 30_000): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.count(pattern) < times) return
        clearTimeout(timer)
        this.looks.delete(look)
        resolve()
      }
      const timer = setTimeout(() => {
        this.looks.delete(look)
        reject(new Error(`Expected ${pattern} ${times} times, got:\n${this.text}`))
      }, limit)
      this.looks.add(look)
      look()
    })
  }

  /** Its port, once it serves. */
  async port(): Promise<number> {
    await this.until(/^at \S+ \d+$/m)
    return Number(/^at \S+ (\d+)$/m.exec(this.text)![1])
  }

  /** Which of its processes are alive. */
  get alive(): ReadonlyArray<number> {
    return this.pids.filter(isAlive)
  }

  /** A whole roll. */
  async roll(): Promise<void> {
    const before = this.count(/roll is (done|given up)/)
    this.signal("SIGHUP")
    await this.until(/roll is (done|given up)/, before + 1, 60_000)
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number | string> {
    this.signal(signal)
    return this.ended
  }

  /** Whatever a test left. */
  clear(): void {
    for (const pid of this.alive) process.kill(pid, "SIGKILL")
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    // One that has ended, but that nobody has asked how: an orphan's end concerns the first process alone, which may not care.
    return !existsSync(`/proc/${pid}/stat`) || !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return false
  }
}

export const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

/** One request; what it came to. It is not tried again. */
export const get = (port: number, target: string, agent?: http.Agent): Promise<string> =>
  new Promise((resolve, reject) => {
    const { get } = agent instanceof https.Agent ? https : http
    const request = get({ port, host: "127.0.0.1", path: target, agent: agent ?? false }, (response) => {
      let text = `${response.statusCode} `
      response.setEncoding("utf8").on("data", (chunk) => (text += chunk))
      response.on("end", () => resolve(text)).on("error", reject)
      response.on("aborted", () => reject(new Error("aborted")))
    })
    request.on("error", (error) => reject(Object.assign(error, { reused: request.reusedSocket })))
  })

export interface Load {
  /** How many were answered, by what. */
  readonly answers: ReadonlyMap<string, number>
  readonly sent: number
  readonly failures: ReadonlyArray<string>
  /** How long the slowest took. */
  readonly slowestMillis: number
  /** How many connections there were. */
  readonly connections: number
}

/** So many requests each second on connections that are kept, none of them tried again; until it is told to end. */
export const load = (port: number, perSecond: number, target: string, connections = 50): (() => Promise<Load>) =>
  loadBy(new http.Agent({ ...kept, maxSockets: connections }), port, perSecond, target)

/** The same by TLS, with whoever is certified by `ca`. */
export const loadTls = (port: number, perSecond: number, target: string, ca: string): (() => Promise<Load>) =>
  loadBy(new https.Agent({ ...kept, ca, ALPNProtocols: ["http/1.1"], maxSockets: 20 }), port, perSecond, target)

const kept = { keepAlive: true, scheduling: "fifo" } as const

const loadBy = (agent: http.Agent, port: number, perSecond: number, target: string): (() => Promise<Load>) => {
  const sockets = new Set<unknown>()
  agent.on("free", (socket) => sockets.add(socket.localPort))
  const end = repeat(perSecond, () => get(port, target, agent))
  return async () => {
    const ended = await end()
    agent.destroy()
    return { ...ended, connections: sockets.size }
  }
}

/** The same by HTTP/2: several at once on each of a few connections, and on none that was told by then that its server leaves. */
export const load2 = (port: number, perSecond: number, target: string, ca: string): (() => Promise<Load>) => {
  const sessions = new Set<http2.ClientHttp2Session>()
  let connections = 0
  const connect = (): http2.ClientHttp2Session => {
    connections++
    const session = http2.connect(`https://127.0.0.1:${port}`, { ca }).setMaxListeners(0)
    const over = () => void sessions.delete(session)
    session.on("goaway", over).on("close", over)
    // Each request says so, too.
    session.on("error", over)
    sessions.add(session)
    return session
  }
  const request = () =>
    new Promise<string>((resolve, reject) => {
      const session = sessions.size < 4 ? connect() : [...sessions][Math.floor(Math.random() * sessions.size)]!
      let text = ""
      // Node sends it with the next turn of the loop. What it reads before that may forbid it: that one was not sent.
      let unsent = false
      const forbidden = () => (unsent = true)
      session.once("goaway", forbidden)
      setImmediate(() => setImmediate(() => session.off("goaway", forbidden)))
      const stream = session.request({ ":path": target })
      stream
        .setEncoding("utf8")
        .on("response", (head) => (text = `${head[":status"]} ${text}`))
        .on("data", (chunk: string) => (text += chunk))
        .on("error", (error) => (unsent && text === "" ? resolve(request()) : reject(error)))
        .on("close", () => (stream.rstCode === 0 && text !== "" ? resolve(text) : reject(new Error("No answer"))))
    })
  const end = repeat(perSecond, request)
  return async () => {
    const ended = await end()
    for (const session of sessions) session.close()
    return { ...ended, connections }
  }
}

const repeat = (perSecond: number, request: () => Promise<string>): (() => Promise<Omit<Load, "connections">>) => {
  const answers = new Map<string, number>()
  const failures: Array<string> = []
  let sent = 0
  let slowestMillis = 0
  const begun = performance.now()
  const pending = new Set<Promise<void>>()
  const send = () => {
    const at = performance.now()
    sent++
    const one: Promise<void> = request()
      .then((answer) => void answers.set(answer, (answers.get(answer) ?? 0) + 1))
      .catch((error) => void failures.push(`${error.code ?? ""} ${error.message} ${error.reused ? "kept" : "new"}`))
      .finally(() => {
        slowestMillis = Math.max(slowestMillis, performance.now() - at)
        pending.delete(one)
      })
    pending.add(one)
  }
  // As many as are due: a busy machine rings late.
  const timer = setInterval(() => {
    const due = Math.ceil(((performance.now() - begun) / 1000) * perSecond)
    for (let more = due - sent; more > 0; more--) send()
  }, 4)
  return async () => {
    clearInterval(timer)
    await Promise.all(pending)
    return { answers, sent, failures, slowestMillis }
  }
}
