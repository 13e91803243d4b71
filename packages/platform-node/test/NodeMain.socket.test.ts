import { describe, expect, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

const run = (argument: string, signals: ReadonlyArray<NodeJS.Signals>, gapMillis = 100) =>
  new Promise<{ code: number | null; output: string }>((resolve) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL("programs/main.ts", import.meta.url)), argument])
    let output = ""
    let sent = 0
    child.stderr.on("data", (chunk) => (output += chunk))
    child.stdout.on("data", (chunk) => {
      output += chunk
      for (; sent < signals.length; sent++) {
        const signal = signals[sent]
        setTimeout(() => child.kill(signal), gapMillis * sent)
      }
    })
    child.on("close", (code) => resolve({ code, output }))
  })

describe("NodeMain.launch", () => {
  it("cleans up on SIGTERM and ends with 0", async () => {
    expect(await run("100", ["SIGTERM"])).toEqual({ code: 0, output: "running\ncleaned up\n" })
  })

  it("cleans up on SIGINT and ends with 0", async () => {
    expect(await run("100", ["SIGINT"])).toEqual({ code: 0, output: "running\ncleaned up\n" })
  })

  it("ends on the spot at the second signal", async () => {
    expect(await run("60000", ["SIGTERM", "SIGINT"])).toEqual({ code: 130, output: "running\n" })
    expect(await run("60000", ["SIGINT", "SIGTERM"])).toEqual({ code: 143, output: "running\n" })
  })

  it("takes a signal that comes twice at once for one", async () => {
    expect(await run("400", ["SIGINT", "SIGINT"], 10)).toEqual({ code: 0, output: "running\ncleaned up\n" })
  })

  it("prints a failure and ends with the code it asks for", async () => {
    const { code, output } = await run("fail", [])
    expect(code).toBe(2)
    expect(output).toContain("the config is wrong")
  })
})
