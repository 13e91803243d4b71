import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Option, Queue, Result, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Batcher, CancelScope, Deadline, Gate, Refused, Registry, Shutdown, WorkQueue } from "@fairlead/core"
import { fork, reasonOf, settle, timers } from "./gates.ts"

const endOf = <A, E>(fiber: Fiber.Fiber<A, E>) => fiber.pollUnsafe()

/** A shutdown, and the instants at which its phases begin. */
const stage = (budgets?: Shutdown.Budgets) =>
  Effect.gen(function* () {
    const shutdown = yield* Shutdown.make(budgets)
    const began = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
    const phases: Array<string> = []
    yield* Effect.forkScoped(
      Stream.runForEach(shutdown.phases, (phase) =>
        Effect.clockWith((clock) =>
          Effect.map(clock.currentTimeMillis, (now) => void phases.push(`${phase} ${now - began}`))
        )
      ),
      { startImmediately: true }
    )
    return { phases, shutdown }
  })

const nothingLeft = (shutdown: Shutdown.Stops) =>
  Effect.gen(function* () {
    expect(yield* shutdown.statistics).toMatchObject({ phase: "stopped", holding: 0 })
    expect(yield* timers).toBe(0)
  })

const entry = (entry: Partial<Shutdown.Entry>) => expect.objectContaining(entry)

