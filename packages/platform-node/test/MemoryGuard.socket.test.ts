import { describe, expect, it } from "@effect/vitest"
import { ByteBudget, Pressure, Transport } from "@fairlead/core"
import { MemoryGuard, NodeHttp, NodeTransport } from "@fairlead/platform-node"
import { Leaks, ScriptedUpstream } from "@fairlead/testing/node"
import { Deferred, Effect, Exit, Fiber } from "effect"
import type { Scope } from "effect"
import * as http from "node:http"
import * as http2 from "node:http2"
import * as net from "node:net"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as readings from "../src/internal/readings.ts"
import { get, text, until as soonUntil } from "./calls.ts"
import * as secure from "./secure.ts"

/** On a loaded machine. */
const until = (holds: () => boolean) => soonUntil(holds, 20_000)

/** Collects all garbage. */
const collect = (): void => {
  setFlagsFromString("--expose-gc")
  ;(runInNewContext("gc") as () => void)()
}

describe("the readings of this process", () => {
  it.live("tell of collections, and of which are of all of the heap", () =>
    Effect.gen(function* () {
      const seen: Array<boolean> = []
      const end = readings.ofProcess().onCollection((major) => void seen.push(major))
      collect()
      yield* until(() => seen.includes(true))
      end()
      const before = seen.length
      collect()
      yield* Effect.sleep(20)
      expect(seen.length).toBe(before)
    })
  )

  it.live("a guard that watches it is calm, and leaves nothing behind", () =>
    Effect.gen(function* () {
      const guard = yield* MemoryGuard.make({ budget: "1 MiB" })
      collect()
      yield* Effect.sleep(20)
      const { heapLiveBytes, heapUsedBytes, level } = yield* guard.statistics
      expect(level).toBe("calm")
      expect(heapLiveBytes).toBeLessThanOrEqual(heapUsedBytes)
    }).pipe(Leaks.expectNoLeaks())
  )
})

const fetch = (transport: Transport.Transport, origin: string) =>
  Effect.scoped(Effect.flatMap(transport.exchange(origin, get("/")), ({ body }) => text(body)))

describe("a transport under pressure", () => {
  it.live("closes idle connections, keeps fewer, and as many as before when it is calm", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const pressure = Pressure.make("memory")
      for (const maxSockets of [8, "unbounded"] as const) {
        const transport = yield* Effect.provideService(NodeTransport.make({ maxSockets }), Pressure.Pressure, pressure)
        const three = Effect.gen(function* () {
          const calls = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(fetch(transport, upstream.origin)))
          const received = yield* Effect.all([upstream.next, upstream.next, upstream.next])
          for (const one of received) one.reply(200)
          yield* Fiber.joinAll(calls)
        })
        const idle = Effect.map(transport.statistics, ({ sockets }) => sockets.idle)
        const settled = (open: number) => until(() => upstream.connections() === open)
        yield* three
        expect(yield* idle).toBe(3)
        pressure.set("tight")
        yield* settled(1)
        yield* three
        yield* settled(1)
        expect(yield* idle).toBe(1)
        pressure.set("critical")
        yield* settled(0)
        yield* three
        yield* settled(0)
        pressure.set("calm")
        yield* three
        expect([yield* idle, upstream.connections()]).toEqual([3, 3])
        pressure.set("critical")
        yield* settled(0)
        expect(NodeTransport.check(yield* transport.statistics)).toEqual([])
        pressure.set("calm")
      }
    }).pipe(Leaks.expectNoLeaks())
  )
})

describe("answers that are taken in whole", () => {
  it.live("draw their length until they are, however they end; those without room stream", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const budget = yield* ByteBudget.make("bytes", { max: 1600 })
      const used = Effect.map(budget.statistics, ({ usedBytes }) => usedBytes)
      const transport = yield* Effect.provideService(NodeTransport.make(), ByteBudget.ByteBudget, budget)
      const half = Effect.gen(function* () {
        const call = yield* Effect.forkChild(Effect.exit(fetch(transport, upstream.origin)))
        const received = yield* upstream.next
        received.head(200, ["Content-Length", "1000"])
        received.write("x".repeat(500))
        yield* until(() => Effect.runSync(used) === 1000)
        return { call, received }
      })
      const whole = yield* half
      whole.received.write("x".repeat(500))
      whole.received.end()
      expect(yield* Fiber.join(whole.call)).toEqual(Exit.succeed("x".repeat(1000)))
      expect(yield* used).toBe(0)
      const broken = yield* half
      broken.received.reset()
      expect((yield* Fiber.join(broken.call))._tag).toBe("Failure")
      expect(yield* used).toBe(0)
      const left = yield* half
      yield* Fiber.interrupt(left.call)
      expect(yield* used).toBe(0)
      budget.takeUnsafe(1000)
      const call = yield* Effect.forkChild(
        Effect.scoped(
          Effect.flatMap(transport.exchange(upstream.origin, get("/")), ({ body }) =>
            Effect.map(text(body), (text) => [body.bytes, text.length])
          )
        )
      )
      ;(yield* upstream.next).reply(200, [], "x".repeat(1000))
      expect(yield* Fiber.join(call)).toEqual([undefined, 1000])
      expect(yield* used).toBe(1000)
      budget.giveUnsafe(1000)
      expect(ByteBudget.check(yield* budget.statistics)).toEqual([])
    }).pipe(Leaks.expectNoLeaks())
  )
})

