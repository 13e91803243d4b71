/** For tests that start programs often: what Node makes of their files goes from one to the next, which is half of what a start costs. */
import { afterAll } from "vitest"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const folder = mkdtempSync(join(tmpdir(), "compiled-"))

export const env = { ...process.env, NODE_COMPILE_CACHE: folder }

/** Whether a process was started by these tests, at whatever remove; where there is no `/proc`, nobody knows. */
const isOurs = (pid: string): boolean => {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8").includes(`NODE_COMPILE_CACHE=${folder}`)
  } catch {
    return false
  }
}

const end = (pid: string) => {
  try {
    process.kill(Number(pid), "SIGKILL")
  } catch {
    // It has ended meanwhile.
  }
}

afterAll(() => {
  // A test that fails half way, as one does with a mutant, must not leave a program behind that computes on for ever.
  const pids = process.platform === "linux" ? readdirSync("/proc").filter((name) => /^\d+$/.test(name)) : []
  for (const pid of pids) if (isOurs(pid)) end(pid)
  rmSync(folder, { recursive: true, force: true })
})
