/**
 * CPU-bound work in processes of its own (or in threads), so that the event loop goes on meanwhile.
 *
 *     pool.run(job, input) ──► line (a `Gate`: `size` permits) ──► a worker that is idle, or starts ──► output, or the job's own error
 *        │ no room, too late: Refused                                  │
 *        └ interrupted, past its deadline ───────────────────────────► is killed, and replaced
 *
 * A job is a child in its caller's scope: a computation heeds no signal, so whoever is interrupted while a worker computes for him ends
 * that process: SIGTERM, and SIGKILL when `grace` has passed. He goes on when it is gone, and so does no work of his behind his back. The
 * next in line does not wait for that: another worker is started at once.
 *
 * What goes to a worker and back is encoded by the job's schemas. An input that does not fit is a defect, and is not sent. What the job
 * throws is its typed error if it is one by its schema, and otherwise a defect with the stack that it had in the worker. A worker that
 * ends by itself fails its job alone (`WorkerCrashed`), and one that takes more memory than it may is ended (`OutOfMemory`). Nothing is
 * tried again: `Attempts` does that.
 *
 * Memory: so many workers, and a line as bounded as a gate's. Closing the scope ends all workers and interrupts those who wait for them.
 */
import { Gate, Registry, Wait } from "@fairlead/core"
import { Context, Data, Duration, Effect, Layer } from "effect"
import type { Refused } from "@fairlead/core"
import type { ByteSize, Scope } from "effect"
import { availableParallelism } from "node:os"
import type * as CpuJob from "./CpuJob.ts"
import { inherited } from "./internal/execArgv.ts"
import * as bytes from "./internal/bytes.ts"
import * as codec from "./internal/codec.ts"
import * as workerProcess from "./internal/workerProcess.ts"
import * as workerThread from "./internal/workerThread.ts"
import { Workers } from "./internal/workers.ts"
import type { Call, Lost, Snapshot } from "./internal/workers.ts"
import type { Answer, Start, Task, Thrown } from "./internal/worker.ts"

export { make as job } from "./CpuJob.ts"
export type { Any as AnyJob, Job } from "./CpuJob.ts"

/** A worker ended by itself before it had answered. */
export class WorkerCrashed extends Data.TaggedError("WorkerCrashed")<{
  readonly pool: string
  readonly job: string
  /** With what code it exited; `null` where a signal ended it, or it could not be started. */
  readonly code: number | null
  readonly signal: string | null
  /** The last 8 KiB that it wrote to stderr; of a thread, its error. */
  readonly stderr: string
  /** Whether it never came to take a job; several in a row have not. */
  readonly atStart: boolean
}> {
  override get message(): string {
    const { atStart, code, job, pool, signal, stderr } = this
    const how = signal ?? (code === null ? "no exit code" : `exit code ${code}`)
    const when = atStart ? `workers end at their start, and ${job} has none` : `its worker ended before ${job} was done`
    return `cpu pool ${pool}: ${when} (${how})${stderr === "" ? "" : `; it said:\n${stderr}`}`
  }
}

/** A worker took more memory than it may. */
export class OutOfMemory extends Data.TaggedError("OutOfMemory")<{
  readonly pool: string
  readonly job: string
  /** `null`: no limit of the pool's, but V8's own. */
  readonly limitBytes: number | null
  /** What it held; `null` where its heap was full, and what it held besides is not known. */
  readonly usedBytes: number | null
}> {
  override get message(): string {
    const of = this.limitBytes === null ? "what V8 gives it" : bytes.format(this.limitBytes)
    const used = this.usedBytes === null ? "its heap is full" : `it held ${bytes.format(this.usedBytes)}`
    return `cpu pool ${this.pool}: ${this.job} needs more memory than ${of} (${used})`
  }
}

