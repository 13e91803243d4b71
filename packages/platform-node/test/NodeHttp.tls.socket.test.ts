/** A server with TLS: who speaks which HTTP, and that HTTP/2 keeps what HTTP/1.1 promises. */
import { describe, expect, it } from "@effect/vitest"
import { Reason, Transport } from "@fairlead/core"
import type { NodeHttp } from "@fairlead/platform-node"
import { Cause, Deferred, Effect, Exit, Logger, Scope } from "effect"
import { execFile } from "node:child_process"
import * as http2 from "node:http2"
import * as https from "node:https"
import * as net from "node:net"
import * as tls from "node:tls"
import * as undici from "undici"
import {
  answerOf,
  block,
  connect,
  endHeaders,
  endStream,
  frame,
  raw,
  request,
  serve,
  uncaught,
  usual
} from "./secure.ts"
import type { Raw, Secure } from "./secure.ts"
import { flowing, reply } from "./replies.ts"

const soon = <A, E, R>(self: Effect.Effect<A, E, R>, millis = 3_000) => Effect.timeout(self, millis)

/** Keeps the log quiet where a defect is what is tested. */
const silent = Effect.provide(Logger.layer([]))

/** All of a body, as text. */
const read = (body: Transport.Body) =>
  Effect.suspend(() => {
    let text = ""
    const sink: Transport.Sink = {
      write: (chunk) => {
        text += Buffer.from(chunk).toString("latin1")
        return true
      },
      onDrain: () => {}
    }
    return Effect.map(body.pipeTo(sink), () => text)
  })

const echo: NodeHttp.Handler<never> = ({ body, headers, method, target }) =>
  Effect.orDie(Effect.map(read(body), (text) => reply(200, JSON.stringify([method, target, headers, text]))))

const get1 = (server: Secure, options: https.RequestOptions & tls.ConnectionOptions = {}) =>
  Effect.promise(
    () =>
      new Promise<{ readonly status: number | undefined; readonly version: string; readonly text: string }>(
        (resolve, reject) =>
          https
            .get({ host: "localhost", port: server.port, ca: server.pair.ca, agent: false, ...options }, (response) => {
              let text = ""
              response
                .on("data", (chunk) => (text += chunk))
                .on("end", () => resolve({ status: response.statusCode, version: response.httpVersion, text }))
            })
            .on("error", reject)
      )
  )

