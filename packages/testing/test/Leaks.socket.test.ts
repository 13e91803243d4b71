import { describe, expect, it } from "@effect/vitest"
import { Leaks, RawClient, ScriptedUpstream } from "@fairlead/testing/node"
import { Cause, Effect, Exit } from "effect"
import type { Scope } from "effect"
import { spawn } from "node:child_process"
import { EventEmitter, once } from "node:events"
import * as net from "node:net"

const leaks = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>, options: Leaks.Options = {}) =>
  Effect.map(Effect.exit(Leaks.expectNoLeaks(effect, { within: "50 millis", ...options })), (exit) => {
    const error = Exit.isFailure(exit) && Cause.squash(exit.cause)
    if (error instanceof Leaks.LeaksFound) return error.left
    return Exit.isSuccess(exit) ? [] : [String(exit.cause)]
  })

describe("Leaks.expectNoLeaks of node", () => {
  it.live("finds nothing where server, client, child and timer are gone, and waits until they are", () =>
    Effect.gen(function* () {
      const program = Effect.gen(function* () {
        const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200, [], "hello") })
        const client = yield* RawClient.connect(upstream.port)
        client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        yield* client.until("hello")
        yield* Effect.acquireRelease(
          Effect.sync(() => spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"])),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        yield* Effect.timeoutOption(Effect.never, "5 millis")
      })
      yield* Leaks.expectNoLeaks(program)
    })
  )

  it.live("finds a timer that was forgotten", () =>
    Effect.gen(function* () {
      let timer: NodeJS.Timeout | undefined
      expect(yield* leaks(Effect.sync(() => (timer = setTimeout(() => {}, 60_000))))).toEqual([
        expect.stringMatching(/^1 timer, made at .*Leaks\.socket\.test\.ts:\d+:\d+$/)
      ])
      clearTimeout(timer)
    })
  )

  it.live("finds a fiber, and the timer that its sleep is", () =>
    Effect.gen(function* () {
      const left = yield* leaks(Effect.forkDetach(Effect.withSpan(Effect.sleep("200 millis"), "cron")))
      expect(left).toEqual([expect.stringMatching(/^fiber 2, in "cron"/), "1 timer"])
      yield* Effect.sleep("250 millis")
    })
  )

  it.live("finds a server that listens, and both ends of a connection", () =>
    Effect.gen(function* () {
      const server = net.createServer()
      const sockets: Array<net.Socket> = []
      server.on("connection", (socket) => sockets.push(socket))
      const left = yield* leaks(
        Effect.promise(async () => {
          await once(server.listen(0, "127.0.0.1"), "listening")
          const client = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1")
          sockets.push(client)
          await Promise.all([once(client, "connect"), once(server, "connection")])
        })
      )
      expect(left.map((line) => line.replace(/, made.*/, "")).toSorted()).toEqual([
        "1 listening server",
        "1 socket",
        "1 socket"
      ])
      for (const socket of sockets) socket.destroy()
      yield* Effect.promise(() => once(server.close(), "close"))
    })
  )

  it.live("finds a child process", () =>
    Effect.gen(function* () {
      let spawned: ReturnType<typeof spawn> | undefined
      const left = yield* leaks(
        Effect.sync(() => {
          spawned = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" })
        })
      )
      expect(left).toEqual([expect.stringMatching(/^1 child process, made at/)])
      spawned!.kill("SIGKILL")
      yield* Effect.promise(() => once(spawned!, "exit"))
    })
  )

  it.live("finds a listener of process, of an emitter and of an AbortSignal", () =>
    Effect.gen(function* () {
      const listener = () => {}
      const emitter = new EventEmitter().on("data", listener)
      const { signal } = new AbortController()
      const program = Effect.sync(() => {
        process.on("SIGUSR2", listener)
        emitter.on("data", listener).on("end", listener)
        signal.addEventListener("abort", listener)
      })
      expect(yield* leaks(program, { watch: [emitter, signal] })).toEqual([
        "1 listener for SIGUSR2 on process",
        "1 listener for data on a EventEmitter",
        "1 listener for end on a EventEmitter",
        "1 listener for abort on an AbortSignal"
      ])
      process.removeListener("SIGUSR2", listener)
    })
  )
})
