import { spawn } from "node:child_process"
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { runs } from "./clone.ts"

const repository = join(import.meta.dirname, "../..")

// A workspace of one module, of which half is tested.
let folder: string
let root: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mutants-"))
  root = join(folder, "workspace")
  mkdirSync(join(folder, "tmp"))
  for (const file of ["mutants.mjs", "mutants-runner.mjs", "patches.mjs"]) {
    cpSync(join(repository, "scripts", file), join(root, "scripts", file))
  }
  mkdirSync(join(root, "node_modules"))
  for (const name of ["vitest", "oxc-parser"]) {
    symlinkSync(join(repository, "node_modules", name), join(root, "node_modules", name))
  }
  write("package.json", `{ "type": "module" }`)
  const projects = `[{ test: { name: "unit", include: ["**/*.test.ts"] } }, { test: { name: "socket", include: [] } }]`
  write("vitest.config.ts", `export default { test: { projects: ${projects} } }`)
  writeHalf("n / 2", "n - n / 2")
  write(
    "packages/core/test/Half.test.ts",
    `import { expect, it } from "vitest"
    import { half, other } from "../src/Half.ts"
    it("gives the half", () => expect(half(4)).toBe(2))
    it("gives anything", () => expect(typeof other(4)).toBe("number"))`
  )
})
afterEach(() => rmSync(folder, { recursive: true }))

const write = (file: string, text: string) => {
  mkdirSync(dirname(join(root, file)), { recursive: true })
  writeFileSync(join(root, file), text)
}

const writeHalf = (half: string, other: string) =>
  write(
    "packages/core/src/Half.ts",
    `export const half = (n: number) => ${half}\n\nexport const other = (n: number) => ${other}\n`
  )

/** Plants it in the line of `half` or of `other`. */
const plant = (name: string, line: "half" | "other", before: string, after: string) => {
  const export_ = `export const ${line} = (n: number) => `
  write(
    `test/mutants/${name}.patch`,
    `What ${name} does.

--- a/packages/core/src/Half.ts
+++ b/packages/core/src/Half.ts
@@ -${line === "half" ? 1 : 3} +${line === "half" ? 1 : 3} @@
-${export_}${before}
+${export_}${after}
`
  )
}

const start = (...args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, ["scripts/mutants.mjs", ...args], {
    cwd: root,
    env: { ...process.env, TMPDIR: join(folder, "tmp") },
    stdio: ["ignore", "pipe", "pipe"]
  })
  let output = ""
  child.stdout.on("data", (chunk) => (output += chunk))
  child.stderr.on("data", (chunk) => (output += chunk))
  const ended = new Promise<{ readonly code: number | null; readonly output: string }>((resolve) =>
    child.once("close", (code) => resolve({ code, output }))
  )
  return { child, ended }
}

/** All files of the workspace, with what is in them. */
const tree = () =>
  globSync(["*", "{scripts,packages,test}/**/*.*"], { cwd: root, exclude: ["node_modules"] })
    .toSorted()
    .map((file) => `${file}: ${/\./.test(file) ? readFileSync(join(root, file), "utf8") : ""}`)

const nothingLeft = () => expect(readdirSync(join(folder, "tmp"))).toEqual([])

