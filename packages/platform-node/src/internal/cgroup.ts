/**
 * What the control group of this process uses: all processes in it, without the pages of files that the kernel would drop when asked
 * to. Of version 2 (`memory.current`), or 1 (`memory.usage_in_bytes`).
 *
 * What it may use is `process.constrainedMemory()`'s to say, which looks at the groups above, too.
 */
import { readFileSync } from "node:fs"

interface Version {
  /** The line of `/proc/self/cgroup` that names the group, and what stands before its name. */
  readonly line: RegExp
  readonly folder: string
  readonly usage: string
  readonly droppable: RegExp
}

const versions: ReadonlyArray<Version> = [
  {
    line: /^\d+:[^:]*\bmemory\b[^:]*:(.*)$/m,
    folder: "/memory",
    usage: "memory.usage_in_bytes",
    droppable: /^total_inactive_file (\d+)$/m
  },
  { line: /^0::(.*)$/m, folder: "", usage: "memory.current", droppable: /^inactive_file (\d+)$/m }
]

/** Reads how many bytes are in use; `undefined` where there is no group to be seen. `read` gives a file, or throws. */
export const reader = (read: (file: string) => string = utf8): (() => number) | undefined => {
  for (const { droppable, folder, line, usage } of versions) {
    const name = line.exec(attempt(() => read("/proc/self/cgroup")) ?? "")?.[1]
    if (name === undefined) continue
    // In a namespace of its own the group is the root, whatever its name outside.
    for (const group of [`/sys/fs/cgroup${folder}${name}`, `/sys/fs/cgroup${folder}`]) {
      const used = () =>
        Number(read(`${group}/${usage}`)) - Number(droppable.exec(read(`${group}/memory.stat`))?.[1] ?? 0)
      const now = attempt(used)
      if (now !== undefined && now >= 0) return () => attempt(used) ?? 0
    }
  }
  return undefined
}

const utf8 = (file: string): string => readFileSync(file, "utf8")

const attempt = <A>(f: () => A): A | undefined => {
  try {
    return f()
  } catch {
    return undefined
  }
}
