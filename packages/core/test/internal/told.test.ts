import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Duration, Effect, Exit, Option, Stream } from "effect"
import { ConcurrencyLimit, ParallelHttp, Reason, Refused, Registry, Transport } from "@fairlead/core"
import type { GateMap } from "@fairlead/core"
import * as hops from "../../src/internal/hop.ts"
import type { Hop } from "../../src/internal/hop.ts"
import * as told from "../../src/internal/told.ts"
import { answer, failed, scripted } from "../support/transport.ts"

const url = "http://a.test/"
const hop = (input: ParallelHttp.Input) => hops.parse(input) as Hop
const get = hop(url)
const post = hop({ url, method: "POST", body: "x" })
const upload = hop({ url, method: "PUT", body: Transport.stream(Stream.empty) })

const connection = (kind: ParallelHttp.ConnectionFailed["kind"], sent = true) =>
  new ParallelHttp.ConnectionFailed({ url, kind, sent, cause: undefined })
const status = (status: number, ...headers: ReadonlyArray<string>) =>
  new ParallelHttp.StatusRejected({ url, status, headers, body: undefined })
const silence = (sent: boolean) => new ParallelHttp.Timeout({ url, phase: "firstByte", sent })
const refused = new Refused.Refused({
  reason: new Refused.WaitExceeded({ maxWait: Duration.seconds(10) }),
  gate: "g",
  waited: Duration.zero,
  retryAfter: Option.some(Duration.seconds(1))
})

const onTheWay = ["Proxy-Status", "fairlead; error=proxy_internal_response"] as const
const tooLarge = new ParallelHttp.BodyTooLarge({ url, maxBytes: 1 })

describe("what may be tried again", () => {
  it("all that is idempotent, and has its body in memory", () => {
    for (const failure of [connection("reset"), status(503), silence(true), refused, status(404)]) {
      expect([told.may(get, failure), told.may(upload, failure)]).toEqual([true, false])
    }
  })

  it("of the rest, what has certainly not been done", () => {
    expect(told.may(post, connection("reset"))).toBe(false)
    expect(told.may(post, connection("refused", false))).toBe(true)
    expect(told.may(post, silence(true))).toBe(false)
    expect(told.may(post, silence(false))).toBe(true)
    expect(told.may(post, status(503))).toBe(false)
    expect(told.may(post, status(429))).toBe(true)
    expect(told.may(post, status(503, ...onTheWay))).toBe(true)
    expect(told.may(post, refused)).toBe(true)
    expect(told.may(post, tooLarge)).toBe(false)
  })
})

describe("what is worth it", () => {
  const minute = 60_000

  it("what was the network's or the moment's doing", () => {
    const kinds = ["refused", "unreachable", "dns", "tls", "reset", "incomplete"] as const
    expect(kinds.map((kind) => told.worth(connection(kind, false), minute))).toEqual(kinds.map(() => true))
    const others = ["protocol", "proxy", "requestBody", "closed"] as const
    expect(others.map((kind) => told.worth(connection(kind), minute))).toEqual(others.map(() => false))
    expect(told.worth(silence(true), minute)).toBe(true)
    expect(told.worth(tooLarge, minute)).toBe(false)
    expect(told.worth(refused, minute)).toBe(false)
  })

  it("these statuses, when the server says", () => {
    const worth = [400, 404, 408, 425, 429, 500, 501, 502, 503, 504, 505].filter(
      (code) => told.worth(status(code), minute) === true
    )
    expect(worth).toEqual([408, 429, 502, 503, 504])
    expect(told.worth(status(503, "Retry-After", "5"), minute)).toBe(5000)
    expect(told.worth(status(503, "Retry-After", "60"), minute)).toBe(60_000)
    expect(told.worth(status(503, "Retry-After", "61"), minute)).toBe(false)
    expect(told.worth(status(404, "Retry-After", "5"), minute)).toBe(false)
  })
})

describe("whether a host works", () => {
  it("is said by its answers, and by whoever does not answer", () => {
    expect([status(404), status(429), new Error("of a read")].map(told.works)).toEqual([true, true, true])
    expect([status(503), connection("reset"), silence(true)].map(told.works)).toEqual([false, false, false])
  })

  it("is not said by what is our own doing, or by a proxy on the way", () => {
    const ours = [connection("requestBody"), connection("closed"), connection("protocol", false), tooLarge, refused]
    expect(ours.map(told.works)).toEqual(ours.map(() => undefined))
    expect(told.works(status(503, ...onTheWay))).toBe(undefined)
  })
})

describe("what an end says of the load of its host", () => {
  it("an answer, by its status", () => {
    expect([503, 404].map((code) => told.load(Exit.fail(status(code))))).toEqual(["overload", "ok"])
    expect(told.load(Exit.succeed(1))).toBe("ok")
  })

  it("none, by what went wrong", () => {
    const kinds = ["refused", "unreachable", "reset", "incomplete", "dns", "tls", "protocol", "closed"] as const
    expect(kinds.filter((kind) => told.load(Exit.fail(connection(kind))) === "overload")).toEqual(kinds.slice(0, 4))
    expect(kinds.filter((kind) => told.load(Exit.fail(connection(kind))) === "ignore")).toEqual(kinds.slice(4))
    const after = (phase: ParallelHttp.Timeout["phase"]) =>
      told.load(Exit.fail(new ParallelHttp.Timeout({ url, phase, sent: true })))
    const phases = ["connect", "firstByte", "idle", "total"] as const
    expect(phases.map(after)).toEqual(["overload", "late", "late", "late"])
    expect(told.load(Exit.fail(tooLarge))).toBe("ignore")
  })

  it("nothing of what is our own doing, but that a deadline cut it", () => {
    expect(told.load(Exit.fail(refused))).toBe("ignore")
    expect(told.load(Exit.interrupt())).toBe("ignore")
    const cut = Cause.annotate(Cause.interrupt(), Context.make(Reason.Annotation, new Reason.Deadline()))
    expect(told.load(Exit.failCause(cut))).toBe("late")
  })

  it.effect("tells the limit of a host", () =>
    Effect.gen(function* () {
      const transport = scripted(({ target }) =>
        target === "/reset" ? failed("reset") : answer(Number(target.slice(1)))
      )
      const limitAfter = (path: string) =>
        Effect.gen(function* () {
          const perHost = { limit: ConcurrencyLimit.aimd({ max: 8, initial: 8 }) }
          const http = yield* ParallelHttp.make("hosts", { perHost, attempts: false })
          yield* Effect.exit(http.fetch(`http://a.test/${path}`))
          const map = (yield* Registry.snapshot).find(({ kind }) => kind === "gate map")!
          return (map.statistics as GateMap.Statistics).gates[0]!.limit
        }).pipe(
          Effect.scoped,
          Effect.provideService(Transport.Transport, transport),
          Effect.provideService(Registry.Registry, Registry.make())
        )
      expect(yield* limitAfter("404")).toBe(8)
      expect(yield* limitAfter("503")).toBe(4)
      expect(yield* limitAfter("reset")).toBe(4)
    })
  )
})
