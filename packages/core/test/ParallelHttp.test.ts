/**
 * Calls as their callers see them: what they come to, what is tried again, where they go, and how many at once.
 */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Data, Effect, Exit, Fiber, Option, Ref, Schedule, Stream } from "effect"
import type { Scope } from "effect"
import { TestClock } from "effect/testing"
import { CircuitBreaker } from "@fairlead/core/http"
import { Attempts, Gate, GateMap, ParallelHttp, Priority, RateWindow, Registry, Transport } from "@fairlead/core"
import { Leaks } from "@fairlead/testing"
import { fork, settle } from "./gates.ts"
import { answer, failed, flowing, scripted } from "./support/transport.ts"
import type { reply, Scripted } from "./support/transport.ts"

interface Scene {
  readonly http: ParallelHttp.ParallelHttp
  readonly transport: Scripted
}

type Answers = Parameters<typeof scripted>[0]

/** A client over a script; when `f` has ended nothing is open, nobody waits, all counts agree, and no fiber is left. */
const scene = <A, E>(
  options: ParallelHttp.Options,
  answers: Answers,
  f: (scene: Scene) => Effect.Effect<A, E, Scope.Scope | Transport.Transport>
) =>
  Effect.gen(function* () {
    // The first sleep on a test clock forks a warning, which is none of ours.
    yield* TestClock.adjust(0)
    const transport = scripted(answers)
    const body = Effect.gen(function* () {
      const http = yield* ParallelHttp.make("test", options)
      const value = yield* f({ http, transport })
      yield* nothingLeft({ http, transport })
      return value
    })
    const provided = body.pipe(
      Effect.provideService(Transport.Transport, transport),
      Effect.provideService(Registry.Registry, Registry.make())
    )
    return yield* Leaks.expectNoLeaks(provided)
  })

const nothingLeft = ({ http, transport }: Scene) =>
  Effect.gen(function* () {
    const statistics = yield* http.statistics
    expect(ParallelHttp.check(statistics)).toEqual([])
    expect([statistics.running, transport.open()]).toEqual([0, 0])
    for (const { kind, statistics } of yield* Registry.snapshot) {
      if (kind === "gate") expect(Gate.check(statistics as Gate.Statistics)).toEqual([])
      if (kind === "gate map") expect(GateMap.check(statistics as GateMap.Statistics)).toEqual([])
      if (kind === "attempts") expect(Attempts.check(statistics as Attempts.Statistics)).toEqual([])
      if (kind === "gate" || kind === "gate map" || kind === "attempts") {
        expect(statistics).toMatchObject({ running: 0, waiting: 0 })
      }
    }
  })

/** Lets the time pass, and gives the end of what goes on. */
const after = <A, E>(fiber: Fiber.Fiber<A, E>, millis: number, step = 10) =>
  Effect.gen(function* () {
    for (let passed = 0; passed < millis && fiber.pollUnsafe() === undefined; passed += step) {
      yield* TestClock.adjust(Math.min(step, millis - passed))
    }
    return yield* Fiber.await(fiber)
  })

const failure = <A, E>(exit: Exit.Exit<A, E>): E => {
  if (Exit.isSuccess(exit)) throw new Error(`Expected a failure, got ${String(exit.value)}`)
  return Cause.findErrorOption(exit.cause).pipe(Option.getOrThrow)
}

const slowly = (millis: number, ...of: Parameters<typeof reply>) => Effect.delay(answer(...of), millis)
const urls = (n: number, host = "a.test") => Array.from({ length: n }, (_, i) => `http://${host}/${i}`)
const targets = ({ asked }: Scripted) => asked.map(({ target }) => target)

