import { describe, expect, it } from "@effect/vitest"
import { Deadline, Gate, RateWindow, Reason, Transport } from "@fairlead/core"
import { Caller } from "@fairlead/platform-node"
import type { NodeHttp } from "@fairlead/platform-node"
import { Duration, Effect, Fiber, Redacted } from "effect"
import { TestClock } from "effect/testing"
import type { Entry } from "../src/AccessLog.ts"
import { Facts, stack } from "../src/Call.ts"
import type { Call, Handler, Stage } from "../src/Call.ts"
import { defaults } from "../src/Config.ts"
import * as Headers from "../src/Headers.ts"
import * as AccessLogStage from "../src/stages/AccessLog.ts"
import * as Admission from "../src/stages/Admission.ts"
import * as Callers from "../src/stages/Callers.ts"
import * as Credentials from "../src/stages/Credentials.ts"
import * as DeadlineStage from "../src/stages/Deadline.ts"
import * as Exchange from "../src/stages/Exchange.ts"
import * as Route from "../src/stages/Route.ts"

interface Asked {
  readonly method?: string
  readonly target?: string
  readonly headers?: Transport.Headers
  readonly progress?: Partial<NodeHttp.Progress>
}

/** A call as the server would hand it on, in a region of its own; with what it was told. */
const inCall = <A, E, R>(asked: Asked, body: (call: Call, told: Array<string>) => Effect.Effect<A, E, R>) =>
  Deadline.region((region) => {
    const told: Array<string> = []
    const headers = asked.headers ?? ["Host", "localhost"]
    const request: NodeHttp.Request = {
      method: asked.method ?? "GET",
      target: asked.target ?? "/up/x",
      headers,
      body: Transport.empty,
      remoteAddress: "127.0.0.1",
      scheme: "http",
      expectsContinue: Transport.header(headers, "expect") !== undefined,
      continue: () => void told.push("continue"),
      inform: (status) => void told.push(String(status)),
      progress: { status: 200, bytes: 2, received: 0, end: "complete", ...asked.progress },
      observer: undefined
    }
    const received = Headers.read(headers)
    const facts = new Facts("id-1", request, received)
    request.observer = facts
    const onSent = () => void told.push("sent")
    const { body: content, target } = request
    return body({ request, received, region, target, headers: received.onward, body: content, onSent, facts }, told)
  })

const ok: Transport.Reply = { status: 200, headers: [], body: Transport.text("ok") }

/** The end of the stages: keeps the call that came to it. */
const end = (answer: Effect.Effect<Transport.Reply> = Effect.succeed(ok)) => {
  const calls: Array<Call> = []
  const handler: Handler = (call) => {
    calls.push(call)
    return answer
  }
  return { calls, handler }
}

const problemOf = ({ body }: Transport.Reply): string => JSON.parse(Buffer.from(body.bytes!).toString()).error.code

describe("stack", () => {
  it.effect("meets the first stage first", () => {
    const order: Array<string> = []
    const named =
      (name: string): Stage =>
      (next) =>
      (call) => {
        order.push(name)
        return next(call)
      }
    return inCall({}, (call) =>
      Effect.gen(function* () {
        yield* stack(named("a"), named("b"), named("c"))(end().handler)(call)
        expect(order).toEqual(["a", "b", "c"])
      })
    )
  })
})

describe("AccessLog", () => {
  it.effect("writes one line, and only when all is over", () =>
    inCall({ target: "/up/x?key=secret", headers: ["Host", "localhost", "Via", "1.1 a, 1.1 b"] }, (call) =>
      Effect.gen(function* () {
        const log: Array<Entry> = []
        const stage = AccessLogStage.stage({ write: (entry) => void log.push(entry), flush: Effect.void })
        yield* stage(end().handler)(call)
        expect(log).toEqual([])
        call.request.observer!.onEnd()
        expect(log).toMatchObject([{ id: "id-1", status: 200, hop: 2, bytesOut: 2, cut: undefined }])
      })
    )
  )

  it.effect("says 499 of a client that heard nothing", () =>
    inCall({ progress: { status: undefined, end: "clientGone" } }, (call) =>
      Effect.gen(function* () {
        const log: Array<Entry> = []
        const stage = AccessLogStage.stage({ write: (entry) => void log.push(entry), flush: Effect.void })
        yield* stage(end().handler)(call)
        call.request.observer!.onEnd()
        expect(log).toMatchObject([{ status: 499, cut: "clientGone" }])
      })
    )
  )
})

