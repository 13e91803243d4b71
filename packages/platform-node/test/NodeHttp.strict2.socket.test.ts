/**
 * What a server must refuse by HTTP/2, by RFC 9113, and what it must take. Who refuses, nghttp2 or internal/strict2.ts, is nobody's
 * business here: it has to stay refused when Node changes. What is malformed is reset, or answered 400, and the connection with its
 * other streams goes on, where the table does not say that it ends.
 */
import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import type { NodeHttp } from "@fairlead/platform-node"
import { Effect } from "effect"
import * as http2 from "node:http2"
import {
  answerOf,
  block,
  connect,
  endHeaders,
  endStream,
  frame,
  raw,
  request,
  serve as serveSecure,
  usual
} from "./secure.ts"

/** Its handler reads every body, and notes what it has got in whole. */
const serve = (options: Partial<NodeHttp.Options> = {}) =>
  Effect.gen(function* () {
    const taken: Array<string> = []
    const reasons: Array<string | undefined> = []
    const server = yield* serveSecure(({ body, method, target }, region) => {
      let text = ""
      const sink = {
        write: (chunk: Uint8Array) => (text += Buffer.from(chunk).toString("latin1")) !== "",
        onDrain: () => {}
      }
      const answer = () => {
        taken.push(`${method} ${target} ${text}`.trimEnd())
        return { status: 200, headers: [], body: Transport.text("ok") }
      }
      return Effect.ensuring(
        Effect.orDie(Effect.map(body.pipeTo(sink), answer)),
        Effect.sync(() => void reasons.push(region.reason?._tag))
      )
    }, options)
    return { ...server, taken, reasons }
  })

const soon = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.timeout(self, 2_000)

type Field = readonly [name: string, value: string]
/** What became of it: a status, or the name of what its stream was reset with; the whole connection, where it says so. */
type Case = readonly [what: string, fields: ReadonlyArray<Field>, became: number | string, body?: string]

const [method, scheme, authority, path] = usual
const get = (...fields: ReadonlyArray<Field>): ReadonlyArray<Field> => [...usual, ...fields]
const at = (target: string): ReadonlyArray<Field> => [method, scheme, authority, [":path", target]]
const post = (...fields: ReadonlyArray<Field>): ReadonlyArray<Field> => [
  [":method", "POST"],
  scheme,
  authority,
  path,
  ...fields
]

const refused: { readonly [part: string]: ReadonlyArray<Case> } = {
  "pseudo fields (8.3)": [
    ["no method", [scheme, authority, path], "PROTOCOL_ERROR"],
    ["no scheme", [method, authority, path], "PROTOCOL_ERROR"],
    ["no path", [method, scheme, authority], "PROTOCOL_ERROR"],
    ["an empty path", at(""), "PROTOCOL_ERROR"],
    ["one that nobody knows", get([":foo", "a"]), "PROTOCOL_ERROR"],
    ["that of an answer", get([":status", "200"]), "PROTOCOL_ERROR"],
    ["one given twice", get([":path", "/b"]), "PROTOCOL_ERROR"],
    ["one behind a field", [method, scheme, authority, ["x", "a"], path], "PROTOCOL_ERROR"],
    ["no authority, and no host", [method, scheme, path], "400 or PROTOCOL_ERROR"],
    [
      "an authority with a user (8.3.1)",
      [method, scheme, [":authority", "user@localhost"], path],
      "400 or PROTOCOL_ERROR"
    ],
    ["an authority with a path", [method, scheme, [":authority", "localhost/a"], path], "400 or PROTOCOL_ERROR"],
    ["an empty authority", [method, scheme, [":authority", ""], path], "400 or PROTOCOL_ERROR"],
    ["another host (8.3.1)", get(["host", "other"]), 400],
    ["a host twice", [method, scheme, path, ["host", "a"], ["host", "a"]], "PROTOCOL_ERROR"],
    ["a scheme without TLS (9110, 7.4)", [method, [":scheme", "http"], authority, path], 400],
    ["a scheme that is not ours", [method, [":scheme", "ftp"], authority, path], 400]
  ],
  "a method, a target": [
    ["a method that nobody knows", [[":method", "FROBNICATE"], scheme, authority, path], 501],
    ["a method in small letters", [[":method", "get"], scheme, authority, path], 501],
    [
      "CONNECT (8.5)",
      [
        [":method", "CONNECT"],
        [":authority", "localhost:80"]
      ],
      501
    ],
    [
      "CONNECT for a protocol (8441), which is not offered",
      [[":method", "CONNECT"], [":protocol", "websocket"], scheme, authority, path],
      "PROTOCOL_ERROR"
    ],
    ["a path with a byte beyond ASCII, as in HTTP/1.1", at("/caf\u00e9"), 400],
    ["a URL for a path", at("https://localhost/"), "400 or PROTOCOL_ERROR"],
    ["no slash", at("a"), "400 or PROTOCOL_ERROR"],
    ["an asterisk, but for OPTIONS", at("*"), "400 or PROTOCOL_ERROR"],
    ["a fragment", at("/a#b"), "400 or PROTOCOL_ERROR"],
    ["a space", at("/a b"), "400 or PROTOCOL_ERROR"],
    ["one that is too long", at(`/${"x".repeat(9_000)}`), 414]
  ],
  "fields of a connection (8.2.2)": [
    ["connection", get(["connection", "close"]), "PROTOCOL_ERROR"],
    ["keep-alive", get(["keep-alive", "1"]), "PROTOCOL_ERROR"],
    ["proxy-connection", get(["proxy-connection", "a"]), "PROTOCOL_ERROR"],
    ["transfer-encoding", post(["transfer-encoding", "chunked"]), "PROTOCOL_ERROR"],
    ["upgrade", get(["upgrade", "websocket"]), "PROTOCOL_ERROR"],
    ["te, but for trailers", get(["te", "gzip"]), "PROTOCOL_ERROR"]
  ],
  "a field (8.2.1)": [
    ["a name in capitals", get(["X-A", "b"]), "PROTOCOL_ERROR"],
    ["too much (9110, 5.4)", get(["x", "x".repeat(20_000)]), 431],
    ["too much, in many", get(...Array.from({ length: 90 }, (_, i): Field => [`x-${i}`, "x".repeat(200)])), 431],
    ["too many", get(...Array.from({ length: 101 }, (_, i): Field => [`x-${i}`, "a"])), 431],
    ["far too much", get(["x", "x".repeat(60_000)]), "431 or ENHANCE_YOUR_CALM"],
    ["far too many", get(...Array.from({ length: 400 }, (_, i): Field => [`x-${i}`, "a"])), "ENHANCE_YOUR_CALM"]
  ],
  "content-length (8.1.1)": [
    ["a sign", post(["content-length", "+5"]), "PROTOCOL_ERROR", "hello"],
    ["no number", post(["content-length", "0x5"]), "PROTOCOL_ERROR", "hello"],
    ["two", post(["content-length", "5"], ["content-length", "5"]), "PROTOCOL_ERROR", "hello"],
    ["more than there is", post(["content-length", "6"]), "PROTOCOL_ERROR", "hello"],
    ["less than there is", post(["content-length", "4"]), "PROTOCOL_ERROR or GOAWAY", "hello"],
    ["one, and no body", post(["content-length", "5"]), "PROTOCOL_ERROR"],
    [
      "more than can be counted exactly",
      post(["content-length", "9007199254740993"]),
      "413 or PROTOCOL_ERROR",
      "hello"
    ],
    ["more than is taken", post(["content-length", "1001"]), "413 or PROTOCOL_ERROR", "hello"]
  ]
}

