import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Cause, Clock, Context, Data, Deferred, Duration, Effect, Exit, Fiber, Latch, Option, Schedule } from "effect"
import type { Stream } from "effect"
import { TestClock } from "effect/testing"
import { CancelScope, Deadline, Gate, Join, Nursery, Priority, Reason, Refused, Registry } from "@fairlead/core"
import { Simulation } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"

class Boom extends Data.TaggedError("Boom")<{ readonly text: string }> {}
const boom = (text: string) => new Boom({ text })

const nothingLeft = Effect.gen(function* () {
  expect(timer.of(yield* Clock.Clock).size).toBe(0)
  expect(yield* Registry.tree).toEqual([])
})

const collectGarbage = (): void => {
  setFlagsFromString("--expose-gc")
  runInNewContext("gc")()
  setFlagsFromString("--no-expose-gc")
}

/** Sleeps, and notes how it ended, and why. */
const worker = (seen: Array<string>, name: string, length: Duration.Input) =>
  Effect.sleep(length).pipe(
    Effect.as(name),
    Effect.onInterrupt(() =>
      Effect.map(CancelScope.reason, (reason) =>
        seen.push(`${name} cut: ${Option.match(reason, { onNone: () => "no reason", onSome: Reason.format })}`)
      )
    ),
    Effect.tap(() => Effect.sync(() => seen.push(`${name} done`)))
  )

/** Which child failed with what. */
const failures = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit)
    ? []
    : Nursery.failures(exit.cause).map(({ child, failure }) => [
        child,
        failure._tag === "Fail" ? (failure.error as Boom).text : failure.defect
      ])

