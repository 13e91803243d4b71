import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Latch, Layer, Scope } from "effect"
import { Gate, RateWindow, Refused, Registry } from "@fairlead/core"

class GitHub extends Gate.Service<GitHub>()("app/GitHub", { limit: 1, windows: [RateWindow.per(10, "1 minute")] }) {}
class Mail extends Gate.Service<Mail>()("app/Mail", { limit: 2 }) {}
class Name extends Context.Service<Name, string>()("app/Name") {}

const usedBy = Effect.map(
  GitHub.use((gate) => gate.statistics),
  ({ windows }) => windows[0]!.used
)

describe("Gate.Service", () => {
  it.effect("runs through the gate of the context: piped, called, and called with an ask", () =>
    Effect.gen(function* () {
      expect(yield* Effect.succeed(1).pipe(GitHub.run)).toBe(1)
      expect(yield* GitHub.run(Effect.succeed(2), { cost: 2 })).toBe(2)
      expect(yield* usedBy).toBe(3)
      expect(Gate.check(yield* (yield* GitHub).statistics)).toEqual([])
    }).pipe(Effect.provide(GitHub.layer))
  )

  it.effect("is one gate for all who are given one layer, and another for another tag", () =>
    Effect.gen(function* () {
      const [started, end] = [yield* Latch.make(), yield* Latch.make()]
      const fiber = yield* Effect.forkChild(GitHub.run(Effect.andThen(started.open, end.await)))
      yield* started.await
      const refused = yield* Effect.flip(GitHub.run(Effect.void, { maxWait: 0 }))
      expect([refused.gate, refused.reason._tag]).toEqual(["app/GitHub", "WaitExceeded"])
      yield* Mail.run(Effect.void, { maxWait: 0 })
      yield* end.open
      yield* Fiber.join(fiber)
      expect(Gate.check(yield* (yield* GitHub).statistics)).toEqual([])
    }).pipe(Effect.provide(Layer.merge(GitHub.layer, Mail.layer)))
  )

  it.effect("lives as long as its layer, and is in the registry under the name of its tag", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(GitHub.layer, scope)
      const named = Effect.map(Registry.snapshot, (all) => all.filter(({ name }) => name === "app/GitHub").length)
      expect(yield* named).toBe(1)
      yield* Scope.close(scope, Exit.void)
      expect(yield* named).toBe(0)
      const refused = yield* Effect.flip(GitHub.run(Effect.void).pipe(Effect.provide(context)))
      expect(refused.reason).toEqual(new Refused.ShuttingDown())
    })
  )

  it("needs its tag, and fails with Refused beside what the work fails with", () => {
    const work = Effect.flatMap(Name, (name) => Effect.fail(name.length))
    type Expected = Effect.Effect<never, number | Refused.Refused, Name | GitHub>
    expectTypeOf(GitHub.run(work)).toEqualTypeOf<Expected>()
    expectTypeOf(work.pipe(GitHub.run)).toEqualTypeOf<Expected>()
    expectTypeOf(GitHub.run(work, { cost: 2 })).toEqualTypeOf<Expected>()
    expectTypeOf(GitHub.layer).toEqualTypeOf<Layer.Layer<GitHub>>()
  })

  it.effect("bad options are a defect of the layer", () =>
    Effect.gen(function* () {
      class Bad extends Gate.Service<Bad>()("app/Bad", { limit: 0 }) {}
      const exit = yield* Effect.exit(Effect.provide(Bad.run(Effect.void), Bad.layer))
      expect(String(exit)).toContain("Expected a limit of at least 1 permit, got 0")
    })
  )
})
