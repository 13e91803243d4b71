// Batched processing: many items in one run, and each caller gets his own result, or his own error.
//
// A thousand lookups take ten statements; items that trickle in go five at a time, or after 200 ms, and the tail goes too; a
// batch that fails because of one item fails for that item alone.
import { Batcher } from "@fairlead/core"
import { Console, Data, Effect, Result } from "effect"

class NoSuchUser extends Data.TaggedError("NoSuchUser")<{ readonly id: number }> {}

const lookups = Effect.gen(function* () {
  const users = yield* Batcher.make("users", {
    run: (ids: ReadonlyArray<number>) =>
      Effect.succeed(
        ids.map((id) => (id % 500 === 0 ? Result.fail(new NoSuchUser({ id })) : Result.succeed(`user ${id}`)))
      ),
    maxItems: 100,
    linger: "5 millis"
  })
  const find = (id: number) => users.submit(id).pipe(Effect.catchTag("NoSuchUser", () => Effect.succeed("nobody")))
  const names = yield* Effect.forEach(
    Array.from({ length: 1000 }, (_, id) => id + 1),
    find,
    { concurrency: "unbounded" }
  )
  const { runs } = yield* users.statistics
  yield* Console.log(`  ${names.length} lookups, ${runs} statements: ${names[0]}, …, ${names[499]}, …, ${names[998]}`)
})

const trickle = Effect.gen(function* () {
  const begun = Date.now()
  const batches = yield* Batcher.make("trickle", {
    run: (items: ReadonlyArray<number>) =>
      Console.log(`  after ${Math.round((Date.now() - begun) / 100) * 100} ms: ${items.join(" ")}`).pipe(
        Effect.as(items.map(Result.succeed))
      ),
    maxItems: 5,
    linger: "200 millis"
  })
  const item = (n: number) => Effect.delay(batches.submit(n), 30 * n)
  yield* Effect.forEach(
    Array.from({ length: 12 }, (_, n) => n),
    item,
    { concurrency: "unbounded" }
  )
})

const poison = Effect.gen(function* () {
  const rows = yield* Batcher.make("rows", {
    run: (ids: ReadonlyArray<number>) =>
      ids.includes(6) ? Effect.fail("bad batch" as const) : Effect.succeed(ids.map(Result.succeed)),
    maxItems: 8,
    bisect: (error) => error === "bad batch"
  })
  const insert = (id: number) => Effect.match(rows.submit(id), { onSuccess: () => `${id}`, onFailure: () => `(${id})` })
  const ends = yield* Effect.forEach([1, 2, 3, 4, 5, 6, 7, 8], insert, { concurrency: "unbounded" })
  const { runs } = yield* rows.statistics
  yield* Console.log(`  ${ends.join(" ")}, found in ${runs} runs`)
})

const program = Effect.gen(function* () {
  yield* Console.log("A thousand lookups:")
  yield* lookups
  yield* Console.log("12 items, one each 30 ms, in batches of 5 or after 200 ms:")
  yield* trickle
  yield* Console.log("One of eight rows is poisonous:")
  yield* poison
})

await Effect.runPromise(Effect.scoped(program))
