/**
 * What a server must refuse, byte for byte, by RFC 9112 and, where it is said so, RFC 9110; and what it must take.
 * Who refuses, Node's parser or internal/strict.ts, is nobody's business here: it has to stay refused when Node changes.
 */
import { describe, expect, it } from "@effect/vitest"
import { Reason, Transport } from "@fairlead/core"
import type { Deadline } from "@fairlead/core"
import { NodeHttp } from "@fairlead/platform-node"
import { RawClient } from "@fairlead/testing/node"
import { Effect } from "effect"

/** Its handler reads every body, and notes what it has got in whole. */
const serve = (options: Partial<NodeHttp.Options> = {}) =>
  Effect.gen(function* () {
    const taken: Array<string> = []
    const regions: Array<Deadline.Region> = []
    const server = yield* NodeHttp.serve(
      ({ body, method, target }, region) => {
        regions.push(region)
        let text = ""
        const sink = {
          write: (chunk: Uint8Array) => (text += Buffer.from(chunk).toString("latin1")) !== "",
          onDrain: () => {}
        }
        const answer = () => {
          taken.push(`${method} ${target} ${text}`.trimEnd())
          return { status: 200, headers: [], body: Transport.text(`<${target} ${text}>`) }
        }
        return Effect.orDie(Effect.map(body.pipeTo(sink), answer))
      },
      { port: 0, drain: 0, ...options }
    )
    return { ...server, taken, regions }
  })

const soon = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.timeout(self, 2_000)

const bytes = (text: string) => Buffer.from(text, "latin1")

const statusesOf = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))

const lines = (...all: ReadonlyArray<string>) => `${all.join("\r\n")}\r\n\r\n`
const get = (target: string, ...headers: ReadonlyArray<string>) =>
  lines(`GET ${target} HTTP/1.1`, "Host: a", ...headers)
const post = (headers: ReadonlyArray<string>, body: string) => lines("POST / HTTP/1.1", "Host: a", ...headers) + body
const chunked = (body: string) => post(["Transfer-Encoding: chunked"], body)

type Case = readonly [what: string, sent: string, status?: number]

