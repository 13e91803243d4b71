// Task prioritization: the urgent go first, everybody gets their own result, and nobody starves.
//
// Three tasks are submitted in the wrong order; a hundred tasks of 50 ms run on ten permits; then a flood of urgent tasks
// meets one that has time: in strict order it waits for all of them, with shares it has its turn.
import { Gate, Priority } from "@fairlead/core"
import { Clock, Console, Deferred, Effect } from "effect"

const inTheRightOrder = Effect.gen(function* () {
  const gate = yield* Gate.make("one desk", { limit: 1 })
  const open = yield* Deferred.make<void>()

  const task = (name: string) =>
    gate.run(Effect.andThen(Console.log(`  ${name} priority task`), Effect.succeed(`result of ${name}`)))

  const [, ...results] = yield* Effect.all(
    [
      gate.run(Deferred.await(open)), // keeps the desk busy until all three stand in line
      task("low").pipe(Priority.at(7)),
      task("high").pipe(Priority.at(0)),
      task("medium").pipe(Priority.at(3)),
      Effect.andThen(Effect.yieldNow, Deferred.succeed(open, undefined))
    ],
    { concurrency: "unbounded" }
  )
  yield* Console.log(`  each has its own: ${results.slice(0, 3).join(", ")}`)
})

const tenAtATime = Effect.gen(function* () {
  const gate = yield* Gate.make("ten desks", { limit: 10 })
  let atOnce = 0
  let most = 0
  const task = Effect.acquireUseRelease(
    Effect.sync(() => (most = Math.max(most, ++atOnce))),
    () => Effect.sleep("50 millis"),
    () => Effect.sync(() => atOnce--)
  )
  const begun = yield* Clock.currentTimeMillis
  yield* Effect.forEach(Array(100), () => gate.run(task), { concurrency: "unbounded", discard: true })
  const rounds = Math.floor(((yield* Clock.currentTimeMillis) - begun) / 50)
  const { completed, running, waiting } = yield* gate.statistics
  yield* Console.log(`  100 tasks of 50 ms, at most ${most} at once: ${rounds} rounds of 50 ms`)
  yield* Console.log(`  ${completed} done, ${running} running, ${waiting} waiting`)
})

const flood = (shares: "strict" | undefined) =>
  Effect.gen(function* () {
    const gate = yield* Gate.make("flooded desk", { limit: 1, shares })
    let turns = 0
    const turn = gate.run(Effect.map(Effect.yieldNow, () => ++turns))
    const urgent = turn.pipe(Priority.at(0), Effect.repeat({ times: 99 })) // the next stands in line when one is done
    const report = turn.pipe(Priority.background)
    const [, , , waited] = yield* Effect.all([urgent, urgent, urgent, report], { concurrency: "unbounded" })
    yield* Console.log(`  ${shares ?? "shares"}: the report had turn ${waited} of ${turns}`)
  })

const program = Effect.gen(function* () {
  yield* Console.log("Submitted low, high, medium; done in this order:")
  yield* inTheRightOrder
  yield* Console.log("Ten permits:")
  yield* tenAtATime
  yield* Console.log("An urgent flood:")
  yield* flood("strict")
  yield* flood(undefined)
})

await Effect.runPromise(Effect.scoped(program))
