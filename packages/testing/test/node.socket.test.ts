import { describe, expect, it } from "@effect/vitest"
import { Certificates, RawClient, ScriptedUpstream } from "@fairlead/testing/node"
import { Effect, Exit, Fiber, Scope } from "effect"
import * as https from "node:https"

describe("ScriptedUpstream", () => {
  it.live("answers when it is told to", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const client = yield* RawClient.connect(upstream.port)
      client.write("POST /a?b HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nContent-Length: 5\r\n\r\nhello")
      const received = yield* upstream.next
      expect([received.method, received.target, received.header("x-one")]).toEqual(["POST", "/a?b", "1"])
      expect((yield* received.body).toString()).toBe("hello")
      expect(client.text()).toBe("")
      received.inform(103, ["Link", "</x>"])
      received.head(200)
      received.write("a")
      expect(yield* client.until("a\r\n")).toMatch(
        /^HTTP\/1.1 103 Early Hints\r\nLink: <\/x>\r\n\r\nHTTP\/1.1 200 OK\r\n/
      )
      received.reset()
      expect(yield* client.ended).toBe("reset")
      yield* received.closed
    })
  )

  it.live("shows a request that asks before it sends its body, and says nothing for the test", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const client = yield* RawClient.connect(upstream.port)
      client.write("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
      const received = yield* upstream.next
      yield* Effect.sleep("30 millis")
      expect(client.text()).toBe("")
      received.inform(100)
      yield* client.until("100 Continue\r\n\r\n")
      client.write("hello")
      expect((yield* received.body).toString()).toBe("hello")
    })
  )

  const request = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

  it.live("says what came where it expected another request", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const client = yield* RawClient.connect(upstream.port)
      client.write(request)
      const received = yield* upstream.expect("GET", "/a")
      received.reply(204)
      yield* client.until("204 No Content")
      client.write(request)
      const exit = yield* Effect.exit(upstream.expect("GET", "/b"))
      expect(exit).toEqual(Exit.die(new Error("Expected GET /b, got GET /a")))
      expect(upstream.received.map(({ target }) => target)).toEqual(["/a", "/a"])
    })
  )

  it.live("waits for a request that it expects", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const expected = yield* Effect.forkChild(upstream.expect("GET", "/a"), { startImmediately: true })
      expect(expected.pollUnsafe()).toBeUndefined()
      const client = yield* RawClient.connect(upstream.port)
      client.write(request)
      const received = yield* Fiber.join(expected)
      expect(received.at).toBeLessThanOrEqual(performance.now())
    })
  )

  it.live("stalls before the head, after it and in mid-body, and goes on when it is told to", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const client = yield* RawClient.connect(upstream.port)
      const silence = Effect.gen(function* () {
        const before = client.text()
        yield* Effect.sleep("20 millis")
        expect(client.text()).toBe(before)
      })
      client.write(request)
      const received = yield* upstream.next
      yield* silence
      received.head(200, ["Content-Length", "4"])
      yield* client.until("\r\n\r\n")
      yield* silence
      received.write("ab")
      yield* client.until("ab")
      yield* silence
      received.write("cd")
      received.end()
      yield* client.until("abcd")
    })
  )

  it.live("stalls an upload that nobody takes, and reads it when somebody does, once for all who ask", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const client = yield* RawClient.connect(upstream.port)
      const length = 16 * 1024 * 1024
      client.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${length}\r\n\r\n`)
      client.write(new Uint8Array(length))
      const received = yield* upstream.next
      yield* Effect.sleep("50 millis")
      expect(client.socket.writableLength).toBeGreaterThan(0)
      const bodies = yield* Effect.all([received.body, received.body], { concurrency: "unbounded" })
      expect([...bodies, yield* received.body].map((body) => body.length)).toEqual([length, length, length])
      expect(client.socket.writableLength).toBe(0)
    })
  )

  it.live.each([
    ["before the head", () => {}],
    ["after the head", (received: ScriptedUpstream.Received) => received.head(200, ["Content-Length", "4"])],
    [
      "in mid-body",
      (received: ScriptedUpstream.Received) => {
        received.head(200, ["Content-Length", "4"])
        received.write("ab")
      }
    ]
  ] as const)("resets or hangs up %s", ([, play]) =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      for (const end of ["reset", "hangUp"] as const) {
        const client = yield* RawClient.connect(upstream.port)
        client.write(request)
        const received = yield* upstream.next
        play(received)
        yield* Effect.sleep("10 millis")
        received[end]()
        expect(yield* client.ended).toBe(end === "reset" ? "reset" : "end")
        yield* received.closed
      }
      expect(upstream.connections()).toBe(0)
    })
  )

  it.live("leaves no connection behind", () =>
    Effect.gen(function* () {
      const upstream = yield* Scope.make()
      const { connections, next, port } = yield* Scope.provide(ScriptedUpstream.make(), upstream)
      const client = yield* RawClient.connect(port)
      client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      yield* next
      yield* Scope.close(upstream, Exit.void)
      yield* client.ended
      expect(connections()).toBe(0)
    })
  )

  it.live("speaks TLS with certificates made on the spot", () =>
    Effect.gen(function* () {
      const { ca, ...tls } = Certificates.make()
      const upstream = yield* ScriptedUpstream.make({ tls, answer: (received) => received.reply(200, [], "safe") })
      const status = yield* Effect.callback<number | undefined>((resume) => {
        https
          .get(upstream.origin, { ca, agent: false }, (answer) => {
            answer.resume()
            resume(Effect.succeed(answer.statusCode))
          })
          .on("error", (error) => resume(Effect.die(error)))
      })
      expect(status).toBe(200)
    })
  )
})

describe("RawClient", () => {
  it.live("gives up on what has not come when the connection ends", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.hangUp() })
      const client = yield* RawClient.connect(upstream.port)
      client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
      expect(Exit.hasDies(yield* Effect.exit(client.until("hello")))).toBe(true)
    })
  )
})
