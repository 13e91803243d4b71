import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { expect, it } from "vitest"
import { perOperation, perThing } from "../src/harness.ts"

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

it("bytes on the heap are counted for each thing that stays, and for none that was dropped", async () => {
  setFlagsFromString("--expose-gc")
  globalThis.gc = runInNewContext("gc")
  // A packed array of 100 small integers: 800 bytes, a header for each of its two objects, and its slot among the handles.
  const thing = () => Array.from({ length: 100 }, (_, index) => index)
  const { bytes } = await perThing(10_000, (count) => {
    for (let dropped = 0; dropped < count; dropped++) thing()
    return Promise.resolve(Array.from({ length: count }, thing))
  })
  expect(bytes).toBeGreaterThan(808)
  expect(bytes).toBeLessThan(1400)
})
