import { describe, expect, it } from "@effect/vitest"
import { Shutdown } from "@fairlead/core"
import type { Transport } from "@fairlead/core"
import { NodeEvents } from "@fairlead/platform-node"
import { Simulation, Sweep } from "@fairlead/testing"
import { Cause, Context, Duration, Effect, Exit, Fiber, Logger, Queue, Stream } from "effect"
import * as Sse from "effect/encoding/Sse"
import { TestClock } from "effect/testing"

/** What a client of Effect's makes of a text. */
const parsed = (text: string) => {
  const events: Array<unknown> = []
  Sse.makeParser((event) => events.push(event._tag === "Event" ? [event.event, event.id, event.data] : event)).feed(
    text
  )
  return events
}

/** Reads a stream; `sent` is what has come so far. */
const read = <E, R>(stream: Stream.Stream<Uint8Array, E, R>) =>
  Effect.gen(function* () {
    let text = ""
    const fiber = yield* Effect.forkChild(
      Stream.runForEach(stream, (chunk) => Effect.sync(() => void (text += new TextDecoder().decode(chunk)))),
      { startImmediately: true }
    )
    return { fiber, sent: () => text }
  })

const settle = Effect.forEach([1, 2, 3, 4, 5], () => Effect.yieldNow, { discard: true })

const data = (text: string): NodeEvents.Event => ({ data: text })

