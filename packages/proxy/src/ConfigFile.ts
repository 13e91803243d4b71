/**
 * Reads a config from YAML: text → nodes that know where they stand → values from the environment → `Config.decode`.
 *
 * Whatever is wrong comes back as one `ConfigError` with every mistake in it: file, line, path, what was expected and
 * what was found. What is or may be a secret is never in it: no value from the environment, nothing under `headers`, no
 * text that YAML could not make sense of.
 */
import { createReadStream } from "node:fs"
import { Data, Effect, Result } from "effect"
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, visit } from "yaml"
import type { Document, Node, Pair, YAMLError, YAMLMap } from "yaml"
import * as Config from "./Config.ts"

/** One mistake, ready to be shown. */
export interface Located {
  readonly line: number | undefined
  readonly column: number | undefined
  /** `upstreams.github.rate[0]`; empty for the file as a whole. */
  readonly path: string
  readonly text: ReadonlyArray<string>
}

const maxShown = 50

/** The config cannot be used. The message says why, and holds no secret. */
export class ConfigError extends Data.TaggedError("ConfigError")<{
  readonly file: string
  /** From top to bottom, up to fifty of them. */
  readonly mistakes: ReadonlyArray<Located>
  /** How many there are. */
  readonly count: number
  /** There is no such file. */
  readonly missing: boolean
}> {
  override get message(): string {
    const more = this.count - this.mistakes.length
    return [
      `the config cannot be used: ${this.count === 1 ? "one mistake" : `${this.count} mistakes`}.`,
      ...this.mistakes.map((it) => this.#show(it)),
      ...(more > 0 ? [`… and ${more} more`] : [])
    ].join("\n\n")
  }
  #show({ column, line, path, text }: Located): string {
    const place = line === undefined ? this.file : `${this.file}:${line}:${column}`
    return [path === "" ? place : `${place}  ${path}`, ...text.map((line) => `  ${line}`)].join("\n")
  }
}

/** Where `${NAME}` in a config's values comes from. */
export type Env = Readonly<Record<string, string | undefined>>

// --- the file -------------------------------------------------------------------------------------------------------

const maxBytes = 256 * 1024

const least = "at the least:  upstreams: { example: { url: https://api.example.com } }"

const unreadable: Record<string, string> = {
  ENOENT: "no file of this name",
  EISDIR: "a directory",
  EACCES: "a file that this user may not read"
}

const read = (file: string): Effect.Effect<Uint8Array, ConfigError> =>
  Effect.tryPromise({
    try: async () => {
      const chunks: Array<Uint8Array> = []
      for await (const chunk of createReadStream(file, { end: maxBytes })) chunks.push(chunk)
      return Buffer.concat(chunks)
    },
    catch: (cause) => {
      const code = (cause as NodeJS.ErrnoException).code ?? String(cause)
      const text = `expected  a config file\nfound     ${unreadable[code] ?? `a file that cannot be read (${code})`}`
      return whole(file, text, code === "ENOENT")
    }
  })

const whole = (file: string, text: string, missing = false) =>
  new ConfigError({
    file,
    missing,
    count: 1,
    mistakes: [{ line: undefined, column: undefined, path: "", text: text.split("\n") }]
  })

const decodeText = (file: string, bytes: Uint8Array): Result.Result<string, ConfigError> => {
  if (bytes.length > maxBytes) return Result.fail(whole(file, "expected  a config file\nfound     more than 256 KiB"))
  return Result.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () => whole(file, "expected  text in UTF-8\nfound     bytes that are not")
  })
}

/** Reads the config of a file, or says all that is wrong with it. */
export const load = Effect.fnUntraced(function* (file: string, env: Env): Effect.fn.Return<Config.Config, ConfigError> {
  const text = yield* Effect.fromResult(decodeText(file, yield* read(file)))
  return yield* Effect.fromResult(parse(text, { file, env }))
})

// --- its text -------------------------------------------------------------------------------------------------------

