import { describe, expect, it } from "@effect/vitest"
import { Reason, Transport } from "@fairlead/core"
import type { Deadline } from "@fairlead/core"
import { NodeHttp } from "@fairlead/platform-node"
import { RawClient } from "@fairlead/testing/node"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Logger, Scope } from "effect"
import * as net from "node:net"
import { flowing, reply } from "./replies.ts"

const serve = (handler: NodeHttp.Handler<never>, options: Partial<NodeHttp.Options> = {}) =>
  NodeHttp.serve(handler, { port: 0, drain: 0, ...options })

const request = (target: string, ...headers: ReadonlyArray<string>) =>
  `GET ${target} HTTP/1.1\r\n${["Host: x", ...headers].join("\r\n")}\r\n\r\n`

const statusOf = (text: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1])

const soon = <A, E, R>(self: Effect.Effect<A, E, R>, millis = 1_000) => Effect.timeout(self, millis)

/** Keeps the log quiet where a defect is what is tested. */
const silent = Effect.provide(Logger.layer([]))

describe("NodeHttp", () => {
  it.live("hands on what came, and answers with what it is given", () =>
    Effect.gen(function* () {
      const server = yield* serve((request) =>
        Effect.succeed(
          reply(200, JSON.stringify([request.method, request.target, request.headers, request.body.length]), [
            "X-One",
            "1",
            "x-one",
            "2",
            "Connection",
            "close",
            "Keep-Alive",
            "timeout=999",
            "Transfer-Encoding",
            "gzip",
            "Content-Length",
            "3"
          ])
        )
      )
      const client = yield* RawClient.connect(server.port)
      client.write("GET /a/../b?c=%20 HTTP/1.1\r\nhost: x\r\nX-Two: a\r\nx-two: b\r\n\r\n")
      const text = yield* client.until(/\]$/)
      expect(text).toMatch(/^HTTP\/1.1 200 OK\r\nX-One: 1\r\nx-one: 2\r\n/)
      expect(text).not.toMatch(/gzip|999|Connection: close|Content-Length: 3\r/)
      const body = '["GET","/a/../b?c=%20",["host","x","X-Two","a","x-two","b"],0]'
      expect(text).toMatch(new RegExp(`Content-Length: ${body.length}\\r\\n`))
      expect(text.endsWith(`\r\n\r\n${body}`)).toBe(true)
    })
  )

  it.live("knows how many calls are under way, in whatever order they end", () =>
    Effect.gen(function* () {
      const ends = new Map<string, Deferred.Deferred<void>>()
      const server = yield* serve(({ target }) => {
        const end = Deferred.makeUnsafe<void>()
        ends.set(target, end)
        return Effect.as(Deferred.await(end), reply(200, `<${target}>`))
      })
      const clients = new Map<string, RawClient.RawClient>()
      for (const target of ["/a", "/b", "/c"]) {
        const client = yield* RawClient.connect(server.port)
        clients.set(target, client)
        client.write(request(target))
        while (!ends.has(target)) yield* Effect.sleep("1 millis")
      }
      for (const [target, left] of [
        ["/a", 2],
        ["/c", 1],
        ["/b", 0]
      ] as const) {
        yield* Deferred.succeed(ends.get(target)!, undefined)
        yield* soon(clients.get(target)!.until(`<${target}>`))
        expect([target, server.inFlight()]).toEqual([target, left])
      }
    })
  )

  it.live("serves one request after the other on one connection, and those sent ahead in their order", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ target }) =>
        Effect.delay(Effect.succeed(reply(200, `<${target}>`)), target === "/slow" ? 50 : 0)
      )
      const client = yield* RawClient.connect(server.port)
      client.write(request("/one"))
      yield* client.until("</one>")
      client.write(request("/slow") + request("/fast"))
      expect(yield* client.until("</fast>")).toMatch(/<\/one>[^]*<\/slow>[^]*<\/fast>/)
    })
  )

  it.live("answers a whole request in spite of what comes behind it, and then ends the connection", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.delay(Effect.succeed(reply(200, "<done>")), 50))
      const behind = [
        request("/get") + "GARBAGE\r\n\r\n",
        "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nabcdef\r\n\r\n"
      ]
      for (const bytes of behind) {
        const client = yield* RawClient.connect(server.port)
        client.write(bytes)
        expect(yield* client.until("<done>")).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*connection: close[^]*<done>$/i)
        expect(yield* soon(client.ended)).toBe("end")
      }
      expect(server.inFlight()).toBe(0)
    })
  )

  it.live("says nothing of what comes behind a request in the middle of its answer", () =>
    Effect.gen(function* () {
      const begun = Deferred.makeUnsafe<Transport.Sink>()
      const server = yield* serve(() =>
        Effect.succeed({
          status: 200,
          headers: [],
          body: flowing((sink) => Effect.andThen(Deferred.succeed(begun, sink), Effect.never))
        })
      )
      const client = yield* RawClient.connect(server.port)
      client.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      const sink = yield* soon(Deferred.await(begun))
      sink.write(Buffer.from("half"))
      yield* soon(client.until("half\r\n"))
      client.write("no chunk\r\n\r\n")
      yield* soon(client.ended)
      expect(client.text()).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*\r\n\r\n4\r\nhalf\r\n$/)
    })
  )

  it.live("fails a body whose client leaves before its end", () =>
    Effect.gen(function* () {
      const read = Deferred.makeUnsafe<Exit.Exit<void, Transport.BodyFailed>>()
      const server = yield* serve(({ body }) =>
        Effect.exit(body.pipeTo({ write: () => true, onDrain: () => {} })).pipe(
          Effect.tap((exit) => Deferred.succeed(read, exit)),
          Effect.as(reply(200)),
          // The call is cut as well, and either may be told first.
          Effect.uninterruptible
        )
      )
      const client = yield* RawClient.connect(server.port)
      client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
      yield* Effect.sleep("30 millis")
      client.leave()
      const exit = yield* soon(Deferred.await(read))
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toMatchObject({ _tag: "BodyFailed", kind: "incomplete" })
    })
  )

  it.live("reads a body of known or unknown length", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ body }) => {
        const chunks: Array<Uint8Array> = []
        const sink = { write: (chunk: Uint8Array) => chunks.push(chunk) > 0, onDrain: () => {} }
        return Effect.orDie(
          Effect.map(body.pipeTo(sink), () => reply(200, `<${body.length} ${Buffer.concat(chunks).toString()}>`))
        )
      })
      const client = yield* RawClient.connect(server.port)
      client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
      yield* Effect.sleep("20 millis")
      client.write("lo")
      yield* client.until("<5 hello>")
      client.write("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
      yield* client.until("<undefined hello>")
    })
  )

  it.live("sends the head of an answer at once, and its chunks as they come", () =>
    Effect.gen(function* () {
      const sink = Deferred.makeUnsafe<Transport.Sink>()
      const end = Deferred.makeUnsafe<void>()
      const server = yield* serve(() =>
        Effect.succeed({
          status: 200,
          headers: [],
          body: flowing((to) => Effect.andThen(Deferred.succeed(sink, to), Deferred.await(end)))
        })
      )
      const client = yield* RawClient.connect(server.port)
      client.write(request("/"))
      yield* soon(client.until(/chunked\r\n\r\n$/))
      const to = yield* Deferred.await(sink)
      to.write(Buffer.from("one"))
      yield* soon(client.until(/3\r\none\r\n$/))
      yield* Deferred.succeed(end, undefined)
      yield* soon(client.until(/\r\n0\r\n\r\n$/))
    })
  )

  it.live("closes the scope of a call when its last byte is handed over, not before", () =>
    Effect.gen(function* () {
      const end = Deferred.makeUnsafe<void>()
      const log: Array<unknown> = []
      const server = yield* serve((request) =>
        Effect.as(
          Effect.addFinalizer(() =>
            Effect.sync(() => log.push(request.progress.status, request.progress.bytes, request.progress.end))
          ),
          {
            status: 201,
            headers: [],
            body: flowing((to) => Effect.map(Deferred.await(end), () => void to.write(Buffer.from("hello"))))
          }
        )
      )
      const client = yield* RawClient.connect(server.port)
      client.write(request("/"))
      yield* client.until("201")
      expect([log.length, server.inFlight()]).toEqual([0, 1])
      yield* Deferred.succeed(end, undefined)
      yield* soon(client.until(/0\r\n\r\n$/))
      expect(log).toEqual([201, 5, "complete"])
      expect(server.inFlight()).toBe(0)
    })
  )

  it.live("sends no body with HEAD, 204 and 304", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ target }) =>
        Effect.succeed(reply(Number(target.slice(1)), "not seen", ["Content-Length", "99"]))
      )
      const client = yield* RawClient.connect(server.port)
      client.write("HEAD /200 HTTP/1.1\r\nHost: x\r\n\r\n")
      expect(yield* client.until(/\r\n\r\n$/)).toMatch(/Content-Length: 99/)
      client.write(request("/304"))
      yield* client.until(/ 304 [^]*\r\n\r\n$/)
      client.write(request("/204"))
      const text = yield* client.until(/ 204 [^]*\r\n\r\n$/)
      expect(text).not.toMatch("not seen")
      expect(text.slice(text.indexOf(" 204 "))).not.toMatch("Content-Length")
    })
  )

  it.live("cuts the call when the client leaves: in the handler, or in the body", () =>
    Effect.gen(function* () {
      for (const phase of ["handler", "body"]) {
        const began = Deferred.makeUnsafe<void>()
        const seen = Deferred.makeUnsafe<unknown>()
        const wait = (request: NodeHttp.Request, region: Deadline.Region) =>
          Effect.onInterrupt(Effect.andThen(Deferred.succeed(began, undefined), Effect.never), () =>
            Deferred.succeed(seen, [region.reason, request.progress.end])
          )
        const server = yield* serve((request, region) =>
          phase === "handler"
            ? wait(request, region)
            : Effect.succeed({ status: 200, headers: [], body: flowing(() => wait(request, region)) })
        )
        const client = yield* RawClient.connect(server.port)
        client.write(request("/"))
        yield* soon(Deferred.await(began))
        client.leave()
        expect(yield* soon(Deferred.await(seen))).toEqual([new Reason.ClientGone(), "clientGone"])
        yield* soon(Effect.repeat(Effect.sleep(5), { until: () => server.inFlight() === 0 }))
      }
    })
  )

  it.live("cuts every call of a client that leaves, also those it sent ahead", () =>
    Effect.gen(function* () {
      let cut = 0
      const server = yield* serve(() => Effect.onInterrupt(Effect.never, () => Effect.sync(() => cut++)))
      const client = yield* RawClient.connect(server.port)
      client.write(request("/1") + request("/2") + request("/3"))
      yield* soon(Effect.repeat(Effect.sleep(5), { until: () => server.inFlight() === 3 }))
      client.leave()
      yield* soon(Effect.repeat(Effect.sleep(5), { until: () => server.inFlight() === 0 }))
      expect(cut).toBe(3)
    })
  )

  it.live("answers a call past its deadline, and cuts one whose head is out", () =>
    Effect.gen(function* () {
      const ends: Array<string> = []
      const server = yield* serve(
        (request, region) =>
          Effect.gen(function* () {
            yield* Effect.addFinalizer(() => Effect.sync(() => ends.push(request.progress.end)))
            // Not before the head is out, however slow the machine is.
            const cutLater = Effect.andThen(region.narrow("100 millis"), Effect.never)
            if (request.target === "/head") return { status: 200, headers: [], body: flowing(() => cutLater) }
            return yield* cutLater
          }),
        { onDeadline: ({ timeBudget }) => reply(504, `<${Math.round(Duration.toMillis(timeBudget))}>`) }
      )
      const client = yield* RawClient.connect(server.port)
      client.write(request("/"))
      const text = yield* soon(client.until(/<\d+>/))
      expect(statusOf(text)).toBe(504)
      // All of the region's time, and it had some before it was narrowed.
      expect(Number(/<(\d+)>/.exec(text)?.[1])).toBeGreaterThanOrEqual(100)
      // The connection is as good as before.
      client.write(request("/head"))
      yield* soon(client.until(" 200 "))
      yield* soon(client.ended)
      expect(client.text()).not.toMatch(/0\r\n\r\n$/)
      expect(ends).toEqual(["deadline", "deadline"])
    })
  )

  it.live("survives a handler's defect, and says nothing of it", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ target }) => {
        if (target === "/throws") throw new Error("secret")
        return target === "/dies" ? Effect.die("secret") : Effect.succeed(reply(200, "fine"))
      })
      const client = yield* RawClient.connect(server.port)
      for (const target of ["/throws", "/dies"]) {
        client.write(request(target))
        const text = yield* soon(client.until(/"status":500\}$/))
        expect(text).toMatch(/Content-Type: application\/problem\+json/)
        expect(text).not.toMatch("secret")
      }
      client.write(request("/"))
      yield* soon(client.until(/fine$/))
    }).pipe(silent)
  )

  it.live("survives a handler's sink that throws, and reads the rest away", () =>
    Effect.gen(function* () {
      const bad: Transport.Sink = {
        write: () => {
          throw new Error("secret")
        },
        onDrain: () => {}
      }
      const server = yield* serve(({ body, method }) =>
        method === "GET" ? Effect.succeed(reply(200, "fine")) : Effect.as(Effect.orDie(body.pipeTo(bad)), reply(200))
      )
      const client = yield* RawClient.connect(server.port)
      client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
      const text = yield* soon(client.until(/"status":500\}$/))
      expect(text).not.toMatch("secret")
      client.write(`def${request("/")}`)
      yield* soon(client.until(/fine$/))
    }).pipe(silent)
  )

  it.live("answers 502 where a reply holds what no answer may", () =>
    Effect.gen(function* () {
      const replies = [reply(200, "x", ["X", "a\r\nSet-Cookie: b"]), reply(200, "x", ["bad name", "a"]), reply(1_000)]
      const server = yield* serve(({ target }) => Effect.succeed(replies[Number(target.slice(1))]!))
      for (let i = 0; i < replies.length; i++) {
        const text = yield* soon(RawClient.get(server.port, `/${i}`))
        expect(text).toMatch(/^HTTP\/1.1 502 Bad Gateway\r\n/)
        expect(text).not.toMatch("Set-Cookie")
      }
    })
  )

  it.live("breaks off when a body does: never a clean end to half an answer", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ target }) =>
        Effect.succeed({
          status: 200,
          headers: [],
          body: flowing((to) => {
            to.write(Buffer.from("half"))
            return target === "/fails"
              ? Effect.delay(Effect.fail(new Transport.BodyFailed({ kind: "reset", cause: 0 })), 30)
              : Effect.delay(Effect.die("boom"), 30)
          })
        })
      )
      for (const target of ["/fails", "/dies"]) {
        const client = yield* RawClient.connect(server.port)
        client.write(request(target))
        yield* soon(client.ended)
        expect(client.text()).toMatch(/half\r\n$/)
      }
    }).pipe(silent)
  )

  it.live("lets a client that asks first send its body when it is read, and not before", () =>
    Effect.gen(function* () {
      const admitted = Deferred.makeUnsafe<void>()
      const server = yield* serve(({ body, target }) => {
        if (target === "/no") return Effect.succeed(reply(403))
        const sink = { write: () => true, onDrain: () => {} }
        return Effect.andThen(
          Deferred.await(admitted),
          Effect.orDie(Effect.as(body.pipeTo(sink), reply(200, "took it")))
        )
      })
      const post = (target: string) =>
        `POST ${target} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`
      const client = yield* RawClient.connect(server.port)
      client.write(post("/"))
      yield* Effect.sleep("50 millis")
      expect(client.text()).toBe("")
      yield* Deferred.succeed(admitted, undefined)
      expect(yield* soon(client.until(/\r\n\r\n$/))).toBe("HTTP/1.1 100 Continue\r\n\r\n")
      client.write("hello")
      yield* soon(client.until("took it"))
      // Refused without having read: whether the body still comes is unknown, so the connection ends.
      client.write(post("/no"))
      expect(yield* soon(client.until(/ 403 [^]*\r\n\r\n/))).toMatch(/Connection: close/)
      yield* soon(client.ended)
    })
  )

  it.live("answers over a body that nobody reads, and serves the next request", () =>
    Effect.gen(function* () {
      const server = yield* serve(({ target }) => Effect.succeed(reply(404, `<${target}>`)))
      const client = yield* RawClient.connect(server.port)
      client.write(`POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n${"x".repeat(100_000)}`)
      yield* soon(client.until("</one>"))
      client.write("x".repeat(200_000))
      client.write(request("/two"))
      yield* soon(client.until("</two>"))
    })
  )

  it.live("refuses what is no request, each with its status and a problem", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(reply(200, "fine")))
      const refused = (text: string) =>
        Effect.gen(function* () {
          const client = yield* RawClient.connect(server.port)
          client.write(text)
          yield* soon(client.ended)
          expect(client.text()).toMatch(/application\/problem\+json[^]*Connection: close[^]*"status":\d+\}$/)
          const [head, body] = client.text().split("\r\n\r\n")
          expect(head).toContain(`\r\nContent-Length: ${body!.length}\r\n`)
          return statusOf(client.text())
        })
      expect(yield* refused("no http at all\r\n\r\n")).toBe(400)
      expect(yield* refused(request("/", `X: ${"x".repeat(20_000)}`))).toBe(431)
      expect(yield* refused("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")).toBe(501)
      expect(
        yield* refused("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
      ).toBe(400)
      expect(statusOf(yield* RawClient.get(server.port, `/${"x".repeat(9_000)}`))).toBe(414)
      expect(statusOf(yield* RawClient.get(server.port, "/", "Connection: close, upgrade", "Upgrade: websocket"))).toBe(
        501
      )
      expect(statusOf(yield* RawClient.get(server.port, "/", "Connection: close, upgrade", "Upgrade: h2c"))).toBe(200)
      expect(server.inFlight()).toBe(0)
    })
  )

  it.live("passes interim answers on before the head, and drops what comes after", () =>
    Effect.gen(function* () {
      const server = yield* serve((request) => {
        request.inform(103, ["Link", "</a>; rel=preload"])
        request.inform(103, ["X", "a\r\nb: c"])
        for (const status of [0, 99, 100, 101, 200]) request.inform(status, [])
        request.inform(102, ["Content-Length", "9", "Transfer-Encoding", "chunked"])
        return Effect.succeed(reply(200, "done"))
      })
      const client = yield* RawClient.connect(server.port)
      client.write(request("/"))
      const text = yield* soon(client.until("done"))
      expect(text).toMatch(
        /^HTTP\/1.1 103 Early Hints\r\nLink: <\/a>; rel=preload\r\n\r\nHTTP\/1.1 102 [^\r]*\r\n\r\nHTTP\/1.1 200 OK\r\n/
      )
    })
  )

  it.live("piles no interim answers up for a client that takes nothing", () =>
    Effect.gen(function* () {
      const done = Deferred.makeUnsafe<void>()
      const server = yield* serve((request) =>
        Effect.sync(() => {
          for (let i = 0; i < 20_000; i++) request.inform(103, ["Link", "a".repeat(1_000)])
          Deferred.doneUnsafe(done, Exit.void)
          return reply(200, "done")
        })
      )
      const client = yield* RawClient.connect(server.port)
      client.write(request("/"))
      yield* soon(Deferred.await(done))
      expect((yield* soon(client.until("done"))).length).toBeLessThan(10_000_000)
    })
  )

  it.live("tells a client of HTTP/1.0 to go on by saying nothing", () =>
    Effect.gen(function* () {
      const server = yield* serve((request) => {
        request.continue()
        return Effect.succeed(reply(200, "done"))
      })
      const client = yield* RawClient.connect(server.port)
      client.write("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na")
      expect(yield* soon(client.until("done"))).toMatch(/^HTTP\/1.1 200 /)
    })
  )

  it.live("refuses a body in a coding that it does not take off", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.succeed(reply(200, "done")))
      for (const [coding, status] of [
        ["gzip, chunked", 501],
        ["Chunked", 200]
      ]) {
        const client = yield* RawClient.connect(server.port)
        client.write(`POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: ${coding}\r\n\r\n1\r\na\r\n0\r\n\r\n`)
        expect(statusOf(yield* soon(client.until(/\r\n\r\n/)))).toBe(status)
      }
    })
  )

  it.live("cuts a client that takes nothing, and one that sends nothing, for longer than `idle`", () =>
    Effect.gen(function* () {
      const ends: Array<string> = []
      const server = yield* serve(
        (request) =>
          Effect.gen(function* () {
            yield* Effect.addFinalizer(() => Effect.sync(() => ends.push(request.progress.end)))
            if (request.method === "POST") {
              yield* Effect.orDie(request.body.pipeTo({ write: () => true, onDrain: () => {} }))
            }
            const chunk = Buffer.alloc(65_536)
            const body = flowing((to) =>
              Effect.callback(() => {
                const fill = () => {
                  while (to.write(chunk));
                  to.onDrain(fill)
                }
                fill()
              })
            )
            return { status: 200, headers: [], body }
          }),
        { idle: "200 millis" }
      )
      const reader = yield* RawClient.connect(server.port)
      reader.pause()
      reader.write(request("/"))
      const sender = yield* RawClient.connect(server.port)
      sender.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
      yield* soon(Effect.repeat(Effect.sleep(10), { until: () => ends.length === 2 }), 5_000)
      expect(ends).toEqual(["clientGone", "clientGone"])
      yield* soon(sender.ended)
    })
  )

  it.live("does not hold the slowness of others against a client that waits", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.delay(Effect.succeed(reply(200, "at last")), 500), {
        idle: "100 millis"
      })
      expect(yield* soon(RawClient.get(server.port, "/"), 5_000)).toMatch(/at last$/)
    })
  )
})

