// Type-checks every project of the workspace: each folder's sources with the libraries they may use, its tests with Node's.
import { spawn } from "node:child_process"
import { globSync } from "node:fs"
import { availableParallelism } from "node:os"

const projects = globSync(
  ["packages/*/tsconfig*.json", "packages/*/test/tsconfig.json", "{examples,scripts}/**/tsconfig.json"],
  {
    exclude: ["**/node_modules/**", "**/tsconfig.build.json"]
  }
).toSorted()

const check = (project) =>
  new Promise((resolve) => {
    const args = ["-p", project, ...(process.stdout.isTTY ? ["--pretty"] : [])]
    const child = spawn("tsc", args, { stdio: ["ignore", "pipe", "inherit"], shell: process.platform === "win32" })
    let output = ""
    child.stdout.on("data", (chunk) => (output += chunk))
    child.on("close", (code) => {
      process.stdout.write(output)
      resolve(code === 0)
    })
  })

let failed = 0
const worker = async () => {
  for (let project = projects.shift(); project !== undefined; project = projects.shift()) {
    if (!(await check(project))) failed++
  }
}
await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, worker))
process.exitCode = failed === 0 ? 0 : 1
