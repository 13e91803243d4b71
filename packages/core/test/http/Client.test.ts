import { describe, expect, it } from "@effect/vitest"
import { Attempts, Deadline, Gate, GateMap, Priority, RateWindow, Refused, Tenant, Transport } from "@fairlead/core"
import { CircuitBreaker, Client } from "@fairlead/core/http"
import { Leaks } from "@fairlead/testing"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Schedule, Stream } from "effect"
import type { Scope } from "effect"
import { HttpBody, HttpClient, HttpClientError, HttpClientRequest } from "effect/http"
import { TestClock } from "effect/testing"
import { fork, nothingLeft, settle } from "../gates.ts"

interface Asked extends Transport.Request {
  readonly origin: string
  readonly text: string
  readonly urgency: number
  readonly tenant: string
}

type Answering = (
  asked: Asked,
  nth: number
) => Effect.Effect<Transport.Reply, Transport.UpstreamFailed | Refused.Refused, Scope.Scope>

/** A transport that answers as the test says, and counts what it holds. */
const scripted = (answer: Answering) => {
  const asked: Array<Asked> = []
  const held = { scopes: 0, bodies: 0, aborted: 0 }
  const transport: Transport.Transport = {
    exchange: (origin, request, options) =>
      Effect.gen(function* () {
        yield* Effect.acquireRelease(
          Effect.sync(() => held.scopes++),
          () => Effect.sync(() => held.scopes--)
        )
        options?.onSent?.()
        const bytes = yield* Effect.orDie(Transport.collect(request.body))
        const one = {
          ...request,
          origin,
          text: new TextDecoder().decode(bytes),
          urgency: yield* Priority.Priority,
          tenant: yield* Tenant.Tenant
        }
        asked.push(one)
        const reply = yield* answer(one, asked.length)
        if (reply.body.bytes !== undefined) return reply
        held.bodies++
        let open = true
        const close = () => {
          if (open) held.bodies--
          open = false
        }
        const abort = () => {
          if (open) held.aborted++
          close()
        }
        yield* Effect.addFinalizer(() => Effect.sync(abort))
        const pipeTo = (sink: Transport.Sink) =>
          Effect.onExitPrimitive(reply.body.pipeTo(sink), (exit) => void (Exit.isSuccess(exit) ? close() : abort()))
        return { ...reply, body: { ...reply.body, pipeTo, abort } }
      })
  }
  /** Nothing is open, and so much was aborted. */
  const nothingHeld = (aborted = 0) => expect(held).toEqual({ scopes: 0, bodies: 0, aborted })
  return { asked, held, nothingHeld, transport, client: Client.fromTransport(transport) }
}

const chunks = (...texts: ReadonlyArray<string>) =>
  Stream.rechunk(Stream.fromIterable(texts.map((text) => new TextEncoder().encode(text))), 1)

const reply = (status: number, headers: Transport.Headers = [], body: Transport.Body = Transport.empty) =>
  Effect.succeed({ status, headers, body })

/** An answer whose body is not in memory. */
const flowing = (status = 200, headers: Transport.Headers = [], ...texts: ReadonlyArray<string>) =>
  Effect.sync(() => ({ status, headers, body: Transport.stream(chunks(...(texts.length === 0 ? ["body"] : texts))) }))

const failed = (kind: Transport.Kind, sent = true) =>
  Effect.fail(new Transport.UpstreamFailed({ kind, sent, cause: new Error("because") }))

const refusal = new Refused.Refused({
  reason: new Refused.QueueFull({ bound: "items", limit: 1 } as never),
  gate: "connections",
  waited: Duration.zero,
  retryAfter: Option.none()
})

const url = "https://api.example.com/v1/x"

