/**
 * `pnpm test:mutants`: plants the bugs of `test/mutants` one by one, and runs the tests that must see each.
 *
 * A mutant is a patch against a shipped module, `Module-what.patch`, with words on top:
 *
 *     The tokens of a caller who leaves before it began stay spent.
 *     Killed-by: packages/core/test/Gate.test.ts "gives the tokens of a cancelled caller back"
 *
 * What is planted, and which tests kill it: any number of files, each with a part of a test's name where that test is
 * enough. Without such a line they are the tests of the module's stem, `test/Module.test.ts`.
 *
 * One that survives is a hole in the tests and fails; so do a patch that fits no more and a module without two. One that
 * hangs is ended when its time is up, and counts as killed: no test run would pass with it.
 *
 * Tests of the unit project run in a vitest that stays (`mutants-runner.mjs`); those of sockets and processes, whose leftovers
 * only the end of a process group takes away, in one of their own for each mutant.
 *
 * Each is planted in a copy of the tree, of which there are as many as run at a time; the tree itself is only read. The
 * tests that are used must pass in such a copy first, or have just passed in the tree (`FAIRLEAD_TESTED`, vitest's report):
 * red ones would kill everything.
 */
import { spawn } from "node:child_process"
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { availableParallelism, tmpdir } from "node:os"
import { basename, dirname, join, relative } from "node:path"
import { parseArgs } from "node:util"
import { modulesOf, mutantsOf } from "./patches.mjs"

const enough = 2

const refresh =
  "To refresh a stale one: `git apply --3way PATCH`, plant its bug again by hand, put the `git diff -U1` of that under the words on top of PATCH, and take the change back."

// What runs and what lies about: neither is left, however this ends.
const groups = new Set()
const folders = new Set()
const end = (pid) => {
  try {
    process.kill(-pid, "SIGKILL")
  } catch {
    // Gone already.
  }
}
process.on("exit", () => {
  for (const pid of groups) end(pid)
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
})
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 143 })) {
  process.on(signal, () => process.exit(code))
}

/** Copies the tree; of its packages' packages there are links, each to where its original leads. */
const copyTo = (copy, root) => {
  const left = new Set(["node_modules", ".git", "dist"])
  cpSync(root, copy, { recursive: true, filter: (path) => path === root || !left.has(basename(path)) })
  mkdirSync(join(copy, "node_modules"))
  // Not pnpm's stamps nor vitest's caches: what is written to is the copy's own.
  for (const name of readdirSync(join(root, "node_modules")).filter((each) => !/^\.(?!bin$|pnpm$)/.test(each))) {
    symlinkSync(join(root, "node_modules", name), join(copy, "node_modules", name))
  }
  // pnpm's links are relative: those to the workspace's packages lead to the copies, all others through the ones above.
  for (const modules of globSync("{packages/*,examples}/node_modules", { cwd: root })) {
    cpSync(join(root, modules), join(copy, modules), { recursive: true, verbatimSymlinks: true })
  }
}

const pattern = (names) => names.map((name) => name.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)).join("|")

/** The environment of tests in a copy. */
const environment = (copy) => {
  // All runs load the same libraries: compiled once, that is a fifth of the time of a short one.
  const cache = join(dirname(copy), "..", "compiled")
  const env = { ...process.env, NO_COLOR: "1", TMPDIR: dirname(copy), NODE_COMPILE_CACHE: cache }
  // A test of this runs it inside of vitest.
  for (const name of Object.keys(env)) if (/^(VITEST|FAIRLEAD_TESTED$)/.test(name)) delete env[name]
  return env
}

/** Runs tests in a copy: their results, and how the whole ended. */
const vitest = (copy, { files, names, bail = 0, limit, testLimit }) =>
  new Promise((resolve) => {
    const report = join(dirname(copy), "report.json")
    rmSync(report, { force: true })
    const env = environment(copy)
    // What hangs in a test hangs in its clean-up once more; vitest takes no such limit for projects on its command line.
    if (testLimit !== undefined) env.FAIRLEAD_HOOK_LIMIT = "3000"
    const args = ["--project=unit", "--project=socket", "--reporter=json", `--outputFile=${report}`]
    args.push(`--bail=${bail}`)
    if (testLimit !== undefined) args.push(`--testTimeout=${testLimit}`)
    if (names.length > 0) args.push(`--testNamePattern=${pattern(names)}`)
    const child = spawn(process.execPath, [join(copy, "node_modules/vitest/vitest.mjs"), "run", ...args, ...files], {
      cwd: copy,
      env,
      // A group: it ends with its workers and what they started.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"]
    })
    groups.add(child.pid)
    let output = ""
    child.stdout.on("data", (chunk) => (output += chunk))
    child.stderr.on("data", (chunk) => (output += chunk))
    let late = false
    const timer = limit && setTimeout(() => end(child.pid, (late = true)), limit)
    child.on("exit", () => end(child.pid))
    child.on("close", (code) => {
      clearTimeout(timer)
      groups.delete(child.pid)
      const suites = !late && existsSync(report) ? suitesOf(report) : []
      const unloaded = suites.find(
        ({ status, assertionResults }) => status === "failed" && assertionResults.length === 0
      )
      resolve({ code, late, output, results: resultsOf(suites, copy), unloaded: unloaded?.message })
    })
  })

