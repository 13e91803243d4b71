/** Calls that are sent again, struck by an interrupt at every place where one can land: no permit and no exchange is left. */
import { describe, expect, it } from "@effect/vitest"
import { Attempts, Deadline, Gate, Transport } from "@fairlead/core"
import type { NodeHttp } from "@fairlead/platform-node"
import { Sweep } from "@fairlead/testing"
import { Effect, Schedule } from "effect"
import type { Scope } from "effect"
import { Facts } from "../src/Call.ts"
import type { Call, Handler } from "../src/Call.ts"
import { defaults } from "../src/Config.ts"
import * as Headers from "../src/Headers.ts"
import * as Admission from "../src/stages/Admission.ts"
import * as Stage from "../src/stages/Attempts.ts"

const headers = ["Host", "localhost"]

const inCall = <A, E>(body: (call: Call) => Effect.Effect<A, E, Scope.Scope>) =>
  Deadline.region((region) => {
    const request: NodeHttp.Request = {
      method: "GET",
      target: "/up/x",
      headers,
      body: Transport.empty,
      remoteAddress: "127.0.0.1",
      scheme: "http",
      expectsContinue: false,
      continue: () => {},
      inform: () => {},
      progress: { status: 200, bytes: 0, received: 0, end: "complete" },
      observer: undefined
    }
    const received = Headers.read(headers)
    const facts = new Facts("id-1", request, received)
    const call = { request, received, region, target: "/x", headers, body: Transport.empty, onSent: () => {}, facts }
    return Effect.scoped(body(call))
  })

/** The first answer is a 503; each flows for as long as its scope is open. */
const setup = Effect.gen(function* () {
  const gate = yield* Gate.make("up", { limit: 1 })
  const attempts = yield* Attempts.make<Stage.Failure>("up", {
    again: Stage.again,
    backoff: Schedule.spaced("2 millis")
  })
  const open = { exchanges: 0 }
  let nth = 0
  const exchange: Handler = () =>
    Effect.gen(function* () {
      yield* Effect.acquireRelease(
        Effect.sync(() => open.exchanges++),
        () => Effect.sync(() => open.exchanges--)
      )
      yield* Effect.sleep(1)
      const body = { ...Transport.empty, length: undefined, bytes: undefined }
      return { status: ++nth === 1 ? 503 : 200, headers: [], body }
    })
  const admission = Admission.stage(gate, {
    name: "up",
    pathFrom: 0,
    cooling: defaults.cooling,
    adaptive: false,
    answers: false
  })
  const stage = Stage.stage(attempts, {
    idempotency: defaults.idempotency,
    pathFrom: 0,
    replayBytes: 1000,
    collectBytes: 1000,
    longestMillis: 1000,
    hedges: false,
    budget: undefined,
    isOpen: Effect.succeed(false)
  })
  return { gate, attempts, open, handler: stage(admission(exchange)) }
})

describe("Attempts", () => {
  it.live("passes the sweep", () =>
    Effect.gen(function* () {
      const places = yield* Sweep.sweep({
        setup,
        subject: ({ handler }) => inCall((call) => Effect.andThen(handler(call), Effect.sleep(1))),
        check: ({ attempts, gate, open }) =>
          Effect.gen(function* () {
            const statistics = yield* gate.statistics
            expect(Gate.check(statistics)).toEqual([])
            expect([statistics.running, open.exchanges]).toEqual([0, 0])
            expect(Attempts.check(yield* attempts.statistics)).toEqual([])
          })
      })
      expect(places).toBeGreaterThanOrEqual(20)
    })
  )
})
