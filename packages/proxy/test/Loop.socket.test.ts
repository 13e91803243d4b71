import { Registry, Transport } from "@fairlead/core"
import type { EventLoopMonitor } from "@fairlead/platform-node"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import * as proxied from "./proxied.ts"

const cpu = () => {
  const { system, user } = (process.threadCpuUsage ?? process.cpuUsage).call(process)
  return (user + system) / 1000
}

function crunch(millis: number) {
  for (const until = cpu() + millis; cpu() < until;);
}

/** In real time, and on a loop that is really held. */
const withLoop = (loop: string, calls: (proxy: proxied.Proxied) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const logged: Array<string> = []
    const logger = Logger.make(({ message }) => void logged.push(String(message)))
    let first = true
    const exchange = () =>
      Effect.sync(() => {
        if (first) crunch(150)
        first = false
        return { status: 200, headers: [], body: Transport.empty }
      })
    yield* Effect.scoped(
      Effect.gen(function* () {
        const proxy = yield* proxied.make("", exchange, loop)
        const kinds = (yield* Registry.snapshot).map(({ kind }) => kind)
        expect(kinds.includes("loop")).toBe(loop !== "")
        // Until the watchdog watches.
        if (loop !== "") yield* Effect.sleep(400)
        yield* calls(proxy)
      })
    ).pipe(Effect.provide(Logger.layer([logger])), Effect.provideService(Registry.Registry, Registry.make()))
    return logged
  })

const ask = (proxy: proxied.Proxied, urgency: number) =>
  Effect.map(proxy.ask({ headers: ["Priority", `u=${urgency}`] }), ({ body, status }) => ({ body, status }))

/** Each turn takes 150 ms, and so timers are late by up to that, until it is said to be too much. */
const overload: Effect.Effect<void> = Effect.gen(function* () {
  const loop = Effect.map(Registry.snapshot, (all) => all.find(({ kind }) => kind === "loop")!.statistics)
  while (!(yield* loop as Effect.Effect<EventLoopMonitor.Statistics>).overloaded) {
    crunch(150)
    yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
  }
})

describe("the proxy's event loop", () => {
  it.live("is watched where the config says so: what holds it is told in the log", () =>
    Effect.gen(function* () {
      const logged = yield* withLoop("loop: true,", (proxy) =>
        Effect.gen(function* () {
          expect((yield* ask(proxy, 3)).status).toBe(200)
          yield* Effect.sleep(300)
        })
      )
      expect(logged).toEqual([
        expect.stringMatching(/^The event loop was held for 1\d\d ms by crunch \(.*Loop\.socket\.test\.ts/)
      ])
    })
  )

  it.live("sheds the least urgent while it is overloaded, where the config says so", () =>
    withLoop("loop: { alarm: 1 minute, shed: true },", (proxy) =>
      Effect.gen(function* () {
        expect((yield* ask(proxy, 7)).status).toBe(200)
        yield* overload
        expect(yield* ask(proxy, 7)).toMatchObject({ status: 503, body: expect.stringContaining("problem:shed") })
        expect((yield* ask(proxy, 0)).status).toBe(200)
      })
    )
  )

  it.live("is not watched where it does not say so", () =>
    Effect.gen(function* () {
      const logged = yield* withLoop("", (proxy) =>
        Effect.gen(function* () {
          expect((yield* ask(proxy, 7)).status).toBe(200)
        })
      )
      expect(logged).toEqual([])
    })
  )
})