describe("Deadline", () => {
  it.effect("narrows the region, and what is waited for is cut", () =>
    Effect.gen(function* () {
      const headers = ["Host", "localhost", "X-Request-Timeout-Ms", "250"]
      const cut = yield* Effect.forkChild(
        Effect.flip(inCall({ headers }, DeadlineStage.stage(end(Effect.never).handler)))
      )
      yield* TestClock.adjust("249 millis")
      expect(cut.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      expect((yield* Fiber.join(cut))._tag).toBe("DeadlineExceeded")
    })
  )

  it.effect("does not begin a call that has no time left, and leaves one alone that says nothing", () =>
    Effect.gen(function* () {
      const late = end()
      const headers = ["Host", "localhost", "X-Request-Timeout-Ms", "0"]
      expect(problemOf(yield* inCall({ headers }, DeadlineStage.stage(late.handler)))).toBe("deadline-exceeded")
      expect(late.calls.length).toBe(0)
      const free = end()
      yield* inCall({}, DeadlineStage.stage(free.handler))
      expect(free.calls[0]!.facts.deadline).toBe(Infinity)
    })
  )
})

describe("Callers", () => {
  it.effect("turns away each that may not call, whatever one before it was", () =>
    Effect.gen(function* () {
      const { calls, handler } = end()
      const stage = Callers.stage(Caller.allow({ hosts: ["proxy.internal"], origins: ["https://App.example.com"] }))(
        handler
      )
      const asked = (...headers: ReadonlyArray<string>) => inCall({ headers }, stage)
      expect((yield* asked("Host", "localhost")).status).toBe(200)
      expect((yield* asked("Host", "localhost", "Origin", "https://evil.example")).status).toBe(403)
      expect((yield* asked("Host", "localhost", "Sec-Fetch-Site", "cross-site")).status).toBe(403)
      expect((yield* asked("Host", "localhost", "Host", "localhost")).status).toBe(400)
      expect((yield* asked("Host", "evil.example")).status).toBe(421)
      expect((yield* asked("Host", "proxy.internal:80", "Origin", "https://app.example.com")).status).toBe(200)
      expect((yield* asked()).status).toBe(400)
      expect(calls.length).toBe(2)
    })
  )
})

describe("Route", () => {
  const routed = (handler: Handler, base = "/v1", totalMillis = Infinity) =>
    Route.handler(new Map([["up", { base, totalMillis, handler }]]), "fairlead-me")

  it.effect("hands a call to its upstream, under the base path", () =>
    Effect.gen(function* () {
      const { calls, handler } = end()
      yield* inCall({ target: "/up/x?y=%20" }, routed(handler))
      for (const target of ["/up", "/up?y", "/up/", "/up//"]) yield* inCall({ target }, routed(handler, ""))
      expect(calls.map(({ target }) => target)).toEqual(["/v1/x?y=%20", "/", "/?y", "/"])
      expect(calls[0]!.facts.upstream).toBe("up")
    })
  )

  it.effect("turns away what must go to no upstream", () =>
    Effect.gen(function* () {
      const { calls, handler } = end()
      const refused = (asked: Asked) => Effect.map(inCall(asked, routed(handler)), problemOf)
      expect(yield* refused({ target: "/down/x" })).toBe("unknown-upstream")
      expect(yield* refused({ target: "/up/../x" })).toBe("malformed")
      expect(yield* refused({ target: `/up/${"x".repeat(9000)}` })).toBe("target-too-long")
      expect(yield* refused({ method: "TRACE" })).toBe("method-not-allowed")
      expect(yield* refused({ headers: ["Host", "localhost", "Via", "1.1 fairlead-me"] })).toBe("loop")
      expect(yield* refused({ headers: ["Host", "localhost", "Expect", "miracles"] })).toBe("expectation-failed")
      expect(calls.length).toBe(0)
    })
  )

  it.effect("narrows the call by the upstream's total", () =>
    Effect.gen(function* () {
      const cut = yield* Effect.forkChild(Effect.flip(inCall({}, routed(end(Effect.never).handler, "", 100))))
      yield* TestClock.adjust("100 millis")
      expect((yield* Fiber.join(cut))._tag).toBe("DeadlineExceeded")
    })
  )
})

describe("Admission", () => {
  const plain = { name: "up", pathFrom: 0, cooling: defaults.cooling, adaptive: false, answers: false }
  const headers = (...more: ReadonlyArray<string>) => ["Host", "localhost", ...more]

  it.effect("reads urgency and patience, admits, and gives back at once what ended in memory", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("up", { limit: 1 })
      const { calls, handler } = end()
      const stage = Admission.stage(gate, plain)(handler)
      yield* inCall(
        { headers: headers("Priority", "u=2", "Prefer", "wait=4", "Expect", "100-continue") },
        (call, told) =>
          Effect.gen(function* () {
            yield* stage(call)
            expect(told).toEqual([])
            expect(calls[0]!.facts).toMatchObject({ urgency: 2, wait: 4, notes: undefined })
            // The scope of the call is still open.
            expect(yield* gate.statistics).toMatchObject({ running: 0, completed: 1 })
          })
      )
      yield* inCall({ headers: headers("Priority", "u=8", "Prefer", "wait=?") }, stage)
      expect(calls[1]!.facts).toMatchObject({
        urgency: 3,
        wait: undefined,
        notes: ["ignored priority", "ignored prefer"]
      })
      expect(Gate.check(yield* gate.statistics)).toEqual([])
    })
  )

  it.effect("holds the permit of a streaming answer until the call is over", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("up", { limit: 1 })
      const streaming: Transport.Body = {
        length: undefined,
        bytes: undefined,
        pipeTo: () => Effect.void,
        abort: () => {}
      }
      const stage = Admission.stage(gate, plain)(end(Effect.succeed({ ...ok, body: streaming })).handler)
      yield* Effect.scoped(
        inCall({}, (call) =>
          Effect.gen(function* () {
            yield* stage(call)
            expect(yield* gate.statistics).toMatchObject({ running: 1 })
          })
        )
      )
      expect(yield* gate.statistics).toMatchObject({ running: 0, completed: 1 })
    })
  )

  it.effect("stamps the rate when the first byte is written, and gives back the token of what never left", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("up", { windows: [RateWindow.per(5, "1 minute")] })
      const sent: Handler = (call) =>
        Effect.sync(() => {
          call.onSent()
          return ok
        })
      yield* Effect.scoped(inCall({}, Admission.stage(gate, plain)(sent)))
      yield* Effect.scoped(inCall({}, Admission.stage(gate, plain)(end().handler)))
      const statistics = yield* gate.statistics
      expect(statistics.windows).toMatchObject([{ used: 1, pending: 0 }])
      expect(Gate.check(statistics)).toEqual([])
    })
  )

  it.effect("counts from the head of the answer where the upstream counts answers", () =>
    Effect.gen(function* () {
      const used = (answers: boolean) =>
        Effect.gen(function* () {
          const gate = yield* Gate.make("up", { windows: [RateWindow.per(5, "1 minute", { counts: "answer" })] })
          const handler: Handler = (call) =>
            Effect.delay(
              Effect.sync(() => {
                call.onSent()
                return { ...ok, body: { ...Transport.empty, bytes: undefined } }
              }),
              "1 second"
            )
          const stage = Admission.stage(gate, { ...plain, answers })(handler)
          // Its body flows on for ten minutes.
          yield* Effect.forkChild(
            Effect.scoped(inCall({}, (call) => Effect.andThen(stage(call), Effect.sleep("10 minutes"))))
          )
          yield* TestClock.adjust("61 seconds")
          const [window] = (yield* gate.statistics).windows
          return window!.used + window!.pending
        })
      expect(yield* used(true)).toBe(0)
      // A window that nobody tells of the head waits for the end.
      expect(yield* used(false)).toBe(1)
    })
  )

  it.effect("leaves the route of a 429 alone for as long as its Retry-After says, and no other", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("up", { limit: 9, line: { maxWait: "1 minute" } })
      const answers: Array<Transport.Reply> = [{ ...ok, status: 429, headers: ["Retry-After", "20"] }]
      const handler: Handler = () => Effect.sync(() => answers.shift() ?? ok)
      const stage = Admission.stage(gate, { ...plain, pathFrom: "/api".length })(handler)
      const asked = (target: string) => Effect.forkChild(Effect.scoped(inCall({ target }, stage)))
      expect((yield* Fiber.join(yield* asked("/api/v1/chat/1"))).status).toBe(429)
      const same = yield* asked("/api/v1/chat/2")
      expect((yield* Fiber.join(yield* asked("/api/v1/models"))).status).toBe(200)
      yield* TestClock.adjust("19999 millis")
      expect(same.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      expect((yield* Fiber.join(same)).status).toBe(200)
      expect(Gate.check(yield* gate.statistics)).toEqual([])
    })
  )

  it.effect("leaves a route alone of whose quota nothing is left, until the reset", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("up", { limit: 9, line: { maxWait: "1 minute" } })
      const answers = [{ ...ok, headers: ["X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "20"] }]
      const stage = Admission.stage(gate, plain)(() => Effect.sync(() => answers.shift() ?? ok))
      const asked = (target: string) => Effect.forkChild(Effect.scoped(inCall({ target }, stage)))
      expect((yield* Fiber.join(yield* asked("/v1/chat/1"))).status).toBe(200)
      const same = yield* asked("/v1/chat/2")
      expect((yield* Fiber.join(yield* asked("/v1/models"))).status).toBe(200)
      yield* TestClock.adjust("19999 millis")
      expect(same.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      expect((yield* Fiber.join(same)).status).toBe(200)
    })
  )

  it.effect("leaves to the windows of an upstream that is one route what is left of its quota", () =>
    Effect.gen(function* () {
      const says = { ...ok, headers: ["RateLimit", `"all";r=1;t=20`] }
      for (const [segments, hints] of [
        [0, [{ remaining: 1, forMillis: 20_000 }]],
        [2, []]
      ] as const) {
        const gate = yield* Gate.make("up", { windows: [RateWindow.per(100, "1 minute")] })
        const options = { ...plain, cooling: { ...plain.cooling, segments } }
        const sent: Handler = (call) =>
          Effect.sync(() => {
            call.onSent()
            return says
          })
        yield* Effect.scoped(inCall({}, Admission.stage(gate, options)(sent)))
        expect((yield* gate.statistics).windows).toMatchObject([{ used: 1, hints }])
      }
    })
  )

  it.effect("waits no longer than the client will", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("up", { limit: 1, line: { maxWait: "1 minute" } })
      yield* gate.hold()
      const stage = Admission.stage(gate, plain)(end().handler)
      const refused = yield* Effect.forkChild(
        Effect.flip(Effect.scoped(inCall({ headers: headers("Prefer", "wait=2") }, stage)))
      )
      yield* TestClock.adjust("1999 millis")
      expect(refused.pollUnsafe()).toBeUndefined()
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(refused)).toMatchObject({ _tag: "Refused", reason: { _tag: "WaitExceeded" } })
      expect(yield* gate.statistics).toMatchObject({ waiting: 0 })
    })
  )
})

