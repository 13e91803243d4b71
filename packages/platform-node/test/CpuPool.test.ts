/** A pool's own logic, with workers of the test's: who works, who starts, who has to go, whatever is interrupted where. */
import { describe, expect, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Option, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, Registry } from "@fairlead/core"
import { CpuJob, CpuPool } from "@fairlead/platform-node"
import { Leaks, Simulation, Sweep } from "@fairlead/testing"
import type { Employer, End, Task, Worker } from "../src/internal/worker.ts"
import type { Settings } from "../src/internal/workers.ts"

const Background = Context.Reference<boolean>("fairlead/Background", { defaultValue: () => false })

/** Never run here: what a job does is said by its input. */
const job = CpuJob.make(
  "test:jobs",
  "work",
  { input: Schema.Union([Schema.Number, Schema.String]), output: Schema.Number, error: Schema.String },
  () => 0
)

const clean: End = { code: 0, signal: null, stderr: "", outOfMemory: false }

/** One that answers a number when so many milliseconds have passed, and does other things by name. */
class Fake implements Worker {
  readonly pid: number
  readonly shop: Shop
  readonly employer: Employer
  readonly told: Array<string> = []
  gone = false
  held = 1
  private readonly timers: Array<Fiber.Fiber<void>> = []

  constructor(shop: Shop, employer: Employer) {
    this.shop = shop
    this.employer = employer
    this.pid = shop.fakes.push(this)
    this.after(shop.startMillis, () => {
      if (shop.fails) this.end({ ...clean, code: 9, stderr: "bad option" })
      else if (!this.gone) employer.up()
    })
  }

  send({ input }: Task): void {
    expect(this.gone).toBe(false)
    this.told.push(`${input}`)
    if (typeof input === "number") {
      this.after(input, () => {
        if (!this.gone) this.employer.answered({ _tag: "Done", value: input })
      })
    } else if (input === "fail") this.after(1, () => this.employer.answered({ _tag: "Failed", value: "no" }))
    else if (input === "crash") this.after(1, () => this.end({ ...clean, code: 3, stderr: "oh" }))
    else if (input === "full") this.after(1, () => this.end({ ...clean, signal: "SIGABRT", outOfMemory: true }))
    else if (input === "eat") this.after(10, () => (this.held = 1_000))
    else if (input === "unsent") throw new Error("cannot be cloned")
  }

  stop(): void {
    this.told.push("stop")
    if (this.shop.closed) return queueMicrotask(() => this.end(clean))
    if (this.shop.stopMillis !== undefined)
      this.after(this.shop.stopMillis, () => this.end({ ...clean, signal: "SIGTERM" }))
  }

  kill(): void {
    this.told.push("kill")
    if (!this.shop.immortal) this.after(1, () => this.end({ ...clean, signal: "SIGKILL" }))
  }

  rssBytes(): number {
    return this.held
  }

  end(end: End): void {
    if (this.gone) return
    this.gone = true
    for (const timer of this.timers) timer.interruptUnsafe()
    this.employer.ended(end)
  }

  private after(millis: number, then: () => void): void {
    this.timers.push(Effect.runForkWith(this.shop.context)(Effect.delay(Effect.sync(then), millis)))
  }
}

/** Where they come from. */
class Shop {
  readonly fakes: Array<Fake> = []
  startMillis = 50
  /** `undefined`: they heed no SIGTERM. */
  stopMillis: number | undefined = 5
  fails = false
  immortal = false
  /** Those that are told to stop end at once: at the end of a test nobody moves its clock. */
  closed = false
  context!: Context.Context<never>

  get living(): ReadonlyArray<Fake> {
    return this.fakes.filter(({ gone }) => !gone)
  }

  get pool(): (
    options?: CpuPool.Options,
    settings?: Partial<Settings> & { readonly slow?: boolean }
  ) => Effect.Effect<CpuPool.CpuPool, never, Scope.Scope> {
    return (options = {}, settings = {}) =>
      Effect.gen({ self: this }, function* () {
        const { size = 1 } = options
        this.context = Context.add(yield* Effect.context<never>(), Background, true) as Context.Context<never>
        const pool = yield* CpuPool.makeWith("cpu", options, size, (employer) => new Fake(this, employer), {
          most: Math.max(size, settings.ahead ?? 0),
          ahead: 0,
          maxJobs: Infinity,
          maxAgeMillis: Infinity,
          idleMillis: Infinity,
          graceMillis: 100,
          maxRssBytes: Infinity,
          ...settings
        })
        const { slow = false } = settings
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            this.closed = !slow
            if (!slow) for (const fake of this.living) if (fake.told.includes("stop")) fake.end(clean)
          })
        )
        return pool
      })
  }
}

