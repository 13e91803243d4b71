// Graceful shutdown: at SIGTERM work in hand is finished, in order and in time, and the process says how that went.
//
// Three workers finish their round and clean up for half a second; when the first has, the report is written; a call that was
// accepted gets its answer, and one that comes late is refused. The ledger says what became of everything.
import { Shutdown } from "@fairlead/core"
import { NodeMain } from "@fairlead/platform-node"
import { Console, Effect } from "effect"

const worker = (name: string) => {
  let rounds = 0
  const round = Effect.map(Effect.sleep("200 millis"), () => rounds++)
  const cleanUp = Effect.andThen(Effect.sleep("500 millis"), Console.log(`  ${name}: cleaned up`))
  return Effect.gen(function* () {
    yield* Shutdown.hook(name, { phase: "draining" }, cleanUp)
    yield* Shutdown.untilDrain(round, name)
    yield* Console.log(`  ${name}: ${rounds > 2 ? "some rounds" : rounds}, the last one whole`)
  })
}

const program = Effect.gen(function* () {
  const http = yield* Shutdown.edge("http")
  const call = (name: string) =>
    http
      .accept(Effect.delay(Console.log(`  ${name} call: answered`), "700 millis"))
      .pipe(Effect.catchTag("Refused", ({ reason }) => Console.log(`  ${name} call: ${reason._tag}`)))
  yield* Shutdown.hook("report", { phase: "draining", after: "worker 1" }, Console.log("  report written"))
  yield* Effect.forkScoped(Effect.all(["worker 1", "worker 2", "worker 3"].map(worker), { concurrency: "unbounded" }))
  yield* Effect.forkScoped(Effect.delay(call("an early"), "500 millis"))
  yield* Effect.forkScoped(Effect.delay(call("a late"), "1150 millis"))
  yield* Effect.sleep("900 millis")
  yield* Console.log("SIGTERM")
  process.kill(process.pid, "SIGTERM")
  yield* Effect.never
})

NodeMain.launch(program, {
  shutdown: { drain: "5 seconds" },
  onLedger: ({ clean, entries }) => {
    console.log(clean ? "clean" : "not clean")
    for (const { count, kind, name, outcome } of entries) console.log(`  ${outcome}: ${kind} ${name} × ${count}`)
  }
})
