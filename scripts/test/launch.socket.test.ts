import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type Clone, makeClone, runs } from "./clone.ts"

const patience = { timeout: 30_000 }

let clone: Clone
beforeEach(() => {
  clone = makeClone()
  // Says who it is, takes its time to end, and tells every signal it is given.
  clone.write(
    "server.mjs",
    `const idle = setInterval(() => {}, 60_000)
    for (const signal of ["SIGINT", "SIGTERM"]) {
      process.on(signal, () => {
        console.log("told", signal)
        setTimeout(() => { console.log("drained"); clearInterval(idle) }, 400)
      })
    }
    console.log("server", process.pid, "of", process.ppid, "with", JSON.stringify(process.argv.slice(2)))`
  )
})
afterEach(() => clone.dispose())

const serve = async (...args: ReadonlyArray<string>) => {
  const npm = clone.start("npm", "run", "run", "--", "server.mjs", ...args)
  const [, server, launcher] = await npm.said(/server (\d+) of (\d+)/)
  const pids = [npm.pid, Number(launcher), Number(server)]
  return { npm, launcher: Number(launcher), server: Number(server), gone: () => pids.every((pid) => !runs(pid)) }
}

describe("a program that npm started", () => {
  it("is given its arguments", async () => {
    const { npm } = await serve("--config", "a b.yaml")
    npm.kill("SIGTERM")
    expect((await npm.ended).output).toContain(`with ["--config","a b.yaml"]`)
  })

  it("drains on Ctrl-C, is told once though terminal and npm both tell, and leaves nothing", async () => {
    const { npm, gone } = await serve()
    npm.killGroup("SIGINT")
    const { code, output } = await npm.ended
    expect(output.match(/told/g)).toEqual(["told"])
    expect(output).toContain("told SIGINT\ndrained")
    expect(code).toBe(0)
    expect(gone()).toBe(true)
  })

  it("drains on SIGTERM to npm, which waits for it, and leaves nothing", async () => {
    const { npm, gone } = await serve()
    npm.kill("SIGTERM")
    const { code, output } = await npm.ended
    expect(output).toContain("told SIGTERM\ndrained")
    expect(code).toBe(0)
    expect(gone()).toBe(true)
  })

  it("is told a second time by a second Ctrl-C", async () => {
    const { npm } = await serve()
    npm.killGroup("SIGINT")
    await new Promise((resolve) => setTimeout(resolve, 350))
    npm.killGroup("SIGINT")
    expect((await npm.ended).output.match(/told SIGINT/g)).toHaveLength(2)
  })

  it("drains when npm is killed, and leaves nothing", async () => {
    const { npm, gone } = await serve()
    npm.kill("SIGKILL")
    await npm.said(/told SIGTERM\ndrained/)
    await expect.poll(gone, patience).toBe(true)
  })

  it("drains when its launcher is killed, and leaves nothing", async () => {
    const { npm, launcher, gone } = await serve()
    process.kill(launcher, "SIGKILL")
    await npm.said(/told SIGTERM\ndrained/)
    await expect.poll(gone, patience).toBe(true)
  })

  it("drains when all of the terminal's processes are killed, and leaves nothing", async () => {
    const { npm, gone } = await serve()
    npm.killGroup("SIGKILL")
    await npm.said(/told SIGTERM\ndrained/)
    await expect.poll(gone, patience).toBe(true)
  })

  it("gives npm its exit code", async () => {
    clone.write("bad.mjs", "process.exit(5)")
    expect((await clone.start("npm", "run", "run", "bad.mjs").ended).code).toBe(5)
  })

  it("leaves nothing of an install that is ended", async () => {
    clone.write("wait", "")
    clone.write("bin/sleep", `#!/bin/sh\necho $$ > sleeper\nexec /bin/sleep 100\n`)
    const npm = clone.start("sh", "-c", "chmod +x bin/sleep && exec npm run run server.mjs")
    await expect.poll(() => clone.read("sleeper"), patience).toMatch(/\d+\n/)
    const sleeper = Number(clone.read("sleeper"))
    npm.kill("SIGTERM")
    await npm.ended
    await expect.poll(() => runs(sleeper), patience).toBe(false)
  })
})
