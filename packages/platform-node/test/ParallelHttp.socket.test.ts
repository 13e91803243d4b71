/**
 * Many calls over real sockets: what goes wrong where tasks are gathered by hand over a session for each call, errors that become
 * dictionaries, and whole bodies in memory; one test for each of those faults.
 */
import { describe, expect, it } from "@effect/vitest"
import { ParallelHttp, Registry, Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Leaks, ScriptedUpstream } from "@fairlead/testing/node"
import { Cause, Effect, Exit, Fiber, Option, Schedule, Stream } from "effect"
import type { Scope } from "effect"

type Received = ScriptedUpstream.Received

/** A server that answers by `answer`, and a client of it; nothing is left when `f` has ended. */
const scene = <A, E>(
  answer: (received: Received) => void,
  f: (
    origin: string,
    upstream: ScriptedUpstream.ScriptedUpstream
  ) => Effect.Effect<A, E, Transport.Transport | Scope.Scope>
) =>
  Effect.gen(function* () {
    const connected = new Set<unknown>()
    const upstream = yield* ScriptedUpstream.make({
      answer: (received) => {
        connected.add(received.socket)
        answer(received)
      }
    })
    const used = Effect.gen(function* () {
      const transport = yield* NodeTransport.make()
      return yield* Effect.provideService(f(upstream.origin, upstream), Transport.Transport, transport)
    })
    const value = yield* Leaks.expectNoLeaks(Effect.provideService(used, Registry.Registry, Registry.make()))
    expect(upstream.connections()).toBe(0)
    return { value, connections: connected.size }
  })

const later = (received: Received, millis: number, ...of: Parameters<Received["reply"]>) =>
  void setTimeout(() => received.reply(...of), millis)

const failure = <A, E>(exit: Exit.Exit<A, E>): E => {
  if (Exit.isSuccess(exit)) throw new Error(`Expected a failure, got ${String(exit.value)}`)
  return Cause.findErrorOption(exit.cause).pipe(Option.getOrThrow)
}