describe("Nursery.run", () => {
  it.effect("gives the body's value, on the spot where nothing waits", () =>
    Effect.gen(function* () {
      const value = yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          const a = yield* nursery.spawn(Effect.succeed(1))
          const b = yield* nursery.spawn(Effect.succeed(2), "b")
          expect([a.name, b.name]).toEqual(["child 1", "b"])
          return (yield* a.join) + (yield* b.join)
        })
      )
      expect(value).toBe(3)
      yield* nothingLeft
    })
  )

  it.effect("ends only when every child has ended, those of children too", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            yield* nursery.spawn(
              Effect.andThen(
                Effect.sleep("1 second"),
                nursery.spawn(worker(seen, "grandchild", "2 seconds"), "grandchild")
              ),
              "child"
            )
            return "body"
          })
        )
      )
      yield* TestClock.adjust("2999 millis")
      expect([fiber.pollUnsafe(), seen]).toEqual([undefined, []])
      yield* TestClock.adjust("1 millis")
      expect(yield* Fiber.join(fiber)).toBe("body")
      expect(seen).toEqual(["grandchild done"])
      yield* nothingLeft
    })
  )

  it.effect("waits for what a child forked", () =>
    Effect.gen(function* () {
      let cleaned = false
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          nursery.spawn(
            Effect.forkChild(
              Effect.onInterrupt(Effect.never, () =>
                Effect.andThen(
                  Effect.andThen(Effect.yieldNow, Effect.sleep("1 second")),
                  Effect.sync(() => (cleaned = true))
                )
              ),
              { startImmediately: true }
            )
          )
        )
      )
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(cleaned).toBe(true)
    })
  )

  it.effect("a failing child cuts its siblings and the body, and is the block's failure", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Effect.exit(
          Nursery.run((nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(worker(seen, "a", "10 seconds"), "a")
              yield* nursery.spawn(Effect.andThen(Effect.sleep("1 second"), Effect.fail(boom("no"))), "bad")
              yield* worker(seen, "body", "10 seconds")
            })
          )
        )
      )
      yield* TestClock.adjust("1 second")
      const exit = yield* Fiber.join(fiber)
      expect(failures(exit)).toEqual([["bad", "no"]])
      expect(seen).toEqual(["body cut: SiblingFailed: bad", "a cut: SiblingFailed: bad"])
      yield* nothingLeft
    })
  )

  it.effect("a failing child's error is caught by its tag around the block", () =>
    Effect.gen(function* () {
      const text = yield* Nursery.run((nursery) => nursery.spawn(Effect.fail(boom("typed")))).pipe(
        Effect.as("none"),
        Effect.catchTag("Boom", ({ text }) => Effect.succeed(text))
      )
      expect(text).toBe("typed")
    })
  )

  it.effect("a failing body cuts the children, and waits for them", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const exit = yield* Effect.exit(
        Nursery.run((nursery) =>
          Effect.andThen(nursery.spawn(worker(seen, "a", "1 second")), Effect.fail(boom("body")))
        )
      )
      expect(failures(exit)).toEqual([[undefined, "body"]])
      expect(seen).toEqual(["a cut: SiblingFailed: body"])
      yield* nothingLeft
    })
  )

  it.effect("a defect in a child is no less a failure", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Nursery.run((nursery) => nursery.spawn(Effect.die("bug"), "buggy")))
      expect(failures(exit)).toEqual([["buggy", "bug"]])
    })
  )

  it.effect(
    "no failure is lost: what fails in the clean-up of the others stands beside, each under its child's name",
    () =>
      Effect.gen(function* () {
        const fragile = (text: string) => Effect.onInterrupt(Effect.never, () => Effect.die(text))
        const exit = yield* Effect.exit(
          Nursery.run((nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(fragile("clean-up of a"), "a")
              yield* nursery.spawn(
                Nursery.run((inner) => inner.spawn(fragile("clean-up of page"), "page")),
                "b"
              )
              yield* nursery.spawn(Effect.fail(boom("first")), "bad")
              yield* Effect.never
            })
          )
        )
        expect(failures(exit)).toEqual([
          ["bad", "first"],
          ["b/page", "clean-up of page"],
          ["a", "clean-up of a"]
        ])
        expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("at child page\n    at child b")
        yield* nothingLeft
      })
  )

  it.effect("a finalizer that hangs does not stop the others, and the tree tells which it is", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const latch = yield* Latch.make()
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(worker(seen, "a", "1 second"), "a")
              yield* nursery.spawn(
                Effect.onInterrupt(Effect.never, () => latch.await),
                "hangs"
              )
              yield* nursery.spawn(worker(seen, "b", "1 second"), "b")
              yield* Effect.fail(boom("no"))
            }),
          { name: "block" }
        )
      )
      yield* Effect.yieldNow
      expect(seen).toEqual(["b cut: SiblingFailed: body", "a cut: SiblingFailed: body"])
      expect(yield* Registry.tree).toMatchObject([
        {
          name: "block",
          state: "ending",
          children: [{ name: "hangs", state: "ending", reason: "SiblingFailed: body" }]
        }
      ])
      yield* latch.open
      expect(failures(yield* Fiber.await(fiber))).toEqual([[undefined, "no"]])
      yield* nothingLeft
    })
  )

  it.effect("what is spawned while it is being cut never begins", () =>
    Effect.gen(function* () {
      let began = false
      const exit = yield* Effect.exit(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            yield* nursery.spawn(Effect.andThen(TestClock.adjust("1 second"), Effect.fail(boom("no"))))
            yield* Effect.onInterrupt(Effect.never, () => nursery.spawn(Effect.sync(() => (began = true))))
          })
        )
      )
      expect([failures(exit), began]).toEqual([[["child 1", "no"]], false])
      yield* nothingLeft
    })
  )

  it.effect("what has ended is gone from the tree, and what begins after it is there", () =>
    Effect.gen(function* () {
      const inner = Nursery.run((nursery) => nursery.spawn(Effect.sleep("1 second")), { name: "inner" })
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            yield* nursery.spawn(Effect.andThen(inner, Effect.sleep("2 seconds")), "a")
            yield* Effect.sleep("5 seconds")
            yield* nursery.spawn(Effect.sleep("1 second"), "b")
          })
        )
      )
      const children = Effect.map(Registry.tree, ([{ children } = { children: [] }]) =>
        children.map(({ children, name }) => [name, ...children.map(({ name }) => name)])
      )
      yield* TestClock.adjust("500 millis")
      expect(yield* children).toEqual([["a", "inner"]])
      yield* TestClock.adjust("1 second")
      expect(yield* children).toEqual([["a"]])
      yield* TestClock.adjust("2 seconds")
      expect(yield* children).toEqual([])
      yield* TestClock.adjust("2 seconds")
      expect(yield* children).toEqual([["b"]])
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      yield* nothingLeft
    })
  )

  it.effect("interrupting the block interrupts all of it and waits", () =>
    Effect.gen(function* () {
      let cleaned = 0
      const slow = Effect.onInterrupt(Effect.never, () =>
        Effect.andThen(
          Effect.sleep("1 second"),
          Effect.sync(() => cleaned++)
        )
      )
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) => Effect.andThen(Effect.andThen(nursery.spawn(slow), nursery.spawn(slow)), slow))
      )
      yield* TestClock.adjust("1 millis")
      const interrupt = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust("999 millis")
      expect([cleaned, interrupt.pollUnsafe()]).toEqual([0, undefined])
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(interrupt)
      expect(cleaned).toBe(3)
      yield* nothingLeft
    })
  )

  it.effect("what fails in the clean-up of an interrupted block is not lost", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          nursery.spawn(
            Effect.onInterrupt(Effect.never, () => Effect.die("clean-up")),
            "a"
          )
        )
      )
      yield* Effect.yieldNow
      yield* Fiber.interrupt(fiber)
      const exit = fiber.pollUnsafe()!
      expect(Exit.hasInterrupts(exit)).toBe(true)
      expect(failures(exit)).toEqual([["a", "clean-up"]])
    })
  )

  it.effect("a deadline around it says which child it was waiting for, and for what", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("github", { limit: 1 })
      yield* gate.hold()
      const waitingFor = (effect: Effect.Effect<void, Refused.Refused>) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(
            Nursery.run((nursery) => nursery.spawn(effect, "orders")).pipe(
              Deadline.within("1 second"),
              Effect.catchTag("DeadlineExceeded", (error) => Effect.succeed(error.waitingFor))
            )
          )
          yield* TestClock.adjust("1 second")
          return yield* Fiber.join(fiber)
        })
      expect(yield* waitingFor(Effect.never)).toEqual(Option.some("child orders"))
      expect(yield* waitingFor(gate.run(Effect.void))).toEqual(Option.some("gate github"))
      yield* nothingLeft
    })
  )

  it.effect("a deadline around a spawner says that it waits for a place, and not once it has had it", () =>
    Effect.gen(function* () {
      const waitingFor = (after: Effect.Effect<void>) =>
        Effect.gen(function* () {
          const first = yield* Deferred.make<void>()
          const fiber = yield* Effect.forkChild(
            Nursery.run(
              (nursery) =>
                Effect.gen(function* () {
                  yield* nursery.spawn(Deferred.await(first))
                  const spawner = nursery.spawn(Effect.void).pipe(Effect.andThen(Effect.never))
                  return yield* Effect.flip(Deadline.within(spawner, "1 second"))
                }),
              { name: "full", maxRunning: 1 }
            )
          )
          yield* after.pipe(
            Effect.andThen(() => Deferred.succeed(first, undefined)),
            Effect.forkChild
          )
          yield* TestClock.adjust("1 second")
          yield* Deferred.succeed(first, undefined)
          const error = yield* Fiber.join(fiber)
          return error._tag === "DeadlineExceeded" ? error.waitingFor : error
        })
      expect(yield* waitingFor(Effect.never)).toEqual(Option.some("a place in full"))
      expect(yield* waitingFor(Effect.void)).toEqual(Option.none())
      yield* nothingLeft
    })
  )

  it.effect("children inherit the spawner's context and the block's deadline", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const urgency = yield* nursery.spawn(Priority.Priority).pipe(Priority.at(1))
            // The child is the nursery's: what its spawner had less time for is not its affair.
            const left = yield* Deadline.within(nursery.spawn(Deadline.remaining), "1 second")
            return [yield* urgency.join, Duration.toMillis(yield* left.join)]
          })
        ).pipe(Deadline.within("5 seconds"))
      )
      expect(yield* Fiber.join(fiber)).toEqual([1, 5000])
      yield* nothingLeft
    })
  )
})

