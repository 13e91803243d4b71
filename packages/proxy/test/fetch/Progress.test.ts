import { Leaks } from "@fairlead/testing"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as Progress from "../../src/fetch/Progress.ts"

const state: Progress.State = {
  done: 1_203,
  failed: 12,
  skipped: 40,
  inFlight: 50,
  waiting: 7,
  part: 0.432,
  left: 72_000,
  perSecond: 412.3
}

describe("the bar", () => {
  it.each([
    [
      120,
      "[===========>                  ]  43 %  1,203 done  12 failed  40 skipped  412/s  50 in flight  7 waiting  1:12 left"
    ],
    [90, "[====>        ]  43 %  1,203 done  12 failed  412/s  50 in flight  7 waiting  1:12 left"],
    [80, "[=====>        ]  43 %  1,203 done  12 failed  412/s  50 in flight  1:12 left"],
    [70, "[======>           ]  43 %  1,203 done  12 failed  412/s  1:12 left"],
    [41, "43 %  1,203 done  12 failed  1:12 left"],
    [30, "43 %  1,203 done  12 failed"],
    [29, "43 %  1,203 done"],
    [13, "1,203 done"],
    [8, "1,203"]
  ])("has what fits into %d columns", (columns, text) => {
    expect(Progress.bar(state, columns)).toBe(text)
    expect(Progress.bar(state, columns).length).toBeLessThan(columns)
  })

  it("is none where the end is not known", () => {
    const unknown = { ...state, part: undefined, left: undefined, failed: 0, skipped: 0, waiting: 0 }
    expect(Progress.bar(unknown, 80)).toBe("1,203 done  412/s  50 in flight")
  })

  it("is full at the end, and empty at the start", () => {
    const of = (part: number) => /\[(.*)\]/.exec(Progress.bar({ ...state, part, left: undefined }, 120))![1]
    expect([of(0), of(1), of(1.2), of(0.04)]).toEqual([" ".repeat(30), "=".repeat(30), "=".repeat(30), ">".padEnd(30)])
  })
})

describe("a plain line", () => {
  it("says all of it", () => {
    expect(Progress.plain(state)).toBe(
      "1,203 done, 12 failed, 40 skipped, 412/s, 50 in flight, 7 waiting, 43 %, about 1:12 left"
    )
    const little = { ...state, part: undefined, left: undefined, failed: 0, skipped: 0, waiting: 0 }
    expect(Progress.plain(little)).toBe("1,203 done, 412/s, 50 in flight")
  })
})

describe("what is left", () => {
  it("takes as long as what has ended did, and is not known at first", () => {
    expect(Progress.leftMillis(10_000, 25, 75)).toBe(30_000)
    expect(Progress.leftMillis(10_000, 25, -1)).toBe(0)
    expect(Progress.leftMillis(900, 25, 75)).toBeUndefined()
    expect(Progress.leftMillis(10_000, 0, 75)).toBeUndefined()
  })
})

describe("the rate", () => {
  it("is the mean at first, and then what it was lately", () => {
    const rate = new Progress.Rate(0)
    expect(rate.perSecond(100, 50)).toBe(0)
    expect(rate.perSecond(1_000, 100)).toBe(100)
    expect(rate.perSecond(1_100, 900)).toBe(100)
    expect(rate.perSecond(2_000, 300)).toBeCloseTo(150)
    let now = 2_000
    while (now < 60_000) rate.perSecond((now += 1_000), 300)
    expect(rate.perSecond(now, 300)).toBeLessThan(1)
  })
})

describe("where it is shown", () => {
  it("is a bar on a terminal that can draw one", () => {
    expect(Progress.modeOf(true, "xterm-256color")).toBe("bar")
    expect(Progress.modeOf(true, undefined)).toBe("bar")
    expect(Progress.modeOf(true, "dumb")).toBe("plain")
    expect(Progress.modeOf(false, "xterm")).toBe("plain")
  })
})

const screenOf = (columns: number) => {
  const written: Array<string> = []
  return { columns, written, write: (text: string) => void written.push(text) }
}

describe("shown", () => {
  it.effect("draws five times a second, gives way, and leaves nothing on the line", () =>
    Effect.gen(function* () {
      const screen = screenOf(40)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const progress = yield* Progress.show("bar", screen, () => state)
          yield* TestClock.adjust("1 second")
          expect(screen.written.length).toBe(6)
          screen.written.length = 0
          yield* progress.aside(Effect.sync(() => screen.write("out\n")))
          expect(screen.written).toEqual(["\r\u001b[J", "out\n", `\r\u001b[J${Progress.bar(state, 40)}`])
          screen.written.length = 0
        })
      )
      expect(screen.written).toEqual(["\r\u001b[J"])
      yield* TestClock.adjust("1 minute")
      expect(screen.written.length).toBe(1)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("takes away all rows of a line that a narrower terminal has broken", () =>
    Effect.gen(function* () {
      const screen = screenOf(80)
      yield* Progress.show("bar", screen, () => state)
      yield* TestClock.adjust("0 millis")
      const drawn = Progress.bar(state, 80).length
      screen.columns = 30
      yield* TestClock.adjust("200 millis")
      expect(screen.written.at(-1)).toBe(`\r\u001b[${Math.ceil(drawn / 30) - 1}A\u001b[J${Progress.bar(state, 30)}`)
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("in lines: the first after two seconds, then less and less often", () =>
    Effect.gen(function* () {
      const screen = screenOf(80)
      const progress = yield* Progress.show("plain", screen, () => state)
      const at: Array<number> = []
      for (let second = 1; second <= 130; second++) {
        const before = screen.written.length
        yield* TestClock.adjust("1 second")
        if (screen.written.length > before) at.push(second)
      }
      expect(at).toEqual([2, 5, 10, 20, 40, 60, 120])
      expect(screen.written[0]).toBe(`fairlead: ${Progress.plain(state)}\n`)
      screen.written.length = 0
      yield* progress.aside(Effect.void)
      expect(screen.written).toEqual([])
    }).pipe(Leaks.expectNoLeaks())
  )

  it.effect("not at all where nobody wants it", () =>
    Effect.gen(function* () {
      const screen = screenOf(80)
      const progress = yield* Progress.show("none", screen, () => state)
      yield* TestClock.adjust("5 minutes")
      yield* progress.aside(Effect.void)
      expect(screen.written).toEqual([])
    }).pipe(Leaks.expectNoLeaks())
  )
})