describe("one call", () => {
  it.effect("comes to the answer's bytes, or to what its reader makes of it", () =>
    scene(
      {},
      ({ target }) => answer(200, ["content-type", "application/json"], `{ "path": "${target}" }`),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const url = "http://a.test:8080/x?y=1#z"
          expect(new TextDecoder().decode(yield* http.fetch(url))).toBe(`{ "path": "/x?y=1" }`)
          expect(yield* http.fetch(url, ParallelHttp.text)).toBe(`{ "path": "/x?y=1" }`)
          expect(yield* http.fetch(url, ParallelHttp.json)).toEqual({ path: "/x?y=1" })
          expect(yield* http.fetch(url, ParallelHttp.status)).toBe(200)
          expect(yield* http.fetch(url, ParallelHttp.discard)).toBe(undefined)
          const type = yield* http.fetch(url, ({ header, url }) => Effect.succeed([url, header("content-type")]))
          expect(type).toEqual(["http://a.test:8080/x?y=1", "application/json"])
          expect(transport.asked[0]).toMatchObject({ origin: "http://a.test:8080", method: "GET", target: "/x?y=1" })
          expect(yield* http.statistics).toMatchObject({ offered: 6, completed: 6, statuses: { 200: 6 } })
        })
    )
  )

  it.effect("sends what it is told to", () =>
    scene(
      {},
      () => answer(201),
      ({ http, transport }) =>
        Effect.gen(function* () {
          yield* http.fetch({ url: "http://a.test", method: "PUT", headers: ["x-a", "1"], body: "grüße" })
          yield* http.fetch({ url: "http://a.test/b", method: "POST", body: new Uint8Array([65]) })
          yield* http.fetch({ url: "http://a.test/c", method: "POST", body: Transport.text("c") })
          expect(transport.asked.map(({ body, method, target }) => [method, target, body])).toEqual([
            ["PUT", "/", "grüße"],
            ["POST", "/b", "A"],
            ["POST", "/c", "c"]
          ])
          expect(transport.asked[0]!.header("x-a")).toBe("1")
        })
    )
  )

  it.effect("fails where the status is none that is accepted, and says what the body says", () =>
    scene(
      {},
      ({ target }) =>
        target === "/html"
          ? answer(404, [], "<h1>Not\n   here</h1>")
          : target === "/binary"
            ? answer(404, [], "\0\u0001")
            : target === "/flows"
              ? answer(500, [], flowing(["it ", "flows"]).body)
              : answer(404, [], "x".repeat(20_000)),
      ({ http }) =>
        Effect.gen(function* () {
          const of = (path: string) => Effect.flip(http.fetch(`http://a.test/${path}`))
          expect((yield* of("html")).message).toBe("http://a.test/html: 404: <h1>Not here</h1>")
          expect((yield* of("binary")).message).toBe("http://a.test/binary: 404")
          expect((yield* of("flows")).message).toBe("http://a.test/flows: 500: it flows")
          expect(yield* of("long")).toMatchObject({ _tag: "StatusRejected", status: 404, body: undefined })
        })
    )
  )

  it.effect("waits no longer than a second for what a rejected answer says", () => {
    const { body, seen } = flowing(["half a"], "never")
    return scene(
      {},
      () => answer(404, [], body),
      ({ http }) =>
        Effect.gen(function* () {
          const call = yield* fork(http.fetch("http://a.test"))
          yield* TestClock.adjust(999)
          expect(call.pollUnsafe()).toBe(undefined)
          yield* TestClock.adjust(1)
          expect(failure(yield* Fiber.await(call))).toMatchObject({ _tag: "StatusRejected", body: undefined })
          expect(seen.aborted).toBe(true)
        })
    )
  })

  it.effect("takes what it is told to accept", () =>
    scene(
      { accept: (status) => status === 404 },
      () => answer(404, [], "no"),
      ({ http }) => Effect.map(http.fetch("http://a.test", ParallelHttp.text), (text) => expect(text).toBe("no"))
    )
  )

  const kinds: ReadonlyArray<readonly [Transport.Kind, string]> = [
    ["dns", "ConnectionFailed dns"],
    ["refused", "ConnectionFailed refused"],
    ["tls", "ConnectionFailed tls"],
    ["reset", "ConnectionFailed reset"],
    ["protocol", "ConnectionFailed protocol"],
    ["connectTimeout", "Timeout connect"],
    ["headersTimeout", "Timeout firstByte"],
    ["idleTimeout", "Timeout idle"],
    ["totalTimeout", "Timeout total"],
    ["tooLarge", "BodyTooLarge 100"]
  ]
  it.effect.each(kinds)("has a typed error for %s: %s", ([kind, told]) =>
    scene(
      { attempts: false, maxBytes: 100 },
      ({ target }) => (target === "/head" ? failed(kind) : answer(200, [], flowing(["x"], kind).body)),
      ({ http }) =>
        Effect.gen(function* () {
          for (const path of ["head", "body"]) {
            const error: any = yield* Effect.flip(http.fetch(`http://a.test/${path}`))
            expect(`${error._tag} ${error.kind ?? error.phase ?? error.maxBytes}`).toBe(told)
            expect(error.message.startsWith(`http://a.test/${path}: `)).toBe(true)
          }
        })
    )
  )

  it.effect("takes no body that is too large, whether its length says so or only its end", () => {
    const long = flowing(["12345", "67890", "x"], "never")
    const said: Transport.Body = { ...flowing([], "never").body, length: 11 }
    return scene(
      { maxBytes: 10 },
      ({ target }) => answer(200, [], target === "/flows" ? long.body : target === "/said" ? said : "12345678901"),
      ({ http }) =>
        Effect.gen(function* () {
          for (const path of ["flows", "said", "whole"]) {
            const error = yield* Effect.flip(http.fetch(`http://a.test/${path}`))
            expect(error).toMatchObject({ _tag: "BodyTooLarge", maxBytes: 10 })
          }
          expect(long.seen.aborted).toBe(true)
        })
    )
  })

  it.effect("says what is no JSON", () =>
    scene(
      {},
      () => answer(200, [], "<html>"),
      ({ http }) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(http.fetch("http://a.test/x", ParallelHttp.json))
          expect(error._tag).toBe("NotJson")
          expect(error.message).toMatch(/^http:\/\/a.test\/x: expected JSON: .*</)
        })
    )
  )

  it.effect("drops what its reader leaves unread, and fails as its reader fails", () => {
    class Odd extends Data.TaggedError("Odd")<{}> {}
    const { body, seen } = flowing(["x"], "never")
    return scene(
      {},
      () => answer(200, [], body),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const error = yield* Effect.flip(http.fetch("http://a.test", () => Effect.fail(new Odd())))
          expect(error._tag).toBe("Odd")
          expect([transport.asked.length, seen.moved]).toEqual([1, 0])
        })
    )
  })

  it.effect("gives the body as it flows, counted", () =>
    scene(
      {},
      () => answer(200, [], flowing(["abc", "de"]).body),
      ({ http }) =>
        Effect.gen(function* () {
          const got: Array<number> = []
          const sink = { write: (chunk: Uint8Array) => got.push(chunk.length) > 0, onDrain: () => {} }
          const [end] = yield* http.all(["http://a.test"], { read: ({ body }) => body.pipeTo(sink) })
          expect([got, end!.trace.bytes]).toEqual([[3, 2], 5])
          expect((yield* http.statistics).bytes).toBe(5)
        })
    )
  )

  it.effect("is over in its time, whatever it is at", () =>
    scene(
      { timeout: 100, inFlight: 1 },
      ({ target }) => (target === "/body" ? answer(200, [], flowing(["x"], "never").body) : Effect.never),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const calls = yield* Effect.forEach(["head", "line"], (path) => fork(http.fetch(`http://a.test/${path}`)))
          yield* TestClock.adjust(100)
          for (const call of calls) expect(failure(yield* Fiber.await(call))._tag).toBe("DeadlineExceeded")
          const body = yield* fork(http.fetch("http://a.test/body"))
          yield* TestClock.adjust(100)
          expect(failure(yield* Fiber.await(body))._tag).toBe("DeadlineExceeded")
          // The one in line never began.
          expect(targets(transport)).toEqual(["/head", "/body"])
        })
    )
  )

  it.effect("is interrupted with its caller, and closes its connection", () =>
    scene(
      {},
      () => Effect.never,
      ({ http, transport }) =>
        Effect.gen(function* () {
          const call = yield* fork(http.fetch("http://a.test"))
          expect(transport.open()).toBe(1)
          yield* Fiber.interrupt(call)
          expect(transport.open()).toBe(0)
          expect(yield* http.statistics).toMatchObject({ offered: 1, interrupted: 1 })
        })
    )
  )

  it.effect("is refused where there are as many as there may be", () =>
    scene(
      { inFlight: 1, maxCalls: 2 },
      () => slowly(10, 200),
      ({ http }) =>
        Effect.gen(function* () {
          const two = yield* fork(Effect.forEach(urls(2), (url) => http.fetch(url), { concurrency: 2 }))
          const error = yield* Effect.flip(http.fetch("http://a.test"))
          expect(error).toMatchObject({ _tag: "Refused", reason: { _tag: "QueueFull", limit: 2 } })
          yield* after(two, 20)
        })
    )
  )
})

