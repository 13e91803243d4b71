import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Duration, Effect, Exit, Option } from "effect"
import { ConcurrencyLimit, ParallelHttp, Reason, Refused, Registry, Transport } from "@fairlead/core"
import type { GateMap } from "@fairlead/core"
import * as courtesy from "../../src/internal/courtesy.ts"
import { answer, failed, scripted } from "../support/transport.ts"

const url = "http://a.test/"
const connection = (kind: ParallelHttp.ConnectionFailed["kind"]) =>
  Exit.fail(new ParallelHttp.ConnectionFailed({ url, kind, sent: true, cause: undefined }))
const refused = new Refused.Refused({
  reason: new Refused.ShuttingDown(),
  gate: "g",
  waited: Duration.zero,
  retryAfter: Option.none()
})

describe("what an end says of the load of its host", () => {
  it("an answer, by its status", () => {
    const statuses = [200, 302, 404, 429, 500, 501, 502, 503, 504]
    expect(statuses.filter((status) => courtesy.ofStatus(status) === "overload")).toEqual([429, 503, 504])
    const rejected = (status: number) =>
      Exit.fail(new ParallelHttp.StatusRejected({ url, status, headers: [], body: undefined }))
    expect([503, 404].map((status) => courtesy.ofExit(rejected(status)))).toEqual(["overload", "ok"])
    expect(courtesy.ofExit(Exit.succeed(1))).toBe("ok")
  })

  it("none, by what went wrong", () => {
    const kinds = ["refused", "unreachable", "reset", "incomplete", "dns", "tls", "protocol", "closed"] as const
    expect(kinds.filter((kind) => courtesy.ofExit(connection(kind)) === "overload")).toEqual(kinds.slice(0, 4))
    expect(kinds.filter((kind) => courtesy.ofExit(connection(kind)) === "ignore")).toEqual(kinds.slice(4))
    const silence = (phase: ParallelHttp.Timeout["phase"]) =>
      courtesy.ofExit(Exit.fail(new ParallelHttp.Timeout({ url, phase, sent: true })))
    expect([silence("connect"), silence("firstByte"), silence("idle")]).toEqual(["overload", "late", "late"])
  })

  it("nothing of what is our own doing, but that a deadline cut it", () => {
    expect(courtesy.ofExit(Exit.fail(refused))).toBe("ignore")
    expect(courtesy.ofExit(Exit.interrupt())).toBe("ignore")
    const cut = Cause.annotate(Cause.interrupt(), Context.make(Reason.Annotation, new Reason.Deadline()))
    expect(courtesy.ofExit(Exit.failCause(cut))).toBe("late")
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
