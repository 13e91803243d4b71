import { describe, expect, it } from "@effect/vitest"
import { Gate, Transport } from "@fairlead/core"
import { IoProfile, NodeTransport } from "@fairlead/platform-node"
import { Leaks, ScriptedUpstream } from "@fairlead/testing/node"
import { Effect } from "effect"
import { get } from "./calls.ts"

/** How long it took, in all. */
let ranMillis = 0

const busy = (millis: number) =>
  Effect.sync(() => {
    const start = performance.now()
    while (performance.now() < start + millis);
    ranMillis += performance.now() - start
  })

/** What part of a route's time was spent running, in percent. */
const ran = ({ routes }: IoProfile.Statistics, name: string) => {
  const { millis, runningMillis } = routes.find((route) => route.name === name)!
  return (100 * runningMillis) / millis
}

describe("a profile", () => {
  it.live(
    "measures known mixes of running and waiting, of a sleep and at a gate",
    () =>
      Effect.gen(function* () {
        const profile = yield* IoProfile.make()
        const gate = yield* Gate.make("g", { limit: 1 })
        for (const [runs, waits] of [
          [10, 90],
          [50, 50],
          [90, 10]
        ] as const) {
          // On a machine that is busy with others both take longer than they were told to.
          ranMillis = 0
          const pieces = Array.from({ length: 2 }, () => Effect.andThen(busy(runs / 2), Effect.sleep(waits / 2)))
          const from = performance.now()
          yield* Effect.all(pieces, { discard: true }).pipe(profile.task(`sleep ${runs}`))
          const slept = performance.now() - from
          expect(Math.abs(ran(yield* profile.statistics, `sleep ${runs}`) - (100 * ranMillis) / slept)).toBeLessThan(5)
          ranMillis = 0
          const began = performance.now()
          const second = Effect.andThen(gate.run(Effect.void), busy(runs)).pipe(profile.task(`gate ${runs}`))
          yield* Effect.all([gate.run(Effect.sleep(waits)), second], { concurrency: 2 })
          const waited = performance.now() - began
          expect(Math.abs(ran(yield* profile.statistics, `gate ${runs}`) - (100 * ranMillis) / waited)).toBeLessThan(5)
        }
        const statistics = yield* profile.statistics
        expect(IoProfile.check(statistics)).toEqual([])
        for (const { millis, name, runningMillis, waitingMillis } of statistics.routes) {
          const known = waitingMillis[name.startsWith("gate") ? "gate" : "sleep"]!
          expect((millis - runningMillis - known) / millis).toBeLessThan(0.05)
        }
      }).pipe(Leaks.expectNoLeaks()),
    20_000
  )

  it.live("tells the head of an answer from its body", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({
        answer: (received) => {
          setTimeout(() => received.head(200), 40)
          setTimeout(() => received.end(), 120)
        }
      })
      const profile = yield* IoProfile.make()
      const transport = yield* NodeTransport.make({ maxSockets: "unbounded" })
      const call = Effect.scoped(
        Effect.flatMap(transport.exchange(upstream.origin, get("/")), ({ body }) => Transport.collect(body))
      )
      yield* profile.task(call, "call")
      const { body = 0, firstByte = 0 } = (yield* profile.statistics).routes[0]!.waitingMillis
      expect(firstByte).toBeGreaterThan(25)
      expect(body).toBeGreaterThan(50)
    }).pipe(Leaks.expectNoLeaks())
  )
})
