import { describe, expect, it } from "vitest"
import { buffersOf } from "../../src/internal/buffers.ts"

describe("memory that can be handed over", () => {
  it("is found in objects, arrays, maps and sets, each once", () => {
    const [a, b, c, d] = [new ArrayBuffer(1), new ArrayBuffer(2), new ArrayBuffer(3), new ArrayBuffer(4)]
    const value: Record<string, unknown> = {
      a,
      again: [new Uint8Array(a)],
      b: new Map([["b", { b }]]),
      c: new Set([c]),
      d: [[new DataView(d)]]
    }
    value["self"] = value
    expect(new Set(buffersOf(value))).toEqual(new Set([a, b, c, d]))
    expect(buffersOf(value).length).toBe(4)
  })

  it("is found beside more than fits on a stack", () => {
    const buffer = new ArrayBuffer(1)
    const many = Array.from({ length: 500_000 }, (_, i) => i)
    expect(buffersOf([many, new Set(many), new Map(many.entries()), buffer])).toEqual([buffer])
  })

  it("is none that others have, too: a part of a larger one, shared memory, Node's pool", () => {
    const whole = new ArrayBuffer(100)
    const shared = new SharedArrayBuffer(8)
    expect(buffersOf([new Uint8Array(whole, 0, 10), new Uint8Array(shared), shared, Buffer.from("pooled")])).toEqual([])
    expect(buffersOf(null)).toEqual([])
    expect(buffersOf("text")).toEqual([])
  })
})
