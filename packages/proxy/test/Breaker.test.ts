import { describe, expect, it } from "@effect/vitest"
import { Refused, Transport } from "@fairlead/core"
import { CircuitBreaker } from "@fairlead/core/http"
import { Duration, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { judge } from "../src/stages/Breaker.ts"
import * as Proxied from "./proxied.ts"

describe("what an upstream's answer says of it", () => {
  const ofReply = (status: number, ...headers: ReadonlyArray<string>) =>
    judge(Exit.succeed({ status, headers, body: Transport.empty }))
  const ofKind = (kind: Transport.Kind, sent = true) =>
    judge(Exit.fail(new Transport.UpstreamFailed({ kind, sent, cause: undefined })))._tag

  it("is that it fails for 500, 502, 503 and 504, and for no other answer", () => {
    for (const status of [500, 502, 503, 504]) expect(ofReply(status)).toEqual(CircuitBreaker.failure())
    for (const status of [200, 304, 400, 404, 429, 501, 505, 511]) {
      expect(ofReply(status)).toEqual(CircuitBreaker.success)
    }
  })

  it("is for how long, where it says Retry-After", () => {
    expect(ofReply(503, "Retry-After", "30")).toEqual(CircuitBreaker.failure({ retryAfter: Duration.seconds(30) }))
    expect(ofReply(500, "Retry-After", "soon")).toEqual(CircuitBreaker.failure())
  })

  it("is nothing, where a proxy on the way refused the call", () => {
    expect(ofReply(503, "Proxy-Status", "fairlead; error=proxy_internal_response")).toEqual(CircuitBreaker.ignored)
    expect(ofReply(502, "Proxy-Status", "edge; error=connection_refused")).toEqual(CircuitBreaker.failure())
  })

  it("is that it fails, where there is no answer; but for what is the client's doing, or ours", () => {
    const kinds = ["refused", "unreachable", "dns", "tls", "connectTimeout", "reset", "incomplete"] as const
    for (const kind of [...kinds, "protocol", "headersTimeout", "idleTimeout"] as const) {
      expect(ofKind(kind)).toBe("Failure")
    }
    for (const kind of ["requestBody", "closed"] as const) expect(ofKind(kind)).toBe("Ignored")
    // It cannot be said in HTTP.
    expect(ofKind("protocol", false)).toBe("Ignored")
  })

  it("is nothing, where the call was refused here", () => {
    const refused = new Refused.Refused({
      reason: new Refused.ShuttingDown(),
      gate: "up",
      waited: Duration.zero,
      retryAfter: Option.none()
    })
    expect(judge(Exit.fail(refused))).toEqual(CircuitBreaker.ignored)
    expect(judge(Exit.die("a mistake of ours"))._tag).toBe("Failure")
  })
})

describe("Breaker", () => {
  it.effect("refuses calls of an upstream that keeps failing, and lets one through after a while", () =>
    Effect.gen(function* () {
      let status = 500
      let asked = 0
      const { ask, log } = yield* Proxied.make("breaker: { failures: 3, open: 10 s }", () =>
        Effect.sync(() => {
          asked++
          return { status, headers: [], body: Transport.empty }
        })
      )
      for (let i = 0; i < 3; i++) expect((yield* ask()).status).toBe(500)
      yield* TestClock.adjust("4500 millis")
      const refused = yield* ask()
      expect(asked).toBe(3)
      expect(refused.status).toBe(503)
      expect(refused.header("retry-after")).toBe("6")
      expect(refused.header("retry-after-ms")).toBe("5500")
      expect(refused.header("proxy-status")).toBe("fairlead; error=proxy_internal_response")
      expect(JSON.parse(refused.body)).toMatchObject({
        type: "urn:fairlead:problem:circuit-open",
        sent: false,
        detail: "The upstream failed its last 3 calls, and is left alone for a while. Come back later."
      })
      expect(log.at(-1)).toMatchObject({ reason: "circuit-open", queueMillis: 0 })
      status = 200
      yield* TestClock.adjust("5500 millis")
      expect([(yield* ask()).status, (yield* ask()).status, asked]).toEqual([200, 200, 5])
    })
  )

  const reply = (status: number) => ({ status })

  it.effect("its probe goes when it has a permit; those who come while it waits for one wait, too", () =>
    Effect.gen(function* () {
      const { exchange, exchanges } = Proxied.upstream()
      const { ask } = yield* Proxied.make("rate: 1 per 15 seconds, breaker: { failures: 1, open: 10 s }", exchange)
      const fork = Effect.forkChild(ask(), { startImmediately: true })
      const first = yield* fork
      yield* exchanges[0]!.reply(reply(500))
      expect((yield* Fiber.join(first)).status).toBe(500)
      yield* TestClock.adjust("10 seconds")
      const waiting = [yield* fork, yield* fork]
      expect(waiting.map((fiber) => fiber.pollUnsafe())).toEqual([undefined, undefined])
      for (const i of [1, 2]) {
        yield* TestClock.adjust("15 seconds")
        expect(exchanges.length).toBe(i + 1)
        yield* exchanges[i]!.reply(reply(200))
        yield* TestClock.adjust(0)
      }
      expect((yield* Effect.forEach(waiting, Fiber.join)).map(({ status }) => status)).toEqual([200, 200])
    })
  )

  it.effect("refuses at its turn what the circuit does not let through then, and that has its grant back", () =>
    Effect.gen(function* () {
      const { exchange, exchanges } = Proxied.upstream()
      const { ask, log } = yield* Proxied.make(
        "concurrency: 2, rate: 4 per hour, breaker: { failures: 1, open: 10 s }",
        exchange
      )
      const fork = Effect.forkChild(ask(), { startImmediately: true })
      const [first, slow, waited] = [yield* fork, yield* fork, yield* fork]
      yield* TestClock.adjust("1 second")
      yield* exchanges[0]!.reply(reply(500))
      yield* Fiber.join(first)
      // It opened while that one waited.
      const refused = yield* Fiber.join(waited)
      expect([refused.status, refused.header("retry-after"), exchanges.length]).toEqual([503, "10", 2])
      expect(JSON.parse(refused.body)).toMatchObject({ error: { code: "circuit-open" }, sent: false })
      expect(log.at(-1)).toMatchObject({ reason: "circuit-open", queueMillis: 1000 })
      yield* exchanges[1]!.reply(reply(200))
      yield* Fiber.join(slow)
      yield* TestClock.adjust("10 seconds")
      const probe = yield* fork
      // There is a permit for it, and the probe is not back.
      expect(yield* ask()).toMatchObject({ status: 503 })
      yield* exchanges[2]!.reply(reply(200))
      yield* Fiber.join(probe)
      const last = yield* fork
      yield* exchanges[3]!.reply(reply(200))
      expect((yield* Fiber.join(last)).status).toBe(200)
    })
  )

  it.effect("is open for as long as the upstream says, and no longer than the config does", () =>
    Effect.gen(function* () {
      const { ask } = yield* Proxied.make(
        "cooling: { longest: 0 s }, breaker: { failures: 1, open: 1 s, longest: 20 s }",
        () => Effect.succeed({ status: 503, headers: ["Retry-After", "3600"], body: Transport.empty })
      )
      expect((yield* ask()).status).toBe(503)
      expect((yield* ask()).header("retry-after")).toBe("20")
    })
  )

  it.effect("a client that leaves, or has too little time, says nothing of the upstream", () =>
    Effect.gen(function* () {
      const { exchange, exchanges } = Proxied.upstream()
      const { ask } = yield* Proxied.make("breaker: { failures: 1 }", exchange)
      const leaving = yield* Effect.forkChild(ask(), { startImmediately: true })
      yield* Fiber.interrupt(leaving)
      const late = yield* Effect.forkChild(ask({ headers: ["X-Request-Timeout-Ms", "100"] }), {
        startImmediately: true
      })
      yield* TestClock.adjust("100 millis")
      expect((yield* Fiber.join(late)).status).toBe(504)
      const other = yield* Effect.forkChild(ask(), { startImmediately: true })
      yield* exchanges[2]!.reply({ status: 204 })
      expect((yield* Fiber.join(other)).status).toBe(204)
      expect(exchanges.map(({ cut }) => cut)).toEqual([true, true, false])
    })
  )

  it.effect("is not there unless the config says so", () =>
    Effect.gen(function* () {
      const { ask } = yield* Proxied.make("", () => Effect.succeed({ status: 500, headers: [], body: Transport.empty }))
      for (let i = 0; i < 20; i++) expect((yield* ask()).status).toBe(500)
    })
  )
})
