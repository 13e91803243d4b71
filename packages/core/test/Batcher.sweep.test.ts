/**
 * Batches with an interrupt at every place where one can land, for pairs of places, and in programs and interleavings made
 * by chance: every caller comes to one end, that of his own item, no batch is over its bounds, and nothing is left.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Option, Random, Request, RequestResolver, Result, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Batcher, Deadline, Gate, Priority } from "@fairlead/core"
import { Simulation, Sweep } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"
import { all, interruptedAnywhere } from "./sweeps.ts"

interface Setup {
  readonly items: Batcher.Batcher<string, string, string>
  readonly gate: Gate.Gate
  /** Of all runs, what they have open. */
  open: number
}

type Options = Batcher.Options<string, string, string, string, never, unknown>

/** A run with an item that begins with `bad` fails as a whole. */
const make = (options: (gate: Gate.Gate) => Partial<Options>) =>
  Effect.gen(function* () {
    const gate = yield* Gate.make("db", { limit: 1 })
    const setup = { gate, open: 0 }
    const items = yield* Batcher.make<string, string, string, string, never, unknown>("swept", {
      run: (sent) =>
        Effect.acquireUseRelease(
          Effect.sync(() => setup.open++),
          () =>
            Effect.andThen(
              Effect.sleep("10 millis"),
              sent.some((item) => item.startsWith("bad"))
                ? Effect.fail("whole")
                : Effect.succeed(sent.map(Result.succeed))
            ),
          () =>
            Effect.andThen(
              Effect.yieldNow,
              Effect.sync(() => setup.open--)
            )
        ),
      maxItems: 2,
      linger: "5 millis",
      ...options(gate)
    })
    return Object.assign(setup, { items }) as Setup
  })

const nothingLeft = ({ gate, items, open }: Setup) =>
  Effect.gen(function* () {
    const statistics = yield* items.statistics
    expect(Batcher.check(statistics)).toEqual([])
    expect([statistics.batches, statistics.waiting, statistics.suspended, statistics.running, open]).toEqual([
      0, 0, 0, 0, 0
    ])
    expect((yield* gate.statistics).running).toBe(0)
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
  })

const own = (item: string) => (outcome: string) =>
  outcome === item ? Effect.void : Effect.die(new Error(`Expected ${item}, got ${outcome}`))

const scenes: Record<
  string,
  {
    readonly options: (gate: Gate.Gate) => Partial<Options>
    readonly subject: (setup: Setup) => Effect.Effect<unknown, unknown>
    readonly places: number
  }
> = {
  "a full batch, and one by time": {
    options: () => ({}),
    subject: ({ items }) =>
      all(
        ...["a", "b", "c"].map((item) => Effect.flatMap(items.submit(item), own(item))),
        Effect.delay(items.submit("d"), 7)
      ),
    places: 25
  },
  "a poisonous item is found": {
    options: () => ({ maxItems: 4, bisect: () => true }),
    subject: ({ items }) => all(...["a", "bad", "c", "d"].map((item) => items.submit(item))),
    places: 25
  },
  "partitions in order, and the same item once": {
    options: () => ({ inOrder: true, partition: (item) => item[0], same: (item) => item, through: 2 }),
    subject: ({ items }) => all(...["a1", "a1", "a2", "a3", "b1", "a4"].map((item) => items.submit(item))),
    places: 25
  },
  "in the line of a gate, urgent and not, cut by deadlines": {
    options: (gate) => ({ through: gate }),
    subject: ({ gate, items }) =>
      all(
        gate.run(Effect.sleep("6 millis")),
        items.submit("a").pipe(Priority.at(6), Deadline.within("30 millis")),
        items.submit("b").pipe(Priority.at(1), Deadline.within("14 millis")),
        Effect.uninterruptible(items.submit("c")).pipe(Deadline.within("12 millis"))
      ),
    places: 25
  }
}

