import { describe, expect, it } from "@effect/vitest"
import { ByteBudget, Pressure, Registry } from "@fairlead/core"
import type { Coalesce } from "@fairlead/core"
import { Duration, Effect, Fiber } from "effect"
import type { Scope } from "effect"
import * as http from "node:http"
import * as Config from "../src/Config.ts"
import { call, defaults, until, untilEffect, withProxy } from "./support.ts"
import type { Options, Setup } from "./support.ts"

const kib = 1024

/** An upstream that answers when told to, and reads what it is sent. */
const held = () => {
  const waiting: Array<() => void> = []
  const listener: http.RequestListener = (request, response) => {
    request.resume()
    waiting.push(() => response.end("ok"))
  }
  return { listener, all: () => waiting.splice(0).forEach((answer) => answer()) }
}

/** A proxy in a budget, of which nothing is in use at the end. */
const budgeted = <E>(
  max: number,
  listener: http.RequestListener,
  options: Options,
  body: (setup: Setup, budget: ByteBudget.ByteBudget, used: () => number) => Effect.Effect<unknown, E, Scope.Scope>
) =>
  Effect.scoped(
    Effect.gen(function* () {
      const budget = yield* ByteBudget.make("all queues", { max })
      const statistics = () => Effect.runSync(budget.statistics)
      const used = () => statistics().usedBytes
      yield* Effect.provideService(
        withProxy(listener, options, (setup) => body(setup, budget, used)),
        ByteBudget.ByteBudget,
        budget
      )
      yield* until(() => used() === 0)
      expect(ByteBudget.check(statistics())).toEqual([])
    })
  )

/** A client that sends what it can of so many bytes; gives the status and headers of its answer. */
const upload = (url: string, bytes: number, urgency: number) => {
  const headers = { "content-length": bytes, priority: `u=${urgency}` }
  const request = http.request(url, { method: "POST", headers, agent: false })
  const answer = new Promise<http.IncomingMessage | undefined>((resolve) =>
    request
      .on("response", (response) => resolve(response.resume()))
      .on("error", () => resolve(undefined))
      .end(Buffer.alloc(bytes))
  )
  return { answer: Effect.promise(() => answer) }
}

const queue = { ...defaults.queue, items: 10_000, bytes: 1024 * 1024 * kib, wait: Duration.seconds(30) }

