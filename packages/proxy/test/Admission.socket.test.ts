import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import type { Scope } from "effect"
import type * as http from "node:http"
import type { Upstream } from "../src/Config.ts"
import { begin, call, defaults, until, untilEffect, withProxy } from "./support.ts"
import type { Asked, Options, Setup } from "./support.ts"

const ok: http.RequestListener = (_, response) => response.end("ok")

/** An upstream that answers when told to. */
const held = () => {
  const waiting: Array<() => void> = []
  const listener: http.RequestListener = (_, response) => void waiting.push(() => response.end("ok"))
  return { listener, next: () => waiting.shift()?.(), all: () => waiting.splice(0).forEach((answer) => answer()) }
}

const queue = (part: Partial<Upstream["queue"]>): Upstream["queue"] => ({ ...defaults.queue, ...part })

const rate = (limit: number, millis: number, burst = limit): Upstream["rate"] => [
  { limit, per: Duration.millis(millis), burst, counts: "start" }
]

/** Starts a call and waits until it stands in the line. */
const wait = ({ proxy, statistics }: Setup, path: string, asked?: Asked) =>
  Effect.gen(function* () {
    const before = (yield* statistics).waiting
    const fiber = yield* Effect.forkScoped(call(`${proxy.url}${path}`, asked))
    yield* untilEffect(Effect.map(statistics, ({ waiting }) => waiting === before + 1))
    return fiber
  })

/** With the gate's one permit taken. */
const behindOne = <E>(
  options: Omit<NonNullable<Options["upstream"]>, "concurrency">,
  body: (setup: Setup, upstream: ReturnType<typeof held>) => Effect.Effect<unknown, E, Scope.Scope>
) => {
  const upstream = held()
  return withProxy(upstream.listener, { upstream: { ...options, concurrency: 1 } }, (setup) =>
    Effect.gen(function* () {
      const first = yield* Effect.forkScoped(call(`${setup.proxy.url}/first`))
      yield* until(() => setup.upstream.served.length === 1)
      yield* body(setup, upstream)
      upstream.all()
      expect((yield* Fiber.join(first)).status).toBe(200)
    })
  )
}

