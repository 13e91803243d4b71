/**
 * `pnpm bench [PART…] [--rounds N] [--quick] [--json FILE] [--write FILE]`: the table to stdout, progress to stderr, and
 * the figures as JSON to `.bench/<date>.json`. `--write` puts the table between the markers of a Markdown file.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { measure } from "./harness.ts"
import type { Sample } from "./harness.ts"
import { describe, machine } from "./machine.ts"
import { names, part } from "./parts.ts"
import { lines, markdown } from "./table.ts"
import type { Line } from "./table.ts"

const usage = `usage: pnpm bench [${names.join("|")}]… [--rounds N] [--quick] [--json FILE] [--write FILE]`

/** A mistake on the command line. */
const expected = (text: string): never => {
  console.error(`Expected ${text}\n${usage}`)
  process.exit(2)
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    write: { type: "string" }
  }
})
const rounds = Number(values.rounds ?? (values.quick ? 1 : 5))
if (!Number.isInteger(rounds) || rounds < 1) expected(`a number of rounds, got ${values.rounds}`)
for (const name of positionals) if (!names.includes(name)) expected(`a part, got ${name}`)
const wanted = names.filter((name) => positionals.length === 0 || positionals.includes(name))

const facts = machine()
const samples: Array<Sample> = []
const table: Array<Line> = []
const notes: Array<string> = []
for (const name of wanted) {
  const found = (await part(name))!
  const options = { rounds, scale: values.quick ? 0.2 : 1, progress: (line: string) => console.error(line) }
  const measured = await measure(found, options)
  samples.push(...measured)
  table.push(...lines(found, measured))
  notes.push(...(found.notes ?? []))
}

const text = [describe(facts, rounds), markdown(table), ...notes].join("\n\n")
console.log(text)

const root = join(import.meta.dirname, "../../..")
const json = values.json ?? join(root, ".bench", `${facts.date.replaceAll(":", "-")}.json`)
mkdirSync(join(json, ".."), { recursive: true })
writeFileSync(json, JSON.stringify({ machine: facts, rounds, lines: table, samples }, undefined, 2))
console.error(`figures: ${json}`)

if (values.write !== undefined) {
  const marked = /(<!-- bench -->\n)[^]*(<!-- \/bench -->)/
  const page = readFileSync(values.write, "utf8")
  if (!marked.test(page)) expected(`the markers <!-- bench --> and <!-- /bench --> in ${values.write}`)
  writeFileSync(
    values.write,
    page.replace(marked, (_, before, after) => `${before}\n${text}\n\n${after}`)
  )
}