describe("a request's body that is a stream", () => {
  it.effect("goes once, and is freed of a call that is never sent", () =>
    scene(
      { inFlight: 1, timeout: 100 },
      ({ target }) => (target === "/slow" ? Effect.never : answer(503)),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const upload = () => ({ url: "http://a.test/", method: "PUT", body: flowing(["x"]) })
          const [sent, unsent] = [upload(), upload()]
          const put = ({ body, method, url }: typeof sent) => Effect.exit(http.fetch({ url, method, body: body.body }))
          yield* put(sent)
          const slow = yield* fork(Effect.exit(http.fetch("http://a.test/slow")))
          const waits = yield* fork(put(unsent))
          yield* TestClock.adjust(100)
          yield* Fiber.join(slow)
          yield* Fiber.join(waits)
          expect(targets(transport)).toEqual(["/", "/slow"])
          expect(unsent.body.seen.aborted).toBe(true)
        })
    )
  )
})

describe("secrets", () => {
  const secret = /us%C3%A9r|usér|p%40ss|p@ss|dXPDqXI6cEBzcw/
  const url = "http://us%C3%A9r:p%40ss@a.test/x"

  it.effect("a user and a password become an Authorization, and no word of them is shown", () =>
    scene(
      { attempts: false },
      ({ target }) => (target === "/reset" ? failed("reset") : target === "/no" ? answer(403, [], "no") : answer(200)),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const ends = yield* http.all([url, url.replace("/x", "/no"), url.replace("/x", "/reset"), "ftp://u:p@ss@h/"])
          expect(transport.asked[0]!.header("authorization")).toBe(
            `Basic ${Buffer.from("usér:p@ss").toString("base64")}`
          )
          const shown = ends.map(({ exit, trace }) => {
            const error = Exit.isFailure(exit) ? failure(exit) : undefined
            return [JSON.stringify(trace), JSON.stringify(error), String(error), error?.message, error?.stack]
          })
          expect(JSON.stringify([shown, yield* Registry.snapshot])).not.toMatch(secret)
          expect(JSON.stringify(shown)).toContain("ftp://h/")
        })
    )
  )

  it.effect("a header that is there already counts more than the address", () =>
    scene(
      {},
      () => answer(200),
      ({ http, transport }) =>
        Effect.gen(function* () {
          yield* http.fetch({ url, headers: ["Authorization", "Bearer x"] })
          yield* http.fetch("http://%ff:a@a.test/")
          expect(transport.asked.map(({ header }) => header("authorization"))).toEqual([
            "Bearer x",
            `Basic ${Buffer.from("%ff:a").toString("base64")}`
          ])
        })
    )
  )
})

