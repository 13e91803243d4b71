import { describe, expect, it } from "@effect/vitest"
import {
  Cause,
  Clock,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Option,
  Result,
  Scope,
  Tracer
} from "effect"
import type { Duration } from "effect"
import { TestClock } from "effect/testing"
import { afterEach, beforeEach, vi } from "vitest"
import { Batcher, Deadline, Gate, Nursery, Registry, Wait } from "@fairlead/core"
import { IoProfile } from "@fairlead/platform-node"
import { Leaks, Sweep } from "@fairlead/testing"

/** Milliseconds of `performance.now()`. */
let now = 0
beforeEach(() => {
  now = 0
  vi.spyOn(performance, "now").mockImplementation(() => now)
})
afterEach(() => void vi.restoreAllMocks())

const busy = (millis: number) => Effect.sync(() => void (now += millis))

/** Lets time go by, in which nobody runs. */
const pass = (millis: number) => Effect.suspend(() => Effect.andThen(busy(millis), TestClock.adjust(millis)))

const measured = <A, E, R>(
  body: (profile: IoProfile.IoProfile) => Effect.Effect<A, E, R>,
  options?: IoProfile.Options
) =>
  Effect.gen(function* () {
    const profile = yield* IoProfile.make(options)
    yield* body(profile)
    const statistics = yield* profile.statistics
    expect(IoProfile.check(statistics)).toEqual([])
    expect(statistics.tasks).toBe(0)
    expect((profile as unknown as { readonly profiler: { readonly size: number } }).profiler.size).toBe(0)
    return statistics
  })

const spentOn = ({ routes }: IoProfile.Statistics, name: string) => {
  const { runningMillis, waitingMillis } = routes.find((route) => route.name === name)!
  return { running: runningMillis, ...waitingMillis }
}

