/** Jobs for the tests of `CpuPool`. */
import * as Schema from "effect/Schema"
import { spawn } from "node:child_process"
import { closeSync, writeFileSync } from "node:fs"
import * as CpuJob from "../../src/CpuJob.ts"

const here = import.meta.url

export class NotPrime extends Schema.TaggedError<NotPrime>()("NotPrime", { value: Schema.Number }) {}

export const increment = CpuJob.make(here, "increment", { input: Schema.Number, output: Schema.Number }, (n) => n + 1)

export const later = CpuJob.make(here, "later", { input: Schema.Number, output: Schema.Number }, async (n) => {
  await new Promise((resolve) => setTimeout(resolve, 10))
  return n + 1
})

export const prime = CpuJob.make(
  here,
  "prime",
  { input: Schema.Number, output: Schema.Number, error: NotPrime },
  (value) => {
    for (let i = 2; i * i <= value; i++) if (value % i === 0) throw new NotPrime({ value })
    return value
  }
)

export const loop = CpuJob.make(here, "loop", { input: Schema.Void, output: Schema.Void }, () => {
  for (;;);
})

/** Loops, and heeds no SIGTERM. */
export const stubborn = CpuJob.make(here, "stubborn", { input: Schema.Void, output: Schema.Void }, () => {
  process.on("SIGTERM", () => {})
  for (;;);
})

export const throws = CpuJob.make(here, "throws", { input: Schema.String, output: Schema.Void }, (message) => {
  throw new RangeError(message)
})

export const exits = CpuJob.make(here, "exits", { input: Schema.Number, output: Schema.Void }, (code) => {
  console.error("about to exit, and not for want of memory: JavaScript heap out of memory")
  process.exit(code)
})

/** Throws what throws when it is looked at. */
export const odd = CpuJob.make(here, "odd", { input: Schema.Void, output: Schema.Void }, () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  throw proxy
})

/** Starts a process, says its id, and exits. */
export const abandons = CpuJob.make(here, "abandons", { input: Schema.Void, output: Schema.Void }, () => {
  const { pid } = spawn("sleep", ["60"], { stdio: "ignore" })
  console.error(pid)
  process.exit(1)
})

/** Closes what its answer goes through. */
export const mute = CpuJob.make(here, "mute", { input: Schema.Number, output: Schema.Uint8Array }, (fd) => {
  closeSync(fd)
  return new Uint8Array(100_000)
})

export const pid = CpuJob.make(here, "pid", { input: Schema.Void, output: Schema.Number }, () => process.pid)

/** Some 500 MB: an end, where nothing bounds it. */
export const eatHeap = CpuJob.make(here, "eatHeap", { input: Schema.Void, output: Schema.Void }, () => {
  const eaten: Array<unknown> = []
  while (eaten.length < 6_000) eaten.push(Array.from({ length: 10_000 }, () => eaten.length))
})

export const eatBuffers = CpuJob.make(here, "eatBuffers", { input: Schema.Void, output: Schema.Void }, async () => {
  const eaten: Array<Buffer> = []
  for (;;) {
    eaten.push(Buffer.alloc(4 * 1024 * 1024, 1))
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
})

export const flip = CpuJob.make(here, "flip", { input: Schema.Uint8Array, output: Schema.Uint8Array }, (bytes) => {
  for (let i = 0; i < bytes.length; i += 4096) bytes[i] = bytes[i]! ^ 255
  return bytes
})

export const moved = CpuJob.make(
  here,
  "moved",
  { input: Schema.Uint8Array, output: Schema.Uint8Array, transfer: "both" },
  (bytes) => bytes
)

export const shared = CpuJob.make(
  here,
  "shared",
  { input: Schema.instanceOf(SharedArrayBuffer), output: Schema.Void },
  (memory) => void (new Int32Array(memory)[0] = 42)
)

export const rich = CpuJob.make(
  here,
  "rich",
  {
    input: Schema.Struct({ at: Schema.Date, maybe: Schema.Option(Schema.Number), big: Schema.BigInt }),
    output: Schema.Struct({ at: Schema.Date, maybe: Schema.Option(Schema.Number), big: Schema.BigInt })
  },
  (value) => value
)

export const says = CpuJob.make(here, "says", { input: Schema.String, output: Schema.Void }, (text) => {
  console.log(`out: ${text}`)
  console.error(`err: ${text}`)
})

/** Would answer by itself, and again, and then hang up. */
export const chatters = CpuJob.make(here, "chatters", { input: Schema.Void, output: Schema.Number }, () => {
  for (const said of [null, [1, 666], [1, 667]]) process.send?.(said)
  process.disconnect?.()
  return 1
})

/** Prints two lines, and loops. */
export const mutters = CpuJob.make(here, "mutters", { input: Schema.Void, output: Schema.Void }, () => {
  console.log("first")
  console.log("second")
  for (;;);
})

/** Gives what cannot be sent. */
export const unsendable = CpuJob.make(here, "unsendable", { input: Schema.Void, output: Schema.Any }, () => () => {})

/** Gives what its schema does not allow. */
export const wrong = CpuJob.make(here, "wrong", { input: Schema.Void, output: Schema.Number }, () => "one" as never)

/** Starts a process that heeds no SIGTERM, writes its id to a file, and loops. */
export const parent = CpuJob.make(here, "parent", { input: Schema.String, output: Schema.Void }, async (file) => {
  const child = spawn(process.execPath, [
    "-e",
    "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up')"
  ])
  await new Promise((resolve) => child.stdout.once("data", resolve))
  writeFileSync(file, `${child.pid}`)
  for (;;);
})

export const wait = CpuJob.make(here, "wait", { input: Schema.Number, output: Schema.Void }, async (millis) => {
  await new Promise((resolve) => setTimeout(resolve, millis))
})

/** Where and how it runs. */
export const around = CpuJob.make(
  here,
  "around",
  { input: Schema.Void, output: Schema.Struct({ cwd: Schema.String, about: Schema.String, limit: Schema.Number }) },
  () => ({ cwd: process.cwd(), about: process.env["ABOUT"] ?? "", limit: Error.stackTraceLimit })
)