describe("attempts", () => {
  const options: ParallelHttp.Options = { attempts: { backoff: Schedule.spaced(100) } }

  it.effect("a call that fails is sent again after a backoff in which it holds nothing", () => {
    const unread = flowing(["x"], "never")
    return scene(
      { ...options, inFlight: 1, attempts: { backoff: Schedule.spaced(2000) } },
      ({ number, target }) => (target === "/0" && number < 2 ? answer(503, [], unread.body) : answer(200)),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const call = yield* fork(http.all(["http://a.test/0"]))
          // What it says is waited for as long as that of any rejected answer.
          yield* TestClock.adjust(1000)
          expect([unread.seen.aborted, transport.open()]).toEqual([true, 0])
          yield* http.fetch("http://a.test/1")
          const ends = yield* after(call, 10_000, 100)
          expect(Exit.isSuccess(ends) && ends.value[0]!.trace).toMatchObject({ attempts: 2, status: 200 })
          expect(targets(transport)).toEqual(["/0", "/1", "/0"])
        })
    )
  })

  const table: ReadonlyArray<readonly [string, ParallelHttp.Request, Answers, number]> = [
    ["GET, reset", { url: "http://a.test" }, () => failed("reset"), 3],
    ["GET, silence", { url: "http://a.test" }, () => failed("headersTimeout"), 3],
    ["GET, reset in mid-body", { url: "http://a.test" }, () => answer(200, [], flowing(["x"], "reset").body), 3],
    [
      "GET, body that ends too soon",
      { url: "http://a.test" },
      () => answer(200, [], flowing([], "incomplete").body),
      3
    ],
    ["GET, too large", { url: "http://a.test" }, () => failed("tooLarge"), 1],
    ["GET, no HTTP", { url: "http://a.test" }, () => failed("protocol"), 1],
    ["GET, 408", { url: "http://a.test" }, () => answer(408), 3],
    ["GET, 429", { url: "http://a.test" }, () => answer(429), 3],
    ["GET, 500", { url: "http://a.test" }, () => answer(500), 1],
    ["GET, 501", { url: "http://a.test" }, () => answer(501), 1],
    ["GET, 502", { url: "http://a.test" }, () => answer(502), 3],
    ["GET, 503", { url: "http://a.test" }, () => answer(503), 3],
    ["GET, 504", { url: "http://a.test" }, () => answer(504), 3],
    ["GET, 404", { url: "http://a.test" }, () => answer(404), 1],
    ["POST, reset", { url: "http://a.test", method: "POST" }, () => failed("reset"), 1],
    ["POST, nothing sent", { url: "http://a.test", method: "POST" }, () => failed("refused", false), 3],
    ["POST, 503", { url: "http://a.test", method: "POST" }, () => answer(503), 1],
    ["POST, 429", { url: "http://a.test", method: "POST", body: "x" }, () => answer(429), 3],
    [
      "POST with a key, 503",
      { url: "http://a.test", method: "POST", headers: ["Idempotency-Key", '"k"'] },
      () => answer(503),
      3
    ],
    [
      "POST with an empty key, 503",
      { url: "http://a.test", method: "POST", headers: ["Idempotency-Key", '""'] },
      () => answer(503),
      1
    ],
    [
      "POST said to be idempotent, 503",
      { url: "http://a.test", method: "POST", idempotent: true },
      () => answer(503),
      3
    ],
    ["GET said not to be, 503", { url: "http://a.test", idempotent: false }, () => answer(503), 1],
    [
      "PUT of a stream, 503",
      { url: "http://a.test", method: "PUT", body: Transport.stream(Stream.empty) },
      () => answer(503),
      1
    ],
    ["PUT, 503", { url: "http://a.test", method: "PUT", body: "x" }, () => answer(503), 3]
  ]
  it.effect.each(table)("%s: %d attempts".replace("%d", "so many"), ([, request, answers, attempts]) =>
    scene(options, answers, ({ http, transport }) =>
      Effect.gen(function* () {
        const [end] = Exit.getSuccess(yield* after(yield* fork(http.all([request])), 1000)).pipe(Option.getOrThrow)
        expect(transport.asked.length).toBe(attempts)
        expect(end!.trace.attempts).toBe(attempts)
        expect(Exit.isFailure(end!.exit)).toBe(true)
      })
    )
  )

  it.effect("what a server says of when to come back is heeded, and bounds the time in which nothing is sent", () =>
    scene(
      { attempts: { backoff: Schedule.spaced(0) }, hints: false },
      ({ number }) => (number === 0 ? answer(429, ["Retry-After", "3"]) : answer(200)),
      ({ http, transport }) =>
        Effect.gen(function* () {
          yield* after(yield* fork(http.fetch("http://a.test")), 10_000, 100)
          expect(transport.asked.map(({ at }) => at)).toEqual([0, 3000])
        })
    )
  )

  it.effect("who would have to wait for longer than may be, or than he has time, fails now", () =>
    scene(
      { timeout: "30 seconds", hints: false },
      ({ target }) => answer(429, ["Retry-After", target.slice(1)]),
      ({ http, transport }) =>
        Effect.gen(function* () {
          for (const seconds of [31, 61]) {
            const error = yield* Effect.flip(http.fetch(`http://a.test/${seconds}`))
            expect(error).toMatchObject({ _tag: "StatusRejected", status: 429 })
          }
          expect(transport.asked.length).toBe(2)
        })
    )
  )

  it.effect("all calls of a host draw on one budget, and those of another on their own", () =>
    scene(
      { attempts: { backoff: Schedule.spaced(10), budget: { floor: 5, ratio: 0 } } },
      () => answer(503),
      ({ http, transport }) =>
        Effect.gen(function* () {
          yield* after(yield* fork(http.all([...urls(20), ...urls(20, "b.test")])), 1000)
          const of = (host: string) => transport.asked.filter(({ origin }) => origin.endsWith(host)).length
          expect([of("a.test"), of("b.test")]).toEqual([25, 25])
        })
    )
  )

  it.effect("`again` says what is worth it, of what may be sent again at all", () =>
    scene(
      {
        attempts: {
          backoff: Schedule.spaced(10),
          again: (error) => error._tag === "StatusRejected" && error.status === 500
        }
      },
      ({ target }) => (target === "/reset" ? failed("reset") : answer(500)),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const calls = ["http://a.test/reset", "http://a.test/500", { url: "http://a.test/post", method: "POST" }]
          yield* after(yield* fork(http.all(calls)), 1000)
          expect(targets(transport).toSorted()).toEqual(["/500", "/500", "/500", "/post", "/reset"])
        })
    )
  )

  it.effect("a schedule is told the failure", () => {
    const told: Array<string> = []
    const backoff = Schedule.spaced(10).pipe(
      Schedule.setInputType<ParallelHttp.Failure>(),
      Schedule.tap(({ input }) => Effect.sync(() => void told.push(input._tag)))
    )
    return scene(
      { attempts: { backoff } },
      () => answer(503),
      ({ http }) =>
        Effect.gen(function* () {
          yield* after(yield* fork(Effect.exit(http.fetch("http://a.test"))), 1000)
          expect(told).toEqual(["StatusRejected", "StatusRejected"])
        })
    )
  })

  it.effect("none, where there are to be none", () =>
    scene(
      { attempts: false },
      () => answer(503),
      ({ http, transport }) =>
        Effect.gen(function* () {
          expect((yield* Effect.flip(http.fetch("http://a.test")))._tag).toBe("StatusRejected")
          expect(transport.asked.length).toBe(1)
        })
    )
  )

  it.effect("a slow one that is idempotent is hedged: the first answer wins, and the other is cut", () =>
    scene(
      { attempts: { hedge: { after: 50, ratio: 1 } } },
      ({ method, number }) =>
        method === "POST"
          ? slowly(10_000, 200)
          : number === 0
            ? answer(200, [], flowing(["x"], "never").body)
            : slowly(20, 203, [], "second"),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const ends = yield* after(yield* fork(http.all(["http://a.test"], { read: ParallelHttp.text })), 100)
          const [end] = Exit.getSuccess(ends).pipe(Option.getOrThrow)
          expect(end!.exit).toEqual(Exit.succeed("second"))
          expect(end!.trace).toMatchObject({ status: 203, attempts: 2, millis: 70, bytes: 6 })
          expect(transport.open()).toBe(0)
          const post = yield* fork(Effect.exit(http.fetch({ url: "http://a.test", method: "POST" })))
          yield* TestClock.adjust(1000)
          expect(transport.asked.length).toBe(3)
          yield* Fiber.interrupt(post)
        })
    )
  )
})

describe("hedges", () => {
  it.effect("take no permit for which they would have to wait, and have not waited then", () =>
    scene(
      { inFlight: 1, attempts: { hedge: { after: 50, ratio: 1 } } },
      () => slowly(100, 200),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const two = [0, 1].map((n) => http.all([`http://a.test/${n}`]))
          const exit = yield* after(yield* fork(Effect.all(two, { concurrency: 2 })), 500)
          const ends = Exit.getSuccess(exit).pipe(Option.getOrThrow).flat()
          expect(ends.map(({ trace }) => [trace.attempts, trace.waitedMillis, trace.millis])).toEqual([
            [1, 0, 100],
            [1, 100, 200]
          ])
          expect(transport.most()).toBe(1)
        })
    )
  )
})

