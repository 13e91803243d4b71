import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { modulesOf, mutantsOf } from "../patches.mjs"

const repository = join(import.meta.dirname, "../..")

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "patches-"))
  write("packages/core/src/Half.ts", half)
  write("packages/core/test/Half.test.ts", "")
})
afterEach(() => rmSync(root, { recursive: true }))

const write = (file: string, text: string) => {
  mkdirSync(dirname(join(root, file)), { recursive: true })
  writeFileSync(join(root, file), text)
}

const half = `// One
// Two
export const half = (n: number) => {
  return n / 2
}
`

const diff = `diff --git a/packages/core/src/Half.ts b/packages/core/src/Half.ts
index 1111111..2222222 100644
--- a/packages/core/src/Half.ts
+++ b/packages/core/src/Half.ts
@@ -3,3 +3,3 @@ export const half
 export const half = (n: number) => {
-  return n / 2
+  return n / 3
 }
`

/** What is wrong with one mutant, or what it makes of the module. */
const only = (patch: string) => {
  write("test/mutants/Half-a-third.patch", patch)
  const [mutant] = mutantsOf(root)
  return mutant!.wrong ?? mutant!.texts[0]!.is
}

const planted = half.replace("n / 2", "n / 3")

describe("the mutants of this repository", () => {
  it("fit its modules as they are", () => {
    const wrong = mutantsOf(repository).filter((mutant) => mutant.wrong !== undefined)
    expect(wrong.map(({ path, wrong }) => `${path} ${wrong}`)).toEqual([])
  })
})

describe("a mutant", () => {
  it("says what it plants, where, and which tests kill it: those of its module's stem unless it names others", () => {
    write("packages/core/test/Other.test.ts", "")
    write("packages/core/test/internal/Half.socket.test.ts", "")
    write("test/mutants/Half-a.patch", `A third,\nnot a half.\n\n${diff}`)
    const killedBy = `Killed-by: packages/core/test/Other.test.ts "halves 4 (of "all")"`
    write("test/mutants/Half-b.patch", `A third.\n${killedBy}\nKilled-by: packages/core/test/Half.test.ts\n\n${diff}`)
    const [a, b] = mutantsOf(root)
    expect([a!.name, a!.words, a!.modules]).toEqual(["Half-a", "A third, not a half.", ["packages/core/src/Half.ts"]])
    expect(a!.tests).toEqual([
      { file: "packages/core/test/Half.test.ts", name: undefined },
      { file: "packages/core/test/internal/Half.socket.test.ts", name: undefined }
    ])
    expect(b!.tests).toEqual([
      { file: "packages/core/test/Other.test.ts", name: 'halves 4 (of "all")' },
      { file: "packages/core/test/Half.test.ts", name: undefined }
    ])
    expect([a!.wrong, b!.wrong]).toEqual([undefined, undefined])
  })

  it("fits where its lines are, also when they have moved", () => {
    expect(only(`A third.\n${diff}`)).toBe(planted)
    write("packages/core/src/Half.ts", `// Zero\n\n${half}`)
    expect(only(`A third.\n${diff}`)).toBe(`// Zero\n\n${planted}`)
  })

  it("of several places that look alike takes the one where it was, and none if there is none", () => {
    const twice = `${half}${half.replaceAll("half", "other").replace("other", "half")}`
    write("packages/core/src/Half.ts", twice)
    expect(only(`A third.\n${diff}`)).toBe(twice.replace("n / 2", "n / 3"))
    write("packages/core/src/Half.ts", `// Zero\n${twice}`)
    expect(only(`A third.\n${diff}`)).toBe("is stale: it does not fit packages/core/src/Half.ts any more")
  })

  it("puts several hunks where they belong", () => {
    const two = `${diff.replace("@@ -3,3", "@@ -1,0 +1,1 @@\n+// Zero\n@@ -3,3")}`
    expect(only(`A third.\n${two}`)).toBe(`// Zero\n${planted}`)
  })

  it("is stale when its lines are gone, or its module", () => {
    write("packages/core/src/Half.ts", half.replace("n / 2", "n * 0.5"))
    expect(only(`A third.\n${diff}`)).toBe("is stale: it does not fit packages/core/src/Half.ts any more")
    rmSync(join(root, "packages/core/src/Half.ts"))
    expect(only(`A third.\n${diff}`)).toBe("is stale: it does not fit packages/core/src/Half.ts any more")
  })

  it("that cannot be tried says why", () => {
    expect(only(diff)).toBe("does not say what it plants: put a sentence on top of it")
    expect(only("A third.\n")).toBe("has no patch in it")
    expect(only(`A third.\n${diff.replace("n / 3", "n / 2")}`)).toBe("changes nothing in packages/core/src/Half.ts")
    expect(only(`A third.\n${diff.replace("n / 3", "n /")}`)).toMatch(/^leaves of .*Half.ts what does not parse$/)
    expect(only(`A third.\nKilled-by: packages/core/test/No.test.ts\n${diff}`)).toBe(
      "is killed by packages/core/test/No.test.ts, which is not there"
    )
    rmSync(join(root, "packages/core/test/Half.test.ts"))
    expect(only(`A third.\n${diff}`)).toMatch(/^names no test that kills it/)
  })
})

describe("modules", () => {
  it("that count are those shipped that have a function, each with the number of its mutants", () => {
    write("packages/core/src/index.ts", `export * as Half from "./Half.ts"`)
    write("packages/core/src/Reason.ts", `export class Shutdown extends Data.TaggedClass("Shutdown")<{}> {}`)
    write("packages/core/src/internal/types.ts", `export interface Wait { readonly begin: () => void }`)
    write("packages/core/src/Lent.ts", `export const Lent = Context.Reference("Lent", { defaultValue: () => false })`)
    write("packages/proxy/src/cli/run.ts", `export class Run { run() {} }`)
    write("packages/bench/src/main.ts", `export const main = () => {}`)
    write("test/mutants/Half-a.patch", `A third.\n${diff}`)
    expect(modulesOf(root, mutantsOf(root))).toEqual([
      { file: "packages/core/src/Half.ts", count: 1 },
      { file: "packages/proxy/src/cli/run.ts", count: 0 }
    ])
  })
})
