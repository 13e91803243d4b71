/** What goes on inside a worker: it imports the modules of jobs, finds them there, and runs one at a time. */
import { inspect } from "node:util"
import { isJob } from "../CpuJob.ts"
import type { Any } from "../CpuJob.ts"
import * as codec from "./codec.ts"
import type { Answer, Thrown } from "./worker.ts"

const jobs = new Map<string, Any>()

/** Runs a job on an encoded input. The answer is a promise where it has to be waited for. */
export const run = (module: string, name: string, input: unknown): Answer | Promise<Answer> => {
  const job = jobs.get(`${module}#${name}`)
  return job === undefined ? load(module, name).then((job) => perform(job, input), threw) : perform(job, input)
}

/** Imports modules ahead. What one of them throws is told to whoever calls a job of it. */
export const warm = async (modules: ReadonlyArray<string>): Promise<void> => {
  for (const module of modules) await import(module).catch(() => {})
}

/** Whether the output's bytes may be handed over. */
export const transfers = (module: string, name: string): boolean => {
  const transfer = jobs.get(`${module}#${name}`)?.transfer
  return transfer === "output" || transfer === "both"
}

/** Whether there may be bytes in the output. */
export const bytes = (module: string, name: string, answer: Answer): boolean => {
  if (answer._tag !== "Done") return false
  const job = jobs.get(`${module}#${name}`)
  return job !== undefined && codec.of(job.output).bytes
}

/** Again the next time where it fails: Node forgets a module that could not be loaded. */
const load = async (module: string, name: string): Promise<Any> => {
  const exports = (await import(module)) as Record<string, unknown>
  const job = Object.values(exports).find((value) => isJob(value) && value.name === name) as Any | undefined
  if (job !== undefined) {
    jobs.set(`${module}#${name}`, job)
    return job
  }
  const error = new Error(
    `Expected job ${name} among the exports of ${module}, got ${Object.keys(exports).join(", ") || "none"}`
  )
  error.name = "JobNotFound"
  throw error
}

const perform = (job: Any, input: unknown): Answer | Promise<Answer> => {
  try {
    const output: unknown = job.run(codec.of(job.input).decode(input))
    if (!isPromise(output)) return done(job, output)
    return settled(job, output)
  } catch (thrown) {
    return failed(job, thrown)
  }
}

const settled = async (job: Any, output: PromiseLike<unknown>): Promise<Answer> => {
  try {
    return done(job, await output)
  } catch (thrown) {
    return failed(job, thrown)
  }
}

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" && value !== null && typeof (value as PromiseLike<unknown>).then === "function"

const done = (job: Any, output: unknown): Answer => {
  try {
    return { _tag: "Done", value: codec.of(job.output).encode(output) }
  } catch (cause) {
    return threw(new TypeError(`Job ${job.name} gave no output of its schema: ${(cause as Error).message}`, { cause }))
  }
}

const failed = (job: Any, thrown: unknown): Answer => {
  try {
    if (job.error === undefined || !codec.of(job.error).is(thrown)) return threw(thrown)
    return { _tag: "Failed", value: codec.of(job.error).encode(thrown) }
  } catch (cause) {
    return threw(cause)
  }
}

const threw = (thrown: unknown): Answer => ({ _tag: "Threw", value: described(thrown) })

/** As texts, whatever it is: some things throw when they are looked at. */
export const described = (thrown: unknown): Thrown => {
  try {
    if (!(thrown instanceof Error)) return { name: "Error", message: `A job threw ${inspect(thrown)}`, stack: "" }
    const { message, name, stack = "" } = thrown
    return { name: String(name), message: String(message), stack: String(stack) }
  } catch {
    return { name: "Error", message: "A job threw what cannot be shown", stack: "" }
  }
}
