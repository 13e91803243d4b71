import { describe, expect, it } from "@effect/vitest"
import * as cgroup from "../../src/internal/cgroup.ts"

const reader = (files: Record<string, string>) =>
  cgroup.reader((file) => {
    if (files[file] === undefined) throw new Error(`ENOENT ${file}`)
    return files[file]
  })

const v2 = {
  "/proc/self/cgroup": "0::/app.slice/fairlead\n",
  "/sys/fs/cgroup/app.slice/fairlead/memory.current": "1000000\n",
  "/sys/fs/cgroup/app.slice/fairlead/memory.stat": "anon 400000\nactive_file 7\ninactive_file 300000\n"
}

const v1 = {
  "/proc/self/cgroup": "9:name=systemd:/a\n4:cpu,memory:/docker/x\n0::/\n",
  "/sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes": "5000\n",
  "/sys/fs/cgroup/memory/docker/x/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n"
}

describe("cgroup", () => {
  it("counts what is in use without the pages of files that may be dropped: version 2, and 1", () => {
    expect([reader(v2)?.(), reader(v1)?.()]).toEqual([700_000, 3000])
  })

  it("finds the group at the root, where it is in a namespace of its own", () => {
    const inside = (name: string) => ({ "/proc/self/cgroup": `0::${name}\n`, "/sys/fs/cgroup/memory.current": "10" })
    const stat = { "/sys/fs/cgroup/memory.stat": "inactive_file 4" }
    expect(reader({ ...inside("/"), ...stat })?.()).toBe(6)
    expect(reader({ ...inside("/../../kubepods/pod1"), ...stat })?.()).toBe(6)
    const hidden = { "/proc/self/cgroup": "4:memory:/gone", "/sys/fs/cgroup/memory/memory.usage_in_bytes": "8" }
    expect(reader({ ...hidden, "/sys/fs/cgroup/memory/memory.stat": "" })?.()).toBe(8)
  })

  it("says nothing where there is none, or none that can be read", () => {
    expect(reader({})).toBeUndefined()
    expect(reader({ "/proc/self/cgroup": "0::/a\n" })).toBeUndefined()
    expect(reader({ ...v2, "/sys/fs/cgroup/app.slice/fairlead/memory.current": "max" })).toBeUndefined()
    // On a system of another kind, or this one, whatever it has.
    expect(cgroup.reader()?.() ?? 0).toBeGreaterThanOrEqual(0)
  })

  it("is nothing once it cannot be read any more", () => {
    const files: Record<string, string> = { ...v2 }
    const read = reader(files)!
    delete files["/sys/fs/cgroup/app.slice/fairlead/memory.current"]
    expect(read()).toBe(0)
  })
})
