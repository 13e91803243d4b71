import { describe, expect, it } from "@effect/vitest"
import { StructuredField } from "@fairlead/core/http"

const read = (text: string) => {
  const members = StructuredField.dictionary(text)
  return members === undefined ? undefined : Object.fromEntries([...members].map(([name, item]) => [name, item.value]))
}

describe("StructuredField", () => {
  it("reads every kind of item", () => {
    expect(
      read(`a=1, b=-2, c, d=?0, e="x\\"y", f=tok/en:*, g=:aGk=:, h=1.5, i=@12, j=(1 "b";q=2 c);z, k=%"f%c3%bc"`)
    ).toEqual({
      a: 1,
      b: -2,
      c: true,
      d: false,
      e: `x"y`,
      f: "tok/en:*",
      g: ":aGk=:",
      h: "1.5",
      i: "@12",
      j: `(1 "b";q=2 c)`,
      k: `%"f%c3%bc"`
    })
  })

  it("lets parameters pass, and the last member of a name count", () => {
    expect(read("u=1;x=2; y;z=?1 ,\tu=5;w")).toEqual({ u: 5 })
    expect(read("")).toEqual({})
    expect(read("  a=()  ")).toEqual({ a: "()" })
  })

  it("takes no field of which any part is wrong", () => {
    for (const text of [
      "U=1",
      "u=",
      "u=1,",
      ",u=1",
      "u=1 i",
      `u="x`,
      "u=(1",
      "u=(1,2)",
      "u=1;",
      "u=?2",
      "u=1.",
      "u=\x80",
      "=1"
    ]) {
      expect([text, read(text)]).toEqual([text, undefined])
    }
  })

  it("quotes what a string may hold, and nothing else", () => {
    expect(StructuredField.quote(`a"b\\c\u00e9\n`)).toBe(`"a\\"b\\\\c??"`)
  })

  it("reads the items of a list, with their parameters", () => {
    const read = (text: string) =>
      StructuredField.list(text)?.map(({ item, parameters }) => [
        item.value,
        Object.fromEntries([...parameters].map(([name, { value }]) => [name, value]))
      ])
    expect(read(`"a";q=1;w=2; pk=:aGk=:, b , 3;x, (1 2);y="z";y=4`)).toEqual([
      ["a", { q: 1, w: 2, pk: ":aGk=:" }],
      ["b", {}],
      [3, { x: true }],
      ["(1 2)", { y: 4 }]
    ])
    expect(read("")).toEqual([])
    for (const text of ["a,", ",a", "a;", "a;Q=1", "a;q=", "a b", "a=1", "(1"])
      expect([text, read(text)]).toEqual([text, undefined])
  })
})
