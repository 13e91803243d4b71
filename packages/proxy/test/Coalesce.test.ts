import { describe, expect, it } from "@effect/vitest"
import { Coalesce as Core, Deadline, Reason, Registry, Transport } from "@fairlead/core"
import type { NodeHttp } from "@fairlead/platform-node"
import { Simulation, Sweep } from "@fairlead/testing"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Facts } from "../src/Call.ts"
import type { Call } from "../src/Call.ts"
import * as Headers from "../src/Headers.ts"
import * as Coalesce from "../src/stages/Coalesce.ts"
import * as Proxied from "./proxied.ts"
import type { Asked } from "./proxied.ts"

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })
/** Lets everything go on that can, microtasks too. */
const settle = Effect.replicateEffect(
  Effect.andThen(
    Effect.promise(() => Promise.resolve()),
    TestClock.adjust(0)
  ),
  10,
  {
    discard: true
  }
)

/** A call as the stage before would hand it on. */
const callIn = (region: Deadline.Region): Call => {
  const request: NodeHttp.Request = {
    method: "GET",
    target: "/up/x",
    headers: [],
    body: Transport.empty,
    remoteAddress: "127.0.0.1",
    scheme: "http",
    expectsContinue: false,
    continue: () => {},
    inform: () => {},
    progress: { status: undefined, bytes: 0, received: 0, end: "open" },
    observer: undefined
  }
  const received = Headers.read([])
  const facts = new Facts("id-1", request, received)
  return { request, received, region, target: "/x", headers: [], body: request.body, onSent: () => {}, facts }
}

const make = (lines = "coalesce: true") =>
  Effect.gen(function* () {
    const { exchange, exchanges } = Proxied.upstream()
    return { exchanges, ...(yield* Proxied.make(lines, exchange)) }
  })

/** Two calls that come one after the other, and whether they share one. */
const shares = (first: Asked, second: Asked, lines?: string) =>
  Effect.gen(function* () {
    const { ask, exchanges } = yield* make(lines)
    const fibers = [yield* fork(ask(first)), yield* fork(ask(second))]
    for (const { reply } of exchanges) yield* reply({})
    yield* Effect.forEach(fibers, Fiber.join)
    return exchanges.length === 1
  })

describe("Coalesce, which calls", () => {
  const headers = (...headers: ReadonlyArray<string>): Asked => ({ headers })

  it.effect.each([
    ["those that are the same to the last letter", {}, {}],
    ["HEAD", { method: "HEAD" }, { method: "HEAD" }],
    ["whatever their trace", headers("traceparent", "00-a"), headers("TraceParent", "00-b", "tracestate", "x")],
    ["whatever their id", headers("X-Request-Id", "1"), headers("x-correlation-id", "2")],
    ["whatever their urgency", headers("Priority", "u=1"), headers("Priority", "u=7, i")],
    ["however long they wait", headers("Prefer", "wait=10"), headers("X-Request-Timeout-Ms", "50000")],
    ["of one user", headers("Authorization", "Bearer a"), headers("authorization", "Bearer a")]
  ] as const)("are one: %s", ([, first, second]) =>
    Effect.gen(function* () {
      expect(yield* shares(first, second)).toBe(true)
    })
  )

  it.effect.each([
    ["of another target", { target: "/up/x?a" }, { target: "/up/x?b" }],
    ["of another method", { method: "GET" }, { method: "HEAD" }],
    ["that change something", { method: "PUT" }, { method: "PUT" }],
    ["with a body", { body: Transport.text("x") }, { body: Transport.text("x") }],
    ["of another user", headers("Authorization", "Bearer a"), headers("Authorization", "Bearer b")],
    ["of another session", headers("Cookie", "id=a"), {}],
    ["that take another form", headers("Accept", "text/html"), headers("Accept", "application/json")],
    ["that prefer another form", headers("Prefer", "return=minimal"), headers("Prefer", "wait=1")],
    ["of another part", headers("Range", "bytes=0-1"), headers("Range", "bytes=2-3")],
    ["that want an answer made for them", headers("Cache-Control", "no-cache"), headers("Cache-Control", "no-cache")],
    ["likewise, as in HTTP/1.0", headers("Pragma", "no-cache"), headers("Pragma", "no-cache")],
    ["with a doubled field", headers("X-A", "1"), headers("X-A", "1", "X-A", "1")]
  ] as const)("are two: %s", ([, first, second]) =>
    Effect.gen(function* () {
      expect(yield* shares(first, second)).toBe(false)
    })
  )

  it.effect("are one where the config says that a header selects nothing, or sets it itself", () =>
    Effect.gen(function* () {
      const agents = [headers("User-Agent", "a", "X-Key", "1"), headers("user_agent", "b", "X-Key", "2")] as const
      expect(yield* shares(...agents, "coalesce: { ignore: [User-Agent] }, headers: { x-key: k }")).toBe(true)
      expect(yield* shares(...agents, "coalesce: { ignore: [User-Agent] }")).toBe(false)
      expect(yield* shares(...agents, "headers: { x-key: k }")).toBe(false)
    })
  )

  it.effect("are each for itself unless the config says so", () =>
    Effect.gen(function* () {
      expect(yield* shares({}, {}, "concurrency: 5")).toBe(false)
      expect(yield* shares({}, {}, "coalesce: false")).toBe(false)
    })
  )
})