describe("a nursery in the clean-up of what was cut", () => {
  it.effect("does its work: its children begin, and are waited for", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* TestClock.adjust(0)
      const fiber = yield* Effect.forkChild(
        CancelScope.run((scope) =>
          Effect.andThen(scope.cancel(), Effect.never).pipe(
            Effect.onInterrupt(() => Nursery.all([worker(seen, "a", "1 second"), worker(seen, "b", "2 seconds")]))
          )
        )
      )
      yield* TestClock.adjust(0)
      yield* TestClock.adjust("2 seconds")
      expect((yield* Fiber.join(fiber))._tag).toBe("Cancelled")
      expect(seen).toEqual(["a done", "b done"])
      yield* nothingLeft
    })
  )
})

describe("a child", () => {
  it.effect("that is spawned by a pipe is one all the same", () =>
    Effect.gen(function* () {
      const child = yield* Nursery.run((nursery) => Effect.succeed(1).pipe(nursery.spawn))
      expect(yield* child.join).toBe(1)
    })
  )

  it.effect("whose first step fails an earlier one is waited for", () =>
    Effect.gen(function* () {
      let cleaned = false
      yield* TestClock.adjust(0)
      const fiber = yield* Effect.forkChild(
        Effect.gen(function* () {
          const failed = yield* Deferred.make<void, Boom>()
          const second = Effect.onExit(
            Effect.andThen(Deferred.fail(failed, boom("first")), Effect.sleep("1 hour")),
            () =>
              Effect.andThen(
                Effect.sleep("1 second"),
                Effect.sync(() => (cleaned = true))
              )
          )
          return yield* Effect.exit(Nursery.all([Deferred.await(failed), second]))
        })
      )
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      expect(failures(yield* Fiber.join(fiber))).toEqual([["child 1", "first"]])
      expect(cleaned).toBe(true)
    })
  )

  it.effect("whose joiner waits gives its value, or its end", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const child = yield* nursery.spawn(Effect.as(Effect.sleep("1 second"), 7))
            return [yield* child.join, yield* child.await, yield* child.join]
          })
        )
      )
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(fiber)).toEqual([7, Exit.succeed(7), 7])
    })
  )

  it.effect("that failed interrupts its joiner, and nothing hangs, though the joiner stands outside", () =>
    Effect.gen(function* () {
      const handle = yield* Deferred.make<Nursery.Child<never, Boom>>()
      const outside = yield* Effect.forkChild(Effect.flatMap(Deferred.await(handle), (child) => child.join))
      const block = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.flatMap(nursery.spawn(Effect.andThen(Effect.sleep("1 second"), Effect.fail(boom("no")))), (child) =>
            Deferred.succeed(handle, child)
          )
        )
      )
      yield* TestClock.adjust("1 second")
      expect(failures(yield* Fiber.await(block))).toEqual([["child 1", "no"]])
      expect(Exit.hasInterrupts(yield* Fiber.await(outside))).toBe(true)
    })
  )

  it.effect("that is cut tells every one of those who join it, from outside too", () =>
    Effect.gen(function* () {
      const child = yield* Deferred.make<Nursery.Child<never>>()
      const join = Effect.flatMap(Deferred.await(child), ({ join }) => join)
      const joiners = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(join, { startImmediately: true }))
      yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          const cut = yield* nursery.spawn(Effect.never)
          yield* Deferred.succeed(child, cut)
          yield* Effect.yieldNow
          yield* cut.cancel("not wanted")
        })
      )
      yield* Effect.yieldNow
      expect(joiners.map((joiner) => Exit.hasInterrupts(joiner.pollUnsafe() ?? Exit.void))).toEqual([true, true, true])
      yield* nothingLeft
    })
  )

  it.effect("can be cut alone, which is no failure", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const value = yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          const child = yield* nursery.spawn(worker(seen, "a", "1 hour"), "a")
          yield* child.cancel("not wanted")
          yield* child.cancel("again")
          return Exit.hasInterrupts(yield* child.await)
        })
      )
      expect([value, seen]).toEqual([true, ["a cut: Manual: not wanted"]])
      yield* nothingLeft
    })
  )

  it.effect("can cut itself", () =>
    Effect.gen(function* () {
      let went = false
      const exit = yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          const self = yield* Deferred.make<Nursery.Child<void>>()
          const child = yield* nursery.spawn(
            Effect.flatMap(Deferred.await(self), (child) =>
              Effect.andThen(
                child.cancel(),
                Effect.sync(() => void (went = true))
              )
            )
          )
          yield* Deferred.succeed(self, child)
          return yield* child.await
        })
      )
      expect([Exit.hasInterrupts(exit), went]).toEqual([true, false])
    })
  )
})

describe("a cut from inside", () => {
  it.effect("does not wait for itself, though nothing can interrupt it there", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          const child: Nursery.Child<void> = yield* nursery.spawn(
            Effect.suspend(() =>
              Effect.andThen(Effect.sleep("1 second"), Effect.uninterruptible(Effect.suspend(() => child.cancel())))
            ).pipe(Effect.ensuring(Effect.sync(() => seen.push("alone"))))
          )
          yield* TestClock.adjust("1 second")
          yield* child.await
          yield* nursery.spawn(
            Effect.uninterruptible(nursery.cancel()).pipe(Effect.ensuring(Effect.sync(() => seen.push("all"))))
          )
        })
      )
      expect(seen).toEqual(["alone", "all"])
      yield* nothingLeft
    })
  )
})

describe("nursery.cancel", () => {
  it.effect("cuts the children and waits for them; the body goes on and gives its value", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            yield* nursery.spawn(worker(seen, "a", "1 hour"))
            yield* nursery.spawn(Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second")))
            yield* TestClock.adjust("1 millis")
            yield* nursery.cancel("enough")
            const late = yield* nursery.spawn(Effect.sync(() => seen.push("late began")))
            return [(yield* late.await)._tag, seen.length]
          })
        )
      )
      yield* TestClock.adjust("500 millis")
      expect(fiber.pollUnsafe()).toBe(undefined)
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(fiber)).toEqual(["Failure", 1])
      expect(seen).toEqual(["a cut: Manual: enough"])
      yield* nothingLeft
    })
  )

  it.effect("from within a child cuts that child too, and does not wait for itself", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const value = yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          yield* nursery.spawn(worker(seen, "a", "1 hour"))
          yield* nursery.spawn(
            Effect.andThen(
              nursery.cancel(),
              Effect.sync(() => seen.push("went on"))
            )
          )
          return "body"
        })
      )
      expect([value, seen]).toEqual(["body", ["a cut: Manual: cancelled"]])
      yield* nothingLeft
    })
  )
})

