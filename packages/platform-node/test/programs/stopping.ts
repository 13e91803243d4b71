// A program that is stopped in every state: `node stopping.ts STATE [reloads | forever | throws]`. It says when it runs, and what of it cleans up.
// It throws what nobody catches at SIGUSR2, in whatever state.
import { CancelScope, Reason, Shutdown } from "@fairlead/core"
import { NodeHttp, NodeMain } from "@fairlead/platform-node"
import { Deferred, Duration, Effect, Fiber, Option } from "effect"
import * as http from "node:http"

const say = (text: string) => Effect.sync(() => console.log(text))
const why = Effect.map(CancelScope.reason, Option.match({ onNone: () => "no reason", onSome: Reason.format }))

/** What holds the process open, once it has nothing to do. */
const resources = Effect.andThen(
  Effect.promise(() => new Promise((resolve) => setImmediate(resolve))),
  Effect.suspend(() =>
    say(
      process
        .getActiveResourcesInfo()
        .filter((kind) => /Timer|Timeout|Immediate/.test(kind))
        .join() || "no timers"
    )
  )
)

/** A server that is at a call, until that is over; and says what the client has got. */
const call = (handler: Effect.Effect<never>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const { port } = yield* NodeHttp.serve(() => Effect.andThen(Deferred.succeed(begun, undefined), handler), {
        port: 0
      })
      http
        .get({ port, host: "127.0.0.1", path: "/orders", agent: false }, (response) => {
          response.resume()
          console.log(`answered: ${response.statusCode}`)
        })
        .on("error", () => console.log("answered: not"))
      yield* Deferred.await(begun)
      yield* say("at a call")
      yield* Effect.never
    })
  )

const states: Record<string, Effect.Effect<unknown, unknown, Shutdown.Shutdown>> = {
  idle: Effect.never,
  // Ends, and leaves open what would hold the process for ever.
  lingers: Effect.andThen(
    Effect.sync(() => void setInterval(() => {}, 1000)),
    Effect.never
  ),
  resources: Effect.andThen(resources, Effect.never),
  busy: Effect.andThen(Shutdown.beacon(Effect.sleep("300 millis"), "work"), Effect.never),
  // Outlasts the drain, and ends when it is cut.
  slow: Effect.andThen(
    Effect.forkChild(Shutdown.beacon(Effect.never, "work"), { startImmediately: true }),
    Effect.never
  ),
  // Cannot be cut.
  hung: Shutdown.beacon(Effect.uninterruptible(Effect.never), "work"),
  call: call(Effect.never),
  "hung call": call(Effect.uninterruptible(Effect.never)),
  "hung finalizer": Effect.ensuring(Effect.never, Effect.never),
  "failing hook": Effect.scoped(
    Effect.andThen(Shutdown.hook("flush", { phase: "draining" }, Effect.fail("no disk")), Effect.never)
  ),
  rejects: Effect.andThen(
    Effect.sync(() => void setTimeout(() => void Promise.reject(new Error("nobody's")))),
    Effect.never
  ),
  fails: Effect.fail(new Error("the program's own")),
  ends: Effect.void
}

process.on("SIGUSR2", () => {
  throw new Error("nobody's")
})

NodeMain.launch(
  Effect.gen(function* () {
    yield* Effect.addFinalizer(() => Effect.flatMap(why, (reason) => say(`released: ${reason}`)))
    const state = yield* Effect.forkChild(states[process.argv[2]!]!, { startImmediately: true })
    // Who reads this may send a signal.
    yield* say("running")
    yield* Fiber.join(state)
  }),
  {
    shutdown: {
      drain: "600 millis",
      interrupt: "300 millis",
      total: process.argv[3] === "forever" ? Duration.infinity : "2 seconds"
    },
    ...(process.argv[3] === "reloads" ? { onHangup: say("reloaded") } : {}),
    ...(process.argv[3] === "throws"
      ? {
          onLedger: () => {
            throw new Error("the ledger's")
          }
        }
      : {})
  }
)
