import { describe, expect, it } from "@effect/vitest"
import { callerOfNative, culprit, stackBelow } from "../../src/internal/frames.ts"
import type { Frame } from "../../src/internal/frames.ts"

const frame = (functionName: string, scriptName: string, lineNumber = 1): Frame => ({
  functionName,
  scriptName,
  lineNumber
})
const effect = frame("runLoop", "file:///app/node_modules/.pnpm/effect@4.1.0/node_modules/effect/dist/effect.js")
const wrapped = frame("wrapped", "file:///app/node_modules/@fairlead/platform-node/dist/internal/runs.js")
const node = frame("now", "node:internal/perf/performance")
const main = frame("main", "file:///app/src/main.ts", 3)
const builtin = frame("map", "", 0)

const named = (...stack: ReadonlyArray<Frame>) => culprit(stack, "/app")

describe("culprit", () => {
  it("is the innermost function of the program, not what it calls of Node and Effect", () => {
    expect(named(node, effect, frame("parse", "file:///app/src/report.ts", 12), main)).toEqual({
      function: "parse",
      place: "src/report.ts:12",
      own: true
    })
  })

  it("is named by the nearest one around it that has a name, at its own place", () => {
    const line = frame("", "file:///app/src/report.ts", 12)
    expect(named(line, builtin, frame("each", "file:///app/src/report.ts", 40))).toEqual({
      function: "each",
      place: "src/report.ts:12",
      own: true
    })
  })

  it("has no name where only who has started the fiber has one", () => {
    const line = frame("", "file:///app/src/report.ts", 12)
    expect(named(line, effect, main)).toEqual({ function: "(anonymous)", place: "src/report.ts:12", own: true })
    expect(named(line, wrapped, main)?.function).toBe("(anonymous)")
  })

  it("may be what was given to eval", () => {
    expect(named(builtin, frame("rule", "", 7), main)).toEqual({ function: "rule", place: "eval:7", own: true })
  })

  it("is told from outside of the working directory by its whole path", () => {
    expect(named(frame("f", "file:///elsewhere/x%20y.js", 7))?.place).toBe("/elsewhere/x y.js:7")
    expect(named(frame("f", "/app/old.cjs", 7))?.place).toBe("old.cjs:7")
  })

  it("is of Effect where nothing of the program's is there, of Node where not even that, and nobody where nothing is", () => {
    expect(named(node, effect)?.function).toBe("runLoop")
    expect(named(node)).toEqual({ function: "now", place: "node:internal/perf/performance:1", own: false })
    expect(named()).toBeUndefined()
  })
})

describe("the caller of native code", () => {
  const parse = frame("parse", "file:///app/src/report.ts", 12)
  const entered = { ...frame("next", "file:///app/src/next.ts"), entered: true }
  const caller = (...stack: ReadonlyArray<Frame>) => callerOfNative(stack, "/app")?.function

  it("is the innermost function of the program, but for one that was called after it", () => {
    expect(caller(parse, main)).toBe("parse")
    expect(caller(entered, parse, main)).toBe("parse")
    expect(caller({ ...node, entered: true }, node, parse, main)).toBe("parse")
    expect(caller(effect, parse)).toBe("parse")
  })

  it("is unknown where it has returned: who started the fiber, or comes next, is innocent", () => {
    expect(caller({ ...effect, entered: true }, effect, main)).toBeUndefined()
    expect(caller(entered, effect, main)).toBeUndefined()
    expect(caller(entered)).toBeUndefined()
    expect(caller({ ...node, entered: true }, node)).toBeUndefined()
    expect(caller()).toBeUndefined()
  })
})

describe("the stack", () => {
  it("is that below a script, innermost first", () => {
    const asks = new Function("read", "return read()\n//# sourceURL=fairlead:test")
    const here = () => stackBelow("fairlead:test")
    const { prepareStackTrace, stackTraceLimit } = Error
    const named = [1].map(function each() {
      return asks(here) as ReadonlyArray<Frame>
    })[0]!
    expect(named.slice(0, 2)).toMatchObject([
      { functionName: "each", scriptName: expect.stringContaining("frames.test.ts"), entered: false },
      { functionName: "map", scriptName: "", lineNumber: 0 }
    ])
    expect({ prepareStackTrace, stackTraceLimit }).toEqual({
      prepareStackTrace: Error.prepareStackTrace,
      stackTraceLimit: Error.stackTraceLimit
    })
    const start = here().findIndex(({ functionName }) => functionName === "stackBelow")
    expect(start).toBe(0)
  })
})
