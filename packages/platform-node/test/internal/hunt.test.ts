import { beforeEach, describe, expect, it } from "@effect/vitest"
import { Hunt } from "../../src/internal/hunt.ts"
import type { When } from "../../src/internal/hunt.ts"

const hold = (native = true) => ({
  function: "decode calling native code",
  place: "src/a.ts:9",
  own: true,
  span: null,
  millis: 200,
  end: performance.now(),
  native
})

const node = (id: number, functionName: string, url: string, ...children: ReadonlyArray<number>) => ({
  id,
  callFrame: { functionName, url, lineNumber: url === "" ? -1 : 6 },
  children
})

/** `parse` all the time, up to now. */
const profile = () => ({
  nodes: [node(1, "(root)", "", 2), node(2, "decode", "file:///app/src/a.ts", 3), node(3, "parse", "")],
  startTime: Number(process.hrtime.bigint()) / 1e3 - 150_000,
  samples: [3, 3],
  timeDeltas: [10_000, 10_000]
})

describe("the hunt for native code", () => {
  let happened: Array<string>
  beforeEach(() => void (happened = []))

  const make = (when: When) =>
    new Hunt(
      when,
      () => {
        happened.push("start")
        return {
          read: () => {
            happened.push("read")
            return profile()
          },
          stop: () => void happened.push("stop")
        }
      },
      "/app"
    )

  it("begins with the first that is met, names the next, and ends a minute after the last", () => {
    const hunt = make("afterNative")
    hunt.tick(0)
    expect(hunt.name(hold(), 1000).function).toBe("decode calling native code")
    expect(happened).toEqual(["start"])
    expect(hunt.name(hold(), 20_000)).toMatchObject({
      function: "decode calling parse",
      place: "src/a.ts:7",
      millis: 200
    })
    hunt.tick(49_000)
    hunt.tick(79_999)
    expect(happened).toEqual(["start", "read", "read"])
    hunt.tick(80_000)
    expect(happened).toEqual(["start", "read", "read", "stop"])
    hunt.name(hold(), 90_000)
    expect(happened.at(-1)).toBe("start")
    hunt.stop()
    hunt.stop()
    expect(happened.filter((it) => it === "stop")).toHaveLength(2)
  })

  it("changes nothing of what a look has seen", () => {
    const hunt = make("always")
    const seen = hold(false)
    expect(hunt.name(seen, 1000)).toBe(seen)
    expect(happened).toEqual(["start"])
  })

  it("keeps a profile short", () => {
    const hunt = make("always")
    const now = performance.now()
    hunt.tick(now + 29_000)
    expect(happened).toEqual(["start"])
    hunt.tick(now + 31_000)
    hunt.tick(now + 32_000)
    expect(happened).toEqual(["start", "read"])
    hunt.tick(now + 1e9)
    expect(happened).not.toContain("stop")
  })

  it("never happens where it may not", () => {
    const hunt = make("never")
    expect(hunt.name(hold(), 1000).function).toBe("decode calling native code")
    hunt.tick(1e9)
    expect(happened).toEqual([])
  })
})