describe("pnpm test:mutants", () => {
  it("ends well when tests see every one of them, says which, and leaves the tree as it is", async () => {
    plant("Half-a-third", "half", "n / 2", "n / 3")
    plant("Half-throws", "half", "n / 2", `{ throw new Error(String(n)) }`)
    const before = tree()
    const { code, output } = await start().ended
    expect(output).toMatch(/Half-a-third +\d+\.\d s +killed by gives the half\n/)
    expect(output.trimEnd().split("\n").at(-1)).toBe("2 killed, 0 survived")
    expect(code).toBe(0)
    expect(tree()).toEqual(before)
    nothingLeft()
  })

  it("takes the word of a run of all tests that was just reported; a test that did not pass there kills nothing", async () => {
    plant("Half-a-third", "half", "n / 2", "n / 3")
    plant("Half-more", "half", "n / 2", "n / 2 + 1")
    const name = join(root, "packages/core/test/Half.test.ts")
    const report = (status: string) => {
      const assertionResults = [{ fullName: "gives the half", status, duration: 1 }]
      write("report.json", JSON.stringify({ testResults: [{ name, status, assertionResults }] }))
      return start().ended
    }
    process.env["FAIRLEAD_TESTED"] = join(root, "report.json")
    try {
      const passed = await report("passed")
      expect(passed.output.trimEnd().split("\n").at(-1)).toBe("2 killed, 0 survived")
      const failed = await report("failed")
      expect(failed.output).toContain("Half-more.patch is killed by what is not in packages/core/test/Half.test.ts")
      expect([passed.code, failed.code]).toEqual([0, 1])
    } finally {
      delete process.env["FAIRLEAD_TESTED"]
    }
    nothingLeft()
  })

  it("fails for one that no test sees, and says what it plants", async () => {
    plant("Half-a-third", "half", "n / 2", "n / 3")
    plant("Half-other", "other", "n - n / 2", "n")
    const { code, output } = await start().ended
    expect(output).toMatch(/Half-other +\d+\.\d s +SURVIVED\n/)
    expect(output).toContain("test/mutants/Half-other.patch SURVIVED: What Half-other does.\n")
    expect(output.trimEnd().split("\n").at(-1)).toBe("1 killed, 1 survived")
    expect(code).toBe(1)
    nothingLeft()
  })

  it("fails for a patch that fits no more, says how to refresh it, and tries the others", async () => {
    plant("Half-a-third", "half", "n / 2", "n / 3")
    plant("Half-stale", "half", "n >> 1", "n")
    const { code, output } = await start("Half").ended
    expect(output).toContain(
      "test/mutants/Half-stale.patch is stale: it does not fit packages/core/src/Half.ts any more"
    )
    expect(output).toContain("git apply --3way")
    expect(output.trimEnd().split("\n").at(-1)).toBe("1 killed, 0 survived")
    expect(code).toBe(1)
  })

  it("fails for a module that has less than two; not when it was asked for some", async () => {
    plant("Half-a-third", "half", "n / 2", "n / 3")
    const all = await start().ended
    expect(all.output).toContain("packages/core/src/Half.ts: expected at least 2 mutants, got 1\n")
    expect(all.code).toBe(1)
    expect((await start("a-third").ended).code).toBe(0)
    const none = await start("a-fourth").ended
    expect(none.output).toContain("There is no mutant a-fourth.")
    expect(none.code).toBe(1)
  })

  it("ends one that hangs, and counts it as killed", async () => {
    plant("Half-hangs", "half", "n / 2", "{ for (;;) n++ }")
    const { code, output } = await start("hangs", "--limit", "3").ended
    expect(output).toMatch(/killed by time-out\n/)
    expect(output.trimEnd().split("\n").at(-1)).toBe("1 killed (1 by time-out), 0 survived")
    expect(code).toBe(0)
    nothingLeft()
  })

  it("takes tests that fail as the tree stands, or do not load with the mutant, for no kill", async () => {
    plant("Half-a-third", "half", "n / 3", "n / 2")
    plant("Half-unloaded", "other", "n - n / 2", "n; half()()")
    const unloaded = await start("unloaded").ended
    expect(unloaded.output).toContain("test/mutants/Half-unloaded.patch keeps its tests from loading")
    expect(unloaded.output.trimEnd().split("\n").at(-1)).toBe("0 killed, 0 survived")
    expect(unloaded.code).toBe(1)
    writeHalf("n / 3", "n - n / 2")
    const { code, output } = await start().ended
    expect(output).toContain(`packages/core/test/Half.test.ts fails as the tree stands: "gives the half"`)
    expect(output.trimEnd().split("\n").at(-1)).toBe("0 killed, 0 survived")
    expect(code).toBe(1)
  })

  it("fails where a mutant names a test that is not there", async () => {
    plant("Half-a-third", "half", "n / 2", "n / 3")
    const patch = readFileSync(join(root, "test/mutants/Half-a-third.patch"), "utf8")
    write("test/mutants/Half-a-third.patch", `Killed-by: packages/core/test/Half.test.ts "gives (the) half"\n${patch}`)
    const { code, output } = await start("a-third").ended
    expect(output).toContain('is killed by what is not in packages/core/test/Half.test.ts: "gives (the) half"')
    expect(code).toBe(1)
  })

  it("leaves nothing when it is ended: no process, no file", async () => {
    const pid = join(folder, "pid")
    const tell = `process.getBuiltinModule("node:fs").writeFileSync("${pid}", String(process.pid))`
    plant("Half-hangs", "half", "n / 2", `{ ${tell}; for (;;) n++ }`)
    const { child, ended } = start("hangs")
    const worker = () => (existsSync(pid) ? Number(readFileSync(pid, "utf8")) : 0)
    const until = async (holds: () => boolean) => {
      while (!holds()) await new Promise((resolve) => setTimeout(resolve, 50))
    }
    await until(() => worker() > 0 && runs(worker()))
    child.kill("SIGINT")
    expect((await ended).code).toBe(130)
    await until(() => !runs(worker()))
    nothingLeft()
  })
})