describe("Admission, where the limit adapts", () => {
  const options = { name: "up", pathFrom: 0, cooling: defaults.cooling, adaptive: true, answers: true }

  /** A gate that lets all in, and keeps what it is told. */
  const scripted = () => {
    const told: Array<ReadonlyArray<unknown>> = []
    const permit: Gate.Permit = {
      waited: Duration.zero,
      sent: () => {},
      answered: (...said) => void told.push(["answered", ...said]),
      settle: () => {},
      tighten: (hint) => void told.push(["tighten", hint]),
      release: (...said) => void told.push(["release", ...said])
    }
    const gate = { hold: () => Effect.succeed(permit), statistics: Effect.die("not asked") } as unknown as Gate.Gate
    let next: Handler = end().handler
    // One stage for all calls: it remembers.
    const handler = Admission.stage(gate, options)((call) => next(call))
    const stage = (then: Handler): Handler => {
      next = then
      return handler
    }
    return { stage, told }
  }

  /** Answers so many milliseconds after its first byte. */
  const answering =
    (status: number, millis: number): Handler =>
    ({ facts }) =>
      Effect.sync(() => {
        facts.sentAt = 1000
        facts.headAt = 1000 + millis
        return { ...ok, status }
      })

  it.effect("tells the limit at the head what the answer says, and how long it took", () =>
    Effect.gen(function* () {
      const { stage, told } = scripted()
      for (const status of [200, 404, 500, 429, 503, 504]) yield* inCall({}, stage(answering(status, status)))
      expect(told.filter(([what]) => what === "answered")).toEqual([
        ["answered", "ok", 200],
        ["answered", "ok", 404],
        ["answered", "ok", 500],
        ["answered", "overload", 429],
        ["answered", "overload", 503],
        ["answered", "overload", 504]
      ])
    })
  )

  it.effect("does not count the client's upload as the upstream's time", () =>
    Effect.gen(function* () {
      const { stage, told } = scripted()
      const sink: Transport.Sink = { write: () => true, onDrain: () => {} }
      const uploading: Handler = ({ body, facts }) =>
        Effect.sync(() => {
          facts.sentAt = performance.now() - 60_000
        }).pipe(
          Effect.andThen(body.pipeTo(sink)),
          Effect.andThen(
            Effect.sync(() => {
              facts.headAt = performance.now()
              return ok
            })
          ),
          Effect.orDie
        )
      const body: Transport.Body = { length: 1, bytes: undefined, pipeTo: () => Effect.void, abort: () => {} }
      yield* inCall({}, (call) => stage(uploading)({ ...call, body }))
      expect(told[0]!.slice(0, 2)).toEqual(["answered", "ok"])
      expect(told[0]![2]).toBeLessThan(10_000)
    })
  )

  it.effect("tells it of an upstream that gave no answer", () =>
    Effect.gen(function* () {
      const { stage, told } = scripted()
      for (const kind of ["headersTimeout", "refused", "dns", "requestBody"] as const) {
        const failing: Handler = () => Effect.fail(new Transport.UpstreamFailed({ kind, sent: true, cause: undefined }))
        yield* Effect.exit(inCall({}, stage(failing)))
      }
      expect(told).toEqual([
        ["release", "late"],
        ["release", "overload"],
        ["release", "ignore"],
        ["release", "ignore"]
      ])
    })
  )

  it.effect("does not take the time since an earlier attempt for that of one which was not sent", () =>
    Effect.gen(function* () {
      const { stage, told } = scripted()
      // It usually takes ten minutes.
      yield* inCall({}, stage(answering(200, 16 * 600_000)))
      const failing: Handler = () =>
        Effect.fail(new Transport.UpstreamFailed({ kind: "headersTimeout", sent: false, cause: undefined }))
      yield* Effect.exit(
        inCall({}, (call) => {
          call.facts.sentAt = performance.now() - 3_600_000
          return stage(failing)(call)
        })
      )
      expect(told.at(-1)).toEqual(["release", "ignore"])
    })
  )

  it.effect("does not blame the upstream for a client whose upload stalls, but for refusing the connection to it", () =>
    Effect.gen(function* () {
      const { stage, told } = scripted()
      const stalled: Transport.Body = { length: 1, bytes: undefined, pipeTo: () => Effect.never, abort: () => {} }
      for (const kind of ["headersTimeout", "refused"] as const) {
        const failing: Handler = () => Effect.fail(new Transport.UpstreamFailed({ kind, sent: true, cause: undefined }))
        yield* Effect.exit(inCall({}, (call) => stage(failing)({ ...call, body: stalled })))
      }
      expect(told).toEqual([
        ["release", "ignore"],
        ["release", "overload"]
      ])
    })
  )

  it.effect("takes a deadline for a failure unless answers usually take longer than the client gave", () =>
    Effect.gen(function* () {
      const { stage, told } = scripted()
      // Of late, answers took ten seconds.
      yield* inCall({}, stage(answering(200, 160_000)))
      const cut = (sentFor: number, body = Transport.empty) =>
        inCall({}, (call) => {
          call.region.narrowUnsafe(1)
          const silent: Handler = ({ facts }) => {
            facts.sentAt = performance.now() - sentFor
            return Effect.never
          }
          return stage(silent)({ ...call, body })
        }).pipe(Effect.exit, Effect.forkChild)
      const endless: Transport.Body = { length: 1, bytes: undefined, pipeTo: () => Effect.never, abort: () => {} }
      const calls = [yield* cut(20_000), yield* cut(5000), yield* cut(20_000, endless)]
      yield* TestClock.adjust("1 millis")
      for (const call of calls) yield* Fiber.join(call)
      expect(told.slice(2)).toEqual([
        ["release", "late"],
        ["release", "ignore"],
        ["release", "ignore"]
      ])
    })
  )

  it.effect("learns nothing from a client that leaves", () =>
    Effect.gen(function* () {
      const { stage, told } = scripted()
      const left: Handler = ({ facts, region }) => {
        facts.sentAt = performance.now() - 20_000
        region.cut(new Reason.ClientGone())
        return Effect.never
      }
      yield* Effect.exit(inCall({}, stage(left)))
      expect(told).toEqual([["release", "ignore"]])
    })
  )
})

