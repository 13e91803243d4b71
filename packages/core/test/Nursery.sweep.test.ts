/** Interrupts at every step, and at pairs of steps: nothing may be left, nobody may hang, no place may be lost. */
import { describe, expect, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Stream } from "effect"
import type { Exit } from "effect"
import { CancelScope, Deadline, Gate, Join, Nursery, Registry } from "@fairlead/core"
import { Simulation, Sweep } from "@fairlead/testing"
import * as timer from "../src/internal/timer.ts"

interface State {
  open: number
  readonly gate: Gate.Gate
  readonly scope: CancelScope.CancelScope
}

const setup = Effect.gen(function* () {
  return {
    open: 0,
    gate: yield* Gate.make("g", { limit: 1 }),
    scope: yield* CancelScope.make()
  } satisfies State as State
})

/** Something that must be given back. It ends by itself: what is struck may be whoever would have ended it. */
const use = <A, E>(state: State, effect: Effect.Effect<A, E>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => state.open++),
    () => effect,
    () =>
      Effect.andThen(
        Effect.yieldNow,
        Effect.sync(() => state.open--)
      )
  )

const check = (state: State) =>
  Effect.gen(function* () {
    expect(state.open).toBe(0)
    expect(Gate.check(yield* state.gate.statistics)).toEqual([])
    expect(yield* Registry.tree).toEqual([])
    expect(timer.of(yield* Clock.Clock).size).toBe(0)
  })

const subjects: Record<string, (state: State) => Effect.Effect<unknown, unknown>> = {
  "spawn and join": (state) =>
    Nursery.run((nursery) =>
      Effect.gen(function* () {
        const a = yield* nursery.spawn(use(state, Effect.sleep(10)))
        const b = yield* nursery.spawn(use(state, Effect.as(Effect.yieldNow, 2)))
        yield* b.join
        yield* a.join
      })
    ),
  "a failing sibling": (state) =>
    Nursery.run((nursery) =>
      Effect.gen(function* () {
        yield* nursery.spawn(use(state, Effect.sleep(50)))
        yield* nursery.spawn(use(state, state.gate.run(Effect.sleep(10))))
        yield* nursery.spawn(Effect.andThen(Effect.sleep(5), Effect.fail("no")))
        yield* use(state, Effect.sleep(20))
      })
    ),
  "places: suspended spawners, pending children": (state) =>
    Nursery.run(
      (nursery) =>
        Effect.gen(function* () {
          const spawner = yield* Effect.forkChild(nursery.spawn(use(state, Effect.sleep(3))))
          yield* nursery.spawn(use(state, Effect.sleep(2)))
          const pending = yield* nursery.spawn(use(state, Effect.yieldNow))
          yield* nursery.spawn(use(state, Effect.sleep(1)))
          yield* pending.cancel()
          const late = yield* Fiber.join(spawner)
          yield* late.await
        }),
      { maxRunning: 1, maxPending: 1 }
    ),
  "a start": (state) =>
    Nursery.run((nursery) =>
      Effect.gen(function* () {
        const value = yield* nursery.start((ready: (value: number) => Effect.Effect<void>) =>
          use(state, Effect.andThen(Effect.andThen(Effect.yieldNow, ready(1)), Effect.sleep(5)))
        )
        yield* Effect.exit(nursery.start(() => use(state, Effect.andThen(Effect.yieldNow, Effect.fail("no")))))
        return value
      })
    ),
  "cancel, of one and of all": (state) =>
    Nursery.run((nursery) =>
      Effect.gen(function* () {
        const a = yield* nursery.spawn(use(state, Effect.sleep(50)))
        yield* nursery.spawn(use(state, Effect.sleep(50)))
        yield* nursery.spawn(CancelScope.shield(use(state, Effect.sleep(5)), { grace: 10 }))
        yield* a.cancel()
        yield* nursery.cancel()
      })
    ),
  "nurseries in nurseries, in a scope that is cut": (state) =>
    state.scope.run(
      Nursery.run((outer) =>
        Effect.gen(function* () {
          yield* outer.spawn(
            Nursery.all(
              [use(state, Effect.sleep(5)), use(state, Effect.sleep(9)), use(state, Effect.sleep(50))],
              Join.quorum(2)
            )
          )
          yield* outer.spawn(Effect.andThen(Effect.sleep(7), state.scope.cancel()))
          yield* outer.spawn(use(state, Effect.sleep(99)))
        })
      )
    ),
  "children spawned from finalizers": (state) =>
    Nursery.run(
      (nursery) =>
        Effect.gen(function* () {
          const spawns = (length: number) => Effect.asVoid(nursery.spawn(use(state, Effect.sleep(length))))
          yield* nursery.spawn(Effect.onExit(use(state, Effect.sleep(3)), () => spawns(2)))
          const child = yield* nursery.spawn(Effect.onInterrupt(use(state, Effect.sleep(50)), () => spawns(1)))
          yield* Effect.sleep(2)
          yield* child.cancel()
        }),
      { maxRunning: 2, maxPending: 2 }
    ),
  "a nursery in the hands of another's children": (state) =>
    Nursery.run((a) =>
      Nursery.run((b) =>
        Effect.gen(function* () {
          yield* b.spawn(
            Effect.gen(function* () {
              const child = yield* a.spawn(use(state, Effect.sleep(5)))
              yield* child.join
              yield* a.spawn(use(state, Effect.andThen(Effect.sleep(1), b.cancel())))
              yield* use(state, Effect.sleep(30))
            })
          )
          yield* a.spawn(use(state, b.spawn(use(state, state.gate.run(Effect.sleep(2))))))
          yield* state.gate.run(Effect.sleep(1))
        })
      )
    ),
  "a shield, a scope and a deadline, all cut": (state) =>
    Nursery.run((nursery) =>
      Effect.gen(function* () {
        const hangs = Effect.onInterrupt(Effect.never, () =>
          Effect.ignore(CancelScope.shield(use(state, Effect.sleep(2)), { grace: 1 }))
        )
        yield* nursery.spawn(CancelScope.shield(use(state, Effect.sleep(9)), { grace: 4 }))
        yield* nursery.spawn(hangs)
        yield* nursery.spawn(Effect.andThen(Effect.sleep(3), state.scope.cancel()))
        yield* nursery.spawn(Effect.uninterruptible(use(state, Effect.sleep(6))))
        yield* state.gate.run(use(state, Effect.sleep(20)))
      })
    ).pipe(state.scope.run, Deadline.within(5), Effect.ignore),
  "a stream whose consumer is slow, and has had enough": (state) =>
    Nursery.stream(
      [1, 2, 3, 4, 5].map((length) =>
        length === 3 ? use(state, Effect.fail("no")) : use(state, state.gate.run(Effect.sleep(length)))
      ),
      { maxRunning: 2 }
    ).pipe(
      Stream.take(3),
      Stream.runForEach(() => Effect.sleep(2))
    )
}

