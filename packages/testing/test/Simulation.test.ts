import { describe, expect, it } from "@effect/vitest"
import { Cause, Clock, Context, Deferred, Effect, Exit, Fiber, Option, Random, Scheduler } from "effect"
import { Simulation } from "@fairlead/testing"
import { turnstile } from "./faulty.ts"

/** What the simulation died of. */
const failure = <A, R>(effect: Effect.Effect<A, never, R>) =>
  Effect.gen(function* () {
    const exit = yield* Effect.exit(effect)
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : exit
    expect(error).toBeInstanceOf(Simulation.SimulationFailed)
    return error as Simulation.SimulationFailed
  })

const soon = { patience: "20 millis" } as const

/** Three at a turnstile, at times that collide. */
const queue = (forgets: boolean): Simulation.Program<ReturnType<typeof turnstile>, unknown, never> => ({
  setup: Effect.sync(() => turnstile(forgets)),
  subject: (gate) =>
    Effect.all(
      [Effect.sleep(10), Effect.yieldNow, Effect.sleep(10)].map((body) =>
        Effect.exit(Effect.flatMap(Effect.forkChild(gate.run(body)), Fiber.join))
      ),
      { concurrency: "unbounded", discard: true }
    ),
  check: (gate) => expect(gate.free()).toBe(1)
})

describe("Simulation, of a program without faults", () => {
  it.live("runs every seed, and again for each cancel point", () =>
    Effect.gen(function* () {
      const report = yield* Simulation.simulate(50, queue(false), { cancelPoints: 50 })
      expect(report).toMatchObject({ seeds: 50, cancelPoints: 50 * 50, fewestCancelPoints: 50, replays: 1 })
      expect(report.runs).toBe(50 + 50 * 50 + 1)
      expect(report.steps).toBeGreaterThan(100 * report.runs)
    })
  )

  it.live("100 of 100 replays are identical, and no two seeds alike", () =>
    Effect.gen(function* () {
      const fingerprints = (seed: number) => Effect.map(Simulation.simulate([seed], queue(false)), (r) => r.fingerprint)
      const seeds = Array.from({ length: 100 }, (_, i) => i)
      const once = yield* Effect.forEach(seeds, fingerprints)
      expect(yield* Effect.forEach(seeds, fingerprints)).toEqual(once)
      expect(new Set(once).size).toBe(100)
      expect(yield* Simulation.simulate(100, queue(false), { replays: 100 })).toMatchObject({ replays: 100 })
    })
  )

  it.live("jumps over time, and a sleep takes as long as it should", () =>
    Effect.gen(function* () {
      const started = Date.now()
      const day = 86_400_000
      yield* Simulation.simulate(
        100,
        Effect.gen(function* () {
          yield* Effect.all([Effect.sleep("1 day"), Effect.sleep("1 hour"), Effect.sleep(0)], {
            concurrency: "unbounded"
          })
          expect(yield* Clock.currentTimeMillis).toBe(day)
          expect(yield* Effect.timeoutOption(Effect.sleep("1000 days"), "1 day")).toEqual(Option.none())
        }),
        { lateness: 0 }
      )
      expect(Date.now() - started).toBeLessThan(10_000)
    })
  )

  it.live("tries the orders of what is runnable, though nobody yields", () =>
    Effect.gen(function* () {
      const orders = new Set<string>()
      let order = ""
      const step = (name: string) => Effect.sync(() => (order += name))
      yield* Simulation.simulate(
        30,
        {
          setup: Effect.sync(() => (order = "")),
          subject: () =>
            Effect.all([step("a"), step("b"), step("c")].map((each) => Effect.forkChild(each))).pipe(
              Effect.flatMap(Fiber.joinAll)
            ),
          check: () => void orders.add(order)
        },
        { yieldChance: 0 }
      )
      expect([...orders].toSorted()).toEqual(["abc", "acb", "bac", "bca", "cab", "cba"])
    })
  )

  it.live("gives chance from the seed", () =>
    Effect.gen(function* () {
      const drawn: Array<number> = []
      const program = Effect.map(Effect.all([Random.next, Random.nextIntBetween(0, 10)]), ([real, whole]) => {
        expect(real >= 0 && real < 1 && Number.isInteger(whole) && whole >= 0 && whole <= 10).toBe(true)
        drawn.push(real)
      })
      const options = { replays: 0 }
      yield* Simulation.simulate(1000, program, options)
      expect(new Set(drawn).size).toBe(1000)
      expect(drawn.reduce((sum, one) => sum + one) / 1000).toBeCloseTo(0.5, 1)
      const [seventh] = drawn.slice(6)
      yield* Simulation.simulate([7], program, options)
      expect(drawn.at(-1)).toBe(seventh)
    })
  )

  it.live("tries orders that only a late timer makes, unless told not to", () =>
    Effect.gen(function* () {
      const orders = (lateness: number) =>
        Effect.gen(function* () {
          const seen = new Set<string>()
          const sleeps = ["10 millis", "15 millis", "1 second"] as const
          yield* Simulation.simulate(
            200,
            Effect.gen(function* () {
              const order: Array<number> = []
              yield* Effect.forEach(sleeps, (time, i) => Effect.map(Effect.sleep(time), () => void order.push(i)), {
                concurrency: "unbounded"
              })
              seen.add(order.join())
            }),
            { lateness }
          )
          return [...seen].toSorted()
        })
      expect(yield* orders(0)).toEqual(["0,1,2"])
      // The second one is not so far away that a loaded machine would wake it with the others.
      expect(yield* orders(1)).toEqual(["0,1,2", "1,0,2"])
    })
  )

  it.live("hears promises, before time goes on", () =>
    Effect.gen(function* () {
      const settled = Effect.promise(async () => {
        for (let i = 0; i < 100; i++) await Promise.resolve()
      })
      const real = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 10)))
      yield* Simulation.simulate(20, Effect.andThen(Effect.timeout(settled, "1 milli"), real))
    })
  )

  it.live("runs in the context it stands in", () =>
    Effect.gen(function* () {
      class Port extends Context.Service<Port, number>()("Port") {}
      const seen: Array<number> = []
      const program = Effect.map(Port, (port) => void seen.push(port))
      yield* Simulation.simulate(2, program, { replays: 0 }).pipe(Effect.provideService(Port, 80))
      expect(seen).toEqual([80, 80])
    })
  )

  it.live("ends when it is interrupted", () =>
    Effect.gen(function* () {
      let runs = 0
      const endless = Simulation.simulate(
        1e6,
        Effect.sync(() => runs++)
      )
      expect(yield* Effect.timeoutOption(endless, "50 millis")).toEqual(Option.none())
      yield* Effect.sleep("20 millis")
      const after = runs
      yield* Effect.sleep("20 millis")
      expect(runs).toBe(after)
      expect(runs).toBeLessThan(1e6)
    })
  )
})

