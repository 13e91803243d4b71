import { describe, expect, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Option, Result } from "effect"
import { TestClock } from "effect/testing"
import { Batcher, Coalesce, Deadline, Gate, Nursery, RateWindow, Registry, Wait, WorkQueue } from "@fairlead/core"
import { Leaks, Sweep } from "@fairlead/testing"

/** A ledger that notes each wait as it begins and ends, by what it was then. */
const notes = () => {
  const lines: Array<string> = []
  const say = (wait: Wait.Wait) => `${wait.kind}: ${wait.what}`
  const going = new Set<Wait.Wait>()
  const ledger: Wait.Ledger = {
    began: (wait) => {
      if (wait.kind === undefined) return
      going.add(wait)
      lines.push(`+ ${say(wait)}`)
    },
    ended: (wait) => {
      if (wait.kind === undefined) return
      expect(going.delete(wait)).toBe(true)
      lines.push(`- ${say(wait)}`)
    }
  }
  return { ledger, lines, going }
}

const told = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const { going, ledger, lines } = notes()
    const fiber = yield* Effect.forkChild(Wait.observed(effect, ledger))
    yield* TestClock.adjust("10 seconds")
    const exit = yield* Fiber.await(fiber)
    expect(going.size).toBe(0)
    return { exit, lines }
  })

describe("Wait.on", () => {
  it.effect("names what a deadline has cut", () =>
    Effect.gen(function* () {
      const work = Wait.on(Effect.never, "rows of orders")
      const fiber = yield* Effect.forkChild(Effect.flip(Deadline.within(work, "1 second")))
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(fiber)
      expect(error.waitingFor).toEqual(Option.some("rows of orders"))
      expect(error.message).toBe("not done within 1s (1s spent, waiting for rows of orders)")
    })
  )

  it.effect("is in the tree while it goes on, and no longer", () =>
    Effect.gen(function* () {
      const seen: Array<string | null> = []
      const look = Effect.map(Registry.tree, ([node]) => void seen.push(node!.children[0]!.waitingFor))
      yield* Nursery.run((nursery) =>
        Effect.gen(function* () {
          yield* nursery.spawn(Effect.andThen(Wait.on(Effect.sleep(10), "rows"), Effect.sleep(10)), "query")
          yield* TestClock.adjust(5)
          yield* look
          yield* TestClock.adjust(10)
          yield* look
          yield* TestClock.adjust(10)
        })
      )
      expect(seen).toEqual(["rows", null])
    })
  )

  it.effect("gives way to what its effect waits for itself", () =>
    Effect.gen(function* () {
      const inner = Wait.on(Effect.never, "row 7 of orders")
      const fiber = yield* Effect.forkChild(Effect.flip(Deadline.within(Wait.on(inner, "orders"), "1 second")))
      yield* TestClock.adjust("1 second")
      expect((yield* Fiber.join(fiber)).waitingFor).toEqual(Option.some("row 7 of orders"))
    })
  )

  it.effect("changes nothing where there is no region, nor what its effect comes to", () =>
    Effect.gen(function* () {
      expect(yield* Wait.on(Effect.succeed(1), "one")).toBe(1)
      expect(yield* Effect.fail("no").pipe(Wait.on("one"), Effect.flip)).toBe("no")
      const { exit, lines } = yield* told(Wait.on(Effect.die("so"), "one", "dns"))
      expect(Exit.isFailure(exit) && Cause.hasDies(exit.cause)).toBe(true)
      expect(lines).toEqual(["+ dns: one", "- dns: one"])
    })
  )

  it.effect("names each run of an effect that is run twice at once", () =>
    Effect.gen(function* () {
      const once = Wait.on(Effect.sleep(10), "it")
      const { lines } = yield* told(Effect.all([once, Effect.andThen(Effect.sleep(5), once)], { concurrency: 2 }))
      expect(lines).toEqual(["+ other: it", "+ other: it", "- other: it", "- other: it"])
    })
  )

  it.effect("is over wherever an interrupt lands", () =>
    Effect.gen(function* () {
      const hits = yield* Sweep.sweep({
        setup: Effect.sync(notes),
        subject: ({ ledger }) =>
          Wait.observed(Wait.on(Effect.andThen(Effect.yieldNow, Wait.on(Effect.yieldNow, "b", "body")), "a"), ledger),
        check: ({ going }) => expect(going.size).toBe(0)
      })
      expect(hits).toBeGreaterThan(6)
    })
  )
})

