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

/** By how many points the part that ran is told wrong, of one run of `work` as a task. */
const deviation = <A, E>(
  profile: IoProfile.IoProfile,
  name: string,
  work: (task: IoProfile.IoProfile["task"]) => Effect.Effect<A, E>
) =>
  Effect.gen(function* () {
    const before = yield* profile.statistics
    ranMillis = 0
    const start = performance.now()
    yield* work(profile.task)
    const really = (100 * ranMillis) / (performance.now() - start)
    const statistics = IoProfile.difference(yield* profile.statistics, before)
    expect(IoProfile.check(statistics)).toEqual([])
    const { millis, runningMillis, waitingMillis } = statistics.routes.find((route) => route.name === name)!
    const known = Object.values({ ...waitingMillis, other: 0 }).reduce((sum, waited) => sum + waited, runningMillis)
    return Math.max(Math.abs((100 * runningMillis) / millis - really), (100 * (millis - known)) / millis)
  })

describe("a profile", () => {
  it.live.each([
    [10, 90],
    [50, 50],
    [90, 10]
  ])("measures a task that runs for %i ms and waits for %i, within 5 points", ([runs, waits]) =>
    Effect.gen(function* () {
      const profile = yield* IoProfile.make()
      const gate = yield* Gate.make("g", { limit: 1 })
      const sleeps = deviation(profile, "sleeps", (task) =>
        Effect.all([busy(runs! / 2), Effect.sleep(waits!), busy(runs! / 2)], { discard: true }).pipe(task("sleeps"))
      )
      const waitsAtGate = deviation(profile, "waits", (task) =>
        Effect.all(
          [gate.run(Effect.sleep(waits!)), Effect.andThen(gate.run(Effect.void), busy(runs!)).pipe(task("waits"))],
          { concurrency: 2, discard: true }
        )
      )
      for (const tried of [sleeps, waitsAtGate]) {
        // Where the machine is busy with others they take the time of whoever runs, outside of what the test looks at, too.
        const wrong = yield* Effect.all([tried, tried, tried])
        expect(Math.min(...wrong)).toBeLessThan(5)
      }
    }).pipe(Leaks.expectNoLeaks())
  )

  it.live("tells the head of an answer from its body", () =>
    Effect.gen(function* () {
      const upstream = yield* ScriptedUpstream.make({
        answer: (received) => {
          setTimeout(() => {
            received.head(200)
            setTimeout(received.end, 80)
          }, 40)
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