describe("Simulation finds", () => {
  it.live("a permit that is lost when its next holder is interrupted before it woke", () =>
    Effect.gen(function* () {
      const error = yield* failure(Simulation.simulate(100, queue(true), { ...soon, cancelPoints: 100 }))
      expect(error.run.cancel).toBeDefined()
      // Without cancel points it is never seen.
      yield* Simulation.simulate(1000, queue(true))
    })
  )

  it.live("the same again from what its message says", () =>
    Effect.gen(function* () {
      const program = queue(true)
      const error = yield* failure(Simulation.simulate(100, program, { ...soon, cancelPoints: 100 }))
      const call = /To run it again: Simulation.simulate\((\[.*\]), program\)$/.exec(error.message)
      const again = yield* failure(Simulation.simulate(JSON.parse(call![1]!), program, soon))
      expect(again.message).toBe(error.message)
    })
  )

  it.live("what is given away twice because two looked before either took", () =>
    Effect.gen(function* () {
      const withdrawing = (pause: Effect.Effect<void>) => {
        let balance = 0
        const withdraw = Effect.gen(function* () {
          const before = balance
          yield* pause
          if (before >= 100) balance -= 100
        })
        return Effect.gen(function* () {
          balance = 100
          yield* Effect.all([withdraw, withdraw], { concurrency: "unbounded" })
          expect(balance).toBe(0)
        })
      }
      const error = yield* failure(Simulation.simulate(100, withdrawing(Effect.sync(() => {}))))
      expect(error.message).toMatch(
        /^seed \d+: expected -100 to be \+?0[^]*\nTo run it again: [^]*simulate\(\[\d+\], program\)$/
      )
    })
  )

  it.live("an orphan, and a sleeper that nobody waits for", () =>
    Effect.gen(function* () {
      const orphan = Effect.forkDetach(Effect.withSpan(Effect.never, "orphan"))
      const one = yield* failure(Simulation.simulate(1, orphan))
      expect(one.message).toMatch(
        /it has ended, but not all of it:\n  fiber \d, in "orphan" at .*Simulation\.test\.ts:\d+:\d+\)?, is parked\n/
      )
      const sleeper = Effect.andThen(Effect.forkDetach(Effect.sleep("1 hour")), Effect.sleep("1 second"))
      const two = yield* failure(Simulation.simulate(1, sleeper))
      expect(two.message).toContain(", without a span, sleeps until 3600000 ms (now 1000 ms)\n")
    })
  )

  it.live("an entry that was left in a shared timer, though not the timer's own fiber", () =>
    Effect.gen(function* () {
      const Background = Context.Reference<boolean>("fairlead/Background", { defaultValue: () => false })
      const driver = (effect: Effect.Effect<void>) =>
        Effect.withFiber((fiber) =>
          Effect.sync(() => void Effect.runForkWith(Context.add(fiber.context, Background, true))(effect))
        )
      yield* Simulation.simulate(10, driver(Effect.never))
      const error = yield* failure(Simulation.simulate(1, driver(Effect.sleep(5))))
      expect(error.message).toContain("  a timer in the background sleeps until 5 ms (now 0 ms)\n")
    })
  )

  it.live("a deadlock, and who is in it", () =>
    Effect.gen(function* () {
      const one = Deferred.makeUnsafe<void>()
      const other = Deferred.makeUnsafe<void>()
      const crossed = Effect.all(
        [
          Effect.andThen(Deferred.await(one), Deferred.succeed(other, undefined)),
          Effect.andThen(Deferred.await(other), Deferred.succeed(one, undefined))
        ],
        { concurrency: "unbounded" }
      )
      const error = yield* failure(Simulation.simulate(1, crossed, soon))
      expect(error.message).toMatch(/^seed 1: nothing can run and nobody sleeps[^]*fiber 1[^]*fiber 2[^]*fiber 3/)
    })
  )

  it.live("a program that does not end", () =>
    Effect.gen(function* () {
      const options = { maxSteps: 10_000 }
      for (const program of [Effect.forever(Effect.void), Effect.forever(Effect.sleep("1 second"))]) {
        const error = yield* failure(Simulation.simulate(1, program, options))
        expect(error.message).toContain("seed 1: still runs after 10000 steps\n")
        expect(error.message).toContain('Simulation.simulate([1], program, {"maxSteps":10000})')
      }
    })
  )

  it.live("a program that takes another course each time", () =>
    Effect.gen(function* () {
      let runs = 0
      const error = yield* failure(
        Simulation.simulate(
          10,
          Effect.suspend(() => Effect.repeat(Effect.void, { times: runs++ }))
        )
      )
      expect(error.message).toContain("run twice, it took two courses")
    })
  )

  it.live("a subject that fails, unless an interrupt made it", () =>
    Effect.gen(function* () {
      const failed = yield* failure(Simulation.simulate(1, Effect.fail("no luck")))
      expect(failed.message).toContain("seed 1: no luck\n")
      const onInterrupt = (then: Effect.Effect<never, string>) =>
        Effect.matchCauseEffect(Effect.sleep(5), { onFailure: () => then, onSuccess: () => Effect.void })
      yield* Simulation.simulate(5, onInterrupt(Effect.fail("cut")), { cancelPoints: 20 })
    })
  )

  it.live("a subject that dies, though a check looks at nothing", () =>
    Effect.gen(function* () {
      const program = { setup: Effect.void, subject: () => Effect.die("bug"), check: () => {} }
      expect((yield* failure(Simulation.simulate(1, program))).message).toContain("seed 1: bug\n")
      const finalizer = Effect.onInterrupt(Effect.sleep(5), () => Effect.die("in the clean-up"))
      const error = yield* failure(Simulation.simulate(5, finalizer, { cancelPoints: 20 }))
      expect(error.message).toContain("in the clean-up")
    })
  )
})

