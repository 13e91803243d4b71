import { describe, expect, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as http from "node:http"
import * as zlib from "node:zlib"
import { begin, call, echo, raw, until, withProxy } from "./support.ts"

describe("Proxy", () => {
  it.live("carries a GET to the upstream's base path, query and all, and its answer back", () =>
    withProxy(echo, {}, ({ log, proxy, upstream }) =>
      Effect.gen(function* () {
        const answer = yield* call(`${proxy.url}/repos/a%20b?x=1&y=%2e%2e`, {
          headers: { accept: "text/plain", "x-own": "1" }
        })
        expect(answer.status).toBe(200)
        expect(answer.json()).toMatchObject({
          method: "GET",
          url: "/repos/a%20b?x=1&y=%2e%2e",
          headers: { accept: "text/plain", "x-own": "1" },
          body: ""
        })
        // Host is the upstream's.
        expect(answer.json().headers.host).not.toBe(`127.0.0.1:${proxy.port}`)
        expect(upstream.served.length).toBe(1)
        yield* until(() => log.length === 1)
        expect(log[0]).toMatchObject({ method: "GET", status: 200, upstream: "up", urgency: 3, bytesIn: 0, hop: 0 })
        expect(log[0]!.bytesOut).toBe(answer.body.length)
        expect(log[0]!.totalMillis).toBeGreaterThanOrEqual(log[0]!.ttfbMillis!)
      })
    )
  )

  it.live("joins the base path of the url and what follows the prefix", () =>
    withProxy(echo, {}, ({ proxy, upstream }) =>
      withProxy(echo, { url: `http://127.0.0.1:${upstream.port}/v1/` }, ({ proxy: { url } }) =>
        Effect.gen(function* () {
          const asked = (path: string) => Effect.map(call(`${url}${path}`), (answer) => answer.json().url)
          expect(yield* asked("/chat?x")).toBe("/v1/chat?x")
          expect(yield* asked("/")).toBe("/v1/")
          expect(yield* asked("")).toBe("/v1")
          expect(yield* asked("?x")).toBe("/v1?x")
          expect((yield* call(proxy.url)).json().url).toBe("/")
        })
      )
    )
  )

  it.live("answers HEAD without a body, with the length that a GET would have", () =>
    withProxy(
      (_, response) => response.setHeader("content-length", 1234).end(),
      {},
      ({ proxy }) =>
        Effect.gen(function* () {
          const answer = yield* call(proxy.url, { method: "HEAD" })
          expect(answer.status).toBe(200)
          expect(answer.body).toBe("")
          expect(answer.headers["content-length"]).toBe("1234")
          expect((yield* call(`http://127.0.0.1:${proxy.port}/nowhere`, { method: "HEAD" })).body).toBe("")
        })
    )
  )

  it.live("carries a POST of known length and one in chunks, framed as it came", () =>
    withProxy(echo, {}, ({ log, proxy }) =>
      Effect.gen(function* () {
        const long = yield* call(proxy.url, { method: "POST", body: "twelve bytes", headers: { "content-length": 12 } })
        expect(long.json()).toMatchObject({ method: "POST", body: "twelve bytes", headers: { "content-length": "12" } })
        const chunked = yield* call(proxy.url, {
          method: "POST",
          body: ["one ", "two"],
          headers: { "transfer-encoding": "chunked" }
        })
        expect(chunked.json()).toMatchObject({ body: "one two", headers: { "transfer-encoding": "chunked" } })
        expect(chunked.json().headers["content-length"]).toBeUndefined()
        yield* until(() => log.length === 2)
        expect(log.map(({ bytesIn }) => bytesIn)).toEqual([12, 7])
      })
    )
  )

  it.live("carries other methods, but neither TRACE nor CONNECT", () =>
    withProxy(echo, {}, ({ proxy, upstream }) =>
      Effect.gen(function* () {
        for (const method of ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY"]) {
          expect((yield* call(proxy.url, { method })).json().method).toBe(method)
        }
        const traced = yield* call(proxy.url, { method: "TRACE" })
        expect(traced.status).toBe(405)
        expect(traced.headers.allow).toContain("GET")
        expect(yield* raw(proxy.port, "CONNECT up:443 HTTP/1.1\r\nHost: localhost\r\n\r\n")).toMatch(/^HTTP\/1.1 501 /)
        expect(yield* raw(proxy.port, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).toMatch(
          /^HTTP\/1.1 400 /
        )
        expect(upstream.served.length).toBe(6)
      })
    )
  )

  it.live("carries 204 and 304, which have no body", () =>
    withProxy(
      (request, response) => response.writeHead(Number(request.url!.slice(1)), { etag: `"x"` }).end(),
      {},
      ({ proxy }) =>
        Effect.gen(function* () {
          for (const status of [204, 304]) {
            const answer = yield* call(`${proxy.url}/${status}`)
            expect(answer).toMatchObject({ status, body: "", headers: { etag: `"x"` } })
            expect(answer.headers["transfer-encoding"]).toBeUndefined()
          }
        })
    )
  )

  it.live("keeps connections alive on both sides", () =>
    withProxy(echo, {}, ({ proxy, upstream }) =>
      Effect.gen(function* () {
        const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
        const ports = new Set<unknown>()
        for (let i = 0; i < 5; i++) {
          yield* call(proxy.url, { agent })
          ports.add(upstream.served.at(-1)!.request.socket.remotePort)
        }
        yield* until(() => Object.values(agent.freeSockets).flat().length === 1)
        expect(ports.size).toBe(1)
        agent.destroy()
      })
    )
  )

  it.live("passes interim answers on before the answer", () =>
    withProxy(
      (_, response) => {
        response.writeEarlyHints({ link: "</style.css>; rel=preload" }, () => response.end("done"))
      },
      {},
      ({ proxy }) =>
        Effect.gen(function* () {
          const answer = yield* call(proxy.url)
          expect(answer).toMatchObject({ status: 200, body: "done" })
          expect(answer.interim).toMatchObject([{ status: 103, headers: { link: "</style.css>; rel=preload" } }])
        })
    )
  )

  it.live("does not delay the first byte of an event stream, nor any after it", () => {
    let write: (text: string) => void
    return withProxy(
      (_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" })
        response.flushHeaders()
        write = (text) => (text === "" ? response.end() : response.write(text))
      },
      {},
      ({ proxy }) =>
        Effect.gen(function* () {
          let head = false
          let text = ""
          let ended = false
          begin(proxy.url).on("response", (response) => {
            head = true
            response.on("data", (chunk) => (text += chunk)).on("end", () => (ended = true))
          })
          // The head comes before there is any event.
          yield* until(() => head)
          for (const event of ["data: 1\n\n", "data: 2\n\n"]) {
            const before = text
            write(event)
            yield* until(() => text === before + event)
          }
          write("")
          yield* until(() => ended)
        })
    )
  })

  it.live("changes no byte of a compressed answer, and no field of it but those of the hop", () =>
    withProxy(
      (_, response) => {
        response.writeHead(
          200,
          [
            ["Content-Encoding", "gzip"],
            ["Set-Cookie", "a=1"],
            ["set-cookie", "b=2"],
            ["Connection", "x-private"],
            ["X-Private", "1"],
            ["Keep-Alive", "timeout=1"],
            ["Proxy-Status", "far; error=dns_error"],
            ["Via", "1.1 far"]
          ].flat()
        )
        response.end(zlib.gzipSync("hello"))
      },
      {},
      ({ proxy }) =>
        Effect.gen(function* () {
          const { bytes, headers, rawHeaders } = yield* call(proxy.url)
          expect(rawHeaders.slice(0, 6)).toEqual(["Content-Encoding", "gzip", "Set-Cookie", "a=1", "set-cookie", "b=2"])
          expect(headers["x-private"]).toBeUndefined()
          expect(headers["proxy-status"]).toBe("far; error=dns_error")
          expect(headers.via).toMatch(/^1\.1 far, 1\.1 fairlead-\w+$/)
          expect(headers["server-timing"]).toMatch(/^queue;dur=[\d.]+, ttfb;dur=[\d.]+$/)
          expect(bytes).toEqual(zlib.gzipSync("hello"))
        })
    )
  )

  it.live("takes off what belongs to the client's hop, which cannot take off what is ours", () =>
    withProxy(echo, { upstream: { headers: [["authorization", Redacted.make("Bearer ours")]] } }, ({ proxy }) =>
      Effect.gen(function* () {
        const answer = yield* call(proxy.url, {
          method: "POST",
          body: "abc",
          headers: {
            connection: "close, host, content-length, authorization, x-nominated, via",
            "content-length": 3,
            "x-nominated": "1",
            "proxy-authorization": "Basic eA==",
            te: "trailers",
            authorization: "Bearer theirs",
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
          }
        })
        const { body, headers } = answer.json()
        expect(body).toBe("abc")
        expect(headers.authorization).toBe("Bearer ours")
        expect(headers["content-length"]).toBe("3")
        expect(headers.host).toMatch(/^127\.0\.0\.1:\d+$/)
        expect(headers.via).toMatch(/^1\.1 fairlead-\w+$/)
        expect(headers.traceparent).toBe("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        for (const name of ["x-nominated", "proxy-authorization", "te"]) expect(headers[name]).toBeUndefined()
      })
    )
  )

  it.live("answers Expect: 100-continue when the call is admitted, and no other expectation", () =>
    withProxy(echo, {}, ({ proxy, upstream }) =>
      Effect.gen(function* () {
        let continued = false
        const answer = yield* Effect.callback<http.IncomingMessage>((resume) => {
          const request = http.request(proxy.url, {
            method: "PUT",
            agent: false,
            headers: { expect: "100-continue", "content-length": 5 }
          })
          request.flushHeaders()
          request
            .on("continue", () => {
              continued = true
              request.end("hello")
            })
            .on("response", (response) => resume(Effect.succeed(response.resume())))
        })
        expect(continued).toBe(true)
        expect(answer.statusCode).toBe(200)
        expect(upstream.served[0]!.request.headers.expect).toBeUndefined()
        expect((yield* call(proxy.url, { headers: { expect: "miracles" } })).status).toBe(417)
        expect(upstream.served.length).toBe(1)
      })
    )
  )

  it.live("tells the upstream of the client's urgency and patience, and what is left of its time", () =>
    withProxy(echo, {}, ({ log, proxy }) =>
      Effect.gen(function* () {
        const answer = yield* call(proxy.url, {
          headers: { priority: "u=1, i", prefer: "wait=7", "x-request-timeout-ms": "5000", "x-stainless-timeout": "60" }
        })
        const { headers } = answer.json()
        expect(headers).toMatchObject({ priority: "u=1, i", prefer: "wait=7", "x-stainless-timeout": "60" })
        expect(Number(headers["x-request-timeout-ms"])).toBeGreaterThan(0)
        expect(Number(headers["x-request-timeout-ms"])).toBeLessThanOrEqual(5000)
        expect(answer.headers["preference-applied"]).toBe("wait=7")
        const bad = yield* call(proxy.url, {
          headers: { priority: "u=9", prefer: "wait=soon", "x-request-timeout-ms": "-1" }
        })
        expect(bad.status).toBe(200)
        expect(bad.json().headers["x-request-timeout-ms"]).toBeUndefined()
        expect(bad.headers["preference-applied"]).toBeUndefined()
        yield* until(() => log.length === 2)
        expect(log[0]).toMatchObject({ urgency: 1, notes: undefined })
        expect(log[1]).toMatchObject({
          urgency: 3,
          notes: ["ignored x-request-timeout-ms", "ignored priority", "ignored prefer"]
        })
      })
    )
  )
})