describe("a circuit for each host", () => {
  it.effect(
    "refuses the calls of a host that fails, and none of another; the last failure is what a call comes to",
    () =>
      scene(
        {},
        ({ origin, target }) =>
          origin === "http://b.test" ? answer(200) : target === "/404" ? answer(404) : failed("refused", false),
        ({ transport }) =>
          Effect.gen(function* () {
            const breaker = yield* CircuitBreaker.make("hosts", { failures: 2 })
            const http = yield* ParallelHttp.make("guarded", { breaker, attempts: { backoff: Schedule.spaced(10) } })
            // What is the caller's affair says that the host works.
            for (let i = 0; i < 5; i++) yield* Effect.exit(http.fetch("http://a.test/404"))
            const first = yield* after(yield* fork(http.fetch("http://a.test/")), 1000)
            expect(failure(first)._tag).toBe("ConnectionFailed")
            // It opened with the second attempt, and so there was no third.
            expect(transport.asked.length).toBe(7)
            const next = yield* Effect.flip(http.fetch("http://a.test/"))
            expect(next).toMatchObject({ _tag: "Refused", reason: { _tag: "CircuitOpen" } })
            yield* http.fetch("http://b.test/")
            expect(transport.asked.length).toBe(8)
            expect(CircuitBreaker.check(yield* breaker.statistics)).toEqual([])
            yield* TestClock.adjust("10 seconds")
            yield* Effect.exit(http.fetch("http://a.test/404"))
            expect(yield* breaker.statistics).toMatchObject({ open: 0, running: 0 })
          })
      )
  )
})

describe("redirects", () => {
  const to: Answers = ({ target }) => {
    const [, status, location] = /^\/(\d+)\/(.*)$/.exec(target) ?? []
    return status === undefined
      ? answer(200, [], target)
      : answer(Number(status), ["Location", decodeURIComponent(location!)])
  }

  it.effect("are followed, each through the gates of its own host, with no credentials for another", () =>
    scene({ perHost: 1 }, to, ({ http, transport }) =>
      Effect.gen(function* () {
        const [end] = yield* http.all(
          [
            {
              url: "http://u:p@a.test/302/http:%2f%2fb.test%2f303%2f%2fx",
              method: "POST",
              body: "x",
              headers: ["Content-Type", "a/b", "X-A", "1"]
            }
          ],
          { read: ParallelHttp.text }
        )
        expect(end!.exit).toEqual(Exit.succeed("/x"))
        expect(end!.trace).toMatchObject({ url: "http://b.test/x", redirects: 2, attempts: 1, status: 200 })
        expect(transport.asked.map(({ body, headers, method, url }) => [method, url, headers, body])).toEqual([
          [
            "POST",
            "http://a.test/302/http:%2f%2fb.test%2f303%2f%2fx",
            ["Content-Type", "a/b", "X-A", "1", "authorization", "Basic dTpw"],
            "x"
          ],
          ["GET", "http://b.test/303//x", ["X-A", "1"], ""],
          ["GET", "http://b.test/x", ["X-A", "1"], ""]
        ])
        expect(transport.most()).toBe(1)
      })
    )
  )

  it.effect("hold no permit of the host before", () =>
    scene(
      { perHost: 1 },
      ({ origin }) => (origin === "http://a.test" ? answer(302, ["Location", "http://b.test/"]) : slowly(100, 200)),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const calls = yield* fork(http.all(urls(3)))
          yield* settle
          expect(transport.asked.filter(({ origin }) => origin === "http://a.test").length).toBe(3)
          yield* after(calls, 300)
          expect(transport.most("b.test")).toBe(1)
        })
    )
  )

  it.effect("are told where the other host could not be asked", () =>
    scene(
      { timeout: 100, perHost: 1 },
      ({ origin }) => (origin === "http://b.test" ? Effect.never : answer(302, ["Location", "http://b.test/there"])),
      ({ http, transport }) =>
        Effect.gen(function* () {
          yield* fork(http.fetch("http://b.test/"))
          const [end] = Exit.getSuccess(yield* after(yield* fork(http.all(["http://a.test/"])), 200)).pipe(
            Option.getOrThrow
          )
          expect(end!.trace).toMatchObject({ url: "http://b.test/there", status: 302, attempts: 1, redirects: 1 })
          expect(end!.trace.waitedMillis).toBe(100)
          expect(transport.asked.length).toBe(2)
        })
    )
  )

  it.effect("of a loop, of too many, and to nowhere are typed errors", () =>
    scene(
      { redirects: 3, attempts: {} },
      ({ target }) => {
        if (target === "/loop") return answer(302, ["Location", "/pool"])
        if (target === "/pool") return answer(302, ["Location", "/loop"])
        if (target === "/bad") return answer(302, ["Location", "http://u:p@[x"])
        return answer(302, ["Location", `/${Number(target.slice(1)) + 1}`])
      },
      ({ http, transport }) =>
        Effect.gen(function* () {
          const why = (path: string) =>
            Effect.map(Effect.flip(http.fetch(`http://a.test/${path}`)), (error: any) => [
              error._tag,
              error.why,
              error.location
            ])
          expect(yield* why("loop")).toEqual(["RedirectRejected", "loop", "/loop"])
          expect(yield* why("bad")).toEqual(["RedirectRejected", "location", "http://[x"])
          expect(transport.asked.length).toBe(3)
          expect(yield* why("0")).toEqual(["RedirectRejected", "tooMany", "/4"])
          expect(transport.asked.length).toBe(7)
        })
    )
  )

  it.effect("none is followed where none is to be, and the 3xx is an answer like any other", () =>
    scene({ redirects: 0, accept: (status) => status === 302 }, to, ({ http }) =>
      Effect.map(http.fetch("http://a.test/302/%2fx", ParallelHttp.status), (status) => expect(status).toBe(302))
    )
  )
})

