/** For tests that start programs often: what Node makes of their files goes from one to the next, which is half of what a start costs. */
import { afterAll } from "vitest"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const folder = mkdtempSync(join(tmpdir(), "compiled-"))

afterAll(() => rmSync(folder, { recursive: true, force: true }))

export const env = { ...process.env, NODE_COMPILE_CACHE: folder }