export interface Options extends Omit<Gate.Options, "limit" | "store"> {
  /** How many work at once. Default: as many as there are cores for this process. */
  readonly size?: number | undefined
  /** `processes` can be killed and bounded whatever they do; `threads` start and answer faster, and share this process. Default: `processes`. */
  readonly mode?: "processes" | "threads" | undefined
  /**
   * How many workers are kept, whether or not there is work; above `size`, those are spares for workers that are killed. Default: 0; with
   * `warm`, `size`.
   */
  readonly ahead?: number | undefined
  /** Jobs whose modules each worker imports at its start. */
  readonly warm?: ReadonlyArray<CpuJob.Any> | undefined
  /** How long a worker beyond `ahead` stays with nothing to do. Default: for ever. */
  readonly idle?: Duration.Input | undefined
  /** Jobs after which a worker is replaced. Default: no end. */
  readonly maxJobs?: number | undefined
  /** How old a worker is that is replaced after its job. Default: any age. */
  readonly maxAge?: Duration.Input | undefined
  /** How long a worker that is told to stop may clean up. Default: 100 milliseconds. */
  readonly grace?: Duration.Input | undefined
  /**
   * What a worker may hold, its heap and all else; 192 MiB at least, since Node, Schema and this package take up to 160. Where there is no
   * `/proc`, and of threads (from 128 MiB on), it bounds the heap alone. Default: what V8 gives its heap.
   */
  readonly maxMemory?: ByteSize.Input | undefined
  /** Of workers. Default: this process's own. */
  readonly env?: NodeJS.ProcessEnv | undefined
  /** Options of Node's, of workers. Default: this process's own, but for those that debug, profile or evaluate. */
  readonly execArgv?: ReadonlyArray<string> | undefined
  /** Where processes run. Default: where this one does. */
  readonly cwd?: string | undefined
}

/** What becomes of a job, besides its own error. */
export type Failed = WorkerCrashed | OutOfMemory | Refused.Refused

export interface CpuPool {
  readonly name: string
  /**
   * Runs a job on a worker, and waits for what it comes to. Interrupting it takes it out of the line, or kills its worker and waits until
   * that is gone.
   */
  readonly run: <I, O, E>(job: CpuJob.Job<I, O, E>, input: I, ask?: Gate.Ask) => Effect.Effect<O, E | Failed>
  /** Who waits, for what, and for about how long; see `Gate.explain`. */
  readonly explain: Effect.Effect<ReadonlyArray<Gate.Explanation>>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** One consistent snapshot; plain data. The counts are since the pool was made. */
export interface Statistics extends Gate.Statistics {
  readonly mode: "processes" | "threads"
  readonly size: number
  /** Workers that ended by themselves, or for their memory. */
  readonly crashed: number
  /** Workers that were ended since nobody waited for their job any more. */
  readonly killed: number
  /** Workers that were replaced for their age, the number of their jobs, or what those had left in memory. */
  readonly recycled: number
  /** Jobs that are with a worker, or wait for one that starts. */
  readonly inHand: number
  readonly workers: ReadonlyArray<Snapshot>
}

/** What is wrong with a snapshot, as sentences; empty when all invariants hold. */
export const check = (self: Statistics): ReadonlyArray<string> => {
  const broken = [...Gate.check(self)]
  const expect = (holds: boolean, what: string) => {
    if (!holds) broken.push(`${self.name}: expected ${what}`)
  }
  const busy = self.workers.filter(({ state }) => state === "busy").length
  expect(busy <= self.inHand, `as many jobs as busy workers, got ${self.inHand} and ${busy}`)
  expect(self.inHand <= self.running, `a permit for each job, got ${self.running} for ${self.inHand}`)
  expect(busy <= self.size, `at most ${self.size} busy workers, got ${busy}`)
  return broken
}

/** Makes a pool that lives as long as the scope. */
export const make = (name: string, options: Options = {}): Effect.Effect<CpuPool, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { settings, size, start } = read(options)
    return yield* makeWith(name, options, size, start, settings)
  })

