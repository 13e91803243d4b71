import { describe, expect, it } from "vitest"
import * as Folder from "../../src/fetch/Folder.ts"
import * as Item from "../../src/fetch/Item.ts"

const item = (text: string) =>
  Item.parse(text, { place: "argument 1", index: 0, weight: 1 }, { method: undefined, headers: [] }) as Item.Item
const nameOf = (text: string) => Folder.nameOf(item(text)).replace(/-[\da-f]{16}/, "-#")

describe("the name of a file", () => {
  it.each([
    ["https://example.com/a/b.json", "example.com/a_b-#.json"],
    ["https://example.com", "example.com/index-#"],
    ["http://127.0.0.1:8080/a?x=1&y=2", "127.0.0.1_8080/a_x_1_y_2-#"],
    ["http://[::1]:80/a.tar.gz", "1_/a.tar-#.gz"],
    ["https://EXAMPLE.com/%2e%2e/%2e%2e/etc/passwd", "example.com/etc_passwd-#"],
    ["https://example.com/..%2f..%2fetc", "example.com/2f.._2fetc-#"],
    ["https://../x", "_/x-#"],
    ["https://example.com/-rf", "example.com/rf-#"],
    ["https://example.com/.htaccess", "example.com/index-#.htaccess"],
    ["https://user:pw@example.com/a", "example.com/a-#"],
    [`{"url":"https://example.com/a.html","id":"../../x y"}`, "example.com/x_y-#.html"]
  ])("of %s", (text, name) => {
    expect(nameOf(text)).toBe(name)
  })

  it("is not the same for keys that begin alike, as they may among a million", () => {
    const one = item("http://a.test/x")
    expect(Folder.nameOf({ ...one, key: "0123456789abcdef0000" })).not.toBe(
      Folder.nameOf({ ...one, key: "0123456789fedcba0000" })
    )
  })

  it("is one for each item, the same in each run, and short enough for every disk", () => {
    const texts = [
      "http://a.test/x/y",
      "http://a.test/x_y",
      "http://a.test/x?y",
      `{"url":"http://a.test/x/y","id":"1"}`
    ]
    expect(new Set(texts.map((text) => Folder.nameOf(item(text)))).size).toBe(texts.length)
    expect(Folder.nameOf(item(texts[0]!))).toBe(Folder.nameOf(item(texts[0]!)))
    const long = Folder.nameOf(item(`http://${"a.".repeat(100)}test/${"ü".repeat(500)}.${"x".repeat(9)}`))
    for (const part of long.split("/")) expect(part.length).toBeLessThanOrEqual(120)
    expect(long.split("/").length).toBe(2)
  })
})

describe("a record", () => {
  it("says what was fetched; what failed, was cut, or is none of ours does not count", () => {
    const lines = [
      `{"key":"a","ok":true}`,
      `{"key":"b","ok":false}`,
      `{"key":"c","ok":false}`,
      `{"key":"c","ok":true}`,
      `{"key":"d","ok":tr`,
      "null",
      "7",
      `{"ok":true}`,
      ""
    ]
    expect(Folder.finishedOf(lines)).toEqual(new Set(["a", "c"]))
  })
})
