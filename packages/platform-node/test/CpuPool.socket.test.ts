/** A pool with real processes and threads: killed, filled, crashed, talked to; and never one left behind. */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Option, Schema } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Deadline } from "@fairlead/core"
import { CpuJob, CpuPool } from "@fairlead/platform-node"
import { Leaks } from "@fairlead/testing/node"
import { partsFd } from "../src/internal/told.ts"
import * as compiled from "./compiled.ts"
import * as jobs from "./programs/jobs.ts"
import { isAlive, sleep } from "./supervising.ts"

const modes = ["processes", "threads"] as const

const checked = (pool: CpuPool.CpuPool) =>
  Effect.gen(function* () {
    const statistics = yield* pool.statistics
    expect(CpuPool.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting, statistics.inHand]).toEqual([0, 0, 0])
    return statistics
  })

/** Those that have not ended. They end now: what a test has found must not compute on. */
const left = (pids: Iterable<number>): ReadonlyArray<number> => {
  const alive = [...pids].filter(isAlive)
  for (const pid of alive) process.kill(pid, "SIGKILL")
  return alive
}

/** A pool for `body`; at its end nothing is left of it, in this process or beside it. */
const using = <A, E, R>(
  options: CpuPool.Options,
  body: (pool: CpuPool.CpuPool) => Effect.Effect<A, E, R>
): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const pids = new Set<number>()
    const note = (pool: CpuPool.CpuPool) =>
      Effect.map(pool.statistics, ({ workers }) => workers.forEach(({ pid }) => pid !== null && pids.add(pid)))
    const result = yield* Effect.gen(function* () {
      const pool = yield* CpuPool.make("cpu", options)
      yield* Effect.forkScoped(Effect.forever(Effect.delay(note(pool), 5)))
      const result = yield* body(pool)
      yield* note(pool)
      yield* checked(pool)
      return result
    }).pipe(Leaks.expectNoLeaks())
    if (options.mode !== "threads") expect(left(pids)).toEqual([])
    return result
  }) as Effect.Effect<A, E>

const defect = (exit: Exit.Exit<unknown, unknown>): Error => {
  expect(Exit.isFailure(exit) && Cause.hasDies(exit.cause)).toBe(true)
  return Cause.squash((exit as Exit.Failure<unknown, unknown>).cause) as Error
}

