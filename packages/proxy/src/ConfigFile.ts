/**
 * Reads a config from YAML: text → nodes that know where they stand → values from the environment → `Config.decode`.
 *
 * Whatever is wrong comes back as one `ConfigError` with every mistake in it: file, line, path, what was expected and
 * what was found. Only what may be gone once another is mended is left out: all the rest where the text is no YAML, and
 * what is wrong between two keys of which one is in doubt. What is or may be a secret is never in it: no value from the
 * environment, nothing under `headers`, no text that YAML could not make sense of.
 */
import { createReadStream } from "node:fs"
import { dirname, resolve } from "node:path"
import { Data, Effect, Result } from "effect"
import { isAlias, isMap, isSeq, LineCounter, parseDocument, Scalar, visit, YAMLMap } from "yaml"
import type { Document, Node, Pair } from "yaml"
import * as Config from "./Config.ts"
import { keyText, locate, pathAt } from "./ConfigPlace.ts"
import type { Path } from "./ConfigPlace.ts"
import { explain, formatPath, nearest, say, show } from "./ConfigWords.ts"

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

/** Reads the config of a file, or says all that is wrong with it. The files that it names are not read. */
export const load = Effect.fnUntraced(function* (file: string, env: Env): Effect.fn.Return<Config.Config, ConfigError> {
  const text = yield* Effect.fromResult(decodeText(file, yield* read(file)))
  const config = yield* Effect.fromResult(parse(text, { file, env }))
  if (config.tls === undefined) return config
  const folder = dirname(file)
  return { ...config, tls: { cert: resolve(folder, config.tls.cert), key: resolve(folder, config.tls.key) } }
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
  const unbounded = tooMany(document)
  if (unbounded.length > 0) return fail(unbounded)
  const loose = looseEnds(document)
  const filled = fillIn(document, env)
  const plain = Result.try(() => document.toJS({ maxAliasCount: 100 }) as unknown)
  if (Result.isFailure(plain)) {
    const text = ["expected  a handful of aliases", "found     aliases of aliases, without bound"]
    return fail([{ offset: 0, path: [], text }])
  }

  const again = twice(document)
  const config = Config.decode(plain.success)
  const wrong = Result.isFailure(config) ? config.failure : []
  const failed = new Set([...loose.failed, ...filled.failed])
  const isDoubtful = doubts(document, new Set([...failed, ...again.keys()]), wrong)
  const resolved = (node: Node | undefined) => (isAlias(node) ? node.resolve(document) : node)
  const located = wrong.flatMap((mistake): ReadonlyArray<Complaint> => {
    const { key, node, whole } = locate(document, mistake.path)
    const found = resolved(node)
    if (found !== undefined && failed.has(found)) return []
    const given = mistake._tag === "Wrong" ? mistake.given : undefined
    if (given !== undefined && (isDoubtful(mistake.path) || isDoubtful(given.path))) return []
    const offset = (mistake._tag === "Wrong" || key === undefined ? (node ?? key) : key)?.range?.[0] ?? 0
    const describe = () => (whole ? show(found, mistake.path, source, filled.filled) : "nothing")
    const number =
      given === undefined || filled.filled.has(resolved(locate(document, given.path).node)) ? undefined : given.number
    return [{ offset, path: mistake.path, text: say(mistake, describe, number) }]
  })
  const all = [...loose.mistakes, ...again.values(), ...filled.mistakes, ...located]
  return Result.isSuccess(config) && all.length === 0 ? Result.succeed(config.success) : fail(all)
}

/**
 * Whether nobody can know what was meant by the key of a path: it stands there twice, or perhaps misspelt, or perhaps in
 * a merge of nothing. What does not go with such a key is not told: that mistake may be none once the other is mended.
 */
const doubts = (document: Document, nodes: ReadonlySet<unknown>, mistakes: ReadonlyArray<Config.Mistake>) => {
  const meant = new Set(
    mistakes.flatMap((it) =>
      it._tag === "Unknown"
        ? [JSON.stringify([...it.path.slice(0, -1), nearest(String(it.path.at(-1)), it.known)])]
        : []
    )
  )
  return (path: Path): boolean => {
    const { key, node, whole } = locate(document, path)
    return whole ? nodes.has(key) : nodes.has(node) || meant.has(JSON.stringify(path))
  }
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

interface Loose {
  /** What came to nothing, and mappings that were to have more by a merge: mistake enough, as with `Filled.failed`. */
  readonly failed: ReadonlySet<unknown>
  readonly mistakes: ReadonlyArray<Complaint>
}

/** Aliases of nothing, and merges of what is no mapping. Nothing is put in their place, so that the rest can be read. */
const looseEnds = (document: Document): Loose => {
  const failed = new Set<unknown>()
  const mistakes: Array<Complaint> = []
  const leadsNowhere = (node: unknown) => {
    if (!isAlias(node) || node.resolve(document) !== undefined) return false
    mistakes.push(
      about(node, "expected  the name of an anchor set above; text that begins with `*` or `&` goes in quotes")
    )
    return true
  }
  visit(document, {
    Alias: (_, node) => {
      if (!leadsNowhere(node)) return
      const nothing = inPlaceOf(node, new Scalar(null))
      failed.add(nothing)
      return nothing
    },
    Pair: (_, pair, parents) => {
      const { key, value } = pair as Pair<Node, Node | null>
      if (keyText(key) !== "<<") return
      const sources = isSeq(value) ? value.items : [value]
      const nowhere = sources.filter(leadsNowhere)
      const others = sources.filter((it) => !nowhere.includes(it))
      const merge = others.every((it) => isMap(isAlias(it) ? it.resolve(document) : it))
      if (!merge) mistakes.push(about(key, "expected  a mapping to merge under `<<`"))
      if (merge && nowhere.length === 0) return
      pair.value = inPlaceOf(value ?? key, new YAMLMap())
      failed.add(parents.at(-1))
    }
  })
  return { failed, mistakes }
}

const inPlaceOf = <A extends Node>(node: Node, other: A): A => Object.assign(other, { range: node.range })

/** Keys that stand there a second time. */
const twice = (document: Document): ReadonlyMap<Node, Complaint> => {
  const found = new Map<Node, Complaint>()
  visit(document, {
    Map: (_, map) => {
      const keys = new Set<string>()
      for (const { key } of map.items as Array<Pair<Node>>) {
        const name = keyText(key) ?? ""
        if (name !== "<<" && keys.has(name)) {
          found.set(key, about(key, "expected  each key once", "found     this one a second time"))
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
      const value = node.value.replace(/\$(\$\{)|\$\{([^}]*)(\}?)/g, (_, escaped, name: string, close) => {
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
      // Without what is missing, it could be right by chance.
      node.value = failed.has(node) ? null : value
    }
  })
  return { filled, failed, mistakes }
}
