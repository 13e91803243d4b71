/** A worker that is a thread of this process: what is sent is copied once or handed over, and its memory is ours but for the heap. */
import { MessageChannel, receiveMessageOnPort, Worker as NodeThread } from "node:worker_threads"
import type { MessagePort } from "node:worker_threads"
import { extname } from "node:path"
import * as bell from "./bell.ts"
import type { Bell } from "./bell.ts"
import { buffersOf } from "./buffers.ts"
import { keptChars } from "./tail.ts"
import { answers } from "./told.ts"
import type { Said } from "./told.ts"
import type { Answer, Employer, Start, Task, Worker } from "./worker.ts"

export interface Settings {
  readonly maxHeapMegabytes: number | undefined
  /** Default: that of this process. */
  readonly execArgv: ReadonlyArray<string> | undefined
  readonly env: NodeJS.ProcessEnv
  readonly warm: ReadonlyArray<string>
}

/** What a thread begins with. */
export interface Begun {
  readonly port: MessagePort
  /** Rung when there is a job for it, or an answer of it. */
  readonly told: Bell
  readonly said: Bell
  readonly warm: ReadonlyArray<string>
}

/** A job for it. */
export type Given = readonly [module: string, name: string, input: unknown]

const main = new URL(`./threadMain${extname(import.meta.url)}`, import.meta.url)

export const starter =
  (settings: Settings): Start =>
  (employer) =>
    new Thread(settings, employer)

class Thread implements Worker {
  /** Of this process; it has none of its own. */
  readonly pid: number = process.pid
  private readonly thread: NodeThread
  private readonly port: MessagePort
  private readonly told = bell.make()
  private readonly said = bell.make()
  private readonly employer: Employer
  private heard = 0
  private over = false
  private error: NodeJS.ErrnoException | undefined
  private readonly listen: () => void

  constructor({ env, execArgv, maxHeapMegabytes, warm }: Settings, employer: Employer) {
    this.employer = employer
    const { port1, port2 } = new MessageChannel()
    this.port = port1
    const workerData: Begun = { port: port2, told: this.told, said: this.said, warm }
    this.thread = new NodeThread(main, {
      workerData,
      transferList: [port2],
      env,
      ...(execArgv === undefined ? {} : { execArgv: [...execArgv] }),
      ...(maxHeapMegabytes === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: maxHeapMegabytes } })
    })
    this.thread.on("error", (error) => (this.error = error as Error))
    this.thread.on("exit", (code) => this.onExit(code))
    this.listen = () => this.onRung()
    if (!bell.next(this.said, 0, this.listen)) this.onRung()
  }

  send({ input, module, name, transfer }: Task): void {
    const given: Given = [module, name, input]
    this.port.postMessage(given, transfer ? buffersOf(input) : [])
    bell.ring(this.told)
  }

  stop(): void {
    void this.thread.terminate()
  }

  kill(): void {
    void this.thread.terminate()
  }

  rssBytes(): undefined {}

  private onRung(): void {
    do {
      if (this.over) return
      this.heard = bell.rung(this.said)
      for (let got = this.read(); got !== undefined; got = this.read()) {
        const [tag, value] = got.message
        if (tag === 0) this.employer.up()
        else this.employer.answered({ _tag: answers[tag]!, value } as Answer)
      }
    } while (!bell.next(this.said, this.heard, this.listen))
  }

  private read(): { readonly message: Said } | undefined {
    return receiveMessageOnPort(this.port)
  }

  private onExit(code: number): void {
    this.over = true
    this.port.close()
    // Else the engine would wait for the bell, and keep it, as long as this process lives.
    bell.ring(this.said)
    const { error } = this
    this.employer.ended({
      code,
      signal: null,
      stderr: (error?.stack ?? error?.message ?? "").slice(-keptChars),
      outOfMemory: error?.code === "ERR_WORKER_OUT_OF_MEMORY"
    })
  }
}
