import { describe, expect, it } from "@effect/vitest"
import { Coalesce, Registry } from "@fairlead/core"
import { ScriptedUpstream } from "@fairlead/testing/node"
import { Effect, Fiber } from "effect"
import { defaults } from "../src/Config.ts"
import { begin, call, until, untilEffect, withProxy } from "./support.ts"
import type { Setup } from "./support.ts"

const statistics = Effect.map(
  Registry.snapshot,
  (all) => all.find(({ kind }) => kind === "coalesce")!.statistics as Coalesce.Statistics
)

const waiting = (count: number) => untilEffect(Effect.map(statistics, (it) => it.waiting === count))

/** A proxy that coalesces, before an upstream that the test plays. */
const scripted = <E>(
  body: (setup: Setup, upstream: ScriptedUpstream.ScriptedUpstream) => Effect.Effect<unknown, E>,
  maxBytes = defaults.coalesce.maxBytes
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const options = { url: upstream.origin, upstream: { coalesce: { maxBytes, ignore: [] } } }
      yield* withProxy(
        () => {},
        options,
        (setup) =>
          Effect.gen(function* () {
            yield* body(setup, upstream)
            yield* waiting(0)
            const end = yield* statistics
            expect(Coalesce.check(end)).toEqual([])
            expect(end.runs).toBe(0)
          })
      )
      yield* until(() => upstream.connections() === 0)
    })
  )

describe("Coalesce", () => {
  it.live("a hundred clients are one call of the upstream, and one that leaves harms nobody", () =>
    scripted(({ log, proxy }, upstream) =>
      Effect.gen(function* () {
        const leaving = begin(proxy.url)
        yield* waiting(1)
        const clients = yield* Effect.forEach(Array.from({ length: 100 }), (_, i) =>
          Effect.forkChild(call(proxy.url, { headers: { "x-request-id": `${i}`, priority: `u=${i % 8}` } }))
        )
        yield* waiting(101)
        const received = yield* upstream.next
        expect(received.header("x-request-id")).toBeUndefined()
        leaving.destroy()
        yield* waiting(100)
        received.head(200, ["Content-Type", "text/plain", "Transfer-Encoding", "chunked"])
        for (let i = 0; i < 10; i++) received.write("x".repeat(20_000))
        received.end()
        const answers = yield* Effect.forEach(clients, Fiber.join)
        expect(answers.every(({ body, status }) => status === 200 && body === "x".repeat(200_000))).toBe(true)
        expect(
          answers.filter(({ headers }) => headers["cache-status"] === "fairlead; fwd=miss; collapsed").length
        ).toBe(100)
        expect(upstream.received.length).toBe(1)
        yield* until(() => log.length === 101)
        expect(log.filter(({ status }) => status === 499).length).toBe(1)
      })
    )
  )

  it.live("when the last client has left, the upstream's connection is closed", () =>
    scripted(({ proxy }, upstream) =>
      Effect.gen(function* () {
        const clients = [begin(proxy.url), begin(proxy.url)]
        yield* waiting(2)
        const received = yield* upstream.next
        received.head(200, ["Content-Length", "900000"])
        received.write("x".repeat(70_000))
        clients[0]!.destroy()
        yield* waiting(1)
        expect(upstream.connections()).toBe(1)
        clients[1]!.destroy()
        yield* received.closed
      })
    )
  )

  it.live("HEAD is told the length of what it stands for", () =>
    scripted(({ proxy }, upstream) =>
      Effect.gen(function* () {
        const clients = [1, 2].map(() => call(proxy.url, { method: "HEAD" }))
        const both = yield* Effect.forkChild(Effect.all(clients, { concurrency: "unbounded" }))
        yield* waiting(2)
        const received = yield* upstream.expect("HEAD", "/")
        received.reply(200, ["Content-Length", "12345"])
        for (const { headers } of yield* Fiber.join(both)) expect(headers["content-length"]).toBe("12345")
      })
    )
  )

  it.live("a long answer and a stream of events go to each by itself, as they come", () =>
    scripted(
      ({ proxy }, upstream) =>
        Effect.gen(function* () {
          for (const [path, head] of [
            ["/long", ["Transfer-Encoding", "chunked"]],
            ["/events", ["Content-Type", "text/event-stream"]]
          ] as const) {
            const both = yield* Effect.forkChild(
              Effect.all([call(`${proxy.url}${path}`), call(`${proxy.url}${path}`)], { concurrency: "unbounded" })
            )
            yield* waiting(2)
            const shared = yield* upstream.expect("GET", path)
            shared.head(200, head)
            shared.write("x".repeat(70_000))
            yield* shared.closed
            for (let i = 0; i < 2; i++) {
              const own = yield* upstream.expect("GET", path)
              own.head(200, head)
              own.write("y".repeat(70_000))
              own.end()
            }
            for (const { body, headers } of yield* Fiber.join(both)) {
              expect(body).toBe("y".repeat(70_000))
              expect(headers["cache-status"]).toBeUndefined()
            }
          }
        }),
      65_536
    )
  )
})