describe("a proxy in a byte budget", () => {
  it.live("in a storm of uploads takes no more in than it may, refuses the rest, and the urgent get through", () => {
    const upstream = held()
    const options = { upstream: { concurrency: 1, queue, shares: "strict" as const } }
    return budgeted(4 * 1024 * kib, upstream.listener, options, ({ log, proxy, statistics }, budget, used) =>
      Effect.gen(function* () {
        const first = upload(proxy.url, 10, 3)
        yield* untilEffect(Effect.map(statistics, ({ running }) => running === 1))
        // 200 MiB, of which the server reads 25 ahead unless it is told better.
        const storm = Array.from({ length: 200 }, () => upload(proxy.url, 1024 * kib, 6))
        yield* until(() => log.length >= 170)
        const { waiting } = yield* statistics
        // Ten sixteenths are for an urgency of 6: 2,560 KiB, by 128 KiB and the head.
        expect(waiting).toBe(19)
        expect(used()).toBeLessThan(2560 * kib)
        const urgent = upload(proxy.url, 1024 * kib, 0)
        yield* untilEffect(Effect.map(statistics, ({ waiting }) => waiting === 20))
        yield* Effect.sleep(50)
        const all = Effect.forkChild(Effect.forever(Effect.andThen(Effect.sleep(2), Effect.sync(upstream.all))))
        const answering = yield* all
        const answers = yield* Effect.forEach([first, urgent, ...storm], ({ answer }) => answer)
        yield* Fiber.interrupt(answering)
        expect(answers.slice(0, 2).map((answer) => answer?.statusCode)).toEqual([200, 200])
        const statuses = answers.map((answer) => answer?.statusCode)
        expect(statuses.filter((status) => status === 200)).toHaveLength(21)
        const refused = answers.find((answer) => answer?.statusCode === 503)
        expect(refused?.headers["proxy-status"]).toContain("fairlead; error=proxy_internal_response")
        yield* until(() => log.length === 202)
        const reasons = log.filter(({ reason }) => reason === "shed")
        expect(reasons).toHaveLength(181)
        // The urgent went before all who had waited for longer.
        expect(
          log
            .filter(({ status }) => status === 200)
            .map(({ urgency }) => urgency)
            .slice(0, 2)
        ).toEqual([3, 0])
        expect((yield* budget.statistics).refused).toBe(181)
      })
    )
  })

  it.live("a content that is kept for another attempt is drawn once, while its call waits too", () => {
    let calls = 0
    const answers: Array<() => void> = []
    const listener: http.RequestListener = (request, response) => {
      request.resume()
      if (++calls === 1) answers.push(() => response.end("ok"))
      else response.writeHead(calls === 2 ? 503 : 200).end("ok")
    }
    const retry = { ...Config.defaults.retry, replay: 200 * kib }
    return budgeted(800 * kib, listener, { upstream: { concurrency: 1, retry } }, ({ proxy, upstream }, _, used) =>
      Effect.gen(function* () {
        const first = yield* Effect.forkChild(call(proxy.url))
        yield* until(() => answers.length === 1)
        const put = { method: "PUT", body: "x".repeat(100 * kib), headers: { "content-length": 100 * kib } }
        const kept = yield* Effect.forkChild(call(proxy.url, put))
        yield* until(() => used() > 100 * kib)
        yield* Effect.sleep(20)
        expect(used()).toBeLessThan(101 * kib)
        answers[0]!()
        expect((yield* Fiber.join(first)).status).toBe(200)
        // Sent again, content and all.
        expect((yield* Fiber.join(kept)).status).toBe(200)
        expect(upstream.served.length).toBe(3)
        yield* until(() => used() === 0)
      })
    )
  })

  it.live("a content that finds no room goes once", () =>
    budgeted(
      50 * kib,
      (_, response) => response.writeHead(503).end(),
      { upstream: { retry: { ...Config.defaults.retry, replay: 100 * kib } } },
      ({ proxy, upstream }) =>
        Effect.gen(function* () {
          const put = (bytes: number) => ({
            method: "PUT",
            body: "x".repeat(bytes),
            headers: { "content-length": bytes }
          })
          expect((yield* call(proxy.url, put(60 * kib))).status).toBe(503)
          expect(upstream.served.length).toBe(1)
          expect((yield* call(proxy.url, put(10 * kib))).status).toBe(503)
          expect(upstream.served.length).toBe(4)
        })
    )
  )

  it.live("an answer that is shared is drawn once while it comes, and then for each who is slow to read it", () => {
    const responses: Array<http.ServerResponse> = []
    const large = 24 * 1024 * kib
    const coalesce = { maxBytes: large, ignore: [] }
    return budgeted(
      2 * large,
      (_, response) => void responses.push(response.writeHead(200, { "content-type": "text/plain" })),
      { upstream: { coalesce } },
      ({ proxy }, _, used) =>
        Effect.gen(function* () {
          let reads = () => {}
          const slow = http.get(proxy.url, { agent: false }, (response) => {
            response.pause()
            reads = () => void response.resume()
          })
          slow.on("error", () => {})
          const clients = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(call(proxy.url)))
          const waiting = Effect.map(
            Registry.snapshot,
            (all) => (all.find(({ kind }) => kind === "coalesce")!.statistics as Coalesce.Statistics).waiting
          )
          yield* untilEffect(Effect.map(waiting, (count) => count === 4))
          yield* until(() => responses.length === 1)
          responses[0]!.write("x".repeat(100 * kib))
          yield* until(() => used() === 100 * kib)
          // More than sockets hold.
          responses[0]!.end(Buffer.alloc(large - 100 * kib))
          for (const { bytes } of yield* Effect.forEach(clients, Fiber.join)) expect(bytes.length).toBe(large)
          // Sockets hold a part of it.
          expect(used()).toBeGreaterThan(large / 4)
          expect(used()).toBeLessThanOrEqual(large + kib)
          reads()
          yield* until(() => used() === 0)
        })
    )
  })

  it.live("an answer that finds no room is not shared: each calls by himself", () =>
    budgeted(
      100 * kib,
      (_, response) => response.writeHead(200, { "content-type": "text/plain" }).end("x".repeat(200 * kib)),
      { upstream: { coalesce: { maxBytes: 500 * kib, ignore: [] } } },
      ({ proxy, upstream }) =>
        Effect.gen(function* () {
          const answers = yield* Effect.all([call(proxy.url), call(proxy.url)], { concurrency: 2 })
          expect(answers.map(({ body, status }) => [status, body.length])).toEqual([
            [200, 200 * kib],
            [200, 200 * kib]
          ])
          expect(upstream.served.length).toBeGreaterThanOrEqual(3)
        })
    )
  )
})