describe("answers that wait for their client", () => {
  const serving = <A>(
    body: (budget: ByteBudget.ByteBudget, used: () => number) => Effect.Effect<A, unknown, Scope.Scope>
  ) =>
    Effect.gen(function* () {
      const budget = yield* ByteBudget.make("bytes", { max: "64 MiB" })
      const used = () => Effect.runSync(budget.statistics).usedBytes
      yield* Effect.provideService(Effect.scoped(body(budget, used)), ByteBudget.ByteBudget, budget)
      yield* until(() => used() === 0)
      expect(ByteBudget.check(yield* budget.statistics)).toEqual([])
    })

  const large = Buffer.alloc(24 * 1024 * 1024)
  const handler: NodeHttp.Handler<never> = ({ target }) =>
    Effect.succeed({ status: 200, headers: [], body: target === "/" ? Transport.text("ok") : Transport.bytes(large) })

  it.live("are drawn as far as no socket has taken them, until it has, or has closed", () =>
    serving((_, used) =>
      Effect.gen(function* () {
        const { port } = yield* NodeHttp.serve(handler, { port: 0, drain: 0 })
        const slow = () =>
          Effect.callback<http.IncomingMessage>((resume) => {
            const options = { port, path: "/large", agent: false }
            http.get(options, (response) => resume(Effect.succeed(response.pause()))).on("error", () => {})
          })
        const one = yield* slow()
        expect(used()).toBeGreaterThan(large.length / 4)
        one.on("error", () => {}).destroy()
        yield* until(() => used() === 0)
        const other = yield* slow()
        expect(used()).toBeGreaterThan(large.length / 4)
        other.resume()
        yield* until(() => used() === 0)
      })
    ).pipe(Leaks.expectNoLeaks())
  )

  it.live(
    "are drawn while they wait for the answer to a call before, until that has come, or the client has left",
    () =>
      serving((_, used) =>
        Effect.gen(function* () {
          const first = Deferred.makeUnsafe<void>()
          const held: NodeHttp.Handler<never> = (request, region) =>
            request.target === "/held"
              ? Effect.as(Deferred.await(first), { status: 200, headers: [], body: Transport.text("ok") })
              : handler(request, region)
          const { port } = yield* NodeHttp.serve(held, { port: 0, drain: 0 })
          const call = (path: string) => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`
          const ahead = () => net.connect(port, "127.0.0.1").on("error", () => {})
          const leaves = ahead()
          leaves.write(call("/held") + call("/large"))
          yield* until(() => used() >= large.length)
          leaves.destroy()
          yield* until(() => used() === 0)
          const stays = ahead()
          stays.write(call("/held") + call("/large"))
          yield* until(() => used() >= large.length)
          yield* Deferred.succeed(first, undefined)
          stays.resume()
          yield* until(() => used() === 0)
          stays.destroy()
        })
      ).pipe(Leaks.expectNoLeaks())
  )

  it.live("are drawn by streams of HTTP/2, too", () =>
    serving((_, used) =>
      Effect.gen(function* () {
        const server = yield* secure.serve(handler)
        const session = yield* secure.connect(server)
        const slow = session.request({ ":path": "/large" })
        yield* until(() => used() === large.length)
        slow.on("error", () => {}).close(http2.constants.NGHTTP2_CANCEL)
        yield* until(() => used() === 0)
        const quick = session.request({ ":path": "/large" }).resume()
        yield* until(() => used() === large.length)
        yield* until(() => used() === 0)
        quick.close()
      })
    )
  )
})