/** A vitest for the unit tests of a copy, which stays as long as nothing hangs in it. */
const runner = (copy) => {
  let child
  /** A process of its own group: it ends with its workers. */
  const begin = () => {
    child = spawn(process.execPath, [join(copy, "scripts/mutants-runner.mjs")], {
      cwd: copy,
      env: environment(copy),
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "ipc"]
    })
    const { pid } = child
    groups.add(pid)
    let output = ""
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk))
    child.once("close", () => groups.delete(pid))
    return new Promise((resolve, reject) => {
      child.once("message", resolve)
      child.once("close", () => reject(new Error(`vitest does not begin:\n${output}`)))
    })
  }
  const close = () => {
    if (child !== undefined) end(child.pid)
    child = undefined
  }
  const run = async ({ files, names, limit, testLimit, changed }) => {
    if (child === undefined) await begin()
    const answer = await new Promise((resolve) => {
      const told = (answer) => {
        clearTimeout(timer)
        child.off("message", told).off("close", gone)
        resolve(answer)
      }
      const gone = () => told({ code: 1, results: [] })
      const timer = setTimeout(told, limit, "late")
      child.on("message", told).on("close", gone)
      child.send({ files, pattern: pattern(names), testLimit, changed })
    })
    if (answer !== "late" && child.exitCode === null && child.signalCode === null) return { late: false, ...answer }
    close()
    return { late: answer === "late", code: 1, results: [] }
  }
  return { run, close }
}

