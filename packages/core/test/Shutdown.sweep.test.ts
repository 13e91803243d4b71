/**
 * A shutdown with an interrupt at every place where one can land, for pairs of places, and in programs and interleavings made by
 * chance: it comes to its end, nothing that was accepted is lost in silence, and nothing is left.
 */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Queue, Random, Stream } from "effect"
import { Deadline, Refused, Shutdown } from "@fairlead/core"
import { Simulation } from "@fairlead/testing"
import type { Stopping } from "../src/internal/stopping.ts"
import * as timer from "../src/internal/timer.ts"
import { all, interruptedAnywhere } from "./sweeps.ts"

const setup = Effect.gen(function* () {
  const shutdown = yield* Shutdown.make({ notice: 2, drain: 15, interrupt: 5 })
  const edge = yield* shutdown.edge("http")
  yield* shutdown.hook("flush", { phase: "draining", undo: Effect.yieldNow }, Effect.sleep(3))
  yield* shutdown.hook("tell", { phase: "draining", after: "flush" }, Effect.ignore(Effect.fail("no")))
  return { edge, shutdown }
})

type Setup = Effect.Success<typeof setup>

/** However the subject was struck, it can still be stopped, and then nothing is left. */
const nothingLeft = ({ shutdown }: Setup) =>
  Effect.gen(function* () {
    const ledger = yield* shutdown.stop
    expect(ledger.entries.filter(({ outcome }) => outcome === "left")).toEqual([])
    expect(yield* shutdown.statistics).toMatchObject({ phase: "stopped", holding: 0 })
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
  })

const scenes: Record<string, { readonly subject: (setup: Setup) => Effect.Effect<unknown>; readonly places: number }> =
  {
    "stopped while work goes on, and by two": {
      subject: ({ edge, shutdown }) =>
        all(
          edge.accept(Effect.sleep(8)),
          shutdown.beacon("mail", Effect.sleep(60)),
          Effect.delay(shutdown.stop, 4),
          Effect.delay(shutdown.stop, 6),
          Effect.delay(edge.accept(Effect.void), 12)
        ),
      places: 25
    },
    "drained and taken back, while others stop it": {
      subject: ({ edge, shutdown }) =>
        all(
          edge.accept(Effect.sleep(8)),
          Effect.delay(shutdown.drain, 1),
          Effect.delay(shutdown.undrain, 5),
          Effect.delay(shutdown.drain, 9),
          Effect.delay(shutdown.stop, 14),
          Effect.delay(shutdown.undrain, 14)
        ),
      places: 25
    }
  }

/** A reader that nobody strikes, of a stream that ends with the drain. */
const streaming = Effect.gen(function* () {
  const base = yield* setup
  const queue = yield* Queue.make<number>()
  const put: Array<number> = []
  const got: Array<number> = []
  const read = Stream.fromPull(Effect.succeed(Effect.map(Queue.take(queue), (n) => [n] as const))).pipe(
    base.shutdown.endAtDrain,
    Stream.runForEach((n) => Effect.sync(() => void got.push(n)))
  )
  const reader = yield* Effect.forkScoped(read, { startImmediately: true })
  return { ...base, queue, put, got, reader }
})

/** It has ended, well, and what it has not got is still there; of those who were struck nothing is left either. */
const nothingLost = ({ got, put, queue, reader, ...base }: Effect.Success<typeof streaming>) =>
  Effect.gen(function* () {
    yield* nothingLeft(base)
    const exit = yield* Fiber.await(reader)
    // Its pulls are fibers that began meanwhile: one of them may have been what was struck.
    if (Exit.isSuccess(exit)) expect([...got, ...(yield* Queue.clear(queue))]).toEqual(put)
    else expect(Exit.hasInterrupts(exit)).toBe(true)
    expect((base.shutdown as Stopping).pulls.size).toBe(0)
  })

describe("Shutdown, interrupted anywhere", () => {
  interruptedAnywhere(
    "a stream ends at the drain, whatever becomes of its source, of others and of who stops",
    {
      setup: streaming,
      subject: ({ put, queue, shutdown }) =>
        all(
          Effect.forEach([1, 2, 3, 4, 5, 6], (n) =>
            Effect.andThen(
              Effect.sync(() => Queue.offerUnsafe(queue, n) && put.push(n)),
              Effect.sleep(1)
            )
          ),
          Stream.runDrain(Stream.tick(1).pipe(shutdown.endAtDrain)),
          Stream.runDrain(Stream.never.pipe(shutdown.endAtDrain)),
          Effect.delay(shutdown.stop, 2)
        ),
      check: nothingLost
    },
    { interleavings: 150, places: 25 }
  )
  for (const [name, { places, subject }] of Object.entries(scenes)) {
    interruptedAnywhere(name, { setup, subject, check: nothingLeft }, { interleavings: 150, places })
  }
})

/** Work by chance at an edge that closes by chance: what was accepted ends as its ledger says, the rest is refused. */
const program = Effect.gen(function* () {
  const random = yield* Random.Random
  const below = (n: number) => Math.floor(random.nextDoubleUnsafe() * n)
  const shutdown = yield* Shutdown.make({ notice: below(3), drain: 5 + below(20), interrupt: 5 })
  const edge = yield* shutdown.edge("http")
  let accepted = 0
  let done = 0
  let cut = 0
  let refused = 0
  const stopped = yield* Deferred.make<Shutdown.Ledger>()
  const work = Effect.gen(function* () {
    yield* Effect.sleep(below(30))
    const body = Effect.acquireUseRelease(
      Effect.sync(() => accepted++),
      () => Effect.sleep(below(25)),
      (_, exit) => Effect.sync(() => (Exit.isSuccess(exit) ? done++ : cut++))
    )
    // Work in work passes, whatever the edge says by then.
    const inner = Effect.andThen(Effect.sleep(below(10)), edge.accept(body))
    const whole = edge.accept(below(2) === 0 ? body : inner)
    const exit: Exit.Exit<unknown, unknown> = yield* below(4) === 0
      ? Effect.exit(Deadline.option(whole, below(20)))
      : Effect.exit(whole)
    if (
      Exit.isFailure(exit) &&
      exit.cause.reasons.some((reason) => reason._tag === "Fail" && reason.error instanceof Refused.Refused)
    ) {
      refused++
    }
  })
  const stops = Effect.gen(function* () {
    yield* Effect.sleep(below(40))
    if (below(2) === 0) {
      yield* Effect.forkChild(shutdown.drain)
      yield* Effect.sleep(below(10))
      yield* shutdown.undrain
      yield* Effect.sleep(below(10))
    }
    yield* Deferred.succeed(stopped, yield* shutdown.stop)
  })
  yield* Effect.all([stops, ...Array.from({ length: 10 }, () => work)], { concurrency: "unbounded" })
  const ledger = yield* shutdown.stop
  const { holding, phase } = yield* shutdown.statistics
  const right =
    holding === 0 &&
    phase === "stopped" &&
    accepted === done + cut &&
    ledger.clean === ledger.entries.every(({ outcome }) => outcome === "done")
  if (!right) {
    throw new Error(
      `Expected nothing left, got ${JSON.stringify({ accepted, cut, done, holding, ledger, phase, refused })}`
    )
  }
  return cut + refused
})

describe("Shutdown, by chance", () => {
  it.live(
    "what was accepted ends or is cut, and the ledger says which",
    () => Simulation.simulate(1000, program, { cancelPoints: 4 }),
    60_000
  )
})