describe("many GETs, gathered by hand", () => {
  it.live("one session for all: no more connections than calls at once, and used again", () =>
    Effect.gen(function* () {
      const { connections } = yield* scene(
        (received) => later(received, 2, 200, [], "x"),
        (origin) =>
          Effect.gen(function* () {
            const http = yield* ParallelHttp.make("calls", { inFlight: 5 })
            const ends = yield* http.all(Array.from({ length: 200 }, (_, i) => `${origin}/${i}`))
            expect(ends.every(({ exit }) => Exit.isSuccess(exit))).toBe(true)
          })
      )
      expect(connections).toBeLessThanOrEqual(5)
    })
  )

  it.live("errors are typed values, one for each call, and fail nobody else", () =>
    scene(
      (received) => {
        if (received.target === "/reset") received.reset()
        else if (received.target === "/half") {
          received.head(200, ["Content-Length", "10"])
          received.write("half")
          received.hangUp()
        } else if (received.target === "/500") received.reply(500, [], "no")
        else received.reply(200, [], "fine")
      },
      (origin) =>
        Effect.gen(function* () {
          const http = yield* ParallelHttp.make("calls", { attempts: false })
          const inputs = [
            `${origin}/`,
            `${origin}/reset`,
            `${origin}/half`,
            `${origin}/500`,
            "http://127.0.0.1:1/",
            "no"
          ]
          const ends = yield* http.all(inputs, { read: ParallelHttp.text })
          const shown = ends.map(({ exit }) => {
            if (Exit.isSuccess(exit)) return exit.value
            const error: any = failure(exit)
            return `${error._tag} ${error.kind ?? error.status ?? ""}`
          })
          expect(shown).toEqual([
            "fine",
            "ConnectionFailed reset",
            "ConnectionFailed incomplete",
            "StatusRejected 500",
            "ConnectionFailed refused",
            "InvalidRequest "
          ])
        })
    )
  )

  it.live("a body is bounded, and flows: no answer is in memory for longer than it is read", () =>
    scene(
      (received) => {
        received.head(200)
        for (let i = 0; i < 64; i++) received.write(Buffer.alloc(65_536))
        received.end()
      },
      (origin) =>
        Effect.gen(function* () {
          const http = yield* ParallelHttp.make("calls", { maxBytes: 1_000_000 })
          const error = yield* Effect.flip(http.fetch(origin))
          expect(error).toMatchObject({ _tag: "BodyTooLarge", maxBytes: 1_000_000 })
          const wide = yield* ParallelHttp.make("wide", { maxBytes: 10_000_000 })
          const read: ParallelHttp.Read<number, ParallelHttp.BodyFailure> = ({ stream }) =>
            Stream.runFold(
              stream,
              () => 0,
              (sum, chunk) => sum + chunk.length
            )
          const [end] = yield* wide.all([origin], { read })
          expect(end!.exit).toEqual(Exit.succeed(64 * 65_536))
          expect(end!.trace.bytes).toBe(64 * 65_536)
          // One chunk is enough for who takes no more.
          const first = yield* wide.fetch(origin, ({ stream }) => Stream.runHead(stream))
          expect(Option.isSome(first)).toBe(true)
        })
    )
  )

  it.live("what fails for the moment is tried again: a reset in mid-body, a 503, a 429 with its time", () => {
    const seen = new Map<string, number>()
    const times: Array<number> = []
    return scene(
      (received) => {
        const { target } = received
        const n = (seen.get(target) ?? 0) + 1
        seen.set(target, n)
        if (target === "/429") times.push(received.at)
        if (n > 1) return received.reply(200, [], "at last")
        if (target === "/503") return received.reply(503)
        if (target === "/429") return received.reply(429, ["retry-after-ms", "200"])
        received.head(200, ["Content-Length", "100000"])
        received.write("x")
        setTimeout(received.reset, 20)
      },
      (origin) =>
        Effect.gen(function* () {
          const http = yield* ParallelHttp.make("calls", { attempts: { backoff: Schedule.spaced(10) } })
          const ends = yield* http.all(
            ["/503", "/429", "/body"].map((path) => origin + path),
            { read: ParallelHttp.text }
          )
          expect(ends.map(({ exit }) => exit)).toEqual([1, 2, 3].map(() => Exit.succeed("at last")))
          expect(ends.map(({ trace }) => trace.attempts)).toEqual([2, 2, 2])
          expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(199)
        })
    )
  })

  it.live("no host has more at once than it is given, as the server counts", () => {
    const counts = { a: 0, b: 0 }
    const most = { a: 0, b: 0 }
    return scene(
      (received) => {
        const host = received.header("host")!.startsWith("localhost") ? "b" : "a"
        most[host] = Math.max(most[host], ++counts[host])
        setTimeout(() => {
          counts[host]--
          received.reply(200)
        }, 3)
      },
      (origin, { port }) =>
        Effect.gen(function* () {
          const http = yield* ParallelHttp.make("calls", {
            perHost: (host) => ({ limit: host.startsWith("localhost") ? 3 : 7 })
          })
          const urls = Array.from({ length: 120 }, (_, i) => (i % 2 === 0 ? origin : `http://localhost:${port}`))
          yield* http.all(urls)
          expect(most).toEqual({ a: 7, b: 3 })
        })
    )
  })
})

describe("many calls over sockets", () => {
  it.live("a redirect is followed to another origin, without credentials", () => {
    const got: Array<string | undefined> = []
    return scene(
      (received) => {
        got.push(received.header("authorization"))
        if (received.target !== "/from") return received.reply(200, [], received.target)
        received.reply(302, ["Location", `http://localhost:${received.socket.localPort}/to`])
      },
      (origin) =>
        Effect.gen(function* () {
          const http = yield* ParallelHttp.make("calls", {})
          expect(yield* http.fetch(origin.replace("//", "//u:p@") + "/from", ParallelHttp.text)).toBe("/to")
          expect(got).toEqual(["Basic dTpw", undefined])
        })
    )
  })

  it.live("interrupting a stream of a thousand in flight leaves no socket, fiber or timer", () =>
    scene(
      ({ head, target, write }) => {
        // Half of them in mid-body.
        if (Number(target.slice(1)) % 2 === 0) return
        head(200)
        write("x")
      },
      (origin, upstream) =>
        Effect.gen(function* () {
          const http = yield* ParallelHttp.make("calls", { inFlight: 1000, timeout: "1 minute" })
          const source = Stream.map(
            Stream.iterate(0, (n) => n + 1),
            (n) => `${origin}/${n}`
          )
          const run = yield* Effect.forkChild(Stream.runDrain(http.stream()(source)))
          while (upstream.received.length < 1000) yield* Effect.sleep(20)
          expect(yield* http.statistics).toMatchObject({ running: 2000 })
          yield* Fiber.interrupt(run)
          expect(yield* http.statistics).toMatchObject({ running: 0, interrupted: 2000 })
        })
    )
  )
})
