import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { Effect } from "effect"

describe("Transport", () => {
  it.effect("gives a whole body to a sink in one piece, as often as one likes", () =>
    Effect.gen(function* () {
      const body = Transport.text("grüße")
      const got: Array<Uint8Array> = []
      const sink = { write: (chunk: Uint8Array) => got.push(chunk) > 99, onDrain: () => {} }
      yield* body.pipeTo(sink)
      yield* body.pipeTo(sink)
      expect(body.length).toBe(7)
      expect(got).toEqual([body.bytes, body.bytes])
    })
  )

  it("finds a header whatever its case", () => {
    const headers = ["X-One", "1", "Content-Type", "text/plain", "content-type", "second"]
    expect(Transport.header(headers, "content-type")).toBe("text/plain")
    expect(Transport.header(headers, "x-two")).toBe(undefined)
    expect(Transport.combined(headers, "content-type")).toBe("text/plain, second")
    expect(Transport.combined(headers, "x-two")).toBe(undefined)
  })
})
