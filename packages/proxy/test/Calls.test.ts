import { describe, expect, it } from "@effect/vitest"
import { Reason, Registry } from "@fairlead/core"
import type { Deadline } from "@fairlead/core"
import { Inspect } from "@fairlead/platform-node"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { Answer, Asked } from "./proxied.ts"
import * as proxied from "./proxied.ts"

const own = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(effect).pipe(Effect.provideServiceEffect(Registry.Registry, Effect.sync(Registry.make)))

const setup = (lines: string) =>
  Effect.gen(function* () {
    const upstream = proxied.upstream()
    const { ask, log } = yield* proxied.make(lines, upstream.exchange)
    const begin = (asked?: Asked): Effect.Effect<Fiber.Fiber<Answer>> =>
      Effect.forkChild(ask(asked), { startImmediately: true })
    return { ...upstream, begin, log }
  })

/** Ids in the order in which the calls came. */
const ids = Effect.map(Inspect.tasks(), (tasks) =>
  tasks.map(({ id }) => id).toSorted((a, b) => Number(a.split("-")[1]) - Number(b.split("-")[1]))
)

/** What is told of a call, with times left out: they are the machine's. */
const told = (id: string) =>
  Effect.map(Inspect.explain(id), (sentences) =>
    sentences.map((sentence) => sentence.replaceAll(/\d[\d.:]* (ms|s|min|h)\b/g, "T").replaceAll(/[\da-f]{8}-/g, "x-"))
  )

const tree = Effect.map(Inspect.tree(), (nodes) =>
  nodes.flatMap(({ children }) => children.map(({ name, state, waitingFor }) => [name, state, waitingFor]))
)

const statistics = Effect.map(Registry.snapshot, (all) => all.find(({ kind }) => kind === "calls")?.statistics)