describe("Coalesce, the run", () => {
  it.effect("has nothing of the first caller's: neither trace nor id nor time, and informs nobody", () =>
    Effect.gen(function* () {
      const { ask, exchanges } = yield* make()
      const told: Array<string> = []
      const fiber = yield* fork(
        ask({
          told,
          headers: ["X-Request-Id", "1", "Accept", "*/*", "X-Request-Timeout-Ms", "5000", "Priority", "u=1"]
        })
      )
      const { headers } = exchanges[0]!.request
      expect(headers.slice(0, 2)).toEqual(["Accept", "*/*"])
      expect(headers.filter((_, i) => i % 2 === 0)).toEqual(["Accept", "Via"])
      yield* exchanges[0]!.reply({})
      yield* Fiber.join(fiber)
      expect(told).toEqual([])
    })
  )

  it.effect("each gets the whole answer under a head of its own, and those who joined are told so", () =>
    Effect.gen(function* () {
      const { ask, exchanges, log } = yield* make()
      const first = yield* fork(ask())
      const second = yield* fork(ask({ headers: ["Prefer", "wait=9"] }))
      const body = Proxied.streaming(["hel", "lo"])
      yield* exchanges[0]!.reply({ headers: ["Cache-Status", "edge; hit", "Server-Timing", "db;dur=1"], body })
      const [a, b] = [yield* Fiber.join(first), yield* Fiber.join(second)]
      expect([a.body, b.body]).toEqual(["hello", "hello"])
      expect(a.header("cache-status")).toBe("edge; hit")
      expect(b.header("cache-status")).toBe("edge; hit, fairlead; fwd=miss; collapsed")
      expect(a.header("server-timing")).toMatch(/^db;dur=1, queue;dur=[\d.]+, ttfb;dur=[\d.]+$/)
      expect(b.header("server-timing")).toMatch(/^db;dur=1, coalesced, queue;dur=0, ttfb;dur=[\d.]+$/)
      expect([a.header("preference-applied"), b.header("preference-applied")]).toEqual([undefined, "wait=9"])
      expect(log).toMatchObject([
        { status: 500, queueMillis: 0, notes: undefined },
        { queueMillis: 0, notes: ["coalesced"] }
      ])
      expect(log.every(({ ttfbMillis }) => ttfbMillis !== undefined)).toBe(true)
      expect(exchanges[0]!.closed).toBe(true)
    })
  )

  it.effect("one who leaves harms nobody; the last to leave cuts the run and its connection", () =>
    Effect.gen(function* () {
      const { ask, exchanges } = yield* make()
      const fibers = [yield* fork(ask()), yield* fork(ask()), yield* fork(ask())]
      yield* Fiber.interrupt(fibers[0]!)
      yield* Fiber.interrupt(fibers[1]!)
      expect(exchanges.map(({ cut }) => cut)).toEqual([false])
      yield* Fiber.interrupt(fibers[2]!)
      expect(exchanges.map(({ closed, cut }) => [cut, closed])).toEqual([[true, true]])
      const anew = yield* fork(ask())
      yield* exchanges[1]!.reply({ status: 204 })
      expect((yield* Fiber.join(anew)).status).toBe(204)
    })
  )

  it.effect("one whose time is over is told, truly whether it was sent, and the run goes on for the other", () =>
    Effect.gen(function* () {
      const { ask, exchanges, log } = yield* make("coalesce: true, concurrency: 1")
      const late = [
        yield* fork(ask({ headers: ["X-Request-Timeout-Ms", "1000"] })),
        yield* fork(ask({ headers: ["X-Request-Timeout-Ms", "900"] }))
      ]
      const patient = yield* fork(ask({ headers: ["X-Request-Timeout-Ms", "5000"] }))
      yield* TestClock.adjust("1 second")
      for (const fiber of late) {
        const { body, status } = yield* Fiber.join(fiber)
        expect([status, JSON.parse(body).sent]).toEqual([504, true])
      }
      expect(exchanges[0]!.cut).toBe(false)
      yield* exchanges[0]!.reply({ status: 201 })
      expect((yield* Fiber.join(patient)).status).toBe(201)
      expect(log.length).toBe(3)
    })
  )

  it.effect("is as urgent as the most urgent who waits for it, in the line", () =>
    Effect.gen(function* () {
      const { ask, exchanges } = yield* make("coalesce: true, concurrency: 1, shares: strict")
      const order = Effect.sync(() => exchanges.map(({ request }) => request.target))
      const at = (urgency: number, target: string, method = "GET") =>
        fork(ask({ method, target, headers: ["Priority", `u=${urgency}`] }))
      const fibers = [yield* at(3, "/up/first"), yield* at(6, "/up/shared"), yield* at(2, "/up/other", "POST")]
      fibers.push(yield* at(1, "/up/shared"))
      for (let i = 0; i < 3; i++) {
        yield* exchanges[i]!.reply({})
        yield* settle
      }
      yield* Effect.forEach(fibers, Fiber.join)
      expect(yield* order).toEqual(["/first", "/shared", "/other"])
    })
  )

  it.effect("one waits for its turn no longer than it said, and for the answer as long as that takes", () =>
    Effect.gen(function* () {
      const { ask, exchanges } = yield* make("coalesce: true, concurrency: 1")
      const first = yield* fork(ask({ target: "/up/first" }))
      const waiting = yield* fork(ask())
      const brief = yield* fork(ask({ headers: ["Prefer", "wait=2"] }))
      const long = yield* fork(ask({ headers: ["Prefer", "wait=5"] }))
      yield* TestClock.adjust("2 seconds")
      const refused = yield* Fiber.join(brief)
      expect([refused.status, JSON.parse(refused.body).error.code]).toEqual([503, "wait-exceeded"])
      yield* exchanges[0]!.reply({})
      yield* settle
      yield* TestClock.adjust("10 seconds")
      yield* exchanges[1]!.reply({ status: 206 })
      expect((yield* Effect.forEach([first, waiting, long], Fiber.join)).map(({ status }) => status)).toEqual([
        200, 206, 206
      ])
    })
  )

  it.effect("what fails, fails for all who wait, and what was refused", () =>
    Effect.gen(function* () {
      const { ask, exchanges } = yield* make("coalesce: true, concurrency: 1, queue: { items: 0 }")
      const broken = [yield* fork(ask()), yield* fork(ask())]
      expect((yield* ask({ target: "/up/y" })).status).toBe(429)
      yield* exchanges[0]!.fail("reset")
      for (const fiber of broken) {
        const answer = yield* Fiber.join(fiber)
        expect([answer.status, JSON.parse(answer.body).sent]).toEqual([502, true])
      }
      const brokenOff = [yield* fork(ask()), yield* fork(ask())]
      const pipeTo = () => Effect.fail(new Transport.BodyFailed({ kind: "incomplete", cause: undefined }))
      yield* exchanges[1]!.reply({ body: { length: undefined, bytes: undefined, pipeTo, abort: () => {} } })
      for (const fiber of brokenOff) {
        expect(JSON.parse((yield* Fiber.join(fiber)).body).error.code).toBe("upstream-broken")
      }
    })
  )

  it.effect("knows why it is cut, in every stage behind", () =>
    Effect.gen(function* () {
      const reasons: Array<string | undefined> = []
      const stage = yield* Coalesce.make({ name: "up", maxBytes: 10, ignore: [], budget: undefined })
      const handler = stage(({ facts, region }) => {
        expect([facts.request.inform(102, []), facts.request.continue(), facts.log]).toEqual(Array(3).fill(undefined))
        return Effect.onExit(Effect.never, () => Effect.sync(() => reasons.push(region.reasonInForce?._tag)))
      })
      const asked = (f: (region: Deadline.Region) => void) =>
        fork(
          Effect.exit(
            Deadline.region((region) => {
              f(region)
              return Effect.scoped(handler(callIn(region)))
            })
          )
        )
      let left: Deadline.Region | undefined
      const leaving = yield* asked((region) => (left = region))
      const late = yield* asked((region) => region.narrowUnsafe(2000))
      left!.cut(new Reason.ClientGone())
      yield* TestClock.adjust("2 seconds")
      yield* Effect.forEach([leaving, late], Fiber.join)
      const alone = yield* asked((region) => (left = region))
      left!.cut(new Reason.ClientGone())
      yield* Fiber.join(alone)
      expect(reasons).toEqual(["Deadline", "ClientGone"])
    })
  )
})

