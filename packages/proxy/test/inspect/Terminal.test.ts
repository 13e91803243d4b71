import { describe, expect, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import * as Terminal from "../../src/inspect/Terminal.ts"
import { played } from "./terminals.ts"

const taken = (options?: { readonly isTTY: boolean }) => {
  const { streams, ...rest } = played(options)
  const heard: Array<string> = []
  const make = Terminal.make(streams, {
    colours: true,
    onInput: (text) => heard.push(text),
    onResize: () => heard.push("resize")
  })
  return { ...rest, heard, make }
}

const entered = ["raw true", "resume", "^[?1049h^[?25l^[?7l"]
const left = ["raw false", "pause", "^[?7h^[?25h^[?1049l"]

describe("the terminal", () => {
  it.effect("is taken, drawn on, and given back as it was, with no listener left", () =>
    Effect.gen(function* () {
      const exits = process.listenerCount("exit")
      const { done, heard, input, make, output } = taken()
      const scope = yield* Scope.make()
      const terminal = yield* Scope.provide(make, scope)
      expect(done.splice(0)).toEqual(entered)
      expect([terminal.columns, terminal.rows]).toEqual([10, 3])
      terminal.draw([[["plain", "a"]], [["bold", "b"]]])
      terminal.draw([[], [], [["plain", "full"]]])
      expect(done.splice(0)).toEqual(["^[H^[Ka\\r\\n^[K^[1mb^[0m\\r\\n^[J", "^[H^[K\\r\\n^[K\\r\\n^[Kfull"])
      input.emit("data", Buffer.from("s"))
      output.emit("resize")
      expect(heard).toEqual(["s", "resize"])
      yield* Scope.close(scope, Exit.void)
      expect(done.splice(0)).toEqual(left)
      terminal.draw([[["plain", "too late"]]])
      expect(done).toEqual([])
      expect([input.listenerCount("data"), output.listenerCount("resize")]).toEqual([0, 0])
      expect(process.listenerCount("exit")).toBe(exits)
    })
  )

  it.effect("is given back once, also where the process ends without a word", () =>
    Effect.gen(function* () {
      const { done, make } = taken()
      const before = process.listeners("exit")
      const scope = yield* Scope.make()
      yield* Scope.provide(make, scope)
      const added = process.listeners("exit").filter((listener) => !before.includes(listener))
      expect(added).toHaveLength(1)
      done.length = 0
      added[0]!(0)
      yield* Scope.close(scope, Exit.void)
      expect(done).toEqual(left)
    })
  )

  it.effect("is left in its mode where nobody types", () =>
    Effect.gen(function* () {
      const { done, make, output } = taken({ isTTY: false })
      output.columns = output.rows = 0
      const { columns, rows } = yield* Effect.scoped(make)
      expect([columns, rows]).toEqual([80, 24])
      expect(done.filter((what) => what.startsWith("raw"))).toEqual([])
    })
  )
})

it.each([
  [true, {}, true],
  [true, { NO_COLOR: "" }, true],
  [true, { NO_COLOR: "1" }, false],
  [true, { TERM: "dumb" }, false],
  [false, {}, false]
])("colours on a terminal: %s, with %j", (isTerminal, env, wanted) =>
  expect(Terminal.colours(isTerminal, env)).toBe(wanted)
)