describe("identical GETs", () => {
  it.effect("share one exchange, and each reads an answer of its own", () =>
    scene(
      { coalesce: true },
      ({ target }) => slowly(10, 200, ["x-a", "1"], `body of ${target}`),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const get = "http://a.test/x"
          const calls = [get, get, { url: get, headers: ["accept", "a/b"] }, { url: get, method: "POST" }, get]
          const ends = Exit.getSuccess(
            yield* after(yield* fork(http.all(calls, { read: ParallelHttp.text })), 100)
          ).pipe(Option.getOrThrow)
          expect(
            ends.map(({ exit, trace }) => [Exit.getSuccess(exit), trace.bytes, trace.status, trace.attempts])
          ).toEqual(calls.map(() => [Option.some("body of /x"), 10, 200, 1]))
          expect(transport.asked.length).toBe(3)
          // One that comes later asks anew.
          yield* after(yield* fork(http.fetch(get)), 100)
          expect(transport.asked.length).toBe(4)
        })
    )
  )

  it.effect("share its failure; the last to leave cuts it", () =>
    scene(
      { coalesce: true, attempts: false },
      ({ target }) => (target === "/no" ? slowly(10, 404) : Effect.never),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const ends = Exit.getSuccess(
            yield* after(yield* fork(http.all(["http://a.test/no", "http://a.test/no"])), 100)
          ).pipe(Option.getOrThrow)
          expect(ends.map(({ exit }) => failure(exit)._tag)).toEqual(["StatusRejected", "StatusRejected"])
          const [one, two] = yield* Effect.forEach([1, 2], () => fork(http.fetch("http://a.test/")))
          yield* Fiber.interrupt(one!)
          expect(transport.open()).toBe(1)
          yield* Fiber.interrupt(two!)
          expect([transport.open(), transport.asked.length]).toEqual([0, 2])
        })
    )
  )

  it.effect("as credentials of an address do not, share nothing with others", () =>
    scene(
      { coalesce: true },
      ({ header }) => slowly(10, 200, [], header("authorization") ?? "nobody"),
      ({ http }) =>
        Effect.gen(function* () {
          const calls = http.all(["http://a.test/", "http://a:b@a.test/"], { read: ParallelHttp.text })
          const ends = Exit.getSuccess(yield* after(yield* fork(calls), 100)).pipe(Option.getOrThrow)
          expect(ends.map(({ exit }) => Exit.getSuccess(exit))).toEqual([
            Option.some("nobody"),
            Option.some("Basic YTpi")
          ])
        })
    )
  )
})

describe("how many at once", () => {
  it.effect("no more in all, and of a host, than there may be", () =>
    scene(
      { inFlight: 5, perHost: (host) => ({ limit: host === "a.test" ? 2 : 4 }) },
      () => slowly(10, 200),
      ({ http, transport }) =>
        Effect.gen(function* () {
          yield* after(yield* fork(http.all([...urls(30), ...urls(30, "b.test")])), 1000)
          expect([transport.most(), transport.most("a.test"), transport.most("b.test")]).toEqual([5, 2, 4])
        })
    )
  )

  it.effect("who waits for his host holds up nobody else", () =>
    scene(
      { inFlight: 4, perHost: 2 },
      ({ origin }) => slowly(origin === "http://a.test" ? 1000 : 10, 200),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const calls = yield* fork(http.all([...urls(6), "http://b.test/", "http://c.test/"]))
          yield* TestClock.adjust(20)
          expect(transport.asked.map(({ origin }) => origin).toSorted()).toEqual(
            ["a", "a", "b", "c"].map((host) => `http://${host}.test`)
          )
          yield* after(calls, 4000, 500)
        })
    )
  )

  it.effect("the rate of a host counts from when it is sent, not from when it got its host's turn", () =>
    scene(
      { inFlight: 1, perHost: (host) => (host === "slow.test" ? {} : { windows: [RateWindow.per(1, "1 second")] }) },
      ({ origin }) => (origin === "http://slow.test" ? slowly(10_000, 200) : answer(200)),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const calls = yield* fork(http.all(["http://slow.test/", ...urls(3)]))
          yield* after(calls, 20_000, 100)
          const starts = transport.asked.slice(1).map(({ at }) => at)
          expect(starts).toEqual([10_000, 11_000, 12_000])
        })
    )
  )

  it.effect("the most urgent goes first, at its host's gate and in all; the caller's own urgency is inherited", () =>
    Effect.forEach([{ inFlight: 1 }, { perHost: 1 }], (options) =>
      scene(
        options,
        () => slowly(10, 200),
        ({ http, transport }) =>
          Effect.gen(function* () {
            const urgencies = [3, 7, 5, 0] as const
            const calls = yield* Effect.forEach(urgencies, (urgency) =>
              fork(http.fetch({ url: `http://a.test/${urgency}`, urgency }))
            )
            const mine = yield* fork(Priority.at(http.fetch("http://a.test/mine"), 1))
            yield* after(mine, 100)
            yield* after(calls[1]!, 100)
            expect(targets(transport)).toEqual(["/3", "/0", "/mine", "/5", "/7"])
          })
      )
    )
  )

  it.effect("a host that says when to come back is left alone until then, and others go on", () =>
    scene(
      { attempts: false },
      ({ number }) => (number === 0 ? answer(429, ["Retry-After", "1"]) : answer(200)),
      ({ http, transport }) =>
        Effect.gen(function* () {
          yield* Effect.exit(http.fetch("http://a.test/0"))
          const calls = yield* fork(http.all(["http://a.test/1", "http://b.test/2"]))
          yield* TestClock.adjust(999)
          expect(targets(transport)).toEqual(["/0", "/2"])
          yield* TestClock.adjust(1)
          expect(targets(transport)).toEqual(["/0", "/2", "/1"])
          yield* Fiber.await(calls)
        })
    )
  )

  it.effect("but for no longer than a server may have us wait, and not where hints are not heeded", () =>
    Effect.forEach([{ hints: false }, { maxRetryAfter: 100 }], (options) =>
      scene(
        { attempts: false, ...options },
        ({ number }) => (number === 0 ? answer(503, ["Retry-After", "3600"]) : answer(200)),
        ({ http, transport }) =>
          Effect.gen(function* () {
            yield* Effect.exit(http.fetch("http://a.test/0"))
            const call = yield* fork(http.fetch("http://a.test/1"))
            yield* TestClock.adjust("hints" in options ? 0 : 100)
            expect(targets(transport)).toEqual(["/0", "/1"])
            yield* Fiber.await(call)
          })
      )
    )
  )
})

