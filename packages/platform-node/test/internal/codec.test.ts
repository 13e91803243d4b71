import { describe, expect, it } from "vitest"
import { Option, Schema } from "effect"
import * as codec from "../../src/internal/codec.ts"

class User extends Schema.Class<User>("User")({ id: Schema.Number, since: Schema.Date }) {}

interface Tree {
  readonly leaf: number
  readonly children: ReadonlyArray<Tree>
}
const Tree: Schema.Codec<Tree> = Schema.Struct({
  leaf: Schema.Number,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
})

const at = new Date(5)

describe("how a value is sent", () => {
  it.each([
    ["a number", Schema.Number, 1, 1],
    ["a date", Schema.Date, at, at],
    ["a bigint", Schema.BigInt, 3n, 3n],
    ["bytes", Schema.Uint8Array, Uint8Array.of(1), Uint8Array.of(1)],
    [
      "a map of what is copied",
      Schema.ReadonlyMap(Schema.String, Schema.Date),
      new Map([["a", at]]),
      new Map([["a", at]])
    ],
    ["a number in text", Schema.NumberFromString, 12, "12"],
    ["an array of Node's own", Schema.instanceOf(Float64Array), Float64Array.of(1), Float64Array.of(1)],
    ["a class", User, new User({ id: 1, since: at }), { id: 1, since: at }],
    [
      "a tree",
      Tree,
      { leaf: 1, children: [{ leaf: 2, children: [] }] },
      { leaf: 1, children: [{ leaf: 2, children: [] }] }
    ]
  ] as ReadonlyArray<readonly [string, Schema.Codec<any>, unknown, unknown]>)(
    "%s is sent as `structuredClone` copies it",
    (_, schema, value, encoded) => {
      const coding = codec.of(schema)
      expect(coding.encode(value)).toEqual(encoded)
      expect(coding.decode(structuredClone(coding.encode(value)))).toEqual(value)
    }
  )

  it.each([
    ["alone", Schema.Option(Schema.Number), Option.some(1)],
    ["in a union", Schema.Union([Schema.Number, Schema.Option(Schema.Date)]), Option.some(at)],
    [
      "in a field",
      Schema.Struct({ of: Schema.Array(Schema.Option(Schema.Date)) }),
      { of: [Option.some(at), Option.none()] }
    ],
    ["in a map", Schema.ReadonlyMap(Schema.String, Schema.Option(Schema.Number)), new Map([["a", Option.some(1)]])]
  ] as ReadonlyArray<readonly [string, Schema.Codec<any>, unknown]>)(
    "other classes go as JSON has them: %s",
    (_, schema, value) => {
      const coding = codec.of(schema)
      expect(coding.decode(structuredClone(coding.encode(value)))).toEqual(value)
      expect(coding.bytes).toBe(false)
    }
  )

  it("says where there may be bytes", () => {
    expect(codec.of(Schema.Number).bytes).toBe(false)
    expect(codec.of(Tree).bytes).toBe(false)
    expect(codec.of(Schema.Struct({ a: Schema.Array(Schema.Uint8Array) })).bytes).toBe(true)
    expect(codec.of(Schema.Record(Schema.String, Schema.Unknown)).bytes).toBe(true)
  })

  it("says where a value is wrong", () => {
    const { encode } = codec.of(Schema.Struct({ a: Schema.Struct({ b: Schema.Number }) }))
    expect(() => encode({ a: { b: "1" } })).toThrow(/Expected number[^]*"a"[^]*"b"/)
  })
})
