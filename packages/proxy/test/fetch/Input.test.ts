import { describe, expect, it } from "vitest"
import * as Input from "../../src/fetch/Input.ts"

const read = (...chunks: ReadonlyArray<string | Uint8Array>) => {
  const lines = new Input.Lines()
  return [...chunks.flatMap((chunk) => lines.push(Buffer.from(chunk))), ...lines.end()]
}
const texts = (...chunks: ReadonlyArray<string | Uint8Array>) => read(...chunks).map(({ text }) => text)

describe("lines", () => {
  it("are cut wherever chunks end, in a letter too", () => {
    const bytes = Buffer.from("grün\nzwei\ndrei")
    const expected = ["grün", "zwei", "drei"]
    for (let i = 0; i <= bytes.length; i++) expect(texts(bytes.subarray(0, i), bytes.subarray(i))).toEqual(expected)
  })

  it("have numbers and bytes, which are all bytes in the end", () => {
    expect(read("a\n\nö\n")).toEqual([
      { text: "a", line: 1, bytes: 2 },
      { text: "", line: 2, bytes: 1 },
      { text: "ö", line: 3, bytes: 3 }
    ])
  })

  it("begin behind a byte order mark", () => {
    expect(texts("\uFEFFa\nb")).toEqual(["a", "b"])
  })

  it("are none of nothing", () => {
    expect(texts()).toEqual([])
    expect(texts("")).toEqual([])
  })

  it("are given up where they are too long, and the next one stands by itself", () => {
    const part = "x".repeat(Input.maxLine / 2)
    const long = read("a\n", part, part, part, "x\nb\n")
    expect(long.map(({ text }) => text)).toEqual(["a", undefined, "b"])
    expect(long[1]!.bytes).toBe(3 * part.length + 2)
    expect(texts(part, part, "x")).toEqual([undefined])
    expect(texts(`${part}${part}`)).toEqual([`${part}${part}`])
  })
})