describe("Shutdown", () => {
  it.effect("with nothing to wait for it has stopped at once", () =>
    Effect.gen(function* () {
      const { phases, shutdown } = yield* stage()
      expect(yield* shutdown.isReady).toBe(true)
      const ledger = yield* shutdown.stop
      yield* settle
      expect(ledger).toMatchObject({ clean: true, tookMillis: 0, entries: [] })
      expect(phases.at(0)).toBe("running 0")
      expect(phases.at(-1)).toBe("stopped 0")
      expect(yield* shutdown.isReady).toBe(false)
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("goes through its phases: notice still accepts, then edges close, then what was accepted ends", () =>
    Effect.gen(function* () {
      const { phases, shutdown } = yield* stage({ notice: "2 seconds" })
      const edge = yield* shutdown.edge("http")
      const work = (name: string) => edge.accept(Effect.as(Effect.sleep("3 seconds"), name))
      const before = yield* fork(work("before"))
      yield* TestClock.adjust("1 second")
      const stop = yield* fork(shutdown.stop)
      expect([yield* shutdown.isReady, yield* edge.isOpen]).toEqual([false, true])
      yield* TestClock.adjust("1 second")
      const noticed = yield* fork(work("in the notice"))
      yield* TestClock.adjust("1 second")
      expect([yield* edge.isOpen, endOf(before)]).toEqual([false, Exit.succeed("before")])
      expect(reasonOf(yield* Effect.exit(work("late")))).toEqual(new Refused.ShuttingDown())
      yield* TestClock.adjust("2 seconds")
      const ledger = yield* Fiber.join(stop)
      expect(endOf(noticed)).toEqual(Exit.succeed("in the notice"))
      expect(phases).toEqual([
        "running 0",
        "notice 1000",
        "closing 3000",
        "draining 3000",
        "interrupting 5000",
        "stopped 5000"
      ])
      expect(ledger).toMatchObject({ clean: true, tookMillis: 4000 })
      expect(ledger.entries).toEqual([
        { kind: "edge", name: "http", outcome: "done", count: 2, ageMillis: 3000, waitingFor: null, error: null }
      ])
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("accepted work passes every edge further in to its end, and a batch that it flushes gets through", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage()
      const outer = yield* shutdown.edge("http")
      const inner = yield* shutdown.edge("jobs")
      const queue = yield* WorkQueue.make("jobs", { run: (job: string) => Effect.as(Effect.sleep("1 second"), job) })
      const batches = yield* Batcher.make("rows", {
        run: (rows: ReadonlyArray<string>) => Effect.as(Effect.sleep("1 second"), rows.map(Result.succeed)),
        maxItems: 10,
        linger: "1 second"
      })
      const call = outer.accept(
        Effect.gen(function* () {
          yield* Effect.sleep("1 second")
          // On a fiber of its own, too.
          const job = yield* Effect.forkChild(inner.accept(queue.submit("job")))
          return [yield* batches.submit("row"), yield* Fiber.join(job)]
        })
      )
      const accepted = yield* fork(call)
      const stop = yield* fork(shutdown.stop)
      expect(reasonOf(yield* Effect.exit(inner.accept(queue.submit("late"))))).toEqual(new Refused.ShuttingDown())
      yield* TestClock.adjust("3 seconds")
      expect(endOf(accepted)).toEqual(Exit.succeed(["row", "job"]))
      expect(yield* Fiber.join(stop)).toMatchObject({ clean: true, tookMillis: 3000 })
      yield* nothingLeft(shutdown)
    })
  )

  it.effect(
    "what outlasts the drain is cut, for that reason, and the ledger says what it waited for: it does not fail, and leaves nothing alive",
    () =>
      Effect.gen(function* () {
        const { phases, shutdown } = yield* stage({ drain: "10 seconds", interrupt: "2 seconds" })
        const gate = yield* Gate.make("db", { limit: 1 })
        yield* fork(gate.run(Effect.never))
        const edge = yield* shutdown.edge("http")
        const reasons: Array<unknown> = []
        const waits = edge.accept(gate.run(Effect.void)).pipe(Effect.onInterrupt(() => Effect.void))
        const cleans = shutdown.beacon(
          "mail",
          Effect.onInterrupt(Effect.never, () =>
            Effect.andThen(
              Effect.map(CancelScope.reason, (reason) => reasons.push(Option.getOrNull(reason)?._tag)),
              Effect.sleep("1 second")
            )
          )
        )
        yield* fork(waits)
        yield* TestClock.adjust("5 seconds")
        const mail = yield* fork(cleans)
        const stop = yield* fork(shutdown.stop)
        yield* TestClock.adjust("11 seconds")
        expect(phases).toEqual([
          "running 0",
          "notice 5000",
          "closing 5000",
          "draining 5000",
          "interrupting 15000",
          "stopped 16000"
        ])
        expect(yield* Fiber.join(stop)).toMatchObject({
          clean: false,
          tookMillis: 11_000,
          entries: [
            { kind: "edge", name: "http", outcome: "cut", count: 1, ageMillis: 15_000, waitingFor: "gate db" },
            { kind: "beacon", name: "mail", outcome: "cut", ageMillis: 11_000, waitingFor: null }
          ]
        })
        expect([reasons, Exit.hasInterrupts(endOf(mail)!)]).toEqual([["Shutdown"], true])
        yield* nothingLeft(shutdown)
      })
  )

  it.effect("what cannot be cut is left when its time is up, and named", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage({ drain: "1 second", interrupt: "1 second" })
      const end = yield* Deferred.make<void>()
      const stubborn = yield* fork(shutdown.beacon("stubborn", Effect.uninterruptible(Deferred.await(end))))
      const stop = yield* fork(shutdown.stop)
      yield* TestClock.adjust("2 seconds")
      expect(yield* Fiber.join(stop)).toMatchObject({
        clean: false,
        tookMillis: 2000,
        entries: [{ kind: "beacon", name: "stubborn", outcome: "left", ageMillis: 2000 }]
      })
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.await(stubborn)
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("all phases together take no longer than the total", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage({
        notice: "4 seconds",
        drain: "10 seconds",
        interrupt: "10 seconds",
        total: "6 seconds"
      })
      yield* fork(shutdown.beacon("endless", Effect.uninterruptible(Effect.sleep("1 hour"))))
      const stop = yield* fork(shutdown.stop)
      yield* TestClock.adjust("6 seconds")
      expect(yield* Fiber.join(stop)).toMatchObject({
        tookMillis: 6000,
        entries: [{ name: "endless", outcome: "left" }]
      })
      yield* TestClock.adjust("1 hour")
      yield* nothingLeft(shutdown)
    })
  )

  it.effect(
    "whoever asks again waits for the same end, and nothing runs twice; interrupting one who asked stops nothing",
    () =>
      Effect.gen(function* () {
        const { shutdown } = yield* stage()
        yield* fork(shutdown.beacon("work", Effect.sleep("2 seconds")))
        const first = yield* fork(shutdown.stop)
        yield* TestClock.adjust("1 second")
        const second = yield* fork(shutdown.stop)
        yield* Fiber.interrupt(first)
        yield* TestClock.adjust("1 second")
        expect(yield* Fiber.join(second)).toMatchObject({ tookMillis: 2000, clean: true })
        expect(yield* shutdown.stop).toEqual(yield* Fiber.join(second))
        yield* nothingLeft(shutdown)
      })
  )

  it.effect("work that fails or leaves in the drain is no failure of the shutdown", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage()
      const edge = yield* shutdown.edge("http")
      yield* fork(Effect.ignore(edge.accept(Effect.delay(Effect.fail("404"), "1 second"))))
      const leaves = yield* fork(edge.accept(Effect.never))
      yield* fork(edge.accept(Effect.never).pipe(Deadline.option("2 seconds")))
      const stop = yield* fork(shutdown.stop)
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(leaves)
      yield* TestClock.adjust("1 second")
      const ledger = yield* Fiber.join(stop)
      expect(ledger.clean).toBe(true)
      expect(ledger.entries).toEqual([
        entry({ outcome: "failed", error: "404", count: 1 }),
        entry({ outcome: "done", count: 2 })
      ])
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("beacons and rounds: the round in hand is finished, and no other begins", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage()
      let rounds = 0
      const mail = yield* fork(
        shutdown.untilDrain(
          "mail",
          Effect.andThen(
            Effect.sleep("500 millis"),
            Effect.sync(() => ++rounds)
          )
        )
      )
      yield* TestClock.adjust("1200 millis")
      const stop = yield* fork(shutdown.stop)
      yield* TestClock.adjust("300 millis")
      expect([rounds, endOf(mail)]).toEqual([3, Exit.void])
      expect(yield* Fiber.join(stop)).toMatchObject({ tookMillis: 300, entries: [{ kind: "beacon", name: "mail" }] })
      const failing = yield* stage()
      expect(yield* Effect.exit(failing.shutdown.untilDrain("mail", Effect.fail("no")))).toEqual(Exit.fail("no"))
      yield* nothingLeft(shutdown)
    })
  )
})

describe("hooks", () => {
  it.effect("run in their phase: in parallel, or after another", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage({ notice: "1 second" })
      const ran: Array<string> = []
      const began = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      const step = (name: string, options: Shutdown.HookOptions) =>
        shutdown.hook(
          name,
          options,
          Effect.andThen(
            Effect.sleep("1 second"),
            Effect.clockWith((clock) =>
              Effect.map(clock.currentTimeMillis, (now) => ran.push(`${name} ${now - began}`))
            )
          )
        )
      yield* step("last", { phase: "draining", after: "flush" })
      yield* step("flush", { phase: "draining", after: "pause" })
      yield* step("pause", { phase: "draining" })
      yield* step("beside", { phase: "draining", after: "nobody" })
      yield* step("tell", { phase: "notice" })
      yield* step("shut", { phase: "closing" })
      yield* step("kill", { phase: "interrupting" })
      expect((yield* shutdown.plan).phases.map(({ phase, steps }) => [phase, steps.map(({ name }) => name)])).toEqual([
        ["notice", ["tell"]],
        ["closing", ["shut"]],
        ["draining", ["pause", "flush", "last", "beside"]],
        ["interrupting", ["kill"]]
      ])
      const stop = yield* fork(shutdown.stop)
      yield* TestClock.adjust("10 seconds")
      expect(ran).toEqual([
        "tell 1000",
        "shut 2000",
        "pause 3000",
        "beside 3000",
        "flush 4000",
        "last 5000",
        "kill 6000"
      ])
      const ledger = yield* Fiber.join(stop)
      expect(ledger).toMatchObject({ clean: true, tookMillis: 6000 })
      expect(ledger.entries).toHaveLength(7)
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("one that fails or hangs stops nobody else, and is named", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage({ drain: "5 seconds", interrupt: "1 second" })
      const ran: Array<string> = []
      yield* shutdown.hook("fails", { phase: "closing" }, Effect.fail(new Error("no such thing")))
      yield* shutdown.hook("dies", { phase: "closing" }, Effect.die("defect"))
      yield* shutdown.hook("hangs", { phase: "closing" }, Effect.never)
      yield* shutdown.hook("clings", { phase: "draining" }, Effect.uninterruptible(Effect.sleep("1 hour")))
      yield* shutdown.hook(
        "behind",
        { phase: "closing", after: "hangs" },
        Effect.sync(() => ran.push("behind"))
      )
      yield* shutdown.hook(
        "runs",
        { phase: "draining" },
        Effect.sync(() => ran.push("runs"))
      )
      const stop = yield* fork(shutdown.stop)
      yield* TestClock.adjust("1 second")
      expect(ran).toEqual(["runs"])
      yield* TestClock.adjust("5 seconds")
      const ledger = yield* Fiber.join(stop)
      expect([ledger.clean, ledger.tookMillis]).toEqual([false, 6000])
      expect(ledger.entries).toEqual([
        entry({ name: "fails", outcome: "failed", error: "Error: no such thing" }),
        entry({ name: "dies", outcome: "failed", error: "defect" }),
        entry({ name: "runs", outcome: "done" }),
        entry({ name: "hangs", outcome: "cut", ageMillis: 5000 }),
        entry({ name: "behind", outcome: "done" }),
        entry({ name: "clings", outcome: "left", ageMillis: 5000 })
      ])
      yield* TestClock.adjust("1 hour")
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("one whose scope has closed does not run, and one that comes late does at once", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage()
      const ran: Array<string> = []
      const scope = yield* Scope.make()
      const step = (name: string) =>
        shutdown.hook(
          name,
          { phase: "closing" },
          Effect.sync(() => ran.push(name))
        )
      yield* step("gone").pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      yield* fork(shutdown.beacon("work", Effect.sleep("1 second")))
      const stop = yield* fork(shutdown.stop)
      yield* settle
      yield* step("late")
      yield* TestClock.adjust("1 second")
      expect([ran, (yield* Fiber.join(stop)).entries.map(({ name }) => name)]).toEqual([["late"], ["late", "work"]])
      yield* nothingLeft(shutdown)
    })
  )
})

describe("drain and undrain", () => {
  it.effect("a drain says what is left and cuts nothing; taken back, edges are open again and hooks undone", () =>
    Effect.gen(function* () {
      const { phases, shutdown } = yield* stage({ drain: "5 seconds" })
      const edge = yield* shutdown.edge("http")
      const seen: Array<string> = []
      const say = (text: string) => Effect.sync(() => void seen.push(text))
      yield* shutdown.hook("a", { phase: "closing", undo: say("undo a") }, say("a"))
      yield* shutdown.hook("b", { phase: "closing", after: "a", undo: say("undo b") }, say("b"))
      yield* shutdown.hook("never", { phase: "interrupting", undo: say("undo never") }, say("never"))
      const long = yield* fork(edge.accept(Effect.sleep("8 seconds")))
      const drain = yield* fork(shutdown.drain)
      yield* TestClock.adjust("5 seconds")
      expect((yield* Fiber.join(drain)).entries).toContainEqual(
        entry({ name: "http", outcome: "left", ageMillis: 5000 })
      )
      expect([yield* edge.isOpen, yield* shutdown.isReady]).toEqual([false, false])
      yield* shutdown.undrain
      expect([yield* edge.isOpen, yield* shutdown.isReady, endOf(long)]).toEqual([true, true, undefined])
      yield* TestClock.adjust("3 seconds")
      expect(endOf(long)).toEqual(Exit.void)
      yield* shutdown.undrain
      const ledger = yield* shutdown.stop
      expect(seen).toEqual(["a", "b", "undo b", "undo a", "a", "b", "never"])
      expect([ledger.clean, ledger.tookMillis]).toEqual([true, 0])
      yield* settle
      expect(phases.filter((phase) => phase.startsWith("r"))).toEqual(["running 0", "running 5000"])
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("who waits for a drain that is taken back has an answer; a stop goes on from where the drain is", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage({ drain: "5 seconds", interrupt: "1 second" })
      yield* fork(shutdown.beacon("work", Effect.never))
      const drain = yield* fork(shutdown.drain)
      yield* TestClock.adjust("1 second")
      yield* shutdown.undrain
      yield* settle
      expect(endOf(drain)).toBeDefined()
      const again = yield* fork(shutdown.drain)
      yield* TestClock.adjust("3 seconds")
      const stop = yield* fork(shutdown.stop)
      yield* shutdown.undrain
      yield* TestClock.adjust("2 seconds")
      expect((yield* Fiber.join(again)).entries).toEqual([entry({ name: "work", outcome: "left" })])
      expect(yield* Fiber.join(stop)).toMatchObject({
        tookMillis: 5000,
        entries: [{ name: "work", outcome: "cut", ageMillis: 6000 }]
      })
      yield* nothingLeft(shutdown)
    })
  )
})

describe("for people", () => {
  it.effect("the plan, before it runs, and the ledger", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage({ drain: "5 seconds", interrupt: "1 second" })
      yield* shutdown.edge("http")
      yield* shutdown.hook("flush", { phase: "draining" }, Effect.void)
      yield* shutdown.hook("tell", { phase: "draining", after: "flush" }, Effect.fail("nobody there"))
      expect(Shutdown.formatPlan(yield* shutdown.plan).split("\n")).toEqual([
        "notice           0ms",
        "closing           1s  edge http",
        "draining          5s  flush, tell (after flush)",
        "interrupting      1s",
        "in all           30s"
      ])
      const gate = yield* Gate.make("db", { limit: 1 })
      yield* fork(gate.run(Effect.never))
      yield* Effect.forEach([1, 2], () => fork(shutdown.beacon("mail", gate.run(Effect.void))))
      const stop = yield* fork(shutdown.stop)
      yield* TestClock.adjust("5 seconds")
      expect(Shutdown.formatLedger(yield* Fiber.join(stop)).split("\n")).toEqual([
        "stopped in 5s, not clean",
        "  cut     beacon mail × 2, the oldest 5s old, waiting for gate db",
        "  failed  hook tell 0ms old: nobody there",
        "  done    hook flush 0ms old"
      ])
      expect(Shutdown.formatLedger(yield* (yield* stage()).shutdown.drain)).toBe("drained in 0ms")
    })
  )
})

describe("a stream that ends at the drain", () => {
  const collect = <A, E>(stream: Stream.Stream<A, E>) =>
    Effect.gen(function* () {
      const got: Array<A> = []
      const fiber = yield* fork(Stream.runForEach(stream, (each) => Effect.sync(() => void got.push(each))))
      return { fiber, got }
    })

  it.effect("is left alone in the notice, ends when edges close, and does not begin after that", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage({ notice: "5 seconds" })
      const reasons: Array<unknown> = []
      const why = Effect.map(CancelScope.reason, (reason) => reasons.push(Option.getOrNull(reason)?._tag))
      const ticks = Stream.fromEffectRepeat(
        Effect.onInterrupt(Effect.delay(Effect.succeed("tick"), "2 seconds"), () => why)
      )
      const { fiber, got } = yield* collect(
        Stream.provideService(Shutdown.endAtDrain(ticks), Shutdown.Shutdown, shutdown)
      )
      yield* TestClock.adjust("3 seconds")
      const stop = yield* fork(shutdown.stop)
      yield* TestClock.adjust("4 seconds")
      expect([got.length, endOf(fiber)]).toEqual([3, undefined])
      yield* TestClock.adjust("1 second")
      expect([got.length, endOf(fiber), reasons]).toEqual([3, Exit.void, ["Shutdown"]])
      expect(yield* Fiber.join(stop)).toMatchObject({ clean: true, entries: [] })
      const late = yield* collect(shutdown.endAtDrain(Stream.make(1)))
      expect([late.got, endOf(late.fiber)]).toEqual([[], Exit.void])
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("gives what it had pulled when it was told to end, and takes no more", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage()
      const queue = yield* Queue.make<number>()
      const { fiber, got } = yield* collect(shutdown.endAtDrain(Stream.fromQueue(queue)))
      // In the very step in which edges close.
      const last = Effect.sync(() => {
        Queue.offerUnsafe(queue, 1)
        Queue.offerUnsafe(queue, 2)
      })
      yield* shutdown.hook("last", { phase: "closing" }, last)
      yield* shutdown.stop
      yield* settle
      expect(endOf(fiber)).toEqual(Exit.void)
      expect([...got, ...(yield* Queue.clear(queue))]).toEqual([1, 2])
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("fails as it would have, and tells what goes wrong while it is interrupted", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage()
      const failing = yield* collect(shutdown.endAtDrain(Stream.concat(Stream.make(1), Stream.fail("no"))))
      expect([failing.got, endOf(failing.fiber)]).toEqual([[1], Exit.fail("no")])
      const own = yield* collect(shutdown.endAtDrain(Stream.fromEffect(Effect.interrupt)))
      expect(Exit.hasInterrupts(endOf(own.fiber)!)).toBe(true)
      const defect = yield* collect(
        shutdown.endAtDrain(Stream.fromEffect(Effect.onInterrupt(Effect.never, () => Effect.die("bug"))))
      )
      yield* shutdown.stop
      yield* settle
      expect(endOf(defect.fiber)).toEqual(Exit.die("bug"))
      yield* nothingLeft(shutdown)
    })
  )

  it.effect("goes on with its source's own fibers and resources until it ends, and leaves none of them", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage()
      const opened: Array<string> = []
      const source = (name: string) =>
        Stream.unwrap(
          Effect.as(
            Effect.acquireRelease(
              Effect.sync(() => opened.push(name)),
              () => Effect.sync(() => void opened.splice(opened.indexOf(name), 1))
            ),
            Stream.merge(Stream.tick("1 second"), Stream.never)
          )
        )
      const readers = yield* Effect.forEach(["a", "b"], (name) => collect(source(name).pipe(shutdown.endAtDrain)))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.interrupt(readers[0]!.fiber)
      expect(opened).toEqual(["b"])
      yield* shutdown.stop
      yield* settle
      expect([opened, endOf(readers[1]!.fiber), readers[1]!.got.length]).toEqual([[], Exit.void, 3])
      yield* nothingLeft(shutdown)
    })
  )
})