describe("Coalesce, which answers", () => {
  /** Three calls of one kind: what they get where the first exchange is answered so, and how many exchanges it took. */
  const asked = (reply: Partial<Transport.Reply>, lines?: string) =>
    Effect.gen(function* () {
      const { ask, exchanges } = yield* make(lines)
      const fibers = [yield* fork(ask()), yield* fork(ask()), yield* fork(ask())]
      yield* exchanges[0]!.reply({ body: Transport.text("first"), ...reply })
      yield* settle
      for (const { reply } of exchanges.slice(1)) yield* reply({ body: Transport.text("own") })
      const bodies = (yield* Effect.forEach(fibers, Fiber.join)).map(({ body }) => body)
      return { bodies, exchanges, ask }
    })
  const one = ["first", "first", "first"]

  it.effect.each([
    ["a plain one", []],
    ["one for this user alone", ["Cache-Control", "private, max-age=60"]],
    ["one that varies by what the calls have in common", ["Vary", "Accept, Authorization"]],
    ["one that lives for a while", ["Cache-Control", "max-age=01, s-maxage=10"]]
  ] as const)("go to all: %s", ([, headers]) =>
    Effect.gen(function* () {
      const { bodies, exchanges } = yield* asked({ headers })
      expect([bodies, exchanges.length]).toEqual([one, 1])
    })
  )

  it.effect.each([
    ["that sets a cookie", ["Set-Cookie", "id=1"]],
    ["that may not be stored", ["Cache-Control", "private, No-Store"]],
    ["that is to be asked for anew", ["Cache-Control", "no-cache"]],
    ["that is old at once", ["Cache-Control", "max-age=0, must-revalidate"]],
    ["that varies by what nobody knows", ["Vary", "Accept, *"]],
    ["that is a stream of events which has ended", ["Content-Type", "text/event-stream"]]
  ] as const)("go to one alone, and the others ask for theirs: one %s", ([, headers]) =>
    Effect.gen(function* () {
      const { bodies, exchanges } = yield* asked({ headers })
      expect([bodies.toSorted(), exchanges.length]).toEqual([["first", "own", "own"], 3])
    })
  )

  it.effect("are cut as soon as they are known to be too long, or a stream; each asks by itself then", () =>
    Effect.gen(function* () {
      const lines = "coalesce: { maxBytes: 10 B }"
      const own = ["own", "own", "own"]
      const bodies = [
        [Proxied.streaming(["never read"], 11), []],
        [Proxied.streaming(["data: 1"]), ["Content-Type", "text/event-stream; charset=utf-8"]],
        [Proxied.streaming(["never read"], 5), ["Set-Cookie", "id=1"]]
      ] as const
      for (const [body, headers] of bodies) {
        const { bodies, exchanges } = yield* asked({ headers, body }, lines)
        expect([bodies, exchanges.length, body.aborted, exchanges[0]!.closed]).toEqual([own, 4, true, true])
      }
      const endless = Proxied.streaming(["12345", "67890", "1", "2"])
      expect((yield* asked({ body: endless }, lines)).bodies).toEqual(own)
      const justFits = Proxied.streaming(["12345", "67890"])
      expect((yield* asked({ body: justFits }, lines)).bodies[2]).toBe("1234567890")
    })
  )

  it.effect("go to one alone where they are longer than may be held, though they are in memory", () =>
    Effect.gen(function* () {
      const { bodies, exchanges } = yield* asked({ body: Transport.text("12345") }, "coalesce: { maxBytes: 4 B }")
      expect([bodies.toSorted(), exchanges.length]).toEqual([["12345", "own", "own"], 3])
      expect((yield* asked({ body: Transport.text("1234") }, "coalesce: { maxBytes: 4 B }")).exchanges.length).toBe(1)
    })
  )

  it.effect("go to one alone where they come in chunks, and are short; not where that takes long", () =>
    Effect.gen(function* () {
      const headers = ["Set-Cookie", "id=1"]
      const first = yield* asked({ headers, body: Proxied.streaming(["12", "345"]) })
      expect([first.bodies.toSorted(), first.exchanges.length]).toEqual([["12345", "own", "own"], 3])
      const { ask, exchanges } = yield* make()
      const fiber = yield* fork(ask())
      yield* exchanges[0]!.reply({ headers, body: { ...Proxied.streaming([]), pipeTo: () => Effect.never } })
      yield* TestClock.adjust("1 second")
      yield* exchanges[1]!.reply({ headers, body: Proxied.streaming(["own"]) })
      expect([(yield* Fiber.join(fiber)).body, exchanges[0]!.closed]).toEqual(["own", true])
    })
  )

  it.effect("that could not be shared are expected of their route for a minute, and of no other", () =>
    Effect.gen(function* () {
      const { ask, exchanges } = yield* asked({ headers: ["Set-Cookie", "id=1"] })
      const together = (target: string) =>
        Effect.gen(function* () {
          const before = exchanges.length
          const fibers = [yield* fork(ask({ target })), yield* fork(ask({ target }))]
          const count = exchanges.length - before
          for (const { reply } of exchanges.slice(before)) yield* reply({})
          yield* Effect.forEach(fibers, Fiber.join)
          return count
        })
      expect(yield* together("/up/x?other")).toBe(2)
      expect(yield* together("/up/y")).toBe(1)
      yield* TestClock.adjust("1 minute")
      expect(yield* together("/up/x?other")).toBe(1)
    })
  )
})

