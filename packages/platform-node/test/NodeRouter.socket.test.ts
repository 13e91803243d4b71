/**
 * Effect's routers and apps on a server of ours: what they are given, what becomes of what they come to, and when they are cut.
 */
import { describe, expect, it } from "@effect/vitest"
import { CancelScope, Shutdown } from "@fairlead/core"
import { NodeHttp } from "@fairlead/platform-node"
import * as NodeRouter from "@fairlead/platform-node/NodeRouter"
import { RawClient } from "@fairlead/testing/node"
import { Cause, Context, Data, Deferred, Effect, Exit, Fiber, Layer, Logger, Option, Scope, Stream } from "effect"
import {
  HttpMiddleware,
  HttpRouter,
  HttpServer,
  HttpServerRequest,
  HttpServerRespondable,
  HttpServerResponse,
  Multipart
} from "effect/http"
import { Readable } from "node:stream"
import { fileURLToPath } from "node:url"

type App<R = never> = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  unknown,
  R | HttpServerRequest.HttpServerRequest | Scope.Scope
>

const soon = <A, E, R>(self: Effect.Effect<A, E, R>, millis = 2_000) => Effect.timeout(self, millis)
const until = (holds: () => boolean) => soon(Effect.repeat(Effect.sleep("1 millis"), { while: () => !holds() }))

const serve = (app: App, options: Partial<NodeHttp.Options> = {}) =>
  NodeHttp.serve(NodeRouter.handler(app), { port: 0, drain: 0, ...options })

/** Sends bytes on a connection of their own, and reads until it ends. */
const raw = (port: number, text: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const client = yield* RawClient.connect(port)
      client.write(text)
      yield* soon(client.ended)
      return client.text()
    })
  )

const get = (target: string, ...headers: ReadonlyArray<string>) =>
  `GET ${target} HTTP/1.1\r\n${["Host: x", "Connection: close", ...headers].join("\r\n")}\r\n\r\n`

const post = (body: string, ...headers: ReadonlyArray<string>) =>
  `POST / HTTP/1.1\r\n${["Host: x", "Connection: close", `Content-Length: ${body.length}`, ...headers].join("\r\n")}\r\n\r\n${body}`

const bodyOf = (text: string) => text.slice(text.indexOf("\r\n\r\n") + 4)
const statusOf = (text: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1])

const request = HttpServerRequest.HttpServerRequest
const { text } = HttpServerResponse
const json = (value: unknown) => text(JSON.stringify(value))

/** Keeps the log quiet, and what was said. */
const logged = <A, E, R>(body: (lines: Array<unknown>) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<unknown> = []
    const logger = Logger.make(({ cause, message }) =>
      lines.push((message as Array<unknown>)[0] ?? String(Cause.squash(cause)))
    )
    return Effect.provide(body(lines), Logger.layer([logger]))
  })