/** With workers of any make; for tests of a pool's own logic. */
export const makeWith = (
  name: string,
  options: Options,
  size: number,
  start: Start,
  settings: Omit<Workers["settings"], "start">
): Effect.Effect<CpuPool, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { mode = "processes" } = options
    const workers = yield* Effect.acquireRelease(
      Effect.withFiber((fiber) => Effect.succeed(new Workers({ ...settings, start }, fiber))),
      (workers) => workers.close
    )
    // It closes before the workers do.
    const gate = yield* Gate.make(name, { ...options, limit: size })
    const limitBytes = options.maxMemory === undefined ? null : bytes.from(options.maxMemory)
    const statistics = Effect.map(gate.statistics, (statistics): Statistics => {
      const { crashed, inHand, killed, recycled } = workers
      // To the gate, whoever gave his permit back before he was gone had completed.
      const completed = statistics.completed - killed
      const interrupted = statistics.interrupted + killed
      const ends = { completed, interrupted, crashed, killed, recycled }
      return { ...statistics, ...ends, mode, size, inHand, workers: workers.snapshot() }
    })
    yield* Registry.register("cpu", name, () => Effect.runSync(statistics))
    const run = <I, O, E>(job: CpuJob.Job<I, O, E>, input: I, ask?: Gate.Ask): Effect.Effect<O, E | Failed> =>
      Effect.suspend(() => {
        const task = taskOf(job, input)
        return gate.withPermit(
          (permit) =>
            Wait.on(onWorker(workers, { pool: name, limitBytes }, job, task, permit), `cpu pool ${name}: ${job.name}`),
          ask
        )
      })
    return { name, run, explain: gate.explain, statistics }
  })

/** The pool of the program. */
export class Current extends Context.Service<Current, CpuPool>()("@fairlead/platform-node/CpuPool") {}

/** The pool of the program, named `cpu` unless it is said. */
export const layer = ({ name = "cpu", ...options }: Options & { readonly name?: string } = {}): Layer.Layer<Current> =>
  Layer.effect(Current, make(name, options))

/** Runs a job on the program's pool; see `CpuPool.run`. */
export const run: {
  <I, O, E>(job: CpuJob.Job<I, O, E>): (input: I) => Effect.Effect<O, E | Failed, Current>
  <I, O, E>(job: CpuJob.Job<I, O, E>, input: I, ask?: Gate.Ask): Effect.Effect<O, E | Failed, Current>
} = function <I, O, E>(job: CpuJob.Job<I, O, E>, ...given: [] | [I, ask?: Gate.Ask | undefined]): any {
  // By their number: an input may be `undefined`.
  if (given.length === 0) return (input: I) => Current.use((pool) => pool.run(job, input))
  const [input, ask] = given
  return Current.use((pool) => pool.run(job, input as I, ask))
}

/** A pool that many modules share by its tag: the class is the tag. */
export interface ServiceClass<Self, Id extends string> extends Context.ServiceClass<Self, Id, CpuPool> {
  /** Makes the pool, named by the tag, for as long as the layer lives. */
  readonly layer: Layer.Layer<Self>
  readonly run: <I, O, E>(job: CpuJob.Job<I, O, E>, input: I, ask?: Gate.Ask) => Effect.Effect<O, E | Failed, Self>
}

/** `class Images extends CpuPool.Service<Images>()("app/Images", { size: 2 }) {}`; then `Images.run(resize, image)`. */
export const Service =
  <Self>() =>
  <const Id extends string>(id: Id, options: Options = {}): ServiceClass<Self, Id> => {
    const tag = Context.Service<Self, CpuPool>()(id)
    return Object.assign(tag, {
      layer: Layer.effect(tag, make(id, options)),
      run: <I, O, E>(job: CpuJob.Job<I, O, E>, input: I, ask?: Gate.Ask) => tag.use((pool) => pool.run(job, input, ask))
    })
  }

// --- one job -------------------------------------------------------------------------------------------------------------

interface Place {
  readonly pool: string
  readonly limitBytes: number | null
}

const taskOf = (job: CpuJob.Any, input: unknown): Task => {
  const { encode, bytes: mayHoldBytes } = codec.of(job.input)
  const { module, name, transfer } = job
  try {
    return {
      module,
      name,
      input: encode(input),
      bytes: mayHoldBytes,
      transfer: transfer === "input" || transfer === "both"
    }
  } catch (cause) {
    throw new TypeError(`Expected an input of job ${name}'s schema: ${(cause as Error).message}`, { cause })
  }
}

const onWorker = (
  workers: Workers,
  place: Place,
  job: CpuJob.Any,
  task: Task,
  permit: Gate.Permit
): Effect.Effect<any, any> =>
  Effect.callback((resume) => {
    const call: Call = {
      task,
      answered: (answer) => resume(outcome(job, place, answer)),
      lost: (lost) => resume(failure(job, place, lost))
    }
    workers.begin(call)
    // Another may have its place while the worker is on its way out.
    return workers.leave(call, () => permit.release())
  })