const taken: ReadonlyArray<Case> = [
  ["a host that is the authority, in other letters", get(["host", "LOCALHOST"]), 200],
  ["a host for an authority", [method, scheme, path, ["host", "localhost"]], 200],
  ["an asterisk with OPTIONS", [[":method", "OPTIONS"], scheme, authority, [":path", "*"]], 200],
  ["te: trailers", get(["te", "trailers"]), 200],
  ["as much as is allowed", get(["x", "x".repeat(16_000)]), 200],
  ["as many as are allowed", get(...Array.from({ length: 100 }, (_, i): Field => [`x-${i}`, "a"])), 200],
  ["what is no ASCII in a value", get(["x", "\xe9"]), 200],
  ["a body of the length it says", post(["content-length", "5"]), 200, "hello"]
]

/** nghttp2 passes over these as if they were not there, where it should refuse the whole; what matters is that nobody gets them. */
const dropped: ReadonlyArray<readonly [what: string, field: Field]> = [
  ["a name that is no token", ["x(", "b"]],
  ["a name with a colon in it", ["x:y", "b"]],
  ["no name", ["", "b"]],
  ["a line break in a value", ["x", "a\r\nb: c"]],
  ["a NUL in a value", ["x", "a\0b"]],
  ["a space before a value", ["x", " a"]]
]

/** One request in bare frames, and what became of it. */
const became = (server: Effect.Success<ReturnType<typeof serve>>, fields: ReadonlyArray<Field>, body?: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const client = yield* raw(server)
      const whole = block(...fields)
      for (let from = 0; from < whole.length; from += 16_384) {
        const last = from + 16_384 >= whole.length ? endHeaders : 0
        const ends = from === 0 && body === undefined ? endStream : 0
        client.write(
          frame(from === 0 ? "HEADERS" : "CONTINUATION", last | ends, 1, whole.subarray(from, from + 16_384))
        )
      }
      if (body !== undefined) client.write(frame("DATA", endStream, 1, Buffer.from(body)))
      const first = yield* soon(
        client.until(
          ({ stream, type }) => type === "GOAWAY" || (stream === 1 && (type === "HEADERS" || type === "RST_STREAM"))
        )
      )
      if (first.type === "GOAWAY") return "GOAWAY"
      // The connection still serves.
      client.write(frame("HEADERS", endHeaders | endStream, 3, block(...usual)))
      yield* soon(client.until(({ stream, type }) => stream === 3 && type === "HEADERS"))
      return first.type === "RST_STREAM" ? codes[first.payload.readUInt32BE(0)]! : statusOf(first.payload)
    })
  )

