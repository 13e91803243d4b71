import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Leaks, ScriptedUpstream } from "@fairlead/testing/node"
import { Effect, Fiber, Stream } from "effect"
import type { Socket } from "node:net"
import { failure, get, kindOf, rawServer, saying, soon, text, until } from "./calls.ts"

const head = (...fields: ReadonlyArray<string>) => `HTTP/1.1 200 OK\r\n${fields.join("\r\n")}\r\n\r\n`

/** Runs `self` and says how long it took. */
const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(self, (value) => [value, performance.now() - start] as const)
  })

/** Writes a byte now and then, for as long as anybody listens. */
const drip = (socket: Socket, millis: number) => {
  const timer = setInterval(() => socket.write("x"), millis)
  socket.on("close", () => clearInterval(timer))
}

describe("failures", () => {
  it.live("cut a drip of bytes after the total time, at the head and in the body", () =>
    Effect.gen(function* () {
      const slowHead = yield* saying((socket) => {
        socket.write("HTTP/1.1 200 OK\r\nX: ")
        drip(socket, 20)
      })
      const slowBody = yield* saying((socket) => {
        socket.write(head("Content-Length: 1000000"))
        drip(socket, 20)
      })
      const slowShort = yield* saying((socket) => {
        socket.write(head("Content-Length: 1000"))
        drip(socket, 20)
      })
      const transport = yield* NodeTransport.make({ total: 200 })
      for (const [server, where] of [
        [slowHead, "head"],
        [slowBody, "body"],
        [slowShort, "head"]
      ] as const) {
        const [outcome, millis] = yield* timed(kindOf(transport, server.origin))
        expect(outcome).toEqual([where, "totalTimeout"])
        expect(millis).toBeGreaterThan(190)
        expect(millis).toBeLessThan(700)
      }
      const own = yield* timed(kindOf(transport, slowBody.origin, { totalMillis: 50 }))
      expect(own[0]).toEqual(["body", "totalTimeout"])
      expect(own[1]).toBeLessThan(190)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("keep short times of silence exactly", () =>
    Effect.gen(function* () {
      const silent = yield* rawServer((socket) => void socket.resume())
      const stuck = yield* saying((socket) => void socket.write(`${head("Content-Length: 1000000")}abc`))
      const transport = yield* NodeTransport.make({ firstByte: 50, idle: 60 })
      const [first, firstMillis] = yield* timed(kindOf(transport, silent.origin))
      expect(first).toEqual(["head", "headersTimeout"])
      expect(firstMillis).toBeGreaterThan(45)
      expect(firstMillis).toBeLessThan(300)
      const [idle, idleMillis] = yield* timed(kindOf(transport, stuck.origin))
      expect(idle).toEqual(["body", "idleTimeout"])
      expect(idleMillis).toBeGreaterThan(55)
      expect(idleMillis).toBeLessThan(300)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("count silence from the request's last byte, and from each chunk", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make({ firstByte: 100, idle: 100 })
      const slow = Transport.stream(slowly(5, 40))
      const request: Transport.Request = { method: "POST", target: "/", headers: [], body: slow }
      const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, request))
      const received = yield* upstream.next
      expect((yield* received.body).toString()).toBe("xxxxx")
      received.head(200)
      const { body } = yield* soon(Fiber.join(fiber))
      const piping = yield* Effect.forkChild(text(body))
      for (let i = 0; i < 5; i++) {
        received.write("y")
        yield* Effect.sleep(40)
      }
      received.end()
      expect(yield* soon(Fiber.join(piping))).toBe("yyyyy")
    })
  )

  it.live("know an upload that the other side takes no more of, and one that it takes slowly", () =>
    Effect.gen(function* () {
      const endless = Transport.stream(Stream.forever(Stream.succeed(new Uint8Array(65_536))))
      const post = (body: Transport.Body): Transport.Request => ({ method: "POST", target: "/", headers: [], body })
      const silent = yield* rawServer((socket) => void socket.pause())
      const transport = yield* NodeTransport.make({ firstByte: 150 })
      for (const body of [endless, Transport.stream(Stream.succeed(new Uint8Array(50_000_000)))]) {
        const [{ kind, sent }] = yield* timed(soon(failure(transport.exchange(silent.origin, post(body))), 2_000))
        expect([kind, sent]).toEqual(["headersTimeout", true])
      }
      let taken = 0
      const slow = yield* rawServer((socket) => {
        socket.on("data", (chunk) => {
          taken += chunk.length
          socket.pause()
          setTimeout(() => socket.resume(), 5)
          if (taken > 6_000_000) socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        })
      })
      const [{ status }, millis] = yield* timed(
        transport.exchange(slow.origin, post(Transport.stream(Stream.forever(Stream.succeed(new Uint8Array(65_536))))))
      )
      expect(status).toBe(200)
      expect(millis).toBeGreaterThan(300)
    })
  )

  it.live("do not take an upload whose own source is slow for silence", () =>
    Effect.gen(function* () {
      let stalled = false
      const upstream = yield* rawServer((socket) => {
        let got = 0
        socket.on("data", (chunk) => {
          got += chunk.length
          if (got > 20_000_000) socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
          if (stalled) return
          stalled = true
          socket.pause()
          setTimeout(() => socket.resume(), 50)
        })
      })
      const transport = yield* NodeTransport.make({ firstByte: 150 })
      const chunk = Stream.succeed(new Uint8Array(10_000_000))
      const pause = Stream.drain(Stream.fromEffect(Effect.sleep(400)))
      const body = Transport.stream(Stream.concat(Stream.concat(chunk, pause), chunk), 20_000_000)
      const request: Transport.Request = { method: "POST", target: "/", headers: [], body }
      expect((yield* soon(transport.exchange(upstream.origin, request), 2_000)).status).toBe(200)
      expect(stalled).toBe(true)
    })
  )

  it.live("do not take a full sink for silence", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make({ idle: 60 })
      const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, get("/")))
      const received = yield* upstream.next
      received.head(200)
      const { body } = yield* Fiber.join(fiber)
      let drain = () => {}
      const piping = yield* Effect.forkChild(
        Effect.exit(body.pipeTo({ write: () => false, onDrain: (resume) => (drain = resume) }))
      )
      received.write("a")
      yield* Effect.sleep(200)
      expect(piping.pollUnsafe()).toBe(undefined)
      drain()
      const [, millis] = yield* timed(Fiber.join(piping))
      expect(millis).toBeGreaterThan(50)
    })
  )

  it.live("cut an answer that is larger than it may be: at its head, or as it grows", () =>
    Effect.gen(function* () {
      const known = yield* saying((socket) => void socket.write(`${head("Content-Length: 101")}${"x".repeat(101)}`))
      const unknown = yield* saying(
        (socket) => void socket.write(`${head("Transfer-Encoding: chunked")}64\r\n${"x".repeat(100)}\r\n1\r\nx\r\n`)
      )
      const exact = yield* saying(
        (socket) => void socket.write(`${head("Transfer-Encoding: chunked")}64\r\n${"x".repeat(100)}\r\n0\r\n\r\n`)
      )
      const transport = yield* NodeTransport.make({ maxBytes: 100 })
      expect(yield* kindOf(transport, known.origin)).toEqual(["body", "tooLarge"])
      expect(yield* kindOf(transport, unknown.origin)).toEqual(["body", "tooLarge"])
      expect(yield* kindOf(transport, exact.origin)).toEqual(["none", "none"])
      expect(yield* kindOf(transport, exact.origin, { maxBytes: 99 })).toEqual(["body", "tooLarge"])
      expect(yield* kindOf(transport, known.origin, { maxBytes: 101 })).toEqual(["none", "none"])
      expect(yield* kindOf(transport, known.origin, {}, { ...get("/"), method: "HEAD" })).toEqual(["none", "none"])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("let little of 1 GB through a cap of 16 MB", () =>
    Effect.gen(function* () {
      const total = 1_000_000_000
      const cap = 16_000_000
      let given = 0
      const server = yield* saying((socket) => {
        socket.write(head("Connection: close"))
        const chunk = Buffer.alloc(65_536)
        const pour = () => {
          while (given < total && !socket.destroyed) {
            given += chunk.length
            if (!socket.write(chunk)) return void socket.once("drain", pour)
          }
        }
        pour()
      })
      const transport = yield* NodeTransport.make({ maxBytes: cap })
      const before = process.memoryUsage().rss
      let most = before
      let taken = 0
      const { body } = yield* transport.exchange(server.origin, get("/"))
      const write = (chunk: Uint8Array) => {
        taken += chunk.length
        most = Math.max(most, process.memoryUsage().rss)
        return true
      }
      const { kind } = yield* Effect.flip(body.pipeTo({ write, onDrain: () => {} }))
      expect(kind).toBe("tooLarge")
      expect(taken).toBeLessThanOrEqual(cap)
      yield* Effect.sleep(50)
      // What the kernel had taken off its hands by then.
      expect(given).toBeLessThan(cap + 16_000_000)
      expect(most - before).toBeLessThan(100_000_000)
    })
  )

  it.live("say that a body was cut short, or is no HTTP", () =>
    Effect.gen(function* () {
      const answers: ReadonlyArray<readonly [(socket: Socket) => void, readonly [string, string]]> = [
        [(socket) => socket.end(`${head("Content-Length: 100000")}abc`), ["body", "incomplete"]],
        [(socket) => socket.end(`${head("Content-Length: 10")}abc`), ["head", "incomplete"]],
        [(socket) => socket.end(`${head("Transfer-Encoding: chunked")}5\r\nabc`), ["body", "incomplete"]],
        [(socket) => socket.write(`${head("Transfer-Encoding: chunked")}xyz\r\nabc`), ["body", "protocol"]],
        [(socket) => socket.write(`${head("Transfer-Encoding: chunked")}3\r\nabcdef\r\n`), ["body", "protocol"]],
        [(socket) => socket.write(head("Content-Length: 1", "Content-Length: 2")), ["head", "protocol"]],
        [(socket) => socket.write(head("Content-Length: -1")), ["head", "protocol"]],
        [(socket) => socket.write("HTTP/1.1 2000 What\r\n\r\n"), ["head", "protocol"]],
        [(socket) => socket.write("SSH-2.0-OpenSSH_9.6\r\n"), ["head", "protocol"]],
        [
          (socket) => socket.write("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
          ["head", "protocol"]
        ],
        [(socket) => socket.resetAndDestroy(), ["head", "reset"]],
        [(socket) => socket.end(), ["head", "reset"]]
      ]
      const transport = yield* NodeTransport.make()
      for (const [answer, expected] of answers) {
        const server = yield* saying(answer)
        expect(yield* soon(kindOf(transport, server.origin))).toEqual(expected)
      }
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("give an answer that goes on behind its length, and use its connection no more", () =>
    Effect.gen(function* () {
      const server = yield* saying((socket) => socket.write(`${head("Content-Length: 3")}abcdef`))
      const transport = yield* NodeTransport.make()
      for (let i = 1; i <= 2; i++) {
        const { body } = yield* transport.exchange(server.origin, get("/"))
        expect([yield* text(body), server.seen.total]).toEqual(["abc", i])
        yield* Effect.sleep(20)
      }
    })
  )

  it.live("end a flood of interim answers", () =>
    Effect.gen(function* () {
      const transport = yield* NodeTransport.make()
      for (const status of [102, 103, 100]) {
        const server = yield* saying((socket) => {
          const flood = () => {
            while (!socket.destroyed) if (!socket.write(`HTTP/1.1 ${status} X\r\n\r\n`.repeat(50))) break
            if (!socket.destroyed) socket.once("drain", flood)
          }
          flood()
        })
        let heard = 0
        const outcome = yield* soon(kindOf(transport, server.origin, { onInformation: () => heard++ }))
        expect(outcome).toEqual(["head", "protocol"])
        expect(heard).toBe(status === 100 ? 0 : 100)
      }
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("end a head that is huge, or has no end", () =>
    Effect.gen(function* () {
      const transport = yield* NodeTransport.make()
      for (const line of ["X: y\r\n", `X: ${"y".repeat(10_000)}\r\n`, "y"]) {
        const server = yield* saying((socket) => {
          socket.write("HTTP/1.1 200 OK\r\nA: ")
          const flood = () => {
            while (!socket.destroyed) if (!socket.write(line.repeat(100))) break
            if (!socket.destroyed) socket.once("drain", flood)
          }
          flood()
        })
        expect(yield* soon(kindOf(transport, server.origin), 2_000)).toEqual(["head", "protocol"])
      }
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("know a connection that does not come about, and that nothing was sent", () =>
    Effect.gen(function* () {
      const transport = yield* NodeTransport.make()
      const gone = yield* Effect.scoped(rawServer(() => {}))
      const refused = yield* failure(transport.exchange(gone.origin, get("/")))
      expect([refused.kind, refused.sent]).toEqual(["refused", false])
      const unknown = yield* failure(transport.exchange("http://name.invalid", get("/")))
      expect([unknown.kind, unknown.sent]).toEqual(["dns", false])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("wait no longer for a connection than they may", () =>
    Effect.gen(function* () {
      const transport = yield* NodeTransport.make({ connect: 200 })
      // Accepts, and says nothing: no handshake comes about.
      const silent = yield* rawServer((socket) => void socket.resume())
      const [late, millis] = yield* timed(
        failure(transport.exchange(silent.origin.replace("http:", "https:"), get("/")))
      )
      expect([late.kind, late.sent]).toEqual(["connectTimeout", false])
      expect(millis).toBeGreaterThan(190)
      expect(millis).toBeLessThan(700)
      yield* until(() => silent.sockets.size === 0)
      const nameless = yield* NodeTransport.make({ connect: 50, dns: { lookup: () => {} } })
      const [unknown, unknownMillis] = yield* timed(failure(nameless.exchange("http://service.test", get("/"))))
      expect([unknown.kind, unknown.sent]).toEqual(["connectTimeout", false])
      expect(unknownMillis).toBeLessThan(300)
    })
  )

  it.live("say whether anything was sent over a connection that the other side closed between two answers", () =>
    Effect.gen(function* () {
      // The second request on it is read, and not answered.
      let requests = 0
      const server = yield* saying((socket) => {
        if (++requests === 2) socket.resetAndDestroy()
        else socket.write(`${head("Content-Length: 2")}ok`)
      })
      const transport = yield* NodeTransport.make()
      expect(yield* text((yield* transport.exchange(server.origin, get("/"))).body)).toBe("ok")
      const { kind, sent } = yield* failure(transport.exchange(server.origin, get("/")))
      expect([kind, sent, server.seen.total]).toEqual(["reset", true, 1])
      // Closed while nobody used it: the next exchange has another.
      expect(yield* text((yield* transport.exchange(server.origin, get("/"))).body)).toBe("ok")
      for (const socket of server.sockets) socket.end()
      yield* until(() => server.sockets.size === 0)
      expect(yield* text((yield* transport.exchange(server.origin, get("/"))).body)).toBe("ok")
      expect(server.seen.total).toBe(3)
    })
  )

  it.live("do not let what undici throws on through", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(204) })
      const transport = yield* NodeTransport.make()
      const hop = [
        "Expect",
        "100-continue",
        "Keep-Alive",
        "timeout=5",
        "Upgrade",
        "h2c",
        "Connection",
        "close, x",
        "Transfer-Encoding",
        "gzip, chunked",
        "TE",
        "trailers",
        "Proxy-Connection",
        "x"
      ]
      for (let i = 0; i < hop.length; i += 2) {
        const { status } = yield* transport.exchange(upstream.origin, get("/", hop.slice(i, i + 2)))
        expect(status).toBe(204)
      }
      expect((yield* transport.exchange(upstream.origin, get("/", hop))).status).toBe(204)
    })
  )
})

const slowly = (count: number, millis: number) => {
  const one = Effect.as(Effect.sleep(millis), new Uint8Array([0x78]))
  return Stream.take(Stream.fromEffectRepeat(one), count)
}
