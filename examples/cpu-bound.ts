// CPU-bound work: the event loop goes on while other processes compute, and a computation that is too slow ends.
//
// Four counts of primes on the main loop, where nothing else happens meanwhile; the same in a pool of processes; then a job that
// loops for ever and has 200 ms, and one after it.
import { Deadline } from "@fairlead/core"
import { CpuPool } from "@fairlead/platform-node"
import { Console, Effect, Option } from "effect"
import { count, forever, primes } from "./jobs/primes.ts"

const four = [300_000, 300_000, 300_000, 300_000]

/** Whether a timer of 10 ms rang while `work` went on. */
const ticking = <A, E, R>(work: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    let ticks = 0
    const timer = setInterval(() => ticks++, 10)
    const result = yield* work
    clearInterval(timer)
    return [result, ticks > 0 ? "the loop went on" : "the loop stood still"] as const
  })

const program = Effect.gen(function* () {
  // Do not: while it computes, no request is answered, no timer rings and no deadline bites.
  const [blocking, stood] = yield* ticking(Effect.sync(() => four.map(count)))
  yield* Console.log(`On the main loop: ${blocking.join(" ")}; ${stood}`)

  const pool = yield* CpuPool.make("cpu", { size: 2 })
  const run = Effect.forEach(four, (below) => pool.run(primes, below), { concurrency: "unbounded" })
  const [counts, went] = yield* ticking(run)
  yield* Console.log(`In processes: ${counts.join(" ")}; ${went}`)

  const error = yield* Effect.flip(Deadline.within(pool.run(forever, undefined), "200 millis"))
  if (error._tag === "DeadlineExceeded") {
    yield* Console.log(`A job that loops for ever: ${error._tag}, waiting for ${Option.getOrNull(error.waitingFor)}`)
  }
  yield* Console.log(`The next: ${yield* pool.run(primes, 100)}`)

  const most = yield* pool.run(primes, 1e12).pipe(Effect.catchTag("TooMany", ({ most }) => Effect.succeed(most)))
  yield* Console.log(`Its own error: no more than ${most}`)

  const { completed, failed, interrupted, killed } = yield* pool.statistics
  yield* Console.log(`${completed} done, ${failed} failed, ${interrupted} interrupted; workers killed: ${killed}`)
})

await Effect.runPromise(Effect.scoped(program))
