// A program that is stopped in every state: `node stopping.ts STATE [reloads | forever]`. It says when it runs, and what of it cleans up.
import { CancelScope, Reason, Shutdown } from "@fairlead/core"
import { NodeMain } from "@fairlead/platform-node"
import { Duration, Effect, Fiber, Option } from "effect"

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

const states: Record<string, Effect.Effect<unknown, unknown, Shutdown.Shutdown>> = {
  idle: Effect.never,
  resources: Effect.andThen(resources, Effect.never),
  busy: Effect.andThen(Shutdown.beacon(Effect.sleep("300 millis"), "work"), Effect.never),
  // Outlasts the drain, and ends when it is cut.
  slow: Effect.andThen(
    Effect.forkChild(Shutdown.beacon(Effect.never, "work"), { startImmediately: true }),
    Effect.never
  ),
  // Cannot be cut.
  hung: Shutdown.beacon(Effect.uninterruptible(Effect.never), "work"),
  "hung finalizer": Effect.ensuring(Effect.never, Effect.never),
  "failing hook": Effect.scoped(
    Effect.andThen(Shutdown.hook("flush", { phase: "draining" }, Effect.fail("no disk")), Effect.never)
  ),
  throws: Effect.andThen(
    Effect.sync(
      () =>
        void setTimeout(() => {
          throw new Error("nobody's")
        })
    ),
    Effect.never
  ),
  rejects: Effect.andThen(
    Effect.sync(() => void setTimeout(() => void Promise.reject(new Error("nobody's")))),
    Effect.never
  ),
  fails: Effect.fail(new Error("the program's own")),
  ends: Effect.void
}

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
      total: process.argv[3] === "forever" ? Duration.infinity : "4 seconds"
    },
    ...(process.argv[3] === "reloads" ? { onHangup: say("reloaded") } : {})
  }
)