describe("nursery.start", () => {
  it.effect("gives what the child says when it is ready, and the child goes on", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const port = yield* nursery.start(
              (ready: (port: number) => Effect.Effect<void>) =>
                Effect.sleep("1 second").pipe(
                  Effect.andThen(ready(8080)),
                  Effect.andThen(worker(seen, "server", "1 hour"))
                ),
              "server"
            )
            seen.push(`port ${port}`)
          })
        )
      )
      yield* Effect.yieldNow
      expect(yield* Registry.tree).toMatchObject([{ state: "open", children: [{ name: "server", state: "starting" }] }])
      yield* TestClock.adjust("1 second")
      expect(seen).toEqual(["port 8080"])
      expect(yield* Registry.tree).toMatchObject([
        { state: "joining", children: [{ name: "server", state: "running" }] }
      ])
      yield* TestClock.adjust("1 hour")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["port 8080", "server done"])
      yield* nothingLeft
    })
  )

  it.effect("fails the caller, and nobody else, with what fails before", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const value = yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          yield* nursery.spawn(worker(seen, "sibling", "1 second"))
          const error = yield* Effect.flip(nursery.start(() => Effect.fail(boom("port in use"))))
          const late = yield* Effect.flip(
            nursery.start(() => Effect.andThen(Effect.yieldNow, Effect.fail(boom("late"))))
          )
          yield* nursery.cancel()
          return [error.text, late.text]
        })
      )
      expect(value).toEqual(["port in use", "late"])
      expect(seen).toEqual(["sibling cut: Manual: cancelled"])
    })
  )

  it.effect("what fails after it is ready fails the block", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Nursery.run((nursery) =>
          nursery.start(
            (ready: (value: number) => Effect.Effect<void>) => Effect.andThen(ready(1), Effect.fail(boom("later"))),
            "server"
          )
        )
      )
      expect(failures(exit)).toEqual([["server", "later"]])
    })
  )

  it.effect("what fails while its starter is being interrupted fails the block: nobody else would hear of it", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const starter = yield* Effect.forkChild(
              Effect.withFiber((self) =>
                nursery.start(() =>
                  Effect.suspend(() => {
                    self.interruptUnsafe()
                    return Effect.fail(boom("unheard"))
                  })
                )
              )
            )
            yield* Fiber.await(starter)
          })
        )
      )
      expect(failures(exit)).toEqual([["child 1", "unheard"]])
      yield* nothingLeft
    })
  )

  it.effect("interrupting the caller before it is ready cuts the child and waits for it; after, the child stays", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const block = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const before = yield* Effect.forkChild(nursery.start(() => worker(seen, "slow", "1 hour")))
            yield* Effect.yieldNow
            yield* Fiber.interrupt(before)
            seen.push("interrupted")
            const after = yield* Effect.forkChild(
              nursery.start((ready: (value: number) => Effect.Effect<void>) =>
                Effect.andThen(ready(1), worker(seen, "stays", "1 second"))
              )
            )
            yield* Fiber.join(after)
          })
        )
      )
      yield* Effect.yieldNow
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(block)
      expect(seen).toEqual(["slow cut: no reason", "interrupted", "stays done"])
      yield* nothingLeft
    })
  )
})

describe("Registry.tree", () => {
  it.effect("says what children wait for, each other included, in whole milliseconds, and encodes to JSON", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1500 micros")
      const young: Array<unknown> = []
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              const a = yield* nursery.spawn(Effect.never, "a")
              yield* nursery.spawn(a.join, "b")
              yield* Effect.sleep("2 seconds")
              yield* nursery.spawn(Effect.map(Registry.tree, ([tree]) => young.push(tree!.children.at(-1)!.ageMillis)))
              yield* Effect.never
            }),
          { name: "block" }
        ).pipe(Deadline.within("1 minute"))
      )
      yield* TestClock.adjust("2 seconds")
      const common = { ageMillis: 2000, deadlineMillis: 58000, reason: null }
      const tree = yield* Registry.tree
      expect(JSON.parse(JSON.stringify(tree))).toEqual([
        {
          kind: "nursery",
          name: "block",
          state: "open",
          waitingFor: "child a",
          ...common,
          children: [
            { kind: "child", name: "a", state: "running", waitingFor: null, ...common, children: [] },
            { kind: "child", name: "b", state: "waiting", waitingFor: "child a", ...common, children: [] }
          ]
        }
      ])
      expect(young).toEqual([0])
      yield* Fiber.interrupt(fiber)
      yield* nothingLeft
    })
  )

  it.live("leaves out what is nested more than a hundred deep", () =>
    Effect.gen(function* () {
      const nest = (depth: number): Effect.Effect<void> =>
        depth === 0
          ? Effect.never
          : Nursery.run((nursery) => Effect.asVoid(nursery.spawn(Effect.suspend(() => nest(depth - 1)))))
      const fiber = yield* Effect.forkChild(nest(1000))
      yield* Effect.sleep(50)
      let depth = 0
      for (let [node] = yield* Registry.tree; node !== undefined; [node] = node.children) depth++
      expect(depth).toBe(200)
      yield* Fiber.interrupt(fiber)
      yield* nothingLeft
    })
  )
})