/** Reads a config from YAML text; `file` is only for the messages. */
export const parse = (
  source: string,
  { env, file }: { readonly file: string; readonly env: Env }
): Result.Result<Config.Config, ConfigError> => {
  const lines = new LineCounter()
  const document = parseDocument(source, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    merge: true,
    resolveKnownTags: false,
    // `twice` does it: here, every key would be compared with all its siblings.
    uniqueKeys: false
  })
  const fail = (complaints: ReadonlyArray<Complaint>) => {
    const all = inOrder(complaints)
    const mistakes = all.slice(0, maxShown).map(({ offset, path = pathAt(document.contents, offset), text }) => {
      const { col, line } = lines.linePos(offset)
      return { line, column: col, path: formatPath(path), text }
    })
    return Result.fail(new ConfigError({ file, missing: false, mistakes, count: all.length }))
  }

  const syntax = [...document.errors, ...document.warnings]
  if (syntax.length > 0) {
    // Where YAML went wrong, what it took for keys may be pieces of a value.
    return fail(
      syntax.map((it) => ({
        offset: it.pos[0],
        path: pathAt(document.contents, it.pos[0]).slice(0, 3),
        text: explain(it)
      }))
    )
  }
  if (document.contents === null) return fail([{ offset: 0, text: ["expected  settings", "found     nothing", least] }])
  for (const check of [tooMany, looseEnds]) {
    const complaints = check(document)
    if (complaints.length > 0) return fail(complaints)
  }
  const filled = fillIn(document, env)
  const plain = Result.try(() => document.toJS({ maxAliasCount: 100 }) as unknown)
  if (Result.isFailure(plain)) {
    const text = ["expected  a handful of aliases", "found     aliases of aliases, without bound"]
    return fail([{ offset: 0, path: [], text }])
  }

  const config = Config.decode(plain.success)
  const wrong = Result.isFailure(config) ? config.failure : []
  const located = wrong.flatMap((mistake): ReadonlyArray<Complaint> => {
    const { key, node, whole } = locate(document, mistake.path)
    const found = isAlias(node) ? node.resolve(document) : node
    if (found !== undefined && filled.failed.has(found)) return []
    const offset = (mistake._tag === "Wrong" || key === undefined ? (node ?? key) : key)?.range?.[0] ?? 0
    const describe = () => (whole ? show(found, mistake.path, source, filled.filled) : "nothing")
    return [{ offset, path: mistake.path, text: say(mistake, describe) }]
  })
  const all = [...twice(document), ...filled.mistakes, ...located]
  return Result.isSuccess(config) && all.length === 0 ? Result.succeed(config.success) : fail(all)
}

/** Something is wrong with what stands at an offset of the source. */
interface Complaint {
  readonly offset: number
  /** Unless given: the path of what stands there. */
  readonly path?: Path
  readonly text: ReadonlyArray<string>
}

const about = (node: Node, ...text: ReadonlyArray<string>): Complaint => ({ offset: node.range?.[0] ?? 0, text })

/** Top to bottom, and once each: a mapping that is used twice by an alias need not be complained of twice. */
const inOrder = (complaints: ReadonlyArray<Complaint>) => {
  const once = new Map(complaints.toReversed().map((it) => [`${it.offset} ${it.text.join(" ")}`, it]))
  return [...once.values()].toSorted((a, b) => a.offset - b.offset)
}

const maxAliases = 100

/** More aliases than a config can need. To look one up takes a walk through all that comes before it. */
const tooMany = (document: Document): ReadonlyArray<Complaint> => {
  const aliases: Array<Node> = []
  visit(document, {
    Alias: (_, node) => (aliases.push(node) > maxAliases ? visit.BREAK : undefined)
  })
  return aliases.slice(maxAliases).map((node) => about(node, `expected  at most ${maxAliases} aliases`))
}

/** Aliases of nothing, and merges of what is no mapping. */
const looseEnds = (document: Document): ReadonlyArray<Complaint> => {
  const found: Array<Complaint> = []
  visit(document, {
    Alias: (_, node) => {
      if (node.resolve(document) !== undefined) return
      found.push(
        about(node, "expected  the name of an anchor set above; text that begins with `*` or `&` goes in quotes")
      )
    },
    Pair: (_, { key, value }) => {
      if (keyText(key) !== "<<") return
      const sources = (isSeq(value) ? value.items : [value]).map((it) => (isAlias(it) ? it.resolve(document) : it))
      if (!sources.every(isMap)) found.push(about(key as Node, "expected  a mapping to merge under `<<`"))
    }
  })
  return found
}

/** Keys that stand there a second time. */
const twice = (document: Document): ReadonlyArray<Complaint> => {
  const found: Array<Complaint> = []
  visit(document, {
    Map: (_, map) => {
      const keys = new Set<string>()
      for (const { key } of map.items as Array<Pair<Node>>) {
        const name = keyText(key) ?? ""
        if (name !== "<<" && keys.has(name)) {
          found.push(about(key, "expected  each key once", "found     this one a second time"))
        }
        keys.add(name)
      }
    }
  })
  return found
}

// --- the environment ------------------------------------------------------------------------------------------------

interface Filled {
  /** Scalars whose value came from the environment: never shown. */
  readonly filled: ReadonlySet<unknown>
  /** Scalars that could not be filled in, which is mistake enough for one value. */
  readonly failed: ReadonlySet<unknown>
  readonly mistakes: ReadonlyArray<Complaint>
}

