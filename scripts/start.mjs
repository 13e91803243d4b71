// `npm start`: the proxy with a demo upstream; `npm start -- --config FILE` with one's own.
import { join } from "node:path"
import { launch } from "./launch.mjs"
import { ready, root } from "./ready.mjs"

const rest = process.argv.slice(2)
const args = rest[0] === "--" ? rest.slice(1) : rest
const demo = args.some((arg) => /^(--config|-c|--demo|--help|-h)(=|$)/.test(arg)) ? [] : ["--demo"]

process.exitCode = (await ready())
  ? await launch(join(root, "packages/proxy/src/main.ts"), ["serve", ...demo, ...args], {
      cwd: process.env.INIT_CWD ?? process.cwd()
    })
  : 1
