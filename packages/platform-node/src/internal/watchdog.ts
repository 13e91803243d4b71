/**
 * A thread that watches the main one: while that gets on, a number in shared memory grows; when it stands still, the thread has the main one
 * look at itself.
 *
 *     main       1 2 3 4 4 4 4 4 4 4 4 5      the number
 *     watchdog   · · · · · · ? ? ? ? ? ·      ?: `look` is called, in the midst of what the main thread does
 *
 * It asks through the inspector, whose messages V8 serves where it looks for interrupts: at each function that is entered and each loop that
 * comes round. So a busy main thread tells its own stack, and one that gets on is not touched. Native code (`JSON.parse`) is deaf: it
 * answers when it is over.
 */
import { isMainThread, Worker } from "node:worker_threads"

export interface Options {
  /** How often it looks. */
  readonly everyMillis: number
  /** How long the number stands still until it asks. */
  readonly patienceMillis: number
  /** After so long it tells standard error where the main thread stands, once: nobody else could. `Infinity`: never. */
  readonly stuckMillis: number
  /**
   * Called on the main thread, in the midst of what that does, at any function call: it must be quick, not throw, and change nothing. What it
   * gives back is what standard error is told. `lateMillis`: how long ago the watchdog has asked.
   */
  readonly look: (lateMillis: number) => string
}

export interface Watchdog {
  /** The main thread gets on. */
  beat(): void
  /** How long the whole process was stopped, in all. */
  readonly pausedMillis: number
  /** Whether it has begun to watch. */
  readonly watches: boolean
  stop(): Promise<void>
}

/** In milliseconds: that of the machine, the same in every thread. `performance.now` counts from a thread's start. */
const clock = () => Number(process.hrtime.bigint()) / 1e6

const looks = Symbol.for("@fairlead/platform-node/EventLoopMonitor/looks")
const looksOf = (): Record<number, () => string> => ((globalThis as any)[looks] ??= {})
let last = 0

/** There is one main thread, and from any other it cannot be seen what that does: there, nobody watches. */
export const start = (options: Options): Watchdog => {
  const memory = new SharedArrayBuffer(32)
  const counts = new Int32Array(memory, 0, 4)
  const times = new Float64Array(memory, 16, 2)
  if (!isMainThread) return { beat() {}, pausedMillis: 0, watches: false, stop: async () => {} }
  const id = ++last
  looksOf()[id] = () => options.look(clock() - times[0]!)
  const { everyMillis, patienceMillis, stuckMillis } = options
  const expression = `globalThis[Symbol.for(${JSON.stringify(looks.description)})]?.[${id}]?.()`
  const worker = new Worker(`(${watch})()`, {
    eval: true,
    execArgv: [],
    env: {},
    workerData: { memory, everyMillis, patienceMillis, stuckMillis, expression },
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 1 }
  })
  worker.unref()
  // Without it the loop is still measured; only nobody says who holds it.
  worker.on("error", () => {})
  return {
    beat() {
      counts[0]!++
    },
    get pausedMillis() {
      return times[1]!
    },
    get watches() {
      return counts[1] === 1
    },
    async stop() {
      delete looksOf()[id]
      if (Object.keys(looksOf()).length === 0) delete (globalThis as any)[looks]
      await worker.terminate()
    }
  }
}

/** Runs in the worker, from its own source: it sees nothing of this module, and a worker that loads none starts in half the time. */
const watch = () => {
  const { workerData } = process.getBuiltinModule("node:worker_threads")
  const { Session } = process.getBuiltinModule("node:inspector")
  const { writeSync } = process.getBuiltinModule("node:fs")
  const { everyMillis, expression, memory, patienceMillis, stuckMillis } = workerData
  const counts = new Int32Array(memory, 0, 4)
  const times = new Float64Array(memory, 16, 2)
  const clock = () => Number(process.hrtime.bigint()) / 1e6
  const session = new Session()
  session.connectToMainThread()
  // A thread that sleeps is woken in time unless the whole process is stopped: a signal, a virtual machine that is moved, a quota that is spent.
  const paused = 60
  let seen = -1
  let since = clock()
  let came = since
  let asking = false
  let told = false
  const tell = (millis: number, where: string) => {
    told = true
    try {
      writeSync(2, `The event loop stands still since ${(millis / 1000).toFixed(1)} s, in ${where}\n`)
    } catch {
      // Nobody reads it.
    }
  }
  setInterval(() => {
    const now = clock()
    const late = now - came - everyMillis
    came = now
    if (late > paused) times[1]! += late
    if (counts[0] !== seen) {
      seen = counts[0]!
      since = now
      told = false
    } else if (now - since >= patienceMillis && !asking) {
      asking = true
      times[0] = now
      const asked = seen
      session.post("Runtime.evaluate", { expression, returnByValue: true }, (_, answer: any) => {
        asking = false
        const where = answer?.result?.value
        const millis = clock() - since
        if (!told && millis >= stuckMillis && where && seen === asked) tell(millis, where)
      })
    }
  }, everyMillis)
  counts[1] = 1
}