describe("Batcher, interrupted anywhere", () => {
  for (const [name, { options, places, subject }] of Object.entries(scenes)) {
    interruptedAnywhere(name, { setup: make(options), subject, check: nothingLeft }, { places })
  }

  // Of a stream only the whole is interrupted: Effect's own hangs when one of its inner fibers is.
  it.live("passes in random interleavings: a stream that waits for room, and is cut", () =>
    Simulation.simulate(
      300,
      Effect.gen(function* () {
        const setup = yield* make(() => ({ maxPending: 2, through: 1 }))
        const random = yield* Random.Random
        const { items } = setup
        const stream = Stream.make("a", "b", "c", "d", "e").pipe(items.stream({ maxAhead: 4 }), Stream.runCollect)
        const cut = stream.pipe(Deadline.option(Math.floor(random.nextDoubleUnsafe() * 60)))
        const [results] = yield* Effect.all([cut, items.submit("x")], { concurrency: "unbounded" })
        if (Option.isSome(results) && results.value.map(Result.getOrThrow).join("") !== "abcde") {
          throw new Error(`Expected abcde, got ${results.value.join()}`)
        }
        yield* nothingLeft(setup)
        return Option.isSome(results)
      })
    )
  )

  interface Lookup extends Request.Request<string, string> {
    readonly _tag: "Lookup"
    readonly id: string
  }
  const Lookup = Request.tagged<Lookup>("Lookup")

  const requests = {
    setup: Batcher.resolver(
      "requests",
      RequestResolver.make<Lookup>((entries) =>
        Effect.map(Effect.sleep("10 millis"), () => {
          for (const entry of entries) entry.completeUnsafe(Exit.succeed(entry.request.id))
        })
      ),
      { maxItems: 2, linger: "5 millis", through: 1 }
    ),
    subject: (resolver: RequestResolver.RequestResolver<Lookup>) =>
      all(...["a", "b", "c"].map((id) => Effect.flatMap(Effect.request(Lookup({ id }), resolver), own(id)))),
    // A request's caller does not wait for what he leaves behind; the scope does.
    check: () => Effect.void
  }

  it.live("passes the sweep: requests through a resolver", () =>
    Effect.gen(function* () {
      expect(yield* Sweep.sweep(requests)).toBeGreaterThanOrEqual(10)
    })
  )

  it.live("passes in random interleavings: requests through a resolver", () =>
    Simulation.simulate(200, requests, { cancelPoints: 10 })
  )
})

/** One caller, by chance. */
interface Told {
  readonly id: number
  readonly exit: Exit.Exit<unknown, unknown>
}

/**
 * Callers by chance, who come when they like and may leave before the end, into a batcher made by chance, whose scope may
 * close in the middle of it.
 */
