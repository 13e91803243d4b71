import { describe, expect, it } from "@effect/vitest"
import { blame, deafFor, Holds, isNative } from "../../src/internal/holds.ts"
import type { Hold, Look } from "../../src/internal/holds.ts"

const look = (name: string, more: Partial<Look> = {}): Look => ({
  function: name,
  place: "src/a.ts:1",
  callback: 1,
  span: null,
  own: true,
  lateMillis: 1,
  ...more
})

/** A loop that the test plays: fibers are their names. */
const loop = () => {
  let [now, idle, cpu, lost, missed] = [0, 0, 0, 0, 0]
  let pauses: ReadonlyArray<readonly [start: number, millis: number]> = []
  const meter = { now: () => now, idle: () => idle, cpu: () => cpu, lost: () => lost, missed: () => missed }
  const holds = new Holds<string>(meter, 100, (fiber) => (fiber === "bare" ? null : `span of ${fiber}`))
  const collected = (from: number, to: number) =>
    pauses.reduce((sum, [start, millis]) => sum + Math.max(0, Math.min(to, start + millis) - Math.max(from, start)), 0)
  let last = 0
  /** For how long it has stood still, if the watchdog, which comes each 25 ms, has seen that. */
  const stood = () => {
    const millis = Math.floor(now / 25) > Math.floor(last / 25) ? now - last : 0
    last = now
    return millis
  }
  const tick = (): ReadonlyArray<Hold> => holds.tick(stood(), now, collected)
  const switches = (from: string | undefined) => {
    const millis = stood()
    if (millis > 0) holds.switched(from, millis, now)
  }
  return {
    holds,
    tick,
    idles: (millis: number) => void ((now += millis), (idle += millis)),
    works: (millis: number) => void ((now += millis), (cpu += millis)),
    /** For something else, and not for events of the loop. */
    waits: (millis: number) => void (now += millis),
    /** The machine does other things. */
    starves: (millis: number) => void ((now += millis), (lost += millis)),
    /** It is told of after it is over. */
    stopped: (millis: number) => void (missed += millis),
    collects: (millis: number) => void ((pauses = [...pauses, [now, millis]]), (now += millis), (cpu += millis)),
    looks: (name: string, more?: Partial<Look>) => holds.looked(look(name, more)),
    switches,
    excuses: () => void ((last = now), holds.excuse()),
    /** What has been told when all is settled. */
    told: (): ReadonlyArray<Hold> => {
      const all = [...tick()]
      for (let i = 0; i < 3; i++) {
        now += 20
        idle += 20
        all.push(...tick())
      }
      return all
    }
  }
}

