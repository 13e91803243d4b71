// `run.mjs FILE ARGS…`: gets the clone ready and runs a file of it on its Node, in the folder of whoever asked.
import { join } from "node:path"
import { launch } from "./launch.mjs"
import { ready, root } from "./ready.mjs"

const [file, ...rest] = process.argv.slice(2)
// pnpm hands the `--` of `pnpm fairlead -- serve` on, npm does not.
const args = rest[0] === "--" ? rest.slice(1) : rest

process.exitCode = (await ready())
  ? await launch(join(root, file), args, { cwd: process.env.INIT_CWD ?? process.cwd() })
  : 1