const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const nothingLeft = (pool: CpuPool.CpuPool) =>
  Effect.gen(function* () {
    const statistics = yield* pool.statistics
    expect(CpuPool.check(statistics)).toEqual([])
    expect([statistics.running, statistics.waiting, statistics.inHand]).toEqual([0, 0, 0])
  })

const states = (pool: CpuPool.CpuPool) =>
  Effect.map(pool.statistics, ({ workers }) => workers.map(({ state }) => state))

describe("CpuPool", () => {
  it.effect("starts workers as they are wanted, up to its size, and gives them one job after the other", () =>
    Effect.gen(function* () {
      const shop = new Shop()
      const pool = yield* shop.pool({ size: 2 })
      expect(shop.fakes.length).toBe(0)
      const runs = yield* fork(Effect.forEach([10, 20, 30, 40], (n) => pool.run(job, n), { concurrency: "unbounded" }))
      expect(yield* states(pool)).toEqual(["starting", "starting"])
      expect(yield* pool.statistics).toMatchObject({ running: 2, waiting: 2, inHand: 2 })
      yield* TestClock.adjust(55)
      expect(yield* states(pool)).toEqual(["busy", "busy"])
      yield* TestClock.adjust(60)
      expect(yield* Fiber.join(runs)).toEqual([10, 20, 30, 40])
      expect(shop.fakes.map(({ told }) => told)).toEqual([
        ["10", "30"],
        ["20", "40"]
      ])
      yield* nothingLeft(pool)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("gives the job's own error, and what it threw as a defect with the stack it had there", () =>
    Effect.gen(function* () {
      const shop = new Shop()
      const pool = yield* shop.pool()
      const failing = yield* fork(Effect.flip(pool.run(job, "fail")))
      yield* TestClock.adjust(60)
      expect(yield* Fiber.join(failing)).toBe("no")
      const throwing = yield* fork(pool.run(job, "hang"))
      const value = { name: "RangeError", message: "too far", stack: "RangeError: too far\n    at work (jobs.ts:1:2)" }
      shop.fakes[0]!.employer.answered({ _tag: "Threw", value })
      const exit = yield* Fiber.await(throwing)
      const error = Exit.isFailure(exit) ? (Cause.squash(exit.cause) as Error) : undefined
      expect([error!.name, error!.message]).toEqual(["RangeError", "too far"])
      expect(error!.stack).toBe(`${value.stack}\n    in job work of cpu pool cpu`)
      yield* nothingLeft(pool)
    })
  )

  it.effect("a worker that crashes fails its job alone, and is replaced", () =>
    Effect.gen(function* () {
      const shop = new Shop()
      const pool = yield* shop.pool({ size: 2 })
      const [bad, good] = [yield* fork(Effect.flip(pool.run(job, "crash"))), yield* fork(pool.run(job, 100))]
      yield* TestClock.adjust(200)
      const error = yield* Fiber.join(bad)
      expect(error).toMatchObject({
        _tag: "WorkerCrashed",
        pool: "cpu",
        job: "work",
        code: 3,
        stderr: "oh",
        atStart: false
      })
      expect((error as Error).message).toBe(
        "cpu pool cpu: its worker ended before work was done (exit code 3); it said:\noh"
      )
      expect(yield* Fiber.join(good)).toBe(100)
      expect(yield* states(pool)).toEqual(["idle", "idle"])
      expect(yield* pool.statistics).toMatchObject({ crashed: 1, failed: 1, completed: 1 })
      yield* nothingLeft(pool)
    })
  )

  it.effect("one that crashes while it is idle is nobody's failure", () =>
    Effect.gen(function* () {
      const shop = new Shop()
      const pool = yield* shop.pool()
      const first = yield* fork(pool.run(job, 1))
      yield* TestClock.adjust(60)
      yield* Fiber.join(first)
      shop.fakes[0]!.end({ ...clean, signal: "SIGKILL" })
      expect(yield* states(pool)).toEqual([])
      const second = yield* fork(pool.run(job, 2))
      yield* TestClock.adjust(60)
      expect(yield* Fiber.join(second)).toBe(2)
      expect(yield* pool.statistics).toMatchObject({ crashed: 1, completed: 2, failed: 0 })
    })
  )

  describe("a job that is interrupted", () => {
    it.effect("has its worker killed, and the next in line has another on the spot where one is spare", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        shop.stopMillis = undefined
        const pool = yield* shop.pool({}, { ahead: 2, most: 2 })
        yield* TestClock.adjust(50)
        const cut = yield* fork(Effect.flip(Deadline.within(pool.run(job, "hang"), 100)))
        const next = yield* fork(pool.run(job, 10))
        expect(yield* pool.statistics).toMatchObject({ running: 1, waiting: 1 })
        yield* TestClock.adjust(100)
        // It has not ended yet, nor has whoever waits for that; and the other runs already.
        expect(yield* states(pool)).toEqual(["busy", "ending", "starting"])
        expect(cut.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust(10)
        expect(yield* Fiber.join(next)).toBe(10)
        expect(cut.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust(91)
        const error = yield* Fiber.join(cut)
        expect(error).toMatchObject({ _tag: "DeadlineExceeded", waitingFor: Option.some("cpu pool cpu: work") })
        expect(shop.fakes[1]!.told).toEqual(["hang", "stop", "kill"])
        expect(shop.living.length).toBe(2)
        expect(yield* pool.statistics).toMatchObject({ killed: 1, crashed: 0, interrupted: 1, completed: 1 })
        yield* nothingLeft(pool)
      }).pipe(Leaks.expectNoLeaks())
    )

    it.effect("has a replacement started before its worker is gone", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        shop.stopMillis = 30
        const pool = yield* shop.pool()
        const cut = yield* fork(pool.run(job, "hang"))
        yield* TestClock.adjust(50)
        const next = yield* fork(pool.run(job, 1))
        const interrupting = yield* fork(Fiber.interrupt(cut))
        expect(yield* states(pool)).toEqual(["ending", "starting"])
        yield* TestClock.adjust(29)
        expect(interrupting.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust(1)
        expect(interrupting.pollUnsafe()).toBeDefined()
        expect(shop.fakes[0]!.told).toEqual(["hang", "stop"])
        yield* TestClock.adjust(21)
        expect(yield* Fiber.join(next)).toBe(1)
        yield* nothingLeft(pool)
      })
    )

    it.effect("leaves the line, or what waits for a worker that starts, and ends nobody", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        const pool = yield* shop.pool()
        const [first, second] = [yield* fork(pool.run(job, 1)), yield* fork(pool.run(job, 2))]
        yield* Fiber.interrupt(second)
        yield* Fiber.interrupt(first)
        yield* TestClock.adjust(50)
        expect(yield* states(pool)).toEqual(["idle"])
        expect(shop.fakes[0]!.told).toEqual([])
        expect(yield* pool.statistics).toMatchObject({ killed: 0, interrupted: 2 })
        yield* nothingLeft(pool)
      })
    )

    it.effect("does not wait for ever for one that nothing can end", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        shop.stopMillis = undefined
        shop.immortal = true
        const pool = yield* shop.pool()
        const cut = yield* fork(pool.run(job, "hang"))
        yield* TestClock.adjust(50)
        const interrupting = yield* fork(Fiber.interrupt(cut))
        yield* TestClock.adjust(5_099)
        expect(interrupting.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust(1)
        expect(interrupting.pollUnsafe()).toBeDefined()
        expect(yield* states(pool)).toEqual(["idle"])
      })
    )
  })

  describe("memory", () => {
    it.effect(
      "a worker whose heap is full, or that holds more than it may, gives OutOfMemory; and the pool lives",
      () =>
        Effect.gen(function* () {
          const shop = new Shop()
          const pool = yield* shop.pool({ maxMemory: 500 }, { maxRssBytes: 500 })
          const full = yield* fork(Effect.flip(pool.run(job, "full")))
          const eating = yield* fork(Effect.flip(pool.run(job, "eat")))
          yield* TestClock.adjust(200)
          expect(yield* Fiber.join(full)).toMatchObject({
            _tag: "OutOfMemory",
            limitBytes: 500,
            usedBytes: null,
            job: "work"
          })
          const error = yield* Fiber.join(eating)
          expect(error).toMatchObject({ _tag: "OutOfMemory", limitBytes: 500, usedBytes: 1_000 })
          expect((error as Error).message).toBe("cpu pool cpu: work needs more memory than 500 B (it held 1000 B)")
          expect(shop.fakes[1]!.told).toEqual(["eat", "stop", "kill"])
          const next = yield* fork(pool.run(job, 1))
          yield* TestClock.adjust(60)
          expect(yield* Fiber.join(next)).toBe(1)
          expect(yield* pool.statistics).toMatchObject({ crashed: 2, killed: 0, failed: 2 })
          yield* nothingLeft(pool)
        }).pipe(Leaks.expectNoLeaks())
    )

    it.effect("a worker that holds too much when its job is done is replaced, and no other job's failure", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        const pool = yield* shop.pool({ maxMemory: 500 }, { maxRssBytes: 500 })
        const first = yield* fork(pool.run(job, 10))
        yield* TestClock.adjust(60)
        yield* Fiber.join(first)
        shop.fakes[0]!.held = 1_000
        yield* TestClock.adjust(25)
        expect(shop.fakes[0]!.told).toEqual(["10", "stop", "kill"])
        const second = yield* fork(pool.run(job, 100))
        yield* TestClock.adjust(200)
        expect(yield* Fiber.join(second)).toBe(100)
        expect(yield* pool.statistics).toMatchObject({ recycled: 1, crashed: 0, failed: 0, completed: 2 })
        yield* nothingLeft(pool)
      }).pipe(Leaks.expectNoLeaks())
    )
  })

  describe("workers", () => {
    it.effect("are replaced after so many jobs, or at an age", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        const pool = yield* shop.pool({}, { maxJobs: 2, maxAgeMillis: 1_000 })
        const three = yield* fork(Effect.forEach([1, 2, 3], (n) => pool.run(job, n)))
        yield* TestClock.adjust(200)
        yield* Fiber.join(three)
        expect(shop.fakes.map(({ told }) => told)).toEqual([["1", "2", "stop"], ["3"]])
        yield* TestClock.adjust(1_000)
        const fourth = yield* fork(pool.run(job, 4))
        yield* TestClock.adjust(10)
        yield* Fiber.join(fourth)
        expect(shop.fakes[1]!.told).toEqual(["3", "4", "stop"])
        expect(yield* pool.statistics).toMatchObject({ recycled: 2, killed: 0, crashed: 0 })
      })
    )

    it.effect("that have nothing to do for long are ended, but for those that are kept", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        const pool = yield* shop.pool({ size: 3 }, { ahead: 1, idleMillis: 1_000 })
        yield* TestClock.adjust(50)
        expect(yield* states(pool)).toEqual(["idle"])
        yield* fork(Effect.forEach([10, 100, 300], (n) => pool.run(job, n), { concurrency: 3 }))
        yield* TestClock.adjust(1_100)
        expect(shop.living.length).toBe(2)
        yield* TestClock.adjust(1_000)
        expect(shop.living.length).toBe(1)
        yield* TestClock.adjust(10_000)
        expect(yield* states(pool)).toEqual(["idle"])
        yield* nothingLeft(pool)
      }).pipe(Leaks.expectNoLeaks())
    )

    it.effect("that end at their start are tried again, later each time, and whoever waits is told after three", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        shop.fails = true
        const pool = yield* shop.pool()
        const waiting = yield* fork(Effect.flip(pool.run(job, 1)))
        yield* TestClock.adjust(50)
        expect(shop.fakes.length).toBe(1)
        yield* TestClock.adjust(100)
        expect(shop.fakes.length).toBe(2)
        yield* TestClock.adjust(50 + 200)
        expect(shop.fakes.length).toBe(3)
        expect(waiting.pollUnsafe()).toBeUndefined()
        yield* TestClock.adjust(50)
        const error = yield* Fiber.join(waiting)
        expect(error).toMatchObject({ _tag: "WorkerCrashed", code: 9, stderr: "bad option", atStart: true })
        expect((error as Error).message).toBe(
          "cpu pool cpu: workers end at their start, and work has none (exit code 9); it said:\nbad option"
        )
        // It does not spin: whoever comes meanwhile waits for the next try.
        const next = yield* fork(pool.run(job, 1))
        expect(shop.fakes.length).toBe(3)
        shop.fails = false
        yield* TestClock.adjust(400 + 51)
        expect(yield* Fiber.join(next)).toBe(1)
        expect(shop.fakes.length).toBe(4)
        yield* nothingLeft(pool)
      }).pipe(Leaks.expectNoLeaks())
    )
  })

  it.effect("that end at their start, many at once, are as many as one", () =>
    Effect.gen(function* () {
      const shop = new Shop()
      shop.fails = true
      const pool = yield* shop.pool({ size: 5 })
      const waiting = yield* fork(
        Effect.all(
          [1, 2, 3, 4, 5].map((n) => pool.run(job, n)),
          { concurrency: 5 }
        )
      )
      yield* TestClock.adjust(50 + 100 + 50)
      expect(shop.fakes.length).toBe(10)
      shop.fails = false
      yield* TestClock.adjust(200 + 50 + 5)
      expect(yield* Fiber.join(waiting)).toEqual([1, 2, 3, 4, 5])
      yield* nothingLeft(pool)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("one that is kept, and ends before it had a job, is started again, later each time", () =>
    Effect.gen(function* () {
      const shop = new Shop()
      const pool = yield* shop.pool({}, { ahead: 1 })
      for (const millis of [100, 200, 400]) {
        yield* TestClock.adjust(50)
        shop.fakes.at(-1)!.end({ ...clean, code: 1 })
        const { length } = shop.fakes
        yield* TestClock.adjust(millis - 1)
        expect(shop.fakes.length).toBe(length)
        yield* TestClock.adjust(1)
        expect(shop.fakes.length).toBe(length + 1)
      }
      // One that works is as good as any.
      const run = yield* fork(pool.run(job, 1))
      yield* TestClock.adjust(60)
      expect(yield* Fiber.join(run)).toBe(1)
      shop.fakes.at(-1)!.end({ ...clean, code: 1 })
      expect(shop.living.length).toBe(1)
      expect(yield* pool.statistics).toMatchObject({ crashed: 4, failed: 0 })
    })
  )

  it.effect("closing its scope ends all, interrupts who waits for them, and refuses who stands in line", () =>
    Effect.gen(function* () {
      const shop = new Shop()
      shop.stopMillis = undefined
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(shop.pool({ size: 2 }, { ahead: 3, most: 3, slow: true }), scope)
      yield* TestClock.adjust(50)
      const [a, b, c] = [
        yield* fork(pool.run(job, "hang")),
        yield* fork(pool.run(job, 5_000)),
        yield* fork(pool.run(job, 1))
      ]
      const closing = yield* fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust(100)
      expect(shop.living.length).toBe(3)
      yield* TestClock.adjust(1)
      yield* Fiber.join(closing)
      expect(shop.living.length).toBe(0)
      for (const fiber of [a, b]) {
        const exit = yield* Fiber.await(fiber)
        expect(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)).toBe(true)
      }
      expect(yield* Effect.flip(Fiber.join(c))).toMatchObject({ _tag: "Refused", reason: { _tag: "ShuttingDown" } })
      expect(yield* Effect.flip(pool.run(job, 1))).toMatchObject({ _tag: "Refused", reason: { _tag: "ShuttingDown" } })
      yield* nothingLeft(pool)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("is in the registry while it lives", () =>
    Effect.gen(function* () {
      const shop = new Shop()
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* shop.pool({ size: 2 })
          const found = (yield* Registry.snapshot).find(({ kind }) => kind === "cpu")
          expect(found).toMatchObject({ name: "cpu", statistics: { size: 2, running: 0, waiting: 0, workers: [] } })
          expect(JSON.parse(JSON.stringify(found))).toEqual(found)
        })
      )
      expect((yield* Registry.snapshot).some(({ kind }) => kind === "cpu")).toBe(false)
    }).pipe(Effect.provideService(Registry.Registry, Registry.make()))
  )

  it.effect("its line is a gate's: bounded, and by urgency", () =>
    Effect.gen(function* () {
      const shop = new Shop()
      const pool = yield* shop.pool({ line: { maxItems: 1 } })
      yield* fork(pool.run(job, 10))
      yield* fork(pool.run(job, 10))
      expect(yield* Effect.flip(pool.run(job, 10))).toMatchObject({ _tag: "Refused", reason: { _tag: "QueueFull" } })
      expect(yield* pool.explain).toMatchObject([{ place: 1 }])
      yield* TestClock.adjust(100)
      expect(yield* pool.statistics).toMatchObject({ completed: 2, refused: 1 })
    })
  )

  describe("interrupts", () => {
    interface State {
      readonly shop: Shop
      readonly pool: CpuPool.CpuPool
    }
    const setup = Effect.gen(function* () {
      const shop = new Shop()
      const pool = yield* shop.pool({ size: 2 }, { maxJobs: 2 })
      return { shop, pool }
    })
    const subject = ({ pool }: State) =>
      Effect.forEach(
        [5, "crash", 10, 3, "fail", 4],
        (input) => Effect.exit(Deadline.within(pool.run(job, input), input === 10 ? 8 : 1_000)),
        { concurrency: "unbounded" }
      )
    const check = ({ pool, shop }: State) =>
      Effect.gen(function* () {
        // Those whose grace goes on.
        yield* Effect.sleep(300)
        yield* nothingLeft(pool)
        const { workers } = yield* pool.statistics
        for (const { state } of workers) expect(["idle", "starting"]).toContain(state)
        expect(shop.living.length).toBe(workers.length)
        // It works.
        expect(yield* Effect.orDie(pool.run(job, 1))).toBe(1)
        yield* nothingLeft(pool)
      })

    it.effect("wherever one lands, no worker and no permit is lost", () =>
      Effect.gen(function* () {
        expect(yield* Sweep.sweep({ setup, subject, check })).toBeGreaterThan(20)
      })
    )

    it.effect(
      "wherever two land, likewise",
      () =>
        Effect.gen(function* () {
          const { pairs } = yield* Sweep.pairs({ setup, subject, check }, { limit: 300 })
          expect(pairs).toBeGreaterThan(50)
        }),
      30_000
    )

    it.effect(
      "in many orders, likewise",
      () =>
        Effect.gen(function* () {
          const { runs } = yield* Simulation.simulate(
            10,
            { setup, subject, check },
            { cancelPoints: 10, yieldChance: 0.2 }
          )
          expect(runs).toBeGreaterThan(50)
        }),
      30_000
    )
  })

  describe("misuse", () => {
    const defectOf = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
      Effect.map(Effect.exit(Effect.scoped(effect)), (exit) =>
        Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
      )

    it.effect("an input that does not fit its schema is a defect that says where, and is not sent", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        const pool = yield* shop.pool()
        expect(yield* defectOf(pool.run(job, true as never))).toMatch(/Expected an input of job work's schema: /)
        expect(yield* pool.statistics).toMatchObject({ offered: 0, workers: [] })
      })
    )

    it.effect("an input that cannot be sent is a defect, and the worker goes on", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        const pool = yield* shop.pool()
        const unsent = yield* fork(defectOf(pool.run(job, "unsent")))
        yield* TestClock.adjust(60)
        expect(yield* Fiber.join(unsent)).toBe("TypeError: Expected an input that can be sent to job work")
        expect(yield* states(pool)).toEqual(["idle"])
        yield* nothingLeft(pool)
      })
    )

    it.effect("an answer that does not fit is a defect", () =>
      Effect.gen(function* () {
        const shop = new Shop()
        const pool = yield* shop.pool()
        const running = yield* fork(defectOf(pool.run(job, "hang")))
        yield* TestClock.adjust(50)
        shop.fakes[0]!.employer.answered({ _tag: "Done", value: "text" })
        expect(yield* Fiber.join(running)).toMatch(/Expected an answer of job work's schema/)
      })
    )

    it.effect("options that make no sense are defects with what was expected", () =>
      Effect.gen(function* () {
        const made = (options: CpuPool.Options) => defectOf(CpuPool.make("cpu", options))
        expect(yield* made({ size: 0 })).toBe("RangeError: Expected size to be a whole number from 1 on, got 0")
        expect(yield* made({ size: 1.5 })).toMatch(/size/)
        expect(yield* made({ ahead: Infinity })).toMatch(/Expected ahead to be a whole number from 0 on, got Infinity/)
        expect(yield* made({ maxJobs: 0 })).toMatch(/Expected maxJobs to be a whole number from 1 on, got 0/)
        expect(yield* made({ ahead: -1 })).toMatch(/Expected ahead to be a whole number from 0 on, got -1/)
        expect(yield* made({ maxMemory: "64 MiB" })).toMatch(
          /Expected maxMemory of processes to be at least 192 MiB, got 67108864 bytes/
        )
        expect(yield* made({ mode: "threads", maxMemory: "64 MiB" })).toMatch(/of threads to be at least 128 MiB/)
        expect(yield* made({ mode: "threads", cwd: "/tmp" })).toMatch(/Expected no cwd of threads/)
      })
    )

    it("a job needs a name, and the URL of its module", () => {
      const options = { input: Schema.Void, output: Schema.Void }
      expect(() => CpuJob.make("./jobs.ts", "work", options, () => {})).toThrow(
        "Expected the URL of the job's module, import.meta.url, got ./jobs.ts"
      )
      expect(() => CpuJob.make("test:jobs", "", options, () => {})).toThrow(
        "Expected a name for a job of test:jobs, got none"
      )
    })
  })
})
