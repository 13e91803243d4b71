import { expect, it } from "vitest"
import * as Words from "../../src/fetch/Words.ts"

it.each([
  [0, "0/s"],
  [0.84, "0.8/s"],
  [9.96, "10.0/s"],
  [1_234.5, "1,235/s"]
])("%d per second", (n, text) => expect(Words.perSecond(n)).toBe(text))
