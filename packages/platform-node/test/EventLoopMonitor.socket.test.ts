import { spawn } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { afterAll, beforeAll, describe, expect, it } from "@effect/vitest"
import { setTimeout as sleep } from "node:timers/promises"
import type { Alarm, Statistics } from "../src/EventLoopMonitor.ts"

interface Told {
  readonly name: string
  readonly alarms: ReadonlyArray<Alarm>
  readonly statistics: Statistics
  readonly answered: number
  readonly pauseMillis: number
}

const program = join(import.meta.dirname, "programs/holding.ts")
const lines = readFileSync(program, "utf8").split("\n")
const place = (text: string) => `programs/holding.ts:${lines.findIndex((line) => line.includes(text)) + 1}`

/** All of it in one process: each start of one takes as long as what is told here. */
describe("the event loop of a server under load", () => {
  let child: ChildProcess
  let code: number | null
  let said = ""
  const told = new Map<string, Array<Told>>()
  const only = (name: string): Told => {
    expect(told.get(name)).toHaveLength(1)
    return told.get(name)![0]!
  }

  beforeAll(async () => {
    child = spawn(process.execPath, ["--expose-gc", program], {
      stdio: ["ignore", "pipe", "pipe"],
      cwd: import.meta.dirname
    })
    child.stderr!.on("data", (chunk) => (said += chunk))
    const closed = once(child, "close")
    for await (const line of createInterface(child.stdout!)) {
      const it: Told = JSON.parse(line)
      told.set(it.name, [...(told.get(it.name) ?? []), it])
      if (it.name !== "stop me") continue
      child.kill("SIGSTOP")
      await sleep(400)
      child.kill("SIGCONT")
    }
    ;[code] = await closed
  }, 60_000)
  afterAll(() => void child.kill("SIGKILL"))

  it("is held by nobody while the program starts and while it is busy with many calls", () => {
    expect(only("start").alarms).toEqual([])
    const { alarms, answered, statistics } = only("healthy")
    expect(alarms).toEqual([])
    expect(answered).toBeGreaterThan(100)
    expect(statistics.utilization).toBeGreaterThan(0.2)
    expect(statistics.utilization).toBeLessThanOrEqual(1)
    expect(statistics.iterationsPerSecond).toBeGreaterThan(0)
    expect(statistics.eventsPerIteration).toBeGreaterThan(0)
    expect(statistics.gc.pauses).toBeGreaterThan(0)
  })

  it("is held by the function that runs for 200 ms, told once, with its place, its span and its duration", () => {
    const { alarms, statistics } = only("held")
    expect(alarms).toEqual([
      {
        function: "crunch",
        place: place("cpu() < until"),
        span: "GET /report",
        count: 1,
        millis: expect.any(Number),
        at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
      }
    ])
    expect(alarms[0]!.millis).toBeGreaterThan(170)
    expect(alarms[0]!.millis).toBeLessThan(230)
    expect(statistics.alarms).toEqual(alarms)
    expect(statistics.delayMillis.max).toBeGreaterThan(150)
  })

  it("is held by nobody while many fibers run for a moment each, however long they take together", () => {
    const { alarms, statistics } = only("crowd")
    expect(alarms).toEqual([])
    expect(statistics.delayMillis.max).toBeGreaterThan(500)
    // Nor does it stand still.
    expect(said).not.toMatch(/in crunch \([^)]*\)$/m)
  })

  it("is held by native code, which is told with its caller at first, and by its name from then on", () => {
    const [first, second] = told.get("native")!.map(({ alarms }) => alarms)
    expect(first).toMatchObject([{ function: "hash calling native code", span: "GET /report" }])
    expect(second).toMatchObject([{ function: "hash calling pbkdf2Sync", place: place("function hash") }])
  })

  it("stands still for long, which is told while it does, once, by whoever can", () => {
    const lines = said.trim().split("\n")
    expect(
      lines.filter((line) =>
        /^The event loop stands still since \d\.\d s, in endless \(programs\/holding\.ts:\d+\), in span GET \/report$/.test(
          line
        )
      )
    ).toHaveLength(1)
  })

  it("is held by nobody while the process is stopped", () => {
    expect(only("stop me").alarms).toEqual([])
    expect(only("stopped").alarms).toEqual([])
  })

  it("is held by nobody while the collector runs, which is told as such", () => {
    const { alarms, pauseMillis } = only("collected")
    expect(alarms).toEqual([])
    expect(pauseMillis).toBeGreaterThan(100)
  })

  it("ends with its process at once, without a word", async () => {
    const exiting = spawn(process.execPath, [join(import.meta.dirname, "programs/exiting.ts")], {
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    for (const stream of [exiting.stdout, exiting.stderr]) stream.on("data", (chunk) => (output += chunk))
    expect(await once(exiting, "close")).toEqual([7, null])
    expect(output).toBe("")
  })

  it("is left as it was, and the process ends by itself", () => {
    expect(only("end")).toEqual({ name: "end", left: [], method: true, resources: [] })
    expect(code).toBe(0)
  })
})