describe("bounds", () => {
  const probe = (seen: Array<string>) => {
    let running = 0
    let most = 0
    const run = (name: string, length: Duration.Input = "1 second") =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          seen.push(name)
          most = Math.max(most, ++running)
        }),
        () => Effect.sleep(length),
        () => Effect.sync(() => running--)
      )
    return { run, most: () => most, running: () => running }
  }

  it.effect("maxRunning suspends the spawner until a child ends, in order", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const { most, run } = probe(seen)
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.forEach(["a", "b", "c", "d", "e"], (name) => nursery.spawn(run(name), name), { discard: true }),
          { maxRunning: 2 }
        )
      )
      yield* Effect.yieldNow
      expect(seen).toEqual(["a", "b"])
      yield* TestClock.adjust("1 second")
      expect(seen).toEqual(["a", "b", "c", "d"])
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      expect([seen, most()]).toEqual([["a", "b", "c", "d", "e"], 2])
      yield* nothingLeft
    })
  )

  it.effect("maxPending lets the spawner go on, and reject refuses what is beyond", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const { run } = probe(seen)
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(run("a"), "a")
              yield* nursery.spawn(run("b"), "b")
              const refused = yield* Effect.flip(nursery.spawn(run("c"), "c"))
              return [refused.reason, refused.gate]
            }),
          { name: "small", maxRunning: 1, maxPending: 1, overflow: "reject" }
        )
      )
      yield* Effect.yieldNow
      expect(seen).toEqual(["a"])
      expect(yield* Registry.tree).toMatchObject([
        {
          children: [
            { name: "a", state: "running" },
            { name: "b", state: "pending" }
          ]
        }
      ])
      yield* TestClock.adjust("2 seconds")
      expect(yield* Fiber.join(fiber)).toEqual([new Refused.QueueFull({ bound: "items", limit: 1 }), "small"])
      expect(seen).toEqual(["a", "b"])
      yield* nothingLeft
    })
  )

  it.effect("a spawner goes on as soon as there is room for its child to wait in", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const { run } = probe(seen)
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              for (const name of ["a", "b", "c"]) yield* nursery.spawn(run(name), name)
              seen.push("went on")
            }),
          { maxRunning: 1, maxPending: 1 }
        )
      )
      yield* TestClock.adjust("1 second")
      expect(seen).toEqual(["a", "b", "went on"])
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      yield* nothingLeft
    })
  )

  it.effect(
    "a child that waits for its turn begins with the context it was spawned with, wherever its spawner is by then",
    () =>
      Effect.gen(function* () {
        const Word = Context.Reference<string>("test/Word", { defaultValue: () => "nobody's" })
        const spoken = yield* Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              const first = yield* Deferred.make<void>()
              yield* nursery.spawn(Deferred.await(first))
              const second = yield* Effect.provideService(nursery.spawn(Word), Word, "the spawner's")
              yield* Deferred.succeed(first, undefined)
              return yield* second.join
            }),
          { maxRunning: 1, maxPending: 1 }
        )
        expect(spoken).toBe("the spawner's")
        yield* nothingLeft
      })
  )

  it.effect("a spawner that is interrupted while it waits takes its child back", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const { run } = probe(seen)
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(run("a"))
              const waiting = yield* Effect.forkChild(nursery.spawn(run("b")))
              const next = yield* Effect.forkChild(nursery.spawn(run("c")))
              yield* Effect.yieldNow
              yield* Fiber.interrupt(waiting)
              yield* Fiber.join(next)
            }),
          { maxRunning: 1 }
        )
      )
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["a", "c"])
      yield* nothingLeft
    })
  )

  it.effect("a place that comes free while a spawner is on its way into the line is not missed", () =>
    Effect.gen(function* () {
      const program = Nursery.run(
        (nursery) => Effect.forEach([1, 2, 3], () => nursery.spawn(Effect.sleep(1)), { discard: true }),
        { maxRunning: 1 }
      )
      yield* Simulation.simulate(50, Effect.exit(program), { cancelPoints: 50 })
    })
  )

  it.effect(
    "children that wait for a place never begin when the nursery is cut, and who joins them is interrupted",
    () =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const { run } = probe(seen)
        const exits: Array<boolean> = []
        const fiber = yield* Effect.forkChild(
          Nursery.run(
            (nursery) =>
              Effect.gen(function* () {
                yield* nursery.spawn(run("a", "1 hour"))
                const pending = yield* nursery.spawn(run("b"))
                const suspended = yield* Effect.forkChild(nursery.spawn(run("c")))
                yield* Effect.yieldNow
                yield* nursery.cancel()
                exits.push(Exit.hasInterrupts(yield* pending.await))
                const child = yield* Fiber.join(suspended)
                exits.push(Exit.hasInterrupts(yield* child.await))
              }),
            { maxRunning: 1, maxPending: 1 }
          )
        )
        yield* Fiber.join(fiber)
        expect([seen, exits]).toEqual([["a"], [true, true]])
        yield* nothingLeft
      })
  )

  it.effect("who waits for one that never begins is told at once, whatever the clean-up of those that run takes", () =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second")))
              const pending = yield* nursery.spawn(Effect.void)
              const waiter = yield* Effect.forkChild(pending.await, { startImmediately: true })
              const cancel = yield* Effect.forkChild(nursery.cancel(), { startImmediately: true })
              const exit = yield* Fiber.join(waiter)
              return [Exit.hasInterrupts(exit), cancel.pollUnsafe(), yield* Clock.currentTimeMillis]
            }),
          { maxRunning: 1, maxPending: 1 }
        )
      )
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(fiber)).toEqual([true, undefined, 0])
      yield* nothingLeft
    })
  )

  it.effect("one child that waits for its place can be cut alone, and makes room", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const { run } = probe(seen)
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(run("a"))
              const b = yield* nursery.spawn(run("b"))
              const c = yield* Effect.forkChild(nursery.spawn(run("c")))
              yield* Effect.yieldNow
              yield* b.cancel()
              yield* Fiber.join(c)
            }),
          { maxRunning: 1, maxPending: 1 }
        )
      )
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["a", "c"])
      yield* nothingLeft
    })
  )
})