describe("misuse", () => {
  it.effect("a circle of hooks", () =>
    Effect.gen(function* () {
      const { shutdown } = yield* stage()
      const step = (name: string, after: string) => shutdown.hook(name, { phase: "draining", after }, Effect.void)
      yield* step("a", "b")
      yield* step("b", "c")
      const exit = yield* Effect.exit(step("c", "a"))
      expect(Exit.isFailure(exit) && Cause.squash(exit.cause)).toEqual(
        new Error("Expected no circle of hooks, got c after a after b after c")
      )
      yield* shutdown.stop
    })
  )

  it.effect("it stands in the registry, and in the context by its layer", () =>
    Effect.gen(function* () {
      const registry = Registry.make()
      const held = yield* Effect.gen(function* () {
        const edge = yield* Shutdown.edge("http")
        yield* Shutdown.hook("flush", { phase: "draining" }, Effect.void)
        yield* Effect.scoped(
          Shutdown.untilDrain(
            Effect.flatMap(Shutdown.Shutdown, ({ drain }) => Effect.forkDetach(drain)),
            "once"
          )
        )
        return yield* edge.accept(Effect.succeed(1)).pipe(
          Shutdown.beacon("held"),
          Effect.flip,
          Effect.map((reason) => reason.reason._tag)
        )
      }).pipe(
        Effect.scoped,
        Effect.provide(Shutdown.layer({ drain: "1 second" })),
        Effect.provideService(Registry.Registry, registry)
      )
      expect(held).toBe("ShuttingDown")
      expect(registry.snapshot()).toEqual([])
    })
  )
})
