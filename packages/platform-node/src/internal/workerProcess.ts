/**
 * A worker that is a process.
 *
 *     stdin    a lifeline: its end is ours        stdout   that of this process
 *     stderr   ours: passed on, and its end kept  3        IPC, in V8's own format        4   large bytes, as they are
 *
 * It is the first of a process group, which a terminal's signals do not reach, and which ends as one: what a job has started ends with it.
 */
import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { readFileSync } from "node:fs"
import type { Socket } from "node:net"
import { extname } from "node:path"
import { fileURLToPath } from "node:url"
import { pack, unpack } from "./packed.ts"
import { Parts } from "./parts.ts"
import { Tail } from "./tail.ts"
import { answers } from "./told.ts"
import type { Said, Told } from "./told.ts"
import type { Answer, Employer, Start, Task, Worker } from "./worker.ts"

export interface Settings {
  /** Of the heap. */
  readonly maxHeapMegabytes: number | undefined
  readonly execArgv: ReadonlyArray<string>
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string | undefined
  /** What is imported ahead. */
  readonly warm: ReadonlyArray<string>
}

const main = fileURLToPath(new URL(`./processMain${extname(import.meta.url)}`, import.meta.url))

/** How long the end of stderr is waited for when the process is gone: something that it has started may have it, too. */
const closeMillis = 100

export const starter =
  (settings: Settings): Start =>
  (employer) =>
    new Process(settings, employer)

class Process implements Worker {
  readonly pid: number | undefined
  private readonly child: ChildProcess
  private readonly pipe: Socket | undefined
  private readonly parts = new Parts()
  private readonly tail = new Tail((line) => process.stderr.write(line))
  private readonly employer: Employer
  /** The jobs that it has had, by number. */
  private readonly jobs = new Map<string, number>()
  private stopped = false
  private gone = false

  constructor({ cwd, env, execArgv, maxHeapMegabytes, warm }: Settings, employer: Employer) {
    this.employer = employer
    const heap = maxHeapMegabytes === undefined ? [] : [`--max-old-space-size=${maxHeapMegabytes}`]
    const child = spawn(process.execPath, [...execArgv, ...heap, main, ...warm], {
      stdio: ["pipe", "inherit", "pipe", "ipc", "pipe"],
      serialization: "advanced",
      detached: true,
      env,
      cwd
    })
    this.child = child
    this.pid = child.pid
    // What is imported before us (`--import`) may have things of its own to say, to nobody.
    child.on("message", (said) => Array.isArray(said) && this.onSaid(said as unknown as Said))
    // Of one that was started it may be anything, and its end comes by itself.
    child.on("error", (error) => child.pid === undefined && this.onEnd(null, null, error))
    child.on("exit", (code, signal) => this.onEnd(code, signal))
    // There are none where this process has no descriptors left for them.
    const [stdin, , stderr, , pipe] = (child.stdio as ChildProcess["stdio"] | undefined) ?? []
    this.pipe = pipe as Socket | undefined
    // Where it is gone, they break; what becomes of that is said above.
    for (const stream of [stdin, stderr, pipe]) stream?.on("error", () => {})
    stderr?.on("data", (chunk: Uint8Array) => this.tail.push(chunk))
    this.pipe?.on("data", (chunk: Uint8Array) => this.parts.push(chunk))
  }

  send({ bytes, input, module, name }: Task): void {
    const key = `${module}#${name}`
    const known = this.jobs.get(key)
    const job = known ?? this.jobs.size
    const { parts, rest } = bytes ? pack(input) : { parts: [], rest: input }
    const lengths = bytes ? parts.map(({ length }) => length) : undefined
    const told: Told = known === undefined ? [job, rest, lengths, module, name] : [job, rest, lengths]
    this.child.send(told, () => {})
    // Not before: what cannot be sent has not made it known.
    this.jobs.set(key, job)
    for (const part of parts) this.pipe?.write(part)
  }

  stop(): void {
    this.stopped = true
    this.signal("SIGTERM")
  }

  kill(): void {
    this.stopped = true
    this.signal("SIGKILL")
  }

  rssBytes(): number | undefined {
    try {
      // `statm` is shorter, but counts in pages, and Node does not tell how large they are.
      const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, "latin1"))!
      return Number(kilobytes) * 1_024
    } catch {
      return undefined
    }
  }

  private onSaid([tag, value, lengths]: Said): void {
    if (this.gone) return
    if (tag === 0) return this.employer.up()
    const answered = (value: unknown) => this.employer.answered({ _tag: answers[tag]!, value } as Answer)
    if (lengths === undefined) return answered(value)
    const rest = value as Uint8Array
    if (lengths.length === 0) return answered(unpack({ rest, parts: [] }))
    this.parts.take(lengths, (parts) => answered(unpack({ rest, parts })))
  }

  private signal(signal: NodeJS.Signals): void {
    if (this.pid === undefined || this.gone) return
    try {
      process.kill(-this.pid, signal)
    } catch {
      // It is gone, or has not come to have a group of its own.
      this.child.kill(signal)
    }
  }

  private onEnd(code: number | null, signal: string | null, error?: Error): void {
    if (this.gone) return
    // What its jobs have started, and has not ended.
    this.signal("SIGKILL")
    this.gone = true
    const { stderr, stdin } = this.child
    const over = () => {
      clearTimeout(timer)
      this.child.off("close", over)
      for (const stream of [stdin, stderr, this.pipe]) stream?.destroy()
      this.tail.end()
      this.employer.ended({
        code,
        signal,
        stderr: error === undefined ? this.tail.text : error.message,
        // It aborts: one that exits may have written such words itself.
        outOfMemory: signal !== null && this.tail.outOfMemory
      })
    }
    const timer = setTimeout(over, this.stopped || error !== undefined ? 0 : closeMillis)
    if (error === undefined && !this.stopped) this.child.on("close", over)
  }
}