describe("Credentials", () => {
  it.effect("puts the config's headers in place of the client's", () =>
    Effect.gen(function* () {
      const { calls, handler } = end()
      const stage = Credentials.stage([
        ["Authorization", Redacted.make("Bearer ours")],
        ["X-Api-Key", Redacted.make("k")]
      ])
      const headers = ["Host", "localhost", "authorization", "Bearer theirs", "X_Api_Key", "j", "Accept", "*/*"]
      yield* inCall({ headers }, stage(handler))
      expect(calls[0]!.headers).toEqual(["Accept", "*/*", "Authorization", "Bearer ours", "X-Api-Key", "k"])
      yield* inCall({ headers }, Credentials.stage([])(handler))
      expect(calls[1]!.headers).toContain("Bearer theirs")
    })
  )
})

describe("Exchange", () => {
  const options = { origin: "http://upstream:1", pseudonym: "fairlead-me", firstByteMillis: 7, idleMillis: 8 }

  it.effect("sends what the call has come to, and tells both sides of the hop", () =>
    Effect.gen(function* () {
      const asked: Array<unknown> = []
      const transport: Transport.Transport = {
        exchange: (origin, { headers, method, target }, more) =>
          Effect.sync(() => {
            asked.push({
              origin,
              method,
              target,
              headers,
              firstByteMillis: more!.firstByteMillis,
              idleMillis: more!.idleMillis
            })
            more!.onSent!()
            more!.onInformation!(103, [])
            return { ...ok, headers: ["Connection", "close", "ETag", "x"] }
          })
      }
      yield* inCall({}, (call, told) =>
        Effect.gen(function* () {
          const reply = yield* Exchange.handler(
            transport,
            options
          )({ ...call, target: "/v1/x", headers: ["Accept", "*/*"] })
          expect(asked).toEqual([
            {
              origin: "http://upstream:1",
              method: "GET",
              target: "/v1/x",
              headers: ["Accept", "*/*", "Via", "1.1 fairlead-me"],
              firstByteMillis: 7,
              idleMillis: 8
            }
          ])
          expect(told).toEqual(["sent", "103"])
          expect(reply.headers.slice(0, 4)).toEqual(["ETag", "x", "Via", "1.1 fairlead-me"])
          expect(Transport.header(reply.headers, "server-timing")).toMatch(/^queue;dur=0, ttfb;dur=[\d.]+$/)
        })
      )
    })
  )

  it.live("tells the upstream what is left of the client's time", () =>
    Effect.gen(function* () {
      let left = 0
      const transport: Transport.Transport = {
        exchange: (_, { headers }, more) =>
          Effect.sync(() => {
            left = Number(Transport.header(headers, "x-request-timeout-ms"))
            more!.onSent!()
            return ok
          })
      }
      yield* inCall({ headers: ["Host", "localhost", "X-Request-Timeout-Ms", "5000"] }, (call) =>
        Effect.andThen(
          Effect.sleep("50 millis"),
          Effect.suspend(() => DeadlineStage.stage(Exchange.handler(transport, options))(call))
        )
      )
      expect(left).toBeGreaterThan(0)
      expect(left).toBeLessThanOrEqual(4960)
    })
  )

  it.effect("lifts the upstream's total from an event stream, not the client's own word", () =>
    Effect.gen(function* () {
      const transport: Transport.Transport = {
        exchange: (_, __, more) =>
          Effect.sync(() => {
            more!.onSent!()
            return { ...ok, headers: ["content-type", "text/event-stream"] }
          })
      }
      const stages = (totalMillis: number) =>
        DeadlineStage.stage(
          Route.handler(
            new Map([["up", { base: "", totalMillis, handler: Exchange.handler(transport, options) }]]),
            "fairlead-me"
          )
        )
      const streaming = (headers: Transport.Headers) =>
        Effect.forkChild(
          Effect.exit(
            inCall({ headers }, (call) => Effect.andThen(Effect.scoped(stages(100)(call)), Effect.sleep("1 second")))
          )
        )
      const free = yield* streaming(["Host", "localhost"])
      const sdk = yield* streaming(["Host", "localhost", "X-Stainless-Timeout", "0.05"])
      const bound = yield* streaming(["Host", "localhost", "X-Request-Timeout-Ms", "500"])
      yield* TestClock.adjust(Duration.seconds(1))
      expect((yield* Fiber.join(free))._tag).toBe("Success")
      expect((yield* Fiber.join(sdk))._tag).toBe("Success")
      expect((yield* Fiber.join(bound))._tag).toBe("Failure")
    })
  )
})