describe("a router", () => {
  const routes = Layer.mergeAll(
    HttpRouter.add(
      "GET",
      "/hi/:name",
      Effect.map(HttpRouter.params, ({ name }) => text(`hi ${name}`))
    ),
    HttpRouter.add("POST", "/echo", (request) => Effect.map(request.text, (body) => text(body))),
    HttpRouter.add("GET", "/file", HttpServerResponse.file(fileURLToPath(import.meta.url)).pipe(Effect.orDie)),
    HttpRouter.add("GET", "/part", () =>
      HttpServerResponse.file(fileURLToPath(import.meta.url), { offset: 7, bytesToRead: 9 }).pipe(Effect.orDie)
    ),
    HttpRouter.add(
      "GET",
      "/none",
      HttpServerResponse.file("/no/such").pipe(
        Effect.catchTag("PlatformError", ({ reason }) => Effect.succeed(text(reason._tag)))
      )
    )
  )
  const quiet = { disableLogger: true, disableListenLog: true }

  const built = <A, E>(layer: Layer.Layer<A, E, HttpServer.HttpServer>, options: Partial<NodeRouter.Options> = {}) =>
    Effect.gen(function* () {
      const context = yield* Layer.build(
        layer.pipe(Layer.provideMerge(NodeRouter.layer({ port: 0, drain: 0, ...options })))
      )
      const { address } = Context.get(context, HttpServer.HttpServer)
      expect(address).toMatchObject({ _tag: "InetAddressV4" })
      return "port" in address ? address.port : 0
    })

  it.live("is served as by any other server: routes, HEAD of them, files, and 404 for the rest", () =>
    Effect.gen(function* () {
      const port = yield* built(HttpRouter.serve(routes, quiet))
      expect(bodyOf(yield* raw(port, get("/hi/you?a=b")))).toBe("hi you")
      const head = yield* raw(port, get("/hi/you").replace("GET", "HEAD"))
      expect([statusOf(head), bodyOf(head)]).toEqual([200, ""])
      expect(head).toMatch(/content-length: 6\r\n/i)
      expect(statusOf(yield* raw(port, get("/nowhere")))).toBe(404)
      expect(statusOf(yield* raw(port, get("/echo")))).toBe(404)
      expect(bodyOf(yield* raw(port, post("body").replace("POST /", "POST /echo")))).toBe("body")
      const file = yield* raw(port, get("/file"))
      expect(bodyOf(file)).toContain("What a file says of itself")
      expect(file).toMatch(/etag: W\/"/)
      expect(bodyOf(yield* raw(port, get("/part")))).toBe("Effect's ")
      expect(bodyOf(yield* raw(port, get("/none")))).toBe("NotFound")
    }).pipe(Effect.scoped)
  )

  it.live("logs as it always did, each answer once: failures too, and a client that leaves is none", () =>
    logged((lines) =>
      Effect.gen(function* () {
        const waits = yield* Deferred.make<void>()
        const more = Layer.mergeAll(
          routes,
          HttpRouter.add("GET", "/bug", Effect.die("bug")),
          HttpRouter.add("GET", "/wait", Effect.andThen(Deferred.succeed(waits, undefined), Effect.never))
        )
        const port = yield* built(HttpRouter.serve(more, { disableListenLog: true }))
        yield* raw(port, get("/hi/you"))
        expect(lines).toEqual(["Sent HTTP response"])
        expect(statusOf(yield* raw(port, get("/bug")))).toBe(500)
        expect(lines.slice(1)).toEqual(["bug"])
        const client = yield* RawClient.connect(port)
        client.write(get("/wait"))
        yield* soon(Deferred.await(waits))
        client.leave()
        yield* until(() => lines.length > 2)
        expect(lines.slice(2)).toEqual(["Sent HTTP response"])
      })
    )
  )

  it.live("before it is served the server says 503; probes are answered", () =>
    Effect.gen(function* () {
      let warm = false
      const cache = Effect.suspend(() => (warm ? Effect.void : Effect.fail("cold")))
      const server = yield* NodeRouter.make({ port: 0, drain: 0, health: { startup: { cache } } })
      const port = "port" in server.address ? server.address.port : 0
      expect(statusOf(yield* raw(port, get("/hi")))).toBe(503)
      expect(statusOf(yield* raw(port, get("/livez")))).toBe(200)
      expect(bodyOf(yield* raw(port, get("/startupz")))).toBe("cache\n")
      yield* server.serve(Effect.succeed(text("served")))
      warm = true
      expect(bodyOf(yield* raw(port, get("/hi")))).toBe("served")
      expect(statusOf(yield* raw(port, get("/readyz")))).toBe(200)
      const second = yield* Effect.exit(server.serve(Effect.succeed(text("two"))))
      expect(Exit.hasDies(second)).toBe(true)
    })
  )

  it.live("has the services of whoever serves it, and is drained before these are released", () =>
    Effect.gen(function* () {
      class Database extends Context.Service<Database, { open: boolean }>()("test/Database") {}
      const began = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const database = Layer.effect(
        Database,
        Effect.acquireRelease(
          Effect.sync((): { open: boolean } => ({ open: true })),
          (db) => Effect.sync(() => void (db.open = false))
        )
      )
      const app = Effect.gen(function* () {
        const db = yield* Database
        const accepted = yield* Shutdown.Accepted
        yield* Deferred.succeed(began, undefined)
        yield* Deferred.await(goOn)
        return json([db.open, accepted])
      })
      const scope = yield* Scope.make()
      const server = NodeRouter.layer({ port: 0, drain: "5 seconds" })
      const context = yield* Layer.buildWithScope(
        HttpServer.serve(app).pipe(Layer.provide(database), Layer.provideMerge(server)),
        scope
      )
      const { address } = Context.get(context, HttpServer.HttpServer)
      const answer = yield* Effect.forkChild(raw("port" in address ? address.port : 0, get("/")), {
        startImmediately: true
      })
      yield* soon(Deferred.await(began))
      const closed = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      yield* Effect.sleep("50 millis")
      expect(closed.pollUnsafe()).toBe(undefined)
      yield* Deferred.succeed(goOn, undefined)
      expect(bodyOf(yield* Fiber.join(answer))).toBe("[true,true]")
      yield* soon(Fiber.join(closed))
    })
  )
})

describe("what an app is given", () => {
  it.live("says what came, headers as Node has them, and where it came from", () =>
    Effect.gen(function* () {
      const server = yield* serve(
        Effect.map(request, (it) =>
          json({
            method: it.method,
            url: it.url,
            originalUrl: it.originalUrl,
            headers: it.headers,
            cookies: it.cookies,
            remote: Option.getOrNull(it.remoteAddress),
            peer: Option.getOrNull(it.peerAddress),
            moved: it.modify({ url: "/moved", remoteAddress: Option.some("1.2.3.4") })
          })
        )
      )
      const lines = ["X-A: 1", "x-a: 2", "Cookie: a=1", "cookie: b=2", "User-Agent: one", "User-Agent: two"]
      const seen = JSON.parse(bodyOf(yield* raw(server.port, get("/a/../b?c=%20", ...lines, "__proto__: 3"))))
      expect(seen).toMatchObject({
        method: "GET",
        url: "/a/../b?c=%20",
        originalUrl: "http://x/a/../b?c=%20",
        cookies: { a: "1", b: "2" },
        remote: "127.0.0.1",
        peer: "127.0.0.1",
        moved: { _id: "HttpServerRequest", method: "GET" }
      })
      expect(seen.headers).toMatchObject({ host: "x", "x-a": "1, 2", cookie: "<redacted>", "user-agent": "one" })
      expect(Object.hasOwn(seen.headers, "__proto__")).toBe(true)
      const absolute = JSON.parse(bodyOf(yield* raw(server.port, get("http://y:81/p?q"))))
      expect(absolute).toMatchObject({ url: "/p?q", originalUrl: "http://y:81/p?q", headers: { host: "y:81" } })
    })
  )

  it.live("gives a body as whatever one likes, as often as one likes", () =>
    Effect.gen(function* () {
      const server = yield* serve(
        Effect.gen(function* () {
          const it = yield* request
          const bytes = yield* it.arrayBuffer
          const again = yield* it.modify({ url: "/other" }).text
          const params = yield* it.urlParamsBody
          const streamed = yield* Stream.runFold(
            it.stream,
            () => 0,
            (sum, chunk) => sum + chunk.length
          )
          const value = yield* Effect.result(it.json)
          return json([bytes.byteLength, again, params.params, streamed, value._tag])
        })
      )
      const body = "a=1&b=%20&a=2"
      const seen = JSON.parse(bodyOf(yield* raw(server.port, post(body))))
      expect(seen).toEqual([
        13,
        body,
        [
          ["a", "1"],
          ["b", " "],
          ["a", "2"]
        ],
        13,
        "Failure"
      ])
      const chunked = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
      const parts = JSON.parse(bodyOf(yield* raw(server.port, `${chunked}2\r\n12\r\n1\r\n3\r\n0\r\n\r\n`)))
      expect(parts).toMatchObject([3, "123", [["123", ""]], 3, "Success"])
      expect(JSON.parse(bodyOf(yield* raw(server.port, get("/"))))).toEqual([0, "", [], 0, "Success"])
    })
  )

  it.live("a body that was streamed away, and JSON that is none, are the client's mistake: 400", () =>
    Effect.gen(function* () {
      const server = yield* serve(
        Effect.flatMap(request, (it) =>
          it.url === "/json"
            ? Effect.map(it.json, json)
            : Effect.andThen(Stream.runDrain(it.stream), () => Effect.map(it.text, text))
        )
      )
      expect(statusOf(yield* raw(server.port, post("{")))).toBe(400)
      expect(statusOf(yield* raw(server.port, post("{").replace("POST /", "POST /json")))).toBe(400)
    })
  )

  it.live("of a body whose first reader was interrupted there is none; who asks after him is not interrupted", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const app = Effect.flatMap(request, (it) =>
          Effect.andThen(
            Effect.timeoutOption(it.text, "20 millis"),
            Effect.map(Effect.flip(it.text), ({ reason }) => text(reason._tag))
          )
        )
        const { port } = yield* serve(app)
        const client = yield* RawClient.connect(port)
        client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
        yield* until(() => client.text().includes("RequestParseError"))
        expect(statusOf(client.text())).toBe(200)
      })
    )
  )

  it.live("bounds a body where it is asked to: 413, whether its length is known or not", () =>
    Effect.gen(function* () {
      const app = Effect.flatMap(request, (it) => Effect.map(it.text, (body) => text(`<${body.length}>`)))
      const server = yield* serve(Effect.provideService(app, HttpServerRequest.MaxBodySize, 5n as never))
      expect(bodyOf(yield* raw(server.port, post("12345")))).toBe("<5>")
      expect(statusOf(yield* raw(server.port, post("123456")))).toBe(413)
      const chunked = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
      expect(bodyOf(yield* raw(server.port, `${chunked}5\r\n12345\r\n0\r\n\r\n`))).toBe("<5>")
      expect(statusOf(yield* raw(server.port, `${chunked}3\r\n123\r\n3\r\n456\r\n0\r\n\r\n`))).toBe(413)
      const bounded = yield* serve(app, { maxBodyBytes: 5 })
      expect(statusOf(yield* raw(bounded.port, post("123456")))).toBe(413)
      expect(statusOf(yield* raw(bounded.port, `${chunked}3\r\n123\r\n3\r\n456\r\n0\r\n\r\n`))).toBe(413)
    })
  )

  it.live("streams a body as it is read: a client is held up by who reads slowly", () =>
    Effect.gen(function* () {
      const goOn = yield* Deferred.make<void>()
      let read = 0
      const server = yield* serve(
        Effect.flatMap(request, (it) =>
          Effect.map(
            Stream.runForEach(it.stream, (chunk) => {
              read += chunk.length
              return Deferred.await(goOn)
            }),
            () => text(`<${read}>`)
          )
        )
      )
      const size = 20_000_000
      const client = yield* RawClient.connect(server.port)
      client.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`)
      client.write(new Uint8Array(size))
      yield* Effect.sleep("300 millis")
      expect([read > 0, read < 1_000_000, client.socket.writableLength > size / 4]).toEqual([true, true, true])
      yield* Deferred.succeed(goOn, undefined)
      yield* soon(client.until(`<${size}>`), 5_000)
    })
  )

  it.live("parts of a form come one by one", () =>
    Effect.gen(function* () {
      const server = yield* serve(
        Effect.flatMap(request, (it) =>
          Effect.map(
            Stream.runCollect(
              Stream.mapEffect(it.multipartStream, (part) =>
                Multipart.isFile(part)
                  ? Effect.map(part.contentEffect, (bytes) => [part.key, part.name, bytes.length])
                  : Effect.succeed([part.key, part.value])
              )
            ),
            json
          )
        )
      )
      const form = new FormData()
      form.append("a", "1")
      form.append("f", new Blob(["12345"]), "f.bin")
      const response = yield* Effect.promise(() =>
        fetch(`http://127.0.0.1:${server.port}`, { method: "POST", body: form })
      )
      expect(yield* Effect.promise(() => response.json())).toEqual([
        ["a", "1"],
        ["f", "f.bin", 5]
      ])
    })
  )

  it.live("no connection is upgraded: that fails, as it would for a request that asks for nothing", () =>
    Effect.gen(function* () {
      const server = yield* serve(
        Effect.flatMap(request, (it) =>
          Effect.map(Effect.flip(it.upgrade), ({ _tag, reason }) => json([_tag, reason._tag]))
        )
      )
      expect(bodyOf(yield* raw(server.port, get("/")))).toBe('["HttpServerError","RequestParseError"]')
    })
  )
})

