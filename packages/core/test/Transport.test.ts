import { describe, expect, it } from "@effect/vitest"
import { Transport } from "@fairlead/core"
import { Leaks } from "@fairlead/testing"
import { Cause, Deferred, Effect, Exit, Fiber, Stream } from "effect"
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

  describe("toStream", () => {
    const read = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

    /** A body whose sender writes when the test says so. */
    const scripted = () => {
      const state = { sink: undefined as Transport.Sink | undefined, began: 0, aborted: 0, drained: 0 }
      const end = Deferred.makeUnsafe<void, Transport.BodyFailed>()
      const pipeTo = (sink: Transport.Sink) =>
        Effect.suspend(() => {
          state.sink = sink
          state.began++
          return Effect.onInterrupt(Deferred.await(end), () => Effect.sync(() => state.aborted++))
        })
      /** Whether there is room for more. */
      const write = (text: string) => {
        const room = state.sink!.write(new TextEncoder().encode(text))
        if (!room) state.sink!.onDrain(() => state.drained++)
        return room
      }
      const body: Transport.Body = { length: undefined, bytes: undefined, pipeTo, abort: () => void state.aborted++ }
      return { body, end, state, write }
    }

    it.effect("brings what the body brings, in order, and its end", () =>
      Effect.gen(function* () {
        const streamed = Transport.toStream(Transport.stream(Stream.rechunk(chunks("a", "b", "", "c"), 1)))
        expect(Array.from(yield* Stream.runCollect(streamed), read)).toEqual(["a", "b", "c"])
        expect(Array.from(yield* Stream.runCollect(Transport.toStream(Transport.text("whole"))), read)).toEqual([
          "whole"
        ])
        expect(yield* Stream.runCollect(Transport.toStream(Transport.empty))).toHaveLength(0)
      }).pipe(Leaks.expectNoLeaks())
    )

    it.effect("has room for one chunk beyond what is waited for", () =>
      Effect.gen(function* () {
        const { body, end, state, write } = scripted()
        expect(state.began).toBe(0)
        const pull = yield* Stream.toPull(Transport.toStream(body))
        const first = yield* fork(pull)
        expect(write("a")).toBe(true)
        expect((yield* Fiber.join(first)).map(read)).toEqual(["a"])
        expect([write("b"), state.drained]).toEqual([false, 0])
        expect((yield* pull).map(read)).toEqual(["b"])
        expect(state.drained).toBe(1)
        const last = yield* fork(pull)
        yield* Deferred.succeed(end, undefined)
        expect(Exit.isFailure(yield* Fiber.await(last))).toBe(true)
        expect([state.began, state.aborted]).toEqual([1, 0])
      })
    )

    it.effect("gives what has come before it fails", () =>
      Effect.gen(function* () {
        const { body, end, write } = scripted()
        const pull = yield* Stream.toPull(Transport.toStream(body))
        const first = yield* fork(pull)
        write("a")
        yield* Fiber.join(first)
        write("b")
        yield* Deferred.fail(end, new Transport.BodyFailed({ kind: "reset", cause: undefined }))
        expect((yield* pull).map(read)).toEqual(["b"])
        expect(yield* Effect.flip(pull)).toMatchObject({ kind: "reset" })
      })
    )

    it.effect("aborts the body of which no more is taken, or whose reader is interrupted", () =>
      Effect.gen(function* () {
        const early = scripted()
        const taken = yield* fork(Stream.runCollect(Stream.take(Transport.toStream(early.body), 1)))
        early.write("a")
        expect((yield* Fiber.join(taken)).map(read)).toEqual(["a"])
        expect(early.state.aborted).toBe(1)
        const cut = scripted()
        const reading = yield* fork(Stream.runDrain(Transport.toStream(cut.body)))
        yield* Fiber.interrupt(reading)
        expect(cut.state.aborted).toBe(1)
      }).pipe(Leaks.expectNoLeaks())
    )

    it.effect("moves much without holding it", () =>
      Effect.gen(function* () {
        let ahead = 0
        let most = 0
        const source = Stream.tap(Stream.rechunk(Stream.range(1, 1000), 1), () =>
          Effect.sync(() => (most = Math.max(most, ++ahead)))
        ).pipe(Stream.map(() => new Uint8Array(1000)))
        const sum = yield* Stream.runFoldEffect(
          Transport.toStream(Transport.stream(source)),
          () => 0,
          (sum, chunk) =>
            Effect.map(Effect.yieldNow, () => {
              ahead--
              return sum + chunk.length
            })
        )
        expect(sum).toBe(1_000_000)
        expect(most).toBeLessThanOrEqual(4)
      })
    )
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
