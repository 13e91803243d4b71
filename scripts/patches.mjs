/** The mutants of `test/mutants` as data: what each plants, where, and which tests kill it. Runs nothing: see mutants.mjs. */
import { existsSync, globSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { parseSync } from "oxc-parser"

/** The words on top of a patch, the tests it names, and its hunks by file. */
const parse = (text) => {
  const lines = text.split("\n")
  const first = lines.findIndex((line) => /^(diff --git |--- )/.test(line))
  const top = first < 0 ? lines : lines.slice(0, first)
  const tests = top.flatMap((line) => {
    const match = /^Killed-by: (\S+)(?: "(.*)")?$/.exec(line)
    return match ? [{ file: match[1], name: match[2] }] : []
  })
  const words = top.filter((line) => line !== "" && !line.startsWith("Killed-by:")).join(" ")
  const files = new Map()
  let hunks = []
  for (let i = top.length; i < lines.length; i++) {
    const file = /^\+\+\+ b\/(\S+)/.exec(lines[i])
    if (file) files.set(file[1], (hunks = []))
    const head = /^@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@/.exec(lines[i])
    if (!head) continue
    const hunk = { line: Number(head[1]), before: [], after: [] }
    const [before, after] = [Number(head[2] ?? 1), Number(head[3] ?? 1)]
    while (i + 1 < lines.length && (hunk.before.length < before || hunk.after.length < after)) {
      const line = lines[++i]
      if (line[0] !== "+") hunk.before.push(line.slice(1))
      if (line[0] !== "-") hunk.after.push(line.slice(1))
    }
    hunks.push(hunk)
  }
  return { words, tests, files }
}

/** The text with the hunks in it; `undefined` where one fits nowhere, or in several places and none is where it was. */
const plant = (text, hunks) => {
  const lines = text.split("\n")
  let shift = 0
  for (const { line, before, after } of hunks) {
    const places = [...lines.keys()].filter((at) => before.every((each, i) => lines[at + i] === each))
    const place = places.length === 1 ? places[0] : places.find((at) => at === line - 1 + shift)
    if (place === undefined) return undefined
    lines.splice(place, before.length, ...after)
    shift += after.length - before.length
  }
  return lines.join("\n")
}

/** The tests of a module's stem: `test/Gate.test.ts` and `test/Gate.socket.test.ts` for `src/Gate.ts`, wherever in `test`. */
const stemTests = (root, module) => {
  const match = /^(packages\/[^/]+)\/src\/(?:.*\/)?([^/]+)\.ts$/.exec(module)
  if (!match) return []
  const files = globSync(`${match[1]}/test/**/${match[2]}{.socket,}.test.ts`, { cwd: root }).toSorted()
  return files.map((file) => ({ file, name: undefined }))
}

/** The mutants of the tree at `root`, by name; where one cannot be tried, `wrong` says why. */
export const mutantsOf = (root) => {
  const read = (file) => (existsSync(join(root, file)) ? readFileSync(join(root, file), "utf8") : undefined)
  return globSync("test/mutants/*.patch", { cwd: root })
    .toSorted()
    .map((path) => {
      const { words, tests: named, files } = parse(read(path))
      const modules = [...files.keys()]
      const tests = named.length > 0 ? named : modules.flatMap((module) => stemTests(root, module))
      const missing = tests.find(({ file }) => read(file) === undefined)
      const texts = [...files].map(([file, hunks]) => {
        const was = read(file)
        return { file, was, is: was === undefined ? undefined : plant(was, hunks) }
      })
      const look = () => {
        if (words === "") return "does not say what it plants: put a sentence on top of it"
        if (texts.length === 0) return "has no patch in it"
        for (const { file, was, is } of texts) {
          if (is === undefined) return `is stale: it does not fit ${file} any more`
          if (is === was) return `changes nothing in ${file}`
          if (parseSync(file, is).errors.length > 0) return `leaves of ${file} what does not parse`
        }
        if (missing !== undefined) return `is killed by ${missing.file}, which is not there`
        if (tests.length === 0)
          return "names no test that kills it (Killed-by: FILE), and its module has none of its stem"
        return undefined
      }
      return { name: basename(path, ".patch"), path, words, modules, tests, texts, wrong: look() }
    })
}

/**
 * The shipped modules that do something, that is, have a function in them that is not just the default of an ambient value;
 * and how many of `mutants` each has.
 */
export const modulesOf = (root, mutants) =>
  globSync("packages/{core,platform-node,testing,proxy}/src/**/*.ts", { cwd: root })
    .toSorted()
    .filter((file) => {
      const { program } = parseSync(file, readFileSync(join(root, file), "utf8"))
      const tree = JSON.stringify(program, (_, value) =>
        typeof value === "bigint" || value?.key?.name === "defaultValue" ? undefined : value
      )
      return /"type":"(ArrowFunctionExpression|FunctionExpression|FunctionDeclaration)"/.test(tree)
    })
    .map((file) => ({ file, count: mutants.filter(({ modules }) => modules.includes(file)).length }))
