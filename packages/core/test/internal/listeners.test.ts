import { describe, expect, it } from "@effect/vitest"
import { Listeners } from "../../src/internal/listeners.ts"

const turn = () => new Promise((resolve) => setTimeout(resolve, 0))

describe("Listeners", () => {
  it("are told by whoever tells, each as often as it listens", () => {
    const listeners = new Listeners()
    const heard: Array<string> = []
    const listen = () => void heard.push("told")
    const ends = [listeners.subscribe(listen), listeners.subscribe(listen)]
    listeners.tell()
    ends[0]!()
    listeners.tell()
    ends[1]!()
    listeners.tell()
    expect(heard).toEqual(["told", "told", "told"])
  })

  it("one that another ends is not told any more, not even by what was being told", async () => {
    const listeners = new Listeners()
    const heard: Array<string> = []
    listeners.subscribe(() => {
      heard.push("first")
      end()
    })
    const end = listeners.subscribe(() => void heard.push("second"))
    listeners.tell()
    listeners.tellSoon()
    await turn()
    expect(heard).toEqual(["first", "first"])
  })

  it("that are told soon hear once of all that has happened until then, and again of what happens meanwhile", async () => {
    const listeners = new Listeners()
    const heard: Array<string> = []
    listeners.subscribe(() => {
      heard.push("told")
      if (heard.length === 1) listeners.tellSoon()
    })
    listeners.tellSoon()
    listeners.tellSoon()
    expect(heard).toEqual([])
    await turn()
    expect(heard).toEqual(["told", "told"])
  })
})
