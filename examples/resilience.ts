// Again, or twice, or not at all: retries under a budget, no sleep past the deadline, a circuit that opens, and a hedge that wins.
//
// A hundred calls meet an upstream that is down, with three attempts each and then under a budget; a failure that says when to
// come back meets a deadline; a breaker spares a dependency that fails; a slow answer is overtaken by a second attempt.
import { Attempts, CancelScope, Deadline, Reason } from "@fairlead/core"
import { CircuitBreaker } from "@fairlead/core/http"
import { Clock, Console, Data, Effect, Option, Schedule } from "effect"

class Busy extends Data.TaggedError("Busy")<{ readonly comeBackInSeconds: number }> {}

const down = (title: string, floor: number) =>
  Effect.gen(function* () {
    const attempts = yield* Attempts.make("down", { backoff: Schedule.spaced("10 millis"), budget: { floor } })
    let requests = 0
    const request = Effect.suspend(() => Effect.delay(Effect.fail(`failure ${++requests}`), "10 millis"))
    const call = Effect.ignore(attempts.run(request))
    yield* Effect.forEach(Array(100), () => call, { concurrency: "unbounded", discard: true })
    yield* Console.log(`  ${title}: ${requests} requests for 100 calls`)
  })

const inTime = Effect.gen(function* () {
  const attempts = yield* Attempts.make("busy", { again: (error: Busy) => error.comeBackInSeconds * 1000 })
  const begun = yield* Clock.currentTimeMillis
  const call = attempts.run(Effect.fail(new Busy({ comeBackInSeconds: 60 })))
  const error = yield* Effect.flip(Deadline.within(call, "5 seconds"))
  const seconds = Math.floor(((yield* Clock.currentTimeMillis) - begun) / 1000)
  yield* Console.log(`  told after ${seconds} s: ${error._tag}`)
})

const spared = Effect.gen(function* () {
  const breaker = yield* CircuitBreaker.make("payments", { failures: 3, open: "100 millis" })
  let requests = 0
  let up = false
  const request = Effect.suspend(() => (++requests && up ? Effect.succeed("paid") : Effect.fail("down")))
  const call = breaker.run(request).pipe(Effect.catchTag("Refused", ({ reason }) => Effect.succeed(reason._tag)))
  yield* Effect.forEach(Array(20), () => Effect.ignore(call))
  yield* Console.log(`  20 calls, ${requests} requests; then: ${yield* call}`)
  up = true
  yield* Effect.sleep("100 millis")
  yield* Console.log(`  100 ms later: ${yield* call}`)
})

const why = Effect.map(CancelScope.reason, (reason) => (Option.isSome(reason) ? Reason.format(reason.value) : "?"))

const overtaken = Effect.gen(function* () {
  const attempts = yield* Attempts.make("slow now and then", { hedge: { after: "50 millis", ratio: 1 } })
  let requests = 0
  const request = Effect.suspend(() => {
    const number = ++requests
    return Effect.delay(Effect.succeed(`answer ${number}`), number === 1 ? "1 minute" : "10 millis").pipe(
      Effect.onInterrupt(() => Effect.flatMap(why, (reason) => Console.log(`  request ${number} was cut (${reason})`)))
    )
  })
  yield* Console.log(`  ${yield* attempts.run(request, { idempotent: true })}`)
  const { hedges, hedgesWon } = yield* attempts.statistics
  yield* Console.log(`  hedges: ${hedges}, won: ${hedgesWon}`)
})

const program = Effect.gen(function* () {
  yield* Console.log("The upstream is down:")
  yield* down("three attempts each", 1000)
  yield* down("under a budget", 20)
  yield* Console.log("Come back in a minute, and a deadline of 5 s:")
  yield* inTime
  yield* Console.log("A circuit that opens after three failures:")
  yield* spared
  yield* Console.log("A slow answer:")
  yield* overtaken
})

await Effect.runPromise(Effect.scoped(program))
