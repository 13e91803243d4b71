import { describe, expect, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Option, Scope } from "effect"
import type { Tracer } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, Coalesce, Deadline, Gate, Priority, Reason, Refused, Tenant } from "@fairlead/core"
import { defect, endOf, fork, refusal, settle, timers } from "./gates.ts"

/** Runs that a test ends when it likes. */
const stage = () => {
  const begun: Array<string> = []
  const cut: Array<string> = []
  const ends: Array<Deferred.Deferred<string, string>> = []
  const run = (key: string) =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<string, string>()
      begun.push(key)
      ends.push(end)
      return yield* Deferred.await(end)
    }).pipe(
      Effect.onInterrupt(() =>
        Effect.gen(function* () {
          cut.push(`${key}: ${Option.match(yield* CancelScope.reason, { onNone: () => "", onSome: Reason.format })}`)
        })
      )
    )
  return { begun, cut, ends, run }
}

const nothingLeft = (calls: Coalesce.Coalesce<any, any, any>) =>
  Effect.gen(function* () {
    const statistics = yield* calls.statistics
    expect(Coalesce.check(statistics)).toEqual([])
    expect([statistics.runs, statistics.waiting]).toEqual([0, 0])
    expect(yield* timers).toBe(0)
  })

describe("Coalesce", () => {
  it.effect("identical calls share one run, late ones too, and others have one of their own", () =>
    Effect.gen(function* () {
      const { begun, ends, run } = stage()
      const calls = yield* Coalesce.make("users", { run })
      const first = yield* fork(calls.call("a"))
      const other = yield* fork(calls.call("b"))
      yield* TestClock.adjust("1 minute")
      const late = yield* fork(calls.call("a"))
      expect(begun).toEqual(["a", "b"])
      yield* Deferred.succeed(ends[0]!, "A")
      yield* settle
      expect([endOf(first), endOf(late)]).toEqual([Exit.succeed("A"), Exit.succeed("A")])
      yield* Deferred.succeed(ends[1]!, "B")
      expect(yield* Fiber.join(other)).toBe("B")
      // What has ended is shared with nobody.
      const anew = yield* fork(calls.call("a"))
      expect(begun).toEqual(["a", "b", "a"])
      yield* Deferred.succeed(ends[2]!, "A2")
      expect(yield* Fiber.join(anew)).toBe("A2")
      expect(yield* calls.statistics).toMatchObject({ offered: 4, joined: 1, begun: 3, completed: 4 })
      yield* nothingLeft(calls)
    })
  )

  it.effect(
    "one that leaves cuts nobody; the last to leave cuts the run, for his reason, and waits for its clean-up",
    () =>
      Effect.gen(function* () {
        const clean = yield* Deferred.make<void>()
        const end = yield* Deferred.make<string>()
        let runs = 0
        const calls = yield* Coalesce.make("users", {
          run: () =>
            ++runs === 1 ? Effect.onInterrupt(Effect.never, () => Deferred.await(clean)) : Deferred.await(end)
        })
        const [a, b] = [yield* fork(calls.call("x")), yield* fork(calls.call("x"))]
        yield* Fiber.interrupt(a)
        expect(yield* calls.statistics).toMatchObject({ runs: 1, waiting: 1, interrupted: 1 })
        const leaving = yield* fork(Fiber.interrupt(b))
        yield* settle
        // It cleans up, and nobody joins it.
        expect(yield* calls.statistics).toMatchObject({ runs: 1, waiting: 0, interrupted: 2 })
        const anew = yield* fork(calls.call("x"))
        expect(yield* calls.statistics).toMatchObject({ runs: 2, begun: 2, waiting: 1 })
        yield* settle
        expect(leaving.pollUnsafe()).toBeUndefined()
        yield* Deferred.succeed(clean, undefined)
        yield* Fiber.join(leaving)
        // The end of the old run is none of the new one's.
        const joined = yield* fork(calls.call("x"))
        expect(yield* calls.statistics).toMatchObject({ runs: 1, begun: 2, waiting: 2 })
        yield* Deferred.succeed(end, "new")
        expect([yield* Fiber.join(anew), yield* Fiber.join(joined)]).toEqual(["new", "new"])
        yield* nothingLeft(calls)
      })
  )

  it.effect("the run is told the reason of the last to leave", () =>
    Effect.gen(function* () {
      const { cut, run } = stage()
      const calls = yield* Coalesce.make("users", { run })
      const scope = yield* CancelScope.make()
      const left = yield* fork(scope.run(calls.call("x")))
      yield* scope.cancel(new Reason.ClientGone())
      yield* Fiber.join(left)
      yield* Effect.flip(calls.call("y").pipe(Deadline.within(0)))
      const late = yield* fork(Effect.flip(calls.call("z").pipe(Deadline.within("1 second"))))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(late)
      const plain = yield* fork(calls.call("p"))
      yield* Fiber.interrupt(plain)
      expect(cut).toEqual([
        `x: ${Reason.format(new Reason.ClientGone())}`,
        `z: ${Reason.format(new Reason.Deadline())}`,
        "p: Manual: nobody waits for it"
      ])
      yield* nothingLeft(calls)
    })
  )

  it.effect(
    "the first caller's deadline does not end the run of others: it has until the latest of those who wait",
    () =>
      Effect.gen(function* () {
        const remaining: Array<number> = []
        const look = Effect.map(Deadline.remaining, (left) => remaining.push(Duration.toMillis(left)))
        const calls = yield* Coalesce.make("users", {
          run: () => look.pipe(Effect.andThen(Effect.sleep("1 second")), Effect.repeat({ times: 3 }), Effect.as("done"))
        })
        const within = (budget: Duration.Input) => fork(calls.call("x").pipe(Deadline.option(budget)))
        const brief = yield* within("2500 millis")
        const long = yield* within("1 minute")
        yield* TestClock.adjust("1 second")
        const endless = yield* fork(calls.call("x"))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(endless)
        yield* TestClock.adjust("1 second")
        expect(endOf(brief)).toEqual(Exit.succeed(Option.none()))
        yield* Fiber.interrupt(long)
        // Of the first alone; of the later of two; without end; of the one that is left.
        expect(remaining).toEqual([2500, 59_000, Infinity, 57_000])
        yield* nothingLeft(calls)
      })
  )

  it.effect("is as urgent as the most urgent who waits, in a gate's line too, and no more when he has left", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: 1 })
      const calls = yield* Coalesce.make("users", { run: (key: string) => gate.run(Effect.succeed(key)) })
      const holder = yield* fork(gate.run(Effect.never))
      const urgencies = Effect.map(gate.explain, (all) => all.map(({ urgency }) => urgency))
      const at = (urgency: Priority.Urgency) => fork(calls.call("x").pipe(Priority.at(urgency)))
      const patient = yield* at(5)
      expect(yield* urgencies).toEqual([5])
      const urgent = yield* at(1)
      expect(yield* urgencies).toEqual([1])
      yield* Fiber.interrupt(urgent)
      expect(yield* urgencies).toEqual([5])
      yield* Fiber.interrupt(holder)
      expect(yield* Fiber.join(patient)).toBe("x")
      yield* nothingLeft(calls)
    })
  )

  it.effect("has the services, the tenant and the region of its maker, and nothing of the first caller's", () =>
    Effect.gen(function* () {
      const calls = yield* Coalesce.make("users", {
        run: () => Effect.all([Tenant.Tenant, Effect.map(Effect.option(Effect.currentSpan), Option.isSome)])
      }).pipe(Tenant.as("maker"))
      const [tenant, traced] = yield* calls.call("x").pipe(Tenant.as("caller"))
      expect([tenant, traced]).toEqual(["maker", false])
      yield* nothingLeft(calls)
    })
  )

  it.effect("its span is a root, with a link to each caller's", () =>
    Effect.gen(function* () {
      const { ends, run } = stage()
      let seen: Tracer.Span | undefined
      const calls = yield* Coalesce.make("users", {
        run: (key: string) =>
          Effect.andThen(
            Effect.map(Effect.currentSpan, (span) => (seen = span)),
            run(key)
          )
      })
      const one = yield* fork(Effect.withSpan(calls.call("x"), "one"))
      const two = yield* fork(Effect.withSpan(calls.call("x"), "two"))
      const untraced = yield* fork(calls.call("x"))
      expect(Option.isNone(seen!.parent)).toBe(true)
      expect(seen!.name).toBe("run users")
      expect(seen!.links.map(({ span }) => (span as Tracer.Span).name)).toEqual(["one", "two"])
      yield* Deferred.succeed(ends[0]!, "done")
      yield* Effect.forEach([one, two, untraced], Fiber.join)
      expect(seen!.status._tag).toBe("Ended")
      yield* nothingLeft(calls)
    })
  )

  it.effect("says what it waits for: what the run does, or the run", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("api", { limit: 1 })
      yield* gate.hold()
      const calls = yield* Coalesce.make("users", {
        run: (key: string) => (key === "gate" ? gate.run(Effect.void) : Effect.never)
      })
      for (const [key, what] of [
        ["gate", "gate api"],
        ["never", "run users"]
      ] as const) {
        const fiber = yield* fork(Effect.flip(calls.call(key).pipe(Deadline.within("1 second"))))
        yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(fiber)
        expect(error._tag === "DeadlineExceeded" && error.waitingFor).toEqual(Option.some(what))
      }
      yield* nothingLeft(calls)
    })
  )

  it.effect("who cannot be interrupted waits no longer than his deadline; the run goes on for the others", () =>
    Effect.gen(function* () {
      const { cut, ends, run } = stage()
      const calls = yield* Coalesce.make("users", { run })
      const stubborn = yield* fork(
        Effect.exit(Effect.uninterruptible(calls.call("x"))).pipe(Deadline.option("1 second"))
      )
      const other = yield* fork(calls.call("x"))
      yield* TestClock.adjust("1 second")
      expect(endOf(stubborn)).toEqual(Exit.succeed(Option.none()))
      yield* Deferred.succeed(ends[0]!, "done")
      expect(yield* Fiber.join(other)).toBe("done")
      const alone = yield* fork(Effect.exit(Effect.uninterruptible(calls.call("y"))).pipe(Deadline.option("1 second")))
      yield* TestClock.adjust("1 second")
      expect(endOf(alone)).toEqual(Exit.succeed(Option.none()))
      expect(cut).toEqual([`y: ${Reason.format(new Reason.Deadline())}`])
      yield* nothingLeft(calls)
    })
  )

  it.effect("a run that ends on the spot suspends nobody", () =>
    Effect.gen(function* () {
      const calls = yield* Coalesce.make("users", { run: (key: string) => Effect.succeed(key) })
      expect(Effect.runSync(calls.call("x"))).toBe("x")
      yield* nothingLeft(calls)
    })
  )

  it.effect("compares inputs by their key", () =>
    Effect.gen(function* () {
      const { begun, ends, run } = stage()
      const calls = yield* Coalesce.make("users", {
        run: ({ id }: { readonly id: string }) => run(id),
        key: ({ id }) => id
      })
      const both = yield* fork(Effect.forEach([{ id: "1" }, { id: "1" }], calls.call, { concurrency: "unbounded" }))
      yield* settle
      expect(begun).toEqual(["1"])
      yield* Deferred.succeed(ends[0]!, "one")
      expect(yield* Fiber.join(both)).toEqual(["one", "one"])
      yield* nothingLeft(calls)
    })
  )
})

