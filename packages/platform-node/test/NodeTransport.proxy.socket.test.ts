import { describe, expect, it } from "@effect/vitest"
import { NodeTransport } from "@fairlead/platform-node"
import { Certificates, Leaks, ScriptedUpstream } from "@fairlead/testing/node"
import { Effect, Fiber } from "effect"
import type { Scope } from "effect"
import * as http from "node:http"
import * as net from "node:net"
import * as tls from "node:tls"
import { failure, get, rawServer, soon, text, until } from "./calls.ts"

interface ForwardProxy {
  readonly url: string
  readonly port: number
  /** Method, target and `Proxy-Authorization` of each request. */
  readonly seen: Array<ReadonlyArray<string | undefined>>
  readonly sockets: Set<net.Socket>
}

/** A forward proxy in a few lines. `refuse`: what it says to `CONNECT`, instead of making a tunnel. */
const forwardProxy = (
  options: { readonly refuse?: string; readonly tls?: tls.TlsOptions } = {}
): Effect.Effect<ForwardProxy, never, Scope.Scope> =>
  Effect.gen(function* () {
    const seen: Array<ReadonlyArray<string | undefined>> = []
    const sockets = new Set<net.Socket>()
    const track = (socket: net.Socket) => {
      sockets.add(socket)
      socket.on("error", () => {}).on("close", () => sockets.delete(socket))
    }
    const server = http.createServer((request, response) => {
      const { headers, method, url } = request
      seen.push([method, url, headers["proxy-authorization"], headers.host])
      if (options.refuse !== undefined) return void response.writeHead(Number(options.refuse.slice(9, 12))).end()
      const { hostname, pathname, port, search } = new URL(url!)
      delete headers["proxy-authorization"]
      http.get({ hostname, port, path: pathname + search, headers, agent: false }, (answer) => {
        response.writeHead(answer.statusCode!, answer.rawHeaders)
        answer.pipe(response)
      })
    })
    server.on("connect", (request: http.IncomingMessage, socket: net.Socket) => {
      seen.push([request.method, request.url, request.headers["proxy-authorization"], request.headers.host])
      if (options.refuse !== undefined) return void socket.end(options.refuse)
      const { hostname, port } = new URL(`http://${request.url}`)
      const to = net.connect(Number(port), hostname, () => {
        socket.write("HTTP/1.1 200 Connection established\r\n\r\n")
        to.pipe(socket).pipe(to)
      })
      track(to)
      socket.on("close", () => to.destroy())
    })
    const listening: net.Server =
      options.tls === undefined
        ? server
        : tls.createServer(options.tls, (socket) => void server.emit("connection", socket))
    listening.on(options.tls === undefined ? "connection" : "secureConnection", track)
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void listening.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          listening.close(() => resume(Effect.void))
          for (const socket of sockets) socket.destroy()
        })
    )
    const { port } = listening.address() as net.AddressInfo
    const scheme = options.tls === undefined ? "http" : "https"
    return { url: `${scheme}://user:secret@localhost:${port}`, port, seen, sockets }
  })

const authorization = `Basic ${Buffer.from("user:secret").toString("base64")}`

