import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { NodeHttp, NodeTransport } from "@fairlead/platform-node"
import { ScriptedUpstream } from "@fairlead/testing/node"
import { Deferred, Effect, Exit, Fiber, Schedule, Scope, Stream } from "effect"
import * as net from "node:net"
import { failure, get, keep, scripted, soon, text } from "./calls.ts"

describe("NodeTransport", () => {
  it.live("gives a short answer in whole, with the headers as they came", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const fiber = yield* Effect.forkChild(
        transport.exchange(upstream.origin, get("/a?b=%20c", ["X-One", "1", "x-one", "2"]))
      )
      const received = yield* upstream.next
      expect([received.method, received.target]).toEqual(["GET", "/a?b=%20c"])
      expect(received.headers.slice(-4)).toEqual(["X-One", "1", "x-one", "2"])
      received.reply(200, ["Set-Cookie", "a", "X-Ünicode".replace("Ü", "U"), "grüße", "set-cookie", "b"], "hello")
      const { body, headers, status } = yield* Fiber.join(fiber)
      expect(status).toBe(200)
      expect(headers.slice(0, 6)).toEqual(["Set-Cookie", "a", "X-Unicode", "grüße", "set-cookie", "b"])
      expect(body.bytes).toEqual(Buffer.from("hello"))
      expect(yield* text(body)).toBe("hello")
    })
  )

  it.live("holds no connection for a short answer that is not read yet", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({
        answer: (received) => received.reply(200, [], "x".repeat(65_536))
      })
      const transport = yield* NodeTransport.make()
      for (let i = 0; i < 5; i++) yield* transport.exchange(upstream.origin, get("/"))
      expect(new Set(upstream.received.map((received) => received.socket)).size).toBe(1)
    })
  )

  it.live("gives the head of a long answer at once, and its first bytes as they come", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, get("/events")))
      const received = yield* upstream.next
      received.head(200, ["Content-Type", "text/event-stream"])
      const { body } = yield* soon(Fiber.join(fiber))
      expect([body.length, body.bytes]).toEqual([undefined, undefined])
      const sink = keep()
      const piping = yield* Effect.forkChild(body.pipeTo(sink))
      for (const event of ["one", "two"]) {
        received.write(event)
        yield* soon(Effect.repeat(Effect.sleep(5), { until: () => sink.text().endsWith(event) }))
      }
      expect(piping.pollUnsafe()).toBe(undefined)
      received.end()
      yield* soon(Fiber.join(piping))
      expect(sink.text()).toBe("onetwo")
      // The connection serves the next exchange.
      yield* Effect.forkChild(transport.exchange(upstream.origin, get("/next")))
      expect((yield* upstream.next).socket).toBe(received.socket)
    })
  )

  it.live("gives no body to HEAD, 204 and 304, whatever their length says", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({
        answer: (received) =>
          received.reply(Number(received.target.slice(1)), [
            "Content-Length",
            received.method === "HEAD" ? "99999" : "0"
          ])
      })
      const transport = yield* NodeTransport.make()
      const head = yield* transport.exchange(upstream.origin, { ...get("/200"), method: "HEAD" })
      expect(head.body).toBe(Transport.empty)
      expect(Transport.header(head.headers, "content-length")).toBe("99999")
      for (const status of [204, 304]) {
        const reply = yield* transport.exchange(upstream.origin, get(`/${status}`))
        expect([reply.status, reply.body]).toEqual([status, Transport.empty])
      }
    })
  )

  it.live("passes interim answers on, and goes on to the final one", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const interim: Array<unknown> = []
      const onInformation = (status: number, headers: Transport.Headers) => interim.push([status, ...headers])
      const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, get("/"), { onInformation }))
      const received = yield* upstream.next
      received.inform(102)
      received.inform(103, ["Link", "</style.css>"])
      received.reply(200, [], "done")
      expect(yield* text((yield* Fiber.join(fiber)).body)).toBe("done")
      expect(interim).toEqual([[102], [103, "Link", "</style.css>"]])
    })
  )

  it.live("passes over a 100 that nobody asked for, in whatever pieces it comes", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const again = "HTTP/1.1 100 Continue\r\nX: a\r\n\r\n"
      const answer = "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\nHTTP/1.1 100 done"
      for (const pieces of [
        [again, answer],
        [again + again + answer],
        [again.slice(0, 30), again.slice(30) + answer],
        [again.slice(0, 5), again.slice(5) + again.slice(0, 11), again.slice(11) + answer.slice(0, 9), answer.slice(9)]
      ]) {
        const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, get("/")))
        const received = yield* upstream.next
        for (const piece of pieces) {
          received.socket.write(piece)
          yield* Effect.sleep("20 millis")
        }
        const { body, status } = yield* soon(Fiber.join(fiber))
        expect([status, yield* text(body)]).toEqual([200, "HTTP/1.1 100 done"])
      }
    })
  )

  it.live("takes nothing out of a body, whatever it looks like", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, get("/")))
      const received = yield* upstream.next
      received.head(200, ["Content-Length", "29"])
      yield* Effect.sleep("20 millis")
      received.write("HTTP/1.1 100 Continue\r\n\r\ndone")
      const { body } = yield* soon(Fiber.join(fiber))
      expect(yield* text(body)).toBe("HTTP/1.1 100 Continue\r\n\r\ndone")
    })
  )

  it.live("does not wait for the end of a 100 that has none", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const fiber = yield* Effect.forkChild(failure(transport.exchange(upstream.origin, get("/"))))
      const received = yield* upstream.next
      received.socket.on("error", () => {})
      received.socket.write(`HTTP/1.1 100 Continue\r\nX: ${"a".repeat(100_000)}`)
      expect((yield* soon(Fiber.join(fiber))).kind).toBe("protocol")
    })
  )

  it.live("frames a request as its body is, whatever the headers say", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const lies = [
        "Content-Length",
        "99",
        "Transfer-Encoding",
        "gzip",
        "Connection",
        "x",
        "Expect",
        "y",
        "Upgrade",
        "z"
      ]
      const post = (body: Transport.Body) =>
        Effect.gen(function* () {
          const request: Transport.Request = { method: "POST", target: "/", headers: lies, body }
          const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, request))
          const received = yield* upstream.next
          const framing = [received.header("content-length"), received.header("transfer-encoding")]
          expect(received.header("expect") ?? received.header("upgrade")).toBe(undefined)
          const content = (yield* received.body).toString()
          received.reply(200)
          yield* Fiber.join(fiber)
          return [...framing, content]
        })
      const streamed = (length?: number) => {
        const { body, end, sink } = scripted(length)
        Effect.runFork(
          Effect.map(sink, (sink) => {
            sink.write(Buffer.from("hel"))
            sink.write(Buffer.from("lo"))
            // Not at once: of a body that has ended by then, undici knows the length.
            setTimeout(() => Deferred.doneUnsafe(end, Exit.void), 20)
          })
        )
        return body
      }
      expect(yield* post(Transport.text("hello"))).toEqual(["5", undefined, "hello"])
      expect(yield* post(streamed(5))).toEqual(["5", undefined, "hello"])
      expect(yield* post(streamed())).toEqual([undefined, "chunked", "hello"])
      expect(yield* post(Transport.empty)).toEqual(["0", undefined, ""])
    })
  )

  it.live("says when the first byte goes out: of a streamed body, not before the body's", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const { body, end, sink } = scripted()
      let sent = 0
      const request: Transport.Request = { method: "POST", target: "/", headers: [], body }
      const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, request, { onSent: () => sent++ }))
      const { write } = yield* sink
      yield* Effect.sleep("50 millis")
      expect([sent, upstream.received.length]).toEqual([0, 0])
      write(Buffer.from("a"))
      const received = yield* upstream.next
      expect(sent).toBe(1)
      Deferred.doneUnsafe(end, Exit.void)
      received.reply(200)
      yield* Fiber.join(fiber)
      expect(sent).toBe(1)
    })
  )

  it.live("takes an answer that comes before the request's body is sent", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const { body, sink, state } = scripted(1_000_000)
      const request: Transport.Request = { method: "POST", target: "/", headers: [], body }
      const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, request))
      ;(yield* sink).write(Buffer.from("a"))
      const received = yield* upstream.next
      received.reply(413, [], "too large")
      const reply = yield* soon(Fiber.join(fiber))
      expect([reply.status, yield* text(reply.body)]).toEqual([413, "too large"])
      yield* soon(received.closed)
      expect(state.aborted).toBe(true)
    })
  )

  it.live("fails when the request's body does, and cuts the upstream off", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      for (const failing of [true, false]) {
        const { body, end, sink } = scripted(failing ? undefined : 10)
        const request: Transport.Request = { method: "POST", target: "/", headers: [], body }
        const fiber = yield* Effect.forkChild(failure(transport.exchange(upstream.origin, request)))
        ;(yield* sink).write(Buffer.from("abc"))
        const received = yield* upstream.next
        Deferred.doneUnsafe(
          end,
          failing ? Effect.fail(new Transport.BodyFailed({ kind: "reset", cause: 1 })) : Exit.void
        )
        const { kind, sent } = yield* soon(Fiber.join(fiber))
        expect([kind, sent]).toEqual(["requestBody", true])
        yield* soon(received.closed)
      }
    })
  )

  it.live("sends a stream, with its length where that is known, and interrupts it when the caller leaves", () =>
    Effect.gen(function* () {
      const server = yield* NodeHttp.serve(
        ({ body, headers }) => {
          const got = keep()
          return Effect.map(Effect.orDie(body.pipeTo(got)), () => ({
            status: 200,
            headers: [],
            body: Transport.text(`${Transport.header(headers, "content-length")} ${got.text().length}`)
          }))
        },
        { port: 0, drain: 0 }
      )
      const transport = yield* NodeTransport.make()
      const send = (body: Transport.Body) =>
        transport
          .exchange(`http://127.0.0.1:${server.port}`, { method: "POST", target: "/", headers: [], body })
          .pipe(Effect.flatMap((reply) => text(reply.body)))
      const chunks = Stream.repeat(Stream.succeed(new Uint8Array(65_536)), Schedule.recurs(99))
      expect(yield* send(Transport.stream(chunks))).toBe("undefined 6553600")
      expect(yield* send(Transport.stream(chunks, 6_553_600))).toBe("6553600 6553600")
      let interrupted = false
      const endless = Stream.onExit(Stream.concat(chunks, Stream.never), (exit) =>
        Effect.sync(() => (interrupted = Exit.hasInterrupts(exit)))
      )
      const fiber = yield* Effect.forkChild(Effect.exit(send(Transport.stream(endless))))
      yield* Effect.sleep("50 millis")
      yield* Fiber.interrupt(fiber)
      expect(interrupted).toBe(true)
    })
  )

  it.live("lets go of the request's body where nobody came to read it", () =>
    Effect.gen(function* () {
      const gone = yield* Effect.scoped(ScriptedUpstream.make())
      const transport = yield* NodeTransport.make()
      const { body, state } = scripted(5)
      const { kind } = yield* failure(transport.exchange(gone.origin, { ...get("/"), method: "POST", body }))
      expect([kind, state.aborted]).toEqual(["refused", true])
    })
  )

  it.live("closes the connection at once when the caller leaves, waiting for the head or for the body", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      for (const phase of ["head", "whole", "body"]) {
        const call = Effect.flatMap(transport.exchange(upstream.origin, get("/")), ({ body }) => body.pipeTo(keep()))
        const fiber = yield* Effect.forkChild(Effect.scoped(call))
        const received = yield* upstream.next
        if (phase !== "head") {
          received.head(200, phase === "whole" ? ["Content-Length", "9"] : [])
          received.write("a")
        }
        yield* Effect.sleep("30 millis")
        const start = performance.now()
        yield* Fiber.interrupt(fiber)
        expect((yield* soon(received.closed)) - start).toBeLessThan(100)
      }
    })
  )

  it.live("closes the connection of a reply that nobody reads, with the scope, or when it is dropped", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      for (const dropped of [true, false]) {
        const scope = yield* Scope.make()
        const fiber = yield* Effect.forkChild(Scope.provide(transport.exchange(upstream.origin, get("/")), scope))
        const received = yield* upstream.next
        received.head(200)
        received.write("x".repeat(1_000))
        const { body } = yield* Fiber.join(fiber)
        yield* Effect.sleep("30 millis")
        expect(upstream.connections()).toBe(1)
        if (dropped) body.abort()
        else yield* Scope.close(scope, Exit.void)
        yield* soon(received.closed)
        yield* Scope.close(scope, Exit.void)
      }
    })
  )

  it.live("stops an upstream that sends more than the sink takes, and loses nothing", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, get("/")))
      const received = yield* upstream.next
      received.head(200)
      const { body } = yield* Fiber.join(fiber)
      let taken = 0
      let drain = () => {}
      const piping = yield* Effect.forkChild(
        body.pipeTo({ write: (chunk) => (taken += chunk.length) < 0, onDrain: (resume) => (drain = resume) })
      )
      const chunk = Buffer.alloc(65_536)
      let given = 0
      while (received.write(chunk) && given < 1_000) given++
      for (let i = 0; i < 200; i++) received.write(chunk)
      yield* Effect.sleep("100 millis")
      expect(taken).toBeLessThan(1_000_000)
      received.end()
      while (piping.pollUnsafe() === undefined) {
        drain()
        yield* Effect.sleep(0)
      }
      yield* Fiber.join(piping)
      expect(taken).toBe((given + 1 + 200) * chunk.length)
    })
  )

  it.live("loses nothing of an answer whose connection ends before anybody reads", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const fiber = yield* Effect.forkChild(transport.exchange(upstream.origin, get("/")))
      const received = yield* upstream.next
      received.socket.end("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end")
      const { body } = yield* Fiber.join(fiber)
      yield* Effect.sleep("50 millis")
      expect(yield* soon(text(body))).toBe("until the end")
    })
  )

  it.live("says what went wrong, and whether anything was sent", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const fails = (
        origin: string,
        act?: (received: ScriptedUpstream.Received) => void,
        options?: Transport.Options
      ) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(failure(transport.exchange(origin, get("/"), options)))
          if (act !== undefined) act(yield* upstream.next)
          const { kind, sent } = yield* Fiber.join(fiber)
          return [kind, sent]
        })
      const gone = yield* Effect.scoped(ScriptedUpstream.make())
      expect(yield* fails(gone.origin)).toEqual(["refused", false])
      expect(yield* fails(`http://localhost:${gone.port}`)).toEqual(["refused", false])
      expect(yield* fails("http://name.invalid")).toEqual(["dns", false])
      expect(yield* fails("https://127.0.0.1:" + upstream.port)).toEqual(["tls", false])
      expect(yield* fails("no origin")).toEqual(["protocol", false])
      expect(yield* fails(upstream.origin, (received) => received.reset())).toEqual(["reset", true])
      expect(yield* fails(upstream.origin, (received) => received.hangUp())).toEqual(["reset", true])
      expect(yield* fails(upstream.origin, (received) => received.socket.end("no http\r\n\r\n"))).toEqual([
        "protocol",
        true
      ])
      expect(yield* fails(upstream.origin, () => {}, { firstByteMillis: 200 })).toEqual(["headersTimeout", true])
      const cutShort = (received: ScriptedUpstream.Received) => {
        received.head(200, ["Content-Length", "5"])
        received.write("abc")
        received.hangUp()
      }
      expect(yield* fails(upstream.origin, cutShort)).toEqual(["incomplete", true])
    })
  )

  it.live("fails the body that is cut short, goes silent, or is reset", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make()
      const fails = (act: (received: ScriptedUpstream.Received) => void, headers: ReadonlyArray<string> = []) =>
        Effect.gen(function* () {
          const exchange = transport.exchange(upstream.origin, get("/"), { idleMillis: 300 })
          const fiber = yield* Effect.forkChild(exchange)
          const received = yield* upstream.next
          received.head(200, headers)
          received.write("abc")
          const sink = keep()
          const { body } = yield* Fiber.join(fiber)
          const piping = yield* Effect.forkChild(Effect.flip(body.pipeTo(sink)))
          yield* Effect.sleep("20 millis")
          act(received)
          const { kind } = yield* soon(Fiber.join(piping), 5_000)
          expect(sink.text()).toBe("abc")
          yield* soon(received.closed)
          return kind
        })
      expect(yield* fails((received) => received.reset())).toBe("reset")
      expect(yield* fails((received) => received.hangUp())).toBe("incomplete")
      expect(yield* fails((received) => received.hangUp(), ["Content-Length", "99999"])).toBe("incomplete")
      expect(yield* fails(() => {})).toBe("idleTimeout")
    })
  )

  it.live("refuses what is no HTTP, and is as good as before afterwards", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(204) })
      const transport = yield* NodeTransport.make()
      const bad: ReadonlyArray<Partial<Transport.Request>> = [
        { target: "/a b" },
        { target: "*" },
        { method: "CONNECT" },
        { method: "BAD METHOD" },
        { headers: ["x", "a\r\nb: c"] },
        { headers: ["bad name", "a"] },
        { headers: ["Host", "a", "host", "b"] }
      ]
      for (const part of bad) {
        const { kind, sent } = yield* failure(transport.exchange(upstream.origin, { ...get("/"), ...part }))
        expect([kind, sent]).toEqual(["protocol", false])
        expect((yield* transport.exchange(upstream.origin, get("/"))).status).toBe(204)
      }
    })
  )

  it.live("leaves nothing behind when its scope closes: idle, waiting or half read", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({
        answer: (received) => {
          if (received.target === "/idle") received.reply(200)
          if (received.target === "/open") received.head(200)
        }
      })
      const scope = yield* Scope.make()
      const transport = yield* Scope.provide(NodeTransport.make(), scope)
      const waiting = yield* Effect.forkChild(failure(transport.exchange(upstream.origin, get("/waiting"))))
      const open = yield* transport.exchange(upstream.origin, get("/open"))
      const piping = yield* Effect.forkChild(Effect.flip(open.body.pipeTo(keep())))
      yield* transport.exchange(upstream.origin, get("/idle"))
      expect(upstream.connections()).toBe(3)
      yield* Scope.close(scope, Exit.void)
      expect((yield* soon(Fiber.join(waiting))).kind).toBe("closed")
      expect((yield* soon(Fiber.join(piping))).kind).toBe("closed")
      yield* soon(Effect.forEach(upstream.received, (received) => received.closed))
      const late = yield* failure(transport.exchange(upstream.origin, get("/late")))
      expect([late.kind, late.sent]).toEqual(["closed", false])
    })
  )

  it.live("cuts a connection in the making when the caller leaves", () =>
    Effect.gen(function* () {
      const transport = yield* NodeTransport.make()
      // Nobody answers there (TEST-NET-1), or the net says so at once: either way nothing is left.
      const fiber = yield* Effect.forkChild(transport.exchange("http://192.0.2.1", get("/")))
      yield* Effect.sleep("20 millis")
      yield* Fiber.interrupt(fiber)
      yield* Effect.sleep("20 millis")
      expect(process.getActiveResourcesInfo().filter((name) => name === "TCPConnectWrap")).toEqual([])
    })
  )

  it.live("cuts a connection whose handshake is under way when the caller leaves", () =>
    Effect.gen(function* () {
      // Accepts, and says nothing.
      const began = Deferred.makeUnsafe<net.Socket>()
      const server = net.createServer((socket) => Deferred.doneUnsafe(began, Effect.succeed(socket)))
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => server.close())
      )
      const { port } = server.address() as net.AddressInfo
      const transport = yield* NodeTransport.make()
      const fiber = yield* Effect.forkChild(transport.exchange(`https://127.0.0.1:${port}`, get("/")))
      const socket = yield* Deferred.await(began)
      const closed = Effect.callback<void>((resume) => {
        socket
          .on("error", () => {})
          .on("close", () => resume(Effect.void))
          .resume()
      })
      const closing = yield* Effect.forkChild(closed, { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      yield* soon(Fiber.join(closing))
    })
  )
})

describe("misuse", () => {
  it.live("dies when a body is piped a second time", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.head(200) })
      const transport = yield* NodeTransport.make()
      const { body } = yield* transport.exchange(upstream.origin, get("/"))
      yield* Effect.forkChild(body.pipeTo(keep()), { startImmediately: true })
      const exit = yield* Effect.exit(body.pipeTo(keep()))
      expect(Exit.hasDies(exit)).toBe(true)
    })
  )
})