describe("Server.drain", () => {
  it.live("a second one joins the first, whose budget holds", () =>
    Effect.gen(function* () {
      const server = yield* serve(() => Effect.never)
      const client = yield* RawClient.connect(server.port)
      client.write(request("/"))
      yield* soon(Effect.repeat(Effect.sleep(5), { until: () => server.inFlight() === 1 }))
      const first = yield* Effect.forkChild(server.drain("600 millis"), { startImmediately: true })
      const second = yield* Effect.forkChild(server.drain(0), { startImmediately: true })
      yield* Effect.sleep("100 millis")
      expect([server.inFlight(), first.pollUnsafe(), second.pollUnsafe()]).toEqual([1, undefined, undefined])
      expect(yield* soon(Fiber.joinAll([first, second]))).toEqual([1, 1])
      yield* soon(client.ended)
      expect(client.text()).toMatch(/^HTTP\/1\.1 503 /)
    })
  )

  it.live("lets what is in flight end, serves who is on the way, and tells them to close", () =>
    Effect.gen(function* () {
      const go = Deferred.makeUnsafe<void>()
      const server = yield* serve(({ target }) =>
        Effect.as(target === "/slow" ? Deferred.await(go) : Effect.void, reply(200, `<${target}>`))
      )
      const slow = yield* RawClient.connect(server.port)
      const idle = yield* RawClient.connect(server.port)
      slow.write(request("/slow"))
      idle.write(request("/first"))
      expect(yield* soon(idle.until("</first>"))).toMatch(/Connection: keep-alive/)
      const drain = yield* Effect.forkChild(server.drain("10 seconds"))
      yield* Effect.sleep("50 millis")
      const late = yield* Effect.callback<string | undefined>((resume) => {
        const socket = net.connect(server.port, "127.0.0.1")
        socket.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code)))
      })
      expect(late).toBe("ECONNREFUSED")
      idle.write(request("/second"))
      expect(yield* soon(idle.until("</second>"))).toMatch(/Connection: close/)
      expect(yield* soon(idle.ended)).toBe("end")
      expect(drain.pollUnsafe()).toBe(undefined)
      yield* Deferred.succeed(go, undefined)
      expect(yield* soon(slow.until("</slow>"))).toMatch(/Connection: close/)
      expect(yield* soon(Fiber.join(drain))).toBe(0)
      expect(server.inFlight()).toBe(0)
    })
  )

  it.live("cuts what is left when the budget is spent, and waits for its clean-up", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const server = yield* serve((request, region) =>
        Effect.onInterrupt(Effect.never, () =>
          Effect.andThen(
            Effect.sleep("50 millis"),
            Effect.sync(() => seen.push(region.reason, request.progress.end))
          )
        )
      )
      const client = yield* RawClient.connect(server.port)
      client.write(request("/"))
      yield* soon(Effect.repeat(Effect.sleep(5), { until: () => server.inFlight() === 1 }))
      expect(yield* soon(server.drain("100 millis"))).toBe(1)
      expect(seen).toEqual([new Reason.Shutdown(), "shutdown"])
      yield* soon(client.ended)
      // It had no head yet.
      expect(client.text()).toMatch(/^HTTP\/1\.1 503 [^]*Connection: close/)
    })
  )

  it.live("waits for the clean-up of a call whose client has left", () =>
    Effect.gen(function* () {
      let clean = false
      const server = yield* serve(() =>
        Effect.onInterrupt(Effect.never, () =>
          Effect.andThen(
            Effect.sleep("100 millis"),
            Effect.sync(() => (clean = true))
          )
        )
      )
      const client = yield* RawClient.connect(server.port)
      client.write(request("/"))
      yield* soon(Effect.repeat(Effect.sleep(5), { until: () => server.inFlight() === 1 }))
      client.leave()
      yield* Effect.sleep("20 millis")
      yield* soon(server.drain("1 second"))
      expect(clean).toBe(true)
    })
  )

  it.live("happens when the scope closes, and leaves nothing behind", () =>
    Effect.gen(function* () {
      const before = process.getActiveResourcesInfo().filter((name) => name === "TCPServerWrap").length
      const scope = yield* Scope.make()
      const server = yield* Scope.provide(
        serve(() => Effect.delay(Effect.succeed(reply(200, "done")), 100), { drain: "5 seconds" }),
        scope
      )
      const client = yield* RawClient.connect(server.port)
      client.write(request("/"))
      yield* Effect.sleep("30 millis")
      yield* soon(Scope.close(scope, Exit.void), 3_000)
      expect(yield* soon(client.until(/done$/))).toMatch(/Connection: close/)
      expect(server.inFlight()).toBe(0)
      expect(process.getActiveResourcesInfo().filter((name) => name === "TCPServerWrap").length).toBe(before)
    })
  )
})

