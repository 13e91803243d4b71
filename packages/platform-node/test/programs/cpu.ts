/** A program with a pool, for tests: `cpu.ts talk`, `cpu.ts linger MODE`, `cpu.ts interrupted`. */
import { Effect } from "effect"
import { Deadline } from "@fairlead/core"
import { CpuPool } from "@fairlead/platform-node"
import * as jobs from "./jobs.ts"

const [, , what, mode = "processes"] = process.argv

const talk = Effect.gen(function* () {
  for (const mode of ["processes", "threads"] as const) {
    const pool = yield* CpuPool.make(mode, { size: 1, mode, maxMemory: "128 MiB" })
    yield* pool.run(jobs.says, mode)
    yield* Effect.flip(Deadline.within(pool.run(jobs.mutters, undefined), "500 millis"))
    const error = yield* Effect.flip(pool.run(jobs.eatHeap, undefined))
    console.log(error._tag)
  }
})

/** One that is idle, and one that loops; their ids are printed. */
const linger = Effect.gen(function* () {
  const pool = yield* CpuPool.make("cpu", { size: 2, ahead: 2, mode: mode as "processes" })
  yield* pool.run(jobs.pid, undefined)
  yield* Effect.forkChild(pool.run(jobs.loop, undefined))
  yield* Effect.yieldNow
  const { workers } = yield* pool.statistics
  console.log(`pids ${workers.map(({ pid }) => pid).join(" ")}`)
  yield* Effect.never
})

/** Heeds no SIGINT itself; says so when its job is done. */
const interrupted = Effect.gen(function* () {
  process.on("SIGINT", () => {})
  const pool = yield* CpuPool.make("cpu", { size: 1 })
  yield* pool.run(jobs.increment, 1)
  console.log("ready")
  yield* pool.run(jobs.wait, 500)
  console.log("done")
})

const programs: Record<string, Effect.Effect<void, unknown, any>> = { talk, linger, interrupted }
await Effect.runPromise(Effect.scoped(programs[what!]!) as Effect.Effect<void, unknown>)
