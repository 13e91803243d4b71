/**
 * Fails when an import goes against the arrows: proxy → platform-node → core → effect, and testing → effect.
 *
 * - A package's sources import its own files, and packages that its package.json gives to whoever installs it.
 * - core knows neither Node nor anything but `effect`; testing has Node in `node.ts` and `node/` alone.
 * - A module of `effect` tagged `@stability unstable` or `experimental` is imported in one file of a package, so that a change of it is
 *   a change of that file. (The type `ByteSize` is free: it stands in options.)
 *
 * Tests are free; bench and the examples may import any package by its name.
 */
import { existsSync, globSync, readFileSync } from "node:fs"
import { builtinModules } from "node:module"
import { dirname, join, relative } from "node:path"
import { parseSync } from "oxc-parser"

// Which packages of the workspace a package may import; `node`, which of its files may import Node's modules.
const packages = {
  core: { arrows: [], only: ["effect"], node: /^$/ },
  testing: { arrows: [], only: ["effect"], node: /^node(\.ts$|\/)/ },
  "platform-node": { arrows: ["@fairlead/core"], node: /./ },
  proxy: { arrows: ["@fairlead/core", "@fairlead/platform-node"], node: /./ },
  bench: { arrows: ["@fairlead/core", "@fairlead/platform-node", "@fairlead/testing", "fairlead"], node: /./ }
}
const ours = /^(fairlead|@fairlead\/[^/]+)(\/|$)/
const isBuiltin = (specifier) => specifier.startsWith("node:") || builtinModules.includes(specifier)
const packageOf = (specifier) => specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/")

const named = (entry) => ({
  name: entry.importName.kind === "Name" ? entry.importName.name : undefined,
  isType: entry.isType
})

/** Every import and re-export of a file: `{ specifier, line, names }`, each name with whether it is a type only. */
const importsOf = (file) => {
  const text = readFileSync(file, "utf8")
  const { module, program, errors } = parseSync(file, text)
  if (errors.length > 0) throw new Error(`${file}: ${errors[0].message}`)
  const found = []
  const add = (start, specifier, names) =>
    found.push({ line: text.slice(0, start).split("\n").length, specifier, names })
  for (const each of module.staticImports) add(each.start, each.moduleRequest.value, each.entries.map(named))
  for (const entry of module.staticExports.flatMap((each) => each.entries)) {
    if (entry.moduleRequest) add(entry.start, entry.moduleRequest.value, [named(entry)])
  }
  for (const { moduleRequest: at } of module.dynamicImports) {
    const literal = /^["'`]([^"'`$]*)["'`]$/.exec(text.slice(at.start, at.end))
    if (literal) add(at.start, literal[1], [{ name: undefined, isType: false }])
  }
  // `import("x").Y` as a type stands in no list.
  JSON.stringify(text.includes("import(") ? program : null, (_, node) => {
    if (node?.type === "TSImportType") add(node.start, node.source.value, [{ name: undefined, isType: true }])
    return typeof node === "bigint" ? undefined : node
  })
  return found
}

/** The modules of `effect` that an import names, as paths without suffix: `Option`, `http/HttpClient`. */
const modulesOf = (effect, { specifier, names }) => {
  const path = specifier.split("/").slice(1).join("/")
  if (path !== "" && existsSync(join(effect, "src", `${path}.ts`)))
    return names.map((name) => ({ ...name, module: path }))
  return names.map(({ name, isType }) => ({
    name,
    isType,
    module: [path, name ?? "index"].filter((part) => part !== "").join("/")
  }))
}

const unstable = new Map()
const isUnstable = (effect, module) => {
  const file = join(effect, "src", `${module}.ts`)
  if (!unstable.has(file)) {
    // The tag in the file's first comment is the module's; those below are single exports'.
    const header = existsSync(file) ? /^\s*\/\*\*[\s\S]*?\*\//.exec(readFileSync(file, "utf8"))?.[0] : undefined
    unstable.set(file, header !== undefined && /@stability (unstable|experimental)/.test(header))
  }
  return unstable.get(file)
}

/** All that is wrong with the imports of the workspace at `root`, one line each. */
export const violations = (root, effect = join(root, "node_modules/effect")) => {
  const wrong = []
  for (const [name, { arrows, only, node }] of Object.entries(packages)) {
    const folder = join(root, "packages", name)
    if (!existsSync(join(folder, "package.json"))) continue
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
    const declared = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })
    const places = new Map()
    for (const file of globSync("src/**/*.{ts,tsx,mts,js,mjs}", { cwd: folder }).toSorted()) {
      const path = join(folder, file)
      for (const found of importsOf(path)) {
        const { specifier, line } = found
        const report = (why) => wrong.push(`${relative(root, path)}:${line} imports "${specifier}": ${why}`)
        if (specifier.startsWith(".")) {
          const target = relative(folder, join(dirname(path), specifier))
          if (!target.startsWith("src/") && target !== "package.json")
            report("a package's sources import no file beside them")
        } else if (isBuiltin(specifier)) {
          if (!node.test(relative("src", file))) report(`${name} knows no Node here`)
        } else if (specifier.startsWith("#") || specifier.startsWith("/")) {
          report("a package is imported by its name, a file by a relative path")
        } else {
          const target = packageOf(specifier)
          if (ours.test(specifier) && !arrows.includes(target)) report(`no arrow goes from ${name} to ${target}`)
          else if (only && !only.includes(target)) report(`${name} imports ${only.join(", ")} alone`)
          else if (!declared.includes(target)) report(`${target} is not among the dependencies of ${name}`)
          if (target === "effect") {
            for (const { module, isType } of modulesOf(effect, found)) {
              if (isUnstable(effect, module) && !(module === "ByteSize" && isType)) {
                places.set(module, (places.get(module) ?? new Set()).add(`${relative(root, path)}:${line}`))
              }
            }
          }
        }
      }
    }
    for (const [module, where] of places) {
      const files = new Set([...where].map((place) => place.split(":")[0]))
      if (files.size > 1) {
        wrong.push(
          `effect's ${module} is unstable, so one file of ${name} imports it, not ${files.size}: ${[...where].join(", ")}`
        )
      }
    }
  }
  for (const file of globSync("examples/*.ts", { cwd: root }).toSorted()) {
    for (const { specifier, line } of importsOf(join(root, file))) {
      if (specifier.startsWith(".."))
        wrong.push(`${file}:${line} imports "${specifier}": an example imports packages by their names`)
    }
  }
  return wrong
}

if (import.meta.main) {
  const wrong = violations(join(import.meta.dirname, ".."))
  for (const line of wrong) console.error(line)
  process.exitCode = wrong.length === 0 ? 0 : 1
}