describe("holds", () => {
  it("are told with function, place, span and duration, of the fiber that has run", () => {
    const it = loop()
    it.switches(undefined)
    it.works(90)
    it.looks("parse", { span: "GET /report" })
    it.works(110)
    it.switches("report")
    expect(it.told()).toEqual([
      { function: "parse", place: "src/a.ts:1", span: "GET /report", millis: 200, end: 200, own: true, native: false }
    ])
  })

  it("are of what runs outside of fibers, too", () => {
    const it = loop()
    it.works(150)
    it.looks("onData")
    expect(it.told()).toMatchObject([{ function: "onData", span: null, millis: 150 }])
  })

  it("have the fiber's span where no look saw one", () => {
    const it = loop()
    it.works(150)
    it.switches("report")
    it.works(150)
    it.switches("bare")
    expect(it.told()).toMatchObject([{ span: "span of report", function: "native code" }, { span: null }])
  })

  it("are told two ticks after, once", () => {
    const it = loop()
    it.works(150)
    expect([it.tick(), it.tick(), it.tick(), it.tick()].map(({ length }) => length)).toEqual([0, 0, 1, 0])
  })

  it("are none of many short callbacks in a turn: fibers switch", () => {
    const it = loop()
    for (let i = 0; i < 100; i++) {
      it.works(10)
      it.switches("one of many")
    }
    expect(it.told()).toEqual([])
  })

  it("are none of many short callbacks in a turn: the looks see several", () => {
    const it = loop()
    it.works(90)
    it.looks("onData", { callback: 1 })
    it.works(90)
    it.looks("onData", { callback: 2 })
    expect(it.told()).toEqual([])
  })

  it("are none of a loop that waits for events, and last without that", () => {
    const it = loop()
    it.idles(5000)
    expect(it.told()).toEqual([])
    it.idles(500)
    it.works(20)
    it.looks("short", { lateMillis: 20 })
    it.switches("report")
    expect(it.told()).toEqual([])
    it.idles(500)
    it.works(120)
    expect(it.told()).toMatchObject([{ millis: 120 }])
  })

  it("are none of a machine that does not let us run, and last without that", () => {
    const it = loop()
    it.works(60)
    it.starves(400)
    expect(it.told()).toEqual([])
    it.works(60)
    it.starves(400)
    it.works(60)
    expect(it.told()).toMatchObject([{ millis: 120 }])
  })

  it("are none of a process that was stopped, though that is known only later", () => {
    const it = loop()
    it.works(30)
    it.waits(10_000)
    it.looks("unlucky", { lateMillis: 10_000 })
    it.switches("report")
    it.stopped(10_000)
    expect(it.told()).toEqual([])
  })

  it("are of who waits without the loop, as long as it waits", () => {
    const it = loop()
    it.works(20)
    it.waits(200)
    it.looks("run", { lateMillis: 180 })
    it.switches("report")
    expect(it.told()).toMatchObject([{ function: "run calling native code", millis: 220 }])
  })

  it("are none of a machine that stood still, which nobody counts", () => {
    const it = loop()
    it.works(20)
    it.waits(200)
    it.switches("report")
    it.works(20)
    it.waits(200)
    it.looks("getCont", { lateMillis: 180, own: false })
    it.switches("report")
    it.works(20)
    it.waits(200)
    it.looks("unlucky", { lateMillis: 180 })
    it.switches("report")
    it.stopped(190)
    it.tick()
    it.tick()
    it.works(150)
    it.waits(40)
    it.switches("report")
    expect(it.told()).toMatchObject([{ millis: 150 }])
  })

  it("last no longer for what was done before, however late the ticks are", () => {
    const it = loop()
    for (let i = 0; i < 50; i++) {
      it.works(10)
      it.switches("one of many")
    }
    it.works(150)
    it.starves(300)
    it.switches("report")
    const [hold] = it.told()
    expect(hold!.millis).toBeGreaterThanOrEqual(150)
    expect(hold!.millis).toBeLessThan(175)
  })

  it("are none of the collector, though its pause is known only later", () => {
    const it = loop()
    it.works(30)
    it.collects(140)
    it.switches("report")
    expect(it.told()).toEqual([])
    it.works(110)
    it.collects(40)
    it.switches("report")
    expect(it.told()).toMatchObject([{ millis: 150 }])
  })

  it("are none of the monitor's own work", () => {
    const it = loop()
    it.works(150)
    it.excuses()
    expect(it.told()).toEqual([])
  })

  it("are not blamed on what was seen before", () => {
    const it = loop()
    it.works(50)
    it.looks("earlier")
    it.switches("report")
    it.works(150)
    it.looks("later")
    it.switches("report")
    expect(it.told()).toMatchObject([{ function: "later" }])
  })

  it("are of who waits and answers meanwhile, as Atomics.wait does", () => {
    const it = loop()
    it.waits(100)
    it.looks("wait")
    it.waits(100)
    it.switches("report")
    expect(it.told()).toMatchObject([{ function: "wait", millis: 200, native: false }])
  })

  it("last no longer for what the loop did before, or waited for", () => {
    const it = loop()
    it.works(10)
    it.idles(10)
    it.switches("before")
    it.works(105)
    it.switches("report")
    expect(it.told()).toMatchObject([{ millis: 105 }])
  })

  it("keep few looks, however long", () => {
    const it = loop()
    for (let i = 0; i < 100_000; i++) it.looks(`f${i}`)
    it.works(150)
    expect((it.holds as unknown as { looks: Array<Look> }).looks.length).toBeLessThanOrEqual(64)
  })
})

describe("an answer", () => {
  it("comes from native code where it was late, but not where it was the machine that kept it", () => {
    expect(isNative(deafFor(101, undefined, 100))).toBe(true)
    expect(isNative(deafFor(101, 0, 3))).toBe(true)
    expect(isNative(deafFor(101, 0, 100))).toBe(false)
    expect(isNative(deafFor(2, 0, 0))).toBe(false)
  })
})

describe("blame", () => {
  it("is on the function that most looks saw, whatever the line", () => {
    const at = (line: number) => ({ place: `src/a.ts:${line}` })
    expect(blame([look("a", at(1)), look("b", at(9)), look("b", at(10))])).toEqual({
      function: "b",
      place: "src/a.ts:9",
      own: true,
      native: false
    })
  })

  it("is on the program, if any look saw it", () => {
    expect(
      blame([look("runNextTicks", { own: false }), look("runNextTicks", { own: false }), look("a")])
    ).toMatchObject({
      function: "a"
    })
    expect(blame([look("runNextTicks", { own: false })])).toMatchObject({ function: "runNextTicks", native: false })
  })

  it("is on native code where the answer was late, by how late", () => {
    expect(blame([look("a"), look("decode", { lateMillis: 150 }), look("a")])).toEqual({
      function: "decode calling native code",
      place: "src/a.ts:1",
      own: true,
      native: true
    })
  })

  it("is on native code at an unknown place where nothing was seen", () => {
    expect(blame([])).toEqual({ function: "native code", place: "unknown", own: false, native: true })
  })
})