describe("fromTransport", () => {
  it.effect("asks for what the request says", () =>
    Effect.gen(function* () {
      const { asked, client } = scripted(() => reply(204))
      yield* client.get("https://api.example.com:8443/a%20b?x=1#part", {
        urlParams: { y: "2 3" },
        headers: { "X-One": "1" }
      })
      expect(asked[0]).toMatchObject({
        origin: "https://api.example.com:8443",
        method: "GET",
        target: "/a%20b?x=1&y=2+3",
        text: ""
      })
      expect(Transport.header(asked[0]!.headers, "x-one")).toBe("1")
    })
  )

  it.effect("sends every kind of body, with its type", () =>
    Effect.gen(function* () {
      const { asked, client } = scripted(() => reply(204))
      const form = new FormData()
      form.append("name", "value")
      const bodies = [
        HttpBody.jsonUnsafe({ a: 1 }),
        HttpBody.stream(chunks("a", "b"), "text/plain", 2),
        HttpBody.formData(form),
        HttpBody.raw("raw"),
        HttpBody.raw(new TextEncoder().encode("bytes")),
        HttpBody.raw(new Blob(["blob"], { type: "text/csv" })),
        HttpBody.raw(new Response("web").body),
        HttpBody.raw(new URLSearchParams({ a: "b c" })),
        HttpBody.raw(null)
      ]
      for (const body of bodies) yield* client.execute(HttpClientRequest.setBody(HttpClientRequest.post(url), body))
      expect(asked.map(({ headers, text }) => [Transport.header(headers, "content-type"), text])).toEqual([
        ["application/json", `{"a":1}`],
        ["text/plain", "ab"],
        [expect.stringMatching(/^multipart\/form-data; boundary=/), expect.stringContaining("value")],
        [undefined, "raw"],
        [undefined, "bytes"],
        ["text/csv", "blob"],
        [undefined, "web"],
        ["application/x-www-form-urlencoded;charset=UTF-8", "a=b+c"],
        [undefined, ""]
      ])
    })
  )

  it.effect("gives head and body, as often as one likes", () =>
    Effect.gen(function* () {
      const headers = ["X-A", "1", "x-a", "2", "Set-Cookie", "a=1; Path=/", "set-cookie", "b=2"]
      const { client, nothingHeld } = scripted(() => flowing(200, headers, `{"a"`, `:1}`))
      const answer = yield* client.get(`${url}?q=1#part`)
      expect([answer.status, answer.url]).toEqual([200, `${url}?q=1`])
      expect(answer.headers).toMatchObject({ "x-a": "1, 2" })
      expect(Object.keys(answer.cookies.cookies)).toEqual(["a", "b"])
      expect(yield* answer.json).toEqual({ a: 1 })
      expect(yield* answer.text).toBe(`{"a":1}`)
      expect(new Uint8Array(yield* answer.arrayBuffer)).toHaveLength(7)
      expect(answer.toJSON()).toMatchObject({ _id: "HttpClientResponse", status: 200 })
      nothingHeld()
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("reads forms, parameters and nothing", () =>
    Effect.gen(function* () {
      const type = ["content-type", "application/x-www-form-urlencoded"]
      const { client } = scripted(({ target }) =>
        target === "/none" ? reply(200) : reply(200, type, Transport.text("?a=b&c=d"))
      )
      const answer = yield* client.get("https://api.example.com/")
      expect((yield* answer.urlParamsBody).params).toEqual([
        ["?a", "b"],
        ["c", "d"]
      ])
      expect((yield* answer.formData).get("c")).toBe("d")
      expect(yield* (yield* client.get("https://api.example.com/none")).json).toBe(null)
    })
  )

  it.effect("gives the body as a stream, and aborts what is not wanted of it", () =>
    Effect.gen(function* () {
      const { client, nothingHeld } = scripted(() => flowing(200, [], "a", "b", "c"))
      const whole = yield* client.get(url)
      expect(yield* Stream.mkString(Stream.decodeText(whole.stream))).toBe("abc")
      nothingHeld()
      const first = yield* client.get(url)
      yield* Stream.runDrain(Stream.take(first.stream, 1))
      nothingHeld(1)
      expect((yield* Effect.flip(Stream.runDrain(first.stream))).message).toMatch(/read already/)
      expect((yield* Effect.flip(first.text)).message).toMatch(/read already/)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("aborts an unread body when the request's scope ends", () =>
    Effect.gen(function* () {
      const { client, held, nothingHeld } = scripted(() => flowing())
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* HttpClient.withScope(client).get(url)
          expect(held).toEqual({ scopes: 1, bodies: 1, aborted: 0 })
        })
      )
      nothingHeld(1)
    })
  )

  it.effect("lets go of everything when it is interrupted, before the head and in the body", () =>
    Effect.gen(function* () {
      const waits = scripted(() => Effect.never)
      const asking = yield* fork(waits.client.get(url))
      expect(waits.held.scopes).toBe(1)
      yield* Fiber.interrupt(asking)
      waits.nothingHeld()
      const flows = scripted(() => reply(200, [], Transport.stream(Stream.concat(chunks("a"), Stream.never))))
      const answer = yield* flows.client.get(url)
      const reading = yield* fork(answer.text)
      const other = yield* fork(answer.text)
      yield* Fiber.interrupt(reading)
      flows.nothingHeld(1)
      const exit = yield* Fiber.await(other)
      expect(Exit.isFailure(exit) && !Exit.hasInterrupts(exit)).toBe(true)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("says what went wrong in the client's words, with ours behind", () =>
    Effect.gen(function* () {
      const of = (answer: Answering) => Effect.flip(scripted(answer).client.get(url))
      const reset = yield* of(() => failed("reset"))
      expect([reset.reason._tag, reset.message]).toEqual(["TransportError", `Transport: reset: because (GET ${url})`])
      expect(reset.cause).toMatchObject({ kind: "reset", sent: true })
      expect((yield* of(() => failed("requestBody"))).reason._tag).toBe("EncodeError")
      expect((yield* of(() => Effect.fail(refusal))).cause).toBe(refusal)
      const broken = Stream.fail(new Transport.BodyFailed({ kind: "incomplete", cause: undefined }))
      const { client, nothingHeld } = scripted(() => reply(200, [], Transport.stream(broken)))
      for (const how of ["text", "arrayBuffer", "json", "formData"] as const) {
        const error: HttpClientError.HttpClientError = yield* Effect.flip(
          (yield* client.get(url))[how] as Effect.Effect<unknown, HttpClientError.HttpClientError>
        )
        expect([error.reason._tag, error.cause]).toMatchObject(["DecodeError", { kind: "incomplete" }])
      }
      const streamed = yield* Effect.flip(Stream.runDrain((yield* client.get(url)).stream))
      expect(streamed.cause).toMatchObject({ kind: "incomplete" })
      nothingHeld(5)
      const text = yield* scripted(() => reply(200, [], Transport.text("{"))).client.get(url)
      expect((yield* Effect.flip(text.json)).reason._tag).toBe("DecodeError")
      expect((yield* Effect.flip(text.upgrade)).reason._tag).toBe("StatusCodeError")
    })
  )

  it.effect("is the HttpClient of a program that has a Transport", () =>
    Effect.gen(function* () {
      const { transport } = scripted(() => reply(200, [], Transport.text("hello")))
      const asked = Effect.flatMap(HttpClient.get(url), ({ text }) => text)
      const layers = Layer.provide(Client.layer, Layer.succeed(Transport.Transport)(transport))
      expect(yield* Effect.provide(asked, layers)).toBe("hello")
    })
  )
})

describe("toTransport", () => {
  const get = (target = "/v1/x", headers: Transport.Headers = []): Transport.Request => ({
    method: "GET",
    target,
    headers,
    body: Transport.empty
  })
  const origin = "https://api.example.com"

  it.effect("sends a request, and brings the answer", () =>
    Effect.gen(function* () {
      const { asked, client, nothingHeld } = scripted(() => flowing(201, ["X-A", "1", "content-length", "4"]))
      const transport = Client.toTransport(client)
      let sent = 0
      yield* Effect.scoped(
        Effect.gen(function* () {
          const request = {
            ...get("/a?b=c", ["Cookie", "a=1", "cookie", "b=2"]),
            method: "POST",
            body: Transport.stream(chunks("x", "y"))
          }
          const { body, headers, status } = yield* transport.exchange(origin, request, { onSent: () => sent++ })
          expect([status, body.length, sent]).toEqual([201, 4, 1])
          expect(Transport.header(headers, "x-a")).toBe("1")
          expect(new TextDecoder().decode(yield* Transport.collect(body))).toBe("body")
          nothingHeld()
        })
      )
      expect(asked[0]).toMatchObject({ origin, method: "POST", target: "/a?b=c", text: "xy" })
      expect(Transport.header(asked[0]!.headers, "cookie")).toBe("a=1; b=2")
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("goes there and back", () =>
    Effect.gen(function* () {
      const { client, nothingHeld } = scripted(({ method }) =>
        method === "HEAD" ? reply(200, ["content-length", "12"]) : flowing(200, [], "a", "b")
      )
      const again = Client.fromTransport(Client.toTransport(client))
      expect(yield* (yield* again.get(url)).text).toBe("ab")
      expect(yield* (yield* again.head(url)).text).toBe("")
      nothingHeld()
      const fails = Client.fromTransport(Client.toTransport(scripted(() => failed("dns", false)).client))
      expect((yield* Effect.flip(fails.get(url))).cause).toMatchObject({ kind: "dns", sent: false })
    })
  )

  it.effect("aborts what nobody reads, on a word or with the scope", () =>
    Effect.gen(function* () {
      const { client, nothingHeld } = scripted(() => flowing())
      const transport = Client.toTransport(client)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { body } = yield* transport.exchange(origin, get())
          body.abort()
          nothingHeld(1)
        })
      )
      yield* Effect.scoped(transport.exchange(origin, get()))
      nothingHeld(2)
    })
  )

  it.effect("keeps times and sizes", () =>
    Effect.gen(function* () {
      const silent = Client.toTransport(scripted(() => Effect.never).client)
      const late = yield* fork(Effect.flip(Effect.scoped(silent.exchange(origin, get(), { firstByteMillis: 1000 }))))
      const total = yield* fork(
        Effect.flip(Effect.scoped(silent.exchange(origin, get(), { totalMillis: 900, firstByteMillis: 1000 })))
      )
      yield* TestClock.adjust(1000)
      expect([(yield* Fiber.join(late)) as unknown, (yield* Fiber.join(total)) as unknown]).toMatchObject([
        { kind: "headersTimeout" },
        { kind: "totalTimeout" }
      ])
      const drips = scripted(() => reply(200, [], Transport.stream(Stream.concat(chunks("a"), Stream.never))))
      const collect = (options: Transport.Options) =>
        fork(
          Effect.scoped(
            Effect.flatMap(Client.toTransport(drips.client).exchange(origin, get(), options), ({ body }) =>
              Effect.flip(Transport.collect(body))
            )
          )
        )
      const idle = yield* collect({ idleMillis: 500 })
      const whole = yield* collect({ totalMillis: 400, idleMillis: 500 })
      yield* TestClock.adjust(500)
      expect([yield* Fiber.join(idle), yield* Fiber.join(whole)]).toMatchObject([
        { kind: "idleTimeout" },
        { kind: "totalTimeout" }
      ])
      drips.nothingHeld(2)
      const big = scripted(({ target }) =>
        flowing(200, target === "/said" ? ["content-length", "9"] : [], "abc", "def", "ghi")
      )
      const bounded = (target: string) =>
        Effect.scoped(
          Effect.flatMap(Client.toTransport(big.client).exchange(origin, get(target), { maxBytes: 5 }), ({ body }) =>
            Transport.collect(body)
          )
        )
      expect(yield* Effect.flip(bounded("/said"))).toMatchObject({ _tag: "UpstreamFailed", kind: "tooLarge" })
      expect(yield* Effect.flip(bounded("/unsaid"))).toMatchObject({ _tag: "BodyFailed", kind: "tooLarge" })
      big.nothingHeld(2)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("says of failures what is known", () =>
    Effect.gen(function* () {
      const of = (error: HttpClientError.HttpClientErrorReason | Refused.Refused) => {
        const cause = error instanceof Refused.Refused ? error : new HttpClientError.HttpClientError({ reason: error })
        const client = HttpClient.transform(scripted(() => reply(200)).client, () => Effect.fail(cause))
        return Effect.flip(Effect.scoped(Client.toTransport(client).exchange(origin, get())))
      }
      const request = HttpClientRequest.get(url)
      expect(yield* of(new HttpClientError.TransportError({ request }))).toMatchObject({ kind: "reset", sent: true })
      expect(yield* of(new HttpClientError.EncodeError({ request }))).toMatchObject({
        kind: "requestBody",
        sent: false
      })
      expect(yield* of(new HttpClientError.InvalidUrlError({ request }))).toMatchObject({
        kind: "protocol",
        sent: false
      })
      expect(yield* of(refusal)).toBe(refusal)
    })
  )
})

describe("gate", () => {
  it.effect("holds a permit until the body has been read", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: 1 })
      const { asked, client, nothingHeld } = scripted(() => flowing())
      const gated = client.pipe(Client.gate(gate))
      for (const how of ["text", "stream"] as const) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const before = asked.length
            const answer = yield* gated.get(url)
            const next = yield* fork(Effect.scoped(Effect.flatMap(gated.get(url), ({ text }) => text)))
            yield* settle
            expect(asked.length).toBe(before + 1)
            yield* how === "text" ? answer.text : Stream.runDrain(answer.stream)
            expect(yield* Fiber.join(next)).toBe("body")
          })
        )
      }
      nothingHeld()
      yield* nothingLeft(gate)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("gives it back with the scope, and aborts what was not read", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: 1 })
      const { client, nothingHeld } = scripted(() => flowing())
      const gated = Client.gate(client, gate)
      yield* Effect.scoped(gated.get(url))
      nothingHeld(1)
      const waiting = yield* Effect.scoped(
        Effect.gen(function* () {
          yield* gated.get(url)
          return yield* fork(Effect.scoped(Effect.flatMap(gated.get(url), ({ text }) => text)))
        })
      )
      yield* settle
      yield* Fiber.interrupt(waiting)
      yield* nothingLeft(gate)
    })
  )

  it.effect("holds nothing for an answer without a body, or with one in memory", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: 1 })
      const { client, nothingHeld } = scripted(({ method, target }) => {
        if (target === "/memory") return reply(200, [], Transport.text("hello"))
        const body = Transport.stream(Stream.empty)
        return reply(method === "HEAD" ? 200 : 204, ["content-length", "5"], body)
      })
      const gated = Client.gate(client, gate)
      const inMemory = yield* Effect.forEach([1, 2], () => gated.get("https://api.example.com/memory"))
      expect(yield* Effect.forEach(inMemory, ({ text }) => text)).toEqual(["hello", "hello"])
      yield* Effect.forEach([1, 2, 3], () => gated.head(url))
      const answer = yield* gated.get(url)
      expect(yield* answer.text).toBe("")
      expect(yield* Stream.runCollect(answer.stream)).toHaveLength(0)
      nothingHeld()
      yield* nothingLeft(gate)
    })
  )

  it.effect("holds nothing where there is no answer, and sends nothing that is refused", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: 1, line: { maxItems: 0 } })
      const { asked, client, nothingHeld } = scripted((_, nth) => (nth === 1 ? failed("reset") : Effect.never))
      const gated = Client.gate(client, gate)
      expect(yield* Effect.flip(gated.get(url))).toMatchObject({ _tag: "HttpClientError" })
      const holds = yield* fork(gated.get(url))
      expect(yield* Effect.flip(gated.get(url))).toMatchObject({ _tag: "Refused" })
      expect(asked.length).toBe(2)
      yield* Fiber.interrupt(holds)
      nothingHeld()
      yield* nothingLeft(gate)
    })
  )

  it.effect("asks for what a request costs, for its key", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { windows: [RateWindow.per(10, "1 minute")] })
      const { client } = scripted(() => reply(204))
      yield* Client.gate(client, gate, { ask: ({ method }) => ({ cost: method === "POST" ? 5 : 1 }) }).post(url)
      expect((yield* gate.statistics).windows[0]!.used).toBe(5)
    })
  )

  it.effect("heeds what answers say of their sender's limits, where it is told to", () =>
    Effect.gen(function* () {
      const says = ["x-ratelimit-remaining", "1", "x-ratelimit-reset", "30"]
      const { asked, client } = scripted(() => reply(204, says))
      const deaf = yield* Gate.make("deaf", { windows: [RateWindow.per(100, "1 minute")] })
      yield* Client.gate(client, deaf).get(url)
      expect((yield* deaf.statistics).windows[0]!.hints).toEqual([])
      const gate = yield* Gate.make("api", { windows: [RateWindow.per(100, "1 minute")] })
      const gated = Client.gate(client, gate, { hints: true })
      yield* gated.get(url)
      yield* gated.get(url)
      const third = yield* fork(gated.get(url))
      yield* TestClock.adjust(29_000)
      expect(asked.length).toBe(3)
      yield* TestClock.adjust(1000)
      expect(asked.length).toBe(4)
      yield* Fiber.join(third)
    })
  )

  it.effect("tells an adaptive limit which ends were too much", () =>
    Effect.gen(function* () {
      const verdicts: Array<string> = []
      const permit = {
        answered: (verdict: string) => verdicts.push(verdict),
        release: (verdict: string) => verdicts.push(verdict),
        tighten: () => {}
      }
      const gate = { hold: () => Effect.succeed(permit) } as unknown as Gate.Gate
      const ends = [
        reply(200),
        reply(404),
        reply(429),
        reply(503),
        failed("reset"),
        failed("dns"),
        failed("requestBody")
      ]
      for (const end of ends) yield* Effect.exit(Client.gate(scripted(() => end).client, gate).get(url))
      expect(verdicts).toEqual(["ok", "ok", "overload", "overload", "overload", "ignore", "ignore"])
    })
  )

  it.effect("has one for each origin, and heeds each one's word alone", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 })
      const { asked, client } = scripted(({ origin }) =>
        origin.includes("busy") ? reply(429, ["retry-after", "10"]) : flowing()
      )
      const gated = Client.gates(client, map)
      yield* gated.get("https://busy.example/")
      const again = yield* fork(gated.get("https://busy.example/"))
      yield* gated.get("https://idle.example/")
      expect(asked.map(({ origin }) => origin)).toEqual(["https://busy.example", "https://idle.example"])
      yield* TestClock.adjust(10_000)
      yield* Fiber.join(again)
      expect(asked.length).toBe(3)
    })
  )
})