describe("a stream", () => {
  it.effect("gives each end with its input, its place and its trace, as they come", () =>
    scene(
      { attempts: false },
      ({ target }) => slowly(100 - 10 * Number(target.slice(1)), Number(target.slice(1)) % 2 === 0 ? 200 : 404),
      ({ http }) =>
        Effect.gen(function* () {
          const stream = Stream.fromIterable([0, 1, 2, 3]).pipe(
            http.stream({ request: (n) => `http://a.test/${n}`, read: ParallelHttp.status })
          )
          const ends = Exit.getSuccess(yield* after(yield* fork(Stream.runCollect(stream)), 200)).pipe(
            Option.getOrThrow
          )
          expect(ends.map(({ index, input, trace }) => [input, index, trace.millis])).toEqual([
            [3, 3, 70],
            [2, 2, 80],
            [1, 1, 90],
            [0, 0, 100]
          ])
          expect(ends.map(({ exit }) => (Exit.isSuccess(exit) ? exit.value : failure(exit)._tag))).toEqual([
            "StatusRejected",
            200,
            "StatusRejected",
            200
          ])
        })
    )
  )

  it.effect("or in the order of the input, and then never has more in hand than may be ahead", () =>
    scene(
      {},
      ({ target }) => slowly(target === "/0" ? 1000 : 10, 200),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const stream = Stream.fromIterable(urls(20)).pipe(http.stream({ order: "input", maxAhead: 5 }))
          const collected = yield* fork(Stream.runCollect(stream))
          yield* TestClock.adjust(999)
          expect(transport.asked.length).toBe(5)
          const ends = Exit.getSuccess(yield* after(collected, 2000)).pipe(Option.getOrThrow)
          expect(ends.map(({ index }) => index)).toEqual(urls(20).map((_, index) => index))
        })
    )
  )

  it.effect("pulls an infinite source no further than it goes, and cuts what is in flight when it has enough", () =>
    scene(
      { inFlight: 2 },
      ({ target }) => (Number(target.slice(1)) < 3 ? slowly(10, 200) : Effect.never),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const pulled = yield* Ref.make(0)
          const stream = Stream.iterate(0, (n) => n + 1).pipe(
            Stream.rechunk(1),
            Stream.tap(() => Ref.update(pulled, (n) => n + 1)),
            http.stream({ request: (n) => `http://a.test/${n}` }),
            Stream.take(3)
          )
          const ends = yield* after(yield* fork(Stream.runCollect(stream)), 100)
          expect(Exit.isSuccess(ends) && ends.value.length).toBe(3)
          expect(transport.asked.length).toBeLessThanOrEqual(5)
          // Four are ahead, and one more has been pulled that found no room.
          expect(yield* Ref.get(pulled)).toBeLessThanOrEqual(3 + 4 + 1)
        })
    )
  )

  it.effect("keeps nothing for one who is slow to take", () =>
    scene(
      { inFlight: 3 },
      () => answer(200),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const stream = Stream.iterate(0, (n) => n + 1).pipe(
            Stream.rechunk(1),
            http.stream({ request: (n) => `http://a.test/${n}`, maxAhead: 4 }),
            Stream.tap(() => Effect.sleep(1000))
          )
          const run = yield* fork(Stream.runDrain(stream))
          yield* TestClock.adjust(1)
          expect(transport.asked.length).toBeLessThanOrEqual(9)
          yield* Fiber.interrupt(run)
        })
    )
  )

  it.effect("has none of its calls refused, however many are ahead", () =>
    scene(
      { inFlight: 1 },
      () => slowly(1, 200),
      ({ http }) =>
        Effect.gen(function* () {
          const stream = Stream.fromIterable(urls(1100)).pipe(http.stream({ maxAhead: 1100 }))
          const exit = yield* after(yield* fork(Stream.runCollect(stream)), 2000, 100)
          const ends = Exit.getSuccess(exit).pipe(Option.getOrThrow)
          expect(ends.filter(({ exit }) => Exit.isSuccess(exit)).length).toBe(1100)
        })
    )
  )

  it.effect("fails with its source, and cuts what is in flight", () =>
    scene(
      {},
      () => Effect.never,
      ({ http, transport }) =>
        Effect.gen(function* () {
          const source = Stream.concat(
            Stream.fromIterable(urls(3)),
            Stream.fromEffect(Effect.delay(Effect.fail("no more"), 10))
          )
          const run = yield* fork(Stream.runDrain(http.stream()(source)))
          yield* TestClock.adjust(9)
          expect(transport.open()).toBe(3)
          yield* TestClock.adjust(1)
          expect(failure(yield* Fiber.await(run))).toBe("no more")
          expect(transport.open()).toBe(0)
        })
    )
  )

  it.effect("is interrupted with whoever runs it, and waits for what is cut", () =>
    scene(
      { inFlight: 1000 },
      () => Effect.never,
      ({ http, transport }) =>
        Effect.gen(function* () {
          const run = yield* fork(Stream.runDrain(http.stream()(Stream.fromIterable(urls(1000)))))
          yield* settle
          expect(transport.open()).toBe(1000)
          yield* Fiber.interrupt(run)
          expect(transport.open()).toBe(0)
          expect(yield* http.statistics).toMatchObject({ offered: 1000, interrupted: 1000 })
        })
    )
  )

  it.effect("needs no instance where its limits are its own", () =>
    scene(
      {},
      () => slowly(10, 200),
      ({ transport }) =>
        Effect.gen(function* () {
          const ends = Stream.fromIterable(urls(6)).pipe(
            ParallelHttp.stream({ inFlight: 2, read: ParallelHttp.status }),
            Stream.runCollect
          )
          const exit = yield* after(yield* fork(ends), 100)
          expect(Exit.isSuccess(exit) && exit.value.length).toBe(6)
          expect(transport.most()).toBe(2)
          expect((yield* Registry.snapshot).filter(({ kind }) => kind === "http").map(({ name }) => name)).toEqual([
            "test"
          ])
        })
    )
  )

  it.effect("of nothing is empty", () =>
    scene(
      {},
      () => answer(200),
      ({ http }) =>
        Effect.gen(function* () {
          expect(yield* Stream.runCollect(http.stream()(Stream.empty))).toEqual([])
          expect(yield* http.all([])).toEqual([])
          expect(Exit.isFailure(yield* Effect.exit(http.anySuccess([])))).toBe(true)
          expect(Exit.isFailure(yield* Effect.exit(http.quorum(1, [])))).toBe(true)
        })
    )
  )
})