describe.each(modes)("a job in %s", (mode) => {
  it.live("gives its output, its error or its defect, many megabytes, and no more than itself", () =>
    using({ mode, size: 1, env: compiled.env }, (pool) =>
      Effect.gen(function* () {
        expect(yield* pool.run(jobs.increment, 1)).toBe(2)
        expect(yield* pool.run(jobs.later, 2)).toBe(3)
        expect(yield* pool.run(jobs.prime, 7)).toBe(7)
        const error = yield* Effect.flip(pool.run(jobs.prime, 15))
        expect(error).toBeInstanceOf(jobs.NotPrime)
        expect(error).toMatchObject({ value: 15 })
        const value = { at: new Date(5), maybe: Option.some(1), big: 2n ** 70n }
        expect(yield* pool.run(jobs.rich, value)).toEqual(value)
        expect((yield* checked(pool)).workers).toMatchObject([{ state: "idle", jobs: 5 }])

        const thrown = defect(yield* Effect.exit(pool.run(jobs.throws, "too far")))
        expect([thrown.name, thrown.message]).toEqual(["RangeError", "too far"])
        expect(thrown.stack).toMatch(/programs\/jobs\.ts:\d+[^]*in job throws of cpu pool cpu$/)
        const wrong = defect(yield* Effect.exit(pool.run(jobs.wrong, undefined)))
        expect(wrong.message).toMatch(/^Job wrong gave no output of its schema: Expected number/)
        const odd = defect(yield* Effect.exit(pool.run(jobs.odd, undefined)))
        expect(odd.message).toBe("A job threw what cannot be shown")
        const unsendable = defect(yield* Effect.exit(pool.run(jobs.unsendable, undefined)))
        expect(unsendable.message).toMatch(/could not be cloned/)
        const options = { input: Schema.Void, output: Schema.Void }
        const elsewhere = CpuJob.make(jobs.increment.module, "elsewhere", options, () => {})
        const missing = defect(yield* Effect.exit(pool.run(elsewhere, undefined)))
        expect(missing.name).toBe("JobNotFound")
        expect(missing.message).toMatch(/^Expected job elsewhere among the exports of file:.*jobs\.ts, got .*increment/)
        const nowhere = CpuJob.make(new URL("./nowhere.ts", import.meta.url).href, "job", options, () => {})
        expect(defect(yield* Effect.exit(pool.run(nowhere, undefined))).message).toMatch(
          /Cannot find module .*nowhere\.ts/
        )
        const unclonable = CpuJob.make(jobs.increment.module, "increment", { ...options, input: Schema.Any }, () => {})
        expect(defect(yield* Effect.exit(pool.run(unclonable, () => {}))).message).toBe(
          "Expected an input that can be sent to job increment"
        )

        const input = new Uint8Array(32 * 1024 * 1024).fill(7)
        const output = yield* pool.run(jobs.flip, input)
        expect(output.length).toBe(input.length)
        // Every 4096th byte of the copy was turned round, and ours are as they were.
        const seen = [0, 1, 4_095, 4_096, input.length - 4_096, input.length - 1].map((i) => [input[i], output[i]])
        expect(seen).toEqual([
          [7, 248],
          [7, 7],
          [7, 7],
          [7, 248],
          [7, 248],
          [7, 7]
        ])
        expect((yield* checked(pool)).workers.length).toBe(1)

        const ended = yield* Effect.flip(pool.run(jobs.exits, 3))
        expect(ended).toMatchObject({ _tag: "WorkerCrashed", job: "exits", code: 3, signal: null, atStart: false })
        if (mode === "processes") expect((ended as CpuPool.WorkerCrashed).stderr).toMatch(/^about to exit/)
        expect(yield* pool.run(jobs.increment, 1)).toBe(2)
        expect(yield* checked(pool)).toMatchObject({ crashed: 1, workers: [{ jobs: 1 }] })
      })
    )
  )

  it.live("that loops for ever is gone within 300 ms of its deadline, and the next one runs at once", () =>
    using({ mode, size: 1, ahead: 2, env: compiled.env }, (pool) =>
      Effect.gen(function* () {
        // Both are up.
        while ((yield* pool.statistics).workers.some(({ state }) => state === "starting")) yield* Effect.sleep(5)
        const cut = Effect.gen(function* () {
          const begun = performance.now()
          const late = () => performance.now() - begun - 100
          const loop = Deadline.within(pool.run(jobs.loop, undefined), "100 millis")
          const looping = yield* Effect.forkChild(Effect.map(Effect.flip(loop), (error) => ({ error, gone: late() })))
          yield* Effect.sleep(10)
          expect(yield* pool.run(jobs.increment, 1)).toBe(2)
          // The worker that is spare had it, as soon as the other was told to stop.
          const next = late()
          const { error, gone } = yield* Fiber.join(looping)
          expect(error).toMatchObject({ _tag: "DeadlineExceeded", waitingFor: Option.some("cpu pool cpu: loop") })
          return Math.max(gone, next)
        })
        // Some 20 ms where a core is free; here others may have both.
        let times = 1
        while ((yield* cut) >= 300) expect(++times).toBeLessThanOrEqual(3)
        expect(yield* checked(pool)).toMatchObject({ killed: times, interrupted: times, completed: times, crashed: 0 })
      })
    )
  )
})

describe("memory", () => {
  it.live("a job that eats it gives OutOfMemory, be it the heap or buffers, and the pool lives", () =>
    using({ size: 2, env: compiled.env, maxMemory: "192 MiB" }, (pool) =>
      Effect.gen(function* () {
        const eat = (job: CpuJob.Job<void, void>) => Effect.flip(pool.run(job, undefined))
        const [heap, buffers] = yield* Effect.all([eat(jobs.eatHeap), eat(jobs.eatBuffers)], { concurrency: 2 })
        expect(heap).toMatchObject({ _tag: "OutOfMemory", job: "eatHeap", limitBytes: 192 * 1024 * 1024 })
        expect(buffers).toMatchObject({ _tag: "OutOfMemory", job: "eatBuffers" })
        expect((buffers as CpuPool.OutOfMemory).usedBytes).toBeGreaterThan(192 * 1024 * 1024)
        expect(yield* pool.run(jobs.increment, 1)).toBe(2)
        expect(yield* checked(pool)).toMatchObject({ crashed: 2, failed: 2 })
      })
    )
  )

  it.live("of threads: the heap of each is bounded, and bytes are handed over where the job says so", () =>
    using({ mode: "threads", size: 1, env: compiled.env, maxMemory: "128 MiB" }, (pool) =>
      Effect.gen(function* () {
        expect(yield* Effect.flip(pool.run(jobs.eatHeap, undefined))).toMatchObject({
          _tag: "OutOfMemory",
          usedBytes: null
        })
        const input = new Uint8Array(100_000).fill(7)
        const output = yield* pool.run(jobs.moved, input)
        expect([input.length, output.length, output[99_999]]).toEqual([0, 100_000, 7])
        const shared = new SharedArrayBuffer(4)
        yield* pool.run(jobs.shared, shared)
        expect(new Int32Array(shared)[0]).toBe(42)
      })
    )
  )
})

