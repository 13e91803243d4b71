import { describe, expect, it } from "@effect/vitest"
import { RetryAfter } from "@fairlead/core/http"

const at = Date.UTC(1994, 10, 6, 8, 49, 37)
/** Eight seconds before the dates below, unless the answer has a clock of its own. */
const millis = (...headers: ReadonlyArray<string>) => RetryAfter.millis(headers, () => at - 8000)

describe("Retry-After", () => {
  it.each([
    ["whole seconds", "30", 30_000],
    ["fractions, which some send", "0.5", 500],
    ["nothing to wait for", "0", 0],
    ["a date", "Sun, 06 Nov 1994 08:49:37 GMT", 8000],
    ["a date of RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", 8000],
    ["a date of C's asctime", "Sun Nov  6 08:49:37 1994", 8000],
    ["a date that has passed", "Sun, 06 Nov 1994 08:00:00 GMT", 0]
  ])("is %s", (_, text, expected) => expect(millis("Retry-After", text)).toBe(expected))

  it.each([
    "",
    "soon",
    "-1",
    "1e3",
    "30 s",
    "1, 2",
    "06 Nov 1994",
    "1994-11-06T08:49:37Z",
    "Sun, 99 Nov 1994 08:49:37 GMT"
  ])("says nothing as %j", (text) => expect(millis("retry-after", text)).toBeUndefined())

  it("says nothing where there is none", () => expect(millis("date", "Sun, 06 Nov 1994 08:49:37 GMT")).toBeUndefined())

  it("is told more exactly by retry-after-ms, where that makes sense", () => {
    expect(millis("Retry-After", "2", "Retry-After-Ms", "1234.5")).toBe(1234.5)
    expect(millis("retry-after-ms", "20")).toBe(20)
    expect(millis("x-ms-retry-after-ms", "9", "retry-after", "1")).toBe(9)
    expect(millis("retry-after-ms", "soon", "retry-after", "2")).toBe(2000)
  })

  it("counts from the answer's own Date, whatever the time is here", () => {
    const date = "Sun, 06 Nov 1994 08:49:35 GMT"
    expect(millis("Date", date, "Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")).toBe(2000)
    expect(millis("Date", "now", "Retry-After", "Sun, 06 Nov 1994 08:49:37 GMT")).toBe(8000)
  })
})
