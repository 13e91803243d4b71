// Task prioritization: the most urgent goes next, and everybody gets their own result.
//
// Three tasks are submitted in the wrong order; then a hundred tasks of 50 ms run on ten permits.
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

const program = Effect.gen(function* () {
  yield* Console.log("Submitted low, high, medium; done in this order:")
  yield* inTheRightOrder
  yield* Console.log("Ten permits:")
  yield* tenAtATime
})

await Effect.runPromise(Effect.scoped(program))
