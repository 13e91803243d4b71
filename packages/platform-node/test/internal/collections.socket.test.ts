import { setTimeout as sleep } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "@effect/vitest"
import * as collections from "../../src/internal/collections.ts"

setFlagsFromString("--expose-gc")
const collect: (options?: object) => void = runInNewContext("gc")

describe("collections", () => {
  it("are told with when, how long, and of which kind, until they are not", async () => {
    const told: Array<{ start: number; millis: number; kind: string }> = []
    const stop = collections.observe((start, millis, kind) => told.push({ start, millis, kind }))
    const before = performance.now()
    collect()
    collect({ type: "minor" })
    const after = performance.now()
    await sleep(50)
    for (const kind of ["major", "minor"]) {
      const pause = told.find((it) => it.kind === kind && it.start >= before && it.start <= after)
      expect(pause?.millis).toBeGreaterThan(0)
      expect(pause?.millis).toBeLessThanOrEqual(after - before)
    }
    stop()
    told.length = 0
    collect()
    await sleep(50)
    expect(told).toEqual([])
  })
})
