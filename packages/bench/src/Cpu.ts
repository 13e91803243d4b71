/**
 * Work on other cores: the round trip of a job that does next to nothing, one at a time and on one worker, and what two jobs that compute
 * take beside one.
 *
 * In processes both sides' CPU counts, in threads it is one figure anyway. The peers send what they are given; ours checks it by a schema,
 * too, and stands behind a gate.
 */
import { CpuPool } from "@fairlead/platform-node"
import { Effect, Exit, Scope } from "effect"
import { Piscina } from "piscina"
import { Tinypool } from "tinypool"
import { computeJob, incrementJob, usedJob } from "./cpu/jobs.ts"
import { perOperation } from "./harness.ts"
import type { Measure, Part } from "./harness.ts"

type Mode = "processes" | "threads"
type Work = "increment" | "used" | "compute"

interface Pool {
  readonly run: (work: Work, input: number) => Promise<number>
  /** Runs `count` tiny jobs, one after the other, as one would write it with this pool. */
  readonly inTurn: (count: number) => Promise<unknown>
  readonly end: () => Promise<unknown>
}

const ours = async (mode: Mode, size: number): Promise<Pool> => {
  const scope = Scope.makeUnsafe()
  const pool = await Effect.runPromise(Scope.provide(CpuPool.make("bench", { mode, size }), scope))
  const jobs = { increment: incrementJob, used: usedJob, compute: computeJob }
  return {
    run: (work, input) => Effect.runPromise(pool.run(jobs[work], input)),
    inTurn: (count) =>
      Effect.runPromise(
        Effect.gen(function* () {
          for (let i = 0; i < count; i++) yield* pool.run(incrementJob, i)
        })
      ),
    end: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

const filename = new URL("cpu/jobs.ts", import.meta.url).href

const theirs = (pool: {
  run(input: number, options: { name: string }): Promise<number>
  destroy(): Promise<void>
}): Pool => ({
  run: (name, input) => pool.run(input, { name }),
  inTurn: async (count) => {
    for (let i = 0; i < count; i++) await pool.run(i, { name: "increment" })
  },
  end: () => pool.destroy()
})

const contenders: Record<Mode, Record<string, (size: number) => Promise<Pool>>> = {
  processes: {
    "CpuPool, processes": (size) => ours("processes", size),
    "tinypool, child_process": async (size) =>
      theirs(new Tinypool({ filename, runtime: "child_process", minThreads: size, maxThreads: size }))
  },
  threads: {
    "CpuPool, threads": (size) => ours("threads", size),
    "tinypool, worker_threads": async (size) =>
      theirs(new Tinypool({ filename, runtime: "worker_threads", minThreads: size, maxThreads: size })),
    piscina: async (size) => theirs(new Piscina({ filename, minThreads: size, maxThreads: size }))
  }
}

const batch = 500

const latency =
  (make: (size: number) => Promise<Pool>) =>
  async (scale: number): Promise<Measure> => {
    const pool = await make(1)
    const time = await perOperation(batch, scale, () => pool.inTurn(batch))
    await pool.end()
    return time
  }

const cpu =
  (mode: Mode, make: (size: number) => Promise<Pool>) =>
  async (scale: number): Promise<Measure> => {
    const pool = await make(1)
    const sample = async () => {
      const { system, user } = process.cpuUsage()
      return user + system + (mode === "processes" ? await pool.run("used", 0) : 0)
    }
    await perOperation(batch, scale, () => pool.inTurn(batch))
    const before = await sample()
    const count = 20 * Math.ceil(scale * 50) * 20
    await pool.inTurn(count)
    const after = await sample()
    await pool.end()
    return { micros: (after - before) / count }
  }

const rounds = 60_000_000

const computing =
  (mode: Mode, jobs: number) =>
  async (scale: number): Promise<Measure> => {
    const pool = await ours(mode, 2)
    const both = (input: number, count: number) =>
      Promise.all(Array.from({ length: count }, () => pool.run("compute", input)))
    await both(1_000_000, 2)
    const begun = performance.now()
    await both(Math.ceil(rounds * scale), jobs)
    const millis = performance.now() - begun
    await pool.end()
    return { micros: millis * 1000 }
  }

const row = (
  name: string,
  mode: Mode,
  round: (make: (size: number) => Promise<Pool>) => (scale: number) => Promise<Measure>
) => ({
  name,
  contenders: Object.entries(contenders[mode]).map(([name, make], i) => ({
    name,
    round: round(make),
    ...(i === 0 ? {} : { atLeast: 1 })
  }))
})

const one = (mode: Mode) => `one job that computes, ${mode}`
const two = (mode: Mode) => `two jobs that compute at once, ${mode}`
const modes: ReadonlyArray<Mode> = ["processes", "threads"]

export const cpuPool: Part = {
  name: "cpu",
  rows: [
    ...modes.flatMap((mode) => [
      row(`tiny job, there and back, ${mode}`, mode, latency),
      row(`tiny job, CPU of both sides, ${mode}`, mode, (make) => cpu(mode, make))
    ]),
    ...modes.flatMap((mode) => [
      { name: one(mode), contenders: [{ name: "CpuPool", round: computing(mode, 1) }] },
      { name: two(mode), contenders: [{ name: "CpuPool", round: computing(mode, 2) }] }
    ])
  ],
  figures: modes.map((mode) => ({
    name: `two jobs at once / one, ${mode}`,
    of: (micros: (row: string, contender: string) => number) =>
      micros(two(mode), "CpuPool") / micros(one(mode), "CpuPool"),
    atMost: 1.15
  }))
}
