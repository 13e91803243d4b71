/** What a worker process does: it takes jobs over the IPC channel, one at a time, and large bytes over the pipe at `partsFd`. */
import { flushCompileCache } from "node:module"
import { readSync, writeSync } from "node:fs"
import * as duty from "./duty.ts"
import { pack, unpack } from "./packed.ts"
import { tags, partsFd } from "./told.ts"
import type { Said, Told } from "./told.ts"
import type { Answer } from "./worker.ts"

/** By the number that the parent gives each. */
const jobs = new Map<number, readonly [module: string, name: string]>()

// The channel is the pool's: what a job said by itself would be an answer.
const send = process.send!.bind(process)
Object.assign(process, { send: undefined, disconnect: undefined })

const say = (said: Said): void => {
  // Without the callback, a parent that is gone would be an exception.
  send(said, undefined, undefined, () => {})
}

/** Node reads and writes less than 2 GiB at once. */
const atOnce = (length: number): number => Math.min(length, 2 ** 30)

/** Blocks: the parent is writing them, and there is nothing else to do. */
const read = (length: number): Uint8Array => {
  const part = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
  for (let filled = 0; filled < length;) {
    const count = readSync(partsFd, part, filled, atOnce(length - filled), null)
    if (count === 0) process.exit(0)
    filled += count
  }
  return part
}

const write = (part: Uint8Array): void => {
  for (let written = 0; written < part.length;)
    written += writeSync(partsFd, part, written, atOnce(part.length - written))
}

const answer = (module: string, name: string, answer: Answer): void => {
  const tag = tags[answer._tag]
  let parts: ReadonlyArray<Uint8Array>
  try {
    if (!duty.bytes(module, name, answer)) return say([tag, answer.value])
    const packed = pack(answer.value)
    parts = packed.parts
    say([tag, packed.rest, parts.map(({ length }) => length)])
  } catch (thrown) {
    return say([tags.Threw, duty.described(thrown)])
  }
  // What fails here ends this worker: another answer would meet a parent that waits for these.
  for (const part of parts) write(part)
}

process.on("message", ([number, value, lengths, newModule, newName]: Told) => {
  if (newModule !== undefined) jobs.set(number, [newModule, newName!])
  const [module, name] = jobs.get(number)!
  const input = lengths === undefined ? value : unpack({ rest: value as Uint8Array, parts: lengths.map(read) })
  const answered = duty.run(module, name, input)
  if (!(answered instanceof Promise)) return answer(module, name, answered)
  void answered.then((answered) => answer(module, name, answered))
})
// Whatever goes on is for nobody.
process.on("disconnect", () => process.exit(0))

await duty.warm(process.argv.slice(2))
// Where there is one (`NODE_COMPILE_CACHE`): Node writes it at an exit, and most workers are killed.
flushCompileCache()
say([0])