describe("Coalesce, failures", () => {
  const three = (failures: "shared" | "own") =>
    Effect.gen(function* () {
      const { begun, ends, run } = stage()
      const calls = yield* Coalesce.make("users", { run, failures })
      const fibers = yield* Effect.all([1, 2, 3].map(() => fork(calls.call("x"))))
      return { begun, calls, ends, fibers }
    })

  it.effect("are everybody's", () =>
    Effect.gen(function* () {
      const { begun, calls, ends, fibers } = yield* three("shared")
      yield* Deferred.fail(ends[0]!, "no")
      yield* settle
      expect(fibers.map(endOf)).toEqual([1, 2, 3].map(() => Exit.fail("no")))
      expect(begun.length).toBe(1)
      yield* nothingLeft(calls)
    })
  )

  it.effect("are, where asked for, each of one: the others' run begins again", () =>
    Effect.gen(function* () {
      const { begun, calls, ends, fibers } = yield* three("own")
      yield* Deferred.fail(ends[0]!, "no")
      yield* settle
      expect(fibers.map((fiber) => fiber.pollUnsafe())).toEqual([Exit.fail("no"), undefined, undefined])
      expect(begun.length).toBe(2)
      const joined = yield* fork(calls.call("x"))
      yield* Deferred.succeed(ends[1]!, "yes")
      yield* settle
      expect([...fibers.slice(1), joined].map(endOf)).toEqual([1, 2, 3].map(() => Exit.succeed("yes")))
      expect(yield* calls.statistics).toMatchObject({ begun: 2, completed: 3, failed: 1 })
      yield* nothingLeft(calls)
    })
  )

  it.effect("that come on the spot do not nest, however many wait", () =>
    Effect.gen(function* () {
      const open = yield* Deferred.make<void>()
      let runs = 0
      const calls = yield* Coalesce.make("users", {
        run: () => (runs++ === 0 ? Effect.andThen(Deferred.await(open), Effect.fail("no")) : Effect.fail("no")),
        failures: "own"
      })
      const all = yield* fork(
        Effect.forEach(
          Array.from({ length: 5000 }, () => "x"),
          (key) => Effect.flip(calls.call(key)),
          { concurrency: "unbounded", discard: true }
        )
      )
      yield* settle
      yield* Deferred.succeed(open, undefined)
      yield* Fiber.join(all)
      expect(runs).toBe(5000)
      yield* nothingLeft(calls)
    })
  )

  it.effect("a run that dies, or whose function throws, is a defect of those who wait, and of nobody after them", () =>
    Effect.gen(function* () {
      let calm = false
      const calls = yield* Coalesce.make("users", {
        run: (key: string) => {
          if (calm) return Effect.succeed("calm")
          if (key === "throws") throw new Error("thrown")
          return Effect.andThen(Effect.yieldNow, Effect.die(new Error("died")))
        }
      })
      expect(yield* defect(() => calls.call("throws"))).toBe("Error: thrown")
      expect(yield* defect(() => calls.call("dies"))).toBe("Error: died")
      calm = true
      expect(yield* calls.call("throws")).toBe("calm")
      yield* nothingLeft(calls)
    })
  )
})

