import { describe, expect, it } from "vitest"
import * as utf8 from "../../src/internal/utf8.ts"

describe("utf8", () => {
  it("takes text to bytes and back", () => {
    expect(Array.from(utf8.encode("ü€"))).toEqual([0xc3, 0xbc, 0xe2, 0x82, 0xac])
    expect(utf8.decode(utf8.encode("ü€"))).toBe("ü€")
  })

  it("says where bytes are no text, and drops a byte order mark, each time anew", () => {
    const cut = Uint8Array.of(0xef, 0xbb, 0xbf, 0x61, 0xc3)
    expect([utf8.decode(cut), utf8.decode(cut)]).toEqual(["a\ufffd", "a\ufffd"])
  })
})
