import { describe, expect, it } from "@effect/vitest"
import { Deadline, Wait } from "@fairlead/core"
import type { Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Certificates, Leaks, ScriptedUpstream } from "@fairlead/testing/node"
import { Deferred, Effect, Fiber, Schedule } from "effect"
import { get, keep, scripted, soon, text, until } from "./calls.ts"

/** Notes what is waited for, in the order in which that began; `going`: what goes on. */
const notes = () => {
  const lines: Array<string> = []
  const going = new Set<Wait.Wait>()
  const ledger: Wait.Ledger = {
    began: (wait) => {
      if (wait.kind === undefined) return
      going.add(wait)
      lines.push(`${wait.kind}: ${wait.what}`)
    },
    ended: (wait) => void going.delete(wait)
  }
  return { ledger, lines, going }
}

const fetch = (transport: Transport.Transport, origin: string, request = get("/")) =>
  Effect.scoped(Effect.flatMap(transport.exchange(origin, request), ({ body }) => text(body)))

const noted = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { going, ledger, lines } = notes()
    yield* Wait.observed(self, ledger)
    expect(going.size).toBe(0)
    return lines
  })

const answering = (options: Parameters<typeof ScriptedUpstream.make>[0] = {}) =>
  ScriptedUpstream.make({ answer: (received) => received.reply(200, [], "ok"), ...options })

describe("an exchange says what it waits for", () => {
  it.live("from the name of a host to the body, and less over a connection that is there", () =>
    Effect.gen(function* () {
      const { port } = yield* answering()
      const transport = yield* NodeTransport.make({ maxSockets: "unbounded", dns: false })
      const host = `localhost:${port}`
      const call = fetch(transport, `http://${host}`)
      expect(yield* noted(call)).toEqual([
        `pool: connection to ${host}`,
        `dns: address of ${host}`,
        `connect: connection to ${host}`,
        `firstByte: first byte of ${host}`,
        `body: body of ${host}`
      ])
      expect(yield* noted(call)).toEqual([
        `pool: connection to ${host}`,
        `firstByte: first byte of ${host}`,
        `body: body of ${host}`
      ])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("with TLS, and of an address no name", () =>
    Effect.gen(function* () {
      const pair = Certificates.make()
      const { port } = yield* answering({ tls: pair })
      const host = `127.0.0.1:${port}`
      for (const http2 of [false, true]) {
        const transport = yield* NodeTransport.make({ maxSockets: "unbounded", tls: { ca: pair.ca }, http2 })
        const lines = yield* noted(fetch(transport, `https://${host}`))
        expect(lines.map((line) => line.split(":", 1)[0]).filter((kind) => kind !== "pool")).toEqual([
          "connect",
          "tls",
          "firstByte",
          "body"
        ])
        expect(lines).toContain(`tls: TLS with ${host}`)
      }
    })
  )

  it.live("in the line of the pool", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make({ name: "api", maxSockets: 1 })
      const first = yield* Effect.forkChild(fetch(transport, upstream.origin))
      const received = yield* upstream.next
      const second = yield* Effect.forkChild(noted(fetch(transport, upstream.origin)))
      yield* Effect.repeat(transport.statistics, {
        until: ({ waiting }) => waiting === 1,
        schedule: Schedule.spaced(2)
      })
      received.reply(200)
      ;(yield* upstream.next).reply(200)
      yield* Fiber.join(first)
      expect((yield* Fiber.join(second))[0]).toBe("pool: gate api")
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("to the end of an upload, that the other side takes it", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make({ maxSockets: "unbounded" })
      const { going, ledger } = notes()
      const now = () => [...going].map(({ kind }) => kind)
      const { body, end, sink } = scripted()
      const request = { ...get("/"), method: "POST", body }
      const call = yield* Effect.forkChild(Wait.observed(fetch(transport, upstream.origin, request), ledger))
      ;(yield* sink).write(Buffer.from("a"))
      yield* until(() => now()[0] === "other")
      Deferred.doneUnsafe(end, Effect.void)
      yield* until(() => now()[0] === "firstByte")
      ;(yield* upstream.next).reply(200)
      yield* Fiber.join(call)
      expect(going.size).toBe(0)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("in the body, but not while the sink takes no more", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make({ maxSockets: "unbounded", wholeBytes: 0 })
      const { going, ledger } = notes()
      const now = () => [...going].map(({ kind }) => kind)
      const sink = keep()
      const drained: Array<() => void> = []
      let room = true
      const slow = {
        write: (chunk: Uint8Array) => sink.write(chunk) && room,
        onDrain: (resume: () => void) => void drained.push(resume)
      }
      const call = Effect.scoped(
        Effect.flatMap(transport.exchange(upstream.origin, get("/")), ({ body }) => body.pipeTo(slow))
      )
      const fiber = yield* Effect.forkChild(Wait.observed(call, ledger))
      const received = yield* upstream.next
      received.head(200)
      yield* until(() => now()[0] === "body")
      room = false
      received.write("a")
      yield* until(() => drained.length === 1)
      expect(now()).toEqual([])
      room = true
      drained[0]!()
      expect(now()).toEqual(["body"])
      received.end()
      yield* Fiber.join(fiber)
      expect([now(), sink.text()]).toEqual([[], "a"])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("when a deadline cuts it, and waits no more then", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make({ maxSockets: "unbounded" })
      const { going, ledger } = notes()
      const host = new URL(upstream.origin).host
      const late = (head: boolean) =>
        Effect.gen(function* () {
          const call = Deadline.within(fetch(transport, upstream.origin), 400)
          const fiber = yield* Effect.forkChild(Effect.flip(Wait.observed(call, ledger)))
          const received = yield* upstream.next
          if (head) received.head(200)
          return (yield* soon(Fiber.join(fiber), 2_000)).message
        })
      expect(yield* late(false)).toContain(`waiting for first byte of ${host})`)
      expect(yield* late(true)).toContain(`waiting for body of ${host})`)
      expect(going.size).toBe(0)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("when no connection can be made, and waits no more then", () =>
    Effect.gen(function* () {
      const transport = yield* NodeTransport.make({
        maxSockets: "unbounded",
        dns: { lookup: (_, __, done) => void setTimeout(() => done(new Error("no such name"), []), 5) }
      })
      const lines = yield* noted(Effect.exit(fetch(transport, "http://nowhere.example")))
      expect(lines).toEqual(["pool: connection to nowhere.example", "dns: address of nowhere.example"])
    }).pipe(Leaks.expectNoLeaks())
  )
})