/** Puts the environment's values in the place of `${NAME}`, in text values only; `$${` is a plain `${`. */
const fillIn = (document: Document, env: Env): Filled => {
  const filled = new Set<unknown>()
  const failed = new Set<unknown>()
  const mistakes: Array<Complaint> = []
  visit(document, {
    Scalar: (key, node) => {
      if (key === "key" || typeof node.value !== "string" || !node.value.includes("${")) return
      const miss = (...text: Array<string>) => {
        failed.add(node)
        mistakes.push(about(node, ...text))
        return ""
      }
      node.value = node.value.replace(/\$(\$\{)|\$\{([^}]*)(\}?)/g, (_, escaped, name: string, close) => {
        if (escaped !== undefined) return escaped
        if (!/^[A-Za-z_]\w*$/.test(name) || close === "") {
          return miss("expected  the name of an environment variable, as in `${API_TOKEN}` (a plain `${` is `$${`)")
        }
        filled.add(node)
        const value = env[name]
        if (value === undefined) return miss(`expected  the environment variable ${name}`, "found     it is not set")
        if (value === "") return miss(`expected  the environment variable ${name}`, "found     it is empty")
        return value
      })
    }
  })
  return { filled, failed, mistakes }
}

// --- places ---------------------------------------------------------------------------------------------------------

type Path = ReadonlyArray<PropertyKey>

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

const isHeader = (path: Path) => path[0] === "upstreams" && path[2] === "headers"

/** Whether the last step may be a secret: `headers: { "authorization: Bearer …" }` has the whole of it for a name. */
const isSecret = (path: Path) => isHeader(path) && path.length === 4 && !/^[\w-]{1,40}$/.test(String(path[3]))

const notShown = "not shown, since it may be a secret"

interface Place {
  readonly key: Node | undefined
  readonly node: Node | undefined
  /** Whether all of the path was found; else `key` and `node` are those of the nearest that was. */
  readonly whole: boolean
}

/** Walks from the root along a path, through aliases and merged mappings. */
const locate = (document: Document, path: Path): Place => {
  let place: Place = { key: undefined, node: document.contents ?? undefined, whole: true }
  for (const step of path) {
    const next = child(document, place.node, step)
    if (next === undefined) return { ...place, whole: false }
    place = { ...next, whole: true }
  }
  return place
}

const child = (document: Document, node: unknown, step: PropertyKey): Omit<Place, "whole"> | undefined => {
  const parent = isAlias(node) ? node.resolve(document) : node
  if (isSeq(parent)) return { key: undefined, node: parent.items[Number(step)] as Node | undefined }
  if (!isMap(parent)) return undefined
  const pairs = pairsOf(parent)
  const pair = pairs.get(String(step))
  if (pair !== undefined) return { key: pair.key, node: pair.value ?? undefined }
  const merged = pairs.get("<<")?.value
  const sources = isSeq(merged) ? merged.items : [merged]
  return sources.map((source) => child(document, source, step)).find((found) => found !== undefined)
}

const indexes = new WeakMap<object, ReadonlyMap<string | undefined, Pair<Node, Node | null>>>()

/** The pairs of a mapping by their keys: of two with one key, the last, as it is the one that counts. */
const pairsOf = (map: YAMLMap<unknown, unknown>) => {
  const known = indexes.get(map)
  if (known !== undefined) return known
  const pairs = map.items as ReadonlyArray<Pair<Node, Node | null>>
  const index = new Map(pairs.map((pair) => [keyText(pair.key), pair]))
  indexes.set(map, index)
  return index
}

const keyText = (key: unknown) => (isScalar(key) ? String(key.value) : undefined)

/** The path of whatever stands at an offset of the source. */
const pathAt = (node: unknown, offset: number): Path => {
  const items: ReadonlyArray<unknown> = isMap(node) || isSeq(node) ? node.items : []
  for (const [index, item] of items.entries()) {
    const { key, value } = isSeq(node) ? { key: undefined, value: item as Node } : (item as Pair<Node, Node | null>)
    const from = (key ?? value)?.range?.[0]
    const to = (value ?? key)?.range?.[2]
    if (from === undefined || to === undefined || offset < from || offset >= Math.max(to, from + 1)) continue
    return [key === undefined ? index : (keyText(key) ?? "?"), ...pathAt(value, offset)]
  }
  return []
}

// --- words ----------------------------------------------------------------------------------------------------------

const say = (mistake: Config.Mistake, found: () => string): ReadonlyArray<string> => {
  switch (mistake._tag) {
    case "Wrong":
      return [`expected  ${mistake.expected}`, `found     ${found()}`]
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
const show = (node: unknown, path: Path, source: string, filled: ReadonlySet<unknown>): string => {
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

const printable = (text: string) => {
  // oxlint-disable-next-line no-control-regex -- so that what stands in a file cannot steer the terminal it is shown on
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ")
  return line.length > 60 ? `${line.slice(0, 60)}…` : line
}

/** What YAML's own errors mean, without a word of the source: a token that was cut in two may be a secret. */
const explain = ({ code, message }: YAMLError): ReadonlyArray<string> => {
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
