import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import * as Config from "../src/Config.ts"
import { begin, call, until, withProxy } from "./support.ts"

const retry = Config.defaults.retry

describe("over sockets", () => {
  it.live("a call whose connection breaks off is sent again, content and all, if it is idempotent", () => {
    let calls = 0
    return withProxy(
      (request, response) => {
        if (++calls === 1) return void request.socket.resetAndDestroy()
        const chunks: Array<Buffer> = []
        request.on("data", (chunk: Buffer) => chunks.push(chunk)).on("end", () => response.end(Buffer.concat(chunks)))
      },
      { upstream: { retry } },
      ({ log, proxy, upstream }) =>
        Effect.gen(function* () {
          const answer = yield* call(proxy.url, { method: "PUT", body: "content", headers: { "content-length": 7 } })
          expect([answer.status, answer.body]).toEqual([200, "content"])
          expect(answer.headers["server-timing"]).toMatch(/attempts;desc=2$/)
          expect(upstream.served.length).toBe(2)
          yield* until(() => log.length === 1)
          expect(log[0]).toMatchObject({ status: 200, attempts: 2 })
        })
    )
  })

  it.live("one that may not be sent twice is told how it failed, and one that is too long goes as it is", () =>
    withProxy(
      (request) => void request.socket.resetAndDestroy(),
      { upstream: { retry: { ...retry, replay: 4 } } },
      ({ proxy, upstream }) =>
        Effect.gen(function* () {
          expect((yield* call(proxy.url, { method: "POST" })).status).toBe(502)
          const put = { method: "PUT", body: "content", headers: { "content-length": 7 } }
          expect((yield* call(proxy.url, put)).status).toBe(502)
          expect(upstream.served.length).toBe(2)
        })
    )
  )

  it.live("a drain does not wait for what would be sent again", () =>
    withProxy(
      (_, response) => void response.writeHead(503, { "retry-after": "20" }).end(),
      { upstream: { retry, concurrency: 1 } },
      ({ proxy, stop, upstream }) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(call(proxy.url), { startImmediately: true })
          yield* until(() => upstream.served.length === 1)
          yield* Effect.sleep(50)
          // None was cut.
          expect(yield* stop).toBe(0)
          expect((yield* Fiber.join(fiber)).json()).toMatchObject({ error: { code: "shutting-down" }, sent: true })
        })
    )
  )

  it.live("an answer that is dropped is cut, however long it is, and frees its permit", () => {
    let calls = 0
    return withProxy(
      (_, response) => {
        if (++calls > 1) return void response.end("done")
        response.writeHead(503, { "content-length": 1_000_000 })
        response.write("begun")
      },
      { upstream: { retry, concurrency: 1 } },
      ({ proxy, statistics, upstream }) =>
        Effect.gen(function* () {
          const answer = yield* call(proxy.url)
          expect([answer.status, answer.body]).toEqual([200, "done"])
          yield* until(() => upstream.served[0]!.response.destroyed)
          expect(yield* statistics).toMatchObject({ running: 0, completed: 2 })
        })
    )
  })

  it.live("a hedge wins, and the connection of the loser is closed", () => {
    let slow = false
    return withProxy(
      (_, response) => {
        if (!slow) return void response.end("fast")
        slow = false
      },
      { upstream: { retry: { ...retry, hedge: Duration.millis(50) } } },
      ({ log, proxy, upstream }) =>
        Effect.gen(function* () {
          for (let i = 0; i < 20; i++) yield* call(proxy.url)
          slow = true
          expect((yield* call(proxy.url)).body).toBe("fast")
          expect(upstream.served.length).toBe(22)
          yield* until(() => upstream.served[20]!.response.destroyed)
          yield* until(() => log.length === 21)
          expect(log.at(-1)).toMatchObject({ attempts: 2 })
        })
    )
  })

  it.live("a client that leaves in backoff leaves nothing behind", () =>
    withProxy(
      (_, response) => void response.writeHead(429, { "retry-after": "20" }).end(),
      { upstream: { retry } },
      ({ log, proxy, statistics, upstream }) =>
        Effect.gen(function* () {
          const client = begin(proxy.url)
          yield* until(() => upstream.served.length === 1)
          yield* Effect.sleep("50 millis")
          expect(yield* statistics).toMatchObject({ running: 0 })
          client.destroy()
          yield* until(() => log.length === 1)
          expect(log[0]).toMatchObject({ status: 499, cut: "clientGone" })
        })
    )
  )

  it.live("an upload that is kept holds no permit while it comes", () =>
    withProxy(
      (request, response) => void request.resume().on("end", () => response.end("done")),
      { upstream: { retry, concurrency: 1 } },
      ({ proxy, statistics }) =>
        Effect.gen(function* () {
          const uploading = begin(proxy.url, { method: "POST", headers: { "content-length": 7 }, body: [] })
          uploading.on("error", () => {})
          const other = yield* Effect.forkChild(call(proxy.url))
          expect((yield* Fiber.join(other)).body).toBe("done")
          expect(yield* statistics).toMatchObject({ running: 0 })
          uploading.destroy()
        })
    )
  )
})
