import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { NodeHttp } from "@fairlead/platform-node"
import { RawClient } from "@fairlead/testing/node"
import { Deferred, Effect } from "effect"
import { execFile } from "node:child_process"
import * as net from "node:net"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { clientOf, Clients } from "../../src/internal/clients.ts"
import type { Client } from "../../src/internal/clients.ts"

const soon = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.timeout(self, 2_000)

const serve = (handler: NodeHttp.Handler<never>, options: Partial<NodeHttp.Options> = {}) =>
  NodeHttp.serve(handler, { port: 0, drain: 0, ...options })

const reply: Transport.Reply = { status: 200, headers: [], body: Transport.text("hello") }
const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/** One client that has entered, seen from both sides, and whether it was found to be late. */
const entered = (firstMillis: number, nextMillis: number) =>
  Effect.gen(function* () {
    const late: Array<number> = []
    const known = Deferred.makeUnsafe<Client>()
    const since = performance.now()
    const clients = new Clients(Infinity, {
      firstMillis,
      nextMillis,
      onLate: () => late.push(performance.now() - since)
    })
    const server = net.createServer((socket) => {
      clients.begin(socket)
      Deferred.doneUnsafe(known, Effect.succeed(clientOf(socket)!))
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () => Effect.sync(() => server.close())
    )
    yield* RawClient.connect((server.address() as net.AddressInfo).port)
    return { client: yield* Deferred.await(known), late }
  })

describe("Clients", () => {
  it.live("answers 408 to who sends no whole head in time, whether silent or not", () =>
    Effect.gen(function* () {
      let calls = 0
      const server = yield* serve(() => Effect.sync(() => (calls++, reply)), { headers: "200 millis" })
      const silent = yield* RawClient.connect(server.port)
      const slow = yield* RawClient.connect(server.port)
      slow.write("GET / HTTP/1.1\r\nHost: a\r\nX: ")
      const trickle = setInterval(() => slow.write("x"), 20)
      yield* soon(Effect.all([silent.ended, slow.ended]))
      clearInterval(trickle)
      for (const client of [silent, slow]) {
        expect(client.text()).toMatch(/^HTTP\/1.1 408 Request Timeout\r\n[^]*\r\nConnection: close\r\n/)
      }
      expect([calls, server.inFlight()]).toEqual([0, 0])
    })
  )

  it.live("leaves alone who waits for an answer, sends a body, or has been answered", () =>
    Effect.gen(function* () {
      const server = yield* serve(
        ({ body }) =>
          Effect.as(Effect.delay(Effect.orDie(body.pipeTo({ write: () => true, onDrain: () => {} })), 150), reply),
        { headers: "50 millis" }
      )
      const waiting = yield* RawClient.connect(server.port)
      const sending = yield* RawClient.connect(server.port)
      waiting.write(request)
      sending.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
      yield* soon(waiting.until("hello"))
      yield* Effect.sleep("150 millis")
      waiting.write(request)
      sending.write("b")
      yield* soon(waiting.until(/hello[^]*hello/))
      yield* soon(sending.until("hello"))
      expect(waiting.text() + sending.text()).not.toMatch("408")
    })
  )

  it.live("finds out whose next head does not come, and not before its time", () =>
    Effect.gen(function* () {
      const { client, late } = yield* entered(10, 200)
      client.begin()
      yield* Effect.sleep("50 millis")
      client.end()
      const answered = performance.now()
      yield* soon(Effect.repeat(Effect.sleep(5), { until: () => late.length > 0 }))
      expect(performance.now() - answered).toBeGreaterThan(190)
      yield* Effect.sleep("450 millis")
      expect(late.length).toBe(1)
    })
  )

  it.live("never holds one late whose requests keep coming", () =>
    Effect.gen(function* () {
      const { client, late } = yield* entered(400, 400)
      for (let i = 0; i < 20; i++) {
        client.begin()
        yield* Effect.sleep("25 millis")
        client.end()
        yield* Effect.sleep("25 millis")
      }
      expect(late).toEqual([])
    })
  )

  it.live("lets no more than so many in from one address, however those before them have left", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ target }) => (target === "/hang" ? Effect.never : Effect.succeed(reply)), {
        connectionsPerAddress: 2
      })
      const ways: ReadonlyArray<(client: RawClient.RawClient) => void> = [
        (client) => client.leave(),
        (client) => client.reset(),
        (client) => client.socket.end(),
        (client) => client.write("nonsense\r\n\r\n"),
        (client) => client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        (client) => client.write("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (client) => {
          client.write("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
          setTimeout(() => client.reset(), 20)
        }
      ]
      for (const leave of ways) {
        const [first, second] = [yield* RawClient.connect(server.port), yield* RawClient.connect(server.port)]
        for (const client of [first, second]) {
          client.write(request)
          yield* soon(client.until("hello"))
        }
        const third = yield* RawClient.connect(server.port)
        third.write(request)
        yield* soon(third.ended)
        expect(third.text()).toBe("")
        for (const client of [first, second]) {
          leave(client)
          yield* soon(client.ended)
        }
        // The server hears of it a moment later.
        const letIn = Effect.suspend(() => RawClient.get(server.port, "/"))
        yield* soon(Effect.repeat(letIn, { until: (text) => text.includes("hello") }))
        yield* Effect.sleep("20 millis")
      }
      expect(server.inFlight()).toBe(0)
    })
  )

  it.live("leaves no timer behind, and a process that does nothing while nobody is connected", () =>
    Effect.gen(function* () {
      const program = fileURLToPath(new URL("../programs/idle.ts", import.meta.url))
      const { stdout } = yield* Effect.promise(() => promisify(execFile)(process.execPath, [program]))
      const looks = stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { timers: number; turns: number })
      expect(looks.map(({ timers }) => timers)).toEqual([0, 0])
      // The wait for the second to pass is one itself.
      for (const { turns } of looks) expect(turns).toBeLessThanOrEqual(5)
    })
  )
})
