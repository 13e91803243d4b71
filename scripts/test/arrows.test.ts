import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { violations } from "../arrows.mjs"

const repository = join(import.meta.dirname, "../..")
const effect = join(repository, "node_modules/effect")

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "arrows-"))
})
afterEach(() => rmSync(root, { recursive: true }))

const manifests: Record<string, object> = {
  core: { devDependencies: { "@fairlead/testing": "*" }, peerDependencies: { effect: "*" } },
  testing: { peerDependencies: { effect: "*" } },
  "platform-node": { dependencies: { "@fairlead/core": "*", undici: "*" }, peerDependencies: { effect: "*" } },
  proxy: { dependencies: { "@fairlead/core": "*", "@fairlead/platform-node": "*", effect: "*", yaml: "*" } },
  bench: { dependencies: { fairlead: "*", effect: "*" } }
}

/** The violations of a workspace with these files. */
const judge = (files: Record<string, string>) => {
  for (const [name, manifest] of Object.entries(manifests))
    files[`packages/${name}/package.json`] = JSON.stringify(manifest)
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), text)
  }
  return violations(root, effect)
}

describe("arrows", () => {
  it("go the one way in this repository", () => {
    expect(violations(repository)).toEqual([])
  })

  it("may go down, to Node where it is, and to what package.json gives", () => {
    const files = {
      "packages/core/src/A.ts": `import { Effect } from "effect"\nexport * from "./internal/b.ts"`,
      "packages/core/src/internal/b.ts": `import { dual } from "effect/Function"\nexport { dual }`,
      "packages/platform-node/src/A.ts": `import "node:http"; import "undici"; import "@fairlead/core"`,
      "packages/proxy/src/A.ts": `import "@fairlead/platform-node"; import "@fairlead/core"; import "../package.json"; import "yaml"`,
      "packages/testing/src/node.ts": `import "node:http"`,
      "packages/testing/src/node/Upstream.ts": `import "node:http"`,
      "packages/core/test/A.test.ts": `import "node:fs"; import "fairlead"; import "../src/internal/b.ts"`,
      "packages/bench/src/a.ts": `import "fairlead"`,
      "examples/a.ts": `import "fairlead"`
    }
    expect(judge(files)).toEqual([])
  })

  const against: ReadonlyArray<readonly [name: string, file: string, text: string, why: string]> = [
    [
      "core to platform-node",
      "packages/core/src/A.ts",
      `import "@fairlead/platform-node"`,
      "no arrow goes from core to @fairlead/platform-node"
    ],
    [
      "core to testing",
      "packages/core/src/A.ts",
      `import "@fairlead/testing"`,
      "no arrow goes from core to @fairlead/testing"
    ],
    ["core to Node", "packages/core/src/A.ts", `import "node:fs"`, "core knows no Node here"],
    ["core to Node by its old name", "packages/core/src/A.ts", `import "fs"`, "core knows no Node here"],
    ["core to any other package", "packages/core/src/A.ts", `import "undici"`, "core imports effect alone"],
    [
      "testing to core",
      "packages/testing/src/A.ts",
      `import "@fairlead/core"`,
      "no arrow goes from testing to @fairlead/core"
    ],
    ["testing to Node beside node.ts", "packages/testing/src/A.ts", `import "node:fs"`, "testing knows no Node here"],
    [
      "platform-node to the proxy",
      "packages/platform-node/src/A.ts",
      `import "fairlead"`,
      "no arrow goes from platform-node to fairlead"
    ],
    [
      "sources to a dependency of their tests",
      "packages/proxy/src/A.ts",
      `import "openai"`,
      "openai is not among the dependencies of proxy"
    ],
    [
      "a package's border by a path",
      "packages/proxy/src/A.ts",
      `import "../../core/src/A.ts"`,
      "a package's sources import no file beside them"
    ],
    [
      "sources to their tests",
      "packages/core/src/A.ts",
      `import "../test/A.test.ts"`,
      "a package's sources import no file beside them"
    ],
    [
      "an example to a source",
      "examples/a.ts",
      `import "../packages/core/src/A.ts"`,
      "an example imports packages by their names"
    ]
  ]
  it.each(against)("do not go from %s", (_, file, text, why) => {
    expect(judge({ [file]: text })).toEqual([expect.stringMatching(new RegExp(`^${file}:1 imports ".*": ${why}$`))])
  })

  it.each([
    [`import type { X } from "fairlead"`],
    [`export * from "fairlead"`],
    [`export type { X } from "fairlead"`],
    [`const x = await import("fairlead")`],
    [`type X = import("fairlead").X`]
  ])("are seen in %s", (text) => {
    expect(judge({ "packages/core/src/A.ts": `\n${text}` })).toEqual([
      'packages/core/src/A.ts:2 imports "fairlead": no arrow goes from core to fairlead'
    ])
  })

  it("are not seen in comments and strings", () => {
    const text = `/** import "fairlead" */\n// import "fairlead"\nexport const a = 'import "fairlead"'`
    expect(judge({ "packages/core/src/A.ts": text })).toEqual([])
  })
})

describe("unstable modules of effect", () => {
  it("are imported in one file of a package", () => {
    const files = {
      "packages/proxy/src/A.ts": `import { HttpClient } from "effect/http"`,
      "packages/proxy/src/B.ts": `import * as HttpClient from "effect/http/HttpClient"`,
      "packages/core/src/A.ts": `import { HttpClient } from "effect/http"`
    }
    expect(judge(files)).toEqual([
      "effect's http/HttpClient is unstable, so one file of proxy imports it, not 2: packages/proxy/src/A.ts:1, packages/proxy/src/B.ts:1"
    ])
  })

  it("include experimental ones, which may change in any release", () => {
    const files = {
      "packages/core/src/A.ts": `import { CircuitBreaker } from "effect/persistence"`,
      "packages/core/src/B.ts": `import * as CircuitBreaker from "effect/persistence/CircuitBreaker"`
    }
    expect(judge(files)).toEqual([expect.stringMatching(/^effect's persistence\/CircuitBreaker is unstable/)])
  })

  it("are known by the tag of the module, at the root as well, but for the type ByteSize", () => {
    const files = {
      "packages/core/src/A.ts": `import { Arbitrary, Effect, type ByteSize } from "effect"`,
      "packages/core/src/B.ts": `import type { Arbitrary, ByteSize, Effect } from "effect"`
    }
    expect(judge(files)).toEqual([expect.stringMatching(/^effect's Arbitrary is unstable/)])
  })

  it("include ByteSize as a value", () => {
    const files = {
      "packages/core/src/A.ts": `import { ByteSize } from "effect"`,
      "packages/core/src/B.ts": `import * as Size from "effect/ByteSize"`
    }
    expect(judge(files)).toEqual([expect.stringMatching(/^effect's ByteSize is unstable/)])
  })
})
