// Type-checks every project of the workspace: each folder's sources with the libraries they may use, its tests with Node's.
import { spawnSync } from "node:child_process"
import { globSync } from "node:fs"

const projects = globSync([
  "packages/*/tsconfig*.json",
  "packages/*/test/tsconfig.json",
  "examples/tsconfig.json"
]).toSorted()
let failed = 0
for (const project of projects) {
  const { status } = spawnSync("tsc", ["-p", project], { stdio: "inherit" })
  if (status !== 0) failed++
}
process.exitCode = failed === 0 ? 0 : 1
