import { Result } from "effect"
import { describe, expect, it } from "vitest"
import * as Item from "../../src/fetch/Item.ts"

const at = { place: "urls.txt:3", index: 2, weight: 10 }
const parse = (text: string, defaults: Partial<Item.Defaults> = {}) =>
  Item.parse(text, at, { method: undefined, headers: [], ...defaults })

const item = (text: string, defaults?: Partial<Item.Defaults>) => {
  const parsed = parse(text, defaults)
  if (parsed._tag !== "Item") throw new Error(parsed.message)
  return parsed
}
const mistake = (text: string) => {
  const parsed = parse(text)
  if (parsed._tag !== "Mistake") throw new Error("it is an item")
  return parsed.message
}

describe("an item", () => {
  it("is a URL to get", () => {
    const { id, index, place, request } = item("https://example.com/a?b=c")
    expect({ id, index, place, request }).toEqual({
      id: undefined,
      index: 2,
      place: "urls.txt:3",
      request: { url: "https://example.com/a?b=c", method: "GET", headers: [], body: undefined, urgency: undefined }
    })
  })

  it("is JSON with all that a request has; a body that is no text is sent as JSON, by POST", () => {
    const text = JSON.stringify({ url: "http://a.test/", headers: { "X-A": "1" }, body: { n: 1 }, id: 7, urgency: 0 })
    const { id, request } = item(text)
    expect({ id, request }).toEqual({
      id: "7",
      request: {
        url: "http://a.test/",
        method: "POST",
        headers: ["X-A", "1", "content-type", "application/json"],
        body: `{"n":1}`,
        urgency: 0
      }
    })
  })

  it("says itself how a body of text, or of a kind of its own, is called", () => {
    expect(item(`{"url":"http://a.test/","body":"x"}`).request).toMatchObject({ headers: [], body: "x" })
    const patch = `{"url":"http://a.test/","method":"PATCH","headers":{"Content-Type":"application/x"},"body":[1]}`
    expect(item(patch).request).toMatchObject({ method: "PATCH", headers: ["Content-Type", "application/x"] })
  })

  it("has what the command line says for all, and its own before that", () => {
    const defaults = { method: "HEAD", headers: ["Accept", "a/b", "X-B", "2"] }
    expect(item("http://a.test/", defaults).request).toMatchObject({
      method: "HEAD",
      headers: ["Accept", "a/b", "X-B", "2"]
    })
    expect(item(`{"url":"http://a.test/","method":"PUT","headers":{"accept":"c/d"}}`, defaults).request).toMatchObject({
      method: "PUT",
      headers: ["X-B", "2", "accept", "c/d"]
    })
  })

  it("is the same over runs by its id, else by method, URL and body", () => {
    const key = (text: string) => item(text).key
    const keys = [
      "http://a.test/",
      "http://a.test/?x",
      `{"url":"http://a.test/","method":"HEAD"}`,
      `{"url":"http://a.test/","method":"POST"}`,
      `{"url":"http://a.test/","body":"1"}`,
      `{"url":"http://a.test/","id":"1"}`
    ].map(key)
    expect(new Set(keys).size).toBe(keys.length)
    expect(key(`{"url":"http://a.test/"}`)).toBe(key("http://a.test/"))
    expect(key(`{"url":"http://b.test/","id":"1"}`)).toBe(key(`{"url":"http://a.test/","id":1}`))
  })
})

describe("a mistake", () => {
  it.each([
    ["example.com", `expected a URL with its scheme, such as "https://example.com/", found "example.com"`],
    [
      "localhost:8080/x",
      `expected a URL with its scheme, such as "https://localhost:8080/x", found "localhost:8080/x"`
    ],
    ["ftp://a.test/", `expected a URL that begins with http:// or https://, found "ftp://a.test/"`],
    ["two words", `expected a URL that begins with http:// or https://, found "two words"`],
    ["http://", `expected a URL that begins with http:// or https://, found "http://"`],
    ["{", `expected a URL, or JSON on one line, such as {"url":"https://example.com"}; this is not JSON`],
    [`{"url":1}`, "url: expected a URL, found 1"],
    ["{}", "url: expected a URL, found nothing"],
    [`{"url":"a.test"}`, `url: expected a URL with its scheme, such as "https://a.test/", found "a.test"`],
    [`{"url":"http://a.test/","hedaers":{}}`, `expected headers, found "hedaers"`],
    [
      `{"url":"http://a.test/","zzzzzzzz":{}}`,
      `expected one of url, method, headers, body, id, urgency, found "zzzzzzzz"`
    ],
    [`{"url":"http://a.test/","method":"get"}`, `method: expected a method in capitals, such as POST, found "get"`],
    [
      `{"url":"http://a.test/","headers":["a"]}`,
      `headers: expected an object, such as {"accept":"text/html"}, found ["a"]`
    ],
    [`{"url":"http://a.test/","id":{}}`, "id: expected text or a number, found {}"],
    [`{"url":"http://a.test/","urgency":8}`, "urgency: expected a whole number from 0 (most urgent) to 7, found 8"]
  ])("says what was expected and found: %s", (text, message) => {
    expect(mistake(text)).toBe(message)
  })

  it("shows no password, and no header", () => {
    for (const text of [
      "ftp://user:hunter2@a.test/",
      "user:hunter2@a.test",
      `{"url":"http://a.test/","headers":{"authorization":"hunter2\\n"}}`,
      `{"url":"http://a.test/","headers":{"authorization: hunter2":"x"}}`
    ]) {
      expect(mistake(text)).not.toContain("hunter2")
    }
  })

  it("does not steer the terminal", () => {
    // oxlint-disable-next-line no-control-regex
    expect(mistake("\u001b[2Jx y")).not.toMatch(/\u001b/)
  })
})

describe("a header of the command line", () => {
  it("has a name and a value", () => {
    expect(Item.header("Accept: text/html")).toEqual(Result.succeed(["Accept", "text/html"]))
    expect(Item.header("X-Time: 12:30")).toEqual(Result.succeed(["X-Time", "12:30"]))
    expect(Item.header("X-Empty:")).toEqual(Result.succeed(["X-Empty", ""]))
  })

  it.each(["Accept", ": x", "a b: c", "X: a\nb"])("is not %j", (text) => {
    expect(Result.isFailure(Item.header(text))).toBe(true)
  })
})