describe("processes", () => {
  it.live(
    "one that heeds no SIGTERM is killed when its grace is over, and whatever ends one ends what it has started",
    () =>
      Effect.gen(function* () {
        const folder = mkdtempSync(join(tmpdir(), "cpu-pool-"))
        const file = join(folder, "pid")
        yield* using({ size: 1, env: compiled.env, grace: "50 millis" }, (pool) =>
          Effect.gen(function* () {
            yield* pool.run(jobs.increment, 1)
            const begun = performance.now()
            yield* Effect.flip(Deadline.within(pool.run(jobs.stubborn, undefined), "50 millis"))
            expect(performance.now() - begun).toBeGreaterThanOrEqual(95)
            const parent = yield* Effect.forkChild(pool.run(jobs.parent, file))
            const pid = () => {
              try {
                return Number(readFileSync(file, "utf8"))
              } catch {
                return 0
              }
            }
            while (pid() === 0) yield* Effect.sleep(10)
            const child = pid()
            expect(isAlive(child)).toBe(true)
            yield* Fiber.interrupt(parent)
            // Init has to take it over.
            for (let tries = 0; isAlive(child) && tries < 100; tries++) yield* Effect.sleep(10)
            expect(left([child])).toEqual([])
            const crashed = yield* Effect.flip(pool.run(jobs.abandons, undefined))
            const abandoned = Number((crashed as CpuPool.WorkerCrashed).stderr)
            expect(abandoned).toBeGreaterThan(0)
            for (let tries = 0; isAlive(abandoned) && tries < 100; tries++) yield* Effect.sleep(10)
            expect(left([abandoned])).toEqual([])
            expect(yield* pool.statistics).toMatchObject({ killed: 2, crashed: 1 })
          })
        ).pipe(Effect.ensuring(Effect.sync(() => rmSync(folder, { recursive: true, force: true }))))
      })
  )

  it.live("10,000 jobs while workers are killed: every one settles", () =>
    using({ size: 2, env: compiled.env, line: { maxItems: 10_000 } }, (pool) =>
      Effect.gen(function* () {
        // The same each time: which job it is after which a worker is killed.
        let seed = 42
        const chance = () => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) / 2 ** 31
        const ends = { right: 0, crashed: 0 }
        let killed = 0
        const one = (n: number) =>
          Effect.gen(function* () {
            const exit = yield* Effect.exit(pool.run(jobs.increment, n))
            if (Exit.isSuccess(exit)) ends.right += exit.value === n + 1 ? 1 : Infinity
            else {
              expect(Cause.squash(exit.cause)).toMatchObject({
                _tag: "WorkerCrashed",
                signal: "SIGKILL",
                atStart: false
              })
              ends.crashed++
            }
            if (chance() >= 4 / 10_000) return
            const { workers } = yield* pool.statistics
            process.kill(workers[Math.floor(chance() * workers.length)]!.pid!, "SIGKILL")
            killed++
          })
        yield* Effect.forEach(
          Array.from({ length: 10_000 }, (_, n) => n),
          one,
          { concurrency: 100, discard: true }
        )
        expect(killed).toBeGreaterThan(2)
        expect(ends.right + ends.crashed).toBe(10_000)
        expect(ends.crashed).toBeLessThanOrEqual(killed)
        const statistics = yield* checked(pool)
        expect(statistics).toMatchObject({ offered: 10_000, completed: ends.right, failed: ends.crashed })
        expect(statistics.crashed).toBeGreaterThanOrEqual(ends.crashed)
      })
    )
  )

  it.live("that cannot start give an error that says why", () =>
    using({ size: 1, execArgv: ["--no-such-option"] }, (pool) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(pool.run(jobs.increment, 1))
        expect(error).toMatchObject({ _tag: "WorkerCrashed", atStart: true, code: 9 })
        expect((error as CpuPool.WorkerCrashed).stderr).toMatch(/bad option: --no-such-option/)
      })
    ).pipe(
      Effect.andThen(
        using({ size: 1, cwd: "/no/such/folder" }, (pool) =>
          Effect.gen(function* () {
            const error = yield* Effect.flip(pool.run(jobs.increment, 1))
            expect(error).toMatchObject({ _tag: "WorkerCrashed", atStart: true, code: null, signal: null })
            expect((error as CpuPool.WorkerCrashed).stderr).toMatch(/ENOENT/)
          })
        )
      )
    )
  )

  it.live("import modules ahead, and have the options that they are given", () =>
    Effect.gen(function* () {
      const options = { input: Schema.Void, output: Schema.Void }
      const exits = CpuJob.make("data:text/javascript,process.exit(7)", "exits", options, () => {})
      yield* using({ size: 1, warm: [exits], env: compiled.env }, (pool) =>
        Effect.gen(function* () {
          expect(yield* Effect.flip(pool.run(jobs.increment, 1))).toMatchObject({ atStart: true, code: 7 })
        })
      )
      // What is imported before all else may say something to whoever has started its process.
      const execArgv = ["--stack-trace-limit=3", "--import=data:text/javascript,process.send(null)"]
      const around = { size: 1, cwd: "/", env: { ...compiled.env, ABOUT: "this" }, execArgv }
      yield* using(around, (pool) =>
        Effect.gen(function* () {
          // A job has no channel of its own, and answers once.
          expect(yield* pool.run(jobs.chatters, undefined)).toBe(1)
          expect(yield* pool.run(jobs.around, undefined)).toEqual({ cwd: "/", about: "this", limit: 3 })
          // One whose answer does not get through is not asked again.
          expect(yield* Effect.flip(pool.run(jobs.mute, partsFd))).toMatchObject({ _tag: "WorkerCrashed", code: 1 })
          expect((yield* pool.run(jobs.flip, new Uint8Array(100_000)))[0]).toBe(255)
        })
      )
    })
  )
})

