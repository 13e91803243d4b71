import { describe, expect, it } from "@effect/vitest"
import { Certificates, RawClient, ScriptedUpstream } from "@fairlead/testing/node"
import { Effect, Exit, Scope } from "effect"
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
