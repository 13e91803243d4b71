/**
 * The process in every state, stopped in every way: its exit code, what was released, what was told, and in time.
 */
import { describe, expect, it } from "vitest"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { env } from "./compiled.ts"

interface End {
  readonly code: number | null
  readonly out: ReadonlyArray<string>
  readonly err: string
  /** From the first signal, or from when it ran. */
  readonly millis: number
}

/** Runs `stopping.ts` in a state, and sends it signals, each so many milliseconds after it ran. At SIGUSR2 it throws what nobody catches. */
const stopped = (
  state: string,
  signals: ReadonlyArray<readonly [after: number, signal: NodeJS.Signals]>,
  ...more: ReadonlyArray<string>
) =>
  new Promise<End>((resolve) => {
    const program = fileURLToPath(new URL("programs/stopping.ts", import.meta.url))
    const child = spawn(process.execPath, [program, state, ...more], { env })
    let out = ""
    let err = ""
    let since: number | undefined
    child.stderr.on("data", (chunk) => (err += chunk))
    child.stdout.on("data", (chunk) => {
      out += chunk
      // What has a call to be at runs when it is at it.
      if (since !== undefined || (state.includes("call") && !out.includes("at a call"))) return
      since = performance.now() + (signals[0]?.[0] ?? 0)
      for (const [after, signal] of signals) setTimeout(() => child.kill(signal), after)
    })
    child.on("close", (code) =>
      resolve({ code, out: out.trim().split("\n"), err, millis: performance.now() - (since ?? performance.now()) })
    )
  })

/** What begins the stop. An exception makes all of them end with 1, and stops nothing short. */
const all = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR2"] as const
const nameOf = (signal: NodeJS.Signals) => (signal === "SIGUSR2" ? "an exception that nobody caught" : signal)
const told = (signal: NodeJS.Signals) =>
  signal === "SIGUSR2" ? expect.stringContaining("Nobody has caught this, so the process stops: Error: nobody's") : ""