describe("Coalesce, what is remembered", () => {
  it.effect("is given without a run until its time is over; failures are not remembered", () =>
    Effect.gen(function* () {
      let runs = 0
      const calls = yield* Coalesce.make("users", {
        run: (key: string) => (++runs === 1 ? Effect.fail("no") : Effect.succeed(`${key} ${runs}`)),
        remember: { for: "1 second" }
      })
      expect(yield* Effect.flip(calls.call("x"))).toBe("no")
      expect(yield* calls.call("x")).toBe("x 2")
      expect(yield* calls.call("x")).toBe("x 2")
      expect(yield* calls.call("y")).toBe("y 3")
      yield* TestClock.adjust("1001 millis")
      expect(yield* calls.call("x")).toBe("x 4")
      expect(yield* calls.statistics).toMatchObject({ offered: 5, begun: 4, remembered: 1, completed: 4, failed: 1 })
      yield* nothingLeft(calls)
    })
  )

  it.effect("is given no more when the scope has closed", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const remember = { for: "1 hour" } as const
      const calls = yield* Coalesce.make("users", { run: Effect.succeed<number>, remember }).pipe(Scope.provide(scope))
      expect(yield* calls.call(1)).toBe(1)
      yield* Scope.close(scope, Exit.void)
      expect(refusal(yield* Effect.exit(calls.call(1))).reason).toEqual(new Refused.ShuttingDown())
      yield* nothingLeft(calls)
    })
  )

  it.effect("is of so many keys at most", () =>
    Effect.gen(function* () {
      const calls = yield* Coalesce.make("users", {
        run: Effect.succeed<number>,
        remember: { for: "1 hour", maxKeys: 2 }
      })
      for (const key of [1, 2, 3, 1]) yield* calls.call(key)
      expect(yield* calls.statistics).toMatchObject({ begun: 4, remembered: 0 })
      yield* nothingLeft(calls)
    })
  )
})

