import { describe, expect, it } from "@effect/vitest"
import { Effect, Scope, Exit } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as AccessLog from "../src/AccessLog.ts"

const entry: AccessLog.Entry = {
  id: "a-1",
  method: "GET",
  target: `/x/"quoted"\u00e9?key=secret`,
  hop: 0,
  upstream: "x",
  status: 200,
  urgency: 3,
  queueMillis: 0,
  ttfbMillis: 1.23456,
  totalMillis: 2,
  bytesIn: 0,
  bytesOut: 10,
  reason: undefined,
  cut: undefined,
  notes: undefined
}

const file = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "fairlead-"))
    return { fd: fs.openSync(path.join(folder, "log"), "a+"), folder }
  }),
  ({ fd, folder }) =>
    Effect.sync(() => {
      fs.closeSync(fd)
      fs.rmSync(folder, { recursive: true })
    })
)

describe("AccessLog", () => {
  it("writes a line that is JSON, without the values of the query", () => {
    const parsed = JSON.parse(
      AccessLog.line({ ...entry, notes: ["ignored priority"], reason: "queue-full", hop: 1 }, 2)
    )
    expect(parsed).toMatchObject({
      id: "a-1",
      path: `/x/"quoted"\u00e9?key=`,
      ttfb: 1.23,
      total: 2,
      hop: 1,
      reason: "queue-full",
      notes: ["ignored priority"],
      dropped: 2
    })
    expect(Date.parse(parsed.time)).toBeGreaterThan(0)
  })

  it.live("is whole once its scope has closed", () =>
    Effect.gen(function* () {
      const { fd, folder } = yield* file
      const scope = yield* Scope.make()
      const log = yield* AccessLog.make({ fd }).pipe(Scope.provide(scope))
      for (let i = 0; i < 5000; i++) log.write(entry)
      yield* Scope.close(scope, Exit.void)
      const lines = fs.readFileSync(path.join(folder, "log"), "utf8").trimEnd().split("\n")
      expect(lines.length).toBe(5000)
      for (const line of lines) expect(JSON.parse(line).status).toBe(200)
    })
  )

  it.live("gives up lines rather than memory, and says how many", () =>
    Effect.gen(function* () {
      const { fd, folder } = yield* file
      const log = yield* AccessLog.make({ fd, maxPendingBytes: 1000 })
      // Nothing is written before this turn of the loop ends.
      for (let i = 0; i < 100; i++) log.write(entry)
      yield* log.flush
      log.write(entry)
      yield* log.flush
      const lines = fs.readFileSync(path.join(folder, "log"), "utf8").trimEnd().split("\n")
      expect(lines.length).toBeLessThan(20)
      expect(JSON.parse(lines.at(-1)!).dropped).toBe(101 - lines.length)
    })
  )

  it.live("ends without harm where nobody can be written to", () =>
    Effect.gen(function* () {
      const { folder } = yield* file
      const fd = fs.openSync(path.join(folder, "log"), "r")
      const log = yield* AccessLog.make({ fd })
      log.write(entry)
      yield* log.flush
      log.write(entry)
      yield* log.flush
      fs.closeSync(fd)
    })
  )
})
