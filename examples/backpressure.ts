// Backpressure: whoever brings more than can be done is held up, and nothing is lost.
//
// 20 requests at 10 per second, into 3 workers of 0.5 s, with room for 10 that wait. One of the requests is broken.
import { WorkQueue } from "@fairlead/core"
import { Clock, Console, Effect } from "effect"

const program = Effect.gen(function* () {
  const begun = yield* Clock.currentTimeMillis
  const time = Effect.map(Clock.currentTimeMillis, (now) => Math.round((now - begun) / 500) / 2)
  let most = 0

  const queue = yield* WorkQueue.make("requests", {
    limit: 3,
    line: { maxItems: 10 },
    watermarks: { high: 4, low: 1 },
    run: (request: number) =>
      request === 7
        ? Effect.fail(`request ${request} is broken`)
        : Effect.delay(Effect.succeed(`answer to ${request}`), "500 millis"),
    // Nobody waits for what is offered; so somebody has to be there for its failures.
    onFailure: (request, cause) => Console.log(`  request ${request} was not done: ${cause.reasons.length} reason`)
  })

  yield* Console.log("20 requests, 10 per second:")
  for (let request = 1; request <= 19; request++) {
    yield* queue.offer(request)
    const { running, waiting } = yield* queue.statistics
    most = Math.max(most, running + waiting)
    yield* Effect.sleep("100 millis")
  }
  yield* Console.log(`  behind: ${yield* queue.pressure}`)

  // The last one waits for its answer.
  yield* Console.log(`  ${yield* queue.submit(20)}`)
  yield* queue.end
  yield* Console.log(`  behind: ${yield* queue.pressure}`)

  const { completed, failed, running, state, waiting } = yield* queue.statistics
  yield* Console.log(`${state} after about ${yield* time} s: ${completed} done, ${failed} failed`)
  yield* Console.log(`${running} running, ${waiting} waiting; never more than 13 in hand: ${most <= 13}`)
})

await Effect.runPromise(Effect.scoped(program))