describe("a cancel from inside", () => {
  // However deep the canceller stands, and whatever it stands in: it does not wait for itself.
  const places: Record<string, <A>(inside: Effect.Effect<A>) => Effect.Effect<unknown, unknown>> = {
    "code that cannot be interrupted": Effect.uninterruptible,
    "a shield": CancelScope.shield({ grace: "1 second" }),
    "a forked fiber that is joined": (inside) => Effect.flatMap(Effect.forkChild(inside), Fiber.join),
    "a nursery in it, whose body joins": (inside) =>
      Nursery.run((nursery) => Effect.flatMap(nursery.spawn(inside), (child) => child.join)),
    "a nursery in a shield": (inside) =>
      CancelScope.shield(
        Nursery.run((nursery) => nursery.spawn(inside)),
        { grace: "1 second" }
      ),
    "a nursery, all of which cannot be interrupted": (inside) =>
      Effect.uninterruptible(Nursery.run((nursery) => nursery.spawn(Effect.uninterruptible(inside)))),
    "one of several": (inside) => Effect.all([inside, Effect.never], { concurrency: 2 }),
    "a gate": (inside) => Effect.scoped(Effect.flatMap(Gate.make("g", { limit: 1 }), (gate) => gate.run(inside))),
    "a finalizer": (inside) => Effect.onInterrupt(Effect.interrupt, () => inside)
  }

  for (const [name, place] of Object.entries(places)) {
    it.effect(`ends: of the child, the nursery and the scope around, in ${name}`, () =>
      Effect.gen(function* () {
        const cancelled = (cancel: Effect.Effect<void>) => place(Effect.andThen(Effect.yieldNow, cancel))
        const handle = yield* Deferred.make<Nursery.Child<unknown, unknown>>()
        const own = Effect.flatMap(Deferred.await(handle), (child) => child.cancel())
        const outcome = yield* CancelScope.run((scope) =>
          Effect.gen(function* () {
            yield* Nursery.run((nursery) =>
              Effect.flatMap(nursery.spawn(cancelled(own)), (child) => Deferred.succeed(handle, child))
            )
            yield* Nursery.run((nursery) => nursery.spawn(cancelled(nursery.cancel())))
            yield* Nursery.run((nursery) => nursery.spawn(cancelled(scope.cancel())))
            yield* Effect.never
          })
        )
        expect(outcome._tag).toBe("Cancelled")
        yield* nothingLeft
      })
    )
  }

  it.effect("two nurseries whose children cancel each other both end", () =>
    Effect.gen(function* () {
      const first = yield* Deferred.make<Nursery.Nursery>()
      const second = yield* Deferred.make<Nursery.Nursery>()
      const half = (own: typeof first, other: typeof first) =>
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            yield* Deferred.succeed(own, nursery)
            const slow = Effect.onInterrupt(Effect.never, () => Effect.yieldNow)
            const cancel = Effect.flatMap(Deferred.await(other), (nursery) => nursery.cancel())
            yield* nursery.spawn(Effect.raceFirst(slow, Effect.andThen(Effect.yieldNow, cancel)))
          })
        )
      yield* Effect.all([half(first, second), half(second, first)], { concurrency: 2 })
      yield* nothingLeft
    })
  )
})

describe("whose a child is", () => {
  it.effect("spawned in the clean-up of a child or a scope that is cut, it is the nursery's, and lives on", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* TestClock.adjust(0)
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const spawns = (name: string) =>
              Effect.onInterrupt(Effect.never, () => nursery.spawn(worker(seen, name, "1 second")))
            const child = yield* nursery.spawn(spawns("of the child"))
            yield* child.cancel()
            yield* CancelScope.run((scope) => Effect.andThen(Effect.forkChild(scope.cancel()), spawns("of the scope")))
          })
        )
      )
      yield* TestClock.adjust(0)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["of the child done", "of the scope done"])
      yield* nothingLeft
    })
  )

  it.effect("spawned by a child of another nursery, or by a fiber of nobody, it is waited for here", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* TestClock.adjust(0)
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            yield* Nursery.run((other) => other.spawn(nursery.spawn(worker(seen, "of another's", "2 seconds"))))
            seen.push("the other has ended")
            yield* Effect.forkDetach(nursery.spawn(worker(seen, "of nobody's", "1 second")))
            yield* Effect.yieldNow
          })
        )
      )
      yield* TestClock.adjust(0)
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["the other has ended", "of nobody's done", "of another's done"])
      yield* nothingLeft
    })
  )
})

describe("types", () => {
  class Gone extends Data.TaggedError("Gone")<{}> {}
  class Service extends Context.Service<Service, { readonly n: number }>()("test/Service") {}

  it("a child's error, its needs and a refusal are the block's; what it comes to is its handle's", () => {
    const failing = Nursery.run((nursery) => nursery.spawn(Effect.fail(boom("no"))))
    expectTypeOf(failing).toEqualTypeOf<Effect.Effect<Nursery.Child<never, Boom>, Boom>>()
    const refusing = Nursery.run((nursery) => nursery.spawn(Effect.map(Service, ({ n }) => n)), { overflow: "reject" })
    expectTypeOf(refusing).toEqualTypeOf<Effect.Effect<Nursery.Child<number>, Refused.Refused, Service>>()
    const joining = Nursery.run((nursery) =>
      Effect.flatMap(
        nursery.spawn(Effect.succeed(1).pipe(Effect.tap(() => Effect.fail(boom("no"))))),
        (child) => child.join
      )
    )
    expectTypeOf(joining).toEqualTypeOf<Effect.Effect<number, Boom>>()
    const starting = Nursery.run((nursery) =>
      nursery.start((ready: (port: number) => Effect.Effect<void>) => Effect.andThen(ready(1), Effect.fail(new Gone())))
    )
    expectTypeOf(starting).toEqualTypeOf<Effect.Effect<number, Gone>>()
  })

  it("a join's value and errors are the block's, inferred from a list", () => {
    const list = [Effect.succeed(1), Effect.fail(boom("no"))]
    expectTypeOf(Nursery.all(list)).toEqualTypeOf<Effect.Effect<ReadonlyArray<number>, Boom>>()
    expectTypeOf(Nursery.all(list, Join.anySuccess())).toEqualTypeOf<Effect.Effect<number, Boom>>()
    const ended = Nursery.all(
      list,
      Join.until(({ exit }) => Exit.isSuccess(exit) && exit.value > 0)
    )
    expectTypeOf(ended).toEqualTypeOf<Effect.Effect<ReadonlyArray<Join.Ended<number, Boom>>>>()
    expectTypeOf(Nursery.stream(list)).toEqualTypeOf<Stream.Stream<Join.Ended<number, Boom>>>()
    // @ts-expect-error: its children fail with Boom alone
    void Nursery.run((nursery) => nursery.spawn(Effect.fail(new Gone())), { join: Join.failFast<number, Boom>() })
  })

  it("a nursery that may refuse is not one that does not, nor one of children that are alike", () => {
    expectTypeOf<Nursery.Nursery<Refused.Refused>>().not.toExtend<Nursery.Nursery>()
    expectTypeOf<Nursery.Joined<number, Boom>>().not.toExtend<Nursery.Nursery>()
  })
})

