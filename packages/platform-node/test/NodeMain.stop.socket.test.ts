/**
 * The process in every state, stopped in every way: its exit code, what was released, what was told, and in time.
 */
import { describe, expect, it } from "vitest"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

interface End {
  readonly code: number | null
  readonly out: ReadonlyArray<string>
  readonly err: string
  /** From the first signal, or from when it ran. */
  readonly millis: number
}

/** Runs `stopping.ts` in a state, and sends it signals, each so many milliseconds after it ran. */
const stopped = (
  state: string,
  signals: ReadonlyArray<readonly [after: number, signal: NodeJS.Signals]>,
  ...more: ReadonlyArray<string>
) =>
  new Promise<End>((resolve) => {
    const program = fileURLToPath(new URL("programs/stopping.ts", import.meta.url))
    const child = spawn(process.execPath, [program, state, ...more])
    let out = ""
    let err = ""
    let since: number | undefined
    child.stderr.on("data", (chunk) => (err += chunk))
    child.stdout.on("data", (chunk) => {
      out += chunk
      if (since !== undefined) return
      since = performance.now() + (signals[0]?.[0] ?? 0)
      for (const [after, signal] of signals) setTimeout(() => child.kill(signal), after)
    })
    child.on("close", (code) =>
      resolve({ code, out: out.trim().split("\n"), err, millis: performance.now() - (since ?? performance.now()) })
    )
  })

const graceful = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"] as const

describe("a process that is stopped", () => {
  for (const signal of graceful) {
    it(`idle, by ${signal}: 0, at once`, async () => {
      const { code, err, millis, out } = await stopped("idle", [[0, signal]])
      expect({ code, err, out }).toEqual({ code: 0, err: "", out: ["running", "released: Shutdown"] })
      expect(millis).toBeLessThan(2000)
    })

    it(`busy, by ${signal}: 0, when its work is done`, async () => {
      const { code, err, millis, out } = await stopped("busy", [[50, signal]])
      expect({ code, err, out }).toEqual({ code: 0, err: "", out: ["running", "released: Shutdown"] })
      expect(millis).toBeGreaterThan(200)
    })

    it(`with work that outlasts the drain, by ${signal}: 1, and the ledger names it`, async () => {
      const { code, err, millis, out } = await stopped("slow", [[0, signal]])
      expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
      expect(err).toContain("cut     beacon work")
      expect(millis).toBeGreaterThan(550)
    })

    it(`with a second signal while it drains, by ${signal}: it ends now`, async () => {
      const { code, millis, out } = await stopped("slow", [
        [0, signal],
        [300, "SIGTERM"]
      ])
      expect({ code, out }).toEqual({ code: 143, out: ["running"] })
      expect(millis).toBeLessThan(1500)
    })
  }

  it("with work that cannot be cut: 1, within the total, and the ledger names it", async () => {
    const { code, err, millis, out } = await stopped("hung", [[0, "SIGTERM"]])
    expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
    expect(err).toContain("left    beacon work")
    expect(err).toContain("the process ends as it is")
    expect(millis).toBeGreaterThan(3900)
    expect(millis).toBeLessThan(20_000)
  })

  it("busy, with for ever to stop in: 0, when its work is done", async () => {
    const { code, err, millis, out } = await stopped("busy", [[50, "SIGTERM"]], "forever")
    expect({ code, err, out }).toEqual({ code: 0, err: "", out: ["running", "released: Shutdown"] })
    expect(millis).toBeGreaterThan(200)
  })

  it("with a finalizer that hangs: 1, within the total", async () => {
    const { code, err, millis, out } = await stopped("hung finalizer", [[0, "SIGTERM"]])
    expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
    expect(err).toContain("the process ends as it is")
    expect(millis).toBeGreaterThan(3900)
  })

  it("with a second signal while a finalizer hangs: it ends now", async () => {
    expect(
      (
        await stopped("hung finalizer", [
          [0, "SIGINT"],
          [300, "SIGINT"]
        ])
      ).code
    ).toBe(130)
    expect(
      (
        await stopped("hung", [
          [0, "SIGHUP"],
          [300, "SIGHUP"]
        ])
      ).code
    ).toBe(129)
    expect(
      (
        await stopped("hung", [
          [0, "SIGQUIT"],
          [300, "SIGQUIT"]
        ])
      ).code
    ).toBe(131)
  })

  it("with a hook that fails: 1, and the ledger names it", async () => {
    const { code, err, out } = await stopped("failing hook", [[0, "SIGTERM"]])
    expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
    expect(err).toContain("failed  hook flush")
    expect(err).toContain("no disk")
  })

  it("by an exception that nobody caught, or a rejection: 1, told, in order", async () => {
    for (const state of ["throws", "rejects"]) {
      const { code, err, out } = await stopped(state, [])
      expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
      expect(err).toContain("nobody's")
    }
  })

  it("SIGHUP does what it is told, and stops nothing; when it stops already it is a second signal", async () => {
    const { code, out } = await stopped(
      "idle",
      [
        [0, "SIGHUP"],
        [100, "SIGHUP"],
        [300, "SIGTERM"]
      ],
      "reloads"
    )
    expect({ code, out }).toEqual({ code: 0, out: ["running", "reloaded", "reloaded", "released: Shutdown"] })
    expect(
      (
        await stopped(
          "hung",
          [
            [0, "SIGTERM"],
            [300, "SIGHUP"]
          ],
          "reloads"
        )
      ).code
    ).toBe(129)
  })

  it("idle it has no timers, and stops in a tenth of a second", async () => {
    const { code, millis, out } = await stopped("resources", [[300, "SIGTERM"]])
    expect({ code, out }).toEqual({ code: 0, out: ["running", "no timers", "released: Shutdown"] })
    // Five times that, for a busy machine.
    expect(millis).toBeLessThan(500)
  })

  it("by itself: its own code", async () => {
    expect(await stopped("ends", [])).toMatchObject({ code: 0, out: ["running", "released: no reason"], err: "" })
    const failed = await stopped("fails", [])
    expect([failed.code, failed.out]).toEqual([1, ["running", "released: no reason"]])
    expect(failed.err).toContain("the program's own")
  })
})
