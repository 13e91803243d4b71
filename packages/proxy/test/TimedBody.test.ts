import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { Effect } from "effect"
import { TimedBody } from "../src/TimedBody.ts"

const sink: Transport.Sink = { write: () => true, onDrain: () => {} }

const streaming = (end: Effect.Effect<void, Transport.BodyFailed>): Transport.Body => ({
  length: 3,
  bytes: undefined,
  pipeTo: () => end,
  abort: () => {}
})

describe("a timed body", () => {
  it.effect("knows when its last byte was handed on", () =>
    Effect.gen(function* () {
      const body = new TimedBody(streaming(Effect.void))
      expect(body.endedAt).toBeUndefined()
      const before = performance.now()
      yield* body.pipeTo(sink)
      expect(body.endedAt).toBeGreaterThanOrEqual(before)
      expect(body.length).toBe(3)
    })
  )

  it.effect("has not ended when it broke off", () =>
    Effect.gen(function* () {
      const failed = new Transport.BodyFailed({ kind: "incomplete", cause: undefined })
      const body = new TimedBody(streaming(Effect.fail(failed)))
      expect(yield* Effect.flip(body.pipeTo(sink))).toBe(failed)
      expect(body.endedAt).toBeUndefined()
    })
  )

  it("of a content in memory takes nobody's time", () => {
    expect(new TimedBody(Transport.empty).endedAt).toBe(-Infinity)
    expect(new TimedBody(Transport.text("here")).bytes).toHaveLength(4)
  })

  it("is aborted as the one it stands for", () => {
    let aborted = false
    new TimedBody({ ...streaming(Effect.void), abort: () => void (aborted = true) }).abort()
    expect(aborted).toBe(true)
  })
})
