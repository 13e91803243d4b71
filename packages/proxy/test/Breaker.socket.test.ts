import { describe, expect, it } from "@effect/vitest"
import { Registry } from "@fairlead/core"
import type { CircuitBreaker } from "@fairlead/core/http"
import { Duration, Effect } from "effect"
import { defaults } from "../src/Config.ts"
import { begin, call, closedPort, echo, until, withProxy } from "./support.ts"

const breaker = { ...defaults.breaker, failures: 2, open: Duration.millis(200) }

const circuit = Effect.map(
  Registry.snapshot,
  (all) => all.find(({ kind }) => kind === "breaker")!.statistics as CircuitBreaker.Statistics
)

describe("Breaker", () => {
  it.live("silence opens it, and the first answer after a while closes it", () => {
    let silent = true
    return withProxy(
      (request, response) => (silent ? undefined : echo(request, response)),
      { upstream: { breaker, timeout: { firstByte: Duration.millis(50) } } },
      ({ proxy, upstream }) =>
        Effect.gen(function* () {
          for (let i = 0; i < 2; i++) expect((yield* call(proxy.url)).status).toBe(504)
          const refused = yield* call(proxy.url)
          expect(refused.json()).toMatchObject({ status: 503, type: "urn:fairlead:problem:circuit-open", sent: false })
          expect(Number(refused.headers["retry-after-ms"])).toBeLessThanOrEqual(200)
          expect(upstream.served.length).toBe(2)
          expect(yield* circuit).toMatchObject({ name: "up", open: 1, openings: 1, failed: 2, refused: 1 })
          silent = false
          yield* Effect.sleep(Number(refused.headers["retry-after-ms"]) + 20)
          expect((yield* call(proxy.url)).status).toBe(200)
          expect(yield* circuit).toMatchObject({ open: 0, halfOpen: 0, running: 0 })
        })
    )
  })

  it.live("no connection opens it, and a client that leaves does not", () =>
    Effect.gen(function* () {
      const port = yield* closedPort
      yield* withProxy(
        () => {},
        { upstream: { breaker }, url: `http://127.0.0.1:${port}` },
        ({ proxy }) =>
          Effect.gen(function* () {
            for (let i = 0; i < 2; i++) expect((yield* call(proxy.url)).status).toBe(502)
            expect((yield* call(proxy.url)).status).toBe(503)
          })
      )
      yield* withProxy(
        () => {},
        { upstream: { breaker } },
        ({ proxy, upstream }) =>
          Effect.gen(function* () {
            for (let i = 1; i <= 3; i++) {
              const request = begin(proxy.url)
              yield* until(() => upstream.served.length === i)
              request.destroy()
            }
            yield* until(() => upstream.open() === 0)
            expect(yield* circuit).toMatchObject({ open: 0, failed: 0, ignored: 3 })
          })
      )
    })
  )
})