describe("in print", () => {
  it.effect("a handle shows its name and state, not what it is made of", () =>
    Effect.gen(function* () {
      yield* Nursery.run(
        (nursery) =>
          Effect.gen(function* () {
            const child = yield* nursery.spawn(Effect.never, "a")
            expect(JSON.parse(JSON.stringify({ child, nursery }))).toMatchObject({
              child: { kind: "child", name: "a", state: "running" },
              nursery: { kind: "nursery", name: "block", children: [{ name: "a" }] }
            })
            yield* nursery.cancel()
          }),
        { name: "block" }
      )
      const scope = yield* CancelScope.make()
      yield* scope.cancel("stop")
      expect(JSON.parse(JSON.stringify(scope))).toEqual({ running: 0, reason: { _tag: "Manual", text: "stop" } })
    })
  )

  it.effect("an interrupt shows the reason of the cut", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const child = yield* nursery.spawn(Effect.never)
            yield* child.cancel("not wanted")
            yield* child.join
          })
        )
      )
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("at Manual: not wanted")
    })
  )

  it.effect("a child without a name is called by its number, once", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Nursery.all([Effect.fail(boom("no"))]))
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("at child 1")
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).not.toContain("child child")
      const fiber = yield* Effect.forkChild(Effect.flip(Nursery.all([Effect.never]).pipe(Deadline.within("1 second"))))
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(fiber)).message).toBe("not done within 1s (1s spent, waiting for child 1)")
    })
  )
})

describe("seldom seen", () => {
  it.effect("a child that fails with nothing is no failure, and is waited for like any other", () =>
    Effect.gen(function* () {
      const value = yield* Nursery.run((nursery) => Effect.as(nursery.spawn(Effect.failCause(Cause.empty)), "body"))
      expect(value).toBe("body")
    })
  )

  it.effect("a spawn that waits where it cannot be interrupted ends at the deadline: its child never begins", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust(0)
      const seen: Array<string> = []
      const fiber = yield* Effect.forkChild(
        Nursery.run(
          (nursery) =>
            Effect.gen(function* () {
              yield* nursery.spawn(Effect.sleep("1 minute"))
              yield* nursery.spawn(Effect.sync(() => seen.push("began"))).pipe(
                Effect.flatMap((child) => child.await),
                Effect.tap((exit) => Effect.sync(() => seen.push(exit._tag))),
                Effect.uninterruptible,
                Deadline.option("1 second")
              )
              yield* nursery.cancel()
            }),
          { maxRunning: 1 }
        )
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["Failure"])
      yield* nothingLeft
    })
  )

  it.live("a thousand cancels, each in the clean-up that the one before it causes, do not nest the stack", () =>
    Effect.gen(function* () {
      let cleaned = 0
      yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          let child: Nursery.Child<unknown> = yield* nursery.spawn(Effect.never)
          for (let i = 0; i < 1000; i++) {
            const next = child
            child = yield* nursery.spawn(
              Effect.onInterrupt(Effect.never, () => {
                cleaned++
                return next.cancel()
              })
            )
          }
          yield* child.cancel()
        })
      )
      expect(cleaned).toBe(1000)
      const scopes = [yield* CancelScope.make()]
      const latch = yield* Deferred.make<void>()
      const first = scopes[0]!.run(Effect.uninterruptible(Deferred.await(latch)))
      const runs = [yield* Effect.forkChild(first, { startImmediately: true })]
      for (let i = 0; i < 1000; i++) {
        const before = scopes.at(-1)!
        const scope = yield* CancelScope.make()
        scopes.push(scope)
        const waits = scope.run(Effect.uninterruptible(before.cancel()))
        runs.push(yield* Effect.forkChild(waits, { startImmediately: true }))
      }
      yield* Deferred.succeed(latch, undefined)
      yield* Fiber.await(runs.at(-1)!)
      yield* nothingLeft
    })
  )

  it.live("a thousand starts in one another, of which the innermost is ready last, do not nest the stack", () =>
    Effect.gen(function* () {
      type Ready = (value: number) => Effect.Effect<void>
      const chain = (depth: number): Effect.Effect<number> =>
        depth === 0
          ? Effect.as(Effect.yieldNow, 0)
          : Nursery.run((nursery) =>
              nursery.start((ready: Ready) => Effect.flatMap(chain(depth - 1), (value) => ready(value + 1)))
            )
      expect(yield* chain(1000)).toBe(1000)
      yield* nothingLeft
    })
  )

  it.effect("whoever waited for a child to be ready, and is cut, cuts it for that reason", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* TestClock.adjust(0)
      const fiber = yield* Effect.forkChild(
        Nursery.run((nursery) =>
          Deadline.option(
            nursery.start(() => worker(seen, "slow", "1 hour")),
            "1 second"
          )
        )
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(fiber)
      expect(seen).toEqual(["slow cut: Deadline"])
      yield* nothingLeft
    })
  )
})