describe("Admission", () => {
  it.live("sends the urgent before the less urgent, equals in order of arrival", () =>
    behindOne({}, (setup, upstream) =>
      Effect.gen(function* () {
        const fibers = []
        for (const urgency of [7, 3, 0, 3, 5]) {
          const path: string = `/${urgency}-${fibers.length}`
          fibers.push(yield* wait(setup, path, { headers: { priority: `u=${urgency}` } }))
        }
        for (let i = 1; i <= fibers.length; i++) {
          upstream.next()
          yield* until(() => setup.upstream.served.length === i + 1)
        }
        upstream.next()
        yield* Fiber.awaitAll(fibers)
        expect(setup.upstream.served.slice(1).map(({ request }) => request.url)).toEqual([
          "/0-2",
          "/3-1",
          "/3-3",
          "/5-4",
          "/7-0"
        ])
        yield* until(() => setup.log.length === 6)
        expect(setup.log.map(({ urgency }) => urgency)).toEqual([3, 0, 3, 3, 5, 7])
      })
    )
  )

  it.live("lets no more start in any window than its limit, with 1,000 callers at once", () => {
    const sent: Array<number> = []
    const options: Options = {
      upstream: { concurrency: 100, rate: rate(100, 250) },
      onSent: () => void sent.push(performance.now())
    }
    return withProxy(ok, options, ({ proxy, statistics }) =>
      Effect.gen(function* () {
        const answers = yield* Effect.all(
          Array.from({ length: 1000 }, (_, i) => call(proxy.url, { headers: { priority: `u=${i % 8}` } })),
          { concurrency: "unbounded" }
        )
        expect(answers.every(({ status }) => status === 200)).toBe(true)
        expect(sent.length).toBe(1000)
        for (let i = 100; i < sent.length; i++) expect(sent[i]! - sent[i - 100]!).toBeGreaterThanOrEqual(250)
        expect((yield* statistics).completed).toBe(1000)
      })
    )
  })

  it.live("refuses when the queue is full, and says when to come back", () =>
    behindOne({ queue: queue({ items: 2 }), rate: rate(5, 60_000) }, (setup, upstream) =>
      Effect.gen(function* () {
        const waiting = [yield* wait(setup, "/a"), yield* wait(setup, "/b")]
        const refused = yield* call(setup.proxy.url)
        expect(refused.status).toBe(429)
        expect(refused.headers).toMatchObject({
          "content-type": "application/problem+json",
          "proxy-status": "fairlead; error=proxy_internal_response",
          "ratelimit-policy": `"fairlead-up";q=5;w=60`,
          ratelimit: `"fairlead-up";r=4`
        })
        expect(refused.json()).toMatchObject({
          type: "urn:fairlead:problem:queue-full",
          status: 429,
          sent: false,
          error: { type: "fairlead", code: "queue-full" }
        })
        if (refused.headers["retry-after"] !== undefined) {
          const millis = Number(refused.headers["retry-after-ms"])
          expect(Number(refused.headers["retry-after"])).toBe(Math.ceil(millis / 1000))
        }
        for (const served of [2, 3, 3]) {
          upstream.next()
          yield* until(() => setup.upstream.served.length === served)
        }
        yield* Fiber.awaitAll(waiting)
        yield* until(() => setup.log.length === 4)
        expect(setup.log.filter(({ reason }) => reason === "queue-full").map(({ status }) => status)).toEqual([429])
      })
    )
  )

  it.live("bounds the queue by the bytes that are held, whatever the content's length says", () =>
    behindOne({ queue: queue({ bytes: 3000 }) }, (setup, upstream) =>
      Effect.gen(function* () {
        const small = yield* wait(setup, "/small", {
          method: "POST",
          headers: { "content-length": 1_000_000 },
          body: []
        })
        const big = yield* call(setup.proxy.url, { headers: { "x-big": "x".repeat(4000) } })
        expect(big.json()).toMatchObject({ status: 429, type: "urn:fairlead:problem:queue-full" })
        expect(big.json().detail).toContain("3000 bytes")
        yield* Fiber.interrupt(small)
        upstream.all()
      })
    )
  )

  it.live("refuses who waited too long, by the config's word or the client's", () =>
    behindOne({ queue: queue({ wait: Duration.millis(100) }) }, ({ log, proxy, upstream }) =>
      Effect.gen(function* () {
        const long = yield* call(proxy.url)
        expect(long.json()).toMatchObject({ status: 503, type: "urn:fairlead:problem:wait-exceeded", sent: false })
        const start = performance.now()
        const impatient = yield* call(proxy.url, { headers: { prefer: "wait=0" } })
        expect(impatient.json()).toMatchObject({ status: 503, type: "urn:fairlead:problem:wait-exceeded" })
        expect(performance.now() - start).toBeLessThan(100)
        const patient = yield* call(proxy.url, { headers: { prefer: "wait=30" } })
        expect(patient.status).toBe(503)
        expect(upstream.served.length).toBe(1)
        yield* until(() => log.length === 3)
        expect(log[0]!.queueMillis).toBeGreaterThanOrEqual(99)
      })
    )
  )

  it.live("answers 504 when the deadline passes in the queue, and nothing was sent", () =>
    behindOne({}, ({ log, proxy, upstream }) =>
      Effect.gen(function* () {
        for (const headers of [
          { "x-request-timeout-ms": "80" },
          { "grpc-timeout": "80m" },
          { "x-envoy-expected-rq-timeout-ms": "80" },
          { "x-stainless-timeout": "0.08" }
        ]) {
          const late = yield* call(proxy.url, { headers })
          expect(late.json()).toMatchObject({
            status: 504,
            type: "urn:fairlead:problem:deadline-exceeded",
            sent: false
          })
          expect(late.headers["proxy-status"]).toBe("fairlead; error=proxy_internal_response")
        }
        expect((yield* call(proxy.url, { headers: { "x-request-timeout-ms": "0" } })).status).toBe(504)
        expect(upstream.served.length).toBe(1)
        yield* until(() => log.length === 5)
        expect(new Set(log.map(({ cut, reason }) => `${reason} ${cut}`))).toEqual(
          new Set(["deadline-exceeded deadline", "deadline-exceeded undefined"])
        )
      })
    )
  )

  it.live("answers 504 at once when the rate certainly keeps the call back for longer than it has", () =>
    withProxy(ok, { upstream: { rate: rate(1, 60_000) } }, ({ log, proxy, statistics, upstream }) =>
      Effect.gen(function* () {
        expect((yield* call(proxy.url)).status).toBe(200)
        const start = performance.now()
        const late = yield* call(proxy.url, { headers: { "x-request-timeout-ms": "20000" } })
        expect(performance.now() - start).toBeLessThan(1000)
        expect(late.json()).toMatchObject({
          status: 504,
          type: "urn:fairlead:problem:too-late",
          sent: false,
          error: { type: "fairlead", code: "too-late" }
        })
        expect(late.json().detail).toMatch(/As things stand, .* would come (39|40)s after its deadline/)
        expect(Number(late.headers["retry-after"])).toBeGreaterThanOrEqual(59)
        expect(Number(late.headers["retry-after"])).toBeLessThanOrEqual(75)
        expect(late.headers).toMatchObject({
          "proxy-status": "fairlead; error=proxy_internal_response",
          ratelimit: `"fairlead-up";r=0`
        })
        expect(upstream.served.length).toBe(1)
        yield* until(() => log.length === 2)
        expect(log[1]).toMatchObject({ status: 504, reason: "too-late", cut: undefined })
        expect(yield* statistics).toMatchObject({ completed: 1, refused: 1, waiting: 0, running: 0 })
      })
    )
  )

  it.live("answers 504 when the deadline passes in flight, and closes the upstream's socket", () =>
    withProxy(
      () => {},
      { upstream: { timeout: { total: Duration.millis(150) } } },
      ({ proxy, upstream }) =>
        Effect.gen(function* () {
          const byConfig = yield* call(proxy.url)
          expect(byConfig.json()).toMatchObject({
            status: 504,
            type: "urn:fairlead:problem:deadline-exceeded",
            sent: true
          })
          expect(byConfig.headers["proxy-status"]).toBe("fairlead; error=http_response_timeout")
          expect(Number(upstream.served[0]!.request.headers["x-request-timeout-ms"])).toBeLessThanOrEqual(150)
          const byClient = yield* call(proxy.url, { headers: { "x-request-timeout-ms": "50" } })
          expect(byClient.status).toBe(504)
          yield* until(() => upstream.open() === 0)
        })
    )
  )

  it.live("cuts the client's socket when the deadline passes after the head", () =>
    withProxy(
      (_, response) => response.writeHead(200, { "content-length": 1_000_000 }).write("begun"),
      {},
      ({ log, proxy, upstream }) =>
        Effect.gen(function* () {
          const answer = yield* Effect.exit(call(proxy.url, { headers: { "x-request-timeout-ms": "100" } }))
          expect(answer._tag).toBe("Failure")
          yield* until(() => upstream.open() === 0 && log.length === 1)
          expect(log[0]).toMatchObject({ status: 200, cut: "deadline" })
        })
    )
  )

  it.live("stops counting the total once an event stream has begun, but heeds the client's own word", () =>
    withProxy(
      (_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" }).write("data: 1\n\n")
        setTimeout(() => response.end("data: 2\n\n"), 400)
      },
      { upstream: { timeout: { total: Duration.millis(150) } } },
      ({ proxy }) =>
        Effect.gen(function* () {
          expect((yield* call(proxy.url)).body).toBe("data: 1\n\ndata: 2\n\n")
          expect((yield* call(proxy.url, { headers: { "x-stainless-timeout": "0.1" } })).body).toContain("data: 2")
          const cut = yield* Effect.exit(call(proxy.url, { headers: { "x-request-timeout-ms": "100" } }))
          expect(cut._tag).toBe("Failure")
        })
    )
  )

  it.live("forgets a client that leaves the queue: its call never reaches the upstream, its tokens go back", () =>
    behindOne({ rate: rate(2, 60_000) }, (setup, upstream) =>
      Effect.gen(function* () {
        const leaver = yield* wait(setup, "/leaver")
        yield* Fiber.interrupt(leaver)
        yield* untilEffect(Effect.map(setup.statistics, ({ waiting }) => waiting === 0))
        upstream.next()
        yield* untilEffect(Effect.map(setup.statistics, ({ running }) => running === 0))
        // One token is spent; the other is still there.
        expect((yield* setup.statistics).windows).toMatchObject([{ limit: 2, used: 1, pending: 0 }])
        const next = yield* Effect.forkScoped(call(setup.proxy.url))
        yield* until(() => setup.upstream.served.length === 2)
        upstream.next()
        expect((yield* Fiber.join(next)).status).toBe(200)
        yield* until(() => setup.log.length === 3)
        expect(setup.log.map(({ status }) => status).toSorted()).toEqual([200, 200, 499])
        expect(setup.upstream.served.map(({ request }) => request.url)).not.toContain("/leaver")
      })
    )
  )

  it.live("closes the upstream's socket within 100 ms when the client leaves in flight; its tokens stay spent", () =>
    withProxy(
      () => {},
      { upstream: { rate: rate(5, 60_000) } },
      ({ log, proxy, statistics, upstream }) =>
        Effect.gen(function* () {
          const client = begin(proxy.url)
          yield* until(() => upstream.served.length === 1)
          const closed = new Promise<number>((resolve) =>
            upstream.served[0]!.request.socket.once("close", () => resolve(performance.now()))
          )
          const left = performance.now()
          client.destroy()
          expect((yield* Effect.promise(() => closed)) - left).toBeLessThan(100)
          yield* until(() => log.length === 1)
          expect(log[0]).toMatchObject({ status: 499, cut: "clientGone" })
          const { interrupted, windows } = yield* statistics
          expect(windows).toMatchObject([{ used: 1, pending: 0 }])
          expect(interrupted).toBe(1)
        })
    )
  )

  it.live("gives the permit back as soon as a short answer is in memory, however slowly it is read", () =>
    withProxy(
      (_, response) => response.end("x".repeat(60_000)),
      { upstream: { concurrency: 1 } },
      ({ proxy }) =>
        Effect.gen(function* () {
          const slow = begin(proxy.url)
          yield* Effect.callback<void>((resume) => void slow.on("response", () => resume(Effect.void)))
          expect((yield* call(proxy.url)).status).toBe(200)
          slow.destroy()
        })
    )
  )
})