describe("NodeHttp with TLS", () => {
  it.live("speaks HTTP/2 with who offers it, and HTTP/1.1 with everybody else", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(reply(200, "ok", ["X-One", "1"])))
      const session = yield* connect(server)
      expect(yield* soon(request(session))).toMatchObject({ status: 200, text: "ok", headers: { "x-one": "1" } })
      for (const offers of [{}, { ALPNProtocols: ["http/1.1"] }, { ALPNProtocols: ["foo", "http/1.1"] }]) {
        expect(yield* soon(get1(server, offers))).toEqual({ status: 200, version: "1.1", text: "ok" })
      }
      // RFC 7301, 3.2: who offers nothing that we speak is told so.
      const refused = yield* Effect.exit(soon(get1(server, { ALPNProtocols: ["foo"] })))
      expect(Exit.isFailure(refused) && Cause.pretty(refused.cause)).toMatch(/no application protocol/i)
    })
  )

  it.live("is understood by curl and by undici", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(reply(200, "ok")))
      const agent = new undici.Agent({ allowH2: true, connect: { ca: server.pair.ca } })
      yield* Effect.addFinalizer(() => Effect.promise(() => agent.destroy()))
      const url = `https://localhost:${server.port}/`
      const text = yield* Effect.promise(async () => (await undici.request(url, { dispatcher: agent })).body.text())
      expect(text).toBe("ok")
      for (const [flag, version] of [
        ["--http2", "2"],
        ["--http1.1", "1.1"]
      ] as const) {
        const said = yield* Effect.promise(
          () =>
            new Promise<string>((resolve) => {
              const child = execFile("curl", ["-sS", "-k", flag, "-w", " %{http_version}", url], (error, out, err) => {
                // Not everybody has one, or one that speaks HTTP/2.
                const lacks = error !== null && (error.code === "ENOENT" || /unsupported|not supported/.test(err))
                resolve(lacks ? `ok ${version}` : out + err)
              })
              child.stdin?.end()
            })
        )
        expect(said).toBe(`ok ${version}`)
      }
    })
  )

  it.live("takes nothing older than TLS 1.2, and nothing that is no TLS", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(reply(200)))
      const old = yield* Effect.promise(
        () =>
          new Promise<string>((resolve) =>
            tls
              .connect({
                host: "localhost",
                port: server.port,
                ca: server.pair.ca,
                minVersion: "TLSv1.1",
                maxVersion: "TLSv1.1",
                ciphers: "DEFAULT@SECLEVEL=0"
              })
              .on("secureConnect", () => resolve("taken"))
              .on("error", (error) => resolve(error.message))
          )
      )
      expect(old).toMatch(/alert protocol version|unsupported protocol/)
      const plain = net.connect(server.port, "127.0.0.1", () => plain.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
      const ended = yield* soon(
        Effect.promise(
          () => new Promise<number>((end) => plain.on("error", () => {}).on("close", () => end(plain.bytesRead)))
        )
      )
      // At most an alert, and no HTTP.
      expect(ended).toBeLessThan(16)
    })
  )

  it.live("hands on a request of HTTP/2 as one of HTTP/1.1", () =>
    Effect.gen(function* () {
      const server = yield* serve(echo)
      const session = yield* connect(server)
      const answer = yield* soon(
        request(session, { ":method": "POST", ":path": "/a/../b?c=%20", "x-two": ["a", "b"], cookie: "a=1" }, "hello")
      )
      expect(JSON.parse(answer.text)).toEqual([
        "POST",
        "/a/../b?c=%20",
        ["host", `localhost:${server.port}`, "x-two", "a", "x-two", "b", "cookie", "a=1"],
        "hello"
      ])
      const client = yield* raw(server)
      const fields = block(...usual, ["cookie", "a=1"], ["x-a", "b"], ["cookie", "b=2"], ["host", "LOCALHOST"])
      client.write(frame("HEADERS", endHeaders | endStream, 1, fields))
      const { payload } = yield* soon(client.until(({ stream, type }) => type === "DATA" && stream === 1))
      expect(JSON.parse(payload.toString())[2]).toEqual(["cookie", "a=1; b=2", "x-a", "b", "host", "LOCALHOST"])
    })
  )

  it.live(
    "says a reply as HTTP/2 may: no fields of a connection, no body where none may be, its length where it is known",
    () =>
      Effect.gen(function* () {
        const hops = [
          "Connection",
          "close",
          "Keep-Alive",
          "1",
          "Transfer-Encoding",
          "gzip",
          "Upgrade",
          "a",
          "Proxy-Connection",
          "b"
        ]
        const server = yield* serve(({ method, target }) => {
          const status = Number(target.slice(1))
          const body =
            status === 999
              ? flowing((sink) => Effect.sync(() => void sink.write(Buffer.from("flow"))))
              : Transport.text("body")
          return Effect.succeed({
            status: status === 999 ? 200 : status,
            headers: [
              "X-One",
              "1",
              "x-one",
              "2",
              "Set-Cookie",
              "a",
              "Set-Cookie",
              "b",
              "Content-Length",
              "9",
              ...hops,
              "X-Method",
              method
            ],
            body
          })
        })
        const session = yield* connect(server)
        const ask = (status: number, method = "GET") =>
          soon(request(session, { ":path": `/${status}`, ":method": method }))
        const ok = yield* ask(200)
        expect(ok).toMatchObject({ status: 200, text: "body", error: undefined, code: 0 })
        expect(ok.headers).toMatchObject({
          "x-one": "1, 2",
          "set-cookie": ["a", "b"],
          "content-length": "4",
          "x-method": "GET"
        })
        expect(Object.keys(ok.headers).toSorted()).toEqual([
          ":status",
          "content-length",
          "date",
          "set-cookie",
          "x-method",
          "x-one"
        ])
        expect(yield* ask(200, "HEAD")).toMatchObject({
          status: 200,
          text: "",
          headers: { "content-length": "9" },
          error: undefined
        })
        for (const status of [204, 205]) {
          const none = yield* ask(status)
          expect(none).toMatchObject({ status, text: "", error: undefined })
          expect(none.headers["content-length"]).toBeUndefined()
        }
        expect(yield* ask(304)).toMatchObject({ status: 304, text: "", error: undefined })
        const flown = yield* ask(999)
        expect(flown).toMatchObject({ status: 200, text: "flow", error: undefined })
        expect(flown.headers["content-length"]).toBeUndefined()
        // What cannot be said by HTTP/2.
        for (const status of [101, 600]) expect(yield* ask(status)).toMatchObject({ status: 502 })
      })
  )

  it.live("answers 502 where a reply holds what no header may, and sends nothing of it", () =>
    Effect.gen(function* () {
      const bad: ReadonlyArray<Transport.Headers> = [
        ["X-A", "a\r\nX-B: b"],
        ["X-A", "a\0x-b"],
        ["X A", "a"],
        [":status", "201"]
      ]
      const server = yield* serve(({ target }) => Effect.succeed(reply(200, "secret", bad[Number(target.slice(1))])))
      const session = yield* connect(server)
      for (const i of bad.keys()) {
        const answer = yield* soon(request(session, { ":path": `/${i}` }))
        expect(answer).toMatchObject({ status: 502, error: undefined })
        expect(answer.text).not.toContain("secret")
      }
    })
  )

  it.live("moves bodies both ways, however large", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ body }) =>
        Effect.orDie(Effect.map(read(body), (text) => ({ status: 200, headers: [], body: Transport.text(text) })))
      )
      const session = yield* connect(server)
      const text = "0123456789abcdef".repeat(200_000)
      const answer = yield* soon(request(session, { ":method": "POST" }, text), 10_000)
      expect([answer.text.length, answer.text === text, answer.headers["content-length"]]).toEqual([
        3_200_000,
        true,
        "3200000"
      ])
    })
  )

  it.live("serves the streams of a connection beside each other, and one that is not read stops no other", () =>
    Effect.gen(function* () {
      const held = Deferred.makeUnsafe<void>()
      const server = yield* serve(({ body, target }) =>
        target === "/held"
          ? Effect.as(Deferred.await(held), reply(200, "held"))
          : Effect.orDie(Effect.map(read(body), (text) => reply(200, `${text.length}`)))
      )
      const session = yield* connect(server)
      const streams = Array.from({ length: 3 }, () => session.request({ ":path": "/held", ":method": "POST" }))
      for (const stream of streams) stream.on("error", () => {}).write(Buffer.alloc(200_000))
      while (server.inFlight() < 3) yield* Effect.sleep("1 millis")
      const answer = yield* soon(request(session, { ":method": "POST" }, "a".repeat(1_000_000)))
      expect(answer.text).toBe("1000000")
      yield* Deferred.succeed(held, undefined)
      const answers = yield* soon(Effect.promise(() => Promise.all(streams.map(answerOf))))
      expect(answers.filter(({ error, text }) => text !== "held" || error !== undefined)).toEqual([])
    })
  )

  it.live("stops an upload that is not taken, and holds no more of it than a window", () =>
    Effect.gen(function* () {
      let drain = () => {}
      let taken = 0
      const server = yield* serve(({ body }) =>
        Effect.orDie(
          Effect.as(
            body.pipeTo({
              write: (chunk) => {
                taken += chunk.length
                return false
              },
              onDrain: (resume) => (drain = resume)
            }),
            reply(200)
          )
        )
      )
      const session = yield* connect(server)
      const stream = session.request({ ":method": "POST" })
      const answer = answerOf(stream)
      let flushed = 0
      for (let i = 0; i < 40; i++) stream.write(Buffer.alloc(50_000), () => flushed++)
      stream.end()
      yield* Effect.sleep("200 millis")
      expect(taken).toBeLessThanOrEqual(16_384 * 4)
      expect(flushed).toBeLessThan(5)
      const timer = setInterval(() => drain(), 1)
      expect(
        yield* soon(
          Effect.promise(() => answer),
          10_000
        )
      ).toMatchObject({ status: 200 })
      clearInterval(timer)
      expect(taken).toBe(2_000_000)
    })
  )

  it.live("holds no more of an answer than its client lets it, and goes on when it takes some", () =>
    Effect.gen(function* () {
      let written = 0
      const server = yield* serve(() =>
        Effect.succeed({
          status: 200,
          headers: [],
          body: flowing((sink) =>
            Effect.callback((resume) => {
              const go = (): void => {
                while (written < 5_000_000) {
                  written += 16_384
                  if (!sink.write(Buffer.alloc(16_384))) return sink.onDrain(go)
                }
                resume(Effect.void)
              }
              go()
            })
          )
        })
      )
      const session = yield* connect(server)
      const stream = session.request({})
      stream.pause()
      yield* Effect.sleep("200 millis")
      const before = written
      expect(before).toBeLessThan(400_000)
      const answer = yield* soon(
        Effect.promise(() => {
          const whole = answerOf(stream)
          stream.resume()
          return whole
        }),
        10_000
      )
      expect(answer.text.length).toBe(written)
      expect(written).toBeGreaterThan(before)
    })
  )

  it.live("tells who asks first to go on, and passes interim answers on", () =>
    Effect.gen(function* () {
      const server = yield* serve((request) => {
        request.inform(103, ["Link", "</a>", "Connection", "close"])
        request.inform(103, ["Link", "bad\n"])
        request.inform(101, [])
        return Effect.orDie(
          Effect.map(read(request.body), (text) => {
            request.inform(102, [])
            return reply(200, `${request.expectsContinue} ${text}`)
          })
        )
      })
      const session = yield* connect(server)
      const stream = session.request({ ":method": "POST", expect: "100-continue" })
      stream.on("continue", () => stream.end("body"))
      const answer = yield* soon(Effect.promise(() => answerOf(stream)))
      expect(answer).toMatchObject({ status: 200, text: "true body" })
      expect(answer.informed.map((each) => [each[":status"], each["link"], each["connection"]])).toEqual([
        [103, "</a>", undefined],
        [100, undefined, undefined],
        [102, undefined, undefined]
      ])
    })
  )

  it.live("cuts the call of a client that resets it, or goes, in the handler and in either body", () =>
    Effect.gen(function* () {
      const errors = yield* uncaught
      const begun: Array<Deferred.Deferred<void>> = [Deferred.makeUnsafe()]
      const ends: Array<[string, string]> = []
      const server = yield* serve((request, region) => {
        const { body, progress, target } = request
        request.observer = {
          onDeadline: () => reply(504),
          onEnd: () => void ends.push([target, `${progress.end} ${region.reason?._tag}`])
        }
        const wait = Effect.andThen(
          Effect.sync(() => Deferred.doneUnsafe(begun.at(-1)!, Effect.void)),
          Effect.never
        )
        if (target === "/handler") return wait
        if (target === "/answer") return Effect.succeed({ status: 200, headers: [], body: flowing(() => wait) })
        return Effect.as(
          Effect.orDie(
            body.pipeTo({
              write: () => {
                Deferred.doneUnsafe(begun.at(-1)!, Effect.void)
                return true
              },
              onDrain: () => {}
            })
          ),
          reply(200)
        )
      })
      const reset = (code: number) => frame("RST_STREAM", 0, 1, Buffer.from([0, 0, 0, code]))
      const ways: ReadonlyArray<(client: Raw) => void> = [
        (client) => client.write(reset(http2.constants.NGHTTP2_CANCEL)),
        (client) => client.write(reset(http2.constants.NGHTTP2_INTERNAL_ERROR)),
        // By what says that nothing is wrong, an upload does not become a whole one.
        (client) => client.write(reset(http2.constants.NGHTTP2_NO_ERROR)),
        (client) => client.write(frame("GOAWAY", 0, 0, Buffer.from([0, 0, 0, 0, 0, 0, 0, 2]))),
        (client) => client.socket.end(),
        (client) => client.socket.destroy()
      ]
      for (const target of ["/handler", "/answer", "/upload"]) {
        for (const leave of ways) {
          const client = yield* raw(server)
          const fields = block([":method", "POST"], ...usual.slice(1, 3), [":path", target])
          client.write(frame("HEADERS", endHeaders, 1, fields), frame("DATA", 0, 1, Buffer.from("a")))
          yield* soon(Deferred.await(begun.at(-1)!))
          leave(client)
          const before = ends.length
          yield* soon(
            Effect.gen(function* () {
              while (ends.length === before) yield* Effect.sleep("1 millis")
            })
          )
          expect(ends.at(-1)).toEqual([target, "clientGone ClientGone"])
          begun.push(Deferred.makeUnsafe())
        }
      }
      expect(server.inFlight()).toBe(0)
      yield* Effect.sleep("20 millis")
      expect(errors).toEqual([])
    })
  )

  it.live("answers a call past its deadline, and resets one whose head is out", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ target }, region) => {
        region.narrowUnsafe(50)
        return target === "/early"
          ? Effect.never
          : Effect.succeed({
              status: 200,
              headers: [],
              body: flowing((sink) =>
                Effect.andThen(
                  Effect.sync(() => sink.write(Buffer.from("half"))),
                  Effect.never
                )
              )
            })
      })
      const session = yield* connect(server)
      expect(yield* soon(request(session, { ":path": "/early" }))).toMatchObject({ status: 504, error: undefined })
      const late = yield* soon(request(session, { ":path": "/late" }))
      expect(late).toMatchObject({ status: 200, text: "half", code: http2.constants.NGHTTP2_INTERNAL_ERROR })
      // It is the stream that ended, not the connection.
      expect(yield* soon(request(session, { ":path": "/early" }))).toMatchObject({ status: 504 })
    })
  )

  it.live("answers 500 for a defect, and resets what breaks off", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ target }) => {
        if (target === "/throws") throw new Error("secret")
        if (target === "/dies") return Effect.die(new Error("secret"))
        return Effect.succeed({
          status: 200,
          headers: [],
          body: flowing((sink) =>
            Effect.andThen(
              Effect.sync(() => sink.write(Buffer.from("half"))),
              Effect.fail(new Transport.BodyFailed({ kind: "incomplete", cause: undefined }))
            )
          )
        })
      })
      const session = yield* connect(server)
      for (const target of ["/throws", "/dies"]) {
        const answer = yield* soon(request(session, { ":path": target }))
        expect(answer).toMatchObject({ status: 500, error: undefined })
        expect(answer.text).not.toContain("secret")
      }
      expect(yield* soon(request(session, { ":path": "/half" }))).toMatchObject({
        status: 200,
        code: http2.constants.NGHTTP2_INTERNAL_ERROR
      })
    }).pipe(silent)
  )

  it.live("tells a client whose body nobody wants that it need not send it, and answers", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(reply(200, "enough")))
      const session = yield* connect(server)
      const stream = session.request({ ":method": "POST" })
      stream.write(Buffer.alloc(300_000))
      const answer = yield* soon(Effect.promise(() => answerOf(stream)))
      expect(answer).toMatchObject({
        status: 200,
        text: "enough",
        code: http2.constants.NGHTTP2_NO_ERROR,
        error: undefined
      })
      expect(yield* soon(request(session))).toMatchObject({ status: 200 })
    })
  )

  it.live("cuts who stalls, in what it sends or in what it takes, and nobody else", () =>
    Effect.gen(function* () {
      const ends: Array<string> = []
      const server = yield* serve(
        (request) => {
          const { body, progress, target } = request
          request.observer = { onDeadline: () => reply(504), onEnd: () => void ends.push(`${target} ${progress.end}`) }
          if (target === "/up") return Effect.as(Effect.orDie(read(body)), reply(200))
          // In memory, or in a stream; more than a client takes that reads nothing.
          if (target === "/whole") return Effect.succeed(reply(200, "a".repeat(500_000)))
          if (target === "/slow") return Effect.delay(Effect.succeed(reply(200, "slow")), 1_000)
          return Effect.succeed({
            status: 200,
            headers: [],
            body: flowing((sink) =>
              Effect.callback((resume) => {
                const go = (): void => {
                  for (let i = 0; i < 20; i++) if (!sink.write(Buffer.alloc(32_768))) return sink.onDrain(go)
                  resume(Effect.void)
                }
                go()
              })
            )
          })
        },
        { idle: 200, headers: 200 }
      )
      const session = yield* connect(server)
      const streams = ["/up", "/whole", "/flow"].map((path) => {
        const stream = session.request({ ":path": path, ":method": path === "/up" ? "POST" : "GET" })
        stream.on("error", () => {}).pause()
        return stream
      })
      streams[0]!.write("a")
      const slow = yield* soon(request(session, { ":path": "/slow" }))
      // Who waits for the handler does not stall.
      expect(slow).toMatchObject({ status: 200, text: "slow" })
      expect(streams.map(({ rstCode }) => rstCode)).toEqual(Array(3).fill(http2.constants.NGHTTP2_INTERNAL_ERROR))
      expect(ends.toSorted()).toEqual(["/flow clientGone", "/slow complete", "/up clientGone", "/whole complete"])
    })
  )

  it.live("lets a client that is slow, and moves, have its time", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(reply(200, "a".repeat(400_000))), { idle: 300, headers: 300 })
      const session = yield* connect(server)
      const stream = session.request({})
      let got = 0
      stream.on("data", (chunk: Buffer) => {
        got += chunk.length
        stream.pause()
        setTimeout(() => stream.resume(), 25)
      })
      yield* soon(
        Effect.promise(() => new Promise((end) => stream.on("close", end).on("error", () => {}))),
        10_000
      )
      expect([got, stream.rstCode]).toEqual([400_000, 0])
    })
  )

  it.live("says good-bye to who is connected and asks for nothing, and ends with who does not listen", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(reply(200)), { idle: 150, headers: 150 })
      const session = yield* connect(server)
      const codes: Array<[number, number]> = []
      session.on("goaway", (code, last) => void codes.push([code, last]))
      yield* soon(request(session))
      yield* soon(Effect.promise(() => new Promise((end) => session.on("close", end))))
      expect(codes[0]).toEqual([0, 2 ** 31 - 1])
      // This one takes no notice: neither of the PING nor of the end.
      const client = yield* raw(server)
      yield* soon(client.until(({ type }) => type === "GOAWAY"))
      yield* soon(client.ended, 5_000)
      expect(client.frames.filter(({ type }) => type === "GOAWAY").length).toBeGreaterThan(1)
    })
  )

  it.live(
    "turns away whom it has no room for: connections, those of an address, streams, and handshakes that take too long",
    () =>
      Effect.gen(function* () {
        const held = Deferred.makeUnsafe<void>()
        const server = yield* serve(() => Effect.as(Deferred.await(held), reply(200)), {
          connectionsPerAddress: 2,
          streamsPerConnection: 2,
          headers: 300
        })
        const silentOne = net.connect(server.port, "127.0.0.1").on("error", () => {})
        const closed = new Promise((end) => silentOne.on("close", end))
        const session = yield* connect(server)
        const third = net.connect(server.port, "127.0.0.1").on("error", () => {})
        yield* soon(Effect.promise(() => new Promise((end) => third.on("close", end))))
        const client = yield* Effect.promise(() => closed).pipe(soon, Effect.andThen(raw(server)))
        const headers = (stream: number) => frame("HEADERS", endHeaders | endStream, stream, block(...usual))
        client.write(headers(1), headers(3), headers(5))
        const refused = yield* soon(client.until(({ type }) => type === "RST_STREAM"))
        expect([refused.stream, refused.payload.readUInt32BE(0)]).toEqual([5, http2.constants.NGHTTP2_REFUSED_STREAM])
        yield* Deferred.succeed(held, undefined)
        session.destroy()
      })
  )

  it.live("knows who is at the other end, and how a call went", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const server = yield* serve((request) => {
        const { progress } = request
        request.observer = {
          onDeadline: () => reply(504),
          onEnd: () =>
            void seen.push([request.remoteAddress, progress.status, progress.bytes, progress.received, progress.end])
        }
        return Effect.orDie(Effect.as(read(request.body), reply(201, "four")))
      })
      const session = yield* connect(server)
      yield* soon(request(session, { ":method": "POST" }, "five!"))
      while (seen.length === 0) yield* Effect.sleep("1 millis")
      expect(seen).toEqual([[expect.stringMatching(/127\.0\.0\.1$/), 201, 4, 5, "complete"]])
    })
  )

  it.live("leaves nothing that keeps the process", () =>
    Effect.gen(function* () {
      // `Leaks` sees a TLS socket for as long as nobody has collected it.
      const kept = () => process.getActiveResourcesInfo().filter((kind) => /TCP|TLS|FS/.test(kind))
      const nothing = Effect.gen(function* () {
        while (kept().length > 0) yield* Effect.sleep("1 millis")
      })
      yield* nothing
      yield* Effect.scoped(
        Effect.gen(function* () {
          const server = yield* serve(({ target }) =>
            target === "/hang" ? Effect.never : Effect.succeed(reply(200, "ok"))
          )
          const session = yield* connect(server)
          yield* soon(request(session))
          yield* soon(get1(server))
          session.request({ ":path": "/hang" }).on("error", () => {})
          const client = yield* raw(server)
          client.write(frame("HEADERS", endHeaders, 1, block(...usual.slice(0, 3), [":path", "/hang"])))
          while (server.inFlight() < 2) yield* Effect.sleep("1 millis")
          expect(kept().length).toBeGreaterThan(3)
        })
      )
      yield* nothing
    }).pipe(soon)
  )

  it.live("says Reason.Shutdown to what it cuts", () =>
    Effect.gen(function* () {
      const reasons: Array<string | undefined> = []
      const begun = Deferred.makeUnsafe<void>()
      const scope = yield* Scope.make()
      const server = yield* serve((_, region) =>
        Effect.ensuring(
          Effect.andThen(
            Effect.sync(() => Deferred.doneUnsafe(begun, Effect.void)),
            Effect.never
          ),
          Effect.sync(() => void reasons.push(region.reason?._tag))
        )
      ).pipe(Scope.provide(scope))
      const session = yield* connect(server)
      const answer = answerOf(session.request({}))
      yield* soon(Deferred.await(begun))
      yield* soon(Scope.close(scope, Exit.void))
      expect(yield* soon(Effect.promise(() => answer))).toMatchObject({ status: 503, error: undefined })
      expect(reasons).toEqual([new Reason.Shutdown()._tag])
    })
  )
})