describe("deadline, priority, tenant", () => {
  it.effect("bounds the time to the head", () =>
    Effect.gen(function* () {
      const { client, nothingHeld } = scripted(() => Effect.never)
      const asking = yield* fork(Effect.flip(client.pipe(Client.deadline("2 seconds")).get(url)))
      yield* TestClock.adjust(2000)
      expect(yield* Fiber.join(asking)).toBeInstanceOf(Deadline.DeadlineExceeded)
      nothingHeld()
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("says whose request it is, and how urgent", () =>
    Effect.gen(function* () {
      const { asked, client } = scripted(() => reply(204))
      yield* client.pipe(Client.priority(1), Client.tenant("web")).get(url)
      expect([asked[0]!.urgency, asked[0]!.tenant]).toEqual([1, "web"])
    })
  )
})

describe("breaker", () => {
  it.effect("refuses an origin that keeps failing, and no other", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make("api", { failures: 2, judge: Client.judge })
      const { asked, client } = scripted(({ origin }) =>
        origin.includes("down") ? reply(503, ["retry-after", "20"]) : reply(500 + 1)
      )
      const broken = client.pipe(Client.breaker(breaker))
      for (const _ of [1, 2]) yield* broken.get("https://down.example/")
      expect(yield* Effect.flip(broken.get("https://down.example/"))).toMatchObject({ reason: { _tag: "CircuitOpen" } })
      for (const _ of [1, 2, 3]) yield* broken.get("https://up.example/")
      expect(asked.length).toBe(5)
      yield* TestClock.adjust(19_000)
      yield* Effect.flip(broken.get("https://down.example/"))
      yield* TestClock.adjust(1000)
      yield* broken.get("https://down.example/")
      expect(asked.length).toBe(6)
    })
  )

  it("judges what is the other side's doing", () => {
    const ofFailure = (error: unknown) => Client.judge(Exit.fail(error))
    const request = HttpClientRequest.get(url)
    const http = (reason: HttpClientError.HttpClientErrorReason) => new HttpClientError.HttpClientError({ reason })
    const transport = (kind: Transport.Kind, sent: boolean) =>
      http(
        new HttpClientError.TransportError({
          request,
          cause: new Transport.UpstreamFailed({ kind, sent, cause: undefined })
        })
      )
    for (const failure of [
      transport("reset", true),
      http(new HttpClientError.TransportError({ request })),
      new Error("timeout")
    ]) {
      expect(ofFailure(failure)._tag).toBe("Failure")
    }
    for (const ours of [
      refusal,
      transport("closed", false),
      transport("protocol", false),
      http(new HttpClientError.EncodeError({ request })),
      http(new HttpClientError.InvalidUrlError({ request })),
      http(new HttpClientError.TransportError({ request, cause: refusal }))
    ]) {
      expect(ofFailure(ours)).toBe(CircuitBreaker.ignored)
    }
  })
})

describe("attempts", () => {
  const make = Attempts.make("api", { max: 3, backoff: Schedule.spaced("100 millis") })

  it.effect("sends again what may be, and drops the answer first", () =>
    Effect.gen(function* () {
      const attempts = yield* make
      const { asked, client, held, nothingHeld } = scripted((_, nth) => (nth === 1 ? flowing(503) : flowing(200)))
      const tried = client.pipe(Client.attempts(attempts))
      const asking = yield* fork(
        Effect.scoped(Effect.flatMap(tried.get(url), ({ status, text }) => Effect.map(text, (it) => [status, it])))
      )
      expect(held).toEqual({ scopes: 0, bodies: 0, aborted: 1 })
      yield* TestClock.adjust(100)
      expect(yield* Fiber.join(asking)).toEqual([200, "body"])
      expect(asked.length).toBe(2)
      nothingHeld(1)
      expect(Attempts.check(yield* attempts.statistics)).toEqual([])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("gives the last answer, whatever it is, with its body", () =>
    Effect.gen(function* () {
      const attempts = yield* make
      const { asked, client, nothingHeld } = scripted((_, nth) => flowing(503, [], `no ${nth}`))
      const asking = yield* fork(
        Effect.scoped(Effect.flatMap(client.pipe(Client.attempts(attempts)).get(url), ({ text }) => text))
      )
      yield* TestClock.adjust(1000)
      expect(yield* Fiber.join(asking)).toBe("no 3")
      expect(asked.length).toBe(3)
      nothingHeld(2)
    })
  )

  it.effect("heeds Retry-After as a minimum, unless it is too far away", () =>
    Effect.gen(function* () {
      const attempts = yield* make
      const { asked, client } = scripted((_, nth) =>
        nth === 1 ? reply(429, ["retry-after", "7"]) : reply(429, ["retry-after", "70"])
      )
      const asking = yield* fork(Client.attempts(client, attempts).post(url))
      yield* TestClock.adjust(7099)
      expect(asked.length).toBe(1)
      yield* TestClock.adjust(1)
      expect((yield* Fiber.join(asking)).status).toBe(429)
      expect(asked.length).toBe(2)
    })
  )

  it.effect("sends once what may not be sent twice", () =>
    Effect.gen(function* () {
      const attempts = yield* make
      const once = (answer: Answering, request: HttpClientRequest.HttpClientRequest, idempotent?: boolean) =>
        Effect.gen(function* () {
          const { asked, client, nothingHeld } = scripted(answer)
          const options = idempotent === undefined ? {} : { idempotent: () => idempotent }
          const asking = yield* fork(
            Effect.exit(Effect.scoped(Client.attempts(client, attempts, options).execute(request)))
          )
          yield* TestClock.adjust(1000)
          yield* Fiber.join(asking)
          nothingHeld()
          return asked.length
        })
      const get = HttpClientRequest.get(url)
      const post = HttpClientRequest.post(url)
      const streamed = HttpClientRequest.setBody(HttpClientRequest.put(url), HttpBody.stream(chunks("a")))
      expect(yield* once(() => reply(503), post)).toBe(1)
      expect(yield* once(() => reply(503), post, true)).toBe(3)
      expect(yield* once(() => reply(429), post)).toBe(3)
      expect(yield* once(() => reply(500), get)).toBe(1)
      expect(yield* once(() => reply(404), get)).toBe(1)
      expect(yield* once(() => reply(503), streamed)).toBe(1)
      expect(yield* once(() => failed("reset"), post)).toBe(1)
      expect(yield* once(() => failed("reset"), get)).toBe(3)
      expect(yield* once(() => failed("refused", false), post)).toBe(3)
      expect(yield* once(() => failed("tooLarge"), get)).toBe(1)
      expect(yield* once(() => failed("requestBody"), get)).toBe(1)
    })
  )

  it.effect("waits for a permit in each attempt, and holds none meanwhile", () =>
    Effect.gen(function* () {
      const attempts = yield* make
      const gate = yield* Gate.make("api", { limit: 1 })
      const { client, nothingHeld } = scripted((_, nth) => (nth === 1 ? flowing(503) : flowing(200)))
      const tried = client.pipe(Client.gate(gate), Client.attempts(attempts))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const asking = yield* fork(tried.get(url))
          expect((yield* gate.statistics).running).toBe(0)
          yield* TestClock.adjust(100)
          const answer = yield* Fiber.join(asking)
          expect((yield* gate.statistics).running).toBe(1)
          yield* answer.text
          expect((yield* gate.statistics).running).toBe(0)
        })
      )
      nothingHeld(1)
      yield* nothingLeft(gate)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("hedges what is slow, and lets go of the loser", () =>
    Effect.gen(function* () {
      const attempts = yield* Attempts.make("api", { hedge: { after: "50 millis", ratio: 1 } })
      const { asked, client, nothingHeld } = scripted((_, nth) =>
        nth === 1 ? Effect.never : flowing(200, [], `of ${nth}`)
      )
      const asking = yield* fork(
        Effect.scoped(Effect.flatMap(Client.attempts(client, attempts).get(url), ({ text }) => text))
      )
      yield* TestClock.adjust(50)
      expect(yield* Fiber.join(asking)).toBe("of 2")
      expect(asked.length).toBe(2)
      nothingHeld()
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("is undone by an interrupt, in an attempt and between two", () =>
    Effect.gen(function* () {
      const attempts = yield* make
      for (const answer of [Effect.never, flowing(503)]) {
        const { client, nothingHeld } = scripted(() => answer)
        const asking = yield* fork(Effect.scoped(Client.attempts(client, attempts).get(url)))
        yield* Fiber.interrupt(asking)
        nothingHeld(answer === Effect.never ? 0 : 1)
      }
      expect(Attempts.check(yield* attempts.statistics)).toEqual([])
    }).pipe(Leaks.expectNoLeaks())
  )
})

describe("coalesce", () => {
  it.effect("sends one of those that are alike, and gives each the answer", () =>
    Effect.gen(function* () {
      const go = yield* Deferred.make<void>()
      const { asked, client, nothingHeld } = scripted(() =>
        Effect.andThen(Deferred.await(go), flowing(200, ["x-a", "1", "set-cookie", "a=b"]))
      )
      const shared = yield* client.pipe(Client.coalesce("api"))
      const get = (options?: HttpClientRequest.Options.NoUrl) =>
        fork(
          Effect.flatMap(shared.get(url, options), (answer) =>
            Effect.map(answer.text, (text) => [answer.headers["x-a"], text, Object.keys(answer.cookies.cookies)])
          )
        )
      const asking = [
        yield* get({ headers: { a: "1", b: "2" } }),
        yield* get({ headers: { b: "2", a: "1" } }),
        yield* get({ headers: { a: "1", b: "3" } }),
        yield* get({ headers: { a: "1", b: "2" }, urlParams: { q: "1" } })
      ]
      yield* settle
      expect(asked.length).toBe(3)
      yield* Deferred.succeed(go, undefined)
      for (const fiber of asking) expect(yield* Fiber.join(fiber)).toEqual(["1", "body", ["a"]])
      nothingHeld()
    })
  )

  it.effect("shares neither what is asked to be done nor what is too large", () =>
    Effect.gen(function* () {
      const { asked, client, nothingHeld } = scripted(({ method }) =>
        method === "POST" ? reply(204) : Effect.andThen(Effect.yieldNow, flowing(200, [], "abc", "def"))
      )
      const shared = yield* Client.coalesce(client, "api", { maxBytes: 5 })
      yield* Effect.all([shared.post(url), shared.post(url)], { concurrency: 2 })
      expect(asked.length).toBe(2)
      const both = yield* Effect.all(
        [1, 2].map(() => Effect.flatMap(shared.get(url), ({ text }) => text)),
        { concurrency: 2 }
      )
      expect(both).toEqual(["abcdef", "abcdef"])
      expect(asked.length).toBe(5)
      nothingHeld()
    })
  )

  it.effect("fails as the one does that was sent", () =>
    Effect.gen(function* () {
      const shared = yield* Client.coalesce(scripted(() => failed("reset")).client, "api")
      expect((yield* Effect.flip(shared.get(url))).message).toMatch(/reset/)
      const broken = Transport.stream(Stream.fail(new Transport.BodyFailed({ kind: "incomplete", cause: undefined })))
      const cut = yield* Client.coalesce(scripted(() => reply(200, [], broken)).client, "cut")
      const error = yield* Effect.flip(cut.get(url))
      expect(HttpClientError.isHttpClientError(error) && error.cause).toMatchObject({ kind: "incomplete" })
    })
  )
})

describe("misuse", () => {
  it.effect("a URL that is none is an error of the client's, and no gate is held for it", () =>
    Effect.gen(function* () {
      const map = yield* GateMap.make("hosts", { limit: 1 })
      const { client } = scripted(() => reply(204))
      const error = yield* Effect.flip(Client.gates(client, map).get("not a url"))
      expect(HttpClientError.isHttpClientError(error) && error.reason._tag).toBe("InvalidUrlError")
      expect((yield* map.statistics).running).toBe(0)
    })
  )

  it.effect("a transport that dies is a defect, and holds nothing", () =>
    Effect.gen(function* () {
      const { client, nothingHeld } = scripted(() => Effect.die("bug"))
      const exit = yield* Effect.exit(client.get(url))
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toBe("bug")
      nothingHeld()
    })
  )
})