describe("Simulation, of a run that fails", () => {
  it.live("tells turn by turn what happens, and changes nothing by that", () =>
    Effect.gen(function* () {
      const sleeper = (name: string) => Effect.withSpan(Effect.sleep(5), name)
      const program = Effect.all([sleeper("one"), sleeper("two")], { concurrency: "unbounded" })
      const run = [{ seed: 1, cancel: { step: 30, fiber: 2 } }]
      const turns: Array<string> = []
      const report = yield* Simulation.simulate(run, program, { onTurn: (turn) => turns.push(turn), replays: 0 })
      expect(turns[0]).toBe("0 ms, step 1: fiber 1, without a span")
      expect(turns.filter((turn) => /^\d ms, step \d+: fiber 3, in "two" at /.test(turn)).length).toBeGreaterThan(0)
      expect(turns.filter((turn) => turn.endsWith(", is interrupted"))).toEqual([
        expect.stringMatching(/^\d ms, step 30: fiber 2, in "one"/)
      ])
      expect(report.fingerprint).toBe((yield* Simulation.simulate(run, program, { replays: 0 })).fingerprint)
    })
  )

  it.live("closes what the setup has opened: after a check, a setup that dies, and a subject that does not end", () =>
    Effect.gen(function* () {
      let open = 0
      const opening = Effect.acquireRelease(
        Effect.sync(() => open++),
        () => Effect.sync(() => open--)
      )
      const setup = Effect.andThen(opening, Effect.void)
      const fails = () => expect.fail("no")
      const programs = [
        { setup, subject: () => Effect.void, check: fails },
        { setup: Effect.andThen(opening, Effect.die("no")), subject: () => Effect.void, check: fails },
        { setup, subject: () => Effect.never, check: fails }
      ]
      for (const program of programs) {
        yield* failure(Simulation.simulate(1, program, soon))
        expect(open).toBe(0)
      }
    })
  )
})

