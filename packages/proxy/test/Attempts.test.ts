/** The proxy's stage that sends calls again, before an upstream that a test plays: no sockets, and a clock that does not run. */
import { describe, expect, it } from "@effect/vitest"
import { Attempts, Deadline, Gate, Registry, Transport } from "@fairlead/core"
import type { NodeHttp } from "@fairlead/platform-node"
import { Deferred, Effect, Fiber, Result } from "effect"
import type { Duration } from "effect"
import { TestClock } from "effect/testing"
import type { Entry } from "../src/AccessLog.ts"
import * as Config from "../src/Config.ts"
import * as Idempotency from "../src/Idempotency.ts"
import * as Proxy from "../src/Proxy.ts"

type End = Effect.Effect<Transport.Reply, Transport.UpstreamFailed>

/** An answer, whose body flows until it is aborted or its attempt's scope closes. */
const answer = (status: number, ...headers: ReadonlyArray<string>): End =>
  Effect.succeed({ status, headers, body: { ...Transport.empty, length: undefined, bytes: undefined } })
const failed = (kind: Transport.Kind, sent: boolean): End =>
  Effect.fail(new Transport.UpstreamFailed({ kind, sent, cause: undefined }))

interface Asked {
  readonly method?: string
  readonly target?: string
  readonly headers?: ReadonlyArray<string>
  readonly body?: Transport.Body
}

/** A body that comes from outside and goes once. */
const upload = (text: string, length = text.length): Transport.Body => {
  let state = "fresh"
  return {
    length,
    bytes: undefined,
    pipeTo: (sink) =>
      Effect.suspend(() => {
        if (state !== "fresh") return Effect.die("it has flowed already")
        state = "flowing"
        for (const letter of text) sink.write(Buffer.from(letter))
        return Effect.void
      }),
    abort: () => {}
  }
}

const setup = (upstream: object, ...ends: ReadonlyArray<End>) =>
  Effect.gen(function* () {
    const log: Array<Entry> = []
    const told: Array<string> = []
    const left = [...ends]
    let open = 0
    const transport: Transport.Transport = {
      exchange: (_origin, { body, method, target }, options) =>
        Effect.suspend(() => {
          const end = left.shift() ?? answer(200)
          const number = ends.length - left.length
          return Effect.acquireRelease(
            Effect.sync(() => open++),
            () => Effect.sync(() => open--)
          ).pipe(
            Effect.andThen(
              body.pipeTo({ write: (chunk) => told.push(Buffer.from(chunk).toString()) > 0, onDrain: () => {} })
            ),
            Effect.mapError((cause) => new Transport.UpstreamFailed({ kind: "requestBody", sent: true, cause })),
            Effect.tap(() =>
              Effect.sync(() => {
                told.push(`${method} ${target}`)
                options?.onSent?.()
                options?.onInformation?.(103, [`from`, `${number}`])
              })
            ),
            Effect.andThen(end)
          )
        })
    }
    const registry = Registry.make()
    const draining = yield* Deferred.make<void>()
    const drain = Effect.andThen(Deferred.succeed(draining, undefined), TestClock.adjust(0))
    const config = Result.getOrThrow(
      Config.decode({ upstreams: { up: { url: "https://up.example/api", ...upstream } } })
    )
    const handler = yield* Proxy.make(
      config,
      transport,
      {
        write: (entry) => void log.push(entry),
        flush: Effect.void
      },
      Deferred.await(draining)
    ).pipe(Effect.provideService(Registry.Registry, registry))
    const informed: Array<number> = []
    const call = ({ body = Transport.empty, headers = [], method = "GET", target = "/up/x" }: Asked = {}) =>
      Deadline.region((region) =>
        Effect.scoped(
          Effect.gen(function* () {
            const request: NodeHttp.Request = {
              method,
              target,
              headers: ["Host", "localhost", ...headers],
              body,
              remoteAddress: "127.0.0.1",
              scheme: "http",
              expectsContinue: Transport.header(headers, "expect") !== undefined,
              continue: () => {},
              inform: (status) => void informed.push(status),
              progress: { status: 200, bytes: 0, received: 0, end: "complete" },
              observer: undefined
            }
            yield* Effect.addFinalizer(() => Effect.sync(() => request.observer!.onEnd()))
            const reply = yield* handler(request, region)
            const during = open
            const problem = reply.body.bytes && JSON.parse(Buffer.from(reply.body.bytes).toString() || "{}")
            return { status: reply.status, headers: reply.headers, during, problem }
          })
        )
      )
    const nothingLeft = Effect.gen(function* () {
      yield* Effect.yieldNow
      expect(open).toBe(0)
      for (const { kind, statistics } of registry.snapshot()) {
        if (kind === "gate") {
          expect(Gate.check(statistics as Gate.Statistics)).toEqual([])
          expect(statistics).toMatchObject({ running: 0, waiting: 0 })
        } else if (kind === "attempts") {
          expect(Attempts.check(statistics as Attempts.Statistics)).toEqual([])
          expect(statistics).toMatchObject({ running: 0, waiting: 0 })
        }
      }
    })
    const counted = () => registry.snapshot().find(({ kind }) => kind === "attempts")!.statistics
    return { call, counted, drain, informed, log, nothingLeft, told, opened: () => open }
  })

