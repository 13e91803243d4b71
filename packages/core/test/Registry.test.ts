import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Gate, RateWindow, Registry } from "@fairlead/core"

const own = Effect.provideServiceEffect(Registry.Registry, Effect.sync(Registry.make))

const node = (name: string): Registry.Node => ({
  kind: "call",
  name,
  id: name,
  state: "running",
  ageMillis: 1,
  waitingFor: null,
  deadlineMillis: null,
  reason: null,
  children: []
})

describe("Registry details", () => {
  it.effect("has the nodes of others in the tree, so many of each as were asked for, while their scope lives", () =>
    Effect.gen(function* () {
      const asked: Array<number> = []
      const nodes = (most: number) => {
        asked.push(most)
        return ["a", "b", "c"].slice(0, most).map(node)
      }
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Registry.register("calls", "mine", () => ({}), { nodes })
          yield* Registry.register("gate", "without", () => ({}))
          expect((yield* Registry.treeOf(2)).map(({ name }) => name)).toEqual(["a", "b"])
          expect((yield* Registry.tree).map(({ name }) => name)).toEqual(["a", "b", "c"])
        })
      )
      expect(asked).toEqual([2, 1_000])
      expect(yield* Registry.tree).toEqual([])
    }).pipe(own)
  )

  it.effect("explains by all who know of it", () =>
    Effect.gen(function* () {
      const knows = (name: string, what: string) => (id: string) => Effect.succeed(id === name ? [what] : undefined)
      yield* Registry.register("calls", "one", () => ({}), { explain: knows("7", "it waits here") })
      yield* Registry.register("calls", "two", () => ({}), { explain: knows("8", "it runs") })
      yield* Registry.register("calls", "three", () => ({}), { explain: knows("7", "and there") })
      expect(yield* Registry.explain("7")).toEqual(["it waits here", "and there"])
      expect(yield* Registry.explain("9")).toEqual([])
    }).pipe(Effect.scoped, own)
  )

  const holdsOf = (most = 10) =>
    Effect.map(Registry.Registry, (registry) => registry.details().flatMap(({ holds }) => holds?.(most) ?? []))

  it.effect("tells of permits held in scopes: whose, whether he has ended, and for how long since somebody asked", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", { limit: 3 })
      const scope = yield* Scope.make()
      const leaver = yield* Effect.forkChild(Effect.provideService(gate.hold(), Scope.Scope, scope))
      yield* Fiber.join(leaver)
      const end = yield* Deferred.make<void>()
      const stayer = yield* Effect.forkChild(Effect.scoped(Effect.andThen(gate.hold(), Deferred.await(end))), {
        startImmediately: true
      })
      expect(yield* holdsOf()).toEqual([
        { ageMillis: 0, fiber: leaver.id, ended: true },
        { ageMillis: 0, fiber: stayer.id, ended: false }
      ])
      yield* TestClock.adjust("1 minute")
      expect((yield* holdsOf()).map(({ ageMillis }) => ageMillis)).toEqual([60_000, 60_000])
      expect(yield* holdsOf(1)).toMatchObject([{ fiber: leaver.id }])
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.join(stayer)
      expect(yield* holdsOf()).toMatchObject([{ fiber: leaver.id }])
      yield* Scope.close(scope, Exit.void)
      expect(yield* holdsOf()).toEqual([])
      // What is released by hand comes by once more when its scope closes.
      yield* Effect.scoped(Effect.map(gate.hold(), (permit) => permit.release()))
      yield* gate.withPermit((permit) => Effect.sync(() => permit.release()))
      expect(yield* holdsOf()).toEqual([])
      expect(yield* gate.statistics).toMatchObject({ running: 0, maxWaiting: 1_000 })
    }).pipe(Effect.scoped, own)
  )

  it.effect("knows since when, where the gate's windows had to know", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        windows: [RateWindow.per(2, "1 minute", { counts: "answer" })],
        line: { maxItems: Infinity }
      })
      yield* gate.hold()
      yield* TestClock.adjust("5 seconds")
      expect(yield* holdsOf()).toMatchObject([{ ageMillis: 5_000 }])
      expect(yield* gate.statistics).toMatchObject({ maxWaiting: null })
    }).pipe(Effect.scoped, own)
  )
})
