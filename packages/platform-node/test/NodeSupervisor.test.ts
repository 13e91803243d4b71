import { describe, expect, it } from "@effect/vitest"
import { NodeSupervisor } from "@fairlead/platform-node"
import { Effect, Option } from "effect"
import { backoff } from "../src/internal/supervisor.ts"

describe("NodeSupervisor", () => {
  it.effect("without a supervisor nobody is told, nothing is kept, and no sockets are passed", () =>
    Effect.gen(function* () {
      yield* NodeSupervisor.ready
      yield* NodeSupervisor.store.save("github", [])
      expect(yield* NodeSupervisor.store.load("github")).toEqual(Option.none())
      expect(NodeSupervisor.sockets()).toEqual([])
    })
  )

  it("waits twice as long after each crash, up to the most, and half of it by chance", () => {
    const waits = (chance: number) => [0, 1, 2, 6, 7, 2000].map((crashes) => backoff(crashes, 100, 10_000, chance))
    expect(waits(1)).toEqual([100, 200, 400, 6400, 10_000, 10_000])
    expect(waits(0)).toEqual([50, 100, 200, 3200, 5000, 5000])
  })

  it("tells each event in a line", () => {
    const worker = { slot: 1, pid: 42 }
    expect(
      [
        { _tag: "Started", ...worker },
        { _tag: "Started", slot: 1, pid: undefined },
        { _tag: "Ready", ...worker, tookMillis: 312.4 },
        { _tag: "Late", ...worker, afterMillis: 30_000 },
        { _tag: "Ended", ...worker, code: 0, signal: null },
        { _tag: "Ended", ...worker, code: null, signal: "SIGKILL" },
        { _tag: "FailedAtStart", ...worker, code: 2, signal: null },
        { _tag: "Crashed", ...worker, why: "ended with 1", inMillis: 87.2 },
        { _tag: "Finished", ...worker },
        { _tag: "RollBegun" },
        { _tag: "RollDone", tookMillis: 1000 },
        { _tag: "RollGivenUp", slot: 1 }
      ].map((event) => NodeSupervisor.format(event as NodeSupervisor.Event))
    ).toEqual([
      "Worker 1 (pid 42) has started",
      "Worker 1 (pid none) has started",
      "Worker 1 (pid 42) is ready, after 312ms",
      "Worker 1 (pid 42) did not say within 30s that it is ready, and is told to stop",
      "Worker 1 (pid 42) has ended with 0",
      "Worker 1 (pid 42) has ended with SIGKILL",
      "Worker 1 (pid 42) ended with 2 before any was ready: it is not started again",
      "Worker 1 (pid 42) ended with 1; the next one starts in 87ms",
      "Worker 1 (pid 42) has ended by itself",
      "A roll has begun",
      "The roll is done, after 1s",
      "The roll is given up at slot 1: what was there stays"
    ])
  })
})

describe("misuse", () => {
  it("no workers, or half a one", () => {
    for (const workers of [0, 1.5, -1, Number.NaN]) {
      expect(() => NodeSupervisor.launch(Effect.void, { workers })).toThrow(
        `Expected at least 1 worker, got ${workers}`
      )
    }
  })

  it("no time to be ready in, or to wait after a crash", () => {
    for (const none of [0, -5, Number.NaN]) {
      expect(() => NodeSupervisor.launch(Effect.void, { ready: none })).toThrow(
        `Expected ready to be more than 0 ms, got ${none}`
      )
      expect(() => NodeSupervisor.launch(Effect.void, { backoff: { first: none } })).toThrow("Expected backoff.first")
      expect(() => NodeSupervisor.launch(Effect.void, { backoff: { most: none } })).toThrow("Expected backoff.most")
    }
  })
})
