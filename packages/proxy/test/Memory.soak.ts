/**
 * Many clients that upload at once, through a proxy in a process of its own, to an upstream that takes four calls at a time: what the
 * process takes without a guard, and with one; who gets through; and whether it comes to rest.
 *
 * `pnpm soak` runs it; SOAK_CLIENTS says how many clients there are.
 */
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { fork } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import * as http from "node:http"
import * as path from "node:path"
import { serve } from "./support.ts"

const clients = Number(process.env["SOAK_CLIENTS"] ?? 2000)
const mib = 1024 * 1024
const content = Buffer.alloc(mib / 4)

/** The proxy's process, until the scope closes. */
const start = (url: string, memory: object | undefined) =>
  Effect.acquireRelease(
    Effect.callback<readonly [ChildProcess, string]>((resume) => {
      const file = path.join(import.meta.dirname, "programs/memory.ts")
      const child = fork(file, [url, JSON.stringify({ memory })], { stdio: ["ignore", "ignore", "inherit", "ipc"] })
      child.once("message", ({ port }: any) => resume(Effect.succeed([child, `http://127.0.0.1:${port}/up/`])))
    }),
    ([child]) =>
      Effect.callback<void>((resume) => {
        child.once("exit", () => resume(Effect.void))
        child.disconnect()
      })
  )

const ask = (child: ChildProcess) =>
  Effect.callback<any>((resume) => {
    child.once("message", (message) => resume(Effect.succeed(message)))
    child.send("statistics")
  })

/** A client that sends what the proxy takes of it; gives the status of its answer and how long it took. */
const upload = (url: string, urgency: number) =>
  new Promise<readonly [status: number | "cut", millis: number, retryAfter: boolean]>((resolve) => {
    const began = performance.now()
    const headers = { "content-length": content.length, priority: `u=${urgency}` }
    const end = (status: number | "cut", retryAfter = false) => resolve([status, performance.now() - began, retryAfter])
    http
      .request(url, { method: "POST", headers, agent: false })
      .on("response", (response) => {
        end(response.statusCode!, response.headers["retry-after"] !== undefined)
        response.resume()
      })
      .on("error", () => end("cut"))
      .end(content)
  })

const storm = (memory: object | undefined) =>
  Effect.gen(function* () {
    const port = yield* serve((request, response) => {
      request.resume().on("end", () => setTimeout(() => response.end("ok"), 10))
    })
    const [child, url] = yield* start(`http://127.0.0.1:${port}`, memory)
    yield* Effect.promise(() => upload(url, 3))
    const before = (yield* ask(child)).rss
    let most = 0
    let usedBytes = 0
    const watch = Effect.gen(function* () {
      const { memory, rss } = yield* ask(child)
      most = Math.max(most, rss)
      usedBytes = Math.max(usedBytes, memory?.budget.usedBytes ?? 0)
      yield* Effect.sleep(20)
    })
    yield* Effect.forkScoped(Effect.forever(watch))
    const all: Array<Promise<readonly [number | "cut", number, boolean]>> = []
    const urgent: typeof all = []
    for (let i = 0; i < clients; i++) {
      all.push(upload(url, 5))
      if (i % 100 === 99) {
        urgent.push(upload(url, 0))
        yield* Effect.sleep(5)
      }
    }
    const answers = yield* Effect.promise(() => Promise.all(all))
    const urgentOnes = yield* Effect.promise(() => Promise.all(urgent))
    yield* Effect.sleep(200)
    const end = yield* ask(child)
    const count = (status: number) => answers.filter(([got]) => got === status).length
    const urgentMillis = urgentOnes.map(([, millis]) => millis).toSorted((a, b) => a - b)
    console.log(
      `${memory === undefined ? "no guard" : JSON.stringify(memory)}: ${clients} clients of ${content.length / 1024} KiB: ` +
        `RSS ${Math.round(before / mib)} → ${Math.round(most / mib)} MiB, ` +
        `${count(200)} × 200, ${count(503)} × 503, ${answers.filter(([got]) => got === "cut").length} cut; ` +
        `${urgentOnes.filter(([got]) => got === 200).length} of ${urgentOnes.length} urgent, ` +
        `${Math.round(urgentMillis[urgentMillis.length >> 1]!)} ms at the median; budget ${Math.round(usedBytes / 1024)} KiB at most`
    )
    return { grown: (most - before) / mib, end, urgent: urgentOnes, answers, usedBytes }
  }).pipe(Effect.scoped)

describe("a storm of uploads", () => {
  it.live(
    "takes what the budget allows, beside what connections cost; the urgent get through, and it comes to rest",
    () =>
      Effect.gen(function* () {
        const free = yield* storm(undefined)
        const memory = { tight: 0.75, critical: 0.9, budget: 16 * mib }
        const guarded = yield* storm(memory)
        expect(guarded.usedBytes).toBeLessThanOrEqual(16 * mib)
        expect(guarded.grown).toBeLessThan(free.grown / 2)
        expect(guarded.urgent.every(([status]) => status === 200)).toBe(true)
        const refused = guarded.answers.filter(([status]) => status === 503)
        expect(refused.length).toBeGreaterThan(0)
        // Before it is known how fast the queue drains there is nothing to say.
        expect(refused.filter(([, , retryAfter]) => retryAfter).length).toBeGreaterThan(refused.length / 2)
        expect(guarded.end.memory).toMatchObject({ level: "calm", budget: { usedBytes: 0 } })
        expect(guarded.end.gate).toMatchObject({ running: 0, waiting: 0, waitingBytes: 0 })
      }),
    { timeout: 600_000 }
  )
})
