import { describe, expect, it } from "@effect/vitest"
import { Deadline, Gate, Priority, Registry, Transport } from "@fairlead/core"
import { NodeTransport } from "@fairlead/platform-node"
import { Leaks, ScriptedUpstream } from "@fairlead/testing/node"
import { Effect, Exit, Fiber, References, Result, Scope } from "effect"
import type { LookupFunction } from "node:net"
import { inspect } from "node:util"
import { failure, get, rawServer, saying, scripted, soon, text, until } from "./calls.ts"

/** An exchange and all of its body. */
const fetch = (transport: Transport.Transport, origin: string, target = "/") =>
  Effect.scoped(Effect.flatMap(transport.exchange(origin, get(target)), ({ body }) => text(body)))

const gateNamed = (name: string) =>
  Effect.map(Registry.snapshot, (all) => {
    const found = all.find((one) => one.kind === "gate" && one.name === name)
    return found!.statistics as Gate.Statistics
  })

/** Nothing is wrong, nothing is held, nobody waits. */
const atRest = (transport: NodeTransport.NodeTransport) =>
  Effect.gen(function* () {
    const statistics = yield* transport.statistics
    expect(NodeTransport.check(statistics)).toEqual([])
    expect(statistics.sockets).toMatchObject({ busy: 0, connecting: 0, closing: 0 })
    expect([statistics.waiting, statistics.waitingForPlace]).toEqual([0, 0])
    const gate = yield* gateNamed(transport.name)
    expect(Gate.check(gate)).toEqual([])
    expect([gate.running, gate.waiting]).toEqual([0, 0])
  })

const settles = (transport: NodeTransport.NodeTransport) =>
  soon(
    Effect.repeat(Effect.andThen(Effect.sleep(2), transport.statistics), {
      until: ({ sockets }) => sockets.busy + sockets.connecting + sockets.closing === 0
    })
  )