/** The first field of a head, in HPACK: one of the table that everybody has, or three digits in Huffman's code (RFC 7541, B). */
const statusOf = (fields: Buffer): number => {
  if (fields[0]! >= 0x80) return [200, 204, 206, 304, 400, 404, 500][(fields[0]! & 0x7f) - 8]!
  if (fields[1]! < 0x80) return Number(fields.subarray(2, 5).toString("latin1"))
  let bits = [...fields.subarray(2, 5)].map((byte) => byte.toString(2).padStart(8, "0")).join("")
  let digits = ""
  while (digits.length < 3) {
    const length = bits.startsWith("000") ? 5 : 6
    const code = Number.parseInt(bits.slice(0, length), 2)
    digits += length === 5 ? code : code - 22
    bits = bits.slice(length)
  }
  return Number(digits)
}

const codes: { readonly [code: number]: string } = {
  [http2.constants.NGHTTP2_PROTOCOL_ERROR]: "PROTOCOL_ERROR",
  [http2.constants.NGHTTP2_ENHANCE_YOUR_CALM]: "ENHANCE_YOUR_CALM"
}

describe("NodeHttp by HTTP/2, strict", () => {
  for (const [part, cases] of Object.entries(refused)) {
    it.live(`refuses ${part}`, () =>
      Effect.gen(function* () {
        const server = yield* serve({ maxBodyBytes: part.startsWith("content-length") ? 1_000 : undefined })
        for (const [what, fields, expected, body] of cases) {
          const found = yield* became(server, fields, body)
          const fits = typeof expected === "string" ? expected.split(" or ").includes(`${found}`) : found === expected
          expect([what, fits ? expected : found]).toEqual([what, expected])
        }
        expect(server.taken.filter((each) => each !== "GET /")).toEqual([])
        expect(server.inFlight()).toBe(0)
      })
    )
  }

  it.live("takes the rest", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      for (const [what, fields, expected, body] of taken) {
        expect([what, yield* became(server, fields, body)]).toEqual([what, expected])
      }
    })
  )

  it.live("lets nobody have a field that is none", () =>
    Effect.gen(function* () {
      const seen: Array<Transport.Headers> = []
      const server = yield* serveSecure(({ headers }) => {
        seen.push(headers)
        return Effect.succeed({ status: 200, headers: [], body: Transport.empty })
      })
      for (const [what, field] of dropped) {
        seen.length = 0
        const client = yield* raw(server)
        client.write(frame("HEADERS", endHeaders | endStream, 1, block(...get(field, ["y", "z"]))))
        yield* soon(client.until(({ stream, type }) => stream === 1 && (type === "HEADERS" || type === "RST_STREAM")))
        expect([what, seen.filter((each) => each.join() !== "host,localhost,y,z")]).toEqual([what, []])
      }
    })
  )

  it.live("refuses a body at the byte that goes over, and cuts its call", () =>
    Effect.gen(function* () {
      const server = yield* serve({ maxBodyBytes: 1_000 })
      const session = yield* connect(server)
      const stream = session.request({ ":method": "POST" })
      stream.on("error", () => {})
      stream.write(Buffer.alloc(600))
      const status = new Promise<number | undefined>((resolve) =>
        stream.on("response", (headers) => resolve(headers[":status"]))
      )
      stream.write(Buffer.alloc(600))
      expect(yield* soon(Effect.promise(() => status))).toBe(413)
      while (server.inFlight() > 0) yield* Effect.sleep("1 millis")
      expect([server.taken, server.reasons]).toEqual([[], ["ClientGone"]])
      const said = session.request({ ":method": "POST", "content-length": "1001" })
      expect(yield* soon(Effect.promise(() => answerOf(said)))).toMatchObject({ status: 413, error: undefined })
      expect(yield* soon(request(session))).toMatchObject({ status: 200 })
    })
  )

  it.live("takes trailers, and refuses those that belong into the head", () =>
    Effect.gen(function* () {
      const server = yield* serve()
      const ask = (name: string) =>
        Effect.scoped(
          Effect.gen(function* () {
            const client = yield* raw(server)
            client.write(
              frame("HEADERS", endHeaders, 1, block(...post())),
              frame("DATA", 0, 1, Buffer.from("body")),
              frame("HEADERS", endHeaders | endStream, 1, block([name, "a"]))
            )
            const { payload, type } = yield* soon(
              client.until(({ stream, type }) => stream === 1 && (type === "HEADERS" || type === "RST_STREAM"))
            )
            return type === "HEADERS" ? statusOf(payload) : 400
          })
        )
      expect(yield* ask("x-checksum")).toBe(200)
      for (const name of ["authorization", "host", "content-length"])
        expect([name, yield* ask(name)]).toEqual([name, 400])
      expect(server.taken).toEqual(["POST / body"])
    })
  )
})
