/**
 * A server under load, in one process with its callers, whose event loop is held in ways that the first argument names, one after the
 * other. Tells in lines of JSON what the monitor has told of each. `stopped` is what the test does to the process.
 */
import { Effect } from "effect"
import { pbkdf2Sync } from "node:crypto"
import { get, createServer } from "node:http"
import { Agent } from "node:http"
import type { AddressInfo } from "node:net"
import { getHeapStatistics } from "node:v8"
import * as EventLoopMonitor from "../../src/EventLoopMonitor.ts"

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const cpu = () => {
  const { system, user } = (process.threadCpuUsage ?? process.cpuUsage).call(process)
  return (user + system) / 1000
}

/** By the CPU and not by the clock: a machine that is busy with others makes it take longer, and is none of its doing. */
function crunch(millis: number) {
  for (const until = cpu() + millis; cpu() < until;);
}

const small = Effect.andThen(
  Effect.yieldNow,
  Effect.sync(() => void JSON.parse(`[${"1,".repeat(200)}1]`))
)

let next: Effect.Effect<void> = Effect.void

const server = createServer((_, response) => {
  const [work] = [next, (next = Effect.void)]
  void Effect.runPromise(Effect.andThen(small, work)).then(() => response.end("so"))
}).listen(0, "127.0.0.1")
await new Promise((resolve) => server.once("listening", resolve))
const agent = new Agent({ keepAlive: true })
const { port } = server.address() as AddressInfo
let answered = 0
let busy = true
const call = () =>
  void get({ port, agent, host: "127.0.0.1" }, (answer) =>
    answer.resume().on("end", () => {
      answered++
      if (busy) call()
    })
  ).on("error", () => {})

const prototype = Object.getPrototypeOf(Effect.runFork(Effect.void))
const { runLoop } = prototype

const told: Array<EventLoopMonitor.Alarm> = []

const report = async (name: string, more = () => ({})) => {
  // Some ticks of the monitor, however late they are: it tells two after.
  for (let i = 0; i < 4; i++) await sleep(30)
  console.log(JSON.stringify({ name, alarms: told.splice(0), ...more() }))
}

const handle = (work: () => unknown) => Effect.sync(work).pipe(Effect.withSpan("GET /report"))

/** The next call that comes does it; settles when that is done. */
const inCall = (work: Effect.Effect<void>) =>
  new Promise<void>((resolve) => {
    next = Effect.andThen(
      work,
      Effect.sync(() => resolve())
    )
  })

function report200() {
  crunch(200)
}

/** Six hundred fibers, each for a millisecond, in one callback of the loop. */
const crowd = Effect.suspend(() => {
  const resumes: Array<(effect: Effect.Effect<void>) => void> = []
  setTimeout(() => {
    for (const resume of resumes) resume(Effect.sync(() => crunch(1)))
  }, 20)
  const one = Effect.callback<void>((resume) => void resumes.push(resume))
  return Effect.forEach(Array.from({ length: 600 }), () => one, { concurrency: "unbounded", discard: true })
})

function endless() {
  for (const until = performance.now() + 900; performance.now() < until;);
}

function hash() {
  pbkdf2Sync("secret", "salt", 700_000, 64, "sha512")
  // Here it answers again.
  cpu()
}

/** Until a collection of the whole heap takes longer than the alarm; gives how long that was. */
const fillHeap = async (read: () => number): Promise<number> => {
  const kept: Array<object> = []
  let longest = 0
  while (longest < 130 && getHeapStatistics().used_heap_size < 1.5e9) {
    for (let part = 0; part < 30; part++) {
      for (let i = 0; i < 10_000; i++) kept.push({ i, next: kept[i - 1] })
      await sleep(0)
    }
    globalThis.gc?.()
    await sleep(60)
    longest = Math.max(longest, read())
  }
  return longest
}

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const monitor = yield* EventLoopMonitor.make({
        stuck: 500,
        onAlarm: (alarm) => Effect.sync(() => void told.push(alarm))
      })
      const statistics = () => Effect.runSync(monitor.statistics)
      yield* Effect.promise(async () => {
        for (let i = 0; i < 16; i++) call()
        await sleep(400)
        await report("start")
        const before = answered
        await sleep(600)
        await report("healthy", () => ({ answered: answered - before, statistics: statistics() }))
        await inCall(handle(report200))
        await report("held", () => ({ statistics: statistics() }))
        for (let i = 0; i < 2; i++) {
          await inCall(handle(hash))
          await report("native")
        }
        await inCall(crowd)
        await report("crowd", () => ({ statistics: statistics() }))
        await inCall(handle(endless))
        await report("stuck")
        await report("stop me")
        await sleep(600)
        await report("stopped")
        busy = false
        const pauseMillis = await fillHeap(() => statistics().gc.maxMillis)
        await report("collected", () => ({ pauseMillis }))
      })
    })
  )
)
agent.destroy()
server.close()
// Sockets take a turn to close.
await sleep(50)
console.log(
  JSON.stringify({
    name: "end",
    left: Object.getOwnPropertySymbols(globalThis)
      .map(String)
      .filter((it) => it.includes("EventLoopMonitor")),
    method: prototype.runLoop === runLoop,
    resources: process.getActiveResourcesInfo().filter((it) => !/Pipe|TTY|FSReq/.test(it))
  })
)