describe("the pool", () => {
  it.live("opens no more sockets than it may, in all and to each origin, as the servers count", () =>
    Effect.gen(function* () {
      const answer = (received: ScriptedUpstream.Received) =>
        void setTimeout(() => {
          // All ways in which a connection ends, or goes on.
          if (received.target === "/reset") return received.reset()
          received.reply(200, received.target === "/close" ? ["Connection", "close"] : [], "ok")
        }, 1)
      const upstreams = yield* Effect.all([1, 2, 3].map(() => ScriptedUpstream.make({ answer })))
      const transport = yield* NodeTransport.make({ maxSockets: 7, perOrigin: 3 })
      let most = 0
      const watch = setInterval(() => {
        const open = upstreams.map((upstream) => upstream.connections())
        for (const each of open) expect(each).toBeLessThanOrEqual(3)
        most = Math.max(
          most,
          open.reduce((sum, each) => sum + each, 0)
        )
      }, 0)
      yield* Effect.forEach(
        Array.from({ length: 600 }, (_, i) => i),
        (i) => {
          const target = i % 7 === 0 ? "/reset" : i % 5 === 0 ? "/close" : "/"
          const call = Effect.asVoid(Effect.exit(fetch(transport, upstreams[i % 3]!.origin, target)))
          return i % 11 === 0 ? Effect.asVoid(Effect.timeoutOption(call, 1 + (i % 3))) : call
        },
        { concurrency: 100 }
      )
      clearInterval(watch)
      expect(most).toBeGreaterThan(4)
      expect(most).toBeLessThanOrEqual(7)
      yield* settles(transport)
      yield* atRest(transport)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("uses few connections again and again", () =>
    Effect.gen(function* () {
      const server = yield* saying((socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
      const transport = yield* NodeTransport.make({ maxSockets: 4 })
      const all = Array.from({ length: 400 }, () => fetch(transport, server.origin))
      yield* Effect.all(all, { concurrency: 50, discard: true })
      expect(server.seen.total).toBe(4)
      const { opened, reused } = yield* transport.statistics
      expect([opened, reused]).toEqual([4, 396])
    })
  )

  it.live("closes the idle connection used longest ago when another origin needs its place", () =>
    Effect.gen(function* () {
      const answer = (received: ScriptedUpstream.Received) => received.reply(200)
      const [a, b, c] = yield* Effect.all([
        ScriptedUpstream.make({ answer }),
        ScriptedUpstream.make({ answer }),
        ScriptedUpstream.make({ answer })
      ])
      const transport = yield* NodeTransport.make({ maxSockets: 2 })
      yield* fetch(transport, a.origin)
      yield* fetch(transport, b.origin)
      yield* fetch(transport, a.origin)
      yield* fetch(transport, c.origin)
      yield* until(() => b.connections() === 0)
      expect([a.connections(), c.connections()]).toEqual([1, 1])
      yield* atRest(transport)
    })
  )

  it.live("refuses who finds the line full, or has waited too long, and says so by type", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make({ name: "few", maxSockets: 1, maxWaiting: 1, maxWait: 50 })
      const running = yield* Effect.forkChild(fetch(transport, upstream.origin))
      const received = yield* upstream.next
      const { body, state } = scripted(5)
      const waiting = yield* Effect.forkChild(
        Effect.flip(transport.exchange(upstream.origin, { ...get("/"), method: "POST", body }))
      )
      yield* Effect.sleep(10)
      expect(yield* transport.statistics).toMatchObject({ waiting: 1, sockets: { busy: 1 } })
      const full = yield* Effect.flip(transport.exchange(upstream.origin, get("/")))
      expect(full).toMatchObject({ _tag: "Refused", gate: "few", reason: { _tag: "QueueFull", limit: 1 } })
      expect(yield* soon(Fiber.join(waiting))).toMatchObject({ _tag: "Refused", reason: { _tag: "WaitExceeded" } })
      expect(state.aborted).toBe(true)
      received.reply(200, [], "ok")
      expect(yield* Fiber.join(running)).toBe("ok")
      yield* atRest(transport)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("lets the most urgent go first, and knows when a deadline cannot be met", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make({ maxSockets: 1 })
      const first = yield* Effect.forkChild(fetch(transport, upstream.origin, "/first"))
      const received = yield* upstream.next
      const later = yield* Effect.forkChild(fetch(transport, upstream.origin, "/later").pipe(Priority.at(7)))
      yield* Effect.sleep(5)
      const urgent = yield* Effect.forkChild(fetch(transport, upstream.origin, "/urgent").pipe(Priority.at(0)))
      const late = yield* Effect.forkChild(Effect.result(Deadline.within(fetch(transport, upstream.origin), 30)))
      yield* Effect.sleep(5)
      expect(Result.isFailure(yield* soon(Fiber.join(late)))).toBe(true)
      received.reply(200)
      ;(yield* upstream.expect("GET", "/urgent")).reply(200)
      ;(yield* upstream.expect("GET", "/later")).reply(200)
      yield* Fiber.joinAll([first, later, urgent])
      yield* atRest(transport)
    })
  )

  it.live("gives a place back only when its socket has closed", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      const transport = yield* NodeTransport.make({ maxSockets: 1 })
      const cut = yield* Effect.forkChild(fetch(transport, upstream.origin))
      const received = yield* upstream.next
      const next = yield* Effect.forkChild(fetch(transport, upstream.origin))
      yield* Effect.sleep(5)
      yield* Fiber.interrupt(cut)
      const after = yield* soon(upstream.next)
      expect(after.at).toBeGreaterThan(0)
      yield* soon(received.closed)
      after.reply(200)
      yield* Fiber.join(next)
    })
  )

  it.live("is not filled by replies that are read, dropped, or left to their scope", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({
        answer: (received) => {
          received.head(200)
          received.write("x".repeat(100))
          if (received.target === "/end") received.end()
        }
      })
      const transport = yield* NodeTransport.make({ maxSockets: 1, maxWait: 500 })
      for (let i = 0; i < 5; i++) {
        yield* fetch(transport, upstream.origin, "/end")
        const reply = yield* transport.exchange(upstream.origin, get("/open"))
        reply.body.abort()
        yield* Effect.scoped(transport.exchange(upstream.origin, get("/open")))
      }
      yield* settles(transport)
      yield* atRest(transport)
    })
  )

  it.live("leaves nothing in a long-lived scope for an exchange that is over", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200, [], "ok") })
      const transport = yield* NodeTransport.make({ maxSockets: 2 })
      const scope = yield* Scope.make()
      for (let i = 0; i < 50; i++) yield* Scope.provide(transport.exchange(upstream.origin, get("/")), scope)
      const { state } = scope as unknown as { readonly state: { readonly finalizers?: Map<unknown, unknown> } }
      expect(state.finalizers?.size ?? 0).toBe(0)
      yield* Scope.close(scope, Exit.void)
    })
  )

  it.live("keeps nothing of an origin that is none, and repeats no credentials", () =>
    Effect.gen(function* () {
      for (const http2 of [false, true]) {
        const transport = yield* NodeTransport.make({ name: "odd", http2, perOrigin: 2 })
        const odd = [
          "http://a:secret@127.0.0.1:1",
          "https://secret@127.0.0.1:1",
          "https://127.0.0.1:1/secret",
          "//a:secret@"
        ]
        for (const origin of [...odd, "http://127.0.0.1:1?secret", "ftp://secret"]) {
          const error = yield* failure(transport.exchange(origin, get("/")))
          expect([error.kind, error.sent]).toEqual(["protocol", false])
          expect(inspect([error, yield* Registry.snapshot], { depth: 9 })).not.toContain("secret")
        }
        expect(yield* transport.statistics).toMatchObject({ originsInAll: 0, opened: 0 })
      }
    })
  )

  it.live("leaves nothing of 1,000 exchanges in flight that are interrupted", () =>
    Effect.gen(function* () {
      let requests = 0
      const server = yield* saying((socket) => {
        // A third waits for the head, a third for the rest of a short answer, a third streams.
        if (++requests % 3 === 1) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        if (requests % 3 === 2) socket.write("HTTP/1.1 200 OK\r\n\r\nabc")
      })
      const transport = yield* NodeTransport.make({ maxSockets: 600, firstByte: 5_000, idle: 5_000, total: 60_000 })
      const calls = Effect.all(
        Array.from({ length: 1_000 }, () => fetch(transport, server.origin)),
        { concurrency: "unbounded", discard: true }
      )
      const fiber = yield* Effect.forkChild(calls)
      yield* until(() => requests === 600, 10_000)
      expect((yield* transport.statistics).waiting).toBe(400)
      yield* Fiber.interrupt(fiber)
      yield* soon(settles(transport), 5_000)
      yield* until(() => server.sockets.size === 0, 5_000)
      yield* atRest(transport)
      expect(server.seen.most).toBe(600)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("passes on what it holds wherever an interrupt lands between the line and the last byte", () =>
    Effect.gen(function* () {
      const server = yield* saying((socket) => {
        socket.write("HTTP/1.1 200 OK\r\n")
        setImmediate(() => {
          socket.write("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
          setImmediate(() => socket.write("0\r\n\r\n"))
        })
      })
      const other = yield* saying((socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
      const transport = yield* NodeTransport.make({ maxSockets: 1, maxWait: 2_000 })
      const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
      let ended = 0
      for (const origin of [server.origin, other.origin]) {
        for (let turns = 0; turns < 14; turns++) {
          for (const ops of [3, 2_048]) {
            // One that holds, one that is interrupted, one that comes behind it.
            const holder = yield* Effect.forkChild(fetch(transport, server.origin))
            if (turns % 2 === 0) yield* Fiber.join(holder)
            const struck = yield* Effect.forkChild(
              Effect.provideService(fetch(transport, origin), References.MaxOpsBeforeYield, ops),
              { startImmediately: true }
            )
            const behind = yield* Effect.forkChild(fetch(transport, server.origin))
            for (let i = 0; i < turns; i++) yield* turn
            if (struck.pollUnsafe() !== undefined) ended++
            yield* Fiber.interrupt(struck)
            expect(yield* soon(Fiber.join(behind), 2_000)).toBe("abc")
            yield* Fiber.join(holder)
          }
        }
      }
      expect(ended).toBeGreaterThan(0)
      expect([server.seen.most, other.seen.most]).toEqual([1, 1])
      yield* settles(transport)
      yield* atRest(transport)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("gets a permit back whose holder is interrupted before it has a connection", () =>
    Effect.gen(function* () {
      const server = yield* saying((socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
      const transport = yield* NodeTransport.make({ maxSockets: 1 })
      for (let ops = 3; ops < 30; ops++) {
        for (let turns = 0; turns < 6; turns++) {
          const struck = yield* Effect.forkChild(
            Effect.provideService(fetch(transport, server.origin), References.MaxOpsBeforeYield, ops),
            { startImmediately: true }
          )
          for (let i = 0; i < turns; i++) yield* Effect.yieldNow
          yield* Fiber.interrupt(struck)
        }
      }
      yield* settles(transport)
      yield* atRest(transport)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("lets those in flight end while the grace lasts, and then cuts", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({
        answer: (received) => {
          if (received.target === "/slow") setTimeout(() => received.reply(200, [], "late"), 60)
          if (received.target === "/idle") received.reply(200)
        }
      })
      const scope = yield* Scope.make()
      const transport = yield* Scope.provide(NodeTransport.make({ maxSockets: 3, grace: 200 }), scope)
      yield* fetch(transport, upstream.origin, "/idle")
      const idle = upstream.received[0]!
      const slow = yield* Effect.forkChild(fetch(transport, upstream.origin, "/slow"), { startImmediately: true })
      const stuck = yield* Effect.forkChild(failure(transport.exchange(upstream.origin, get("/stuck"))), {
        startImmediately: true
      })
      const third = yield* Effect.forkChild(fetch(transport, upstream.origin, "/slow"), { startImmediately: true })
      const waiting = yield* Effect.forkChild(Effect.flip(transport.exchange(upstream.origin, get("/waiting"))), {
        startImmediately: true
      })
      yield* until(() => upstream.received.length === 4)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      expect(yield* soon(Fiber.join(waiting))).toMatchObject({ _tag: "Refused", reason: { _tag: "ShuttingDown" } })
      const late = yield* failure(transport.exchange(upstream.origin, get("/late")))
      expect([late.kind, late.sent]).toEqual(["closed", false])
      expect(yield* soon(Fiber.join(slow))).toBe("late")
      expect(yield* soon(Fiber.join(third))).toBe("late")
      expect(closing.pollUnsafe()).toBe(undefined)
      expect((yield* soon(Fiber.join(stuck))).kind).toBe("closed")
      yield* soon(Fiber.join(closing))
      expect(upstream.connections()).toBe(0)
      yield* soon(idle.closed)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("ends idle connections orderly", () =>
    Effect.gen(function* () {
      const errors: Array<Error> = []
      let ended = 0
      const server = yield* rawServer((socket) => {
        socket.on("error", (error) => errors.push(error)).on("end", () => ended++)
        socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
      })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const transport = yield* NodeTransport.make()
          yield* Effect.all([fetch(transport, server.origin), fetch(transport, server.origin)], { concurrency: 2 })
        })
      )
      yield* until(() => ended === 2)
      expect(errors).toEqual([])
    })
  )

  it.live("looks a name up once for many connections, and tries each of its addresses", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200, [], "ok") })
      const asked: Array<string> = []
      // Nobody listens at the first.
      const addresses = [
        { address: "127.0.0.2", family: 4 },
        { address: "127.0.0.1", family: 4 }
      ]
      const lookup: LookupFunction = (hostname, _, answer) => {
        asked.push(hostname)
        setTimeout(() => answer(null, addresses), 10)
      }
      const run = (options: NodeTransport.Options) =>
        Effect.scoped(
          Effect.gen(function* () {
            const transport = yield* NodeTransport.make(options)
            const call = fetch(transport, `http://service.test:${upstream.port}`)
            expect(new Set(yield* Effect.all([call, call, call], { concurrency: 3 }))).toEqual(new Set(["ok"]))
            expect((yield* transport.statistics).opened).toBe(3)
            return asked.splice(0).length
          })
        )
      expect(yield* run({ dns: { lookup } })).toBe(1)
      expect(yield* run({ dns: { lookup, ttl: 0, maxItems: 0 } })).toBe(1)
      const unknown = yield* NodeTransport.make({ dns: false })
      expect((yield* failure(unknown.exchange("http://service.invalid", get("/")))).kind).toBe("dns")
    })
  )

  it.live("shows itself in the registry, unbounded or not", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make()
      yield* NodeTransport.make({ name: "b", maxSockets: "unbounded" })
      const transport = yield* NodeTransport.make({ name: "a", perOrigin: 5 })
      const fiber = yield* Effect.forkChild(fetch(transport, upstream.origin))
      const received = yield* upstream.next
      const pools = (yield* Registry.snapshot).filter(({ kind }) => kind === "pool")
      const [b, a] = pools.map(({ statistics }) => statistics as NodeTransport.Statistics)
      expect(b).toMatchObject({ name: "b", maxSockets: null, perOrigin: null, origins: [] })
      expect(a).toEqual({
        name: "a",
        maxSockets: 1_024,
        perOrigin: 5,
        sockets: { connecting: 0, busy: 1, idle: 0, closing: 0 },
        byProtocol: { "http/1.1": 1, h2: 0 },
        origins: [{ origin: upstream.origin, connecting: 0, busy: 1, idle: 0, closing: 0 }],
        originsInAll: 1,
        waiting: 0,
        waitingForPlace: 0,
        opened: 1,
        closed: 0,
        reused: 0
      })
      expect(NodeTransport.check({ ...a!, maxSockets: 0 })).toEqual(["a: expected at most 0 sockets, got 1"])
      received.reply(200, [], "ok")
      yield* Fiber.join(fiber)
      expect((yield* transport.statistics).sockets).toMatchObject({ busy: 0, idle: 1 })
      // What has no bound has no line either.
      const gates = (yield* Registry.snapshot).filter(({ kind }) => kind === "gate").map(({ name }) => name)
      expect(gates).toEqual(["a"])
    })
  )

  it.live("is the program's transport by a layer", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({ answer: (received) => received.reply(200, [], "ok") })
      const program = Effect.gen(function* () {
        const transport = yield* Transport.Transport
        return yield* fetch(transport, upstream.origin)
      })
      expect(yield* Effect.provide(program, NodeTransport.layer({ maxSockets: 1 }))).toBe("ok")
      yield* until(() => upstream.connections() === 0)
    })
  )
})

describe("misuse", () => {
  it.live("dies of bounds that are none", () =>
    Effect.gen(function* () {
      const sockets = [{ maxSockets: 0 }, { maxSockets: 1.5 }, { perOrigin: -1 }, { maxSockets: Infinity }]
      const others = [{ firstByte: -1 }, { connect: -1 }, { maxBytes: -1 }, { maxBytes: NaN }, { wholeBytes: -1 }]
      for (const options of [...sockets, ...others]) {
        expect(Exit.hasDies(yield* Effect.exit(NodeTransport.make(options)))).toBe(true)
      }
    })
  )
})