describe("a proxy that watches its memory", () => {
  it.live("sheds the least urgent at critical, has shorter queues, and serves all when it is calm", () => {
    const pressure = Pressure.make("memory")
    const upstream = held()
    const served = withProxy(
      upstream.listener,
      { upstream: { concurrency: 1, queue: { ...queue, items: 8 } } },
      ({ log, proxy, statistics }) =>
        Effect.gen(function* () {
          const waits = (urgency: number, count: number) =>
            Effect.gen(function* () {
              const fiber = yield* Effect.forkChild(call(proxy.url, { headers: { priority: `u=${urgency}` } }))
              yield* untilEffect(Effect.map(statistics, ({ running, waiting }) => running + waiting === count))
              return fiber
            })
          const refused = (urgency: number) =>
            Effect.map(call(proxy.url, { headers: { priority: `u=${urgency}` } }), (answer) => [
              answer.status,
              answer.json().error.code
            ])
          const first = yield* waits(3, 1)
          pressure.set("critical")
          expect(yield* refused(7)).toEqual([503, "shed"])
          const second = yield* waits(3, 2)
          // An eighth of eight is one.
          expect(yield* refused(3)).toEqual([503, "shed"])
          pressure.set("calm")
          const third = yield* waits(7, 3)
          const answering = yield* Effect.forkChild(
            Effect.forever(Effect.andThen(Effect.sleep(2), Effect.sync(upstream.all)))
          )
          const answers = yield* Effect.forEach([first, second, third], Fiber.join)
          expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
          yield* Fiber.interrupt(answering)
          yield* until(() => log.length === 5)
        })
    )
    return Effect.provideService(served, Pressure.Pressure, pressure)
  })

  it.live("does so by its config, and shows what it sees", () =>
    Effect.gen(function* () {
      const memory = { max: undefined, tight: 0.98, critical: 0.99, budget: 100 }
      const upstream = held()
      yield* withProxy(
        upstream.listener,
        { config: { memory }, upstream: { concurrency: 1 } },
        ({ proxy, upstream: { served } }) =>
          Effect.gen(function* () {
            const first = yield* Effect.forkChild(call(proxy.url))
            yield* until(() => served.length === 1)
            // Its head alone is more than that.
            const refused = yield* call(proxy.url, { headers: { "x-long": "x".repeat(100) } })
            expect([refused.status, refused.json().error.code]).toEqual([503, "shed"])
            upstream.all()
            expect((yield* Fiber.join(first)).status).toBe(200)
            const all = yield* Registry.snapshot
            const found = all.find(({ kind }) => kind === "memory")
            expect(found).toMatchObject({
              name: "memory",
              statistics: { level: "calm", budget: { limitBytes: 100, usedBytes: 0, refused: 1 } }
            })
          })
      )
    })
  )
})
