import { describe, expect, it } from "vitest"
import { keptChars, Tail } from "../../src/internal/tail.ts"

const passing = () => {
  const passed: Array<string> = []
  return { passed, tail: new Tail((line) => passed.push(line)) }
}

describe("what a worker writes to stderr", () => {
  it("is passed on by whole lines, however it comes", () => {
    const { passed, tail } = passing()
    const bytes = Buffer.from("one\n\ntwo é\nthr")
    for (const byte of bytes) tail.push(Uint8Array.of(byte))
    expect(passed).toEqual(["one\n", "\ntwo é\n"])
    tail.end()
    expect(passed.at(-1)).toBe("thr\n")
    expect(tail.text).toBe("one\n\ntwo é\nthr")
    expect(tail.outOfMemory).toBe(false)
  })

  it("is kept as far as the last 8,192 characters, and a line without an end is not kept back for ever", () => {
    const { passed, tail } = passing()
    tail.push(Buffer.from("x".repeat(70_000)))
    expect(passed).toEqual([`${"x".repeat(70_000)}\n`])
    tail.push(Buffer.from("the end"))
    expect(tail.text.length).toBe(keptChars)
    expect(tail.text.endsWith("xthe end")).toBe(true)
  })

  it("is kept, and not passed on, once V8 dies", () => {
    const { passed, tail } = passing()
    tail.push(Buffer.from("working\n\n<--- Last few GCs --->\n\n[1:0x1] 100 ms: Mark-Compact\n"))
    tail.push(Buffer.from("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n"))
    tail.push(Buffer.from("----- Native stack trace -----\n"))
    tail.end()
    expect(passed).toEqual(["working\n"])
    expect(tail.outOfMemory).toBe(true)
    expect(tail.text).toContain("Native stack trace")
  })
})
