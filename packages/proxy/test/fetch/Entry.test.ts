import { ParallelHttp, Refused } from "@fairlead/core"
import { Duration, Exit, Option } from "effect"
import { describe, expect, it } from "vitest"
import * as Entry from "../../src/fetch/Entry.ts"
import { Flight } from "../../src/fetch/Flight.ts"
import * as Item from "../../src/fetch/Item.ts"

const options: Entry.Options = { body: "auto", headers: false, key: false }
const item = (text: string) =>
  Item.parse(text, { place: "argument 1", index: 4, weight: 1 }, { method: undefined, headers: [] }) as Item.Item
const got: Entry.Got = {
  url: "http://a.test/x",
  status: 200,
  headers: ["Content-Type", "text/plain", "Set-Cookie", "a", "set-cookie", "b", "__proto__", "c"],
  bytes: 2,
  file: undefined,
  body: Buffer.from("hi")
}

const flight = (...steps: ReadonlyArray<readonly [url: string, status: number | undefined]>) => {
  const flight = new Flight(1_000)
  for (const [url, status] of steps) {
    flight.begin(1_010, url)
    flight.status = status
  }
  return flight
}

describe("an entry", () => {
  it("tells what an item came to, on one line", () => {
    const entry = Entry.make(
      item("http://a.test/x"),
      flight(["http://a.test/x", 200]),
      Exit.succeed(got),
      1_030.26,
      options
    )
    expect(Entry.line(entry)).toBe(
      `{"index":4,"url":"http://a.test/x","ok":true,"status":200,"attempts":1,"redirects":0,"bytes":2,"millis":20.3,"waitedMillis":10,"body":"hi"}\n`
    )
  })

  it("tells id, method, where it was redirected to, headers, file and key where there are any", () => {
    const asked = item(`{"url":"http://u:p@a.test/x#part","method":"HEAD","id":"one"}`)
    const route = flight(["http://a.test/x", 503], ["http://a.test/x", 302], ["http://b.test/", 200])
    const end = Exit.succeed({ ...got, url: "http://b.test/", body: undefined, file: "a.test/one-1.txt" })
    expect(Entry.make(asked, route, end, 1_030, { body: "auto", headers: true, key: true })).toEqual({
      index: 4,
      id: "one",
      url: "http://a.test/x#part",
      method: "HEAD",
      finalUrl: "http://b.test/",
      ok: true,
      status: 200,
      attempts: 2,
      redirects: 1,
      bytes: 2,
      millis: 20,
      waitedMillis: 10,
      file: "a.test/one-1.txt",
      key: asked.key,
      headers: Object.fromEntries([
        ["content-type", "text/plain"],
        ["set-cookie", "a, b"],
        ["__proto__", "c"]
      ])
    })
  })

  it("is no other address where only the fragment is gone", () => {
    const asked = item("http://a.test/x#part")
    expect(Entry.make(asked, flight(["http://a.test/x", 200]), Exit.succeed(got), 1_030, options)).not.toHaveProperty(
      "finalUrl"
    )
  })

  const url = "http://a.test/x"
  it.each([
    [new ParallelHttp.ConnectionFailed({ url, kind: "dns", sent: false, cause: undefined }), "ConnectionFailed", "dns"],
    [new ParallelHttp.Timeout({ url, phase: "idle", sent: true }), "Timeout", "idle"],
    [new ParallelHttp.BodyTooLarge({ url, maxBytes: 5 }), "BodyTooLarge", undefined],
    [
      new Refused.Refused({
        reason: new Refused.QueueFull({ bound: "items", limit: 1 }),
        gate: "g",
        waited: Duration.zero,
        retryAfter: Option.none()
      }),
      "Refused",
      "QueueFull"
    ]
  ])("names what went wrong: %s", (error, kind, reason) => {
    const entry = Entry.make(item(url), flight([url, undefined]), Exit.fail(error), 1_030, options)
    expect(entry).toMatchObject({ ok: false, error: { kind, message: error.message } })
    expect(entry.error!.reason).toBe(reason)
  })

  it("has what an answer says that is not accepted", () => {
    const error = new ParallelHttp.StatusRejected({
      url,
      status: 404,
      headers: ["a", "b"],
      body: Buffer.from("no such")
    })
    const entry = Entry.make(item(url), flight([url, 404]), Exit.fail(error), 1_030, { ...options, headers: true })
    expect(entry).toMatchObject({ ok: false, status: 404, bytes: 7, body: "no such", headers: { a: "b" } })
  })

  it("of a mistake says where it stands", () => {
    const wrong = { _tag: "Mistake", place: "urls.txt:7", index: 3, weight: 1, message: "expected a URL" } as const
    expect(Entry.ofMistake(wrong)).toMatchObject({
      index: 3,
      ok: false,
      attempts: 0,
      error: { kind: "InvalidInput", message: "urls.txt:7: expected a URL" }
    })
  })
})

describe("a body", () => {
  const latin1 = Uint8Array.of(0x67, 0x72, 0xfc, 0x6e)
  it.each([
    ["auto", Buffer.from("grün"), { body: "grün" }],
    ["auto", Buffer.from("\uFEFFx"), { body: "\uFEFFx" }],
    ["auto", latin1, { bodyBase64: "Z3L8bg==" }],
    ["text", latin1, { body: "gr\uFFFDn" }],
    ["base64", Buffer.from("hi"), { bodyBase64: "aGk=" }],
    ["none", Buffer.from("hi"), {}],
    ["auto", new Uint8Array(0), { body: "" }]
  ] as const)("as %s", (mode, bytes, expected) => {
    expect(Entry.content(bytes, mode)).toEqual(expected)
  })

  it("of a larger piece of memory is that part alone", () => {
    expect(Entry.content(Buffer.from("abcd").subarray(1, 3), "base64")).toEqual({ bodyBase64: "YmM=" })
  })
})
