// Structured concurrency: a block ends only when all that it started has ended, and no failure is lost.
//
// Two workers of five steps of half a second: the first result wins, the other one is cancelled and says why. Then one of
// them fails: forked by hand, nobody notices; in a nursery, nobody can miss it.
import { CancelScope, Join, Nursery, Reason } from "@fairlead/core"
import { Console, Effect, Fiber, Option } from "effect"

const cancelled = (name: string) =>
  Effect.flatMap(CancelScope.reason, (reason) =>
    Console.log(`  ${name}: cancelled (${Option.match(reason, { onNone: () => "no reason", onSome: Reason.format })})`)
  )

const worker = (name: string) =>
  Effect.gen(function* () {
    for (let step = 1; step <= 5; step++) {
      yield* Effect.sleep("500 millis")
      yield* Console.log(`  ${name}: step ${step}`)
    }
    return `result of ${name}`
  }).pipe(Effect.onInterrupt(() => cancelled(name)))

const firstWins = Nursery.all([worker("worker 1"), worker("worker 2")], Join.anySuccess())

const failing = Effect.andThen(Effect.sleep("750 millis"), Effect.fail("no connection"))

// Broken: the error stays in a fiber that nobody looks at, and the block works to the end for half of a result.
const byHand = Effect.gen(function* () {
  yield* Effect.forkChild(failing)
  const right = yield* Effect.forkChild(worker("worker 2"))
  return `${yield* Fiber.join(right)}, and not a word of worker 1`
})

// Fixed: the first failure cancels the other worker, and is the block's.
const inANursery = Nursery.run((nursery) =>
  Effect.gen(function* () {
    const left = yield* nursery.spawn(failing, "worker 1")
    const right = yield* nursery.spawn(worker("worker 2"), "worker 2")
    return [yield* left.join, yield* right.join]
  })
)

const program = Effect.gen(function* () {
  yield* Console.log("First result wins:")
  yield* Console.log(`  ${yield* firstWins}`)
  yield* Console.log("Worker 1 fails, by hand:")
  yield* Console.log(`  ${yield* byHand}`)
  yield* Console.log("Worker 1 fails, in a nursery:")
  yield* inANursery.pipe(Effect.catch((error) => Console.log(`  failed: ${error}`)))
})

await Effect.runPromise(program)