/** What it comes to, whatever it waits for. */
const through = <A, E>(call: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(call, { startImmediately: true })
    yield* TestClock.adjust("1 minute")
    return yield* Fiber.join(fiber)
  })

const retry = { retry: {} }

describe("a call that failed", () => {
  it.effect("goes once where the config says nothing, or says so", () =>
    Effect.gen(function* () {
      for (const upstream of [{}, { retry: { attempts: 1 } }]) {
        const { call, log, nothingLeft, told } = yield* setup(upstream, answer(503))
        expect((yield* through(call())).status).toBe(503)
        expect(told.length).toBe(1)
        expect(log[0]).toMatchObject({ attempts: undefined })
        yield* nothingLeft
      }
    })
  )

  it.effect("is sent again where it may be: by what has happened, and by what it is", () =>
    Effect.gen(function* () {
      const inner = answer(503, "Proxy-Status", "fairlead; error=proxy_internal_response", "Retry-After", "1")
      const sentBefore = answer(429, "Proxy-Status", "fairlead; error=connection_limit_reached")
      const cases: ReadonlyArray<readonly [end: End, get: number, post: number]> = [
        [answer(200), 1, 1],
        [answer(404), 1, 1],
        [answer(500), 1, 1],
        [answer(429), 2, 2],
        [answer(502), 2, 1],
        [answer(503), 2, 1],
        [answer(504), 2, 1],
        [inner, 2, 2],
        [sentBefore, 2, 1],
        [failed("refused", false), 2, 2],
        [failed("dns", false), 2, 2],
        [failed("reset", false), 2, 2],
        [failed("reset", true), 2, 1],
        [failed("headersTimeout", true), 2, 1],
        [failed("protocol", true), 1, 1],
        [failed("closed", false), 1, 1],
        [failed("requestBody", true), 1, 1]
      ]
      for (const [end, get, post] of cases) {
        for (const [method, times] of [
          ["GET", get],
          ["PUT", get],
          ["POST", post]
        ] as const) {
          const { call, log, nothingLeft, told } = yield* setup(retry, end)
          yield* through(call({ method }))
          expect([method, told.length]).toEqual([method, times])
          expect(log[0]!.attempts).toBe(times === 1 ? undefined : times)
          yield* nothingLeft
        }
      }
    })
  )

  it.effect("may be sent twice by its route, or by its key where the upstream heeds that", () =>
    Effect.gen(function* () {
      const times = (idempotency: object, asked: Asked) =>
        Effect.gen(function* () {
          const { call, told } = yield* setup({ retry: {}, idempotency }, answer(503))
          yield* through(call({ method: "POST", ...asked }))
          return told.length
        })
      const routes = ["POST /v1/embeddings", "POST /v1/search/*"]
      expect(yield* times(routes, { target: "/up/v1/embeddings?x=1" })).toBe(2)
      expect(yield* times(routes, { target: "/up/v1/embeddings/x" })).toBe(1)
      expect(yield* times(routes, { target: "/up/v1/search/a/b" })).toBe(2)
      expect(yield* times(routes, { target: "/up/v1/embeddings", method: "PATCH" })).toBe(1)
      const key = ["Idempotency-Key", "8e03978e"]
      expect(yield* times({}, { headers: key })).toBe(1)
      expect(yield* times({ key: true }, { headers: key })).toBe(2)
      expect(yield* times({ key: true }, {})).toBe(1)
      for (const empty of ["", '""', " "]) {
        expect(yield* times({ key: true }, { headers: ["Idempotency-Key", empty] })).toBe(1)
      }
    })
  )

  it.effect("after the last attempt the client is given that answer, and the log says how many there were", () =>
    Effect.gen(function* () {
      const { call, informed, log, nothingLeft, told } = yield* setup(retry, answer(503), answer(502), answer(504))
      const { during, headers, status } = yield* through(call())
      expect(status).toBe(504)
      expect(told.length).toBe(3)
      // The others were dropped before.
      expect(during).toBe(1)
      expect(Transport.header(headers, "server-timing")).toMatch(/, attempts;desc=3$/)
      expect(log[0]).toMatchObject({ attempts: 3 })
      // Interim answers are those of the first.
      expect(informed).toEqual([103])
      yield* nothingLeft
    })
  )

  it.effect("holds neither permit nor connection in backoff, and comes back no earlier than it was told", () =>
    Effect.gen(function* () {
      const { call, nothingLeft, opened, told } = yield* setup(
        { ...retry, concurrency: 1 },
        answer(429, "Retry-After", "5")
      )
      const fiber = yield* Effect.forkChild(call(), { startImmediately: true })
      yield* TestClock.adjust("4999 millis")
      expect([told.length, opened()]).toEqual([1, 0])
      yield* TestClock.adjust("200 millis")
      expect((yield* Fiber.join(fiber)).status).toBe(200)
      yield* nothingLeft
    })
  )

  it.effect("is told at once where it would have to wait for longer than calls wait here, or than it has time", () =>
    Effect.gen(function* () {
      const { call, nothingLeft, told } = yield* setup(
        { ...retry, queue: { wait: "10 seconds" } },
        answer(429, "Retry-After", "11"),
        answer(429, "Retry-After", "5")
      )
      expect((yield* call()).status).toBe(429)
      expect((yield* call({ target: "/up/y", headers: ["X-Request-Timeout-Ms", "3000"] })).status).toBe(429)
      expect(told.length).toBe(2)
      yield* nothingLeft
    })
  )

  it.effect("waits no longer than its client will, in backoff and in the queue of all attempts together", () =>
    Effect.gen(function* () {
      const busy = answer(429, "Retry-After", "3")
      const one = yield* setup({ ...retry, cooling: { longest: "0 s" } }, busy, busy)
      // The backoff is longer than that.
      expect((yield* one.call({ headers: ["Prefer", "wait=2"] })).status).toBe(429)
      const fiber = yield* Effect.forkChild(one.call({ headers: ["Prefer", "wait=5"] }), { startImmediately: true })
      yield* TestClock.adjust("4 seconds")
      expect((yield* Fiber.join(fiber)).status).toBe(200)
      // Of five seconds it has waited for one in the queue, and then for three: no second backoff of two.
      const slow: End = Effect.delay(answer(200), "1 second")
      const two = yield* setup(
        { ...retry, concurrency: 1, cooling: { longest: "0 s" } },
        slow,
        busy,
        answer(429, "Retry-After", "2")
      )
      const before = yield* Effect.forkChild(two.call({ target: "/up/y" }), { startImmediately: true })
      const patient = yield* Effect.forkChild(two.call({ headers: ["Prefer", "wait=5"] }), { startImmediately: true })
      yield* TestClock.adjust("4200 millis")
      expect([(yield* Fiber.join(before)).status, (yield* Fiber.join(patient)).status]).toEqual([200, 429])
      expect([two.told.length, two.log.at(-1)!.queueMillis]).toEqual([3, 1000])
      // Nor longer in the queue than is left.
      const three = yield* setup({ ...retry, concurrency: 1, cooling: { longest: "0 s" } }, busy, Effect.never)
      const waits = yield* Effect.forkChild(three.call({ headers: ["Prefer", "wait=5"] }), { startImmediately: true })
      const hanging = yield* Effect.forkChild(three.call(), { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      expect((yield* Fiber.join(waits)).problem).toMatchObject({ error: { code: "wait-exceeded" }, sent: true })
      yield* Fiber.interrupt(hanging)
      for (const { nothingLeft } of [one, two, three]) yield* nothingLeft
    })
  )

  it.effect("while the proxy drains it is told at once, and what waits to be sent again waits no more", () =>
    Effect.gen(function* () {
      const busy = answer(503, "Retry-After", "20")
      const { call, drain, log, nothingLeft, told } = yield* setup(
        { ...retry, cooling: { longest: "0 s" } },
        busy,
        failed("reset", true),
        busy
      )
      const answered = yield* Effect.forkChild(call(), { startImmediately: true })
      const broken = yield* Effect.forkChild(call(), { startImmediately: true })
      yield* drain
      expect((yield* Fiber.join(answered)).problem).toMatchObject({ error: { code: "shutting-down" }, sent: true })
      expect((yield* Fiber.join(broken)).problem).toMatchObject({ error: { code: "upstream-broken" }, sent: true })
      expect((yield* call()).problem).toBeUndefined()
      expect([told.length, log.map(({ status }) => status).length]).toEqual([3, 3])
      yield* nothingLeft
    })
  )

  it.effect("what our own gate refuses is told at once", () =>
    Effect.gen(function* () {
      const hang: End = Effect.never
      const { call, nothingLeft, told } = yield* setup({ ...retry, concurrency: 1, queue: { items: 0 } }, hang)
      const first = yield* Effect.forkChild(call(), { startImmediately: true })
      const { during, status } = yield* call()
      expect([status, during, told.length]).toEqual([429, 1, 1])
      yield* Fiber.interrupt(first)
      yield* nothingLeft
    })
  )

  it.effect("what an attempt was sent of is told as sent, whatever becomes of the next", () =>
    Effect.gen(function* () {
      const one = yield* setup(retry, failed("reset", true), failed("refused", false), failed("dns", false))
      expect((yield* through(one.call())).problem).toMatchObject({ sent: true })
      const two = yield* setup({ ...retry, concurrency: 1, queue: { items: 0 } }, answer(503), Effect.never)
      const again = yield* Effect.forkChild(two.call(), { startImmediately: true })
      const meanwhile = yield* Effect.forkChild(two.call(), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      const { headers, problem } = yield* Fiber.join(again)
      expect(problem).toMatchObject({ error: { code: "queue-full" }, sent: true })
      expect(Transport.header(headers, "proxy-status")).toBe("fairlead; error=connection_limit_reached")
      yield* Fiber.interrupt(meanwhile)
      yield* one.nothingLeft
      yield* two.nothingLeft
    })
  )

  it.effect("each attempt counts for the circuit; once it is open none is made, and the upstream's word is told", () =>
    Effect.gen(function* () {
      const { call, log, nothingLeft, told } = yield* setup(
        { ...retry, breaker: { failures: 2 } },
        answer(503),
        answer(504)
      )
      const { problem, status } = yield* through(call())
      expect([status, problem, told.length]).toEqual([504, undefined, 2])
      expect(log[0]).toMatchObject({ attempts: 2, reason: undefined })
      yield* nothingLeft
      const silent = yield* setup({ ...retry, breaker: { failures: 1 } }, failed("reset", true))
      expect((yield* silent.call()).problem).toMatchObject({ error: { code: "upstream-broken" }, sent: true })
      yield* silent.nothingLeft
    })
  )

  it.effect("identical calls that share one are sent again once for all", () =>
    Effect.gen(function* () {
      const { call, log, nothingLeft, told } = yield* setup({ ...retry, coalesce: true }, answer(503))
      const answers = yield* through(Effect.all([call(), call()], { concurrency: "unbounded" }))
      expect(answers.map(({ status }) => status)).toEqual([200, 200])
      expect(told.length).toBe(2)
      expect(log.map(({ attempts }) => attempts).toSorted()).toEqual([2, undefined])
      yield* nothingLeft
    })
  )

  it.effect("its content is sent again where it was kept; what is longer, or of unknown length, goes once", () =>
    Effect.gen(function* () {
      const sent = (body: Transport.Body, ...headers: ReadonlyArray<string>) =>
        Effect.gen(function* () {
          const { call, nothingLeft, told } = yield* setup({ retry: { replay: "8 B" } }, answer(429))
          yield* through(call({ method: "POST", body, headers }))
          yield* nothingLeft
          return told
        })
      expect(yield* sent(upload("12345678"))).toEqual(["12345678", "POST /api/x", "12345678", "POST /api/x"])
      expect((yield* sent(upload("123456789"))).filter((it) => it.length > 1)).toEqual(["POST /api/x"])
      expect((yield* sent({ ...upload("1"), length: undefined })).filter((it) => it.length > 1)).toEqual([
        "POST /api/x"
      ])
      expect((yield* sent(upload("1"), "Expect", "100-continue")).filter((it) => it.length > 1)).toEqual([
        "POST /api/x"
      ])
    })
  )

  it.effect("no more is kept on its way in than the queue may hold: what is beyond goes once", () =>
    Effect.gen(function* () {
      const { call, nothingLeft, told } = yield* setup({ ...retry, queue: { bytes: "1 kB" } }, answer(429))
      const slow = { ...upload("", 998), pipeTo: () => Effect.never }
      const slowly = yield* Effect.forkChild(call({ method: "POST", body: slow }), { startImmediately: true })
      yield* through(call({ method: "POST", body: upload("abc") }))
      expect(told).toEqual(["a", "b", "c", "POST /api/x"])
      yield* Fiber.interrupt(slowly)
      yield* through(call({ method: "POST", body: upload("abc") }))
      expect(told.slice(4)).toEqual(["abc", "POST /api/x"])
      yield* nothingLeft
    })
  )

  it.effect("an upload that breaks off while it is kept is no call at all", () =>
    Effect.gen(function* () {
      const { call, log, told } = yield* setup(retry)
      const broken = {
        ...upload("", 5),
        pipeTo: () => Effect.fail(new Transport.BodyFailed({ kind: "incomplete", cause: undefined }))
      }
      expect((yield* call({ method: "POST", body: broken })).status).toBeGreaterThanOrEqual(400)
      expect(told).toEqual([])
      expect(log.length).toBe(1)
    })
  )

  it.effect("there is no more of it than the budget of its upstream has", () =>
    Effect.gen(function* () {
      const ends = Array.from({ length: 300 }, () => answer(503))
      const { call, nothingLeft, told } = yield* setup({ retry: { budget: "20%" } }, ...ends)
      for (let i = 0; i < 100; i++) yield* through(call())
      // A call a minute: the floor.
      expect(told.length).toBe(300)
      const burst = yield* setup({ retry: { budget: "20%" } }, ...ends)
      yield* through(Effect.forEach(Array(100), () => burst.call(), { concurrency: "unbounded" }))
      expect(burst.told.length).toBeLessThanOrEqual(120)
      yield* nothingLeft
      yield* burst.nothingLeft
    })
  )
})

describe("a slow call", () => {
  const hedged = { retry: { hedge: "100 ms" } }
  const slow = (time: Duration.Input, end: End): End => Effect.andThen(Effect.sleep(time), end)
  /** Hedges are earned. */
  const earn = (call: (asked?: Asked) => Effect.Effect<unknown, unknown>) =>
    Effect.forEach(Array(20), () => call({ target: "/up/earn" }), { discard: true })
  const fast = Array.from({ length: 20 }, () => answer(200))

  it.effect("is sent a second time; whoever answers first is the answer, and the other is cut", () =>
    Effect.gen(function* () {
      const { call, log, nothingLeft, opened, told } = yield* setup(
        hedged,
        ...fast,
        slow("10 seconds", answer(200)),
        slow("50 millis", answer(201))
      )
      yield* earn(call)
      const fiber = yield* Effect.forkChild(call(), { startImmediately: true })
      yield* TestClock.adjust("120 millis")
      expect(opened()).toBe(2)
      yield* TestClock.adjust("30 millis")
      expect(yield* Fiber.join(fiber)).toMatchObject({ status: 201, during: 1 })
      expect(told.length).toBe(22)
      expect(log.at(-1)).toMatchObject({ attempts: 2 })
      yield* nothingLeft
    })
  )

  it.effect("not what may not be sent twice, and not where it would have to wait for a permit", () =>
    Effect.gen(function* () {
      const one = yield* setup(hedged, ...fast, slow("1 second", answer(200)))
      yield* earn(one.call)
      yield* through(one.call({ method: "POST" }))
      expect(one.told.length).toBe(21)
      for (const breaker of [{}, { breaker: {} }]) {
        const upstream = { ...hedged, ...breaker, concurrency: 1 }
        const full = yield* setup(upstream, ...fast, slow("1 second", answer(200)))
        yield* earn(full.call)
        expect((yield* through(full.call())).status).toBe(200)
        expect(full.told.length).toBe(21)
        expect(full.log.at(-1)).toMatchObject({ attempts: undefined })
        expect(full.counted()).toMatchObject({ attempts: 21, hedges: 0, hedgesRefused: 1, budget: { spent: 0 } })
        yield* full.nothingLeft
      }
      yield* one.nothingLeft
    })
  )

  it.effect("of two that have an answer in the same moment one is dropped, and nothing stays open", () =>
    Effect.gen(function* () {
      const { call, nothingLeft } = yield* setup(
        hedged,
        ...fast,
        slow("200 millis", answer(200)),
        slow("100 millis", answer(201))
      )
      yield* earn(call)
      const { during } = yield* through(call())
      expect(during).toBe(1)
      yield* nothingLeft
    })
  )

  it.effect("a client that leaves takes both with it", () =>
    Effect.gen(function* () {
      const { call, nothingLeft, opened } = yield* setup(hedged, ...fast, Effect.never, Effect.never)
      yield* earn(call)
      const fiber = yield* Effect.forkChild(call(), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      expect(opened()).toBe(2)
      yield* Fiber.interrupt(fiber)
      yield* nothingLeft
    })
  )

  it.effect("that is left says in the log what was known of it: its wait, its attempts, its head", () =>
    Effect.gen(function* () {
      const { call, log, nothingLeft } = yield* setup(
        { ...hedged, concurrency: 2 },
        ...fast,
        Effect.never,
        slow("50 millis", answer(200)),
        Effect.never,
        Effect.never,
        answer(503, "Retry-After", "5")
      )
      yield* earn(call)
      const first = yield* Effect.forkChild(call({ method: "POST" }), { startImmediately: true })
      const second = yield* Effect.forkChild(call({ method: "POST" }), { startImmediately: true })
      const waited = yield* Effect.forkChild(call(), { startImmediately: true })
      yield* TestClock.adjust("50 millis")
      yield* Fiber.join(second)
      yield* Fiber.interrupt(first)
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(waited)
      expect(log.at(-1)).toMatchObject({ attempts: 2, queueMillis: 50 })
      const failed = yield* Effect.forkChild(call(), { startImmediately: true })
      yield* TestClock.adjust("50 millis")
      yield* Fiber.interrupt(failed)
      expect(log.at(-1)).toMatchObject({ queueMillis: 0, ttfbMillis: expect.any(Number) })
      yield* nothingLeft
    })
  )
})

describe("routes that may be sent twice", () => {
  it("are a method and a path", () => {
    expect(Idempotency.route("POST /v1/embeddings")).toEqual({ method: "POST", path: "/v1/embeddings", rest: false })
    expect(Idempotency.route("POST /v1/*")).toEqual({ method: "POST", path: "/v1/", rest: true })
    for (const wrong of ["/v1", "POST", "post /v1", "POST v1", "POST /v1*", "POST /v1?x", "POST /a b"]) {
      expect(Idempotency.route(wrong)).toBeUndefined()
    }
    expect(Idempotency.format(Idempotency.route("POST /v1/*")!)).toBe("POST /v1/*")
  })
})