const program = (punctual: boolean) =>
  Effect.gen(function* () {
    const random = yield* Random.Random
    const below = (n: number) => Math.floor(random.nextDoubleUnsafe() * n)
    const now = Effect.clockWith((clock) => Effect.sync(() => timer.now(clock)))
    const maxItems = 1 + below(4)
    const maxBytes = 10
    const linger = below(3) * 5
    const permits = 1 + below(3)
    const maxPending = 3 + below(12)
    const inOrder = below(3) === 0
    let alive = 0
    /** When the last of all permits was given back. */
    let fullUntil = -1
    const came = new Map<number, number>()
    const begun = new Map<number, number>()
    const wrong: Array<string> = []
    const expect = (holds: boolean, what: string) => {
      if (!holds) wrong.push(what)
    }
    const scope = yield* Scope.make()
    const batcher = yield* Batcher.make<number, number, string, string, never, number>("simulated", {
      maxItems,
      maxBytes,
      linger,
      maxPending,
      inOrder,
      through: permits,
      partition: (id) => id % 2,
      weigh: (id) => 1 + (id % 5),
      bisect: below(2) === 0 ? (error) => error === "whole" : undefined,
      run: (ids, key) =>
        Effect.acquireUseRelease(
          Effect.map(now, (at) => {
            alive++
            expect(alive <= permits, `${alive} of ${permits} run`)
            expect(ids.length <= maxItems, `${ids.length} of ${maxItems} items`)
            expect(ids.reduce((sum, id) => sum + 1 + (id % 5), 0) <= maxBytes, `too many bytes: ${ids.join()}`)
            expect(
              ids.every((id) => id % 2 === key),
              `${ids.join()} are of ${key}`
            )
            for (const id of ids) {
              if (begun.has(id)) continue
              begun.set(id, at)
              const waited = at - came.get(id)!
              // Who waits longer than the linger begins when a permit, or with it his partition's turn, is given back.
              expect(
                !punctual || waited <= linger + 1e-6 || at <= fullUntil + 1e-6 || inOrder,
                `${id} waited ${waited}`
              )
            }
          }),
          () =>
            Effect.gen(function* () {
              if (below(4) > 0) yield* Effect.sleep(below(20))
              if (below(4) === 0) return yield* Effect.fail(below(2) === 0 ? "whole" : "other")
              return ids.map((id): Result.Result<number, string> =>
                id % 7 === 0 ? Result.fail(`no ${id}`) : Result.succeed(id)
              )
            }),
          () =>
            Effect.map(now, (at) => {
              if (alive === permits) fullUntil = at
              alive--
            })
        )
    }).pipe(Scope.provide(scope))
    const told: Array<Told> = []
    const caller = (id: number) =>
      Effect.gen(function* () {
        yield* Effect.sleep(below(30))
        came.set(id, yield* now)
        const submit = batcher.submit(id)
        const exit = yield* below(3) === 0 ? Effect.exit(Deadline.option(submit, below(25))) : Effect.exit(submit)
        told.push({ id, exit })
      })
    const callers = Effect.forEach(Array.from({ length: 14 }), (_, id) => caller(id), {
      concurrency: "unbounded",
      discard: true
    })
    const closes = below(2) === 0 ? Effect.delay(Scope.close(scope, Exit.void), below(40)) : Effect.void
    yield* Effect.all([callers, closes], { concurrency: "unbounded" })
    yield* Scope.close(scope, Exit.void)
    for (const { exit, id } of told) {
      if (Exit.isSuccess(exit)) {
        const value = Option.isOption(exit.value) ? Option.getOrElse(exit.value, () => id) : exit.value
        expect(value === id, `${id} got ${String(value)}`)
      } else if (!Exit.hasInterrupts(exit)) {
        const error: unknown = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
        const tag = typeof error === "object" && error !== null && "_tag" in error ? error._tag : error
        expect(["Refused", "whole", "other", `no ${id}`].includes(String(tag)), `${id} failed with ${String(tag)}`)
        expect(tag !== "Refused" || !begun.has(id), `${id} was refused, and had begun`)
      }
    }
    const statistics = yield* batcher.statistics
    wrong.push(...Batcher.check(statistics))
    const { batches, interrupted, running, waiting } = statistics
    expect(
      alive === 0 && batches === 0 && waiting === 0 && running === 0,
      `left: ${JSON.stringify({ ...statistics, alive })}`
    )
    if (wrong.length > 0) throw new Error(wrong.join("; "))
    return interrupted
  })

describe("Batcher, by chance", () => {
  it.live(
    "every caller comes to one end, that of his own item, and no batch is over its bounds",
    // There timers may be late.
    () => Simulation.simulate(1500, program(false), { cancelPoints: 5 }),
    60_000
  )

  it.effect("nobody waits longer than the linger and the time for which the gate held his batch", () =>
    Effect.forEach(
      Array.from({ length: 300 }),
      (_, seed) =>
        Effect.gen(function* () {
          const run = yield* Effect.forkChild(Random.withSeed(program(true), seed))
          while (run.pollUnsafe() === undefined) yield* TestClock.adjust("1 millis")
          yield* Fiber.join(run)
        }),
      { discard: true }
    )
  )
})