const refused: { readonly [part: string]: ReadonlyArray<Case> } = {
  "a request line (3)": [
    ["a space before it", ` ${get("/")}`],
    ["a tab for a space", lines("GET\t/ HTTP/1.1", "Host: a")],
    ["a space in the target", get("/a b")],
    ["a space behind the version", lines("GET / HTTP/1.1 ", "Host: a")],
    ["no method", lines("/ HTTP/1.1", "Host: a")],
    ["a method in small letters: they are case-sensitive", lines("get / HTTP/1.1", "Host: a")],
    ["a method that is no token", lines("G(T / HTTP/1.1", "Host: a")],
    ["a method that nobody knows", lines("FROBNICATE / HTTP/1.1", "Host: a")],
    ["a method of RTSP", lines("DESCRIBE /x RTSP/1.1", "Host: a"), 501],
    ["no version", "GET /\r\n\r\n", 505],
    ["HTTP/0.9", lines("GET / HTTP/0.9", "Host: a"), 505],
    ["HTTP/2.0", lines("GET / HTTP/2.0", "Host: a"), 505],
    ["HTTP/3.0", lines("GET / HTTP/3.0", "Host: a")],
    ["a version in small letters", lines("GET / http/1.1", "Host: a")],
    ["a version of two digits", lines("GET / HTTP/1.10", "Host: a")],
    ["a version with a leading zero", lines("GET / HTTP/01.1", "Host: a")],
    ["a version without a minor", lines("GET / HTTP/1", "Host: a")],
    ["another protocol", lines("GET / HTTPS/1.1", "Host: a")],
    ["a bare LF at its end", "GET / HTTP/1.1\nHost: a\r\n\r\n"],
    ["a bare CR in it", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"]
  ],
  "a target (3.2)": [
    ["neither path nor URL", get("a")],
    ["a query without a path", get("?a")],
    ["an authority, but for CONNECT", get("a:80")],
    ["an asterisk, but for OPTIONS", get("*")],
    ["more than an asterisk", lines("OPTIONS *a HTTP/1.1", "Host: a")],
    ["a fragment", get("/a#b")],
    ["a fragment in a URL", get("http://a/#b")],
    ["a URL of another scheme", get("ftp://a/")],
    ["a URL of a scheme that asks for TLS (9110, 7.4)", get("https://a/")],
    ["a URL without a host (9110, 4.2.1)", get("http:///a")],
    ["a URL with a user (9110, 4.2.4)", get("http://user:secret@a/")],
    ["a URL with a port that is none", get("http://a:b/")],
    ["what is no ASCII", get("/\xe9")],
    ["a NUL", get("/\0")],
    ["a control character", get("/\x01")],
    ["CONNECT", lines("CONNECT a:80 HTTP/1.1", "Host: a:80"), 501],
    ["one that is too long", get(`/${"x".repeat(9_000)}`), 414]
  ],
  "Host (3.2)": [
    ["none", lines("GET / HTTP/1.1")],
    ["two", get("/", "Host: b")],
    ["the same twice, whatever its letters", get("/", "hOST: a")],
    ["two in HTTP/1.0", lines("GET / HTTP/1.0", "Host: a", "Host: b")],
    ["an empty one", lines("GET / HTTP/1.1", "Host:")],
    ["a space in it", lines("GET / HTTP/1.1", "Host: a b")],
    ["a user in it", lines("GET / HTTP/1.1", "Host: user@a")],
    ["a path in it", lines("GET / HTTP/1.1", "Host: a/b")],
    ["a port that is none", lines("GET / HTTP/1.1", "Host: a:b")],
    ["a bracket that stays open", lines("GET / HTTP/1.1", "Host: [::1")],
    ["what is no ASCII", lines("GET / HTTP/1.1", "Host: \xe9")],
    ["none with a URL for a target", lines("GET http://a/ HTTP/1.1")]
  ],
  "a field (5)": [
    ["a space before the colon (5.1)", get("/", "X : a")],
    ["a tab before the colon (5.1)", get("/", "X\t: a")],
    ["a folded one (5.2)", get("/", "X: a", " b")],
    ["one folded with a tab (5.2)", get("/", "X: a", "\tb")],
    ["white space before the first (2.2)", lines("GET / HTTP/1.1", " Host: a")],
    ["a bare LF at its end", get("/", "X: a\nY: b")],
    ["a bare CR in it (2.2)", get("/", "X: a\rb")],
    ["a bare CR at its end", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"],
    ["a NUL in it (9110, 5.5)", get("/", "X: a\0b")],
    ["a control character in it (9110, 5.5)", get("/", "X: a\x01b")],
    ["DEL in it (9110, 5.5)", get("/", "X: a\x7fb")],
    ["no colon", get("/", "X")],
    ["no name", get("/", ": a")],
    ["a name that is no token (9110, 5.1)", get("/", "X(: a")],
    ["a name that is no ASCII (9110, 5.1)", get("/", "X\xe9: a")],
    ["a NUL in a name", get("/", "X\0: a")],
    ["a bare LF for the last line", "GET / HTTP/1.1\r\nHost: a\r\n\n"],
    ["too much (9110, 5.4)", get("/", `X: ${"x".repeat(20_000)}`), 431],
    ["too many", get("/", ...Array.from({ length: 100 }, (_, i) => `X-${i}: a`)), 431]
  ],
  "Content-Length (6.2, 6.3)": [
    ["a sign", post(["Content-Length: +5"], "hello")],
    ["a negative one", post(["Content-Length: -5"], "hello")],
    ["hexadecimal", post(["Content-Length: 0x5"], "hello")],
    ["a fraction", post(["Content-Length: 5.0"], "hello")],
    ["a list, even of the same", post(["Content-Length: 5,5"], "hello")],
    ["a space in it", post(["Content-Length: 5 5"], "hello")],
    ["none in it", post(["Content-Length:"], "hello")],
    ["two that differ", post(["Content-Length: 5", "Content-Length: 6"], "hello!")],
    ["two that are the same", post(["Content-Length: 5", "Content-Length: 5"], "hello")],
    ["more than 64 bits", post(["Content-Length: 18446744073709551621"], "hello")],
    ["more than can be counted exactly", post(["Content-Length: 9007199254740993"], "hello"), 413]
  ],
  "Transfer-Encoding (6.1, 6.3)": [
    ["with a length behind it", post(["Transfer-Encoding: chunked", "Content-Length: 5"], "0\r\n\r\n")],
    ["with a length before it", post(["Content-Length: 5", "Transfer-Encoding: chunked"], "0\r\n\r\n")],
    ["with a length of 0", post(["Content-Length: 0", "Transfer-Encoding: chunked"], "0\r\n\r\n")],
    ["in HTTP/1.0", lines("POST / HTTP/1.0", "Host: a", "Transfer-Encoding: chunked") + "0\r\n\r\n"],
    ["not chunked at the end", post(["Transfer-Encoding: chunked, gzip"], "0\r\n\r\n")],
    ["not chunked at all", post(["Transfer-Encoding: gzip"], "hello")],
    ["chunked twice", post(["Transfer-Encoding: chunked, chunked"], "0\r\n\r\n")],
    ["chunked twice, in two lines", post(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "0\r\n\r\n")],
    ["a coding before it that we do not know", post(["Transfer-Encoding: gzip, chunked"], "0\r\n\r\n"), 501],
    ["likewise, in two lines", post(["Transfer-Encoding: gzip", "Transfer-Encoding: chunked"], "0\r\n\r\n"), 501],
    ["identity, which is no more", post(["Transfer-Encoding: identity"], "hello")],
    ["none in it", post(["Transfer-Encoding:"], "0\r\n\r\n")],
    ["a parameter", post(["Transfer-Encoding: chunked;a=b"], "0\r\n\r\n")],
    ["in quotes", post(['Transfer-Encoding: "chunked"'], "0\r\n\r\n")],
    ["a vertical tab before it", post(["Transfer-Encoding: \x0bchunked"], "0\r\n\r\n")],
    ["a name like it", post(["Transfer-Encoding: xchunked"], "0\r\n\r\n")]
  ],
  "chunks (7.1)": [
    ["a size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n")],
    ["a negative size", chunked("-1\r\nhello\r\n0\r\n\r\n")],
    ["a size with a sign", chunked("+5\r\nhello\r\n0\r\n\r\n")],
    ["no size", chunked("\r\nhello\r\n0\r\n\r\n")],
    ["a size that is no number", chunked("g\r\nhello\r\n0\r\n\r\n")],
    ["a size of more than 64 bits", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n")],
    ["a space before the size", chunked(" 5\r\nhello\r\n0\r\n\r\n")],
    ["a space behind the size", chunked("5 \r\nhello\r\n0\r\n\r\n")],
    ["nothing behind the chunk", chunked("5\r\nhello0\r\n\r\n")],
    ["something else behind the chunk", chunked("5\r\nhelloXX0\r\n\r\n")],
    ["a bare LF behind the size", chunked("5\nhello\r\n0\r\n\r\n")],
    ["a bare LF behind the chunk", chunked("5\r\nhello\n0\r\n\r\n")],
    ["a bare CR behind the size", chunked("5\rhello\r\n0\r\n\r\n")],
    ["a bare LF at the end", chunked("0\r\n\n")],
    ["an extension without a name (7.1.1)", chunked("5;\r\nhello\r\n0\r\n\r\n")],
    ["an extension that is no token (7.1.1)", chunked("5;a(b\r\nhello\r\n0\r\n\r\n")],
    ["an extension with a NUL (7.1.1)", chunked("5;a\0\r\nhello\r\n0\r\n\r\n")],
    ["an extension whose quotes stay open (7.1.1)", chunked('5;a="b\r\nhello\r\n0\r\n\r\n')],
    ["a bare LF in an extension (7.1.1)", chunked("5;a\nhello\r\n0\r\n\r\n")],
    ["extensions beyond measure (7.1.1)", chunked(`5;${"a".repeat(17_000)}\r\nhello\r\n0\r\n\r\n`), 413]
  ],
  "trailers (7.1.2)": [
    ["a length (9110, 6.5.1)", chunked("0\r\nContent-Length: 5\r\n\r\n")],
    ["a coding (9110, 6.5.1)", chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n")],
    ["a host (9110, 6.5.1)", chunked("0\r\nX: a\r\nhost: b\r\n\r\n")],
    ["credentials (9110, 6.5.1)", chunked("0\r\nAuthorization: b\r\n\r\n")],
    ["a space before the colon", chunked("0\r\nX : a\r\n\r\n")],
    ["a folded one", chunked("0\r\nX: a\r\n b\r\n\r\n")],
    ["no colon", chunked("0\r\nX\r\n\r\n")],
    ["a bare LF at its end", chunked("0\r\nX: a\n\r\n")]
  ]
}

const accepted: ReadonlyArray<readonly [what: string, sent: string, ...taken: ReadonlyArray<string>]> = [
  ["empty lines before it (2.2)", `\r\n\r\n${get("/")}`, "GET /"],
  ["no white space around a value (5)", lines("GET / HTTP/1.1", "Host:a"), "GET /"],
  ["white space around a value (5)", lines("GET / HTTP/1.1", "Host: \t a \t "), "GET /"],
  ["what is no ASCII in a value (9110, 5.5)", get("/", "X: \xe9\xff"), "GET /"],
  ["a tab in a value (9110, 5.5)", get("/", "X: a\tb"), "GET /"],
  ["an empty value", get("/", "X:"), "GET /"],
  ["names of any letters, and punctuation that is a token's", get("/", "x-!#$%&'*+.^_`|~: a"), "GET /"],
  ["a field several times (9110, 5.3)", get("/", "Accept: a", "Accept: b", "accept: c"), "GET /"],
  ["as many fields as may be", get("/", ...Array.from({ length: 99 }, (_, i) => `X-${i}: a`)), "GET /"],
  ["a URL for a target (3.2.2)", get("http://a/b?c"), "GET http://a/b?c"],
  ["a URL without a path, in any letters", get("HTTP://A:80?c"), "GET HTTP://A:80?c"],
  ["a URL of nothing but a host", get("http://[::1]"), "GET http://[::1]"],
  ["a path that begins as an authority", get("//a@b/c"), "GET //a@b/c"],
  ["an asterisk with OPTIONS (3.2.4)", lines("OPTIONS * HTTP/1.1", "Host: a"), "OPTIONS *"],
  ["a host with a port", lines("GET / HTTP/1.1", "Host: a.b-c_d:8080"), "GET /"],
  ["a host with an empty port", lines("GET / HTTP/1.1", "Host: a:"), "GET /"],
  ["a host of IPv6", lines("GET / HTTP/1.1", "Host: [2001:db8::1]:80"), "GET /"],
  ["a host in percents", lines("GET / HTTP/1.1", "Host: %C3%A9"), "GET /"],
  ["HTTP/1.0 without a host", lines("GET / HTTP/1.0"), "GET /"],
  ["zeros before a length", post(["Content-Length: 005"], "hello"), "POST / hello"],
  ["a body with GET", `${get("/", "Content-Length: 5")}hello`, "GET / hello"],
  ["POST without a body", post([], ""), "POST /"],
  ["chunked in any letters (7)", post(["Transfer-Encoding: CHUNKED"], "5\r\nhello\r\n0\r\n\r\n"), "POST / hello"],
  ["a size of any letters, with zeros", chunked("00a\r\nhellohello\r\n000\r\n\r\n"), "POST / hellohello"],
  ["extensions of a chunk (7.1.1)", chunked('5;a;b=c;d="e \\" f"\r\nhello\r\n0;g\r\n\r\n'), "POST / hello"],
  ["trailers (7.1.2)", chunked("5\r\nhello\r\n0\r\nX-Checksum: a\r\nX-B: c\r\n\r\n"), "POST / hello"],
  ["Expect (9110, 10.1.1)", post(["Expect: 100-continue", "Content-Length: 5"], "hello"), "POST / hello"],
  ["two requests in one piece (9.3.2)", `${chunked("5\r\nhello\r\n0\r\n\r\n")}${get("/b")}`, "POST / hello", "GET /b"]
]

describe("NodeHttp, strict", () => {
  for (const [part, cases] of Object.entries(refused)) {
    describe(`refuses ${part}`, () => {
      it.live.each(cases)("%s", ([, sent, status = 400]) =>
        Effect.gen(function* () {
          const server = yield* serve()
          const client = yield* RawClient.connect(server.port)
          client.write(bytes(sent))
          yield* soon(client.ended)
          const text = client.text()
          expect(statusesOf(text)).toEqual([status])
          expect(text).toMatch(/^connection: close\r$/im)
          expect(text).toMatch(/^content-type: application\/problem\+json\r$/im)
          expect(server.taken).toEqual([])
          yield* soon(RawClient.get(server.port, "/next"))
          expect([server.taken, server.inFlight()]).toEqual([["GET /next"], 0])
        })
      )
    })
  }

  describe("takes", () => {
    it.live.each(accepted)("%s", ([, sent, ...taken]) =>
      Effect.gen(function* () {
        const server = yield* serve()
        const client = yield* RawClient.connect(server.port)
        client.write(bytes(sent))
        for (const each of taken) {
          const [, target, body = ""] = each.split(" ")
          yield* soon(client.until(`<${target} ${body}>`))
        }
        expect(statusesOf(client.text()).filter((status) => status !== 100)).toEqual(taken.map(() => 200))
        // Handlers of two requests run side by side.
        expect(server.taken.toSorted()).toEqual(taken.toSorted())
        if (sent.includes("HTTP/1.0")) return
        client.write(get("/again"))
        yield* soon(client.until("</again >"))
      })
    )
  })

  it.live("asks no handler what a request is refused for, not even one that comes behind it in the same piece", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      for (const bad of [get("/", "Host: b"), lines("GET / HTTP/2.0", "Host: a"), get("/", "X : a")]) {
        const client = yield* RawClient.connect(server.port)
        client.write(get("/first") + bad + get("/smuggled"))
        yield* soon(client.ended)
        expect(client.text()).toMatch(/^HTTP\/1.1 200 OK\r\n[^]*<\/first >/)
        expect(client.text()).not.toMatch("smuggled")
      }
      expect([server.taken, server.regions.length]).toEqual([["GET /first", "GET /first", "GET /first"], 3])
    })
  )

  it.live("refuses a body whose head says that it is too large before any of it is read", () =>
    Effect.gen(function* () {
      const server = yield* serve({ maxBodyBytes: 5 })
      const client = yield* RawClient.connect(server.port)
      client.write(post(["Content-Length: 5"], "hello"))
      yield* soon(client.until("</ hello>"))
      client.write(post(["Content-Length: 6", "Expect: 100-continue"], ""))
      yield* soon(client.ended)
      expect(statusesOf(client.text())).toEqual([200, 413])
      expect([server.taken, server.regions.length, server.inFlight()]).toEqual([["POST / hello"], 1, 0])
    })
  )

  it.live("refuses a chunked body at the byte that goes over, and cuts its call", () =>
    Effect.gen(function* () {
      const server = yield* serve({ maxBodyBytes: 5 })
      const client = yield* RawClient.connect(server.port)
      client.write(chunked("5\r\nhello\r\n0\r\n\r\n"))
      yield* soon(client.until("</ hello>"))
      client.write(chunked("3\r\nhel\r\n2\r\nlo\r\n"))
      yield* Effect.sleep("20 millis")
      expect(statusesOf(client.text())).toEqual([200])
      client.write(`1\r\n!\r\n0\r\n\r\n${get("/smuggled")}`)
      yield* soon(client.ended)
      expect(statusesOf(client.text())).toEqual([200, 413])
      yield* soon(Effect.repeat(Effect.sleep(5), { until: () => server.inFlight() === 0 }))
      expect(server.taken).toEqual(["POST / hello"])
      expect(server.regions.map(({ reason }) => reason)).toEqual([undefined, new Reason.ClientGone()])
    })
  )

  it.live("bounds the head as it is told to", () =>
    Effect.gen(function* () {
      const server = yield* serve({ maxHeaders: 3, maxHeaderBytes: 200, maxTargetBytes: 20 })
      const statusOf = (sent: string) =>
        Effect.gen(function* () {
          const client = yield* RawClient.connect(server.port)
          client.write(sent)
          yield* soon(client.ended)
          return statusesOf(client.text())[0]
        })
      const close = "Connection: close"
      expect(yield* statusOf(get("/", close, "X: a"))).toBe(200)
      expect(yield* statusOf(get("/", close, "X: a", "X: b"))).toBe(431)
      expect(yield* statusOf(get("/", close, `X: ${"a".repeat(200)}`))).toBe(431)
      expect(yield* statusOf(get(`/${"x".repeat(19)}`, close))).toBe(200)
      expect(yield* statusOf(get(`/${"x".repeat(20)}`, close))).toBe(414)
    })
  )

  it.live("reads the last of as many headers as it is told to take", () =>
    Effect.gen(function* () {
      const server = yield* serve({ maxHeaders: 3_000, maxHeaderBytes: 65_536 })
      const client = yield* RawClient.connect(server.port)
      const many = Array.from({ length: 2_500 }, () => "X: a")
      client.write(post([...many, "Transfer-Encoding: chunked"], "5\r\nhello\r\n0\r\n\r\n"))
      yield* soon(client.until("</ hello>"))
    })
  )
})