const outcome = (job: CpuJob.Any, { pool }: Place, { _tag, value }: Answer): Effect.Effect<unknown, unknown> => {
  if (_tag === "Threw") return Effect.die(rebuilt(job, pool, value))
  try {
    if (_tag === "Done") return Effect.succeed(codec.of(job.output).decode(value))
    return Effect.fail(codec.of(job.error!).decode(value))
  } catch (cause) {
    return Effect.die(
      new TypeError(`Expected an answer of job ${job.name}'s schema: ${(cause as Error).message}`, { cause })
    )
  }
}

const failure = (job: CpuJob.Any, { limitBytes, pool }: Place, lost: Lost): Effect.Effect<never, unknown> => {
  switch (lost._tag) {
    case "Closed":
      return Effect.interrupt
    case "Unsent":
      return Effect.die(new TypeError(`Expected an input that can be sent to job ${job.name}`, { cause: lost.cause }))
    case "OutOfMemory":
      return Effect.fail(new OutOfMemory({ pool, job: job.name, limitBytes, usedBytes: lost.usedBytes ?? null }))
    case "Crashed": {
      const { code, signal, stderr } = lost.end
      return Effect.fail(new WorkerCrashed({ pool, job: job.name, code, signal, stderr, atStart: lost.atStart }))
    }
  }
}

/** What a job threw, with the stack that it had there. */
const rebuilt = (job: CpuJob.Any, pool: string, { message, name, stack }: Thrown): Error => {
  const error = new Error(message)
  error.name = name
  error.stack = `${stack === "" ? `${name}: ${message}` : stack}\n    in job ${job.name} of cpu pool ${pool}`
  return error
}

// --- options -------------------------------------------------------------------------------------------------------------

/** What Node, and what jobs import, take of a worker's memory beside its heap. */
const beside = 96 * 1024 * 1024
const leastMegabytes = { processes: 192, threads: 128 }

const read = (options: Options) => {
  const { cwd, env = process.env, execArgv, maxJobs = Infinity, maxMemory, mode = "processes", warm = [] } = options
  const size = count("size", options.size ?? availableParallelism(), 1)
  const memory = maxMemory === undefined ? undefined : bytes.from(maxMemory)
  const least = leastMegabytes[mode]
  if (memory !== undefined && !(memory >= least * 1024 * 1024))
    throw new RangeError(`Expected maxMemory of ${mode} to be at least ${least} MiB, got ${memory} bytes`)
  const modules = [...new Set(warm.map(({ module }) => module))]
  const ahead = count("ahead", options.ahead ?? (warm.length > 0 ? size : 0), 0)
  const threads = mode === "threads"
  if (threads && cwd !== undefined)
    throw new TypeError(`Expected no cwd of threads, which have that of their process; got ${cwd}`)
  const megabytes = (size: number) => Math.floor(size / 1024 / 1024)
  const start = threads
    ? workerThread.starter({
        maxHeapMegabytes: memory === undefined ? undefined : megabytes(memory),
        execArgv,
        env,
        warm: modules
      })
    : workerProcess.starter({
        // Else what it has not collected yet would count against it.
        maxHeapMegabytes: memory === undefined ? undefined : megabytes(Math.max(memory - beside, memory / 2)),
        execArgv: execArgv ?? inherited(process.execArgv),
        env,
        cwd,
        warm: modules
      })
  return {
    size,
    start,
    settings: {
      most: Math.max(size, ahead),
      ahead,
      maxJobs: maxJobs === Infinity ? maxJobs : count("maxJobs", maxJobs, 1),
      maxAgeMillis: time("maxAge", options.maxAge ?? Infinity),
      idleMillis: time("idle", options.idle ?? Infinity),
      graceMillis: time("grace", options.grace ?? 100),
      maxRssBytes: threads ? Infinity : (memory ?? Infinity)
    }
  }
}

const count = (what: string, value: number, least: number): number => {
  if (Number.isInteger(value) && value >= least) return value
  throw new RangeError(`Expected ${what} to be a whole number from ${least} on, got ${value}`)
}

const time = (what: string, input: Duration.Input): number => {
  const millis = Duration.toMillis(input)
  if (millis >= 0) return millis
  throw new RangeError(`Expected ${what} to be 0 or more, got ${String(input)}`)
}
