import { describe, expect, it } from "@effect/vitest"
import { IoProfile } from "@fairlead/platform-node"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Caller } from "@fairlead/platform-node"
import * as Admin from "../src/Admin.ts"
import * as Profile from "../src/inspect/Profile.ts"
import { call, until, withProxy } from "./support.ts"

const slow = (_: unknown, response: { end: (text: string) => void }) => void setTimeout(() => response.end("late"), 60)

/** `Server-Timing` as numbers by name. */
const timings = (header: string) =>
  Object.fromEntries(header.split(", ").map((part) => [part.split(";")[0]!, Number(/dur=([\d.]+)/.exec(part)?.[1])]))

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url))

/** Runs `fairlead`. */
const fairlead = (...args: ReadonlyArray<string>) =>
  Effect.promise(
    () =>
      new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
        const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] })
        const said = { stdout: "", stderr: "" }
        child.stdout.on("data", (text) => (said.stdout += text))
        child.stderr.on("data", (text) => (said.stderr += text))
        child.on("close", (code) => resolve({ code, ...said }))
      })
  )

describe("a proxy that measures", () => {
  it.live("tells client and log where the time went", () =>
    withProxy(slow, { config: { profile: true } }, ({ log, proxy }) =>
      Effect.gen(function* () {
        const answer = yield* call(`${proxy.url}/x?y`)
        const timing = timings(answer.headers["server-timing"] as string)
        expect(timing.firstByte).toBeGreaterThan(40)
        expect(timing.run).toBeGreaterThan(0)
        expect(timing.ttfb! - timing.firstByte!).toBeLessThan(40)
        yield* until(() => log.length === 1)
        const { spent, totalMillis } = log[0]!
        const total = spent!.reduce((sum, millis) => sum + millis, 0)
        expect(spent![IoProfile.states.indexOf("firstByte")]).toBeGreaterThan(40)
        expect(Math.abs(total - totalMillis)).toBeLessThan(20)
      })
    )
  )

  it.live("says nothing of it where it does not", () =>
    withProxy(slow, {}, ({ log, proxy }) =>
      Effect.gen(function* () {
        const answer = yield* call(`${proxy.url}/x`)
        expect(answer.headers["server-timing"]).toMatch(/^queue;dur=[\d.]+, ttfb;dur=[\d.]+$/)
        yield* until(() => log.length === 1)
        expect(log[0]!.spent).toBe(undefined)
      })
    )
  )

  it.live(
    "shows it on the admin port, and `fairlead profile` as a table and as a flame graph",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const profile = yield* IoProfile.make({ name: "calls", fibers: false })
          const allowed = Caller.allow({ hosts: [], origins: [] })
          const started = () => true
          const admin = yield* Admin.serve({ host: "127.0.0.1", port: 0 }, allowed, { started, version: "1", profile })
          const off = yield* Admin.serve({ host: "127.0.0.1", port: 0 }, allowed, { started, version: "1" })
          const url = `http://127.0.0.1:${admin.port}`
          yield* Effect.sleep(30).pipe(profile.task("GET up"))
          const read = Profile.read((yield* call(`${url}/profile`)).json())!
          expect(read.routes).toMatchObject([{ name: "GET up", count: 1 }])
          expect(Profile.readTree((yield* call(`${url}/profile/speedscope`)).json())!.profiles[0]!.name).toBe("GET up")
          expect((yield* call(`${url}/profile/none`)).status).toBe(404)
          expect((yield* call(`${url}/profile`, { method: "POST" })).status).not.toBe(200)

          const folder = mkdtempSync(join(tmpdir(), "fairlead-"))
          const file = join(folder, "calls.json")
          const [table, later, nothing] = yield* Effect.all(
            [
              fairlead("profile", "--admin", url, "--speedscope", file),
              fairlead("profile", "--admin", url, "--seconds", "1", "--json"),
              fairlead("profile", "--admin", `http://127.0.0.1:${off.port}`)
            ],
            { concurrency: 3 }
          )
          expect(table).toMatchObject({ code: 0, stdout: expect.stringMatching(/^GET up +1 /m) })
          expect(Profile.readTree(JSON.parse(readFileSync(file, "utf8")))!.shared.frames).toContainEqual({
            name: "(sleep)"
          })
          rmSync(folder, { recursive: true })
          expect(JSON.parse(later.stdout).routes).toEqual([])
          expect(nothing).toMatchObject({ code: 1, stderr: expect.stringContaining("set `profile: true`") })
        })
      ),
    30_000
  )
})