describe.concurrent("a process that is stopped", () => {
  for (const signal of all) {
    const well = signal === "SIGUSR2" ? 1 : 0

    it(`idle, by ${nameOf(signal)}: ${well}, at once`, async () => {
      const { code, err, millis, out } = await stopped("idle", [[0, signal]])
      expect({ code, err, out }).toEqual({ code: well, err: told(signal), out: ["running", "released: Shutdown"] })
      expect(millis).toBeLessThan(2000)
    })

    it(`busy, by ${nameOf(signal)}: ${well}, when its work is done`, async () => {
      const { code, err, millis, out } = await stopped("busy", [[50, signal]])
      expect({ code, err, out }).toEqual({ code: well, err: told(signal), out: ["running", "released: Shutdown"] })
      expect(millis).toBeGreaterThan(200)
    })

    it(`with work that outlasts the drain, by ${nameOf(signal)}: 1, and the ledger names it`, async () => {
      const { code, err, millis, out } = await stopped("slow", [[0, signal]])
      expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
      expect(err).toContain("cut     beacon work")
      expect(millis).toBeGreaterThan(550)
    })

    it(`at a call that outlasts the drain, by ${nameOf(signal)}: 1, an answer, and the ledger names it`, async () => {
      const { code, err, millis, out } = await stopped("call", [[0, signal]])
      // The client is in the same process: who of the two is first is nobody's concern.
      expect({ code, out: out.toSorted() }).toEqual({
        code: 1,
        out: ["answered: 503", "at a call", "released: Shutdown", "running"]
      })
      expect(err).toMatch(/failed {2}hook http .*: cut 1: GET \/orders \(\d+ ms\)$/m)
      expect(millis).toBeGreaterThan(550)
      expect(millis).toBeLessThan(1900)
    })

    it(`at a call that cannot be cut, by ${nameOf(signal)}: 1, within the total, and the ledger names it`, async () => {
      const { code, err, millis, out } = await stopped("hung call", [[0, signal]])
      expect({ code, out: out.slice(0, 2) }).toEqual({ code: 1, out: ["running", "at a call"] })
      expect(err).toMatch(/failed {2}hook http .*: cut 1: .*; cannot be cut, and goes on: 1: GET \/orders \(\d+ ms\)/)
      expect(err).toContain("the process ends as it is")
      expect(millis).toBeGreaterThan(1900)
      expect(millis).toBeLessThan(10_000)
    })

    it(`with work that cannot be cut, by ${nameOf(signal)}: 1, within the total, and the ledger names it`, async () => {
      const { code, err, millis, out } = await stopped("hung", [[0, signal]])
      expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
      expect(err).toContain("left    beacon work")
      expect(err).toContain("the process ends as it is")
      expect(millis).toBeGreaterThan(1900)
      expect(millis).toBeLessThan(10_000)
    })

    it(`with a finalizer that hangs, by ${nameOf(signal)}: 1, within the total`, async () => {
      const { code, err, millis, out } = await stopped("hung finalizer", [[0, signal]])
      expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
      expect(err).toContain("the process ends as it is")
      expect(millis).toBeGreaterThan(1900)
      expect(millis).toBeLessThan(10_000)
    })

    it(`with a second signal while it drains, by ${nameOf(signal)}: it ends now`, async () => {
      const { code, millis, out } = await stopped("slow", [
        [0, signal],
        [300, "SIGTERM"]
      ])
      expect({ code, out }).toEqual({ code: 143, out: ["running"] })
      expect(millis).toBeLessThan(1500)
    })
  }

  for (const [state, signal, code] of [
    ["hung finalizer", "SIGINT", 130],
    ["hung call", "SIGTERM", 143],
    ["hung", "SIGHUP", 129],
    ["hung", "SIGQUIT", 131]
  ] as const) {
    it(`with a second ${signal} while it is stuck, in state "${state}": it ends now`, async () => {
      const end = await stopped(state, [
        [0, signal],
        [300, signal]
      ])
      expect(end.code).toBe(code)
      expect(end.millis).toBeLessThan(2000)
    })
  }

  it("with an exception while it drains: 1, and the drain goes on", async () => {
    const { code, err, millis, out } = await stopped("busy", [
      [0, "SIGTERM"],
      [50, "SIGUSR2"],
      [100, "SIGUSR2"]
    ])
    expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
    expect(err).toContain("nobody's")
    expect(millis).toBeGreaterThan(200)
  })

  it("busy, with for ever to stop in: 0, when its work is done", async () => {
    const { code, err, millis, out } = await stopped("busy", [[50, "SIGTERM"]], "forever")
    expect({ code, err, out }).toEqual({ code: 0, err: "", out: ["running", "released: Shutdown"] })
    expect(millis).toBeGreaterThan(200)
  })

  it("with a hook that fails: 1, and the ledger names it", async () => {
    const { code, err, out } = await stopped("failing hook", [[0, "SIGTERM"]])
    expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
    expect(err).toContain("failed  hook flush")
    expect(err).toContain("no disk")
  })

  it("and is told of by what throws: 1, told, and it ends", async () => {
    const { code, err, millis, out } = await stopped("lingers", [[0, "SIGTERM"]], "throws")
    expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
    expect(err).toContain("the ledger's")
    expect(millis).toBeLessThan(5000)
    const forced = await stopped("hung", [[0, "SIGTERM"]], "throws")
    expect(forced.code).toBe(1)
    expect(forced.err).toContain("the process ends as it is")
  })

  it("by a rejection that nobody caught: 1, told, in order", async () => {
    const { code, err, out } = await stopped("rejects", [])
    expect({ code, out }).toEqual({ code: 1, out: ["running", "released: Shutdown"] })
    expect(err).toContain("nobody's")
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

  it("by itself: its own code", async () => {
    expect(await stopped("ends", [])).toMatchObject({ code: 0, out: ["running", "released: no reason"], err: "" })
    const failed = await stopped("fails", [])
    expect([failed.code, failed.out]).toEqual([1, ["running", "released: no reason"]])
    expect(failed.err).toContain("the program's own")
  })
})

// By itself: what others do beside it takes time.
describe("a process that is stopped, and is alone", () => {
  it("idle it has no timers, and stops in a tenth of a second", async () => {
    const { code, millis, out } = await stopped("resources", [[300, "SIGTERM"]])
    expect({ code, out }).toEqual({ code: 0, out: ["running", "no timers", "released: Shutdown"] })
    // Five times that, for a busy machine.
    expect(millis).toBeLessThan(500)
  })
})