describe("a forward proxy", () => {
  it.live("is told the whole target where the origin has no TLS, and its credentials go no further", () =>
    Effect.gen(function* () {
      const proxy = yield* forwardProxy()
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200, [], "ok") })
      const transport = yield* NodeTransport.make({ proxy: proxy.url })
      for (let i = 0; i < 2; i++) {
        const { body } = yield* transport.exchange(upstream.origin, get("/a?b=%20", ["X", "y"]))
        expect(yield* text(body)).toBe("ok")
      }
      const host = `127.0.0.1:${upstream.port}`
      expect(proxy.seen).toEqual([
        ["GET", `http://${host}/a?b=%20`, authorization, host],
        ["GET", `http://${host}/a?b=%20`, authorization, host]
      ])
      // One connection served both.
      expect(proxy.sockets.size).toBe(1)
      const [received] = upstream.received
      expect([received!.target, received!.header("x"), received!.header("proxy-authorization")]).toEqual([
        "/a?b=%20",
        "y",
        undefined
      ])
    }).pipe(Leaks.expectNoLeaks())
  )

  for (const secure of [false, true]) {
    it.live(`is asked for a tunnel where the origin has TLS${secure ? ", over TLS itself" : ""}`, () =>
      Effect.gen(function* () {
        const pair = Certificates.make()
        const proxy = yield* forwardProxy(secure ? { tls: pair } : {})
        const upstream = yield* ScriptedUpstream.make({
          tls: pair,
          answer: (received) => received.reply(200, [], "secret")
        })
        for (const http2 of [false, true]) {
          const transport = yield* NodeTransport.make({ proxy: proxy.url, tls: { ca: pair.ca }, http2 })
          const { body } = yield* soon(transport.exchange(upstream.origin, get("/a")), 2_000)
          expect(yield* text(body)).toBe("secret")
          const host = `127.0.0.1:${upstream.port}`
          expect(proxy.seen.splice(0)).toEqual([["CONNECT", host, authorization, host]])
        }
        const [received] = upstream.received
        expect([received!.target, received!.header("proxy-authorization")]).toEqual(["/a", undefined])
      })
    )
  }

  it.live("that refuses is known by its kind, and no message has its credentials", () =>
    Effect.gen(function* () {
      for (const status of [407, 403, 502]) {
        const proxy = yield* forwardProxy({ refuse: `HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n` })
        const transport = yield* NodeTransport.make({ proxy: proxy.url })
        const error = yield* failure(transport.exchange("https://origin.test", get("/")))
        expect([error.kind, error.sent, error.message]).toEqual(["proxy", false, `proxy: the proxy answered ${status}`])
        yield* until(() => proxy.sockets.size === 0)
        if (status !== 407) continue
        const plain = yield* failure(transport.exchange("http://origin.test", get("/")))
        expect([plain.kind, plain.message]).toEqual(["proxy", "proxy: the proxy answered 407"])
      }
      const closing = yield* rawServer((socket) => void socket.on("data", () => socket.end()))
      const transport = yield* NodeTransport.make({ proxy: `http://user:secret@127.0.0.1:${closing.port}` })
      const error = yield* failure(transport.exchange("https://origin.test", get("/")))
      expect([error.kind, error.sent]).toEqual(["proxy", false])
      expect(JSON.stringify([error.message, error.cause])).not.toContain("secret")
      const gone = yield* NodeTransport.make({ proxy: `http://user:secret@127.0.0.1:1` })
      const refused = yield* failure(gone.exchange("https://origin.test", get("/")))
      expect([refused.kind, refused.sent]).toEqual(["refused", false])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("is left in time when it says nothing, and when the caller leaves", () =>
    Effect.gen(function* () {
      const silent = yield* rawServer((socket) => void socket.resume())
      const transport = yield* NodeTransport.make({
        proxy: `http://127.0.0.1:${silent.port}`,
        connect: 100,
        maxSockets: 1
      })
      const late = yield* soon(failure(transport.exchange("https://origin.test", get("/"))))
      expect([late.kind, late.sent]).toEqual(["connectTimeout", false])
      const fiber = yield* Effect.forkChild(transport.exchange("https://origin.test", get("/")))
      yield* until(() => silent.sockets.size === 1)
      yield* Fiber.interrupt(fiber)
      yield* until(() => silent.sockets.size === 0)
      yield* Effect.sleep(10)
      expect((yield* transport.statistics).sockets).toEqual({ connecting: 0, busy: 0, idle: 0, closing: 0 })
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("is what the environment says, but for what it excepts, and only where that is asked for", () =>
    Effect.gen(function* () {
      const proxy = yield* forwardProxy()
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200, [], "ok") })
      const set = { http_proxy: proxy.url, no_proxy: `127.0.0.1:${upstream.port}` }
      const before = Object.keys(set).map((name) => [name, process.env[name]] as const)
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          for (const [name, value] of before) {
            if (value === undefined) delete process.env[name]
            else process.env[name] = value
          }
        })
      )
      Object.assign(process.env, set)
      const aware = yield* NodeTransport.make({ proxy: "environment" })
      const unaware = yield* NodeTransport.make()
      yield* aware.exchange(`http://localhost:${upstream.port}`, get("/"))
      expect(proxy.seen.length).toBe(1)
      yield* aware.exchange(upstream.origin, get("/"))
      yield* unaware.exchange(`http://localhost:${upstream.port}`, get("/"))
      expect(proxy.seen.length).toBe(1)
    })
  )
})