describe("a task", () => {
  it.effect.each([
    [10, 90],
    [50, 50],
    [90, 10]
  ])("has run for %i ms and slept for %i", ([runs, sleeps]) =>
    Effect.gen(function* () {
      const statistics = yield* measured((profile) =>
        Effect.gen(function* () {
          const work = Effect.andThen(busy(runs!), Effect.sleep(sleeps!))
          const fiber = yield* Effect.forkChild(profile.task(work, "job"))
          yield* pass(0)
          yield* pass(sleeps!)
          yield* Fiber.join(fiber)
        })
      )
      expect(spentOn(statistics, "job")).toEqual({ running: runs, sleep: sleeps })
      expect(statistics.routes[0]).toMatchObject({ name: "job", count: 1, millis: 100 })
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("waits at a gate, and for what it names itself", () =>
    Effect.gen(function* () {
      const statistics = yield* measured((profile) =>
        Effect.gen(function* () {
          const gate = yield* Gate.make("g", { limit: 1 })
          const work = Effect.andThen(busy(1), Wait.on(Effect.sleep(10), "rows", "dns"))
          const first = yield* Effect.forkChild(profile.task(gate.run(work), "first"))
          const second = yield* Effect.forkChild(profile.task(gate.run(work), "second"))
          yield* pass(0)
          yield* pass(10)
          yield* pass(10)
          yield* Fiber.joinAll([first, second])
        })
      )
      expect(spentOn(statistics, "first")).toEqual({ running: 1, dns: 10 })
      expect(spentOn(statistics, "second")).toEqual({ running: 1, gate: 10, dns: 10 })
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("is told apart from one that runs in turns with it", () =>
    Effect.gen(function* () {
      const statistics = yield* measured((profile) => {
        const work = (millis: number) =>
          Effect.forEach([1, 2, 3], () => Effect.andThen(busy(millis), Effect.yieldNow), { discard: true })
        return Effect.all([profile.task(work(1), "a"), profile.task(work(10), "b")], { concurrency: 2 })
      })
      expect(spentOn(statistics, "a").running).toBe(3)
      expect(spentOn(statistics, "b").running).toBe(30)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("is told apart from one that it resumes, on its own stack", () =>
    Effect.gen(function* () {
      const statistics = yield* measured((profile) =>
        Effect.gen(function* () {
          const latch = yield* Deferred.make<void>()
          const woken = yield* Effect.forkChild(
            profile.task(Effect.andThen(Deferred.await(latch), busy(10)), "woken"),
            { startImmediately: true }
          )
          yield* profile.task(
            Effect.andThen(busy(1), Effect.andThen(Deferred.succeed(latch, undefined), busy(2))),
            "waker"
          )
          yield* Fiber.join(woken)
        })
      )
      expect(spentOn(statistics, "woken").running).toBe(10)
      expect(spentOn(statistics, "waker").running).toBe(3)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("runs while any of its fibers does, and waits for the innermost of what they wait for", () =>
    Effect.gen(function* () {
      const statistics = yield* measured((profile) =>
        Effect.gen(function* () {
          const children = Nursery.run((nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(Wait.on(Effect.sleep(10), "head", "firstByte"), "call")
              yield* nursery.spawn(Effect.andThen(Effect.sleep(4), busy(3)), "work")
              yield* Deadline.within(Effect.sleep(20), "1 minute")
            })
          )
          const fiber = yield* Effect.forkChild(profile.task(children, "all"))
          yield* pass(0)
          for (const millis of [4, 6, 10]) yield* pass(millis)
          yield* Fiber.join(fiber)
        })
      )
      // 4 ms of the head; 3 run, which the test's clock knows nothing of; the head until that has come to 10; the sleep until 20.
      expect(spentOn(statistics, "all")).toEqual({ firstByte: 4 + 6, running: 3, sleep: 10 })
      const { fibers } = statistics.slowest[0]!
      expect(fibers!.length).toBeGreaterThan(3)
      expect(fibers).toContainEqual(expect.objectContaining({ runningMillis: 3, waitingMillis: { sleep: 4 } }))
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("waits for work that serves many, and does not run it", () =>
    Effect.gen(function* () {
      const statistics = yield* measured((profile) =>
        Effect.gen(function* () {
          const batcher = yield* Batcher.make("b", {
            linger: 5,
            maxItems: 10,
            run: (items: ReadonlyArray<number>) =>
              Effect.as(
                Effect.andThen(busy(7), Effect.sleep(10)),
                items.map((item) => Result.succeed(item))
              )
          })
          const fiber = yield* Effect.forkChild(profile.task(batcher.submit(1), "asks"))
          yield* pass(0)
          yield* pass(5)
          yield* pass(10)
          yield* Fiber.join(fiber)
        })
      )
      expect(spentOn(statistics, "asks")).toEqual({ running: 0, batch: 22 })
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("charges nobody for what goes on when it has ended", () =>
    Effect.gen(function* () {
      const statistics = yield* measured((profile) =>
        Effect.gen(function* () {
          const fiber = yield* profile.task(
            Effect.andThen(busy(1), Effect.forkDetach(Effect.andThen(Effect.sleep(10), busy(10)))),
            "short"
          )
          yield* pass(10)
          yield* Fiber.join(fiber)
        })
      )
      expect(spentOn(statistics, "short")).toEqual({ running: 1 })
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("comes to what its effect comes to, in its place in the program", () =>
    Effect.gen(function* () {
      yield* measured((profile) =>
        Effect.gen(function* () {
          expect(yield* Effect.succeed(1).pipe(profile.task("a"))).toBe(1)
          expect(yield* Effect.flip(profile.task(Effect.fail("no"), "b"))).toBe("no")
          const died = yield* Effect.exit(profile.task(Effect.die("so"), "c"))
          expect(Exit.isFailure(died) && Cause.hasDies(died.cause)).toBe(true)
          let cleaned = false
          const cut = yield* Effect.forkChild(
            profile.task(
              Effect.ensuring(
                Effect.never,
                Effect.sync(() => void (cleaned = true))
              ),
              "d"
            ),
            { startImmediately: true }
          )
          yield* Fiber.interrupt(cut)
          expect(cleaned).toBe(true)
          // A deadline around it bites, and says what it said.
          const late = yield* Effect.forkChild(
            Effect.flip(Deadline.within(profile.task(Effect.sleep("1 minute"), "e"), 10))
          )
          yield* pass(0)
          yield* pass(10)
          expect((yield* Fiber.join(late)).message).toBe("not done within 10ms (10ms spent)")
        })
      )
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("has the clock and the tracer of its place, but for what they tell", () =>
    Effect.gen(function* () {
      const ended: Array<string> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          const { end } = span
          span.end = (time, exit) => {
            ended.push(span.name)
            end.call(span, time, exit)
          }
          return span
        }
      })
      yield* measured((profile) =>
        profile
          .task(
            Effect.gen(function* () {
              yield* TestClock.adjust("1 hour")
              expect(yield* Clock.currentTimeMillis).toBe(3_600_000)
              // Within another the same again: timers are kept by the clock.
              const clock = yield* Clock.Clock
              expect(yield* profile.task(Clock.Clock, "inner")).toBe(clock)
            }).pipe(Effect.withSpan("s")),
            "outer"
          )
          .pipe(Effect.provideService(Tracer.Tracer, tracer))
      )
      expect(ended).toEqual(["s"])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("asks nothing of clock and tracer but what they are for", () =>
    Effect.gen(function* () {
      const test = yield* Clock.Clock
      class Private implements Clock.Clock {
        readonly #test = test
        readonly currentTimeMillis = test.currentTimeMillis
        readonly currentTimeNanos = test.currentTimeNanos
        readonly monotonicTimeNanos = test.monotonicTimeNanos
        currentTimeMillisUnsafe = (): number => this.#test.currentTimeMillisUnsafe()
        currentTimeNanosUnsafe(): bigint {
          return this.#test.currentTimeNanosUnsafe()
        }
        monotonicTimeNanosUnsafe(): bigint {
          return this.#test.monotonicTimeNanosUnsafe()
        }
        sleep(duration: Duration.Duration) {
          return this.#test.sleep(duration)
        }
      }
      const native = new Tracer.NativeSpan({
        name: "nothing",
        parent: Option.none(),
        annotations: Context.empty(),
        links: [],
        startTime: 0n,
        kind: "internal",
        sampled: false
      })
      // Such a span is never over.
      const nothing = { ...native, end: () => {} } as unknown as Tracer.Span
      const still = Object.freeze({ ...nothing })
      const work = Effect.forEach(
        Array.from({ length: 10_000 }),
        () => busy(1).pipe(Effect.withSpan("one"), Effect.withSpan("two")),
        { discard: true }
      )
      for (const span of [nothing, still]) {
        yield* measured((profile) =>
          profile
            .task(Deadline.within(Effect.andThen(work, Effect.timed(Effect.void)), "1 minute"), "job")
            .pipe(
              Effect.provideService(Tracer.Tracer, Tracer.make({ span: () => span })),
              Effect.provideService(Clock.Clock, new Private())
            )
        )
      }
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("is over wherever an interrupt lands, and parts its time", () =>
    Effect.gen(function* () {
      const hits = yield* Sweep.sweep({
        setup: Effect.gen(function* () {
          const profile = yield* IoProfile.make()
          const gate = yield* Gate.make("g", { limit: 1 })
          return { profile, gate }
        }),
        subject: ({ gate, profile }) => {
          const work = profile.task(gate.run(Effect.andThen(busy(1), Effect.sleep(5)).pipe(Effect.withSpan("s"))), "t")
          return Effect.all([work, profile.task(work, "around")], { concurrency: 2 })
        },
        check: ({ profile }) =>
          Effect.gen(function* () {
            const statistics = yield* profile.statistics
            expect(IoProfile.check(statistics)).toEqual([])
            expect(statistics.tasks).toBe(0)
            expect((profile as unknown as { readonly profiler: { readonly size: number } }).profiler.size).toBe(0)
          })
      })
      expect(hits).toBeGreaterThan(20)
    })
  )
})

describe("beginUnsafe", () => {
  it.effect("measures a region that is there already", () =>
    Effect.gen(function* () {
      const spent: Array<IoProfile.Spent> = []
      const statistics = yield* measured((profile) =>
        Effect.gen(function* () {
          const call = Effect.withFiber((fiber) => {
            now += 5
            const running = profile.beginUnsafe(fiber, "call", "7")
            now += 1
            return Effect.andThen(Wait.on(Effect.sleep(2), "head", "firstByte"), () => {
              spent.push(IoProfile.spent(running.times()))
              now += 4
              spent.push(IoProfile.spent(running.end()), IoProfile.spent(running.end()))
              return busy(8)
            })
          })
          const fiber = yield* Effect.forkChild(Deadline.within(call, "1 minute"))
          yield* pass(0)
          yield* pass(2)
          yield* Fiber.join(fiber)
        })
      )
      const [first, last, again] = spent
      expect(first).toEqual({ runningMillis: 1, waitingMillis: { firstByte: 2 } })
      expect(last).toEqual({ runningMillis: 5, waitingMillis: { firstByte: 2 } })
      expect(again).toEqual(last)
      expect(statistics.slowest[0]).toEqual({ id: "7", name: "call", millis: 7, agoMillis: 8, ...last })
    }).pipe(Leaks.expectNoLeaks())
  )
})

/** What the documented format asks for: https://github.com/jlfwong/speedscope/blob/main/src/lib/file-format-spec.ts */
const isSpeedscope = (file: IoProfile.Speedscope) => {
  const copy = JSON.parse(JSON.stringify(file)) as IoProfile.Speedscope
  expect(copy).toEqual(file)
  expect(copy.$schema).toBe("https://www.speedscope.app/file-format-schema.json")
  for (const frame of copy.shared.frames) expect(Object.keys(frame)).toEqual(["name"])
  for (const profile of copy.profiles) {
    expect(Object.keys(profile).toSorted()).toEqual(
      ["endValue", "name", "samples", "startValue", "type", "unit", "weights"].toSorted()
    )
    expect(profile).toMatchObject({ type: "sampled", unit: "milliseconds", startValue: 0 })
    expect(profile.samples.length).toBe(profile.weights.length)
    for (const frame of profile.samples.flat()) expect(copy.shared.frames[frame]).toBeDefined()
    expect(profile.endValue).toBeCloseTo(
      profile.weights.reduce((sum, weight) => sum + weight, 0),
      9
    )
  }
}

/** Its stacks, as lines. */
const stacks = ({ profiles, shared }: IoProfile.Speedscope) =>
  profiles.flatMap(({ samples, weights }) =>
    samples.map((stack, i) => `${stack.map((frame) => shared.frames[frame]!.name).join(" > ")} ${weights[i]}`)
  )

const withSpans = (profile: IoProfile.IoProfile) =>
  Effect.gen(function* () {
    const parse = busy(2).pipe(Effect.withSpan("parse"))
    const load = Effect.andThen(parse, Effect.sleep(10)).pipe(Effect.withSpan("load"))
    const fiber = yield* Effect.forkChild(profile.task(Effect.andThen(load, busy(1)), "job"))
    yield* pass(0)
    yield* pass(10)
    yield* Fiber.join(fiber)
  })

describe("the tree of spans", () => {
  it.effect("is a flame graph as wide as the time of the tasks", () =>
    Effect.gen(function* () {
      const profile = yield* IoProfile.make({ name: "p" })
      yield* withSpans(profile)
      const file = yield* profile.speedscope
      isSpeedscope(file)
      expect(file.name).toBe("p")
      expect(stacks(file).toSorted()).toEqual([
        "job > (running) 1",
        "job > load > (sleep) 10",
        "job > load > parse > (running) 2"
      ])
      expect(file.profiles[0]!.endValue).toBe((yield* profile.statistics).routes[0]!.millis)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("has nothing of a route without time, and what has run up to now in the span in which it runs", () =>
    Effect.gen(function* () {
      const profile = yield* IoProfile.make()
      const call = Effect.withFiber((fiber) => {
        const running = profile.beginUnsafe(fiber, "call")
        const inSpan = Effect.gen(function* () {
          now += 3
          running.times()
          isSpeedscope(yield* profile.speedscope)
          expect(stacks(yield* profile.speedscope)).toEqual(["call > own > (running) 3"])
        })
        return Effect.ensuring(
          inSpan.pipe(Effect.withSpan("own")),
          Effect.sync(() => running.end())
        )
      })
      yield* Deadline.within(call, "1 minute")
      yield* profile.task(Effect.void, "nothing")
      expect((yield* profile.speedscope).profiles.map(({ name }) => name)).toEqual(["call"])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("is told of a while", () =>
    Effect.gen(function* () {
      const profile = yield* IoProfile.make()
      yield* withSpans(profile)
      const before = yield* profile.speedscope
      yield* profile.task(busy(5), "other")
      yield* profile.task(busy(3), "job")
      const file = IoProfile.differenceOfTrees(yield* profile.speedscope, before)
      isSpeedscope(file)
      expect(stacks(file)).toEqual(["job > (running) 3", "other > (running) 5"])
      const same = yield* profile.speedscope
      expect(IoProfile.differenceOfTrees(same, same).profiles).toEqual([])
    }).pipe(Leaks.expectNoLeaks())
  )
})

describe("statistics", () => {
  it.effect("are by route, those that took most time first, and bounded", () =>
    Effect.gen(function* () {
      const statistics = yield* measured(
        (profile) => Effect.forEach([1, 2, 3, 4, 5], (n) => profile.task(busy(n), `route ${n}`), { discard: true }),
        { maxRoutes: 3, maxSlowest: 2 }
      )
      expect(statistics.routes.map(({ count, millis, name }) => [name, count, millis])).toEqual([
        ["…", 3, 12],
        ["route 2", 1, 2],
        ["route 1", 1, 1]
      ])
      expect(statistics.slowest.map(({ id, millis }) => [id, millis])).toEqual([
        ["5", 5],
        ["4", 4]
      ])
      const [route] = statistics.routes
      expect(route!.p50Millis).toBeGreaterThan(3)
      expect(route!.p50Millis).toBeLessThan(5)
      expect(route!.p99Millis).toBeGreaterThan(4.9)
      expect(route!.p99Millis).toBeLessThan(6)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("forget who was slow five minutes ago", () =>
    Effect.gen(function* () {
      const statistics = yield* measured(
        (profile) =>
          Effect.gen(function* () {
            yield* profile.task(busy(1_000), "old")
            now += 299_999
            expect((yield* profile.statistics).slowest.length).toBe(1)
            now += 1
            expect((yield* profile.statistics).slowest).toEqual([])
            yield* profile.task(busy(1), "new")
          }),
        { maxSlowest: 1 }
      )
      expect(statistics.slowest.map(({ name }) => name)).toEqual(["new"])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("are in the registry, and tell of tasks that go on", () =>
    Effect.gen(function* () {
      const profile = yield* IoProfile.make({ name: "p" })
      const fiber = yield* Effect.forkChild(profile.task(Effect.never, "job"), { startImmediately: true })
      const entry = (yield* Registry.snapshot).find(({ kind }) => kind === "profile")
      expect(entry).toEqual({ kind: "profile", name: "p", statistics: { tasks: 1, routes: [], slowest: [] } })
      yield* Fiber.interrupt(fiber)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("of a while are what has come to those before", () =>
    Effect.gen(function* () {
      const profile = yield* IoProfile.make()
      yield* profile.task(busy(5), "a")
      yield* profile.task(busy(5), "b")
      const before = yield* profile.statistics
      yield* profile.task(busy(2), "b")
      yield* profile.task(busy(3), "c")
      const difference = IoProfile.difference(yield* profile.statistics, before)
      expect(IoProfile.check(difference)).toEqual([])
      expect(difference.routes.map(({ count, millis, name }) => [name, count, millis])).toEqual([
        ["c", 1, 3],
        ["b", 1, 2]
      ])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("are metrics, too", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const profile = yield* Scope.provide(IoProfile.make(), scope)
      yield* profile.task(busy(2_000), "job")
      yield* profile.task(busy(500), "job")
      yield* Scope.close(scope, Exit.void)
      const found = (yield* Metric.snapshot).filter(({ id }) => id === "fairlead_task_seconds")
      expect(found.map(({ attributes, state }) => [attributes, state])).toEqual([
        [
          { route: "job", state: "running" },
          { count: 2.5, incremental: true }
        ]
      ])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()), Leaks.expectNoLeaks())
  )

  it("are wrong where time is missing", () => {
    const route = {
      name: "a",
      count: 1,
      millis: 5,
      runningMillis: 1,
      waitingMillis: { gate: 3 },
      p50Millis: 5,
      p99Millis: 5
    }
    expect(IoProfile.check({ tasks: -1, routes: [route], slowest: [] })).toEqual([
      "expected no less than 0 tasks, got -1",
      "expected the 5 ms of a to be parted in all, got 4 ms"
    ])
  })
})

describe("a profile", () => {
  const own = () => (Object.getPrototypeOf(Effect.runFork(Effect.void)) as { runLoop: () => void }).runLoop

  it.effect("observes fibers while its scope is open, and no longer", () =>
    Effect.gen(function* () {
      const before = own()
      const scope = yield* Scope.make()
      const profile = yield* Scope.provide(IoProfile.make(), scope)
      expect(own()).not.toBe(before)
      const fiber = yield* Effect.forkChild(profile.task(Effect.andThen(Effect.sleep(1), busy(1)), "late"))
      yield* pass(0)
      yield* Scope.close(scope, Exit.void)
      expect(own()).toBe(before)
      yield* pass(1)
      yield* Fiber.join(fiber)
      // What has not ended by then is left out, and what begins later is no task.
      const later = Effect.map(Effect.withFiber(Effect.succeed), Wait.ledgerUnsafe)
      expect(yield* profile.task(later, "later")).toBe(undefined)
      expect((yield* profile.statistics).routes).toEqual([])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("is the program's, by a layer; without one nothing is measured", () =>
    Effect.gen(function* () {
      const work = busy(3).pipe(IoProfile.task("job"))
      yield* work
      const routes = Effect.gen(function* () {
        yield* work
        const profile = yield* IoProfile.Service
        return (yield* profile.statistics).routes.map(({ millis, name }) => [name, millis])
      })
      expect(yield* Effect.provide(routes, Layer.fresh(IoProfile.layer()))).toEqual([["job", 3]])
    }).pipe(Leaks.expectNoLeaks())
  )
})

describe("misuse", () => {
  it.effect.each([
    [{ maxRoutes: 0 }, "Expected maxRoutes to be a whole number from 1 on, got 0"],
    [{ maxSlowest: -1 }, "Expected maxSlowest to be a whole number from 0 on, got -1"],
    [{ maxSpans: 1.5 }, "Expected maxSpans to be a whole number from 0 on, got 1.5"]
  ] as const)("dies of %o", ([options, message]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(IoProfile.make(options))
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toEqual(new RangeError(message))
    })
  )
})