describe("an event as text", () => {
  it("is its fields, and data line by line, however lines end", () => {
    const event = { event: "news", id: "7", retry: "2 seconds", data: "a\nb\r\nc\rd\n" } as const
    expect(NodeEvents.encode(event)).toBe(
      "event: news\nid: 7\nretry: 2000\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"
    )
    expect(parsed(NodeEvents.encode({ ...event, retry: undefined }))).toEqual([["news", "7", "a\nb\nc\nd\n"]])
  })

  it("comes out as it went in: spaces, colons, nothing at all, and other scripts", () => {
    for (const text of ["", " ", "  a", ": b", "data: c", "ü€𝄞", "\0"]) {
      expect(parsed(NodeEvents.encode(data(text)))).toEqual([["message", undefined, text]])
    }
    expect(NodeEvents.encode({ id: "" })).toBe("id: \n\n")
    expect(NodeEvents.encode({})).toBe("\n")
  })

  it("is refused where a name or an id would break out of its line", () => {
    for (const bad of ["a\nb", "a\rb", "\n", "a\r\ndata: forged"]) {
      expect(() => NodeEvents.encode({ event: bad, data: "" })).toThrow(/^Expected an event on one line, got "/)
      expect(() => NodeEvents.encode({ id: bad, data: "" })).toThrow(/^Expected an id on one line, got "/)
    }
    // A client ignores such an id.
    expect(() => NodeEvents.encode({ id: "a\0b" })).toThrow(/^Expected an id/)
  })
})

describe("an event stream", () => {
  it.effect("sends events that come together in one piece, and nothing at its own end", () =>
    Effect.gen(function* () {
      const chunks = yield* Stream.runCollect(NodeEvents.bytes(Stream.make(data("a"), data("b"))))
      expect(chunks.map((chunk) => new TextDecoder().decode(chunk))).toEqual(["data: a\n\ndata: b\n\n"])
    })
  )

  it.effect("ends with the drain, with an event that says so, and loses nothing that was there", () =>
    Effect.gen(function* () {
      const shutdown = yield* Shutdown.make({ notice: "1 second" })
      const queue = yield* Queue.make<NodeEvents.Event>()
      const { fiber, sent } = yield* read(
        Stream.provideService(NodeEvents.bytes(Stream.fromQueue(queue)), Shutdown.Shutdown, shutdown)
      )
      Queue.offerUnsafe(queue, data("one"))
      yield* settle
      const stop = yield* Effect.forkChild(shutdown.stop, { startImmediately: true })
      Queue.offerUnsafe(queue, data("two"))
      yield* settle
      expect(sent()).toBe("data: one\n\ndata: two\n\n")
      yield* shutdown.hook(
        "three",
        { phase: "closing" },
        Effect.sync(() => Queue.offerUnsafe(queue, data("three")))
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stop)
      expect(yield* Fiber.await(fiber)).toEqual(Exit.void)
      expect(sent()).toBe("data: one\n\ndata: two\n\nevent: end\ndata: shutdown\n\n")
      // One that comes late is told at once.
      const late = NodeEvents.bytes(Stream.never, { onShutdown: { event: "bye", data: "" }, onEnd: data("end") })
      const { sent: said } = yield* read(Stream.provideService(late, Shutdown.Shutdown, shutdown))
      yield* settle
      expect(said()).toBe("event: bye\ndata: \n\n")
    })
  )

  it.effect("says what its own end was, if asked: that is no shutdown's", () =>
    Effect.gen(function* () {
      const shutdown = yield* Shutdown.make()
      const options = { onEnd: { event: "done", data: "" }, onFailure: (error: string) => data(`failed: ${error}`) }
      const text = (stream: Stream.Stream<NodeEvents.Event, string>, more?: { readonly stops: boolean }) =>
        Effect.gen(function* () {
          const all = NodeEvents.bytes(stream, options)
          const { fiber, sent } = yield* read(
            more === undefined ? all : Stream.provideService(all, Shutdown.Shutdown, shutdown)
          )
          yield* Fiber.join(fiber)
          return sent()
        })
      const failing = Stream.concat(Stream.make(data("a")), Stream.fail("no"))
      for (const within of [undefined, { stops: true }]) {
        expect(yield* text(Stream.make(data("a")), within)).toBe("data: a\n\nevent: done\ndata: \n\n")
        expect(yield* text(failing, within)).toBe("data: a\n\ndata: failed: no\n\n")
      }
    })
  )

  it.effect("fails where it is not asked to say so, and that is in the log", () => {
    const logged: Array<unknown> = []
    return Effect.gen(function* () {
      const exit = yield* Effect.exit(Stream.runDrain(NodeEvents.bytes(Stream.fail("no"))))
      expect(exit).toEqual(Exit.fail("no"))
      expect(logged).toEqual([["An event stream has failed", "no"]])
      const { body } = yield* NodeEvents.reply(Stream.fail("no"))
      const failed = yield* Effect.flip(body.pipeTo({ write: () => true, onDrain: () => {} }))
      expect([failed._tag, failed.cause]).toEqual(["BodyFailed", "no"])
    }).pipe(Effect.provide(Logger.layer([Logger.make(({ message }) => logged.push(message))])))
  })

  it.effect("gives a sign of life after a silence, at the end of it and not before", () =>
    Effect.gen(function* () {
      const queue = yield* Queue.make<NodeEvents.Event>()
      const { fiber, sent } = yield* read(NodeEvents.bytes(Stream.fromQueue(queue), { alive: "10 seconds" }))
      yield* TestClock.adjust("9 seconds")
      Queue.offerUnsafe(queue, data("a"))
      yield* settle
      yield* TestClock.adjust("9 seconds")
      expect(sent()).toBe("data: a\n\n")
      yield* TestClock.adjust("1 second")
      expect(sent()).toBe("data: a\n\n:\n\n")
      yield* TestClock.adjust("20 seconds")
      // It has lost nothing over that.
      Queue.offerUnsafe(queue, data("b"))
      yield* settle
      expect(sent()).toBe("data: a\n\n:\n\n:\n\n:\n\ndata: b\n\n")
      expect(parsed(sent())).toEqual([
        ["message", undefined, "a"],
        ["message", undefined, "b"]
      ])
      yield* Fiber.interrupt(fiber)
    })
  )

  it.effect("pulls no more than one piece ahead for who does not take it, and piles up no comments", () =>
    Effect.gen(function* () {
      let pulled = 0
      const ticks = Stream.fromEffectRepeat(Effect.sync(() => data(`${pulled++}`)))
      const got: Array<string> = []
      let resume = () => {}
      const { body } = yield* NodeEvents.reply(Stream.rechunk(ticks, 1), { alive: "1 second" })
      const sink: Transport.Sink = {
        write: (chunk) => got.push(new TextDecoder().decode(chunk)) < 0,
        onDrain: (goOn) => void (resume = goOn)
      }
      const fiber = yield* Effect.forkChild(body.pipeTo(sink), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      expect([got, pulled]).toEqual([["data: 0\n\n"], 1])
      resume()
      yield* settle
      yield* TestClock.adjust("10 seconds")
      expect([got, pulled]).toEqual([["data: 0\n\n", "data: 1\n\n"], 2])
      yield* Fiber.interrupt(fiber)
    })
  )

  it.effect("is interrupted with whoever reads it, and leaves nothing", () =>
    Effect.gen(function* () {
      const open: Array<string> = []
      const source = Stream.onExit(Stream.never, (exit) =>
        Effect.sync(() => open.push(Exit.hasInterrupts(exit) ? "interrupted" : "ended"))
      )
      for (const alive of ["1 second", Duration.infinity] as const) {
        const { fiber } = yield* read(NodeEvents.bytes(source, { alive }))
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.interrupt(fiber)
      }
      expect(open).toEqual(["interrupted", "interrupted"])
    })
  )

  const sweep = {
    setup: Effect.map(Shutdown.make({ drain: 20, interrupt: 5 }), (shutdown) => ({
      shutdown,
      open: new Set<number>()
    })),
    subject: ({ open, shutdown }: { readonly shutdown: Shutdown.Stops; readonly open: Set<number> }) => {
      const reader = (id: number, alive: number) => {
        const source = Stream.unwrap(
          Effect.as(
            Effect.acquireRelease(
              Effect.sync(() => open.add(id)),
              () => Effect.sync(() => open.delete(id))
            ),
            Stream.map(Stream.tick(3), () => data("tick"))
          )
        )
        return Effect.ignore(
          Stream.runDrain(Stream.provideService(NodeEvents.bytes(source, { alive }), Shutdown.Shutdown, shutdown))
        )
      }
      return Effect.all([reader(1, 2), reader(2, 10), Effect.delay(shutdown.stop, 7)], { concurrency: "unbounded" })
    },
    check: ({ open, shutdown }: { readonly shutdown: Shutdown.Stops; readonly open: Set<number> }) =>
      Effect.map(Effect.andThen(shutdown.stop, Effect.sleep(100)), () => expect([...open]).toEqual([]))
  }

  it.live("interrupted at any place, and at pairs of places, it leaves nothing open", () =>
    Effect.gen(function* () {
      expect(yield* Sweep.sweep(sweep)).toBeGreaterThan(50)
      const { pairs } = yield* Sweep.pairs(sweep, { limit: 200 })
      expect(pairs).toBeGreaterThan(100)
      yield* Simulation.simulate(100, sweep, { cancelPoints: 10 })
    })
  )

  it.effect("as an answer it has its head, and the services that it was made with", () =>
    Effect.gen(function* () {
      class Name extends Context.Service<Name, string>()("test/Name") {}
      const made = NodeEvents.reply(Stream.fromEffect(Effect.map(Name, data)), { headers: ["X-Accel-Buffering", "no"] })
      const reply = yield* Effect.provideService(made, Name, "Ada")
      expect([reply.status, reply.headers]).toEqual([
        200,
        ["Content-Type", "text/event-stream", "Cache-Control", "no-store", "X-Accel-Buffering", "no"]
      ])
      let text = ""
      yield* reply.body.pipeTo({
        write: (chunk) => ((text += new TextDecoder().decode(chunk)), true),
        onDrain: () => {}
      })
      expect([text, reply.body.length]).toEqual(["data: Ada\n\n", undefined])
    })
  )

  it.effect("a name that breaks out of its line is a defect of the stream", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Stream.runDrain(NodeEvents.bytes(Stream.make({ event: "a\nb" }))))
      expect(Exit.isFailure(exit) && String(Cause.squash(exit.cause))).toMatch(/Expected an event on one line/)
    })
  )
})

describe("misuse", () => {
  it.effect("signs of life without a pause between them", () =>
    Effect.gen(function* () {
      for (const alive of [0, -1, Number.NaN]) {
        const exit = yield* Effect.exit(NodeEvents.reply(Stream.never, { alive }))
        expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("Expected alive to be more than 0 ms, got")
      }
    })
  )
})
