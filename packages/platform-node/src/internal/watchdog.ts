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
   * gives back is what standard error is told. `lateMillis`: how long ago the watchdog has asked; `lostThen`: how long this thread had stood in line for the CPU by
   * then, where Linux counts that.
   */
  readonly look: (lateMillis: number, lostThen: number | undefined) => string
}

export interface Watchdog {
  /** The main thread gets on. Gives for how many milliseconds it had not, if the watchdog has come by meanwhile, and else 0. On the hot path. */
  beat(): number
  /** How long it was not woken when it should have been, in all: then the machine did other things. */
  readonly missedMillis: number
  /** Whether it has begun to watch. */
  readonly watches: boolean
  stop(): Promise<void>
}

/** In milliseconds: that of the machine, the same in every thread. `performance.now` counts from a thread's start. */
const clock = () => Number(process.hrtime.bigint()) / 1e6

const looks = Symbol.for("@fairlead/platform-node/EventLoopMonitor/looks")
const looksOf = (): Record<number, () => string> => ((globalThis as any)[looks] ??= {})
let last = 0

/** The name of the script in which it asks: what is on the stack above that is its own. */
export const askedBy = "fairlead:watchdog"

/** There is one main thread, and from any other it cannot be seen what that does: there, nobody watches. */
export const start = (options: Options): Watchdog => {
  const memory = new SharedArrayBuffer(56)
  const counts = new Int32Array(memory, 0, 4)
  const times = new Float64Array(memory, 16, 5)
  if (!isMainThread) return { beat: () => 0, missedMillis: 0, watches: false, stop: async () => {} }
  const id = ++last
  counts[3] = -1
  const standsStill = () => counts[3] === counts[0]
  looksOf()[id] = () =>
    // Native code answers when it is over, and then somebody else may run.
    standsStill() ? options.look(clock() - times[0]!, times[3]! < 0 ? undefined : times[3]!) : ""
  const { everyMillis, patienceMillis, stuckMillis } = options
  const expression = `globalThis[Symbol.for(${JSON.stringify(looks.description)})]?.[${id}]?.() //# sourceURL=${askedBy}`
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
      const stoodMillis = standsStill() ? clock() - times[4]! : 0
      counts[0]!++
      return stoodMillis
    },
    get missedMillis() {
      // What it misses now it will only count when it comes to run.
      return counts[1] === 1 ? times[1]! + Math.max(0, clock() - times[2]! - 2 * everyMillis) : 0
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
  const { openSync, readSync, writeSync } = process.getBuiltinModule("node:fs")
  const { everyMillis, expression, memory, patienceMillis, stuckMillis } = workerData
  // The number; whether it watches; nothing, to wait for; the number when it last came by.
  const counts = new Int32Array(memory, 0, 4)
  // When it asked; what it has missed; when it came last; what the main thread had lost when it asked; since when that stood still.
  const times = new Float64Array(memory, 16, 5)
  const clock = () => Number(process.hrtime.bigint()) / 1e6
  const session = new Session()
  const buffer = Buffer.alloc(128)
  let file: number | undefined
  try {
    // The main thread has the number of the process.
    file = openSync(`/proc/self/task/${process.pid}/schedstat`, "r")
  } catch {
    // Another system.
  }
  const lost = () => {
    if (file === undefined) return -1
    return Number(buffer.toString("latin1", 0, readSync(file, buffer, 0, 128, 0)).split(" ")[1]) / 1e6
  }
  let seen = -1
  /** When it was last seen to get on, without what the watchdog has missed since. */
  let since = clock()
  let came = since
  times[2] = since
  times[4] = since
  let told = false
  const come = () => {
    const now = clock()
    const late = now - came - everyMillis
    came = now
    if (late > everyMillis) {
      times[1]! += late
      since += late
    }
    times[2] = now
    return now
  }
  const tell = (where: string) => {
    told = true
    try {
      writeSync(2, `The event loop stands still since ${((clock() - since) / 1000).toFixed(1)} s, in ${where}\n`)
    } catch {
      // Nobody reads it.
    }
  }
  const ask = (now: number) => {
    times[0] = now
    times[3] = lost()
    // The answer comes by this thread's own loop.
    const coming = setInterval(come, everyMillis)
    // For each question anew: a process that ends while somebody is connected says that it waits for a debugger.
    session.connectToMainThread()
    session.post("Runtime.evaluate", { expression, returnByValue: true }, (_, answer: any) => {
      clearInterval(coming)
      session.disconnect()
      const where = answer?.result?.value
      if (!told && where && counts[0] === seen && clock() - since >= stuckMillis) tell(where)
      setImmediate(wait)
    })
  }
  /** Until it stands still. Timers of a loop would take three times the CPU, and this is all that it does in an idle process. */
  const wait = () => {
    for (;;) {
      const before = came
      Atomics.wait(counts, 2, 0, everyMillis)
      const now = come()
      if (counts[0] === seen) {
        if (now - since >= patienceMillis) return ask(now)
      } else {
        seen = counts[0]!
        since = now
        // Or somewhat later: rather too long than not told.
        times[4] = before
        told = false
        // Last: who finds it, finds the time, too.
        Atomics.store(counts, 3, seen)
      }
    }
  }
  counts[1] = 1
  wait()
}
