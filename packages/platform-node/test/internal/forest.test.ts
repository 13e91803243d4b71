import type { Registry } from "@fairlead/core"
import { Inspect } from "@fairlead/platform-node"
import { describe, expect, it } from "vitest"
import { prune } from "../../src/internal/forest.ts"

const node = (
  name: string,
  children: ReadonlyArray<Registry.Node> = [],
  more: Partial<Registry.Node> = {}
): Registry.Node => ({
  kind: children.length === 0 ? "child" : "nursery",
  name,
  state: "running",
  ageMillis: 1_500,
  waitingFor: null,
  deadlineMillis: null,
  reason: null,
  children,
  ...more
})

const wood = [
  node(
    "import",
    [
      node("issues", [node("page 1"), node("page 2", [], { state: "waiting", waitingFor: "gate github" })]),
      node("log", [], { state: "ending", reason: "Shutdown", waitingFor: "gate log" })
    ],
    { state: "joining", deadlineMillis: 28_000, restarts: 2 }
  ),
  node("GET /x", [], { kind: "call", id: "ab-1", state: "starting", waitingFor: "gate x", left: 4 })
]

describe("a tree as text", () => {
  it("is indented in a pipe", () => {
    expect(Inspect.formatTree(wood)).toBe(`nursery import · joining · 1.5 s · 28 s left · 2 restarts
  nursery issues · running · 1.5 s
    child page 1 · running · 1.5 s
    child page 2 · waits for gate github · 1.5 s
  child log · ending · 1.5 s · cut: Shutdown
call ab-1 GET /x · starting, waits for gate x · 1.5 s
  … and 4 more
`)
  })

  it("has its branches drawn on a terminal", () => {
    expect(
      Inspect.formatTree(wood, "box")
        .split("\n")
        .map((line) => line.replace(/ ·.*/, ""))
    ).toEqual([
      "nursery import",
      "├─ nursery issues",
      "│  ├─ child page 1",
      "│  └─ child page 2",
      "└─ child log",
      "call ab-1 GET /x",
      "└─ … and 4 more",
      ""
    ])
  })

  it("steers no terminal, whatever it is called", () => {
    const bad = "\u001b[2J\nroot"
    const text = Inspect.formatTree(
      [node(bad, [], { id: bad, waitingFor: bad }), node("x", [], { reason: bad })],
      "box"
    )
    expect(text).not.toContain("\u001b")
    expect(text.split("\n")).toHaveLength(3)
  })

  it("of nothing is nothing", () => {
    expect(Inspect.formatTree([], "box")).toBe("")
  })
})

describe("pruning", () => {
  const shape = (nodes: ReadonlyArray<Registry.Node>): unknown =>
    nodes.map(({ children, left, name }) => [name, left ?? 0, ...(shape(children) as ReadonlyArray<unknown>)])

  it("leaves a small one as it is", () => {
    expect(prune(wood, 6)).toEqual(wood)
  })

  it("keeps what is on top, level by level, and says how many are left out where", () => {
    expect(shape(prune(wood, 5))).toEqual([
      ["import", 0, ["issues", 1, ["page 1", 0]], ["log", 0]],
      ["GET /x", 4]
    ])
    expect(shape(prune(wood, 3))).toEqual([
      ["import", 1, ["issues", 2]],
      ["GET /x", 4]
    ])
    expect(shape(prune(wood, 2))).toEqual([
      ["import", 2],
      ["GET /x", 4]
    ])
  })
})
