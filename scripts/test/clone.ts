/** A small clone with the scripts of this one, an `npx` that plays pnpm, and programs run in it as npm would. */
import { spawn } from "node:child_process"
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"

// Says that it began, waits for `go` if it is told to wait, and makes what pnpm would: links to this Node, and its record.
const npx = `#!/bin/sh
echo "$@" >> calls
echo "noise of npx"
[ -e fail ] && { cat fail >&2; exit 7; }
[ -e node_modules/broken ] && exit 1
mkdir -p node_modules/.bin
echo half > node_modules/half
while [ -e wait ]; do sleep 0.05; done
mkdir -p node_modules/.pnpm packages/a/node_modules examples/node_modules
ln -sf "${process.execPath}" node_modules/.bin/node
cp pnpm-lock.yaml node_modules/.pnpm/lock.yaml
`

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly output: string
}

export const makeClone = () => {
  const root = realpathSync(mkdtempSync(join(tmpdir(), "clone-")))
  const path = (...parts: ReadonlyArray<string>) => join(root, ...parts)
  const write = (file: string, text: string) => {
    mkdirSync(dirname(path(file)), { recursive: true })
    writeFileSync(path(file), text)
  }
  const started = new Set<number>()

  const scripts = join(import.meta.dirname, "..")
  for (const file of ["ready.mjs", "launch.mjs", "tether.mjs", "run.mjs", "start.mjs"]) {
    cpSync(join(scripts, file), path("scripts", file))
  }
  const manifest = {
    type: "module",
    packageManager: "pnpm@1.2.3",
    devDependencies: { node: process.version.slice(1) },
    scripts: { run: "exec node scripts/run.mjs" }
  }
  write("package.json", JSON.stringify(manifest))
  write("pnpm-lock.yaml", "lock: 1")
  write("pnpm-workspace.yaml", "")
  write("packages/a/package.json", "{}")
  write("examples/package.json", "{}")
  write("hello.mjs", `console.log("hello", ...process.argv.slice(2))`)
  write("bin/npx", npx)
  chmodSync(path("bin/npx"), 0o755)

  return {
    path,
    write,
    /** What a file says; nothing when there is none. */
    read: (file: string) => (existsSync(path(file)) ? readFileSync(path(file), "utf8") : ""),
    has: (file: string) => existsSync(path(file)),
    remove: (file: string) => rmSync(path(file), { recursive: true, force: true }),
    /** How often packages were installed. */
    installs: () => (existsSync(path("calls")) ? readFileSync(path("calls"), "utf8").trim().split("\n").length : 0),
    /** Runs a command in the clone, in a process group of its own, as a terminal does. */
    start: (command: string, ...args: ReadonlyArray<string>) => {
      const child = spawn(command, args, {
        cwd: root,
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
        env: { PATH: `${path("bin")}:${process.env["PATH"]}`, HOME: root }
      })
      started.add(child.pid!)
      let output = ""
      const listeners = new Set<() => void>()
      const hear = (chunk: Buffer) => {
        output += chunk
        for (const listener of listeners) listener()
      }
      child.stdout.on("data", hear)
      child.stderr.on("data", hear)
      return {
        pid: child.pid!,
        kill: (signal: NodeJS.Signals) => child.kill(signal),
        killGroup: (signal: NodeJS.Signals) => process.kill(-child.pid!, signal),
        /** Waits until the output matches. */
        said: (pattern: RegExp) =>
          new Promise<RegExpExecArray>((resolve, reject) => {
            const look = () => {
              const match = pattern.exec(output)
              if (match) {
                listeners.delete(look)
                resolve(match)
              }
            }
            listeners.add(look)
            child.once("close", () => reject(new Error(`Ended without saying ${pattern}:\n${output}`)))
            look()
          }),
        ended: new Promise<Ended>((resolve) => child.once("close", (code, signal) => resolve({ code, signal, output })))
      }
    },
    dispose: () => {
      for (const pid of started) {
        try {
          process.kill(-pid, "SIGKILL")
        } catch {
          // Gone, as it should be.
        }
      }
      rmSync(root, { recursive: true, force: true })
    }
  }
}

export type Clone = ReturnType<typeof makeClone>

/** Whether a process runs (one that only waits to be collected does not). */
export const runs = (pid: number) => {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  try {
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"))
  } catch {
    return !existsSync("/proc/self")
  }
}
