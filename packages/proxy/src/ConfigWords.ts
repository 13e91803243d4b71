/**
 * How the mistakes of a config are told: what was expected and what was found, without what is or may be a secret.
 */
import { isMap, isScalar, isSeq } from "yaml"
import type { YAMLError } from "yaml"
import type { Mistake } from "./Config.ts"
import type { Path } from "./ConfigPlace.ts"

/** A mistake in two lines: what was expected (given a number elsewhere, if that may be shown), and what was found. */
export const say = (mistake: Mistake, found: () => string, given?: number): ReadonlyArray<string> => {
  switch (mistake._tag) {
    case "Wrong": {
      const which = given === undefined ? "" : `, which is ${given}`
      return [`expected  ${mistake.expected}${which}`, `found     ${found()}`]
    }
    case "WrongKey":
      return [
        `expected  ${mistake.expected}`,
        `found     ${isSecret(mistake.path) ? `a name that is ${notShown}` : `\`${printable(String(mistake.path.at(-1)))}\``}`
      ]
    case "Missing":
      return [`expected  ${mistake.expected}`, "found     nothing"]
    case "Unknown": {
      const key = String(mistake.path.at(-1))
      const near = nearest(key, mistake.known)
      return [
        `expected  ${near === undefined ? mistake.known.map((it) => `\`${it}\``).join(", ") : `\`${near}\``}`,
        `found     the unknown key \`${printable(key)}\`${near === undefined ? "" : `; did you mean \`${near}\`?`}`
      ]
    }
  }
}

/** What stands in the file, in one short line; never a secret. */
export const show = (node: unknown, path: Path, source: string, filled: ReadonlySet<unknown>): string => {
  if (isHeader(path)) return `a value that is ${notShown}`
  if (isMap(node)) return "a mapping"
  if (isSeq(node)) return "a list"
  if (!isScalar(node) || node.value === null || node.range === undefined || node.range === null) return "nothing"
  const written = source.slice(node.range[0], node.range[1])
  if (filled.has(node)) return `\`${printable(written)}\`, with a value from the environment that is not shown`
  const text = typeof node.value === "string" ? node.value : written
  if (/:\/\/[^/]*@/.test(text)) return "a URL with a user or password in it, which is not shown"
  // What follows in a URL may be a key.
  return `\`${printable(text.includes("://") ? text.replace(/[?#].*$/s, "?…") : text)}\``
}

/** What YAML's own errors mean, without a word of the source: a token that was cut in two may be a secret. */
export const explain = ({ code, message }: YAMLError): ReadonlyArray<string> => {
  switch (code) {
    case "TAB_AS_INDENT":
      return ["expected  spaces to indent with", "found     a tab"]
    case "MULTIPLE_DOCS":
      return ["expected  one YAML document", "found     a second one (`---`)"]
    case "RESOURCE_EXHAUSTION":
      return ["expected  less nesting"]
    case "NON_STRING_KEY":
      return ["expected  a plain key"]
    case "TAG_RESOLVE_FAILED":
      return ["expected  no tags of YAML; text that begins with `!` goes in quotes"]
    case "BAD_SCALAR_START":
    case "UNEXPECTED_TOKEN":
      return [
        "not YAML: expected something else here; text with `: ` in it, or that begins with one of [ ] { } , # & * ! | > % @ `, goes in quotes"
      ]
    case "BLOCK_AS_IMPLICIT_KEY":
    case "MULTILINE_IMPLICIT_KEY":
      return ["not YAML: this line does not go with the next, or has a second `: ` in it; see how they are indented"]
    case "BAD_INDENT":
    case "BLOCK_IN_FLOW":
    case "MISSING_CHAR":
      return [`not YAML: ${message.charAt(0).toLowerCase()}${message.slice(1).replace(/(["'])quote/, "$1")}`]
    default:
      return ["not YAML: expected something else here"]
  }
}

const bare = (key: string) => key.toLowerCase().replace(/[-_]/g, "")

/** The key that was probably meant: nearest by edits, letter case and `-` or `_` aside; none if none is near. */
export const nearest = (key: string, known: ReadonlyArray<string>): string | undefined => {
  const [best] = known.map((it) => ({ it, edits: distance(bare(key), bare(it)) })).toSorted((a, b) => a.edits - b.edits)
  return best !== undefined && best.edits <= Math.max(1, Math.floor(best.it.length / 3)) ? best.it : undefined
}

/** How many letters to insert, delete, change or swap with their neighbour (optimal string alignment). */
const distance = (a: string, b: string): number => {
  let before: Array<number> = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1
      row[j] = Math.min(row[j - 1]! + 1, last[j]! + 1, last[j - 1]! + same)
      if (a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) row[j] = Math.min(row[j]!, before[j - 2]! + 1)
    }
    before = last
    last = row
  }
  return last[b.length]!
}

const isHeader = (path: Path) => path[0] === "upstreams" && path[2] === "headers"

/** Whether the last step may be a secret: `headers: { "authorization: Bearer …" }` has the whole of it for a name. */
const isSecret = (path: Path) => isHeader(path) && path.length === 4 && !/^[\w-]{1,40}$/.test(String(path[3]))

const notShown = "not shown, since it may be a secret"

/** On one short line. */
export const printable = (text: string, most = 60) => {
  // oxlint-disable-next-line no-control-regex -- so that what stands in a file cannot steer the terminal it is shown on
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ")
  return line.length > most ? `${line.slice(0, most)}…` : line
}

/** `upstreams.github.rate[0]`, with anything that is not a plain name in quotes, or not shown. */
export const formatPath = (path: Path): string =>
  path
    .map((step, index) => {
      if (typeof step === "number") return `[${step}]`
      if (isSecret(path.slice(0, index + 1))) return ".?"
      const name = printable(String(step))
      return /^[\w-]+$/.test(name) ? `.${name}` : `.${JSON.stringify(name)}`
    })
    .join("")
    .replace(/^\./, "")
