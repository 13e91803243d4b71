/**
 * Everything at once, for a long time: callers that are patient, urgent, late, slow to send, or gone before their turn,
 * before an upstream that is quick, slow, large, broken, has enough or asks for a pause, with a limit that adapts to it and
 * a queue that evicts. Afterwards nothing may be left, no rate exceeded.
 *
 * `pnpm soak` runs it for a minute; SOAK_SECONDS says otherwise.
 */
import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { call, withProxy } from "./support.ts"

const seconds = Number(process.env["SOAK_SECONDS"] ?? 60)
const limit = 400
const large = Buffer.alloc(1_000_000, "x")

const below = (n: number) => Math.floor(Math.random() * n)

describe("a proxy in use", () => {
  it.live(`holds for ${seconds} s of everything at once`, () => {
    const sent: Array<number> = []
    const statuses = new Map<number | string, number>()
    return withProxy(
      (request, response) => {
        request.resume()
        switch (request.url!.split("?")[0]) {
          case "/slow":
            return void setTimeout(() => response.end("slow"), below(200))
          case "/large":
            return void response.end(large)
          case "/broken":
            response.writeHead(200, { "content-length": 100 })
            return void response.write("half", () => response.destroy())
          case "/stream":
            response.write("one")
            return void setTimeout(() => response.end("two"), below(400))
          case "/enough":
            return void response.writeHead(503).end()
          case "/pause":
            return void response.writeHead(429, { "retry-after-ms": below(500) }).end()
          default:
            return void response.end("quick")
        }
      },
      {
        upstream: {
          concurrency: { adaptive: { min: 5, max: 40, limit: "gradient" } },
          rate: [{ limit, per: Duration.seconds(1), burst: limit / 4, counts: "start" }],
          queue: { items: 150, bytes: 1024 * 1024, wait: Duration.seconds(2), overflow: "evictLeast" }
        },
        onSent: () => sent.push(performance.now())
      },
      ({ proxy }) =>
        Effect.gen(function* () {
          const end = performance.now() + seconds * 1000
          const paths = ["quick", "quick", "quick", "slow", "large", "broken", "stream", "enough", "pause"]
          const patience: ReadonlyArray<Record<string, string>> = [
            {},
            {},
            { prefer: "wait=0" },
            { prefer: "wait=1" },
            { "x-request-timeout-ms": String(20 + below(200)) }
          ]
          const once = Effect.suspend(() => {
            const headers = { priority: `u=${below(8)}`, ...patience[below(patience.length)] }
            const body = below(3) === 0 ? { method: "POST", body: "x".repeat(below(100_000)) } : {}
            const asked = call(`${proxy.url}/${paths[below(paths.length)]}`, { headers, ...body })
            const patient = below(4) === 0 ? Effect.timeoutOption(asked, below(60)) : Effect.asSome(asked)
            return Effect.match(patient, {
              onFailure: () => "cut",
              onSuccess: (answer) => (answer._tag === "None" ? "left" : answer.value.status)
            })
          })
          const caller = Effect.gen(function* () {
            while (performance.now() < end) {
              const status = yield* once
              statuses.set(status, (statuses.get(status) ?? 0) + 1)
              if (below(3) === 0) yield* Effect.sleep(below(50))
            }
          })
          yield* Effect.all(
            Array.from({ length: 250 }, () => caller),
            { concurrency: "unbounded", discard: true }
          )
          console.log(`calls by outcome: ${JSON.stringify(Object.fromEntries(statuses))}, ${sent.length} sent`)
          let from = 0
          for (const [i, at] of sent.entries()) {
            while (sent[from]! <= at - 1000) from++
            expect(i - from + 1).toBeLessThanOrEqual(limit)
          }
          expect([...statuses.keys()]).toEqual(expect.arrayContaining([200, 429, 503, 504, "cut", "left"]))
        })
    )
  })
})
