import { describe, expect, it } from "@effect/vitest"
import { Gate, Registry, Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Certificates, ScriptedUpstream } from "@fairlead/testing/node"
import { Deferred, Effect, Exit, Fiber, Schedule, Scope, Stream } from "effect"
import * as http2 from "node:http2"
import * as net from "node:net"
import type { AddressInfo } from "node:net"
import type { TLSSocket } from "node:tls"
import { failure, get, keep, kindOf, rawServer, scripted, soon, text, until } from "./calls.ts"
import { uncaught } from "./secure.ts"

const pair = Certificates.make()
const trusting = { tls: { ca: pair.ca } }

interface Server2 {
  readonly origin: string
  readonly sessions: Set<http2.ServerHttp2Session>
  readonly streams: Array<http2.ServerHttp2Stream>
  /** How many connections there have been; the most at once. */
  readonly seen: { total: number; most: number }
}

type OnStream = (
  stream: http2.ServerHttp2Stream,
  headers: http2.IncomingHttpHeaders,
  raw: ReadonlyArray<string>
) => void

const serve2 = (
  onStream: OnStream,
  options: http2.SecureServerOptions = {}
): Effect.Effect<Server2, never, Scope.Scope> =>
  Effect.gen(function* () {
    const sessions = new Set<http2.ServerHttp2Session>()
    const streams: Array<http2.ServerHttp2Stream> = []
    const sockets = new Set<TLSSocket>()
    const seen = { total: 0, most: 0 }
    const server = http2.createSecureServer({ ...pair, maxSessionMemory: 100, ...options })
    server.on("secureConnection", (socket) => {
      sockets.add(socket)
      seen.total++
      seen.most = Math.max(seen.most, sockets.size)
      socket.on("error", () => {}).on("close", () => sockets.delete(socket))
    })
    server.on("session", (session) => {
      sessions.add(session)
      session.on("error", () => {}).on("close", () => sessions.delete(session))
    })
    const take = (
      stream: http2.ServerHttp2Stream,
      headers: http2.IncomingHttpHeaders,
      _: number,
      raw: ReadonlyArray<string>
    ) => {
      streams.push(stream.on("error", () => {}))
      onStream(stream, headers, raw)
    }
    server.on("stream", take)
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          for (const session of sessions) session.destroy()
          for (const socket of sockets) socket.destroy()
        })
    )
    return { origin: `https://localhost:${(server.address() as AddressInfo).port}`, sessions, streams, seen }
  })

/** A wire to a server, for as long as `carry` passes on what comes from there. */
const relay = (origin: string, carry: (pass: () => void, socket: net.Socket) => void) =>
  Effect.map(
    rawServer((socket) => {
      const there = net.connect(Number(new URL(origin).port), "127.0.0.1")
      socket.pipe(there)
      there
        .on("data", (chunk) => carry(() => socket.write(chunk), socket))
        .on("error", () => {})
        .on("close", () => socket.destroy())
      socket.on("close", () => there.destroy())
    }),
    (wire) => ({ ...wire, origin: `https://localhost:${wire.port}` })
  )

const make = (options: NodeTransport.Options = {}) => NodeTransport.make({ ...trusting, http2: true, ...options })

const fetch = (transport: Transport.Transport, origin: string, target = "/") =>
  Effect.scoped(Effect.flatMap(transport.exchange(origin, get(target)), ({ body }) => text(body)))

const ok: OnStream = (stream) => {
  stream.respond({ ":status": 200 })
  stream.end("ok")
}

const atRest = (transport: NodeTransport.NodeTransport) =>
  Effect.gen(function* () {
    const statistics = yield* transport.statistics
    expect(NodeTransport.check(statistics)).toEqual([])
    expect(statistics.sockets).toMatchObject({ busy: 0, connecting: 0, closing: 0 })
    const gate = (yield* Registry.snapshot).find(({ kind }) => kind === "gate")!.statistics as Gate.Statistics
    expect([Gate.check(gate), gate.running, gate.waiting]).toEqual([[], 0, 0])
  })