describe("Coalesce, bounds and ends", () => {
  it.effect("refuses more runs and more callers than it may have, and tells which", () =>
    Effect.gen(function* () {
      const { ends, run } = stage()
      const calls = yield* Coalesce.make("users", { run, maxRuns: 2, maxCallers: 3 })
      const fibers = yield* Effect.all(["a", "b", "b"].map((key) => fork(calls.call(key))))
      const reasonOf = (key: string) => Effect.map(Effect.exit(calls.call(key)), (exit) => refusal(exit).reason)
      expect(yield* reasonOf("a")).toEqual(new Refused.QueueFull({ bound: "callers", limit: 3 }))
      yield* Fiber.interrupt(fibers[1]!)
      expect(yield* reasonOf("c")).toEqual(new Refused.QueueFull({ bound: "runs", limit: 2 }))
      for (const end of ends) yield* Deferred.succeed(end, "done")
      yield* Fiber.join(fibers[0]!)
      yield* settle
      yield* nothingLeft(calls)
    })
  )

  it.effect("when its scope closes, what runs is cut and waited for, and whoever comes is refused", () =>
    Effect.gen(function* () {
      const { cut, run } = stage()
      const scope = yield* Scope.make()
      const calls = yield* Coalesce.make("users", { run }).pipe(Scope.provide(scope))
      const caller = yield* fork(Effect.exit(calls.call("x")))
      yield* Scope.close(scope, Exit.void)
      expect(cut).toEqual([`x: ${Reason.format(new Reason.Shutdown())}`])
      const exit = yield* Fiber.join(caller)
      expect(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)).toBe(true)
      expect(refusal(yield* Effect.exit(calls.call("x"))).reason).toEqual(new Refused.ShuttingDown())
      yield* nothingLeft(calls)
    })
  )
})

describe("misuse", () => {
  it.effect("a run that asks for its own key would wait for itself: a defect", () =>
    Effect.gen(function* () {
      const calls: Coalesce.Coalesce<string, string> = yield* Coalesce.make("users", {
        run: (key: string): Effect.Effect<string> => Effect.orDie(calls.call(key))
      })
      expect(yield* defect(() => calls.call("x"))).toBe(
        'Error: Expected run users to ask for another key, got its own: "x"'
      )
      yield* nothingLeft(calls)
    })
  )

  it.effect("bounds below 1 are a defect of the maker", () =>
    Effect.gen(function* () {
      const run = Effect.succeed<number>
      expect(yield* defect(() => Coalesce.make("users", { run, maxRuns: 0 }))).toContain(
        "Expected maxRuns of at least 1, got 0"
      )
      expect(yield* defect(() => Coalesce.make("users", { run, maxCallers: NaN }))).toContain("maxCallers")
    })
  )
})
