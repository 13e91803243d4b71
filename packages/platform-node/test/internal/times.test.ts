import { expect, it } from "vitest"
import { Inspect } from "@fairlead/platform-node"

it.each([
  [0.42, "0.4 ms"],
  [12.4, "12 ms"],
  [999.4, "999 ms"],
  [999.6, "1.0 s"],
  [1_240, "1.2 s"],
  [42_000, "42 s"],
  [185_000, "3:05 min"],
  [3_723_000, "1:02:03 h"]
])("took %d", (millis, text) => expect(Inspect.took(millis)).toBe(text))

it.each([
  [0, "0:00"],
  [6_600, "0:07"],
  [59_600, "1:00"],
  [754_000, "12:34"],
  [3_723_000, "1:02:03"]
])("the clock of %d", (millis, text) => expect(Inspect.clock(millis)).toBe(text))