describe("TLS", () => {
  it.live("trusts whom it is told to, and says what is wrong else", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ tls: pair, answer: (received) => received.reply(200, [], "ok") })
      const plain = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200) })
      for (const http2 of [false, true]) {
        const strict = yield* NodeTransport.make({ http2 })
        const good = yield* make({ http2 })
        const careless = yield* NodeTransport.make({ http2, tls: { rejectUnauthorized: false } })
        const misled = yield* make({ http2, tls: { ...trusting.tls, servername: "other.test" } })
        expect(yield* kindOf(strict, upstream.origin)).toEqual(["head", "tls"])
        expect(yield* fetch(good, upstream.origin)).toBe("ok")
        expect(yield* fetch(good, upstream.origin.replace("127.0.0.1", "localhost"))).toBe("ok")
        expect(yield* fetch(careless, upstream.origin)).toBe("ok")
        expect(yield* kindOf(misled, upstream.origin)).toEqual(["head", "tls"])
        expect(yield* kindOf(good, plain.origin.replace("http:", "https:"))).toEqual(["head", "tls"])
        const invalid = yield* NodeTransport.make({ http2, tls: { ca: "no certificate", cert: "none", key: "none" } })
        const { kind, sent } = yield* soon(failure(invalid.exchange(upstream.origin, get("/"))))
        expect([kind, sent]).toEqual(["tls", false])
      }
    })
  )

  it.live("shows a certificate of its own where it has one", () =>
    Effect.gen(function* () {
      let subject: unknown
      const server = yield* serve2(
        (stream, headers, raw) => {
          subject = (stream.session!.socket as TLSSocket).getPeerCertificate().subject
          ok(stream, headers, raw)
        },
        { requestCert: true, ca: pair.ca }
      )
      const transport = yield* make({ tls: { ca: pair.ca, cert: pair.cert, key: pair.key } })
      expect(yield* fetch(transport, server.origin)).toBe("ok")
      expect(subject).toMatchObject({ CN: "localhost" })
      const without = yield* make()
      expect((yield* kindOf(without, server.origin))[0]).toBe("head")
    })
  )
})

