import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { type Clone, makeClone } from "./clone.ts"

let clone: Clone
beforeEach(() => {
  clone = makeClone()
})
afterEach(() => clone.dispose())

const hello = () => clone.start("node", "scripts/run.mjs", "hello.mjs", "you")

describe("a clone that is not set up", () => {
  it("is set up in one quiet step, and the program runs", async () => {
    const { code, output } = await hello().ended
    expect(output).toMatch(/^Installing .*pnpm@1\.2\.3.*\nInstalled in \d+ s\.\nhello you\n$/)
    expect(code).toBe(0)
    expect(clone.installs()).toBe(1)
  })

  it("is set up once", async () => {
    await hello().ended
    const { output } = await hello().ended
    expect(output).toBe("hello you\n")
    expect(clone.installs()).toBe(1)
  })

  it("is set up by one of two commands that come together, and both go on", async () => {
    clone.write("wait", "")
    const first = hello()
    await first.said(/Installing/)
    const second = hello()
    await second.said(/Another command is setting this clone up/)
    clone.remove("wait")
    expect((await first.ended).output).toMatch(/hello you\n$/)
    expect((await second.ended).output).toBe("Another command is setting this clone up; waiting for it.\nhello you\n")
    expect(clone.installs()).toBe(1)
  })

  it("is set up by the next when the one that did it is killed", async () => {
    clone.write("wait", "")
    const first = hello()
    await first.said(/Installing/)
    await expect.poll(() => clone.has("node_modules/half"), { timeout: 30_000 }).toBe(true)
    const second = hello()
    await second.said(/Another command/)
    first.kill("SIGKILL")
    await second.said(/Installing/)
    clone.remove("wait")
    expect((await second.ended).output).toMatch(/hello you\n$/)
    expect(clone.installs()).toBe(2)
  })

  it("says all that failed, and what to do", async () => {
    clone.write("fail", "something is wrong")
    const { code, output } = await hello().ended
    expect(code).toBe(1)
    expect(output).toContain("noise of npx\nsomething is wrong\n")
    expect(output).toMatch(/could not be installed \(exit code 7\)\. Try again/)
    expect(output).not.toContain("hello")
    clone.remove("fail")
    expect((await hello().ended).code).toBe(0)
  })

  it.each([
    ["npm error code ENOTFOUND", /registry does not answer/],
    ["ERR_PNPM_OUTDATED_LOCKFILE", /do not agree: run `npx pnpm@1\.2\.3 install`/],
    ["npm error code ENOSPC", /disk is full/],
    ["npm error code EACCES", /may not be written/]
  ])("knows what %s means", async (failure, advice) => {
    clone.write("fail", failure)
    expect((await hello().ended).output).toMatch(advice)
  })
})

describe("a clone whose set-up was cut", () => {
  it.each(["SIGTERM", "SIGINT", "SIGKILL"] as const)("by %s is set up again", async (signal) => {
    clone.write("wait", "")
    const cut = hello()
    await expect.poll(() => clone.has("node_modules/half"), { timeout: 30_000 }).toBe(true)
    cut.kill(signal)
    await cut.ended.then(({ code }) => expect(code).not.toBe(0))
    clone.remove("wait")
    expect((await hello().ended).output).toMatch(/Installed in \d+ s\.\nhello you\n$/)
  })
})

describe("a clone whose packages are broken", () => {
  it("is emptied and set up anew when an install on top of a cut one fails", async () => {
    clone.write("node_modules/broken", "")
    const { output } = await hello().ended
    expect(output).toMatch(/^Installing .*\nInstalled .*\nhello you\n$/)
    expect(clone.installs()).toBe(2)
    expect(clone.has("node_modules/broken")).toBe(false)
  })

  it("is not emptied when only the network is missing", async () => {
    clone.write("node_modules/broken", "")
    clone.write("fail", "ENOTFOUND")
    expect((await hello().ended).output).toMatch(/registry does not answer/)
    expect(clone.installs()).toBe(1)
    expect(clone.has("node_modules/broken")).toBe(true)
  })
})

describe("a clone that was set up", () => {
  const change: Record<string, () => void> = {
    "the lockfile changed": () => clone.write("pnpm-lock.yaml", "lock: 2"),
    "a package came": () => clone.write("packages/b/package.json", "{}"),
    "something else was installed by hand": () => clone.write("node_modules/.pnpm/lock.yaml", "lock: 0"),
    "a package's node_modules went": () => clone.remove("packages/a/node_modules"),
    "its Node went": () => clone.remove("node_modules/.bin/node")
  }
  it.each(Object.keys(change))("is set up again when %s", async (what) => {
    await hello().ended
    change[what]!()
    expect((await hello().ended).output).toMatch(/^Installing .*\nInstalled .*\nhello you\n$/)
    expect(clone.installs()).toBe(2)
  })
})
