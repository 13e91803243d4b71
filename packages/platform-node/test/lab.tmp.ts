import { Deadline } from "@fairlead/core"
import { Effect, Option } from "effect"
import * as CpuPool from "../src/CpuPool.ts"
import * as jobs from "./programs/jobs.ts"
const mode = (process.argv[2] ?? "processes") as "processes"
const time = <A, E, R>(name: string, e: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const t = performance.now()
    const x = yield* Effect.exit(e)
    console.log(name, (performance.now() - t).toFixed(1), "ms", String(x).slice(0, 600))
  })
await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      const pool = yield* CpuPool.make("cpu", { size: 1, mode, maxMemory: "200 MiB" })
      yield* time("first", pool.run(jobs.increment, 1))
      yield* time("second", pool.run(jobs.increment, 1))
      yield* time("later", pool.run(jobs.later, 1))
      yield* time("prime", pool.run(jobs.prime, 8))
      yield* time("throws", pool.run(jobs.throws, "hm"))
      yield* time("loop", Deadline.within(pool.run(jobs.loop, undefined), "100 millis"))
      yield* time("next", pool.run(jobs.increment, 1))
      yield* time("stubborn", Deadline.within(pool.run(jobs.stubborn, undefined), "100 millis"))
      yield* time("next", pool.run(jobs.increment, 1))
      yield* time("rich", pool.run(jobs.rich, { at: new Date(0), maybe: Option.some(1), big: 12n }))
      for (let i = 0; i < 3; i++)
        yield* time(
          "flip 64",
          pool
            .run(jobs.flip, new Uint8Array(64 << 20))
            .pipe(Effect.map((b) => [b.length, b[0], b[4096], b.constructor.name]))
        )
      yield* time("exits", pool.run(jobs.exits, 3))
      yield* time("wrong", pool.run(jobs.wrong, undefined))
      yield* time("bad", pool.run(jobs.increment, "x" as never))
      if (mode === "processes" || process.argv[3]) {
        yield* time("heap", pool.run(jobs.eatHeap, undefined))
        if (mode === "processes") yield* time("buffers", pool.run(jobs.eatBuffers, undefined))
      }
      yield* time("says", pool.run(jobs.says, "hello"))
      const s = yield* pool.statistics
      console.log(s, CpuPool.check(s))
    })
  )
)