describe("HTTP/2", () => {
  it.live("shares one connection, and is as HTTP/1.1 is to whoever uses it", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<string>> = []
      const server = yield* serve2((stream, headers, raw) => {
        seen.push(raw)
        if (headers[":path"] === "/head") {
          stream.additionalHeaders({ ":status": 103, link: "</a>" })
          stream.respond({ ":status": 200, "set-cookie": ["a", "b"], "x-one": "grüße", "content-length": 5 })
          return void stream.end("hello")
        }
        stream.respond({ ":status": 200 })
        stream.end("ok")
      })
      const transport = yield* make()
      const interim: Array<unknown> = []
      const sent: Array<string> = []
      const reply = yield* transport.exchange(
        server.origin,
        get("/head?a=%20", ["X-One", "1", "x-two", "2", "X-One", "3", "Connection", "x", "TE", "gzip"]),
        { onInformation: (status, headers) => interim.push([status, ...headers]), onSent: () => sent.push("a") }
      )
      expect(yield* text(reply.body)).toBe("ok")
      expect(seen[0]!.slice(8)).toEqual(["x-one", "1", "x-two", "2", "x-one", "3"])
      expect(sent).toEqual(["a"])
      yield* Effect.all(
        Array.from({ length: 60 }, () => fetch(transport, server.origin)),
        { concurrency: "unbounded" }
      )
      expect([server.seen.total, server.streams.length]).toEqual([1, 61])
      expect(yield* transport.statistics).toMatchObject({ byProtocol: { "http/1.1": 0, h2: 1 }, opened: 1, reused: 60 })
      const again = yield* transport.exchange(server.origin, get("/head"), {
        onInformation: (status, headers) => interim.push([status, ...headers])
      })
      expect([again.status, again.body.length, Buffer.from(again.body.bytes!).toString()]).toEqual([200, 5, "hello"])
      expect(again.headers.slice(0, 6)).toEqual(["set-cookie", "a", "set-cookie", "b", "x-one", "grüße"])
      expect(interim[interim.length - 1]).toEqual([103, "link", "</a>"])
      yield* atRest(transport)
    })
  )

  it.live("sends bodies, and takes large ones no faster than they are read", () =>
    Effect.gen(function* () {
      const server = yield* serve2((stream, headers) => {
        stream.respond({ ":status": 200, "x-length": headers["content-length"] ?? "none" })
        if (headers[":path"] === "/pour") return void stream.end(Buffer.alloc(5_000_000))
        stream.pipe(stream)
      })
      const transport = yield* make()
      const post = (body: Transport.Body) =>
        Effect.scoped(
          Effect.flatMap(
            transport.exchange(server.origin, { method: "POST", target: "/", headers: [], body }),
            (reply) => Effect.map(text(reply.body), (got) => [Transport.header(reply.headers, "x-length"), got.length])
          )
        )
      const chunks = Stream.repeat(Stream.succeed(new Uint8Array(65_536)), Schedule.recurs(19))
      expect(yield* post(Transport.text("hello"))).toEqual(["5", 5])
      expect(yield* post(Transport.stream(chunks))).toEqual(["none", 1_310_720])
      expect(yield* post(Transport.stream(chunks, 1_310_720))).toEqual(["1310720", 1_310_720])
      const { body } = yield* transport.exchange(server.origin, get("/pour"))
      let taken = 0
      let drain = () => {}
      const piping = yield* Effect.forkChild(
        body.pipeTo({ write: (chunk) => (taken += chunk.length) < 0, onDrain: (resume) => (drain = resume) })
      )
      yield* Effect.sleep(50)
      expect(taken).toBeLessThan(1_000_000)
      while (piping.pollUnsafe() === undefined) {
        drain()
        yield* Effect.sleep(0)
      }
      expect(taken).toBe(5_000_000)
      for (const failing of [true, false]) {
        const { body, end, sink } = scripted(failing ? undefined : 10)
        const request: Transport.Request = { method: "POST", target: "/", headers: [], body }
        const fiber = yield* Effect.forkChild(
          Effect.scoped(
            Effect.flatMap(transport.exchange(server.origin, request), (reply) =>
              Effect.flip(reply.body.pipeTo(keep()))
            )
          )
        )
        ;(yield* sink).write(Buffer.from("abc"))
        yield* Effect.sleep(20)
        Deferred.doneUnsafe(
          end,
          failing ? Effect.fail(new Transport.BodyFailed({ kind: "reset", cause: 1 })) : Exit.void
        )
        expect((yield* soon(Fiber.join(fiber))).kind).toBe("requestBody")
      }
      expect(server.seen.total).toBe(1)
    })
  )

  it.live("holds up nobody for readers that are slow", () =>
    Effect.gen(function* () {
      const windows: Array<number> = []
      const server = yield* serve2((stream) => {
        windows.push(stream.session!.state.remoteWindowSize!)
        stream.respond({ ":status": 200 })
        stream.end(Buffer.alloc(1_000_000))
      })
      const transport = yield* make()
      for (let i = 0; i < 20; i++) {
        const { body } = yield* transport.exchange(server.origin, get("/"))
        yield* Effect.forkChild(body.pipeTo({ write: () => false, onDrain: () => {} }))
      }
      yield* Effect.sleep(50)
      expect((yield* soon(fetch(transport, server.origin), 2_000)).length).toBe(1_000_000)
      // Far away, that much may be on its way.
      expect(Math.max(...windows)).toBeGreaterThan(20_000_000)
      expect(server.seen.total).toBe(1)
    })
  )

  it.live("resets but the one stream whose caller has left", () =>
    Effect.gen(function* () {
      const server = yield* serve2((stream, headers) => {
        if (headers[":path"] === "/silent") return
        stream.respond({ ":status": 200 })
        stream.write("a")
        if (headers[":path"] === "/slow") setTimeout(() => stream.end("b"), 100)
      })
      const transport = yield* make({ maxSockets: 5 })
      const slow = yield* Effect.forkChild(fetch(transport, server.origin, "/slow"))
      for (const target of ["/silent", "/open"]) {
        const fiber = yield* Effect.forkChild(fetch(transport, server.origin, target))
        yield* until(() =>
          server.streams.some((stream) => stream.sentHeaders?.[":status"] === 200 || target === "/silent")
        )
        yield* Effect.sleep(10)
        yield* Fiber.interrupt(fiber)
        const struck = server.streams[server.streams.length - 1]!
        yield* until(() => struck.closed)
        expect(struck.rstCode).toBe(http2.constants.NGHTTP2_CANCEL)
      }
      expect(yield* soon(Fiber.join(slow))).toBe("ab")
      expect(server.seen.total).toBe(1)
      yield* atRest(transport)
    })
  )

  it.live("has its place back from an answer that has come to its end and that nobody has read", () =>
    Effect.gen(function* () {
      const server = yield* serve2((stream) => {
        stream.respond({ ":status": 200 })
        stream.end(Buffer.alloc(100_000))
      })
      const transport = yield* make({ maxSockets: 1 })
      for (const read of [0, 1]) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const { body } = yield* transport.exchange(server.origin, get("/"))
            if (read === 1) yield* Effect.forkChild(body.pipeTo({ write: () => false, onDrain: () => {} }))
            yield* until(() => server.streams.every(({ closed }) => closed))
            yield* Effect.sleep(20)
          })
        )
        expect((yield* soon(fetch(transport, server.origin))).length).toBe(100_000)
      }
      expect(server.seen.total).toBe(1)
      yield* atRest(transport)
    })
  )

  it.live("opens no second connection before the first has said how many streams it takes", () =>
    Effect.gen(function* () {
      const server = yield* serve2(ok)
      const far = yield* relay(server.origin, (pass) => setTimeout(pass, 20))
      const transport = yield* make()
      const calls = Array.from({ length: 10 }, () => fetch(transport, far.origin))
      yield* Effect.all(calls, { concurrency: "unbounded" })
      expect(far.seen.total).toBe(1)
      yield* atRest(transport)
    })
  )

  it.live("goes on elsewhere when nothing comes over a connection any more", () =>
    Effect.gen(function* () {
      const server = yield* serve2(ok)
      let isDead = false
      const wire = yield* relay(server.origin, (pass, socket) => {
        if (!isDead || socket !== first) pass()
      })
      const transport = yield* make({ firstByte: 1_100 })
      yield* fetch(transport, wire.origin)
      const [first] = wire.sockets
      isDead = true
      const { kind } = yield* failure(transport.exchange(wire.origin, get("/")))
      expect(kind).toBe("headersTimeout")
      expect(yield* soon(fetch(transport, wire.origin))).toBe("ok")
      expect(wire.seen.total).toBe(2)
      yield* until(() => first!.destroyed)
      yield* atRest(transport)
    })
  )

  it.live("stays with a connection over which others are answered while one is not", () =>
    Effect.gen(function* () {
      const server = yield* serve2((stream, headers, raw) => {
        if (headers[":path"] !== "/silent") ok(stream, headers, raw)
      })
      const transport = yield* make({ firstByte: 1_100 })
      const silent = yield* Effect.forkChild(failure(transport.exchange(server.origin, get("/silent"))))
      yield* until(() => server.streams.length === 1)
      yield* fetch(transport, server.origin)
      expect((yield* Fiber.join(silent)).kind).toBe("headersTimeout")
      yield* fetch(transport, server.origin)
      expect(server.seen.total).toBe(1)
    })
  )

  it.live("is silent, too, when it takes no more of an upload", () =>
    Effect.gen(function* () {
      const server = yield* serve2((stream) => void stream.pause())
      const transport = yield* make({ firstByte: 100 })
      const endless = Transport.stream(Stream.forever(Stream.succeed(new Uint8Array(65_536))))
      const request: Transport.Request = { method: "POST", target: "/", headers: [], body: endless }
      expect((yield* soon(failure(transport.exchange(server.origin, request)), 1_000)).kind).toBe("headersTimeout")
      yield* Effect.sleep(20)
      yield* atRest(transport)
    })
  )

  it.live("takes heads of many fields, and none that is huge", () =>
    Effect.gen(function* () {
      const server = yield* serve2(
        (stream, headers) => {
          const value = "a".repeat(headers[":path"] === "/huge" ? 200 : 1)
          stream.respond({
            ":status": 200,
            ...Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`x-${i}`, value]))
          })
          stream.end()
        },
        { maxSendHeaderBlockLength: 1_000_000 }
      )
      const transport = yield* make()
      expect((yield* transport.exchange(server.origin, get("/"))).headers.length).toBeGreaterThan(1_000)
      expect((yield* soon(failure(transport.exchange(server.origin, get("/huge"))))).kind).toBe("reset")
      expect((yield* soon(transport.exchange(server.origin, get("/")))).status).toBe(200)
      expect(server.seen.total).toBe(1)
    })
  )

  it.live("goes on elsewhere after a GOAWAY, and lets what was begun end", () =>
    Effect.gen(function* () {
      const server = yield* serve2((stream, headers) => {
        stream.respond({ ":status": 200 })
        if (headers[":path"] !== "/slow") return void stream.end("ok")
        stream.write("a")
        setTimeout(() => stream.end("b"), 80)
      })
      const transport = yield* make({ maxSockets: 2 })
      const slow = yield* Effect.forkChild(fetch(transport, server.origin, "/slow"))
      yield* until(() => server.streams.length === 1)
      for (const session of server.sessions) session.close()
      yield* Effect.sleep(20)
      expect(yield* soon(fetch(transport, server.origin))).toBe("ok")
      expect(server.seen.total).toBe(2)
      expect(yield* soon(Fiber.join(slow))).toBe("ab")
      yield* until(() => server.sessions.size === 1)
      yield* atRest(transport)
    })
  )

  it.live("tells what a GOAWAY has left out apart from what it has not: that was not looked at", () =>
    Effect.gen(function* () {
      const server = yield* serve2((stream, headers) => {
        if (headers[":path"] === "/left-out") return stream.session!.goaway(0, server.streams[0]!.id)
        if (headers[":path"] === "/first") setTimeout(() => ok(stream, headers, []), 50)
        else ok(stream, headers, [])
      })
      const transport = yield* make()
      const first = yield* Effect.forkChild(fetch(transport, server.origin, "/first"))
      yield* until(() => server.streams.length === 1)
      const { kind, sent } = yield* soon(failure(transport.exchange(server.origin, get("/left-out"))))
      expect([kind, sent]).toEqual(["reset", false])
      expect(yield* soon(fetch(transport, server.origin))).toBe("ok")
      expect(server.seen.total).toBe(2)
      expect(yield* soon(Fiber.join(first))).toBe("ok")
      yield* until(() => server.sessions.size === 1)
      yield* Effect.sleep(20)
      yield* atRest(transport)
    })
  )

  it.live("says what befell a stream, and whether the other side took notice of it", () =>
    Effect.gen(function* () {
      const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants
      let act: OnStream = ok
      const server = yield* serve2((...all) => act(...all))
      const transport = yield* make({ firstByte: 100, idle: 100, maxBytes: 1_000 })
      const fails = (on: OnStream) => {
        act = on
        return soon(kindOf(transport, server.origin), 2_000)
      }
      const begun =
        (then: (stream: http2.ServerHttp2Stream) => void, headers = {}): OnStream =>
        (stream) => {
          stream.respond({ ":status": 200, ...headers })
          stream.write("abc")
          setTimeout(() => then(stream), 10)
        }
      expect(yield* fails((stream) => stream.close(NGHTTP2_INTERNAL_ERROR))).toEqual(["head", "reset"])
      expect(yield* fails((stream) => stream.close(http2.constants.NGHTTP2_CANCEL))).toEqual(["head", "reset"])
      expect(yield* fails((stream) => stream.close(NGHTTP2_PROTOCOL_ERROR))).toEqual(["head", "protocol"])
      expect(yield* fails(begun((stream) => stream.destroy(new Error("x"))))).toEqual(["body", "reset"])
      expect(yield* fails(() => {})).toEqual(["head", "headersTimeout"])
      expect(yield* fails(begun(() => {}))).toEqual(["body", "idleTimeout"])
      expect(yield* fails(begun((stream) => stream.end(), { "content-length": "500" }))).toEqual(["head", "incomplete"])
      expect(
        yield* fails((stream) => (stream.respond({ ":status": 200, "content-length": "2000" }), stream.write("a")))
      ).toEqual(["body", "tooLarge"])
      expect(yield* fails(begun((stream) => stream.end(Buffer.alloc(2_000))))).toEqual(["body", "tooLarge"])
      act = (stream) => stream.close(NGHTTP2_REFUSED_STREAM)
      const refused = yield* failure(transport.exchange(server.origin, get("/")))
      expect([refused.kind, refused.sent]).toEqual(["reset", false])
      for (const part of [
        { target: "/a b" },
        { target: "*" },
        { method: "CONNECT" },
        { headers: ["x", "a\r\nb: c"] },
        { headers: ["bad name", "a"] },
        { headers: ["Host", "a", "host", "b"] }
      ]) {
        const { kind, sent } = yield* soon(failure(transport.exchange(server.origin, { ...get("/"), ...part })))
        expect([kind, sent]).toEqual(["protocol", false])
      }
      act = ok
      expect(yield* fetch(transport, server.origin)).toBe("ok")
      expect(server.seen.total).toBe(1)
      // The whole connection.
      expect(yield* fails((stream) => stream.session!.socket.destroy())).toEqual(["head", "reset"])
      expect(yield* fails(begun((stream) => stream.session!.socket.destroy()))).toEqual(["body", "incomplete"])
      expect(yield* fails(begun((stream) => stream.session!.destroy(new Error("x"), NGHTTP2_INTERNAL_ERROR)))).toEqual([
        "body",
        "incomplete"
      ])
      act = ok
      expect(yield* fetch(transport, server.origin)).toBe("ok")
      yield* atRest(transport)
    })
  )

  it.live("has no more streams than the other side takes, nor more connections than it may", () =>
    Effect.gen(function* () {
      let open = 0
      let most = 0
      const server = yield* serve2(
        (stream) => {
          const { session } = stream
          const own = (session as unknown as { count?: number }).count ?? 0
          ;(session as unknown as { count?: number }).count = own + 1
          expect(own).toBeLessThan(2)
          most = Math.max(most, ++open)
          setTimeout(() => {
            open--
            ;(session as unknown as { count?: number }).count!--
            stream.respond({ ":status": 200 })
            stream.end("ok")
          }, 5)
        },
        { settings: { maxConcurrentStreams: 2 } }
      )
      const transport = yield* make({ maxSockets: 20, perOrigin: 3 })
      const all = Array.from({ length: 60 }, () => fetch(transport, server.origin))
      yield* soon(Effect.all(all, { concurrency: "unbounded" }), 5_000)
      expect(server.seen.most).toBeLessThanOrEqual(3)
      expect(most).toBe(3)
      yield* atRest(transport)
    })
  )

  it.live("passes on what it holds wherever an interrupt lands, whichever protocol it finds", () =>
    Effect.gen(function* () {
      const errors = yield* uncaught
      const shared = yield* serve2(
        (stream) => {
          stream.respond({ ":status": 200 })
          stream.write("a")
          setImmediate(() => stream.end("b"))
        },
        { settings: { maxConcurrentStreams: 2 } }
      )
      const single = yield* ScriptedUpstream.make({
        tls: pair,
        answer: (received) => received.reply(200, ["Connection", "close"], "ab")
      })
      const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
      const transport = yield* make({ maxSockets: 2, maxWait: 2_000 })
      for (let turns = 0; turns < 24; turns++) {
        for (const origin of [shared.origin, single.origin]) {
          const calls = [shared.origin, origin, single.origin, origin].map((each) => fetch(transport, each))
          const others = yield* Effect.forkChild(Effect.all(calls, { concurrency: "unbounded" }))
          const struck = yield* Effect.forkChild(fetch(transport, origin), { startImmediately: turns % 2 === 0 })
          for (let i = 0; i < turns; i++) yield* turn
          yield* Fiber.interrupt(struck)
          expect(yield* soon(Fiber.join(others), 3_000)).toEqual(["ab", "ab", "ab", "ab"])
          // Each time anew: which protocol is spoken has to be found out again.
          if (turns % 3 !== 0) continue
          for (const session of shared.sessions) session.close()
          // What crosses a GOAWAY is refused, and sent again by nobody here.
          yield* until(() => shared.sessions.size === 0)
          yield* Effect.sleep(5)
        }
      }
      yield* Effect.sleep(50)
      expect(shared.seen.most).toBeLessThanOrEqual(2)
      yield* atRest(transport)
      expect(errors).toEqual([])
    })
  )

  it.live("has all its places back, whatever the other side does, and whenever callers leave", () =>
    Effect.gen(function* () {
      const errors = yield* uncaught
      let seed = 7
      const random = () => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648
      const oneOf = <A>(all: ReadonlyArray<A>) => all[Math.floor(random() * all.length)]!
      const server = yield* serve2((stream) => {
        const end = (size: number) => {
          if (stream.destroyed) return
          stream.respond({ ":status": 200 })
          stream.end(Buffer.alloc(size))
        }
        oneOf([
          () => end(2),
          () => end(100_000),
          () => void setTimeout(() => end(2), random() * 5),
          () => stream.close(oneOf([0, 2, 7, 8])),
          () => {
            stream.respond({ ":status": 200, "content-length": 10 })
            stream.write("a")
            setTimeout(() => stream.close(0), 2)
          },
          () => {
            stream.session!.goaway(0, stream.id)
            end(2)
          },
          () => stream.session!.destroy(),
          () => {
            stream.session!.settings({ maxConcurrentStreams: oneOf([1, 3]) })
            end(2)
          },
          () => {}
        ])()
      })
      const transport = yield* make({ maxSockets: 3, connect: 2_000 })
      const uses: ReadonlyArray<(body: Transport.Body) => Effect.Effect<void, Transport.BodyFailed>> = [
        (body) => Effect.asVoid(text(body)),
        (body) => Effect.sync(() => body.abort()),
        () => Effect.sleep(random() * 5),
        (body) => body.pipeTo({ write: () => false, onDrain: (resume) => void setTimeout(resume, 1) }),
        (body) => body.pipeTo({ write: () => false, onDrain: () => {} })
      ]
      const watch = setInterval(() => expect(NodeTransport.check(Effect.runSync(transport.statistics))).toEqual([]), 1)
      yield* Effect.forEach(
        Array.from({ length: 400 }),
        () => {
          const body = oneOf([Transport.empty, Transport.text("a")])
          const request: Transport.Request = { method: "POST", target: "/", headers: [], body }
          const use = oneOf(uses)
          const call = Effect.scoped(
            Effect.flatMap(transport.exchange(server.origin, request, { totalMillis: 30 }), ({ body }) => use(body))
          )
          return Effect.exit(Effect.timeoutOption(call, oneOf([3, 10, 10_000])))
        },
        { concurrency: 20 }
      )
      clearInterval(watch)
      yield* Effect.sleep(50)
      yield* atRest(transport)
      expect(errors).toEqual([])
    })
  )

  it.live("is not spoken with who does not offer it: one connection finds out", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({
        tls: pair,
        answer: (received) => void setTimeout(() => received.reply(200, [], "ok"), 10)
      })
      const transport = yield* make({ maxSockets: 10 })
      const all = Array.from({ length: 30 }, () => fetch(transport, upstream.origin))
      expect(new Set(yield* Effect.all(all, { concurrency: "unbounded" }))).toEqual(new Set(["ok"]))
      expect(upstream.connections()).toBe(10)
      expect(yield* transport.statistics).toMatchObject({ byProtocol: { "http/1.1": 10, h2: 0 } })
      yield* atRest(transport)
    })
  )

  it.live("tells all who wait for a connection that it does not come about, and cuts it when they leave", () =>
    Effect.gen(function* () {
      const plain = yield* ScriptedUpstream.make()
      const transport = yield* make({ connect: 300, maxSockets: 3 })
      const origin = plain.origin.replace("http:", "https:")
      const failed = yield* Effect.all(
        Array.from({ length: 3 }, () => kindOf(transport, origin)),
        { concurrency: "unbounded" }
      )
      expect(failed).toEqual([1, 2, 3].map(() => ["head", "tls"]))
      const silent = yield* rawServer((socket) => void socket.resume())
      const waiting = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 3 }, () => fetch(transport, silent.origin.replace("http:", "https:"))),
          { concurrency: "unbounded" }
        )
      )
      yield* until(() => silent.sockets.size === 1)
      yield* Fiber.interrupt(waiting)
      yield* until(() => silent.sockets.size === 0)
      const [where, kind] = yield* kindOf(transport, silent.origin.replace("http:", "https:"))
      expect([where, kind]).toEqual(["head", "connectTimeout"])
      yield* Effect.sleep(20)
      yield* atRest(transport)
    })
  )

  it.live("leaves nothing when the scope closes, nor of many that are interrupted", () =>
    Effect.gen(function* () {
      const errors = yield* uncaught
      const server = yield* serve2((stream, headers) => {
        if (headers[":path"] === "/silent") return
        stream.respond({ ":status": 200 })
        stream.write("a")
      })
      const scope = yield* Scope.make()
      const transport = yield* Scope.provide(make(), scope)
      const many = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 300 }, (_, i) => fetch(transport, server.origin, i % 2 === 0 ? "/silent" : "/")),
          { concurrency: "unbounded" }
        )
      )
      yield* until(() => server.streams.length === 300, 5_000)
      yield* Fiber.interrupt(many)
      yield* until(() => server.streams.every(({ closed }) => closed), 5_000)
      yield* atRest(transport)
      const silent = yield* Effect.forkChild(failure(transport.exchange(server.origin, get("/silent"))))
      const { body } = yield* transport.exchange(server.origin, get("/"))
      const piping = yield* Effect.forkChild(Effect.flip(body.pipeTo(keep())))
      yield* until(() => server.streams.length === 302)
      yield* soon(Scope.close(scope, Exit.void))
      expect((yield* soon(Fiber.join(silent))).kind).toBe("closed")
      expect((yield* soon(Fiber.join(piping))).kind).toBe("closed")
      yield* until(() => server.sessions.size === 0)
      expect(errors).toEqual([])
    })
  )
})

describe("misuse", () => {
  it.live("dies of a sink that throws, now or later, and closes what it was for", () =>
    Effect.gen(function* () {
      const errors = yield* uncaught
      const server = yield* serve2((stream) => {
        stream.respond({ ":status": 200 })
        stream.write("a")
        setTimeout(() => stream.end("b"), 30)
      })
      const upstream = yield* ScriptedUpstream.make({
        tls: pair,
        answer: (received) => {
          received.head(200)
          received.write("a")
          setTimeout(() => received.write("b"), 30)
        }
      })
      const transport = yield* make({ maxSockets: 2 })
      for (const origin of [server.origin, upstream.origin]) {
        for (const after of [0, 1]) {
          let written = 0
          const write = (): boolean => {
            if (written++ === after) throw new Error("no more")
            return true
          }
          const { body } = yield* transport.exchange(origin, get("/"))
          if (after === 0) yield* Effect.sleep(15)
          const exit = yield* soon(Effect.exit(body.pipeTo({ write, onDrain: () => {} })))
          expect(Exit.hasDies(exit)).toBe(true)
        }
      }
      yield* Effect.sleep(20)
      yield* atRest(transport)
      expect(errors).toEqual([])
    })
  )
})