describe("calls under way", () => {
  it.effect("are in the tree with what each waits for, while they are", () =>
    Effect.gen(function* () {
      const { begin, exchanges } = yield* setup("concurrency: 1")
      expect(yield* tree).toEqual([])
      const first = yield* begin({ target: "/up/a?key=hunter2" })
      const second = yield* begin({ target: "/up/b", method: "DELETE" })
      yield* TestClock.adjust(1)
      expect(yield* tree).toEqual([
        ["GET /up/a?key=", "waiting", "first byte of up"],
        ["DELETE /up/b", "waiting", "gate up"]
      ])
      expect(yield* statistics).toEqual({ underWay: 2, ended: 0 })
      yield* exchanges[0]!.reply({})
      yield* Fiber.join(first)
      yield* TestClock.adjust(1)
      expect(yield* tree).toEqual([["DELETE /up/b", "waiting", "first byte of up"]])
      yield* exchanges[1]!.reply({})
      yield* Fiber.join(second)
      expect(yield* tree).toEqual([])
      expect(yield* statistics).toEqual({ underWay: 0, ended: 2 })
    }).pipe(own)
  )

  it.effect("are shown as far as was asked, the oldest, and the rest is counted", () =>
    Effect.gen(function* () {
      const { begin } = yield* setup("concurrency: 1")
      const fibers = []
      for (let i = 0; i < 5; i++) fibers.push(yield* begin({ target: `/up/${i}` }))
      yield* Fiber.interrupt(fibers[0]!)
      yield* TestClock.adjust(1)
      const [calls] = yield* Registry.treeOf(2)
      expect(calls).toMatchObject({ kind: "calls", name: "proxy", left: 2 })
      expect(calls!.children.map(({ name }) => name)).toEqual(["GET /up/1", "GET /up/2"])
      yield* Fiber.interruptAll(fibers)
      expect(yield* tree).toEqual([])
    }).pipe(own)
  )

  it.effect("say why they wait in line: their place, who is before them, and what the first waits for", () =>
    Effect.gen(function* () {
      const { begin, exchanges } = yield* setup("concurrency: 1, timeout: { total: 20 seconds }")
      const fibers = [yield* begin()]
      fibers.push(yield* begin({ headers: ["Priority", "u=5", "Prefer", "wait=10"] }))
      fibers.push(yield* begin({ headers: ["Priority", "u=1"] }))
      fibers.push(yield* begin({ target: "/up/mine?a=secret" }))
      yield* TestClock.adjust("100 millis")
      const [first, patient, urgent, mine] = yield* ids
      expect(yield* told(first!)).toEqual([
        "x-1 is GET /up/x to up, of urgency 3, under way for T.",
        "It was sent T ago, and has no answer yet.",
        "Its deadline is in T."
      ])
      expect((yield* told(urgent!)).slice(1)).toEqual([
        "It has waited for T of at most T at gate up: it is next, and waits for the permit.",
        "Its deadline is in T."
      ])
      expect(yield* told(mine!)).toEqual([
        "x-4 is GET /up/mine?a= to up, of urgency 3, under way for T.",
        "It has waited for T of at most T at gate up: place 2 of 3, behind 1 of urgency 1.",
        "The first in line waits for the permit.",
        "Its deadline is in T."
      ])
      expect((yield* told(patient!)).slice(1)).toEqual([
        "It has waited for T at gate up: place 3 of 3, behind 1 of urgency 1, 1 of urgency 3.",
        "The first in line waits for the permit.",
        "Its client will wait for T in all (Prefer), of which T are left.",
        "Its deadline is in T."
      ])
      for (let i = 0; i < 4; i++) {
        yield* exchanges[i]!.reply({})
        yield* TestClock.adjust(1)
      }
      yield* Fiber.joinAll(fibers)
    }).pipe(own)
  )

  it.effect("can be asked for by the client's own id", () =>
    Effect.gen(function* () {
      const { begin } = yield* setup("concurrency: 1")
      const fiber = yield* begin({ headers: ["X-Request-Id", "order 7"] })
      expect((yield* told("order 7"))[0]).toMatch(/^x-1 is GET/)
      yield* Fiber.interrupt(fiber)
      expect(yield* told("order 7")).toEqual([])
    }).pipe(own)
  )

  it.effect("of many that their clients call the same the oldest are told, and how many more there are", () =>
    Effect.gen(function* () {
      const { begin } = yield* setup("concurrency: 1")
      const fibers = []
      for (let i = 0; i < 8; i++) fibers.push(yield* begin({ headers: ["X-Request-Id", "same"] }))
      const [first] = yield* ids
      const sentences = yield* told("same")
      expect(sentences.filter((sentence) => / is GET /.test(sentence))).toHaveLength(5)
      expect(sentences[0]).toBe((yield* told(first!))[0])
      expect(sentences.at(-1)).toBe("3 more are called so.")
      yield* Fiber.interruptAll(fibers)
    }).pipe(own)
  )

  it.effect("show the beginning of a long path, and of its query no value", () =>
    Effect.gen(function* () {
      const { begin } = yield* setup("concurrency: 1")
      const target = `/up/${"x".repeat(150)}?key=${"hunter2".repeat(1_000)}`
      const fiber = yield* begin({ target })
      const shown = `GET /up/${"x".repeat(150)}?key=…`
      expect((yield* tree)[0]![0]).toBe(shown)
      expect((yield* told((yield* ids)[0]!))[0]).toBe(`x-1 is ${shown} to up, of urgency 3, under way for T.`)
      yield* Fiber.interrupt(fiber)
    }).pipe(own)
  )

  it.effect("say what is left of their client's patience, and when a window or a pause lets them start", () =>
    Effect.gen(function* () {
      const { begin, exchanges } = yield* setup("concurrency: 9, rate: 1 per minute, queue: { wait: 2 minutes }")
      const fibers = [yield* begin(), yield* begin({ headers: ["Prefer", "wait=100"] })]
      yield* TestClock.adjust("20 seconds")
      const [, id] = yield* ids
      expect((yield* Inspect.explain(id!)).slice(1, 3)).toEqual([
        "It has waited for 20 s at gate up: it is next, and waits for 1 per 1m. It starts in 40 s at the earliest.",
        "Its client will wait for 100 s in all (Prefer), of which 80 s are left."
      ])
      yield* exchanges[0]!.reply({})
      yield* Fiber.interruptAll(fibers)
    }).pipe(own)
  )

  it.effect("say in which attempt they are, and that they wait to be sent again", () =>
    Effect.gen(function* () {
      const { begin, exchanges } = yield* setup("concurrency: 2, retry: { attempts: 3 }")
      const fiber = yield* begin()
      const [id] = yield* ids
      yield* exchanges[0]!.reply({ status: 503, headers: ["Retry-After", "5"] })
      yield* TestClock.adjust("1 second")
      expect((yield* told(id!))[1]).toBe("It waits for backoff of up, attempt 2.")
      yield* TestClock.adjust("30 seconds")
      expect(exchanges).toHaveLength(2)
      expect((yield* told(id!)).slice(1)).toEqual([
        "It was sent T ago, and has no answer yet.",
        "It is in attempt 2 of 3, T passed between attempts.",
        "It has no deadline."
      ])
      yield* exchanges[1]!.reply({})
      yield* Fiber.join(fiber)
    }).pipe(own)
  )

  it.effect("that are hedged say where the attempt is that began last", () =>
    Effect.gen(function* () {
      const { begin, exchanges } = yield* setup("concurrency: 2, retry: { attempts: 2, hedge: 1 second }")
      // One hedge for twenty calls.
      for (let i = 0; i < 20; i++) {
        const fast = yield* begin()
        yield* exchanges.pop()!.reply({})
        yield* Fiber.join(fast)
      }
      const fiber = yield* begin()
      const [id] = yield* ids
      yield* TestClock.adjust("1 second")
      expect(exchanges).toHaveLength(2)
      expect((yield* told(id!)).slice(1, 3)).toEqual([
        "It was sent T ago, and has no answer yet.",
        "It is in attempt 2 of 2."
      ])
      const body = { length: undefined, bytes: undefined, abort: () => {}, pipeTo: () => Effect.sleep("3 minutes") }
      yield* exchanges[1]!.reply({ body })
      yield* TestClock.adjust("1 second")
      // Its fiber has ended with the head; the permit is the call's until the last byte, and that is no finding.
      expect(yield* Inspect.lint()).toEqual([])
      yield* TestClock.adjust("2 minutes")
      expect(yield* Inspect.lint()).toEqual([])
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
    }).pipe(own)
  )

  it.effect("that share a run say where that is", () =>
    Effect.gen(function* () {
      const { begin, exchanges } = yield* setup("concurrency: 1, coalesce: true")
      const before = yield* begin({ target: "/up/before" })
      const fibers = [yield* begin(), yield* begin()]
      yield* TestClock.adjust(1)
      const [, , joined] = yield* ids
      expect((yield* told(joined!)).slice(1)).toEqual([
        "It shares one run with another identical call, and what follows is that run's.",
        "It has waited for T of at most T at gate up: it is next, and waits for the permit.",
        "It has no deadline."
      ])
      expect((yield* told((yield* ids)[0]!))[1]).toBe("It was sent T ago, and has no answer yet.")
      yield* exchanges[0]!.reply({})
      yield* Fiber.join(before)
      yield* TestClock.adjust(1)
      expect((yield* told(joined!))[2]).toBe("It was sent T ago, and has no answer yet.")
      yield* exchanges[1]!.reply({})
      yield* Fiber.joinAll(fibers)
    }).pipe(own)
  )

  it.effect("say why they are being cut, and a stream that it may live long", () =>
    Effect.gen(function* () {
      const { begin, exchanges } = yield* setup("concurrency: 1")
      let region: Deadline.Region | undefined
      const body = {
        length: undefined,
        bytes: undefined,
        abort: () => {},
        pipeTo: () => Effect.uninterruptible(Effect.sleep("1 minute"))
      }
      const fiber = yield* begin({ region: (own) => (region = own) })
      yield* exchanges[0]!.reply({ headers: ["Content-Type", "text/event-stream"], body })
      yield* TestClock.adjust(1)
      const [id] = yield* ids
      expect((yield* Inspect.tree())[0]!.children[0]).toMatchObject({
        meant: expect.stringContaining("stream of events")
      })
      region!.cut(new Reason.ClientGone())
      expect((yield* told(id!)).at(-1)).toBe("It is being cut: ClientGone.")
      expect((yield* tree)[0]![1]).toBe("ending")
      yield* TestClock.adjust("1 minute")
      yield* Fiber.await(fiber)
      expect(yield* tree).toEqual([])
    }).pipe(own)
  )
})

