import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import * as net from "node:net"
import { begin, call, closedPort, echo, raw, until, withProxy } from "./support.ts"
import type { Answer } from "./support.ts"

const problem = (answer: Answer, status: number, name: string, error: string) => {
  expect(answer.headers["content-type"]).toBe("application/problem+json")
  expect(answer.headers["proxy-status"]).toBe(`fairlead; error=${error}`)
  expect(answer.status).toBe(status)
  expect(answer.json()).toMatchObject({ type: `urn:fairlead:problem:${name}`, status, error: { code: name } })
}

/** A server that answers each connection's first bytes with `text`, and what comes then. */
const script = (text: string, then: (socket: net.Socket) => void) =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      const server = net.createServer((socket) => {
        socket.on("error", () => {}).once("data", () => socket.write(text, () => then(socket)))
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as net.AddressInfo).port)))
      open.add(server)
    }),
    () =>
      Effect.sync(() => {
        for (const server of open) server.close()
        open.clear()
      })
  )
const open = new Set<net.Server>()

/** Through a proxy to such a server. */
const scripted = <E>(
  text: string,
  then: (socket: net.Socket) => void,
  body: (setup: { readonly url: string; readonly log: ReadonlyArray<any> }) => Effect.Effect<unknown, E>,
  timeout = {}
) =>
  Effect.scoped(
    Effect.flatMap(script(text, then), (port) =>
      withProxy(echo, { url: `http://127.0.0.1:${port}`, upstream: { timeout } }, ({ log, proxy }) =>
        body({ url: proxy.url, log })
      )
    )
  )

describe("an upstream that fails", () => {
  it.live("is told apart: nobody listens", () =>
    Effect.flatMap(closedPort, (port) =>
      withProxy(echo, { url: `http://127.0.0.1:${port}` }, ({ log, proxy, statistics }) =>
        Effect.gen(function* () {
          const answer = yield* call(proxy.url)
          problem(answer, 502, "upstream-unreachable", "connection_refused")
          expect(answer.json().sent).toBe(false)
          expect(answer.body).not.toContain(String(port))
          yield* until(() => log.length === 1)
          expect(log[0]).toMatchObject({ status: 502, reason: "upstream-unreachable" })
          expect((yield* statistics).windows).toEqual([])
        })
      )
    )
  )

  it.live("is told apart: its name leads nowhere", () =>
    withProxy(echo, { url: "http://does-not-exist.invalid" }, ({ proxy }) =>
      Effect.gen(function* () {
        const answer = yield* call(proxy.url)
        problem(answer, 502, "upstream-unreachable", "dns_error")
        expect(answer.body).not.toContain("does-not-exist")
      })
    )
  )

  it.live("is told apart: it resets before it answers", () =>
    withProxy(
      (request) => void request.socket.resetAndDestroy(),
      {},
      ({ proxy }) =>
        Effect.gen(function* () {
          const answer = yield* call(proxy.url)
          problem(answer, 502, "upstream-broken", "connection_terminated")
          expect(answer.json().sent).toBe(true)
        })
    )
  )

  it.live("is told apart: it answers what is no HTTP", () =>
    scripted(
      "SSH-2.0-OpenSSH\r\n",
      () => {},
      ({ url }) => Effect.map(call(url), (answer) => problem(answer, 502, "upstream-broken", "http_protocol_error"))
    )
  )

  it.live("is told apart: it does not answer in time", () =>
    withProxy(
      () => {},
      { upstream: { timeout: { firstByte: Duration.millis(100) } } },
      ({ proxy, upstream }) =>
        Effect.gen(function* () {
          problem(yield* call(proxy.url), 504, "upstream-timeout", "http_response_timeout")
          yield* until(() => upstream.open() === 0)
        })
    )
  )

  it.live("is told apart: it breaks off in a short body, of which nothing was passed on yet", () =>
    scripted(
      "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
      (socket) => socket.end(),
      ({ url }) =>
        Effect.map(call(url), (answer) =>
          problem(answer, 502, "upstream-broken", String(answer.headers["proxy-status"]).slice(16))
        )
    )
  )

  it.live("cuts the client's socket where it resets in mid-body: never a clean end to half an answer", () =>
    Effect.gen(function* () {
      for (const framing of ["Content-Length: 1000000", "Transfer-Encoding: chunked"]) {
        let ended = false
        yield* scripted(
          `HTTP/1.1 200 OK\r\n${framing}\r\n\r\n5\r\nbegun\r\n`,
          (socket) => setTimeout(() => socket.resetAndDestroy(), 50),
          ({ log, url }) =>
            Effect.gen(function* () {
              const error = yield* Effect.callback<Error>((resume) => {
                begin(url).on("response", (response) =>
                  response
                    .on("data", () => {})
                    .on("end", () => (ended = true))
                    .on("error", (error) => resume(Effect.succeed(error)))
                )
              })
              expect(error.message).toBe("aborted")
              expect(ended).toBe(false)
              yield* until(() => log.length === 1)
              expect(log[0]).toMatchObject({ status: 200, cut: "failed" })
            })
        )
      }
    })
  )

  it.live("cuts the client's socket where it falls silent in mid-body", () =>
    withProxy(
      (_, response) => response.writeHead(200, { "content-length": 1_000_000 }).write("begun"),
      { upstream: { timeout: { idle: Duration.millis(100) } } },
      ({ proxy, upstream }) =>
        Effect.gen(function* () {
          expect((yield* Effect.exit(call(proxy.url)))._tag).toBe("Failure")
          yield* until(() => upstream.open() === 0)
        })
    )
  )
})