describe("what an app comes to", () => {
  it.live("goes out as it is: status, headers, each cookie on its line", () =>
    Effect.gen(function* () {
      const server = yield* serve(
        HttpServerResponse.text("gone", { status: 410, headers: { "X-A": "1", Connection: "keep-alive" } }).pipe(
          HttpServerResponse.setCookies([
            ["a", "1", { httpOnly: true }],
            ["b", "2"]
          ])
        )
      )
      const answer = yield* raw(server.port, get("/"))
      expect(answer).toMatch(
        /^HTTP\/1.1 410 Gone\r\n[^]*x-a: 1\r\n[^]*set-cookie: a=1; HttpOnly\r\nset-cookie: b=2\r\n/
      )
      expect(answer).toMatch(/content-type: text\/plain[^]*Connection: close[^]*\r\n\r\ngone$/i)
    })
  )

  it.live("has no body where there may be none", () =>
    Effect.gen(function* () {
      let opened = 0
      const stream = Stream.fromEffect(Effect.sync(() => (opened++, new Uint8Array(3))))
      const app = Effect.map(request, ({ url }) =>
        HttpServerResponse.stream(stream, { status: Number(url.slice(1)), contentLength: 3 })
      )
      const server = yield* serve(app)
      for (const [status, length] of [
        [204, undefined],
        [304, "3"],
        [205, "0"]
      ] as const) {
        const answer = yield* raw(server.port, get(`/${status}`))
        expect([statusOf(answer), bodyOf(answer)]).toEqual([status, ""])
        expect(/content-length: (\d+)/i.exec(answer)?.[1]).toBe(length)
      }
      const head = yield* raw(server.port, get("/200").replace("GET", "HEAD"))
      expect([bodyOf(head), /content-length: (\d+)/i.exec(head)?.[1], opened]).toEqual(["", "3", 0])
      expect(bodyOf(yield* raw(server.port, get("/200")))).toBe("\0\0\0")
    })
  )

  it.live("may be anything that has bytes: of Node, of the Web, a form, an answer of fetch", () =>
    Effect.gen(function* () {
      const form = new FormData()
      form.append("a", "1")
      const bodies: Record<string, () => HttpServerResponse.HttpServerResponse> = {
        "/text": () => HttpServerResponse.raw("raw"),
        "/bytes": () => HttpServerResponse.raw(new TextEncoder().encode("raw")),
        "/node": () => HttpServerResponse.raw(Readable.from(["r", Buffer.from("aw")])),
        "/web": () => HttpServerResponse.raw(new Blob(["raw"]).stream()),
        "/blob": () => HttpServerResponse.raw(new Blob(["raw"])),
        "/fetched": () => HttpServerResponse.raw(new Response("raw", { status: 203, headers: { "x-b": "2" } })),
        "/form": () => HttpServerResponse.formData(form)
      }
      const server = yield* serve(Effect.map(request, ({ url }) => bodies[url]!()))
      const answer = (path: string) =>
        Effect.promise(() =>
          fetch(`http://127.0.0.1:${server.port}${path}`).then(async (response) => ({
            status: response.status,
            headers: response.headers,
            text: await response.text()
          }))
        )
      for (const path of ["/text", "/bytes", "/node", "/web", "/blob"]) {
        expect([path, (yield* answer(path)).text]).toEqual([path, "raw"])
      }
      const fetched = yield* answer("/fetched")
      expect([fetched.status, fetched.text, fetched.headers.get("x-b")]).toEqual([203, "raw", "2"])
      const sent = yield* answer("/form")
      expect(sent.headers.get("content-type")).toMatch(/^multipart\/form-data; boundary=/)
      expect(sent.text).toContain('name="a"\r\n\r\n1\r\n')
    })
  )

  it.live("a stream of Node's that nobody reads is destroyed", () =>
    Effect.gen(function* () {
      const sources: Array<Readable> = []
      const server = yield* serve(
        Effect.sync(() => {
          sources.push(new Readable({ read() {} }))
          return HttpServerResponse.raw(sources.at(-1))
        })
      )
      yield* raw(server.port, get("/").replace("GET", "HEAD"))
      expect(sources[0]!.destroyed).toBe(true)
      const client = yield* RawClient.connect(server.port)
      client.write(get("/"))
      yield* soon(client.until("\r\n\r\n"))
      client.reset()
      yield* until(() => sources[1]!.destroyed)
    })
  )

  it.live("a stream lives on what its app acquired, to the last byte, and is pulled as its reader reads", () =>
    Effect.gen(function* () {
      const events: Array<string> = []
      let pulled = 0
      const chunk = new Uint8Array(65_536)
      const app = Effect.gen(function* () {
        yield* Effect.acquireRelease(
          Effect.sync(() => events.push("acquired")),
          (_, exit) => Effect.sync(() => events.push(`released ${exit._tag}`))
        )
        const { url } = yield* request
        if (url === "/short") return HttpServerResponse.stream(Stream.make(chunk))
        return HttpServerResponse.stream(
          Stream.rechunk(Stream.fromEffectRepeat(Effect.sync(() => (pulled++, chunk))), 1)
        )
      })
      const server = yield* serve(app)
      const answer = yield* raw(server.port, get("/short"))
      expect(answer.length).toBeGreaterThan(65_536)
      expect(events).toEqual(["acquired", "released Success"])
      events.length = 0
      const client = yield* RawClient.connect(server.port)
      client.pause()
      client.write(get("/"))
      yield* Effect.sleep("300 millis")
      const stalled = pulled
      yield* Effect.sleep("100 millis")
      expect([pulled - stalled, stalled > 0, stalled < 400, events]).toEqual([0, true, true, ["acquired"]])
      client.reset()
      yield* until(() => events.length > 1)
      expect([events, server.inFlight()]).toEqual([["acquired", "released Failure"], 0])
    })
  )

  it.live("a stream that fails, or is as long as nobody said, breaks the connection off, and is in the log", () =>
    logged((lines) =>
      Effect.gen(function* () {
        const chunks = Stream.rechunk(Stream.make(new Uint8Array(3), new Uint8Array(3)), 1)
        const slowly = Stream.tap(chunks, () => Effect.sleep("20 millis"))
        const streams: Record<string, HttpServerResponse.HttpServerResponse> = {
          "/fails": HttpServerResponse.stream(Stream.concat(slowly, Stream.fail("no"))),
          "/long": HttpServerResponse.stream(slowly, { contentLength: 4 }),
          "/short": HttpServerResponse.stream(slowly, { headers: { "content-length": "9" } })
        }
        const server = yield* serve(Effect.map(request, ({ url }) => streams[url]!))
        for (const path of Object.keys(streams)) {
          const answer = yield* raw(server.port, get(path))
          expect([path, answer.includes("\0"), answer.endsWith("0\r\n\r\n")]).toEqual([path, true, false])
          if (path === "/long") expect(bodyOf(answer)).toBe("\0\0\0")
        }
        expect(lines).toEqual(["The stream of an answer has failed"])
      })
    )
  )

  class Teapot extends Data.TaggedError("Teapot")<{}> implements HttpServerRespondable.Respondable {
    [HttpServerRespondable.symbol]() {
      return Effect.succeed(text("short and stout", { status: 418 }))
    }
  }

  it.live("errors become what Effect makes of them; what comes to a 500 says nothing, and is in the log", () =>
    logged((lines) =>
      Effect.gen(function* () {
        const apps: Record<string, Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, Scope.Scope>> = {
          "/teapot": Effect.fail(new Teapot()),
          "/answer": Effect.die(text("thrown", { status: 409 })),
          "/typed": Effect.fail(new Error("secret")),
          "/bug": Effect.die(new Error("secret")),
          "/status": Effect.succeed(HttpServerResponse.empty({ status: 101 })),
          "/header": Effect.succeed(text("a", { headers: { "x-a": "a\r\nb: c" } }))
        }
        const server = yield* serve(Effect.flatMap(request, ({ url }) => apps[url]!))
        const answer = (path: string) =>
          Effect.map(raw(server.port, get(path)), (text) => {
            expect(text).not.toContain("secret")
            return [statusOf(text), bodyOf(text)] as const
          })
        expect(yield* answer("/teapot")).toEqual([418, "short and stout"])
        expect(yield* answer("/answer")).toEqual([409, "thrown"])
        expect(lines).toEqual([])
        expect(yield* answer("/typed")).toEqual([500, ""])
        expect(yield* answer("/bug")).toEqual([500, ""])
        expect(lines).toEqual(["An app has failed", "An app has failed"])
        expect((yield* answer("/status"))[0]).toBe(500)
        expect((yield* answer("/header"))[0]).toBe(502)
      })
    )
  )

  it.live("a middleware sees it, and may add to it before it goes out", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const middleware = HttpMiddleware.make((app) =>
        Effect.tap(app, ({ status }) => Effect.sync(() => seen.push(status)))
      )
      const app = Effect.flatMap(request, ({ url }) =>
        url === "/" ? Effect.succeed(text("a")) : Effect.fail(new Teapot())
      )
      const handler = NodeRouter.handler(HttpMiddleware.cors()(app), middleware)
      const server = yield* NodeHttp.serve(handler, { port: 0, drain: 0 })
      const answer = yield* raw(server.port, get("/", "Origin: http://a"))
      expect(answer).toMatch(/access-control-allow-origin: \*\r\n/i)
      expect(statusOf(yield* raw(server.port, get("/other")))).toBe(418)
      expect(seen).toEqual([200])
    })
  )
})

