/**
 * `docs/trio-checklist.md` names, for each case of Trio's and Effection's, the tests here that answer it. A test that is
 * renamed or dropped must not leave a hole there.
 */
import { globSync, readFileSync } from "node:fs"
import { basename, join, resolve } from "node:path"
import { describe, expect, it } from "vitest"

const root = resolve(import.meta.dirname, "../..")
const page = readFileSync(join(root, "docs/trio-checklist.md"), "utf8")

/** What the tests of a file are called, with the group each stands in: `shield › keeps from the cut around it`. */
const names = (source: string): ReadonlySet<string> => {
  const found = new Set<string>()
  let group = ""
  for (const [, call, name] of source.matchAll(/\b(describe|it(?:\.\w+)?|test)\(\s*("(?:[^"\\]|\\.)*")/g)) {
    if (call === "describe") group = JSON.parse(name!)
    else found.add(`${group} › ${JSON.parse(name!)}`)
  }
  return found
}

/** By the name of the file, which two packages may share. */
const tests = new Map<string, ReadonlySet<string>>()
for (const path of globSync("packages/*/test/**/*.test.ts", { cwd: root })) {
  const found = names(readFileSync(join(root, path), "utf8"))
  tests.set(basename(path), new Set([...(tests.get(basename(path)) ?? []), ...found]))
}

interface Row {
  readonly there: string
  readonly named: ReadonlyArray<readonly [file: string, test: string]>
  readonly applies: boolean
}

/** The rows of the table under a heading. */
const rows = (heading: string): ReadonlyArray<Row> =>
  page
    .split(/^## /m)
    .find((section) => section.startsWith(`${heading}\n`))!
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .map((line) => {
      const [, there, , here] = line.split("|").map((cell) => cell.trim())
      return {
        there: there!,
        named: [...here!.matchAll(/`([\w.]+\.test\.ts)` "([^"]+)"/g)].map(([, file, test]) => [file!, test!]),
        applies: !here!.startsWith("does not apply: ")
      }
    })

describe.each([
  { heading: "Trio", least: 100 },
  { heading: "Effection", least: 50 }
])("the table of $heading's cases", ({ heading, least }) => {
  const all = rows(heading)

  it("names tests that exist, for every case that applies", () => {
    const holes = all.flatMap(({ applies, named, there }) => [
      ...(applies === named.length > 0 ? [] : [there]),
      ...named.filter(([file, test]) => !tests.get(file)?.has(test))
    ])
    expect(holes).toEqual([])
  })

  it("has no case twice", () => {
    expect(new Set(all.map(({ there }) => there)).size).toBe(all.length)
  })

  it("has its numbers at the top of the page", () => {
    const [, ...numbers] = new RegExp(`^\\| ${heading} \\| \\d+ \\| (\\d+) \\| (\\d+) \\| (\\d+) \\|$`, "m").exec(page)!
    const applying = all.filter(({ applies }) => applies).length
    expect(numbers.map(Number)).toEqual([all.length, applying, all.length - applying])
  })

  it("is long enough, and at most a quarter of it does not apply", () => {
    const applying = all.filter(({ applies }) => applies).length
    expect(all.length).toBeGreaterThanOrEqual(least)
    expect(all.length - applying).toBeLessThanOrEqual(all.length / 4)
  })
})
