import { describe, expect, it } from "@effect/vitest"
import * as Decimal from "../src/Decimal.ts"

describe("Decimal", () => {
  it.each([
    [0, "0"],
    [7, "7"],
    [1.05, "1.05"],
    [1.5, "1.50"],
    [1.236, "1.24"],
    [0.999, "1"],
    [12_345.678, "12345.68"]
  ])("%d ms is %s", (millis, text) => expect(Decimal.ofMillis(millis)).toBe(text))
})