describe("an app that is cut", () => {
  /** Waits, and says why it did so no longer. */
  const waiting = () => {
    const reasons: Array<string | undefined> = []
    let waits = 0
    const app: App = Effect.gen(function* () {
      yield* Effect.addFinalizer(() => Effect.sync(() => void waits--))
      waits++
      return yield* Effect.onInterrupt(Effect.never, () =>
        Effect.map(CancelScope.reason, (reason) => void reasons.push(Option.getOrUndefined(reason)?._tag))
      )
    })
    return { app, reasons, waits: () => waits }
  }

  it.live("by a client that leaves, wherever it is", () =>
    Effect.gen(function* () {
      const { app, reasons, waits } = waiting()
      // Straight, in a middleware that logs nothing, and served by the layer.
      const layered = yield* NodeRouter.make({ port: 0, drain: 0 })
      yield* layered.serve(app)
      const straight = yield* serve(app)
      const ports = [straight.port, "port" in layered.address ? layered.address.port : 0]
      for (const [i, port] of ports.entries()) {
        const client = yield* RawClient.connect(port)
        client.write(get("/"))
        yield* until(() => waits() === 1)
        client.leave()
        yield* until(() => reasons.length === i + 1 && waits() === 0)
      }
      expect(reasons).toEqual(["ClientGone", "ClientGone"])
      expect(straight.inFlight()).toBe(0)
    })
  )

  it.live("by its deadline: the server's answer to that", () =>
    Effect.gen(function* () {
      const { app, reasons } = waiting()
      const routed = NodeRouter.handler(app)
      const server = yield* NodeHttp.serve<never>(
        (request, region) => {
          region.narrowUnsafe(50)
          return routed(request, region)
        },
        { port: 0, drain: 0 }
      )
      expect(statusOf(yield* raw(server.port, get("/")))).toBe(504)
      expect(reasons).toEqual(["Deadline"])
    })
  )

  it.live("by the end of a drain: 503; what ends within it is answered, and both are told to close", () =>
    logged((lines) =>
      Effect.gen(function* () {
        const shutdown = yield* Shutdown.make({ drain: "200 millis", interrupt: "1 second" })
        const { app, reasons } = waiting()
        const routes = Layer.mergeAll(
          HttpRouter.add("GET", "/short", Effect.delay(Effect.succeed(text("done")), "100 millis")),
          HttpRouter.add("GET", "/long", app)
        )
        const context = yield* Layer.build(
          HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
            Layer.provideMerge(NodeRouter.layer({ port: 0 })),
            Layer.provide(Layer.succeed(Shutdown.Shutdown)(shutdown))
          )
        )
        const { address } = Context.get(context, HttpServer.HttpServer)
        const clients = yield* Effect.forEach(["/short", "/long"], (path) =>
          Effect.gen(function* () {
            const client = yield* RawClient.connect("port" in address ? address.port : 0)
            client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
            return client
          })
        )
        yield* Effect.sleep("30 millis")
        const ledger = yield* soon(shutdown.stop)
        yield* soon(Effect.forEach(clients, ({ ended }) => ended))
        const answers = clients.map((client) => client.text())
        expect(answers.map(statusOf)).toEqual([200, 503])
        for (const answer of answers) expect(answer).toMatch(/connection: close/i)
        expect([reasons, ledger.clean, lines]).toEqual([["Shutdown"], false, []])
        expect(JSON.stringify(ledger.entries)).toContain("GET /long")
      })
    )
  )

  it.live("by itself: 503, and nobody else is", () =>
    logged((lines) =>
      Effect.gen(function* () {
        const server = yield* serve(Effect.interrupt)
        expect(statusOf(yield* raw(server.port, get("/")))).toBe(503)
        expect([lines, server.inFlight()]).toEqual([[], 0])
      })
    )
  )
})
// What a file says of itself.