describe("Simulation, what is struck", () => {
  it.live("is no step of the setup, of what the setup forked, or of the check", () =>
    Effect.gen(function* () {
      const report = yield* Simulation.simulate(
        20,
        {
          setup: Effect.forkScoped(Effect.forever(Effect.sleep(1))),
          subject: () => Effect.sleep(5),
          check: (daemon) =>
            Effect.andThen(
              Effect.yieldNow,
              Effect.sync(() => expect(daemon.pollUnsafe()).toBeUndefined())
            )
        },
        { cancelPoints: 1000 }
      )
      expect(report.cancelPoints).toBeGreaterThan(100)
    })
  )

  it.live("is every fiber at every step of others, where there are points enough", () =>
    Effect.gen(function* () {
      const seen = new Set<string>()
      yield* Simulation.simulate(
        [1],
        {
          setup: Effect.void,
          subject: () => Effect.all([Effect.sleep(1), Effect.sleep(1)], { concurrency: "unbounded" }),
          check: (_, __, { cancel }) => void seen.add(`${cancel?.step} ${cancel?.fiber}`)
        },
        { cancelPoints: Infinity }
      )
      const struck = (fiber: number) => [...seen].filter((point) => point.endsWith(` ${fiber}`)).length
      expect([struck(1) > struck(2), struck(2) > 10, struck(3) > 10]).toEqual([true, true, true])
    })
  )

  it.live("is the fiber that the run names, also while it waits and another takes the step", () =>
    Effect.gen(function* () {
      const struck = new Set<number>()
      // Known by its first step, as the simulation does.
      const waits = (state: { begun: number; readonly interrupted: Set<number> }) =>
        Effect.suspend(() => {
          const number = ++state.begun
          return Effect.onInterrupt(Effect.sleep(9), () => Effect.sync(() => state.interrupted.add(number)))
        })
      yield* Simulation.simulate(
        [1],
        {
          setup: Effect.sync(() => ({ begun: 1, interrupted: new Set<number>() })),
          subject: (state) =>
            Effect.gen(function* () {
              const fibers = [yield* Effect.forkChild(waits(state)), yield* Effect.forkChild(waits(state))]
              yield* Fiber.awaitAll(fibers)
            }),
          check: ({ interrupted }, _, { cancel }) => {
            if (cancel === undefined || cancel.fiber === 1) return
            for (const fiber of interrupted) expect(struck.add(fiber) && fiber).toBe(cancel.fiber)
          }
        },
        { cancelPoints: Infinity, yieldChance: 0 }
      )
      expect([...struck].toSorted()).toEqual([2, 3])
    })
  )

  it.live("is nothing that keeps away from the scheduler", () =>
    Effect.gen(function* () {
      const work = Effect.repeat(Effect.yieldNow, { times: 10 })
      const hidden = Effect.provideService(work, Scheduler.PreventSchedulerYield, true)
      const [shown, less] = yield* Effect.forEach([work, hidden], (effect) =>
        Effect.map(Simulation.simulate([1], effect, { yieldChance: 0 }), (report) => report.steps)
      )
      expect(less).toBeLessThan(shown!)
    })
  )
})

describe("Simulation, misuse", () => {
  it.live.each([
    ["at least 1 seed, got those from 1 to 0", 0, {}],
    ["at least 1 seed, got those from 3 to 2", { from: 3, to: 2 }, {}],
    ["a yieldChance from 0 to 1, got 1.5", 1, { yieldChance: 1.5 }],
    ["a lateness of at least 0, got -1", 1, { lateness: -1 }],
    ["at least 0 cancelPoints, got NaN", 1, { cancelPoints: Number.NaN }]
  ] as const)("Expected %s", ([message, seeds, options]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Simulation.simulate(seeds, Effect.void, options))
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toEqual(new RangeError(`Expected ${message}`))
    })
  )
})