describe("misuse", () => {
  it.live("dies when a request's body is piped a second time", () =>
    Effect.gen(function* () {
      const second = Deferred.makeUnsafe<Exit.Exit<void, Transport.BodyFailed>>()
      const sink = { write: () => true, onDrain: () => {} }
      const server = yield* serve(({ body }) =>
        Effect.gen(function* () {
          const first = yield* Effect.forkChild(body.pipeTo(sink), { startImmediately: true })
          yield* Deferred.succeed(second, yield* Effect.exit(body.pipeTo(sink)))
          yield* Fiber.await(first)
          return reply(200)
        })
      )
      const client = yield* RawClient.connect(server.port)
      client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
      expect(Exit.hasDies(yield* soon(Deferred.await(second)))).toBe(true)
      client.write("hello")
      expect(statusOf(yield* soon(client.until("200 OK")))).toBe(200)
    })
  )
})

describe("ListenFailed", () => {
  it.live("says which port, and why", () =>
    Effect.gen(function* () {
      const handler = () => Effect.succeed(reply(200))
      const { port } = yield* serve(handler)
      const taken = yield* Effect.flip(serve(handler, { port }))
      expect([taken.reason, taken.message]).toEqual(["inUse", `127.0.0.1:${port} is in use`])
      expect((yield* Effect.flip(serve(handler, { host: "192.0.2.1" }))).reason).toBe("noSuchAddress")
    })
  )
})
