import { describe, expect, it } from "vitest"
import * as Look from "../../src/inspect/Look.ts"
import * as Top from "../../src/inspect/Top.ts"
import * as looks from "./looks.ts"

const { breaker, calls, cpu, findings, gate, loop, memory, pool, profile, statistics, tasks } = looks

/** Two looks, two seconds from one another. */
const state = (before: object, now: object, more: Partial<Top.State> = {}): Top.State => ({
  ...Top.start,
  before: Look.read(before, [], [], 1_000),
  now: Look.read(now, tasks, findings, 3_000),
  ...more
})

const shown = (state: Top.State, width = 100, height = Infinity) =>
  Top.render(state, width, height).map((line) => Top.paint(line, false).trimEnd())

const busy = state(
  statistics(
    [gate("github", { completed: 80, refused: 1 }), { ...calls, statistics: { underWay: 1, ended: 200 } }],
    {},
    { cpuMillis: 99_320 }
  ),
  statistics([
    gate("github"),
    gate("search", { running: 2, limit: null, waiting: 0, windows: [], drainRate: null }),
    pool,
    cpu,
    calls,
    loop,
    memory,
    profile,
    breaker(1)
  ])
)

describe("what top shows", () => {
  it("writes what is too long for its column short, and nothing fuller than it is", () => {
    const row = (more: object) => shown(state({}, statistics([gate("github", { windows: [], ...more })])))[4]
    expect(row({ running: 0, limit: 50, waiting: 8_900, maxWaiting: 12_000 })).toMatch(/^github +0\/50 +8.9k\/12k +–/)
    expect(row({ running: 1_000, limit: 1_000, waiting: 9_999, maxWaiting: 10_000 })).toMatch(/ +1k\/1k +9.9k\/10k +–/)
    expect(row({ running: 100, limit: 1_000, waiting: 2_999_999, maxWaiting: 3_000_000 })).toMatch(
      / +100\/1,000 +2.9M\/3M +–/
    )
  })

  it("is all that is known, with rates between two looks", () => {
    expect(shown(busy)).toEqual([
      "fairlead 0.4.0  ready  up 2:13:07  pid 4711                                400 calls/s  37 under way",
      "cpu 34 %   loop 41 %, late by 0.4 ms (p99 12 ms)   heap 212 MiB of 4.1 GiB   rss 310 MiB",
      "memory tight   budget 1 MiB of 64 MiB",
      "circuits open: openai",
      "",
      "GATES                           running    ▼waiting   done/s  refused/s  drain/s  window",
      "github                            20/20   412/1,000      5.0        2.0      1.3  ████▉ 78/80 per 1m",
      "search                                2     0/1,000        –          –        –",
      "",
      "POOLS                              busy    idle  connecting  waiting  opened/s  reused/s",
      "upstreams                            27       4           1        0         –         –",
      "",
      "CPU POOLS                       running  waiting  done/s  failed  killed  crashed",
      "thumbnails                          4/4        2       –       1       3        1",
      "",
      "LONGEST             age      left  call                                waits for   35 more",
      "9d4c1b7a-1040      31 s         –  POST /openai/chat                   –",
      "9d4c1b7a-1042      12 s      18 s  GET /github/repos                   gate github",
      "",
      "WHERE TIME GOES",
      "firstByte 60 %   gate 30 %   running 10 %",
      "",
      "HELD THE LOOP",
      "    214 ms  parse  import.ts:12:3",
      "    120 ms  older  a.ts:1:1",
      "",
      "LINT",
      "unbounded      gate free: any number may wait"
    ])
  })

  it("fits a terminal of 80 by 24, and says what is left out", () => {
    const many = Array.from({ length: 30 }, (_, i) => gate(`gate ${i}`, { waiting: i }))
    const now = statistics([...many, pool, calls, loop])
    const long = Array.from({ length: 20 }, (_, i) => ({ ...tasks[0]!, id: `9d4c1b7a-${i}` }))
    const full = { ...Top.start, now: Look.read(now, long, findings, 1) }
    const lines = shown(full, 80, 24)
    expect(lines).toHaveLength(24)
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80)
    expect(lines[3]).toBe("GATES       running    ▼waiting   done/s  refused/s  drain/s  window   25 more")
    expect(lines[4]).toMatch(/^gate 29 +20\/20 +29\/1,000/)
    expect(lines.filter((line) => /^(POOLS|LONGEST|LINT|HELD)/.test(line)).map((line) => line.split(" ")[0])).toEqual([
      "POOLS",
      "LONGEST",
      "HELD",
      "LINT"
    ])
  })

  it("leaves out sections that have no room, and says at once where it has none at all", () => {
    expect(shown(busy, 100, 7).at(-1)).toMatch(/^github/)
    expect(shown(busy, 20, 1)).toEqual(["fairlead 0.4.0  rea…"])
    expect(shown(Top.start)).toEqual(["looking …"])
  })

  it("has a bar for the fullest window where there is room", () => {
    expect(shown(busy, 120)[6]).toBe(
      "github                            20/20   412/1,000      5.0        2.0      1.3  ███████████▊ 78/80 per 1m"
    )
    expect([0, 0.02, 0.5, 1, 7].map((part) => Top.bar(part, 4))).toEqual(["░░░░", "▏░░░", "██░░", "████", "████"])
  })

  it("has no rates for another process that answers now, nor where there are less than before", () => {
    const other = state(statistics([gate("github"), calls], {}, { pid: 1 }), statistics([gate("github"), calls]))
    expect(shown(other)[0]).toContain("– calls/s")
    const less = state(statistics([gate("github", { completed: 999 })]), statistics([gate("github")]))
    expect(shown(less).find((line) => line.startsWith("github"))).toMatch(/412\/1,000 +– +0 /)
  })

  it("says so when there is nothing new", () => {
    expect(shown({ ...busy, trouble: "nobody listens there; trying again" })[0]).toBe(
      "nobody listens there; trying again"
    )
    expect(shown({ ...busy, paused: true })[0]).toBe("paused: p goes on")
    expect(shown(state(statistics([]), statistics([], { ready: false })))[0]).toContain("not ready")
  })

  it("marks by colour what is worth a look, and only where there are colours", () => {
    const line = Top.render(busy, 100, Infinity).find(([first]) => first?.[1].startsWith("github"))!
    expect(Top.paint(line, true)).toContain("\u001b[33m   412/1,000\u001b[0m")
    expect(Top.paint(line, true)).toContain("\u001b[31;1m        2.0\u001b[0m")
    expect(Top.paint(line, false)).not.toContain("\u001b")
  })

  it.each([
    [0, "0 MiB"],
    [1_500, "2 KiB"],
    [222_298_112, "212 MiB"],
    [4_395_630_592, "4.1 GiB"]
  ])("the size of %d", (bytes, text) => expect(Top.size(bytes)).toBe(text))
})

