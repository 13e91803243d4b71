import { describe, expect, it } from "@effect/vitest"
import { Attempts, Gate, RateWindow, Transport } from "@fairlead/core"
import { Client } from "@fairlead/core/http"
import { NodeTransport } from "@fairlead/platform-node"
import { Leaks, ScriptedUpstream } from "@fairlead/testing/node"
import { Effect, Fiber, Stream } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"

const until = (condition: () => boolean) =>
  Effect.gen(function* () {
    for (let i = 0; i < 200 && !condition(); i++) yield* Effect.sleep(5)
    expect(condition()).toBe(true)
  })

describe("Client over NodeTransport", () => {
  it.live("asks a server, and reads its answer, whole and as a stream", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const upstream = yield* ScriptedUpstream.make({
          answer: (received) => {
            if (received.method === "GET") return received.reply(200, ["content-type", "application/json"], `{"a":1}`)
            void Effect.runPromise(received.body).then((body) =>
              received.reply(200, ["x-type", received.header("content-type")!], body)
            )
          }
        })
        const client = Client.fromTransport(yield* NodeTransport.make())
        const answer = yield* client.get(`${upstream.origin}/x?y=1`)
        expect([answer.status, yield* answer.json, upstream.received[0]!.target]).toEqual([200, { a: 1 }, "/x?y=1"])
        const form = new FormData()
        form.append("file", new Blob(["content"]), "a.txt")
        const posted = yield* client.execute(
          HttpClientRequest.bodyFormData(HttpClientRequest.post(upstream.origin), form)
        )
        expect(posted.headers["x-type"]).toMatch(/^multipart\/form-data; boundary=/)
        expect(yield* posted.text).toContain("content")
        const large = HttpClientRequest.bodyStream(
          HttpClientRequest.post(upstream.origin),
          Stream.fromIterable(Array.from({ length: 100 }, () => new Uint8Array(10_000).fill(65))),
          { contentType: "text/plain" }
        )
        const echoed = yield* client.execute(large)
        expect(
          yield* Stream.runFold(
            echoed.stream,
            () => 0,
            (sum, chunk) => sum + chunk.length
          )
        ).toBe(1_000_000)
      })
    ).pipe(Leaks.expectNoLeaks())
  )

  it.live("closes the connection of an answer that is not wanted any more", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const upstream = yield* ScriptedUpstream.make({
          answer: (received) => {
            received.head(200)
            received.write("a".repeat(1000))
          }
        })
        const client = Client.fromTransport(yield* NodeTransport.make())
        // A part of it.
        yield* Effect.flatMap(client.get(upstream.origin), ({ stream }) => Stream.runDrain(Stream.take(stream, 1)))
        yield* until(() => upstream.connections() === 0)
        // Nothing of it.
        yield* Effect.scoped(HttpClient.withScope(client).get(upstream.origin))
        yield* until(() => upstream.connections() === 0)
        // While it is read.
        const answer = yield* client.get(upstream.origin)
        const reading = yield* Effect.forkChild(answer.text)
        yield* Effect.sleep(10)
        yield* Fiber.interrupt(reading)
        yield* until(() => upstream.connections() === 0)
      })
    ).pipe(Leaks.expectNoLeaks())
  )

  it.live("opens no more connections than the gate has permits, tries again, and heeds what is left", () =>
    Effect.scoped(
      Effect.gen(function* () {
        let most = 0
        let refused = 0
        const upstream = yield* ScriptedUpstream.make({
          answer: (received) => {
            most = Math.max(most, upstream.connections())
            if (received.header("x-nth") === "1" && refused++ === 0)
              return received.reply(429, ["retry-after-ms", "20"])
            received.head(200, ["x-ratelimit-remaining", "500", "x-ratelimit-reset", "60"])
            setTimeout(() => received.end(), 5)
          }
        })
        const gate = yield* Gate.make("api", { limit: 3, windows: [RateWindow.per(1000, "1 minute")] })
        const client = Client.fromTransport(yield* NodeTransport.make()).pipe(
          Client.gate(gate, { hints: true }),
          Client.attempts(yield* Attempts.make("api"))
        )
        const get = (nth: number) =>
          Effect.scoped(
            Effect.flatMap(client.get(upstream.origin, { headers: { "x-nth": String(nth) } }), ({ status, text }) =>
              Effect.as(text, status)
            )
          )
        const all = yield* Effect.forEach(
          Array.from({ length: 30 }, (_, i) => i),
          get,
          { concurrency: "unbounded" }
        )
        expect(all).toEqual(Array.from({ length: 30 }, () => 200))
        expect(upstream.received.length).toBe(31)
        expect(most).toBeLessThanOrEqual(3)
        const statistics = yield* gate.statistics
        expect(Gate.check(statistics)).toEqual([])
        expect(statistics.windows[0]!.hints.length).toBeGreaterThan(0)
      })
    ).pipe(Leaks.expectNoLeaks())
  )
})

describe("Transport over fetch", () => {
  it.live("sends and brings bodies, and closes what is aborted", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const upstream = yield* ScriptedUpstream.make({
          answer: (received) => {
            if (received.target === "/endless") {
              received.head(200)
              return void received.write("a".repeat(1000))
            }
            void Effect.runPromise(received.body).then((body) => received.reply(200, [], body))
          }
        })
        const transport = Client.toTransport(yield* Effect.provide(HttpClient.HttpClient, FetchHttpClient.layer))
        const exchange = (method: string, target: string, body: Transport.Body) =>
          transport.exchange(upstream.origin, { method, target, headers: ["content-type", "text/plain"], body })
        const text = (body: Transport.Body) =>
          Effect.map(Transport.collect(body), (bytes) => Buffer.from(bytes).toString())
        const echoed = yield* exchange("POST", "/", Transport.text("hello"))
        expect(yield* text(echoed.body)).toBe("hello")
        const streamed = yield* exchange("PUT", "/", Transport.stream(Stream.succeed(Buffer.from("streamed"))))
        expect(yield* text(streamed.body)).toBe("streamed")
        const nothing = yield* exchange("GET", "/", Transport.empty)
        expect(yield* text(nothing.body)).toBe("")
        const endless = yield* exchange("GET", "/endless", Transport.empty)
        endless.body.abort()
        yield* until(() => upstream.received.find(({ target }) => target === "/endless")!.socket.destroyed)
      })
    )
  )
})