describe("Coalesce, interrupted anywhere", () => {
  /** A stage before an upstream that takes its time, and what of that is open. */
  const setup = Effect.gen(function* () {
    const state = { open: 0 }
    const stage = yield* Coalesce.make({ name: "swept", maxBytes: 4, ignore: [], budget: undefined })
    const handler = stage(({ target }) =>
      Effect.acquireRelease(
        Effect.sync(() => state.open++),
        () => Effect.sync(() => state.open--)
      ).pipe(
        Effect.andThen(Effect.sleep("5 millis")),
        Effect.as({ status: 200, headers: [], body: Proxied.streaming(target === "/long" ? ["123", "45"] : ["12"]) })
      )
    )
    const ask = (target: string, wait?: number) =>
      Deadline.region((region) => {
        const call = { ...callIn(region), target }
        call.received.prefer = wait === undefined ? undefined : `wait=${wait}`
        return Effect.scoped(Effect.flatMap(handler(call), Proxied.read))
      })
    return { ask, state }
  })
  const subject = ({ ask }: Effect.Success<typeof setup>) =>
    Effect.all(
      [
        ask("/x"),
        Effect.delay(ask("/x", 1), "1 millis"),
        Effect.delay(Effect.ignore(Deadline.within(ask("/x"), "2 millis")), "2 millis"),
        ask("/long"),
        ask("/long")
      ],
      { concurrency: "unbounded", discard: true }
    )
  const check = ({ ask, state }: Effect.Success<typeof setup>) =>
    Effect.gen(function* () {
      expect(state.open).toBe(0)
      const of = Effect.map(
        Registry.snapshot,
        (all) => all.findLast(({ name }) => name.startsWith("swept"))!.statistics as Core.Statistics
      )
      expect(Core.check(yield* of)).toEqual([])
      expect([(yield* of).runs, (yield* of).waiting]).toEqual([0, 0])
      // Whatever was interrupted: who comes now is answered.
      expect((yield* Effect.orDie(ask("/x"))).body).toBe("12")
    })
  const plan = { setup, subject, check }

  it.live("passes the sweep", () =>
    Effect.gen(function* () {
      expect(yield* Sweep.sweep(plan)).toBeGreaterThan(30)
    })
  )

  it.live("passes for pairs of places", () =>
    Effect.gen(function* () {
      expect((yield* Sweep.pairs(plan, { limit: 300 })).pairs).toBeGreaterThan(200)
    })
  )

  it.live("passes in random interleavings", () => Simulation.simulate(100, plan, { cancelPoints: 10 }))
})
