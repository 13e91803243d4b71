import type { RateWindow } from "@fairlead/core"
import { describe, expect, it } from "vitest"
import { Handover } from "../../src/internal/handover.ts"
import type { Remembered } from "../../src/internal/handover.ts"

/** What remembers one start, that long ago. */
const remembered = (age: number): Remembered => [{ starts: [[age, 1]] } as unknown as RateWindow.Snapshot]

const setUp = () => {
  const handover = new Handover<string>()
  const answers: Array<string> = []
  let id = 0
  const load = (worker: string, name = "github") => {
    handover.load(worker, ++id, name, (what) =>
      answers.push(`${worker} ${name}: ${what === undefined ? "nothing" : what[0]!.starts[0]![0]}`)
    )
    return id
  }
  const save = (worker: string, age: number, last = true) => handover.save(worker, "github", remembered(age), last)
  return { handover, answers, load, save }
}

describe("Handover", () => {
  it("answers the first one at once: nothing is known", () => {
    const { answers, handover, load } = setUp()
    handover.begin("a")
    load("a")
    expect(answers).toEqual(["a github: nothing"])
  })

  it("lets the successor wait until its predecessor stops and has saved", () => {
    const { answers, handover, load, save } = setUp()
    handover.begin("a")
    load("a")
    handover.begin("b")
    load("b")
    expect(answers).toEqual(["a github: nothing"])
    save("a", 5)
    expect(answers).toEqual(["a github: nothing", "b github: 5"])
  })

  it("knows that a predecessor which goes on may want it again, though it has saved", () => {
    const { answers, handover, load, save } = setUp()
    handover.begin("a")
    load("a")
    handover.begin("b")
    load("b")
    save("a", 5, false)
    load("a")
    expect(answers).toEqual(["a github: nothing", "a github: 5"])
    save("a", 7)
    expect(answers.slice(2)).toEqual(["b github: 7"])
  })

  it("waits for the end of a predecessor that never had it, and of one that never says it has done with it", () => {
    const { answers, handover, load, save } = setUp()
    handover.begin("a")
    load("a")
    save("a", 5, false)
    load("a")
    handover.begin("b")
    load("b")
    load("b", "other")
    expect(answers).toEqual(["a github: nothing", "a github: 5"])
    handover.end("a")
    expect(answers.slice(2)).toEqual(["b github: 5", "b other: nothing"])
  })

  it("gives it to nobody while a younger one has it", () => {
    const { answers, handover, load, save } = setUp()
    handover.begin("a")
    load("a")
    handover.begin("b")
    save("a", 5)
    load("b")
    load("a")
    expect(answers).toEqual(["a github: nothing", "b github: 5"])
    save("b", 6, false)
    expect(answers.slice(2)).toEqual(["a github: 6"])
  })

  it("waits for all of a worker's gates of a name", () => {
    const { answers, handover, load, save } = setUp()
    handover.begin("a")
    load("a")
    load("a")
    handover.begin("b")
    load("b")
    save("a", 5)
    expect(answers.length).toBe(2)
    save("a", 6)
    expect(answers.slice(2)).toEqual(["b github: 6"])
  })

  it("forgets a question that is taken back, and takes back what was given for it", () => {
    const { answers, handover, load, save } = setUp()
    handover.begin("a")
    const answered = load("a")
    handover.begin("b")
    const open = load("b")
    handover.unload("b", open, "github")
    save("a", 5)
    expect(answers).toEqual(["a github: nothing"])
    handover.begin("c")
    load("b")
    handover.unload("b", answered, "github")
    handover.end("b")
    load("c")
    expect(answers.slice(1)).toEqual(["b github: 5", "c github: 5"])
  })

  it("keeps nothing of who has ended while it waited", () => {
    const { answers, handover, load } = setUp()
    handover.begin("a")
    load("a")
    handover.begin("b")
    load("b")
    handover.end("b")
    handover.end("a")
    handover.begin("c")
    load("c")
    expect(answers).toEqual(["a github: nothing", "c github: nothing"])
  })
})