describe("the faults of AsyncAPIProxy", () => {
  it.live("limits: 400 calls at 100 per second are not done in 0.1 s, but in three seconds and more", () =>
    withProxy(ok, { upstream: { rate: rate(100, 1000) } }, ({ proxy }) =>
      Effect.gen(function* () {
        const start = performance.now()
        yield* Effect.all(
          Array.from({ length: 400 }, () => call(proxy.url)),
          { concurrency: "unbounded" }
        )
        expect(performance.now() - start).toBeGreaterThanOrEqual(3000)
      })
    )
  )

  it.live("does not poll: who waits for a window wakes nobody before it opens", () =>
    withProxy(ok, { upstream: { rate: rate(1, 20_000) } }, (setup) =>
      Effect.gen(function* () {
        yield* call(setup.proxy.url)
        const waiting = yield* Effect.all(
          Array.from({ length: 5 }, (_, i) => wait(setup, `/${i}`)),
          { concurrency: 1 }
        )
        yield* Effect.sleep(100)
        const loops = () => performance.nodeTiming.uvMetricsInfo.loopCount
        const before = loops()
        yield* Effect.sleep(1000)
        // Every 10 ms would be 100. What remains is the test runner's own.
        expect(loops() - before).toBeLessThan(40)
        yield* Effect.forEach(waiting, Fiber.interrupt, { discard: true })
      })
    )
  )

  it.live("has a bound to its queue", () =>
    behindOne({ queue: queue({ items: 10 }) }, ({ proxy, statistics }, upstream) =>
      Effect.gen(function* () {
        const fibers = yield* Effect.all(Array.from({ length: 50 }, () => Effect.forkScoped(call(proxy.url))))
        yield* untilEffect(Effect.map(statistics, ({ refused }) => refused === 40))
        for (let i = 0; i < 11; i++) {
          upstream.next()
          yield* untilEffect(Effect.map(statistics, ({ completed }) => completed === i + 1))
          yield* Effect.sleep(5)
        }
        const statuses = (yield* Effect.forEach(fibers, Fiber.join)).map(({ status }) => status)
        expect(statuses.filter((status) => status === 429).length).toBe(40)
        expect(statuses.filter((status) => status === 200).length).toBe(10)
      })
    )
  )

  it.live("lets a caller that leaves leave the queue", () =>
    behindOne({ queue: queue({ items: 1 }) }, (setup) =>
      Effect.gen(function* () {
        for (let i = 0; i < 20; i++)
          yield* Effect.flatMap(wait(setup, "/x"), Fiber.interrupt).pipe(
            Effect.andThen(untilEffect(Effect.map(setup.statistics, ({ waiting }) => waiting === 0)))
          )
        expect(setup.upstream.served.length).toBe(1)
        expect((yield* setup.statistics).interrupted).toBe(20)
      })
    )
  )

  it.live("counts the time in the queue against the timeout", () =>
    behindOne({ timeout: { total: Duration.seconds(2) } }, (setup, upstream) =>
      Effect.gen(function* () {
        const start = performance.now()
        const late = yield* wait(setup, "/late", { headers: { "x-request-timeout-ms": "600" } })
        yield* Effect.sleep(300)
        upstream.next()
        yield* until(() => setup.upstream.served.length === 2)
        // What is left goes along, and is not counted anew.
        expect(Number(setup.upstream.served[1]!.request.headers["x-request-timeout-ms"])).toBeLessThanOrEqual(320)
        expect((yield* Fiber.join(late)).status).toBe(504)
        expect(performance.now() - start).toBeLessThan(1500)
      })
    )
  )

  it.live("stops without failing what is in flight or waits", () => {
    const upstream = held()
    const answers: Array<number> = []
    return Effect.gen(function* () {
      yield* withProxy(upstream.listener, { upstream: { concurrency: 1 } }, (setup) =>
        Effect.gen(function* () {
          for (let i = 0; i < 3; i++) {
            yield* Effect.forkDetach(Effect.map(call(setup.proxy.url), ({ status }) => void answers.push(status)))
          }
          yield* untilEffect(Effect.map(setup.statistics, ({ running, waiting }) => running === 1 && waiting === 2))
          const timer = setInterval(() => upstream.next(), 50)
          yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(timer)))
          yield* setup.stop
          yield* until(() => answers.length === 3)
          expect(answers).toEqual([200, 200, 200])
        })
      )
    })
  })
})