describe("a call that is wrong", () => {
  it.live("is told that no upstream has its prefix, and no more", () =>
    withProxy(echo, {}, ({ log, proxy, upstream }) =>
      Effect.gen(function* () {
        for (const path of ["/", "/nowhere/x?key=secret", "/UP/x", "/%75p/x"]) {
          const answer = yield* call(`http://127.0.0.1:${proxy.port}${path}`)
          problem(answer, 404, "unknown-upstream", "destination_not_found")
          expect(answer.body).not.toMatch(/secret|127\.0\.0\.1|"up"/)
        }
        expect(upstream.served.length).toBe(0)
        yield* until(() => log.length === 4)
        expect(JSON.stringify(log.map(({ upstream }) => upstream))).toBe("[null,null,null,null]")
      })
    )
  )

  it.live("does not climb out of the upstream's base path", () =>
    withProxy(echo, {}, ({ proxy, upstream }) =>
      Effect.gen(function* () {
        for (const path of [
          "/../admin",
          "/a/%2e%2E/b",
          "/a/..%2fb",
          "/a\\..\\b",
          "/a/%5c../b",
          "/%252e%252e/",
          "/..;/x",
          "//evil.example/"
        ]) {
          problem(yield* call(`${proxy.url}${path}`), 400, "malformed", "http_request_error")
        }
        const absolute = yield* raw(
          proxy.port,
          `GET http://localhost/up/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`
        )
        expect(absolute).toMatch(/^HTTP\/1\.1 400 /)
        expect(upstream.served.length).toBe(0)
      })
    )
  )

  it.live("does not come from a web page, nor by another name", () =>
    withProxy(
      echo,
      { config: { hosts: ["proxy.internal"], origins: ["https://app.example.com"] } },
      ({ proxy, upstream }) =>
        Effect.gen(function* () {
          const asked = (headers: Record<string, string>) => call(proxy.url, { headers })
          problem(yield* asked({ origin: "https://evil.example" }), 403, "cross-site", "http_request_denied")
          problem(yield* asked({ origin: "null" }), 403, "cross-site", "http_request_denied")
          problem(yield* asked({ "sec-fetch-site": "cross-site" }), 403, "cross-site", "http_request_denied")
          problem(yield* asked({ host: "evil.example" }), 421, "misdirected", "http_request_denied")
          expect(upstream.served.length).toBe(0)
          expect((yield* asked({ origin: "https://app.example.com", "sec-fetch-site": "cross-site" })).status).toBe(200)
          expect((yield* asked({ host: "Proxy.Internal:8080" })).status).toBe(200)
          expect((yield* asked({ host: "localhost" })).status).toBe(200)
        })
    )
  )

  it.live("has one Host header", () =>
    withProxy(echo, {}, ({ proxy, upstream }) =>
      Effect.gen(function* () {
        const none = yield* raw(proxy.port, "GET /up/x HTTP/1.1\r\nConnection: close\r\n\r\n")
        expect(none).toMatch(/^HTTP\/1\.1 400 /)
        const two = yield* raw(
          proxy.port,
          "GET /up/x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        expect(two).toMatch(/^HTTP\/1\.1 400 /)
        expect(upstream.served.length).toBe(0)
      })
    )
  )

  it.live("is no loop: a proxy that is its own upstream says so", () =>
    withProxy(echo, {}, ({ proxy: inner }) =>
      // The inner proxy's Via, coming back to it.
      Effect.gen(function* () {
        const via = (yield* call(inner.url)).headers.via!
        problem(yield* call(inner.url, { headers: { via } }), 502, "loop", "proxy_loop_detected")
        problem(
          yield* call(inner.url, { headers: { via: `1.0 other, ${via}, 1.1 more` } }),
          502,
          "loop",
          "proxy_loop_detected"
        )
        expect((yield* call(inner.url, { headers: { via: "1.1 fairlead-other" } })).status).toBe(200)
      })
    )
  )

  it.live("has a target and a head of bounded length", () =>
    withProxy(echo, {}, ({ proxy }) =>
      Effect.gen(function* () {
        problem(yield* call(`${proxy.url}/${"x".repeat(9000)}`), 414, "target-too-long", "http_request_error")
        expect((yield* call(proxy.url, { headers: { "x-big": "x".repeat(20_000) } })).status).toBe(431)
      })
    )
  )

  it.live("ends nothing, whatever it sends", () =>
    withProxy(echo, {}, ({ proxy }) =>
      Effect.gen(function* () {
        for (const text of [
          "\x00\x01\x02\x03",
          "GET\r\n\r\n",
          "GET /up/ HTTP/9.9\r\n\r\n",
          "GET /up/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "POST /up/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
          "POST /up/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf",
          "POST /up/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
          "GET /up/x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
          "GET /up/x HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n",
          "GET /up/\xff\xfe HTTP/1.1\r\nHost: localhost\r\nX-\xe9: \xe9\r\n\r\n",
          'GET /up/x HTTP/1.1\r\nHost: localhost\r\nPriority: \xff\x80(((\r\nPrefer: """\r\n\r\n',
          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
          "GET /up/x HTTP/1.0\r\nHost: localhost\r\n\r\n",
          `${"GET /up/x HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20)}`
        ]) {
          yield* raw(proxy.port, text)
        }
        expect((yield* call(proxy.url)).status).toBe(200)
      })
    )
  )
})
