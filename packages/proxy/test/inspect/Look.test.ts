import { describe, expect, it } from "vitest"
import * as fc from "fast-check"
import * as Look from "../../src/inspect/Look.ts"
import * as Top from "../../src/inspect/Top.ts"
import * as looks from "./looks.ts"

describe("a look at a process", () => {
  it("has what is known of each kind", () => {
    const { breaker, calls, cpu, findings, gate, loop, memory, pool, profile, statistics, tasks } = looks
    const all = statistics([gate("github"), pool, loop, memory, profile, cpu, calls, breaker(1)])
    expect(Look.read(all, tasks, findings, 5)).toMatchObject({
      at: 5,
      version: "0.4.0",
      ready: true,
      process: { pid: 4_711, uptimeMillis: 7_987_000 },
      calls: { underWay: 37, ended: 1_000 },
      loop: { utilization: 0.41, p99: 12, alarms: [{ function: "parse" }, { function: "older" }] },
      memory: { level: "tight", budgetUsedBytes: 1_048_576 },
      profile: [
        { kind: "firstByte", millis: 120 },
        { kind: "gate", millis: 60 },
        { kind: "running", millis: 20 }
      ],
      gates: [{ name: "github", running: 20, limit: 20, done: 100, window: { used: 78, limit: 80, per: "1m" } }],
      pools: [{ name: "upstreams", busy: 27, max: undefined }],
      workers: [{ name: "thumbnails", size: 4 }],
      circuits: [{ name: "openai", open: 1 }],
      tasks: [
        { id: "9d4c1b7a-1042", leftMillis: 17_600 },
        { waitingFor: undefined, leftMillis: undefined }
      ],
      findings: [{ rule: "unbounded" }]
    })
  })

  it("finds what there is of a kind behind thousands of another", () => {
    const others = Array.from({ length: 3_000 }, (_, i) => ({ kind: "nursery", name: `${i}`, statistics: {} }))
    const { gates } = Look.read(looks.statistics([...others, looks.gate("github")]), [], [], 0)
    expect(gates).toMatchObject([{ name: "github" }])
  })

  it("has queues among the gates, and the busiest gates of a map", () => {
    const { statistics } = looks.gate("a.example")
    const all = looks.statistics([
      { kind: "queue", name: "jobs", statistics },
      { kind: "gate map", name: "hosts", statistics: { gates: [statistics] } }
    ])
    expect(Look.read(all, [], [], 0).gates.map(({ name }) => name)).toEqual(["jobs", "hosts/a.example"])
  })

  it("leaves out what is not there, and what nobody here knows", () => {
    expect(Look.read({ instances: [{ kind: "tea", name: "pot", statistics: {} }] }, undefined, undefined, 0)).toEqual({
      at: 0,
      version: undefined,
      ready: undefined,
      process: {},
      gates: [],
      pools: [],
      workers: [],
      circuits: [],
      tasks: [],
      findings: []
    })
  })

  it("takes whatever comes, and draws it without an order to the terminal in it", () => {
    const shaped = fc.record(
      {
        kind: fc.constantFrom(
          "gate",
          "queue",
          "gate map",
          "pool",
          "loop",
          "memory",
          "profile",
          "cpu",
          "calls",
          "breaker"
        ),
        name: fc.string({ unit: "binary" }),
        statistics: fc.oneof(
          fc.jsonValue(),
          fc
            .constantFrom(looks.gate("x").statistics, looks.loop.statistics, looks.profile.statistics)
            .chain((known) =>
              fc.dictionary(fc.constantFrom(...Object.keys(known)), fc.jsonValue()).map((odd) => ({ ...known, ...odd }))
            )
        )
      },
      { requiredKeys: ["kind"] }
    )
    fc.assert(
      fc.property(
        fc.array(shaped, { maxLength: 6 }),
        fc.jsonValue(),
        fc.jsonValue(),
        fc.integer({ min: 1, max: 200 }),
        (instances, tasks, findings, width) => {
          const now = Look.read({ instances, version: "\u001b]0;x\u0007" }, tasks, findings, 1)
          const lines = Top.render({ ...Top.start, before: now, now }, width, 24)
          expect(lines.length).toBeLessThanOrEqual(24)
          for (const line of lines.map((line) => Top.paint(line, false))) {
            // oxlint-disable-next-line no-control-regex
            expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
            expect(line.length).toBeLessThanOrEqual(width)
          }
        }
      ),
      { numRuns: 100 }
    )
  })
})

describe("a tree of others", () => {
  it("is read as far as it is one", () => {
    const node = {
      kind: "call",
      id: "a\u001b-1",
      name: "GET\n/x",
      state: "waiting",
      ageMillis: 5,
      waitingFor: "gate x"
    }
    const known = { restarts: 0, left: 0, deadlineMillis: null, reason: null, children: [] }
    expect(
      Look.tree([node, 7, { name: 3, children: [{ deadlineMillis: 4, reason: "r", left: 2, restarts: 1 }] }])
    ).toEqual([
      { ...known, kind: "call", id: "a�-1", name: "GET�/x", state: "waiting", ageMillis: 5, waitingFor: "gate x" },
      { ...known, kind: "", name: "", state: "", ageMillis: 0, waitingFor: null },
      {
        ...known,
        kind: "",
        name: "",
        state: "",
        ageMillis: 0,
        waitingFor: null,
        children: [
          {
            kind: "",
            name: "",
            state: "",
            ageMillis: 0,
            waitingFor: null,
            deadlineMillis: 4,
            reason: "r",
            left: 2,
            restarts: 1,
            children: []
          }
        ]
      }
    ])
    expect(Look.tree("no tree")).toEqual([])
  })

  it("ends where it is deeper than anybody's", () => {
    let deep: object = {}
    for (let i = 0; i < 5_000; i++) deep = { children: [deep] }
    let depth = 0
    for (let nodes = Look.tree([deep]); nodes.length > 0; nodes = nodes[0]!.children) depth++
    expect(depth).toBe(100)
  })

  it("has sentences for an explanation, and none for anything else", () => {
    expect(Look.sentences({ sentences: ["It waits.\u001b[2J", 7] })).toEqual(["It waits.�[2J", ""])
    expect(Look.sentences(null)).toEqual([])
  })
})