const program = fileURLToPath(new URL("programs/cpu.ts", import.meta.url))

/** With so few descriptors that they can be used up. */
const start = (args: ReadonlyArray<string>) => {
  const child = spawn("sh", ["-c", 'ulimit -n 64; exec "$0" "$@"', process.execPath, program, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: compiled.env,
    detached: true
  })
  const said = { out: "", err: "" }
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said.out += text))
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said.err += text))
  const ended = new Promise<number | string>((resolve) =>
    child.once("close", (code, signal) => resolve(code ?? signal!))
  )
  const until = async (pattern: RegExp) => {
    for (let tries = 0; !pattern.test(said.out); tries++) {
      if (tries > 1_000) throw new Error(`Expected ${pattern}, got ${said.out}${said.err}`)
      await sleep(10)
    }
    return pattern.exec(said.out)!
  }
  return { child, said, ended, until }
}

describe("a program with a pool", () => {
  it("prints what its jobs print, and not how V8 dies; goes on where it has no descriptors left", async () => {
    const { ended, said } = start(["talk"])
    expect(await ended).toBe(0)
    const lines = (mode: string) => `out: ${mode}\nfirst\nsecond\n`
    expect(said.out).toBe(`${lines("processes")}${lines("threads")}OutOfMemory\nstarved: EMFILE, then 2\n`)
    expect(said.err).toBe("err: processes\nerr: threads\n")
  })

  it("has its workers go on when a terminal interrupts all in it, and takes them along when it is killed", async () => {
    const folder = mkdtempSync(join(tmpdir(), "cpu-pool-"))
    const { child, until } = start(["linger", join(folder, "pid")])
    await until(/ready/)
    process.kill(-child.pid!, "SIGINT")
    await until(/done/)
    const [, text] = await until(/pids ([\d ]+)\n/)
    rmSync(folder, { recursive: true })
    const pids = text!.split(" ").map(Number)
    // One is idle, one loops, and what that has started heeds no SIGTERM.
    expect(pids.length).toBe(3)
    expect(pids.filter(isAlive)).toEqual(pids)
    // Not until its output has ended: what it has left behind holds that open.
    const exited = new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)))
    child.kill("SIGKILL")
    expect(await exited).toBe("SIGKILL")
    for (let tries = 0; pids.some(isAlive) && tries < 200; tries++) await sleep(10)
    expect(left(pids)).toEqual([])
  })
})

it.live("the program's pool, and one by its tag, are there for whoever runs a job", () =>
  Effect.gen(function* () {
    class Other extends CpuPool.Service<Other>()("test/Other", { size: 1, mode: "threads" }) {}
    const both = Effect.gen(function* () {
      expect(yield* CpuPool.run(jobs.increment, 1)).toBe(2)
      expect(yield* Effect.flatMap(Effect.succeed(2), CpuPool.run(jobs.increment))).toBe(3)
      expect(yield* Other.run(jobs.increment, 3)).toBe(4)
      return (yield* (yield* Other).statistics).name
    })
    const name = yield* both.pipe(
      Effect.provide([CpuPool.layer({ size: 1, mode: "threads" }), Other.layer]),
      Leaks.expectNoLeaks()
    )
    expect(name).toBe("test/Other")
  })
)
