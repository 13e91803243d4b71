import { spawn } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { environment, ready, root } from "../ready.mjs"
import { makeClone, runs } from "./clone.ts"

const patience = { timeout: 30_000 }

/** A process and all below it. */
const family = (pid: number): ReadonlyArray<number> => [
  pid,
  ...readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry) && parentOf(entry) === pid)
    .flatMap((entry) => family(Number(entry)))
]
const parentOf = (pid: string) => {
  try {
    return Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1])
  } catch {
    return undefined
  }
}

describe("npm start", () => {
  it.runIf(process.platform === "linux").each(["SIGTERM", "SIGINT", "SIGKILL"] as const)(
    "serves the demo, and %s to npm leaves no process behind",
    async (signal) => {
      expect(await ready()).toBe(true)
      const npm = spawn("npm", ["start", "--", "--listen", "127.0.0.1:0"], {
        cwd: root,
        env: { ...environment(), npm_config_loglevel: "silent" },
        stdio: ["ignore", "pipe", "pipe"]
      })
      const ended = new Promise<unknown>((resolve) => npm.once("close", (code, name) => resolve(code ?? name)))
      let said = ""
      npm.stdout.on("data", (chunk) => (said += chunk))
      npm.stderr.on("data", (chunk) => (said += chunk))
      try {
        await expect.poll(() => said, patience).toMatch(/proxy +http:\S+[^]*curl [^]*curl [^]*curl /)
        const url = /proxy +(http:\S+)/.exec(said)![1]
        // A client that keeps no connection: one that does may hold up the end of a drain, as it should.
        const answer = await fetch(`${url}/demo/hello`, { headers: { connection: "close" } })
        expect(answer.status).toBe(200)
        await answer.text()
      } finally {
        const all = family(npm.pid!)
        npm.kill(signal)
        await expect.poll(() => all.filter(runs), patience).toEqual([])
      }
      // As npm itself does: 0, or gone by the signal that nobody can handle.
      expect(await ended).toBe(signal === "SIGKILL" ? signal : 0)
    }
  )

  it.each([
    [[], ["serve", "--demo"]],
    [
      ["--listen", "127.0.0.1:1"],
      ["serve", "--demo", "--listen", "127.0.0.1:1"]
    ],
    [
      ["--config", "my.yaml"],
      ["serve", "--config", "my.yaml"]
    ],
    [["--config=my.yaml"], ["serve", "--config=my.yaml"]],
    [
      ["-c", "my.yaml"],
      ["serve", "-c", "my.yaml"]
    ],
    [["--help"], ["serve", "--help"]]
  ])("takes %j to mean fairlead %j", async (given, meant) => {
    const clone = makeClone()
    try {
      clone.write("packages/proxy/src/main.ts", "console.log(JSON.stringify(process.argv.slice(2)))")
      const { output } = await clone.start("node", "scripts/start.mjs", ...given).ended
      expect(output.split("\n").at(-2)).toBe(JSON.stringify(meant))
    } finally {
      clone.dispose()
    }
  })
})