/** Whether it is killed by unit tests alone. */
const isUnit = ({ tests }) =>
  tests.every(({ file }) => file.endsWith(".test.ts") && !/\.socket\.|^examples\//.test(file))

const suitesOf = (report) => JSON.parse(readFileSync(report, "utf8")).testResults

/** What vitest reports of the tests in a tree. */
const resultsOf = (suites, tree) =>
  suites.flatMap(({ name: file, assertionResults }) =>
    assertionResults.map(({ fullName: name, status, duration = 0 }) => ({
      file: relative(tree, file),
      name,
      status,
      duration
    }))
  )

/** What is wrong with the tests that `mutants` name, one line each, where these have passed. */
const unkillable = (mutants, passed) =>
  mutants.flatMap(({ path, tests }) =>
    tests
      .filter((asked) => !passed.some((test) => isAsked(test, asked)))
      .map(
        ({ file, name }) =>
          `${path} is killed by what is not in ${file}: ${name === undefined ? "a test" : `"${name}"`}`
      )
  )

/** Runs the tests that `mutants` name, in a tree as it stands: which pass, and what is wrong with them, one line each. */
const baseline = async (copy, mutants) => {
  const tests = mutants.flatMap((mutant) => mutant.tests)
  const whole = new Set(tests.filter(({ name }) => name === undefined).map(({ file }) => file))
  const parts = tests.filter(({ file }) => !whole.has(file))
  const runs = [
    { files: [...whole], names: [] },
    { files: [...new Set(parts.map(({ file }) => file))], names: [...new Set(parts.map(({ name }) => name))] }
  ]
  const passed = []
  for (const run of runs.filter(({ files }) => files.length > 0)) {
    const { code, output, results } = await vitest(copy, run)
    const failed = results.filter(({ status }) => status === "failed")
    const wrong = failed.map(({ file, name }) => `${file} fails as the tree stands: "${name}"`)
    if (code !== 0)
      return { passed, wrong: wrong.length > 0 ? wrong : [`The tests fail as the tree stands:\n${output}`] }
    passed.push(...results.filter(({ status }) => status === "passed"))
  }
  return { passed, wrong: unkillable(mutants, passed) }
}

/** The same, of a run of all tests that has just been reported. */
const reported = (report, root, mutants) => {
  const passed = resultsOf(suitesOf(report), root).filter(({ status }) => status === "passed")
  return { passed, wrong: unkillable(mutants, passed) }
}

const isAsked = (test, { file, name }) => test.file === file && (name === undefined || test.name.includes(name))

/** Plants one and runs its tests. */
const attempt = async (copy, unit, mutant, limits) => {
  const { tests, texts } = mutant
  for (const { file, is } of texts) writeFileSync(join(copy, file), is)
  try {
    const names = tests.map(({ name }) => name)
    const asked = { files: tests.map(({ file }) => file), names: names.includes(undefined) ? [] : names, ...limits }
    const changed = texts.map(({ file }) => file)
    const run = isUnit(mutant) ? await unit.run({ ...asked, changed }) : await vitest(copy, { ...asked, bail: 1 })
    if (run.late) return { end: "killed", by: "time-out" }
    const failed = run.results.find(({ status }) => status === "failed")
    if (failed !== undefined) return { end: "killed", by: failed.name }
    if (run.unloaded !== undefined) return { end: "broken", by: run.unloaded }
    return run.code === 0 ? { end: "survived" } : { end: "killed", by: "an error outside of the tests" }
  } finally {
    for (const { file, was } of texts) writeFileSync(join(copy, file), was)
  }
}

const usage = `pnpm test:mutants [OPTIONS] [NAME …]: the mutants with NAME in their names, or all
  --list           what there is, and how many each module has; tries none
  --limit SECONDS  how much longer the tests of one may take than three times what they take without it (30)
  --at-once N      how many run at a time (one more than there are processors, at most 4: those of sockets mostly wait)`

const list = (mutants, modules) => {
  for (const { name, words } of mutants) console.log(`${name}\n    ${words}`)
  console.log()
  for (const { file, count } of modules) console.log(`${String(count).padStart(3)}  ${file}`)
  console.log(`\n${mutants.length} mutants of ${modules.length} modules`)
}

const main = async (root, args) => {
  const { positionals, values } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      help: { type: "boolean" },
      list: { type: "boolean" },
      limit: { type: "string", default: "30" },
      "at-once": { type: "string", default: String(Math.min(4, availableParallelism() + 1)) }
    }
  })
  const all = mutantsOf(root)
  const modules = modulesOf(root, all)
  if (values.help || values.list) {
    if (values.help) console.log(usage)
    else list(all, modules)
    return 0
  }

  const limit = Number(values.limit) * 1000
  const began = performance.now()
  const since = (start) => `${((performance.now() - start) / 1000).toFixed(1)} s`
  const chosen = all.filter(({ name }) => positionals.length === 0 || positionals.some((part) => name.includes(part)))
  const problems = chosen.filter(({ wrong }) => wrong !== undefined).map(({ path, wrong }) => `${path} ${wrong}`)
  if (problems.some((line) => line.includes(" is stale: "))) problems.push(refresh)
  if (chosen.length === 0) problems.push(`There is no mutant ${positionals.join(", ")}.`)
  if (positionals.length === 0) {
    for (const { file, count } of modules.filter((module) => module.count < enough)) {
      problems.push(`${file}: expected at least ${enough} mutants, got ${count}`)
    }
  }
  const counts = { killed: 0, survived: 0, late: 0 }
  const finish = () => {
    if (problems.length > 0) console.log(`\n${problems.join("\n")}`)
    const late = counts.late > 0 ? ` (${counts.late} by time-out)` : ""
    console.log(`\nTotal ${since(began)}\n${counts.killed} killed${late}, ${counts.survived} survived`)
    return problems.length === 0 ? 0 : 1
  }

  const mutants = chosen.filter(({ wrong }) => wrong === undefined)
  if (mutants.length === 0) return finish()
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "fairlead-mutants-")))
  folders.add(folder)
  const copies = Array.from({ length: Math.min(Number(values["at-once"]), mutants.length) }, (_, i) =>
    join(folder, String(i), "tree")
  )
  for (const copy of copies) copyTo(copy, root)
  const report = process.env.FAIRLEAD_TESTED
  console.log(`${mutants.length} mutants. Their tests, as the tree stands …`)
  const { passed, wrong } =
    report !== undefined && existsSync(report) ? reported(report, root, mutants) : await baseline(copies[0], mutants)
  if (wrong.length > 0) {
    problems.push(...wrong)
    return finish()
  }
  console.log(`… pass, in ${since(began)}. Now with each of them, ${copies.length} at a time:`)

  const queue = [...mutants]
  const width = Math.max(...mutants.map(({ name }) => name.length))
  const work = async (copy) => {
    const unit = runner(copy)
    for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
      const start = performance.now()
      // Late is only who has had several times what the tests took as the tree stands.
      const took = passed.filter((test) => mutant.tests.some((asked) => isAsked(test, asked)))
      const times = took.map(({ duration }) => 3 * duration)
      const { end, by } = await attempt(copy, unit, mutant, {
        limit: times.reduce((sum, time) => sum + time, limit),
        testLimit: Math.max(2_000, ...times)
      })
      if (end === "killed") counts.killed++
      if (by === "time-out") counts.late++
      if (end === "survived") {
        counts.survived++
        problems.push(`${mutant.path} SURVIVED: ${mutant.words}`)
      }
      if (end === "broken") problems.push(`${mutant.path} keeps its tests from loading, which any would see:\n${by}`)
      const how = end === "survived" ? "SURVIVED" : end === "broken" ? "BROKEN" : `killed by ${by}`
      console.log(`${mutant.name.padEnd(width)}  ${since(start).padStart(6)}  ${how}`)
    }
    unit.close()
  }
  await Promise.all(copies.map(work))
  return finish()
}

process.exitCode = await main(join(import.meta.dirname, ".."), process.argv.slice(2))
