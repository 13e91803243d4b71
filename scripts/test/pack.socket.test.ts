import { execFileSync, spawn } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { environment, node, packageManager, root } from "../ready.mjs"

/** The published packages, by the folders they come from. */
const packages = {
  core: "@fairlead/core",
  testing: "@fairlead/testing",
  "platform-node": "@fairlead/platform-node",
  proxy: "fairlead"
}

let folder: string
const run = (command: string, args: ReadonlyArray<string>, cwd = folder) =>
  execFileSync(command, args, { cwd, env: environment(), encoding: "utf8", timeout: 120_000 })

// What somebody who uses the packages would have: an empty folder, npm, and the tarballs in place of the registry's.
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "pack-"))
  run(node, [join(root, "scripts/build.mjs")], root)
  const tarballs: Record<string, string> = {}
  for (const [name, packageName] of Object.entries(packages)) {
    const args = ["--yes", packageManager, "pack", "--pack-destination", folder]
    run("npx", args, join(root, "packages", name))
    tarballs[packageName] = `file:./${packageName.replace("@", "").replace("/", "-")}-${versionOf(name)}.tgz`
  }
  const overrides = Object.fromEntries(Object.keys(tarballs).map((name) => [name, `$${name}`]))
  const manifest = { private: true, type: "module", dependencies: { ...tarballs, effect: "4.1.0" }, overrides }
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest))
  run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"])
}, 300_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const versionOf = (name: string): string =>
  JSON.parse(readFileSync(join(root, "packages", name, "package.json"), "utf8")).version

describe("the packages, packed and installed with npm", () => {
  it.each([
    ...Object.values(packages),
    "@fairlead/core/http",
    "@fairlead/platform-node/CpuJob",
    "@fairlead/testing/node"
  ])("%s can be imported", (name) => {
    const program = `import(${JSON.stringify(name)}).then((module) => console.log(Object.keys(module).length > 0))`
    expect(run(node, ["-e", program])).toBe("true\n")
  })

  it("fairlead has its command", () => {
    expect(run("npx", ["--no", "--", "fairlead", "--version"]).trim()).toBe(versionOf("proxy"))
  })

  it("fairlead serves its demo, and ends when it is told", async () => {
    const args = ["serve", "--demo", "--listen", "127.0.0.1:0"]
    const child = spawn("node_modules/.bin/fairlead", args, {
      cwd: folder,
      env: environment(),
      stdio: ["ignore", "ignore", "pipe"]
    })
    const ended = new Promise((resolve) => child.once("exit", resolve))
    const address = new Promise<string>((resolve, reject) => {
      let said = ""
      child.stderr.on("data", (chunk) => {
        said += chunk
        const match = /proxy +(http:\S+)/.exec(said)
        if (match) resolve(match[1]!)
      })
      child.once("exit", () => reject(new Error(`Ended without an address:\n${said}`)))
    })
    expect((await fetch(`${await address}/demo/hello`)).status).toBe(200)
    child.kill("SIGTERM")
    expect(await ended).toBe(0)
  })

  it("run a program that uses them, and the compiler knows their types", () => {
    const program = `
      import { Gate } from "@fairlead/core"
      import { Effect } from "effect"
      const program = Effect.gen(function* () {
        const gate = yield* Gate.make("api", { limit: 1 })
        return yield* gate.run(Effect.succeed("admitted"))
      })
      Effect.runPromise(Effect.scoped(program)).then((text: string) => console.log(text))
      // @ts-expect-error a limit is a number
      export const wrong = () => Gate.make("api", { limit: "1" })
    `
    writeFileSync(join(folder, "program.ts"), program)
    expect(run(node, ["program.ts"])).toBe("admitted\n")
    const options = ["--ignoreConfig", "--noEmit", "--strict", "--module", "nodenext", "--target", "es2023"]
    run("tsc", [...options, "--types", "", "--lib", "es2023,dom", "program.ts"])
  })

  it("run a program whose workers import its jobs", () => {
    const jobs = `
      import * as CpuJob from "@fairlead/platform-node/CpuJob"
      import { Schema } from "effect"
      const numbers = { input: Schema.Number, output: Schema.Number }
      export const increment = CpuJob.make(import.meta.url, "increment", numbers, (n: number) => n + 1)
    `
    const program = `
      import { CpuPool } from "@fairlead/platform-node"
      import { Effect } from "effect"
      import { increment } from "./jobs.ts"
      for (const mode of ["processes", "threads"] as const) {
        const run = Effect.flatMap(CpuPool.make("cpu", { size: 1, mode }), (pool) => pool.run(increment, 1))
        console.log(await Effect.runPromise(Effect.scoped(run)))
      }
    `
    writeFileSync(join(folder, "jobs.ts"), jobs)
    writeFileSync(join(folder, "pool.ts"), program)
    expect(run(node, ["pool.ts"])).toBe("2\n2\n")
  })

  it("hold no sources of tests, and no trace of the workspace", () => {
    for (const name of Object.values(packages)) {
      const installed = join(folder, "node_modules", name)
      expect(readdirSync(installed).toSorted()).toEqual(
        expect.arrayContaining(["LICENSE", "dist", "package.json", "src"])
      )
      expect(readdirSync(installed)).not.toContain("test")
      expect(readFileSync(join(installed, "package.json"), "utf8")).not.toContain("workspace:")
    }
  })
})
