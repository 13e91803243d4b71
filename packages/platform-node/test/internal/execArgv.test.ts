import { describe, expect, it } from "vitest"
import { inherited } from "../../src/internal/execArgv.ts"

describe("what workers inherit of Node's options", () => {
  it("are those that say how modules are found and loaded", () => {
    const all = [
      "--import",
      "./loader.js",
      "-r",
      "./hook.cjs",
      "-C",
      "source",
      "--conditions=source",
      "--enable-source-maps"
    ]
    expect(inherited(all)).toEqual(all)
  })

  it("are none that debug, profile, bound or evaluate this process", () => {
    expect(
      inherited(["--inspect=0", "--inspect-port", "0", "--cpu-prof", "--max-old-space-size=99", "--watch"])
    ).toEqual([])
    expect(inherited(["--input-type", "module", "-e", "import 'x'", "-r", "./hook.cjs"])).toEqual(["-r", "./hook.cjs"])
    expect(inherited(["--input-type=module", "--print", "1"])).toEqual([])
  })
})
