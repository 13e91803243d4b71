import { describe, expect, it } from "vitest"
import { pack, partBytes, unpack } from "../../src/internal/packed.ts"
import type { Packed } from "../../src/internal/packed.ts"

/** As it comes over a pipe: each part in memory of its own. */
const sent = ({ parts, rest }: Packed): Packed => ({
  rest: Uint8Array.from(rest),
  parts: parts.map((part) => part.slice())
})

const large = (make: (buffer: ArrayBuffer) => ArrayBufferView) => {
  const buffer = new ArrayBuffer(partBytes * 2)
  new Uint8Array(buffer).forEach((_, i, all) => (all[i] = i * 7))
  return make(buffer)
}

describe("a packed value", () => {
  it("has its large arrays apart, as they are, and all else in the rest", () => {
    const bytes = new Uint8Array(partBytes)
    const value = { a: [1, "two", new Date(3)], bytes, few: new Uint8Array(partBytes - 1) }
    const packed = pack(value)
    expect(packed.parts.length).toBe(1)
    expect(packed.parts[0]!.buffer).toBe(bytes.buffer)
    expect(unpack(sent(packed))).toEqual(value)
  })

  it.each([
    Uint8Array,
    Int8Array,
    Uint8ClampedArray,
    Int16Array,
    Uint16Array,
    Int32Array,
    Uint32Array,
    Float32Array,
    Float64Array,
    BigInt64Array,
    BigUint64Array,
    DataView
  ])("comes back with the same kind of array: %o", (Kind) => {
    const width = "BYTES_PER_ELEMENT" in Kind ? Kind.BYTES_PER_ELEMENT : 1
    const view = large((buffer) => new (Kind as typeof Uint8Array)(buffer, 8, partBytes / width))
    const value = { first: large((buffer) => new Uint8Array(buffer)), view }
    const packed = pack(value)
    expect(packed.parts.length).toBe(2)
    const back = unpack(sent(packed)) as typeof value
    expect(back.view.constructor).toBe(Kind)
    expect(Buffer.from(back.view.buffer, back.view.byteOffset, back.view.byteLength)).toEqual(
      Buffer.from(view.buffer, view.byteOffset, view.byteLength)
    )
    expect(back.first).toEqual(value.first)
  })

  it("knows a Buffer from an array of bytes, large or small", () => {
    const value = [Buffer.alloc(partBytes, 1), Buffer.from("few")]
    const back = unpack(sent(pack(value))) as typeof value
    expect(back.map((each) => Buffer.isBuffer(each))).toEqual([true, true])
    expect(back).toEqual(value)
  })

  it("takes part of a larger memory for what it shows of it", () => {
    const whole = new Uint8Array(partBytes * 3).fill(9)
    const [part] = pack(whole.subarray(10, 10 + partBytes)).parts
    expect(part!.byteLength).toBe(partBytes)
  })

  describe("misuse", () => {
    it("what cannot be copied is told at once", () => {
      expect(() => pack({ f: () => {} })).toThrow(/could not be cloned/)
    })
  })
})
