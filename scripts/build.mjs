// Emits `dist` of every package that is published: JavaScript and types. Nothing here needs it; whoever installs them does.
import { spawnSync } from "node:child_process"
import { chmodSync, existsSync, rmSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "..")

// A package is built from the types of those before it.
for (const name of ["core", "testing", "platform-node", "proxy"]) {
  const folder = join(root, "packages", name)
  rmSync(join(folder, "dist"), { recursive: true, force: true })
  const { status } = spawnSync("tsc", ["-p", join(folder, "tsconfig.build.json")], { cwd: root, stdio: "inherit" })
  if (status !== 0) process.exit(1)
  console.log(`packages/${name}/dist`)
}

const main = join(root, "packages/proxy/dist/main.js")
if (existsSync(main)) chmodSync(main, 0o755)
