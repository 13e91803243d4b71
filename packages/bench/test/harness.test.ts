import { expect, it } from "vitest"
import { perOperation } from "../src/harness.ts"

it("warms up before it measures, and counts what it measured", async () => {
  let batches = 0
  const { micros } = await perOperation(10, 0.01, () => {
    batches++
    return new Promise((resolve) => setTimeout(resolve, 5))
  })
  expect(batches).toBeGreaterThanOrEqual(2)
  expect(micros).toBeGreaterThan(0)
})

it("a batch longer than the time to spend is measured once", async () => {
  let batches = 0
  await perOperation(1, 0, () => Promise.resolve(batches++))
  expect(batches).toBe(2)
})
