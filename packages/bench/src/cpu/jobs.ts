/** The jobs of the bench, for all contenders: a job's function is what theirs export. */
import * as CpuJob from "@fairlead/platform-node/CpuJob"
import * as Schema from "effect/Schema"

const here = import.meta.url
const numbers = { input: Schema.Number, output: Schema.Number }

export const increment = (n: number): number => n + 1

/** Microseconds of CPU that the worker has had: a process's own. */
export const used = (): number => {
  const { system, user } = process.cpuUsage()
  return user + system
}

/** Computes some 300 ms. */
export const compute = (rounds: number): number => {
  let sum = 0
  for (let i = 0; i < rounds; i++) sum = (sum * 31 + i) | 0
  return sum
}

export const incrementJob = CpuJob.make(here, "increment", numbers, increment)
export const usedJob = CpuJob.make(here, "used", numbers, used)
export const computeJob = CpuJob.make(here, "compute", numbers, compute)
