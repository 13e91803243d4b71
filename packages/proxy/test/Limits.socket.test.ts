import { describe, expect, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import type { Scope } from "effect"
import { Agent } from "node:http"
import type * as http from "node:http"
import { setTimeout as after } from "node:timers/promises"
import type { Upstream } from "../src/Config.ts"
import { call, defaults, until, untilEffect, withProxy } from "./support.ts"
import type { Asked, Setup } from "./support.ts"

const queue = (part: Partial<Upstream["queue"]>): Upstream["queue"] => ({ ...defaults.queue, ...part })

const cooling = (longest: Duration.Input, segments = 2): Upstream["cooling"] => ({
  segments,
  longest: Duration.fromInputUnsafe(longest),
  headers: true
})

const timed = <A, E>(self: Effect.Effect<A, E>) =>
  Effect.map(Effect.timed(self), ([time, a]) => [Duration.toMillis(time), a] as const)

/** Answers 429 with these headers to the first call, and 200 from then on. */
const once = (headers: http.OutgoingHttpHeaders): http.RequestListener => {
  let calls = 0
  return (_, response) => void (++calls === 1 ? response.writeHead(429, headers).end("enough") : response.end("ok"))
}

describe("an upstream's own word", () => {
  it.live("cools the route it came for, and no other", () =>
    withProxy(once({ "retry-after-ms": "400" }), {}, ({ proxy, statistics }) =>
      Effect.gen(function* () {
        const url = `${proxy.url}/v1/chat/completions`
        const first = yield* call(url, { method: "POST" })
        expect([first.status, first.body, first.headers["proxy-status"]]).toEqual([429, "enough", undefined])
        const waits = yield* Effect.forkScoped(timed(call(`${proxy.url}/v1/chat?again`, { method: "POST" })))
        yield* untilEffect(Effect.map(statistics, ({ waiting }) => waiting === 1))
        expect(yield* statistics).toMatchObject({ limit: 100, limitedBy: "fixed 100", parked: 1, closedKeys: 1 })
        for (const [path, method] of [
          ["/v1/models", "POST"],
          ["/v1/chat/completions", "GET"],
          ["/v2/chat", "POST"]
        ] as const) {
          const [time, other] = yield* timed(call(`${proxy.url}${path}`, { method }))
          expect(other.status).toBe(200)
          expect(time).toBeLessThan(300)
        }
        const [time, again] = yield* Fiber.join(waits)
        expect(again.status).toBe(200)
        expect(time).toBeGreaterThan(250)
        expect((yield* timed(call(url, { method: "POST" })))[0]).toBeLessThan(200)
        expect(yield* statistics).toMatchObject({ parked: 0, closedKeys: 0 })
      })
    )
  )

  it.live("holds back those of the route who wait already, and lets others pass them", () => {
    const answers: Array<() => void> = []
    const listener: http.RequestListener = (_, response) => {
      const first = answers.length === 0
      answers.push(() => void (first ? response.writeHead(429, { "retry-after-ms": "400" }).end() : response.end("ok")))
      if (!first) answers.at(-1)!()
    }
    return withProxy(listener, { upstream: { concurrency: 1 } }, (setup) =>
      Effect.gen(function* () {
        const first = yield* Effect.forkScoped(call(`${setup.proxy.url}/v1/chat/0`))
        yield* until(() => setup.upstream.served.length === 1)
        const same = [yield* wait(setup, 3, "/v1/chat/1"), yield* wait(setup, 3, "/v1/chat/2")]
        const other = yield* wait(setup, 3, "/v1/models")
        const answeredAt = performance.now()
        answers[0]!()
        expect((yield* Fiber.join(other)).status).toBe(200)
        expect(performance.now() - answeredAt).toBeLessThan(300)
        for (const { status } of yield* Fiber.joinAll(same)) expect(status).toBe(200)
        expect((yield* Fiber.join(first)).status).toBe(429)
        const served = setup.upstream.served.map(({ at, request }) => [request.url, at - answeredAt] as const)
        expect(served.map(([url]) => url)).toEqual(["/v1/chat/0", "/v1/models", "/v1/chat/1", "/v1/chat/2"])
        expect(served[2]![1]).toBeGreaterThanOrEqual(395)
      })
    )
  })

  it.live("does not push back those who wait for longer than they may: they are refused at once", () =>
    withProxy(once({ "retry-after": "20" }), { upstream: { queue: queue({ wait: Duration.seconds(5) }) } }, (setup) =>
      Effect.gen(function* () {
        const { log, proxy, upstream } = setup
        expect((yield* call(`${proxy.url}/v1/chat`)).status).toBe(429)
        const [time, refused] = yield* timed(call(`${proxy.url}/v1/chat`))
        expect(time).toBeLessThan(1000)
        expect(refused.json()).toMatchObject({ status: 429, type: "urn:fairlead:problem:rate-limited", sent: false })
        expect(refused.headers["proxy-status"]).toBe("fairlead; error=proxy_internal_response")
        expect(Number(refused.headers["retry-after-ms"])).toBeGreaterThan(19_000)
        expect(Number(refused.headers["retry-after-ms"])).toBeLessThan(25_001)
        expect(upstream.served.length).toBe(1)
        expect((yield* call(`${proxy.url}/v1/models`)).status).toBe(200)
        yield* until(() => log.length === 3)
        expect(log.map(({ reason }) => reason)).toEqual([undefined, "rate-limited", undefined])
      })
    )
  )

  it.live("holds for no longer than the config says, however long the upstream does", () =>
    withProxy(once({ "retry-after": "86400" }), { upstream: { cooling: cooling("300 millis") } }, ({ proxy }) =>
      Effect.gen(function* () {
        yield* call(`${proxy.url}/v1/chat`)
        const [time, again] = yield* timed(call(`${proxy.url}/v1/chat`))
        expect(again.status).toBe(200)
        expect(time).toBeGreaterThan(200)
        expect(time).toBeLessThan(2000)
      })
    )
  )

  it.live("cools all of an upstream whose limits are for all of it", () =>
    withProxy(once({ "retry-after-ms": "300" }), { upstream: { cooling: cooling("1 minute", 0) } }, ({ proxy }) =>
      Effect.gen(function* () {
        yield* call(`${proxy.url}/v1/chat`)
        expect((yield* timed(call(`${proxy.url}/quite/another`, { method: "DELETE" })))[0]).toBeGreaterThan(200)
      })
    )
  )

  it.live("is passed on and not heeded where the config says so", () =>
    withProxy(once({ "retry-after": "20" }), { upstream: { cooling: cooling(0) } }, ({ proxy }) =>
      Effect.gen(function* () {
        expect((yield* call(`${proxy.url}/v1/chat`)).headers["retry-after"]).toBe("20")
        expect((yield* call(`${proxy.url}/v1/chat`)).status).toBe(200)
      })
    )
  )
})

/** An upstream that answers when told to, behind a gate of one permit that is taken. */
const behindOne = <E>(
  options: Partial<Pick<Upstream, "queue" | "shares">>,
  body: (setup: Setup, next: () => void) => Effect.Effect<unknown, E, Scope.Scope>
) => {
  const waiting: Array<() => void> = []
  return withProxy(
    (_, response) => void waiting.push(() => response.end("ok")),
    { upstream: { ...options, concurrency: 1 } },
    (setup) =>
      Effect.gen(function* () {
        const first = yield* Effect.forkScoped(call(`${setup.proxy.url}/first`))
        yield* until(() => setup.upstream.served.length === 1)
        yield* body(setup, () => waiting.shift()?.())
        expect((yield* Fiber.join(first)).status).toBe(200)
      })
  )
}

/** Starts a call and waits until it stands in the line. */
const wait = ({ proxy, statistics }: Setup, urgency: number, path = `/u${urgency}`) =>
  Effect.gen(function* () {
    const { offered } = yield* statistics
    const asked: Asked = { headers: { priority: `u=${urgency}` } }
    const fiber = yield* Effect.forkScoped(call(`${proxy.url}${path}`, asked))
    yield* untilEffect(Effect.map(statistics, (now) => now.offered === offered + 1))
    return fiber
  })

/** Lets as many calls through, one after another; gives their paths. */
const drain = ({ upstream }: Setup, next: () => void, calls: number) =>
  Effect.gen(function* () {
    for (let i = 1; i <= calls; i++) {
      next()
      yield* until(() => upstream.served.length === i + 1)
    }
    next()
    return upstream.served.slice(1).map(({ request }) => request.url)
  })

describe("a full queue", () => {
  it.live("puts the last of the least urgent out for one more urgent, and tells it", () =>
    behindOne({ queue: queue({ items: 2, overflow: "evictLeast" }) }, (setup, next) =>
      Effect.gen(function* () {
        const stays = yield* wait(setup, 7, "/background/1")
        const goes = yield* wait(setup, 7, "/background/2")
        const urgent = yield* wait(setup, 0)
        const evicted = yield* Fiber.join(goes)
        expect(evicted.json()).toMatchObject({
          type: "urn:fairlead:problem:evicted",
          status: 503,
          sent: false,
          error: { code: "evicted" }
        })
        expect(evicted.json().detail).toContain("a call of urgency 0 took the place")
        expect(evicted.headers["proxy-status"]).toBe("fairlead; error=proxy_internal_response")
        // One that is no more urgent than any who waits takes nobody's place.
        const refused = yield* call(setup.proxy.url, { headers: { priority: "u=7" } })
        expect([refused.status, refused.json().error.code]).toEqual([429, "queue-full"])
        expect(yield* drain(setup, next, 2)).toEqual(["/u0", "/background/1"])
        expect((yield* Fiber.join(urgent)).status).toBe(200)
        expect((yield* Fiber.join(stays)).status).toBe(200)
      })
    )
  )

  it.live("puts the oldest of the least urgent out for a newer one", () =>
    behindOne({ queue: queue({ items: 2, overflow: "evictOldest" }) }, (setup, next) =>
      Effect.gen(function* () {
        const oldest = yield* wait(setup, 3, "/1")
        const rest = [yield* wait(setup, 3, "/2"), yield* wait(setup, 3, "/3")]
        const evicted = yield* Fiber.join(oldest)
        expect([evicted.status, evicted.json().error.code]).toEqual([503, "evicted"])
        expect(yield* drain(setup, next, 2)).toEqual(["/2", "/3"])
        yield* Fiber.joinAll(rest)
      })
    )
  )
})

describe("shares", () => {
  const order = (shares: Upstream["shares"]) => {
    let served: ReadonlyArray<string | undefined> = []
    return Effect.map(
      behindOne({ shares }, (setup, next) =>
        Effect.gen(function* () {
          const fibers = []
          for (let i = 0; i < 4; i++) fibers.push(yield* wait(setup, 7))
          for (let i = 0; i < 12; i++) fibers.push(yield* wait(setup, 0))
          served = yield* drain(setup, next, 16)
          yield* Fiber.joinAll(fibers)
        })
      ),
      () => served
    )
  }

  it.live("give each urgency its turns: three of four to the urgent, and nobody starves", () =>
    Effect.gen(function* () {
      const served = yield* order({ 0: 3, 7: 1 })
      for (let i = 0; i + 4 <= 16; i++) expect(served.slice(i, i + 4).filter((path) => path === "/u7").length).toBe(1)
    })
  )

  it.live("are none where the config says strict: the urgent first, always", () =>
    Effect.gen(function* () {
      expect(yield* order("strict")).toEqual([...Array(12).fill("/u0"), ...Array(4).fill("/u7")])
    })
  )
})

/** An upstream that works on so many calls at a time, for so long each; the others queue with it. */
const busy = (millis: number) => {
  const waiting: Array<http.ServerResponse> = []
  const upstream = {
    slots: 1,
    inFlight: 0,
    listener: ((_, response) => {
      waiting.push(response)
      work()
    }) as http.RequestListener
  }
  const work = () => {
    while (upstream.inFlight < upstream.slots && waiting.length > 0) {
      const response = waiting.shift()!
      upstream.inFlight++
      setTimeout(() => {
        upstream.inFlight--
        response.end("ok")
        work()
      }, millis)
    }
  }
  return upstream
}

describe("a concurrency that adapts", () => {
  it.live(
    "falls when the upstream slows, and rises again when it is fast again",
    () => {
      const upstream = busy(20)
      const adaptive = { min: 2, max: 100, limit: "gradient" } as const
      return withProxy(upstream.listener, { upstream: { concurrency: { adaptive } } }, ({ proxy, statistics }) =>
        Effect.gen(function* () {
          expect(yield* statistics).toMatchObject({ limit: 20, limitedBy: "gradient 2–100" })
          const agent = yield* Effect.acquireRelease(
            Effect.sync(() => new Agent({ keepAlive: true })),
            (agent) => Effect.sync(() => agent.destroy())
          )
          const client = Effect.forever(call(proxy.url, { agent }))
          const clients = yield* Effect.forkChild(
            Effect.all(
              Array.from({ length: 40 }, () => client),
              { concurrency: "unbounded" }
            )
          )
          const untilLimit = (holds: (limit: number) => boolean) =>
            untilEffect(
              Effect.map(statistics, ({ limit }) => holds(limit!)),
              10
            )
          upstream.slots = 20
          yield* untilLimit((limit) => limit >= 16)
          upstream.slots = 5
          yield* untilLimit((limit) => limit <= 8)
          upstream.slots = 20
          yield* untilLimit((limit) => limit >= 16)
          yield* Fiber.interrupt(clients)
        })
      )
    },
    40_000
  )

  it.live("is cut by an upstream that has enough, and by one that does not answer in time", () => {
    let healthy = true
    return withProxy(
      (request, response) => {
        if (request.url === "/silent") return
        setTimeout(() => response.writeHead(healthy ? 200 : 503).end(), 20)
      },
      {
        upstream: {
          concurrency: { adaptive: { min: 1, max: 64, limit: "aimd" } },
          timeout: { firstByte: Duration.millis(500) }
        }
      },
      ({ proxy, statistics }) =>
        Effect.gen(function* () {
          const limit = Effect.map(statistics, ({ limit }) => limit!)
          const some = (path: string, calls = 64) =>
            Effect.all(
              Array.from({ length: calls }, () => call(`${proxy.url}${path}`)),
              { concurrency: "unbounded" }
            )
          for (let i = 0; i < 4; i++) yield* some("/")
          const risen = yield* limit
          expect(risen).toBeGreaterThan(8)
          healthy = false
          expect((yield* some("/", 1))[0]!.status).toBe(503)
          const fallen = yield* limit
          expect(fallen).toBeLessThan(risen)
          expect((yield* some("/silent", 1))[0]!.status).toBe(504)
          expect(yield* limit).toBeLessThan(fallen)
        })
    )
  })
})

describe("a rate that counts answers", () => {
  it.live("is kept whenever the upstream counts: at the request, at the answer, or in between", () => {
    const length = 400
    const counted: Array<number> = []
    const rate: Upstream["rate"] = [{ limit: 3, per: Duration.millis(length), burst: 3, counts: "answer" }]
    return withProxy(
      async (_, response) => {
        // Counts at any moment of its work.
        const late = Math.random() * 150
        await after(late)
        counted.push(performance.now())
        await after(150 - late)
        response.end("ok")
      },
      { upstream: { rate } },
      ({ proxy, statistics }) =>
        Effect.gen(function* () {
          const calls = Array.from({ length: 12 }, () => call(proxy.url))
          const [time, answers] = yield* timed(Effect.all(calls, { concurrency: "unbounded" }))
          expect(answers.every(({ status }) => status === 200)).toBe(true)
          counted.sort((a, b) => a - b)
          for (let i = 3; i < 12; i++) expect(counted[i]! - counted[i - 3]!).toBeGreaterThanOrEqual(length)
          // Four rounds: three windows, each of which begins with an answer.
          expect(time).toBeGreaterThanOrEqual(3 * length + 4 * 150)
          expect((yield* statistics).windows).toMatchObject([{ limit: 3, pending: 0 }])
        })
    )
  })
})
