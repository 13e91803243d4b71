/** What a figure depends on, and a reader wants to know first. */
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { availableParallelism, cpus, totalmem, type } from "node:os"
import { dirname, join } from "node:path"

export interface Machine {
  readonly date: string
  readonly cpu: string
  readonly cores: number
  readonly memory: string
  readonly system: string
  readonly node: string
  readonly packages: Readonly<Record<string, string>>
}

const peers = [
  "effect",
  "p-queue",
  "async",
  "fastq",
  "p-map",
  "limiter",
  "cockatiel",
  "effection",
  "undici",
  "got",
  "ky",
  "axios",
  "fastify",
  "@fastify/http-proxy",
  "http-proxy-3"
]

export const machine = (): Machine => ({
  date: new Date().toISOString(),
  cpu: cpus()[0]?.model ?? "unknown",
  cores: availableParallelism(),
  memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
  system: `${type()} ${process.arch}`,
  node: process.versions.node,
  packages: Object.fromEntries(peers.map((name) => [name, version(name)]))
})

/** The version installed; read beside the module, as not every package exports its own package.json. */
const version = (name: string): string => {
  const require = createRequire(import.meta.url)
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      return JSON.parse(readFileSync(join(folder, name, "package.json"), "utf8")).version
    } catch {
      // Not in this folder; the next one up.
    }
  }
  return `unknown (looked from ${dirname(import.meta.filename)})`
}

export const describe = (facts: Machine, rounds: number): string =>
  [
    `${facts.cpu}, ${facts.cores} cores, ${facts.memory}; ${facts.system}; Node ${facts.node}; ${facts.date.slice(0, 16)}Z; ${rounds} rounds.`,
    Object.entries(facts.packages)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ") + "."
  ].join("  \n")
