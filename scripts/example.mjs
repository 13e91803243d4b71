// `pnpm example NAME`: runs examples/NAME.ts.
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { launch } from "./launch.mjs"
import { ready, root } from "./ready.mjs"

const folder = join(root, "examples")
const [name = "", ...args] = process.argv.slice(2).filter((arg, index) => index > 0 || arg !== "--")
const file = join(folder, `${name.replace(/\.ts$/, "")}.ts`)

if (name === "" || !existsSync(file)) {
  const names = readdirSync(folder)
    .filter((entry) => entry.endsWith(".ts"))
    .map((entry) => entry.slice(0, -3))
  console.error(`${name === "" ? "Which example?" : `There is no example "${name}".`} There are: ${names.join(", ")}`)
  process.exitCode = 2
} else {
  process.exitCode = (await ready()) ? await launch(file, args) : 1
}
