/** A program with a pool, for tests: `cpu.ts talk`, `cpu.ts linger FILE`. */
import { Effect } from "effect"
import { closeSync, existsSync, openSync, readFileSync } from "node:fs"
import { Deadline } from "@fairlead/core"
import { CpuPool } from "@fairlead/platform-node"
import * as jobs from "./jobs.ts"

const [, , what, file = ""] = process.argv

const talk = Effect.gen(function* () {
  for (const mode of ["processes", "threads"] as const) {
    const pool = yield* CpuPool.make(mode, { size: 1, mode })
    yield* pool.run(jobs.says, mode)
    yield* Effect.flip(Deadline.within(pool.run(jobs.mutters, undefined), "500 millis"))
  }
  const pool = yield* CpuPool.make("cpu", { size: 1, maxMemory: "192 MiB" })
  const error = yield* Effect.flip(pool.run(jobs.eatHeap, undefined))
  console.log(error._tag)
  yield* Effect.scoped(starved)
})

/** Its descriptors are used up for a while. */
const starved = Effect.gen(function* () {
  const pool = yield* CpuPool.make("starved", { size: 1 })
  const taken: Array<number> = []
  try {
    for (;;) taken.push(openSync("/dev/null", "r"))
  } catch {
    // There are no more.
  }
  const error = (yield* Effect.flip(pool.run(jobs.increment, 1))) as CpuPool.WorkerCrashed
  for (const fd of taken) closeSync(fd)
  console.log(`starved: ${/EMFILE/.exec(error.stderr)}, then ${yield* pool.run(jobs.increment, 1)}`)
})

/** Heeds no SIGINT while a job is done. Then one is idle, and one loops that has started another: their ids are printed. */
const linger = Effect.gen(function* () {
  process.on("SIGINT", () => {})
  const pool = yield* CpuPool.make("cpu", { size: 2, ahead: 2 })
  yield* pool.run(jobs.increment, 1)
  console.log("ready")
  yield* pool.run(jobs.wait, 300)
  console.log("done")
  yield* Effect.forkChild(pool.run(jobs.parent, file))
  while (!existsSync(file) || readFileSync(file, "utf8") === "") yield* Effect.sleep(10)
  const { workers } = yield* pool.statistics
  console.log(`pids ${workers.map(({ pid }) => pid).join(" ")} ${readFileSync(file, "utf8")}`)
  yield* Effect.never
})

const programs: Record<string, Effect.Effect<void, unknown, any>> = { talk, linger }
await Effect.runPromise(Effect.scoped(programs[what!]!) as Effect.Effect<void, unknown>)
