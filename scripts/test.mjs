/**
 * `npm test`: types, lint, format, arrows, and every test of every package and example; or only the steps it is given.
 * `npm test all`, as CI has it, adds the mutants, which take minutes.
 *
 * All steps run, whatever the ones before gave. The last line is `N passed, N failed`: tests as vitest counts them, and
 * each other step as one.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "./launch.mjs"
import { node, ready, root } from "./ready.mjs"

const steps = {
  types: () => run(node, [join(root, "scripts/check.mjs")]),
  lint: () => run("oxlint", []),
  format: () => run("oxfmt", ["--check"]),
  arrows: () => run(node, [join(root, "scripts/arrows.mjs")]),
  tests: (filters) => tests(filters),
  mutants: () => run(node, [join(root, "scripts/mutants.mjs")], { env: { FAIRLEAD_TESTED: report } })
}
const order = Object.keys(steps)

const began = performance.now()
const since = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`
const rows = []
let passed = 0
let failed = 0

const count = (name, code, start) => {
  if (code === 0) passed++
  else failed++
  rows.push([name, code === 0 ? "passed" : "FAILED", since(start)])
}

const folder = mkdtempSync(join(tmpdir(), "fairlead-test-"))
process.on("exit", () => rmSync(folder, { recursive: true, force: true }))
/** What became of each test: there only once all of them have been run. */
const report = join(folder, "report.json")

const tests = async (filters) => {
  const file = join(folder, "counts.json")
  const start = performance.now()
  const reporters = ["--reporter=default", `--reporter=${join(root, "scripts/counts.mjs")}`]
  if (filters.length === 0) reporters.push("--reporter=json", `--outputFile.json=${report}`)
  const code = await run("vitest", ["run", "--project=unit", "--project=socket", ...reporters, ...filters], {
    env: { FAIRLEAD_COUNTS: file }
  })
  if (code > 128) return code
  const counts = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { passed: 0, failed: 0, skipped: 0 }
  // However it failed, it did.
  if (code !== 0 && counts.failed === 0) counts.failed = 1
  passed += counts.passed
  failed += counts.failed
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ""
  rows.push(["tests", `${counts.passed} passed, ${counts.failed} failed${skipped}`, since(start)])
  return code
}

const title = (name) => console.log(`\n── ${name} ${"─".repeat(Math.max(0, 60 - name.length))}`)

const main = async (args) => {
  const words = new Set([...order, "all", "--"])
  const filters = args.filter((arg) => !words.has(arg))
  const given = args.includes("all") ? order : order.filter((name) => args.includes(name))
  for (const name of given.length > 0 ? given : order.filter((each) => each !== "mutants")) {
    title(name)
    const start = performance.now()
    const code = await steps[name](filters)
    // Ended from outside.
    if (code > 128) return code
    if (name !== "tests") count(name, code, start)
  }
  title("summary")
  for (const [name, result, time] of rows) console.log(`${name.padEnd(8)} ${result.padEnd(40)} ${time.padStart(8)}`)
  console.log(`\nTotal ${since(began)}`)
  console.log(`${passed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}

if (await ready()) process.exitCode = await main(process.argv.slice(2))
else {
  console.log("0 passed, 1 failed")
  process.exitCode = 1
}
