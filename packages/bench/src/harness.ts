/**
 * A bench is data: parts of rows, rows of contenders; the first contender of a row is ours. `measure` runs the rounds.
 *
 * Each contender of each round runs in a process of its own (`child.ts`), with its warm-up inside. In one process, what
 * ran before decides what the next pays: the same loop sees other hidden classes and another heap. Six runs of one gate
 * at 10,000 waiting lay within 4 % in processes of their own and within 20–30 % in one, by what stood before it.
 */
import { fork } from "node:child_process"
import { order } from "./statistics.ts"

/** What one round of one contender gives; all contenders of a row give the same. */
export type Measure = Time | Space

export interface Time {
  /** Microseconds for each operation; for servers, of the CPU. */
  readonly micros: number
  /** Operations per second, where they do not follow from `micros`. */
  readonly perSecond?: number
}

export interface Space {
  /** Bytes on the heap for each thing that goes on, or that has ended. */
  readonly bytes: number
}

export interface Contender {
  readonly name: string
  /** `scale` multiplies the time to spend: 1, or less for a quick look. */
  readonly round: (scale: number) => Promise<Measure>
  /** An aim: ours is at least this many times as fast. */
  readonly atLeast?: number
  /** An aim: ours takes at most this many times the bytes. */
  readonly atMost?: number
  /** An aim for ours: it takes at most so many bytes. */
  readonly atMostBytes?: number
  /** An aim for ours: so many operations per second. */
  readonly atLeastPerSecond?: number
}

export interface Row {
  readonly name: string
  readonly contenders: ReadonlyArray<Contender>
}

/** A figure that takes more than two contenders, or more than one row; computed round by round. */
export interface Figure {
  readonly name: string
  readonly of: (micros: (row: string, contender: string) => number) => number
  readonly atMost: number
}

export interface Part {
  readonly name: string
  readonly rows: ReadonlyArray<Row>
  readonly figures?: ReadonlyArray<Figure>
  /** What a reader of its table has to know: a peer that is not there. */
  readonly notes?: ReadonlyArray<string>
}

/** One measure with its place in the run. */
export type Sample = Measure & {
  readonly row: string
  readonly contender: string
  readonly round: number
}

/** What a child process is asked to do. */
export interface Task {
  readonly part: string
  readonly row: string
  readonly contender: string
  readonly scale: number
}

/** Repeats `batch` (`count` operations each) for a warm-up and then for a measured while: microseconds per operation. */
export const perOperation = async (count: number, scale: number, batch: () => Promise<unknown>): Promise<Time> => {
  await repeat(300 * scale, batch)
  globalThis.gc?.()
  const { batches, millis } = await repeat(600 * scale, batch)
  return { micros: (millis * 1000) / (batches * count) }
}

const repeat = async (atLeastMillis: number, batch: () => Promise<unknown>) => {
  const start = performance.now()
  for (let batches = 1; ; batches++) {
    await batch()
    const millis = performance.now() - start
    if (millis >= atLeastMillis) return { batches, millis }
  }
}

/** What `start` gave, so that it stays. */
const kept: Array<unknown> = []

/**
 * Starts `count` things that go on, all in one go: bytes on the heap for each. `start` gives their handles once all of
 * them are under way, in an array, which counts as well (8 bytes each).
 */
export const perThing = async (
  count: number,
  start: (count: number) => Promise<ReadonlyArray<unknown>>
): Promise<Space> => {
  // What is made once (hidden classes, caches, code) is no part of it.
  kept.push(await start(1000))
  const before = await heapUsed()
  kept.push(await start(count))
  return { bytes: ((await heapUsed()) - before) / count }
}

/** Bytes on the heap once nothing is left that can be collected. */
export const heapUsed = async (): Promise<number> => {
  if (globalThis.gc === undefined) throw new Error("Expected node --expose-gc, got no gc()")
  // Once more after a turn of the event loop: finalizers and weak references let go there.
  for (let times = 0; times < 3; times++) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    globalThis.gc()
  }
  return process.memoryUsage().heapUsed
}

/** Runs one contender once, in a process of its own. */
const isolated = (task: Task): Promise<Measure> =>
  new Promise((resolve, reject) => {
    const child = fork(new URL("child.ts", import.meta.url), [JSON.stringify(task)], {
      execArgv: ["--expose-gc"],
      stdio: ["ignore", 2, 2, "ipc"]
    })
    let answer: Measure | undefined
    child.on("message", (message) => (answer = message as Measure))
    child.on("error", reject)
    child.on("exit", (code, signal) =>
      answer === undefined
        ? reject(new Error(`${task.row}, ${task.contender}: ended with ${code ?? signal} and no figure`))
        : resolve(answer)
    )
  })

/** All rows of a part, `rounds` times. A round goes through all rows, so that a slow minute hits them alike. */
export const measure = async (
  part: Part,
  options: { readonly rounds: number; readonly scale: number; readonly progress: (line: string) => void }
): Promise<ReadonlyArray<Sample>> => {
  const samples: Array<Sample> = []
  for (let round = 0; round < options.rounds; round++) {
    for (const row of part.rows) {
      for (const contender of order(row.contenders, round)) {
        const task = { part: part.name, row: row.name, contender: contender.name, scale: options.scale }
        const figures = await isolated(task)
        samples.push({ row: row.name, contender: contender.name, round, ...figures })
        const figure = "bytes" in figures ? `${figures.bytes.toFixed(1)} B` : `${figures.micros.toFixed(3)} µs`
        options.progress(`round ${round + 1}/${options.rounds}  ${row.name}  ${contender.name}  ${figure}`)
      }
    }
  }
  return samples
}
