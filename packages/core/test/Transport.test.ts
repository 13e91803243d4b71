import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { Cause, Effect, Exit, Fiber, Stream } from "effect"
import { fork } from "./gates.ts"

/** A sink that is full after each chunk, until the test says otherwise. */
const narrow = () => {
  const got: Array<string> = []
  let resume: (() => void) | undefined
  const sink: Transport.Sink = {
    write: (chunk) => got.push(new TextDecoder().decode(chunk)) < 0,
    onDrain: (goOn) => void (resume = goOn)
  }
  return { sink, got, drain: () => resume!(), waits: () => resume !== undefined }
}

const chunks = (...texts: ReadonlyArray<string>) =>
  Stream.fromIterable(texts.map((text) => new TextEncoder().encode(text)))

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

  it.effect("moves a stream, and pulls nothing while the sink is full", () =>
    Effect.gen(function* () {
      let pulled = 0
      const { drain, got, sink } = narrow()
      const content = Stream.rechunk(chunks("a", "", "b", "c"), 1).pipe(Stream.tap(() => Effect.sync(() => pulled++)))
      const body = Transport.stream(content)
      expect([body.length, body.bytes]).toEqual([undefined, undefined])
      const piped = yield* fork(body.pipeTo(sink))
      expect([got, pulled]).toEqual([["a"], 1])
      drain()
      // An empty chunk is none.
      expect([got, pulled]).toEqual([["a", "b"], 3])
      drain()
      expect(got).toEqual(["a", "b", "c"])
      expect(piped.pollUnsafe()).toBe(undefined)
      drain()
      expect(piped.pollUnsafe()).toEqual(Exit.void)
      expect(Exit.hasDies(yield* Effect.exit(body.pipeTo(sink)))).toBe(true)
    })
  )

  it.effect("goes on behind a full sink in the middle of what was pulled at once", () =>
    Effect.gen(function* () {
      const { drain, got, sink } = narrow()
      const piped = yield* fork(Transport.stream(chunks("a", "b")).pipeTo(sink))
      drain()
      drain()
      expect([got, piped.pollUnsafe()]).toEqual([["a", "b"], Exit.void])
    })
  )

  it.effect("fails where a stream does, or brings another length than was said; a byte too many is not written", () =>
    Effect.gen(function* () {
      const got: Array<string> = []
      const sink = { write: (chunk: Uint8Array) => got.push(new TextDecoder().decode(chunk)) > 0, onDrain: () => {} }
      const failure = (body: Transport.Body) =>
        Effect.map(Effect.flip(body.pipeTo(sink)), ({ cause, kind }) => `${kind}: ${String(cause)}`)
      expect(yield* failure(Transport.stream(Stream.concat(chunks("a"), Stream.fail("no"))))).toBe("incomplete: no")
      expect(yield* failure(Transport.stream(chunks("b", "c"), 1))).toMatch(/^incomplete: .*of 1 bytes, got 2$/)
      expect(yield* failure(Transport.stream(chunks("d"), 2))).toMatch(/^incomplete: .*of 2 bytes, got 1$/)
      yield* Transport.stream(chunks("e", "f"), 2).pipeTo(sink)
      expect(got).toEqual(["a", "b", "d", "e", "f"])
      const exit = yield* Effect.exit(Transport.stream(Stream.die("bug")).pipeTo(sink))
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toBe("bug")
    })
  )

  it.effect("interrupting it interrupts the stream, and waits for what that cleans up", () =>
    Effect.gen(function* () {
      for (const stream of [chunks("a"), Stream.never]) {
        let cleaned = false
        const { sink } = narrow()
        const content = Stream.onExit(stream, () =>
          Effect.andThen(
            Effect.yieldNow,
            Effect.sync(() => (cleaned = true))
          )
        )
        const piped = yield* fork(Transport.stream(content).pipeTo(sink))
        yield* Fiber.interrupt(piped)
        expect(cleaned).toBe(true)
      }
    })
  )

  it("finds a header whatever its case", () => {
    const headers = ["X-One", "1", "Content-Type", "text/plain", "content-type", "second"]
    expect(Transport.header(headers, "content-type")).toBe("text/plain")
    expect(Transport.header(headers, "x-two")).toBe(undefined)
    expect(Transport.combined(headers, "content-type")).toBe("text/plain, second")
    expect(Transport.combined(headers, "x-two")).toBe(undefined)
  })

  describe("collect", () => {
    it.effect("puts the chunks of a body together", () =>
      Effect.gen(function* () {
        expect(new TextDecoder().decode(yield* Transport.collect(Transport.stream(chunks("a", "bc", "d"))))).toBe(
          "abcd"
        )
        expect(yield* Transport.collect(Transport.empty)).toEqual(new Uint8Array(0))
        expect((yield* Transport.collect(Transport.text("four"), 4)).length).toBe(4)
      })
    )

    it.effect("cuts one that gets too large, and lets go of what brings it", () =>
      Effect.gen(function* () {
        let closed = 0
        const endless = Stream.forever(chunks("ab")).pipe(Stream.ensuring(Effect.sync(() => closed++)))
        const failure = yield* Effect.flip(Transport.collect(Transport.stream(endless), 5))
        expect([failure.message, closed]).toEqual(["tooLarge: Expected at most 5 bytes, got 6 or more", 1])
      })
    )

    it.effect("aborts at once what says itself that it is too large", () =>
      Effect.gen(function* () {
        let aborted = 0
        const body = { ...Transport.empty, length: 6, bytes: undefined, abort: () => void aborted++ }
        expect([(yield* Effect.flip(Transport.collect(body, 5))).kind, aborted]).toEqual(["tooLarge", 1])
      })
    )
  })
})
