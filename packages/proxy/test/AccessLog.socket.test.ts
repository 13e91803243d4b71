import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { fork } from "node:child_process"
import type { ChildProcess } from "node:child_process"
import { once } from "node:events"
import * as path from "node:path"
import { call, closedPort } from "./support.ts"

/** A proxy whose standard output is ours to read, or not. */
const child = Effect.acquireRelease(
  Effect.flatMap(closedPort, (port) =>
    Effect.promise(async () => {
      const file = path.join(import.meta.dirname, "programs/proxy.ts")
      const program = fork(file, [`http://127.0.0.1:${port}`, "log"], { stdio: ["ignore", "pipe", "inherit", "ipc"] })
      const [ready] = (await once(program, "message")) as [{ port: number }]
      return { program, url: `http://127.0.0.1:${ready.port}/nowhere` }
    })
  ),
  ({ program }) => Effect.sync(() => void program.kill("SIGKILL"))
)

const stop = (program: ChildProcess) =>
  Effect.promise(async () => {
    program.kill("SIGTERM")
    return (await once(program, "exit"))[0] as number | null
  })

describe("the access log of a process", () => {
  it.live("is whole when the process has ended", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { program, url } = yield* child
        let text = ""
        program.stdout!.on("data", (chunk) => (text += chunk))
        for (let i = 0; i < 20; i++) yield* call(`${url}/${i}?key=secret`)
        expect(yield* stop(program)).toBe(0)
        const lines = text
          .trimEnd()
          .split("\n")
          .map((line) => JSON.parse(line))
        expect(lines.map(({ path }) => path)).toEqual(Array.from({ length: 20 }, (_, i) => `/nowhere/${i}?key=`))
        expect(text).not.toContain("secret")
      })
    )
  )

  it.live("holds up neither the calls nor the end of the process, where nobody reads it", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { program, url } = yield* child
        program.stdout!.pause()
        const calls = Effect.all(
          Array.from({ length: 50 }, () => call(`${url}/${"x".repeat(4000)}`)),
          { concurrency: "unbounded" }
        )
        // Four megabytes: more than any pipe holds.
        for (let i = 0; i < 20; i++) {
          for (const { status } of yield* calls) expect(status).toBe(404)
        }
        expect(yield* stop(program)).toBe(0)
      })
    )
  )

  it.live("ends without harm where its reader is gone", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { program, url } = yield* child
        program.stdout!.destroy()
        for (let i = 0; i < 5; i++) {
          expect((yield* call(url)).status).toBe(404)
          yield* Effect.sleep(120)
        }
        expect(yield* stop(program)).toBe(0)
      })
    )
  )
})
