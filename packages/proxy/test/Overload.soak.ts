/**
 * What the simulation of `packages/core/test/Overload.test.ts` shows, for real: a server on a socket, whose capacity is
 * slots times a timed service; three and ten times of what it can serve, for half a minute; once straight to it, and once
 * through the proxy.
 *
 * `pnpm soak` runs it; SOAK_SECONDS says how long the overload lasts.
 */
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import * as http from "node:http"
import { quantile } from "../../core/test/overload/scenario.ts"
import { Upstream } from "../../core/test/overload/upstream.ts"
import type { Time } from "../../core/test/overload/upstream.ts"
import { call, withProxy } from "./support.ts"

const seconds = Number(process.env["SOAK_SECONDS"] ?? 30)
const slots = 10
const serviceMillis = 200
const capacity = (slots / serviceMillis) * 1000
const budgetMillis = 2000
/** Before and after, callers come at half the capacity. */
const calmSeconds = 5

const time: Time = {
  get now() {
    return performance.now()
  },
  at: (at, task) => setTimeout(task, at - performance.now()),
  chance: () => Math.random
}

interface Call {
  readonly urgent: boolean
  /** Milliseconds since the beginning. */
  readonly arrived: number
  /** Until the whole answer was there; Infinity if it was not within the budget, or was no answer of the upstream. */
  readonly took: number
  readonly status: number | "cut"
}

/** Urgent callers at half their share, all others at what is missing to `multiple`, as Poisson processes. */
const load = (url: string, multiple: number) =>
  Effect.gen(function* () {
    const agent = new http.Agent({ keepAlive: true })
    const began = performance.now()
    const calls: Array<Call> = []
    const one = (urgent: boolean) =>
      Effect.gen(function* () {
        const arrived = performance.now()
        const headers = { priority: `u=${urgent ? 0 : 4}`, "x-request-timeout-ms": String(budgetMillis) }
        const answer = yield* call(url, { agent, headers }).pipe(
          Effect.timeoutOption(budgetMillis),
          Effect.orElseSucceed(() => ({ _tag: "None" }) as const)
        )
        const status = answer._tag === "None" ? "cut" : answer.value.status
        const took = status === 200 ? performance.now() - arrived : Infinity
        calls.push({ urgent, arrived: arrived - began, took, status })
      })
    const callers = (urgent: boolean, part: (second: number) => number) =>
      Effect.gen(function* () {
        const running = []
        let at = 0
        for (;;) {
          const second = at / 1000
          if (second > calmSeconds + seconds + calmSeconds) break
          at += (-Math.log(1 - Math.random()) * 1000) / (capacity * part(second))
          const rest = began + at - performance.now()
          if (rest > 0) yield* Effect.sleep(rest)
          running.push(yield* Effect.forkChild(one(urgent), { startImmediately: true }))
        }
        for (const fiber of running) yield* Fiber.join(fiber)
      })
    const loud = (second: number) => second >= calmSeconds && second < calmSeconds + seconds
    yield* Effect.all(
      [callers(true, () => 0.25), callers(false, (second) => (loud(second) ? multiple - 0.25 : 0.25))],
      { concurrency: "unbounded" }
    )
    agent.destroy()
    return calls
  })

const measure = (calls: ReadonlyArray<Call>) => {
  const [from, to] = [calmSeconds * 1000, (calmSeconds + seconds) * 1000]
  const during = calls.filter(({ arrived }) => arrived >= from && arrived < to)
  const urgent = (those: ReadonlyArray<Call>) => those.filter(({ urgent }) => urgent).map(({ took }) => took)
  const answered = calls.filter(({ arrived, took }) => arrived + took >= from && arrived + took < to)
  const late = calls.filter(({ arrived, took }) => arrived >= to && took > 5 * serviceMillis)
  const statuses: Record<string, number> = {}
  for (const { status } of during) statuses[status] = (statuses[status] ?? 0) + 1
  return {
    goodput: answered.length / (capacity * seconds),
    p50: quantile(urgent(during), 0.5),
    p99: quantile(urgent(during), 0.99),
    normalAgain: Math.max(0, ...late.map(({ arrived }) => (arrived - to) / 1000)),
    statuses
  }
}

const millis = (value: number) => (value === Infinity ? "never" : `${value.toFixed(0)} ms`)

describe("overload", () => {
  const rows: Array<Record<string, string>> = []
  const note = (name: string, result: ReturnType<typeof measure>) => {
    rows.push({
      load: name,
      goodput: `${(result.goodput * 100).toFixed(0)} %`,
      "urgent p50": millis(result.p50),
      "urgent p99": millis(result.p99),
      "normal after": `${result.normalAgain.toFixed(1)} s`,
      answers: JSON.stringify(result.statuses)
    })
    return result
  }

  const run = (multiple: number, through: "proxy" | "direct") =>
    Effect.gen(function* () {
      const upstream = new Upstream(time, { slots, serviceMillis })
      let result: ReturnType<typeof measure> | undefined
      yield* withProxy(
        (_, response) => {
          const served = Effect.runFork(
            Effect.andThen(
              upstream.call,
              Effect.sync(() => void response.end("served"))
            )
          )
          response.on("close", () => served.interruptUnsafe())
        },
        {
          upstream: {
            concurrency: slots,
            queue: { items: 25, bytes: 1024 * 1024, wait: Duration.seconds(2), overflow: "evictLeast" }
          }
        },
        ({ proxy, upstream: { port } }) =>
          Effect.gen(function* () {
            const url = through === "proxy" ? `${proxy.url}/` : `http://127.0.0.1:${port}/`
            result = measure(yield* load(url, multiple))
          })
      )
      return note(`${multiple}×, ${through === "proxy" ? "through the proxy" : "straight to it"}`, result!)
    })

  it.live(`of 3× and 10× for ${seconds} s leaves the goodput, the urgent, and what comes after as they were`, () =>
    Effect.gen(function* () {
      const calm = yield* run(0.5, "proxy")
      const results = []
      for (const multiple of [3, 10]) {
        yield* run(multiple, "direct")
        results.push(yield* run(multiple, "proxy"))
      }
      console.table(rows)
      for (const result of results) {
        expect(result.goodput).toBeGreaterThanOrEqual(0.9)
        expect(result.p99).toBeLessThan(2 * calm.p99)
        expect(result.normalAgain).toBeLessThanOrEqual(2)
      }
    })
  )
})