describe("misuse", () => {
  it.effect("a child that waits for itself is told so, where it would wait for ever", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const self = yield* Deferred.make<Nursery.Child<unknown>>()
            const child: Nursery.Child<unknown> = yield* nursery.spawn(
              Effect.flatMap(Deferred.await(self), (child) => child.join),
              "narcissus"
            )
            yield* Deferred.succeed(self, child)
          })
        )
      )
      expect(failures(exit)).toEqual([
        ["narcissus", new Error("Expected child narcissus to wait for another child, got itself")]
      ])
    })
  )

  it.effect("a spawn after the end is a defect that names both, and nothing runs", () =>
    Effect.gen(function* () {
      let nursery: Nursery.Nursery | undefined
      yield* Nursery.run((inside) => Effect.sync(() => (nursery = inside)), { name: "profile" })
      let began = false
      const exit = yield* Effect.exit(
        nursery!.spawn(
          Effect.sync(() => (began = true)),
          "orders"
        )
      )
      expect(exit).toEqual(Exit.die(new Error("Expected profile to be open, got a spawn of orders after its end")))
      expect(began).toBe(false)
    })
  )

  it.effect("bounds that make no sense are told with the value", () =>
    Effect.sync(() => {
      const run = (options: Nursery.Options) => () => Nursery.run(() => Effect.void, options as { maxRunning: number })
      expect(run({ maxRunning: 0 })).toThrow(new RangeError("Expected maxRunning of at least 1, got 0"))
      expect(run({ maxRunning: 1.5 })).toThrow("Expected maxRunning to be a whole number, got 1.5")
      expect(run({ maxRunning: "10" as unknown as number })).toThrow(
        'Expected maxRunning to be a whole number, got "10"'
      )
      expect(() => Nursery.all([Effect.void], Join.anySuccess as never)).toThrow("it may have to be called")
      expect(() => Nursery.all([Effect.void], { maxRunning: 2 } as never)).toThrow(
        'Expected a Join, such as Join.anySuccess(), got {"maxRunning":2}'
      )
      expect(run({ maxPending: -1 })).toThrow("Expected maxPending of at least 0, got -1")
      expect(() => Join.quorum(0)).toThrow("Expected a quorum of at least 1, got 0")
      expect(() => Join.supervise(Schedule.forever, { restarts: -1, within: "1 second" })).toThrow(
        "Expected at least 0 restarts, got -1"
      )
    })
  )

  it.effect("a child that is started and never says ready, or twice, is a defect", () =>
    Effect.gen(function* () {
      const silent = yield* Effect.exit(Nursery.run((nursery) => nursery.start(() => Effect.void, "mute")))
      expect(silent).toEqual(Exit.die(new Error("Expected child mute to say ready before it ended, got its end")))
      const twice = yield* Effect.exit(
        Nursery.run((nursery) =>
          nursery.start((ready: (value: number) => Effect.Effect<void>) => Effect.andThen(ready(1), ready(2)), "chatty")
        )
      )
      expect(failures(twice)).toEqual([
        ["chatty", new Error("Expected child chatty to say ready once, got a second time")]
      ])
      const later = yield* Effect.exit(
        Nursery.run((nursery) =>
          nursery.start(
            (ready: (value: number) => Effect.Effect<void>) =>
              Effect.andThen(ready(1), Effect.andThen(Effect.sleep("1 second"), ready(2))),
            "chatty"
          )
        ).pipe((run) => Effect.raceFirst(run, Effect.andThen(TestClock.adjust("1 second"), Effect.never)))
      )
      expect(failures(later)).toEqual(failures(twice))
    })
  )
})

describe("memory", () => {
  it.live("a hundred thousand children one after another leave nothing", () =>
    Effect.gen(function* () {
      yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          for (let i = 0; i < 100_000; i++) {
            const child = yield* nursery.spawn(i % 2 === 0 ? Effect.void : Effect.yieldNow)
            yield* child.join
          }
        })
      )
      yield* nothingLeft
    })
  )

  it.live("whoever keeps the handle of a child that has ended keeps none of its siblings", () =>
    Effect.gen(function* () {
      const siblings: Array<WeakRef<object>> = []
      const kept = yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          const first = yield* nursery.spawn(Effect.yieldNow)
          let last = first
          for (let i = 0; i < 100; i++) {
            const next = yield* nursery.spawn(Effect.yieldNow)
            siblings.push(new WeakRef(next))
            yield* last.join
            last = next
          }
          return first
        })
      )
      // A weak reference is strong until the turn of the event loop has ended.
      yield* Effect.sleep("1 millis")
      collectGarbage()
      expect(siblings.filter((ref) => ref.deref() !== undefined)).toHaveLength(0)
      expect(kept.name).toBe("child 1")
    })
  )

  it.effect("a joiner that leaves is forgotten, though the child goes on", () =>
    Effect.gen(function* () {
      yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          const child = yield* nursery.spawn(Effect.never)
          const inside = child as unknown as { readonly rare?: { readonly joiners?: { readonly size: number } } }
          const joiners = () => inside.rare?.joiners?.size
          const joiner = yield* Effect.forkChild(child.join, { startImmediately: true })
          expect(joiners()).toBe(1)
          yield* Fiber.interrupt(joiner)
          expect(joiners()).toBe(0)
          yield* nursery.cancel()
        })
      )
    })
  )

  it.live("children that spawn the next, ten thousand deep, do not nest the stack", () =>
    Effect.gen(function* () {
      let count = 0
      yield* Nursery.run((nursery) => {
        const next = (left: number): Effect.Effect<void> =>
          Effect.suspend(() => {
            count++
            return left === 0 ? Effect.void : Effect.asVoid(nursery.spawn(next(left - 1)))
          })
        return nursery.spawn(next(10_000))
      })
      expect(count).toBe(10_001)
      yield* nothingLeft
    })
  )

  it.live("chains of those who wait for each other, five thousand long, do not nest the stack", () =>
    Effect.gen(function* () {
      const chain = <A>(first: Effect.Effect<A>, next: (child: Nursery.Child<A>) => Effect.Effect<A>) =>
        Nursery.run((nursery) =>
          Effect.gen(function* () {
            const head = yield* nursery.spawn(first)
            let last = head
            for (let i = 0; i < 5000; i++) last = yield* nursery.spawn(next(last))
            yield* Effect.yieldNow
            yield* head.cancel()
            return yield* last.await
          })
        )
      const { never } = Effect
      expect(Exit.hasInterrupts(yield* chain(never, (child) => child.join))).toBe(true)
      expect(yield* chain(Effect.as(Effect.yieldNow, 1), (child) => child.join)).toEqual(Exit.succeed(1))
      const waits = (child: Nursery.Child<void>) => Effect.uninterruptible(Effect.asVoid(child.await))
      expect(yield* chain(never as Effect.Effect<void>, waits)).toEqual(Exit.void)
      yield* nothingLeft
    })
  )
})
