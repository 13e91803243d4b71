/**
 * What the docs say is checked as far as a machine can: links lead somewhere, programs type-check, programs that are
 * shown with their output print it, configs are right, and the modules of Effect that are named exist.
 *
 * A block marked `ts` that imports something is a program. Marked `ts run`, it is run too, and the `text` block that
 * follows it is what it prints.
 */
import { spawnSync } from "node:child_process"
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import * as ConfigFile from "../../packages/proxy/src/ConfigFile.ts"

const root = resolve(import.meta.dirname, "../..")
const pages = globSync(["*.md", "docs/**/*.md"], { cwd: root }).map((name) => {
  const text = readFileSync(join(root, name), "utf8")
  // `prose` keeps the lines, so that what a table or a sentence says is told apart from code.
  return { name, text, prose: text.replaceAll(/^```[^]*?^```$/gm, "") }
})

interface Program {
  readonly name: string
  readonly file: string
  readonly code: string
  readonly output: string | undefined
}

const programs = pages.flatMap(({ name, text }) =>
  [...text.matchAll(/^```ts( run)?\n([^]*?)^```\n(?:\n?```text\n([^]*?)^```)?/gm)]
    .filter(([, , code]) => /^import /m.test(code!))
    .map(([, run, code, output], index): Program => ({
      name: `${name}, program ${index + 1}`,
      file: `${name.replaceAll(/\W/g, "-")}-${index + 1}.ts`,
      code: code!,
      output: run === undefined ? undefined : (output ?? "")
    }))
)

/** GitHub's name for a heading. */
const anchor = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(/\s/g, "-")

const anchors = (text: string) => [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchor(heading!))

describe("docs", () => {
  // Among the examples, so that every package of the workspace is found by its name.
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(root, "examples/.docs-"))
    writeFileSync(join(folder, "package.json"), `{ "type": "module" }`)
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        extends: "../../tsconfig.base.json",
        compilerOptions: { types: ["node"], noUnusedLocals: false },
        files: programs.map(({ file }) => file)
      })
    )
    for (const { file, code } of programs) writeFileSync(join(folder, file), code)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it.each(pages)("$name: every link leads somewhere", ({ name, prose }) => {
    const broken = [...prose.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].flatMap(
      ([link, path, fragment]) => {
        const target = path === "" ? join(root, name) : resolve(root, dirname(name), path!)
        if (!existsSync(target)) return [link]
        return fragment === undefined || anchors(readFileSync(target, "utf8")).includes(fragment) ? [] : [link]
      }
    )
    expect(broken).toEqual([])
  })

  it.each(pages)("$name: every module of Effect that is named exists", ({ prose }) => {
    const named = [...prose.matchAll(/`effect\/([\w-]+(?:\/\w+)?)`/g)].map(([, path]) => path!)
    const missing = named.filter((path) =>
      [`${path}.ts`, `${path}/index.ts`].every((file) => !existsSync(join(root, "node_modules/effect/src", file)))
    )
    expect(missing).toEqual([])
  })

  it.each(pages)("$name: promises no command that npm does not have yet", ({ text }) => {
    expect(text).not.toMatch(/npx fairlead/)
  })

  it.each(pages)("$name: every config it shows is right", ({ name, text }) => {
    for (const [, source] of text.matchAll(/^```yaml\n([^]*?)^```$/gm)) {
      expect(ConfigFile.parse(source!, { file: name, env: { GITHUB_TOKEN: "a-token" } })).toMatchObject({
        _tag: "Success"
      })
    }
  })

  it("every program type-checks", { timeout: 60_000 }, () => {
    const { stdout } = spawnSync("tsc", ["-p", folder], { encoding: "utf8" })
    expect(stdout).toBe("")
  })

  it.each(programs.filter(({ output }) => output !== undefined))(
    "$name prints what the page says",
    { timeout: 30_000 },
    ({ file, output }) => {
      const { stderr, stdout } = spawnSync(process.execPath, [join(folder, file)], { encoding: "utf8" })
      expect(stderr).toBe("")
      expect(stdout).toBe(output)
    }
  )
})