describe("calls that have ended", () => {
  it.effect("are known for a while: how they ended, and when", () =>
    Effect.gen(function* () {
      const { begin, exchanges, log } = yield* setup("concurrency: 1, queue: { items: 0 }")
      const first = yield* begin()
      const refused = yield* Fiber.join(yield* begin())
      expect(JSON.parse(refused.body)).toMatchObject({ instance: `urn:fairlead:call:${log[0]!.id}` })
      yield* exchanges[0]!.reply({})
      yield* Fiber.join(first)
      // Nobody's server wrote a head here, so that each is a 500 for the log.
      expect(yield* told(log[0]!.id)).toEqual(["x-2 has ended, T ago and after T: 500, queue-full, cut: open."])
      expect(yield* told(log[1]!.id)).toEqual(["x-1 has ended, T ago and after T: 500, cut: open."])
      for (const id of [`${log[0]!.id.slice(0, 9)}3`, `${log[0]!.id.slice(0, 9)}0`, "00000000-1", "x", ""]) {
        expect([id, yield* told(id)]).toEqual([id, []])
      }
    }).pipe(own)
  )

  it.effect("are forgotten after a thousand others", () =>
    Effect.gen(function* () {
      const { begin, log } = yield* setup("concurrency: 1, queue: { items: 0 }")
      const holder = yield* begin()
      for (let i = 0; i < 1_024; i++) yield* begin()
      expect(log).toHaveLength(1_024)
      expect(yield* told(log[0]!.id)).toHaveLength(1)
      yield* begin()
      expect(yield* told(log[0]!.id)).toEqual([])
      expect(yield* told(log[1]!.id)).toHaveLength(1)
      yield* Fiber.interrupt(holder)
      expect(yield* statistics).toEqual({ underWay: 0, ended: 1_026 })
    }).pipe(own)
  )
})
