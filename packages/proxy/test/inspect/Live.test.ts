import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import * as Live from "../../src/inspect/Live.ts"
import { Unreachable } from "../../src/inspect/Remote.ts"
import * as Top from "../../src/inspect/Top.ts"
import * as looks from "./looks.ts"
import { played } from "./terminals.ts"

/** An admin port that has been asked so often, and is there or not. */
const port = () => {
  const self = {
    asked: 0,
    isThere: true,
    get: (path: string) =>
      Effect.suspend(() => {
        if (path === "/statistics") self.asked++
        if (!self.isThere) return Effect.fail(new Unreachable({ url: "http://x", why: "nobody listens there" }))
        const answers: Record<string, unknown> = {
          "/statistics": looks.statistics([], { version: `0.${self.asked}` }),
          "/explain": looks.tasks,
          "/lint": looks.findings
        }
        return Effect.succeed({ status: 200, json: answers[path] })
      })
  }
  return self
}

describe("top on a terminal", () => {
  it.effect("looks once in a while, tells of trouble, heeds keys and the size, and gives the terminal back", () =>
    Effect.gen(function* () {
      const remote = port()
      const { done, input, output, streams } = played()
      output.columns = 60
      output.rows = 8
      const first = Top.looked(Top.start, yield* Live.look(remote))
      const fiber = yield* Effect.forkChild(Effect.scoped(Live.run(remote, first, "1 second", streams, false)), {
        startImmediately: true
      })
      /** What stands on the screen now. */
      const screen = Effect.map(TestClock.adjust(0), () => done.at(-1)!.replaceAll("^[K", "").split("\\r\\n"))
      expect((yield* screen)[0]).toMatch(/^\^\[Hfairlead 0.1 {2}ready/)
      yield* TestClock.adjust("1 second")
      expect((yield* screen)[0]).toMatch(/0\.2/)
      expect((yield* screen).join()).toContain("9d4c1b7a-1040")
      remote.isThere = false
      yield* TestClock.adjust("1 second")
      expect((yield* screen).slice(0, 2)).toEqual([
        "^[Hhttp://x: nobody listens there; trying again",
        expect.stringContaining("fairlead 0.2")
      ])
      remote.isThere = true
      yield* TestClock.adjust("1 second")
      expect((yield* screen)[0]).toMatch(/0\.4/)
      input.emit("data", "p")
      yield* TestClock.adjust("2 seconds")
      expect((yield* screen).slice(0, 2)).toEqual(["^[Hpaused: p goes on", expect.stringContaining("fairlead 0.4")])
      output.columns = 20
      output.emit("resize")
      expect((yield* screen)[1]).toBe("fairlead 0.4  ready…")
      input.emit("data", "p?q?")
      expect(yield* Fiber.join(fiber)).toBeUndefined()
      expect(done.slice(-3)).toEqual(["raw false", "pause", "^[?7h^[?25h^[?1049l"])
      const { asked } = remote
      yield* TestClock.adjust("1 minute")
      expect(remote.asked).toBe(asked)
    })
  )

  it.effect("gives it back when it is interrupted", () =>
    Effect.gen(function* () {
      const { done, streams } = played()
      const fiber = yield* Effect.forkChild(Effect.scoped(Live.run(port(), Top.start, "1 second", streams, true)), {
        startImmediately: true
      })
      yield* Fiber.interrupt(fiber)
      expect(done.at(-1)).toBe("^[?7h^[?25h^[?1049l")
    })
  )
})
