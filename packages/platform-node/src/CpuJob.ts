/**
 * CPU-bound work by name: what a worker of a `CpuPool` can find again, import and run.
 *
 *     // primes.ts
 *     export const primes = CpuJob.make(import.meta.url, "primes", { input: Schema.Number, output: Schema.Number }, (n) => …)
 *
 * A function cannot be sent to another process; the module that it stands in can be imported there. So a job names its own module, and is
 * among its exports. Whoever imports that module to call the job gets the function, too, and does not run it.
 *
 * This module imports nothing: a worker loads what the jobs' modules import, and no more. (`CpuPool.job` is the same function, and costs
 * each worker the whole of this package at its start.)
 */
import type { Schema } from "effect"

/** What is sent: a schema that needs no services. */
export type Codec<A> = Schema.Codec<A, any>

export interface Options<I, O, E> {
  /** What the job is given. */
  readonly input: Codec<I>
  /** What it comes to. */
  readonly output: Codec<O>
  /** How it may fail: what it throws is the caller's typed error where this schema has it for one of its own. Default: it may not. */
  readonly error?: Codec<E> | undefined
  /**
   * Worker threads only: whose bytes (`ArrayBuffer`s, and arrays that cover all of theirs) are handed over in place of being copied. Whoever
   * hands them over has them no longer. Default: nobody's.
   */
  readonly transfer?: "input" | "output" | "both" | undefined
}

export interface Job<I, O, E = never> extends Options<I, O, E> {
  readonly "~@fairlead/platform-node/CpuJob": true
  /** The URL of the module that exports it. */
  readonly module: string
  readonly name: string
  readonly run: (input: I) => O | PromiseLike<O>
}

/** A job of any type. */
export type Any = Job<any, any, any>

/**
 * Makes a job of the module at `module` (its `import.meta.url`), which must export it; there its name is its own. A job is done when `run`
 * returns, or when the promise that it returns is settled.
 */
export const make = <I, O, E = never>(
  module: string,
  name: string,
  options: Options<I, O, E>,
  run: (input: I) => O | PromiseLike<O>
): Job<I, O, E> => {
  if (!URL.canParse(module)) throw new TypeError(`Expected the URL of the job's module, import.meta.url, got ${module}`)
  if (name === "") throw new TypeError(`Expected a name for a job of ${module}, got none`)
  return { "~@fairlead/platform-node/CpuJob": true, module, name, ...options, run }
}

export const isJob = (value: unknown): value is Any =>
  typeof value === "object" && value !== null && "~@fairlead/platform-node/CpuJob" in value