describe("sweep", () => {
  for (const [name, subject] of Object.entries(subjects)) {
    it.effect(`${name}: an interrupt at every step`, () =>
      Effect.gen(function* () {
        expect(yield* Sweep.sweep({ setup, subject, check })).toBeGreaterThan(20)
      })
    )

    it.effect(
      `${name}: interrupts at pairs of steps`,
      () =>
        Effect.gen(function* () {
          const { pairs } = yield* Sweep.pairs({ setup, subject, check }, { limit: 1500 })
          expect(pairs).toBeGreaterThan(100)
        }),
      30_000
    )

    it.effect(
      `${name}: many orders, from seeds`,
      () =>
        Effect.gen(function* () {
          const { runs } = yield* Simulation.simulate(
            100,
            { setup, subject: (state: State) => Effect.exit(subject(state)), check },
            { cancelPoints: 10 }
          )
          expect(runs).toBeGreaterThan(1000)
        }),
      30_000
    )
  }

  it.effect("an outcome is never lost: a child's value reaches its joiner, or the joiner is interrupted", () =>
    Effect.gen(function* () {
      yield* Simulation.simulate(300, {
        setup: Effect.sync(() => ({ got: 0, made: 0 })),
        subject: (state: { got: number; made: number }) =>
          Nursery.run((nursery) =>
            Effect.gen(function* () {
              const child = yield* nursery.spawn(
                Effect.andThen(
                  Effect.yieldNow,
                  Effect.sync(() => ++state.made)
                )
              )
              const joiners = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(child.join))
              for (const joiner of joiners) state.got += yield* Fiber.join(joiner)
            })
          ),
        check: (state: { got: number; made: number }, exit: Exit.Exit<unknown, unknown>) =>
          Effect.sync(() => {
            expect(exit._tag).toBe("Success")
            expect(state).toEqual({ got: 3, made: 1 })
          })
      })
    })
  )
})
