// Cancellation scopes: what belongs together is cancelled together, by time or by hand, and everybody knows why.
//
// Task A takes 1 s, B and C take 3 and 4 s. The scope ends after 2 s: A is done, B and C are cancelled. Then somebody
// cancels by hand after 1 s.
import { CancelScope, Reason } from "@fairlead/core"
import { Console, Effect, Fiber, Option } from "effect"

const why = Effect.map(CancelScope.reason, Option.match({ onNone: () => "no reason", onSome: Reason.format }))

const task = (name: string, seconds: number) =>
  Effect.sleep(`${seconds} seconds`).pipe(
    Effect.andThen(Console.log(`  ${name}: done after ${seconds} s`)),
    Effect.onInterrupt(() => Effect.flatMap(why, (why) => Console.log(`  ${name}: cancelled (${why})`)))
  )

const together = (...tasks: ReadonlyArray<Effect.Effect<void>>) =>
  Effect.all(tasks, { concurrency: "unbounded", discard: true })

const byTime = CancelScope.run(() => together(task("A", 1), task("B", 3), task("C", 4)), { within: "2 seconds" })

const byHand = Effect.gen(function* () {
  const scope = yield* CancelScope.make()
  const running = yield* Effect.forkChild(scope.run(together(task("B", 3), task("C", 4))))
  yield* Effect.sleep("1 second")
  yield* scope.cancel("the user pressed stop") // comes back when the clean-up of both has ended
  return yield* Fiber.join(running)
})

// Broken: the time bounds the waiting, not the work. B goes on, for nobody.
const detached = Effect.gen(function* () {
  const fiber = yield* Effect.forkDetach(task("B", 3))
  yield* Fiber.join(fiber).pipe(
    Effect.timeoutOrElse({ duration: "2 seconds", orElse: () => Console.log("  time is up") })
  )
  yield* Effect.sleep("1500 millis")
})

// Fixed: the work is in the scope, so it ends with it; no time means no start, not no limit.
const bound = Effect.gen(function* () {
  yield* Console.log(`  ${(yield* CancelScope.run(() => task("B", 3), { within: "2 seconds" }))._tag}`)
  yield* Console.log(`  ${(yield* CancelScope.run(() => task("D", 1), { within: 0 }))._tag}`)
})

const program = Effect.gen(function* () {
  yield* Console.log("2 seconds for all:")
  yield* Console.log(`  ${(yield* byTime)._tag}`)
  yield* Console.log("By hand after 1 second:")
  const outcome = yield* byHand
  yield* Console.log(`  ${outcome._tag}${outcome._tag === "Cancelled" ? `: ${Reason.format(outcome.reason)}` : ""}`)
  yield* Console.log("The time bounds the waiting only:")
  yield* detached
  yield* Console.log("The time bounds the work:")
  yield* bound
})

await Effect.runPromise(program)
