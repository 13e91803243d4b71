/**
 * Event streams on real connections: a process with 200 of them that is stopped, clients that leave or are slow, streams that fail.
 */
import { describe, expect, it } from "@effect/vitest"
import { NodeEvents, NodeHttp } from "@fairlead/platform-node"
import { RawClient } from "@fairlead/testing/node"
import { Effect, Logger, Queue, Stream } from "effect"
import { spawn } from "node:child_process"
import * as http from "node:http"
import { fileURLToPath } from "node:url"

const program = fileURLToPath(new URL("programs/events.ts", import.meta.url))

const start = (...args: ReadonlyArray<string>) =>
  new Promise<{
    readonly port: number
    readonly kill: () => void
    readonly ended: Promise<{ readonly code: number | null; readonly err: string; readonly at: number }>
  }>((resolve) => {
    const child = spawn(process.execPath, [program, ...args])
    let err = ""
    child.stderr.on("data", (chunk) => (err += chunk))
    const ended = new Promise<{ code: number | null; err: string; at: number }>((end) =>
      child.on("close", (code) => end({ code, err, at: performance.now() }))
    )
    child.stdout.once("data", (chunk) => resolve({ port: Number(chunk), kill: () => child.kill("SIGTERM"), ended }))
  })

/** Reads an event stream to its end; `opened` when it has said hello. */
const listen = (port: number, path: string) => {
  let opened = () => {}
  const open = new Promise<void>((resolve) => (opened = resolve))
  const ended = new Promise<{ readonly text: string; readonly clean: boolean }>((resolve) => {
    http
      .get({ agent: false, host: "127.0.0.1", port, path }, (response) => {
        let text = ""
        response.on("data", (chunk) => {
          text += chunk
          opened()
        })
        response.on("error", () => {})
        response.on("close", () => resolve({ text, clean: response.complete }))
      })
      .on("error", (error) => resolve({ text: String(error), clean: false }))
  })
  return { open, ended }
}

describe("a process with 200 open event streams that is stopped", () => {
  for (const [name, args, path, last] of [
    ["as answers of ours", [], "/events", "shutdown"],
    ["by way of a router", ["router"], "/events", "shutdown"],
    ["by way of a router, of streams that are bare", ["router"], "/bare", "bare"]
  ] as const) {
    it(`${name}: each gets its end event and a clean end, and the code is 0`, async () => {
      const server = await start(...args)
      const clients = Array.from({ length: 200 }, () => listen(server.port, path))
      await Promise.all(clients.map(({ open }) => open))
      const asked = performance.now()
      server.kill()
      const all = await Promise.all(clients.map(({ ended }) => ended))
      const expected = { text: `data: hello\n\nevent: end\ndata: ${last}\n\n`, clean: true }
      expect(all.filter(({ clean, text }) => !clean || text !== expected.text)).toEqual([])
      const { at, code, err } = await server.ended
      expect({ code, err }).toEqual({ code: 0, err: "" })
      // Some 200 ms where the machine is idle.
      expect(at - asked).toBeLessThan(3000)
    })
  }
})

const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
const soon = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.timeout(self, 2000)
const serve = (handler: NodeHttp.Handler<never>) => NodeHttp.serve(handler, { port: 0, drain: 0 })

describe("an event stream", () => {
  it.live("goes out as it comes, with its head at once, and signs of life", () =>
    Effect.gen(function* () {
      const queue = yield* Queue.make<NodeEvents.Event>()
      const server = yield* serve(() => NodeEvents.reply(Stream.fromQueue(queue), { alive: "50 millis" }))
      const client = yield* RawClient.connect(server.port)
      client.write(request)
      const head = yield* soon(client.until("\r\n\r\n"))
      expect(head).toMatch(/Content-Type: text\/event-stream\r\nCache-Control: no-store\r\n/)
      yield* soon(client.until(":\n\n"))
      Queue.offerUnsafe(queue, { id: "1", data: "a" })
      yield* soon(client.until("id: 1\ndata: a\n\n"))
    })
  )

  it.live("is interrupted when its client leaves, and that is all that is left of it", () =>
    Effect.gen(function* () {
      let open = 0
      const source = Stream.unwrap(
        Effect.as(
          Effect.acquireRelease(
            Effect.sync(() => open++),
            () => Effect.sync(() => open--)
          ),
          Stream.concat(Stream.make({ data: "hello" }), Stream.never)
        )
      )
      const server = yield* serve(() => NodeEvents.reply(source))
      for (const leave of ["leave", "reset"] as const) {
        const client = yield* RawClient.connect(server.port)
        client.write(request)
        yield* soon(client.until("hello"))
        expect(open).toBe(1)
        client[leave]()
        yield* soon(Effect.repeat(Effect.sleep("1 millis"), { while: () => open > 0 || server.inFlight() > 0 }))
      }
    })
  )

  it.live("is pulled as its reader reads", () =>
    Effect.gen(function* () {
      let pulled = 0
      const data = "x".repeat(65_536)
      const ticks = Stream.rechunk(Stream.fromEffectRepeat(Effect.sync(() => (pulled++, { data }))), 1)
      const server = yield* serve(() => NodeEvents.reply(ticks))
      const client = yield* RawClient.connect(server.port)
      client.pause()
      client.write(request)
      yield* Effect.sleep("300 millis")
      const stalled = pulled
      yield* Effect.sleep("200 millis")
      // What fits into the buffers of two sockets: some megabytes.
      expect([pulled - stalled, stalled > 0, stalled < 400]).toEqual([0, true, true])
      client.resume()
      yield* soon(Effect.repeat(Effect.sleep("1 millis"), { while: () => pulled < stalled + 100 }))
      client.reset()
      yield* soon(Effect.repeat(Effect.sleep("1 millis"), { while: () => server.inFlight() > 0 }))
    })
  )

  it.live("that fails breaks the connection off; with an event for that it ends well", () =>
    Effect.gen(function* () {
      const failing = Stream.concat(
        Stream.make({ data: "a" }),
        Stream.fromEffect(Effect.delay(Effect.fail("no"), "50 millis"))
      )
      const server = yield* serve(({ target }) =>
        NodeEvents.reply(failing, target === "/told" ? { onFailure: () => ({ event: "error", data: "" }) } : {})
      )
      const bare = yield* RawClient.connect(server.port)
      bare.write(request)
      yield* soon(bare.ended)
      expect(bare.text()).toMatch(/data: a\n\n\r\n$/)
      const told = yield* RawClient.connect(server.port)
      told.write(request.replace("/", "/told"))
      expect(yield* soon(told.until("\r\n0\r\n\r\n"))).toContain("event: error\ndata: \n\n")
    }).pipe(Effect.provide(Logger.layer([])))
  )
})
