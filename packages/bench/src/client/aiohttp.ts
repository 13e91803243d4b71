/** aiohttp, where it is installed (Debian's `python3-aiohttp`): in a process of its own, which measures itself as `load.ts` does. */
import { execFile, spawnSync } from "node:child_process"
import { join } from "node:path"
import { promisify } from "node:util"
import type { Measure } from "../harness.ts"
import { atOnce } from "./load.ts"

/** Debian's own first: what comes first on a PATH may know nothing of Debian's packages. */
const python = ["/usr/bin/python3", "python3"].find(
  (file) => spawnSync(file, ["-c", "import importlib.util as u; exit(u.find_spec('aiohttp') is None)"]).status === 0
)

export const hasAiohttp = python !== undefined

export const aiohttp = async (url: string, size: number, scale: number): Promise<Measure> => {
  const args = [url, size, atOnce, 2000 * scale, 2 * scale].map(String)
  const { stdout } = await promisify(execFile)(python!, [join(import.meta.dirname, "session.py"), ...args])
  return JSON.parse(stdout)
}
