/**
 * Clients with policies, with an interrupt at every place where one can land, and for pairs of places: whoever is struck, before the
 * head, in the body or between two attempts, holds no permit, no exchange and no body afterwards.
 */
import { expect } from "@effect/vitest"
import { Attempts, Gate, Transport } from "@fairlead/core"
import { Client } from "@fairlead/core/http"
import { Clock, Effect, Exit, Schedule, Stream } from "effect"
import { HttpClient } from "effect/http"
import * as timer from "../../src/internal/timer.ts"
import { all, interruptedAnywhere } from "../sweeps.ts"

interface Setup {
  readonly gate: Gate.Gate
  readonly attempts: Attempts.Attempts
  readonly client: HttpClient.HttpClient
  readonly open: { exchanges: number; bodies: number }
}

const url = "https://api.example.com/"

/** Answers after a while, the first time with 503 where it is to, in two pieces with a while between. */
const make = (fails: boolean) =>
  Effect.gen(function* () {
    const gate = yield* Gate.make("swept", { limit: 1 })
    const attempts = yield* Attempts.make("swept", { backoff: Schedule.spaced("2 millis"), budget: { floor: 1000 } })
    const open = { exchanges: 0, bodies: 0 }
    let nth = 0
    const transport: Transport.Transport = {
      exchange: () =>
        Effect.gen(function* () {
          yield* Effect.acquireRelease(
            Effect.sync(() => open.exchanges++),
            () => Effect.sync(() => open.exchanges--)
          )
          const status = ++nth === 1 && fails ? 503 : 200
          yield* Effect.sleep(1)
          let isOpen = true
          const close = () => {
            if (isOpen) open.bodies--
            isOpen = false
          }
          yield* Effect.acquireRelease(
            Effect.sync(() => open.bodies++),
            () => Effect.sync(close)
          )
          const pieces = Stream.concat(
            Stream.succeed(new Uint8Array(1)),
            Stream.fromEffect(Effect.as(Effect.sleep(1), new Uint8Array(1)))
          )
          const flow = Transport.stream(pieces)
          const pipeTo = (sink: Transport.Sink) => Effect.onExitPrimitive(flow.pipeTo(sink), () => void close())
          return { status, headers: [], body: { ...flow, pipeTo, abort: close } }
        })
    }
    return { gate, attempts, open, client: Client.fromTransport(transport) } satisfies Setup
  })

const nothingLeft = ({ gate, open }: Setup) =>
  Effect.gen(function* () {
    const statistics = yield* gate.statistics
    expect(Gate.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting]).toEqual([0, 0])
    expect(open).toEqual({ exchanges: 0, bodies: 0 })
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
  })

const read = (client: HttpClient.HttpClient.With<any, any>, how: "text" | "stream" | "first" | "nothing") =>
  Effect.scoped(
    Effect.flatMap(client.get(url), (answer): Effect.Effect<unknown> => {
      if (how === "text") return Effect.exit(answer.text)
      if (how === "nothing") return Effect.succeed(Exit.void)
      return Effect.exit(Stream.runDrain(how === "first" ? Stream.take(answer.stream, 1) : answer.stream))
    })
  ).pipe(
    // Spans are steps, and no places of ours.
    Effect.provideService(HttpClient.TracerDisabledWhen, () => true)
  ) as Effect.Effect<unknown, unknown>

for (const second of ["first", "nothing"] as const) {
  interruptedAnywhere(
    `a gate, two who want all and ${second} of the body`,
    {
      setup: make(false),
      subject: ({ client, gate }: Setup) => {
        const gated = Client.gate(client, gate)
        return all(read(gated, "text"), read(gated, second))
      },
      check: nothingLeft
    },
    { places: 20 }
  )
}

interruptedAnywhere(
  "attempts over a gate",
  {
    setup: make(true),
    subject: ({ attempts, client, gate }: Setup) => {
      const tried = client.pipe(Client.gate(gate), Client.attempts(attempts))
      return read(tried, "stream")
    },
    check: nothingLeft
  },
  { places: 20 }
)