describe("several for one end", () => {
  it.effect("the first success, and the others are cut", () =>
    scene(
      { attempts: false },
      ({ target }) => (target === "/0" ? answer(500) : slowly(10 * Number(target.slice(1)), 200, [], target)),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const exit = yield* after(yield* fork(http.anySuccess(urls(4), { read: ParallelHttp.text })), 100)
          expect(exit).toEqual(Exit.succeed("/1"))
          expect(transport.open()).toBe(0)
          expect(yield* http.statistics).toMatchObject({ completed: 1, failed: 1, interrupted: 2 })
        })
    )
  )

  it.effect("so many successes, or the failure as soon as there cannot be so many", () =>
    scene(
      { attempts: false },
      ({ target }) => slowly(10 * Number(target.slice(1)), Number(target.slice(1)) > 2 ? 500 : 200, [], target),
      ({ http }) =>
        Effect.gen(function* () {
          const two = yield* after(yield* fork(http.quorum(2, urls(6), { read: ParallelHttp.text })), 100)
          expect(two).toEqual(Exit.succeed(["/0", "/1"]))
          const four = yield* after(yield* fork(http.quorum(4, urls(6))), 100)
          expect(failure(four)._tag).toBe("StatusRejected")
        })
    )
  )
})

describe("statistics", () => {
  it.effect("stand in the registry, and say how long calls took", () =>
    scene(
      {},
      ({ target }) => slowly(10 * Number(target.slice(1)), 200, [], "xyz"),
      ({ http }) =>
        Effect.gen(function* () {
          expect((yield* http.statistics).latencyMillis).toEqual({ p50: null, p90: null, p99: null })
          yield* after(yield* fork(http.all(urls(10))), 200)
          const statistics = yield* http.statistics
          const shown = (yield* Registry.snapshot).find(({ kind }) => kind === "http")
          expect(shown).toMatchObject({ name: "test", statistics })
          expect(statistics).toMatchObject({
            offered: 10,
            completed: 10,
            statuses: { 200: 10 },
            attempts: 10,
            bytes: 30
          })
          const { p50, p99 } = statistics.latencyMillis
          expect(p50).toBeGreaterThan(35)
          expect(p50).toBeLessThan(60)
          expect(p99).toBeGreaterThan(80)
        })
    )
  )

  it.effect("a trace says how long a call stood in line", () =>
    scene(
      { perHost: 1 },
      () => slowly(10, 200),
      ({ http }) =>
        Effect.gen(function* () {
          const exit = yield* after(yield* fork(http.all(urls(3))), 100)
          const ends = Exit.getSuccess(exit).pipe(Option.getOrThrow)
          expect(ends.map(({ trace }) => [trace.waitedMillis, trace.millis])).toEqual([
            [0, 10],
            [10, 20],
            [20, 30]
          ])
        })
    )
  )

  it.effect("also of one that was cut there, and of one that was tried again", () =>
    scene(
      { perHost: 1, timeout: 100, attempts: { backoff: Schedule.spaced(10) } },
      ({ number, target }) => (number === 0 ? slowly(20, 503) : target === "/0" ? slowly(30, 200) : Effect.never),
      ({ http }) =>
        Effect.gen(function* () {
          const exit = yield* after(yield* fork(http.all(urls(3))), 200)
          const ends = Exit.getSuccess(exit).pipe(Option.getOrThrow)
          expect(ends.map(({ trace }) => [trace.attempts, trace.waitedMillis, trace.millis])).toEqual([
            [1, 70, 100],
            [1, 20, 100],
            [0, 100, 100]
          ])
        })
    )
  )

  it("a snapshot that does not add up is told", () => {
    const statistics: ParallelHttp.Statistics = {
      name: "x",
      offered: 3,
      running: -1,
      completed: 1,
      failed: 0,
      interrupted: 0,
      statuses: { 200: 2 },
      attempts: 1,
      redirects: 3,
      bytes: 0,
      latencyMillis: { p50: null, p90: null, p99: null }
    }
    expect(ParallelHttp.check(statistics)).toEqual([
      "x: expected offered = completed + failed + interrupted + running, got 3 = 1 + 0 + 0 + -1",
      "x: expected running >= 0, got -1",
      "x: expected no more answers than attempts, got 2 of 1",
      "x: expected each redirect of an answer, got 3 of 2"
    ])
  })
})

describe("misuse", () => {
  it.effect("an input that is no request is a typed error of its own call", () =>
    scene(
      {},
      () => answer(200),
      ({ http, transport }) =>
        Effect.gen(function* () {
          const inputs = ["nowhere", "/x", "ftp://a.test/", "http://[", { url: "http://a.test", method: "GE T" }]
          const ends = yield* http.all(inputs)
          for (const { exit } of ends) expect(failure(exit)._tag).toBe("InvalidRequest")
          expect(failure(ends[2]!.exit).message).toBe('Expected an absolute http: or https: URL, got "ftp://a.test/"')
          expect(transport.asked).toEqual([])
        })
    )
  )

  it.effect("an answer that is read twice", () =>
    scene(
      {},
      () => answer(200),
      ({ http }) =>
        Effect.gen(function* () {
          const twice: ReadonlyArray<ParallelHttp.Read<unknown, ParallelHttp.BodyFailure>> = [
            ({ bytes, text }) => Effect.andThen(bytes, text),
            ({ body, discard }) =>
              Effect.andThen(Effect.orDie(body.pipeTo({ write: () => true, onDrain: () => {} })), discard)
          ]
          for (const read of twice) {
            const exit = yield* Effect.exit(http.fetch("http://a.test/x", read))
            expect(Exit.isFailure(exit) && String(Cause.squash(exit.cause))).toBe(
              "Error: Expected an answer that nobody has read, got http://a.test/x once more"
            )
          }
        })
    )
  )

  const wrong: ReadonlyArray<readonly [ParallelHttp.Options, string]> = [
    [{ inFlight: 0 }, "limit"],
    [{ perHost: 0 }, "limit"],
    [{ maxBytes: -1 }, "maxBytes"],
    [{ maxCalls: 0 }, "maxCalls"],
    [{ redirects: -1 }, "redirects"],
    [{ redirects: 1.5 }, "redirects"],
    [{ attempts: { max: 0 } }, "max"]
  ]
  it.effect.each(wrong)("%o is a defect at once", ([options, word]) =>
    Effect.gen(function* () {
      const made = ParallelHttp.make("wrong", options).pipe(
        Effect.provideService(
          Transport.Transport,
          scripted(() => answer(200))
        )
      )
      const exit = yield* Effect.exit(Effect.scoped(made))
      expect(Exit.isFailure(exit) && String(Cause.squash(exit.cause))).toContain(word)
    })
  )
})
