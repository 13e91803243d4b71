import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Gate, Priority, RateWindow } from "@fairlead/core"
import { endOf, fork, nothingLeft, stage, settle, timers } from "../gates.ts"

describe("Feeding", () => {
  it.effect("who leaves while others are asked makes room for one that was asked before", () =>
    Effect.gen(function* () {
      let asked = 0
      let leaver: Fiber.Fiber<unknown, unknown> | undefined
      const gate = yield* Gate.make("test", {
        limit: 1,
        line: { levels: { 3: { maxItems: 1 }, 5: { maxItems: 1 } } },
        perTenant: (tenant) => {
          // Asked at the door, and once more when its level has room.
          if (tenant === "b" && ++asked === 2) leaver!.interruptUnsafe()
          return undefined
        }
      })
      const { come, end } = stage(gate)
      yield* come("holder")
      const held = yield* come("leaves", { urgency: 3 })
      leaver = held
      const other = yield* come("other", { urgency: 5 })
      const of = (urgency: Priority.Urgency, tenant: string) =>
        fork(gate.forEach([tenant], Effect.succeed, { ask: () => ({ urgency, tenant }) }).pipe(Priority.at(urgency)))
      const first = yield* of(3, "a")
      const second = yield* of(5, "b")
      expect((yield* gate.statistics).waiting).toBe(2)
      yield* Fiber.interrupt(other)
      yield* settle
      expect(asked).toBe(2)
      expect((yield* gate.statistics).waitingByUrgency).toEqual([0, 0, 0, 1, 0, 1, 0, 0])
      yield* end("holder")
      expect([endOf(first), endOf(second)]).toEqual([Exit.succeed(["a"]), Exit.succeed(["b"])])
      yield* nothingLeft(gate)
    })
  )

  it.effect("asks again when the first of several allowances has room, and no more when nobody waits for it", () =>
    Effect.gen(function* () {
      const gate = yield* Gate.make("test", {
        line: { maxItems: 0 },
        perTenant: (tenant) => ({ windows: [RateWindow.per(1, tenant === "slow" ? "1 hour" : "1 second")] })
      })
      const each = (tenant: string) => fork(gate.forEach([1, 2], Effect.succeed, { ask: () => ({ tenant }) }))
      const slow = yield* each("slow")
      const fast = yield* each("fast")
      yield* TestClock.adjust("1 second")
      expect(endOf(fast)).toEqual(Exit.succeed([1, 2]))
      expect(yield* timers).toBe(1)
      yield* Fiber.interrupt(slow)
      yield* nothingLeft(gate)
    })
  )
})