describe("the order of gates", () => {
  const gates = [
    gate("b", { running: 1, waiting: 5, drainRate: null }),
    gate("a", { running: 3, waiting: 5, refused: 50 }),
    gate("c", { running: 2, waiting: 9, completed: 500 })
  ]
  const before = statistics(["a", "b", "c"].map((name) => gate(name)))
  const order = (sort: number) =>
    shown(state(before, statistics(gates), { sort })).flatMap((line) => /^([abc]) /.exec(line)?.[1] ?? [])

  it("goes by the column that is marked, the most first, equals by name", () => {
    expect([0, 1, 2, 3, 4, 5].map((sort) => order(sort).join(""))).toEqual(["abc", "acb", "cab", "cab", "abc", "acb"])
    const head = (sort: number) =>
      shown(state(before, statistics(gates), { sort })).find((line) => line.includes("GATES"))
    expect(head(0)).toContain("▼GATES")
    expect(head(4)).toContain("▼refused/s")
  })
})

describe("keys", () => {
  it("are told apart, those that a terminal sends as several characters, too", () => {
    expect(Top.keys("qs\u001b[C\u001bOD\u001b[1;5Cx\u001b")).toEqual([
      "q",
      "s",
      "\u001b[C",
      "\u001bOD",
      "\u001b[1;5C",
      "x",
      "\u001b"
    ])
    expect(Top.keys("")).toEqual([])
  })

  it("end it", () => {
    for (const key of ["q", "Q", "\u0003", "\u0004"]) expect(Top.pressed(Top.start, key)).toBeUndefined()
  })

  it("go through the columns, and round", () => {
    let state = Top.start
    const sorts = ["s", "\u001b[C", "s", "s", "S", "\u001b[D", "\u001bOD", "S"].map(
      (key) => (state = Top.pressed(state, key)!).sort
    )
    expect(sorts).toEqual([3, 4, 5, 0, 5, 4, 3, 2])
  })

  it("pause it, show help and hide it, and do nothing else", () => {
    const paused = Top.pressed(Top.start, "p")!
    expect(paused.paused).toBe(true)
    expect(Top.pressed(paused, " ")).toEqual(Top.start)
    const helped = Top.pressed(Top.start, "?")!
    expect(shown({ ...busy, help: true }).join("\n")).toContain("fairlead explain ID")
    expect(Top.pressed(helped, "\u001b")).toEqual(Top.start)
    expect(Top.pressed(helped, "?")).toEqual(Top.start)
    expect(Top.pressed(Top.start, "x")).toBe(Top.start)
  })
})

describe("looks", () => {
  const look = (at: number) => Look.read(statistics([]), [], [], at)

  it("follow each other, and a trouble is told until the next", () => {
    let state = Top.looked(Top.start, look(1))
    state = Top.looked(state, look(2))
    expect([state.before?.at, state.now?.at]).toEqual([1, 2])
    state = Top.looked(state, "nobody listens there")
    expect([state.before?.at, state.now?.at, state.trouble]).toEqual([1, 2, "nobody listens there"])
    state = Top.looked(state, look(3))
    expect([state.before?.at, state.now?.at, state.trouble]).toEqual([2, 3, undefined])
  })

  it("change nothing while it is paused, but that all is well again", () => {
    const paused = { ...Top.looked(Top.start, look(1)), paused: true, trouble: "gone" }
    expect(Top.looked(paused, look(2))).toEqual({ ...paused, trouble: undefined })
  })
})