describe("Wait.beginUnsafe", () => {
  it.effect("that becomes another is told as one where the ledger knows that, and is the latest then", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const say = (what: string) => (wait: Wait.Wait) => void lines.push(`${what} ${wait.kind}: ${wait.what}`)
      const ledger: Wait.Ledger = { began: say("+"), ended: say("-"), became: say("~") }
      const work = Effect.withFiber<void>((fiber) => {
        expect(Wait.ledgerUnsafe(fiber)).toBe(ledger)
        const first = Wait.beginUnsafe(fiber, "a", "dns")!
        const second = Wait.beginUnsafe(fiber, "b")!
        first.become("a", "connect")
        return Effect.onExitPrimitive(Effect.never, () => {
          second.end()
          first.end()
          return undefined
        })
      })
      const late = Wait.observed(Deadline.within(work, 10), ledger)
      const fiber = yield* Effect.forkChild(Effect.flip(late))
      yield* TestClock.adjust(10)
      expect((yield* Fiber.join(fiber)).waitingFor).toEqual(Option.some("a"))
      expect(lines.filter((line) => !line.includes("undefined"))).toEqual([
        "+ dns: a",
        "+ other: b",
        "~ connect: a",
        "- other: b",
        "- connect: a"
      ])
      yield* Effect.withFiber((fiber) => Effect.sync(() => expect(Wait.ledgerUnsafe(fiber)).toBe(undefined)))
    })
  )

  it.effect("is one wait that becomes another, and ends once", () =>
    Effect.gen(function* () {
      const { lines } = yield* told(
        Effect.withFiber((fiber) => {
          const handle = Wait.beginUnsafe(fiber, "name of a.example", "dns")!
          handle.become("a.example", "connect")
          handle.become("something")
          handle.end()
          handle.end()
          handle.become("a.example", "body")
          return Effect.void
        })
      )
      expect(lines).toEqual([
        "+ dns: name of a.example",
        "- dns: name of a.example",
        "+ connect: a.example",
        "- connect: a.example",
        "+ other: something",
        "- other: something"
      ])
    })
  )

  it.effect("is nothing where there is no region", () =>
    Effect.withFiber((fiber) => {
      expect(Wait.beginUnsafe(fiber, "x")).toBeUndefined()
      return Effect.void
    })
  )
})

describe("Wait.observed", () => {
  it.effect("tells what a wait was when it ended, though it began as another", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("g", { limit: 1, windows: [RateWindow.per(1, "1 second")] })
      const both = Effect.all([gate.run(Effect.sleep(10)), gate.run(Effect.void)], { concurrency: 2 })
      expect((yield* told(both)).lines).toEqual(["+ gate: gate g", "- window: gate g"])
      yield* TestClock.adjust("2 seconds")
      yield* gate.resize(2)
      const three = Effect.forEach([1, 2, 3], () => gate.run(Effect.void), { concurrency: 3 })
      expect((yield* told(three)).lines.filter((line) => line.startsWith("-"))).toEqual([
        "- window: gate g",
        "- window: gate g"
      ])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("tells of a gate by the kind that it was given", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("sockets", { limit: 1, waitsAs: "pool" })
      const { lines } = yield* told(Effect.all([gate.run(Effect.sleep(10)), gate.run(Effect.void)], { concurrency: 2 }))
      expect(lines).toEqual(["+ pool: gate sockets", "- pool: gate sockets"])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("tells of queues, batches, shared calls, children and restarts, in the regions inside it too", () =>
    Effect.gen(function* () {
      const queue = yield* WorkQueue.make("mail", { run: () => Effect.sleep(10) })
      const batcher = yield* Batcher.make("rows", {
        run: (items: ReadonlyArray<number>) => Effect.succeed(items.map((item) => Result.succeed(item))),
        linger: 10,
        maxItems: 10
      })
      const shared = yield* Coalesce.make<string, void>("page", { run: () => Effect.sleep(10) })
      const { exit, lines } = yield* told(
        Deadline.within(
          Effect.gen(function* () {
            yield* queue.submit(1)
            yield* batcher.submit(1)
            yield* shared.call("a")
            yield* Nursery.run((nursery) =>
              Effect.gen(function* () {
                const child = yield* nursery.spawn(Effect.sleep(10), "c")
                yield* child.join
              })
            )
          }),
          "5 seconds"
        )
      )
      expect(exit).toEqual(Exit.void)
      const kinds = lines.filter((line) => line.startsWith("+")).map((line) => line.slice(2).split(":")[0])
      expect(kinds).toEqual(["queue", "batch", "shared", "child"])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("of nested ledgers the innermost is told", () =>
    Effect.gen(function* () {
      const inner = notes()
      const { lines } = yield* told(
        Effect.andThen(Wait.observed(Wait.on(Effect.yieldNow, "in"), inner.ledger), Wait.on(Effect.yieldNow, "out"))
      )
      expect(lines).toEqual(["+ other: out", "- other: out"])
      expect(inner.lines).toEqual(["+ other: in", "- other: in"])
    })
  )

  it.effect("can be set for the region that a fiber is in", () =>
    Effect.gen(function* () {
      const { ledger, lines } = notes()
      const work = Effect.withFiber((fiber) => {
        Wait.observeUnsafe(fiber, ledger)
        return Wait.on(Effect.yieldNow, "it")
      })
      yield* work
      expect(lines).toEqual([])
      yield* Deadline.within(work, "1 second")
      expect(lines).toEqual(["+ other: it", "- other: it"])
    })
  )
})
