/**
 * What a worker thread runs. Values come and go through a port, but what tells that one is there is a counter in shared memory: the
 * thread sleeps on it between jobs, and needs no turn of its event loop for each. While a job waits for a promise, it turns.
 */
import { writeSync } from "node:fs"
import { receiveMessageOnPort, workerData } from "node:worker_threads"
import type { Transferable } from "node:worker_threads"
import { buffersOf } from "./buffers.ts"
import * as duty from "./duty.ts"
import { ring, rung } from "./bell.ts"
import { tags } from "./told.ts"
import type { Said } from "./told.ts"
import type { Begun, Given } from "./workerThread.ts"
import type { Answer } from "./worker.ts"

const { port, told, said, warm } = workerData as Begun

/** A thread's own streams are emptied by its event loop, which does not turn while a job computes, or none is there. */
const direct = (stream: NodeJS.WriteStream, fd: number): void => {
  stream.write = ((chunk: string | Uint8Array, encoding?: unknown, callback?: unknown) => {
    const bytes =
      typeof chunk === "string"
        ? Buffer.from(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8")
        : chunk
    for (let written = 0; written < bytes.length;) {
      try {
        written += writeSync(fd, bytes, written)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") break
      }
    }
    const done = typeof encoding === "function" ? encoding : callback
    if (typeof done === "function") queueMicrotask(() => done())
    return true
  }) as typeof stream.write
}
direct(process.stdout, 1)
direct(process.stderr, 2)

const say = (said_: Said, transfer: ReadonlyArray<Transferable>): void => {
  port.postMessage(said_, transfer)
  ring(said)
}

const answer = ([module, name]: Given, answer: Answer): void => {
  try {
    const transfer = answer._tag === "Done" && duty.transfers(module, name) ? buffersOf(answer.value) : []
    say([tags[answer._tag], answer.value], transfer)
  } catch (thrown) {
    say([tags.Threw, duty.described(thrown)], [])
  }
}

let heard = 0
const work = (): void => {
  for (;;) {
    Atomics.wait(told, 0, heard)
    heard = rung(told)
    const got = receiveMessageOnPort(port) as { readonly message: Given } | undefined
    if (got === undefined) continue
    const [module, name, input] = got.message
    const answered = duty.run(module, name, input)
    if (answered instanceof Promise) return void later(got.message, answered)
    answer(got.message, answered)
  }
}

const later = async (given: Given, answered: Promise<Answer>): Promise<void> => {
  answer(given, await answered)
  // On a stack of its own, after what else the promise has woken.
  setImmediate(work)
}

await duty.warm(warm)
say([0], [])
// What a module has begun at its start may go on a while.
setImmediate(work)
