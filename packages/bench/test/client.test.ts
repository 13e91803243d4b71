import { describe, expect, it } from "vitest"
import { atOnce, cost, growth, Load, promises } from "../src/client/load.ts"

const url = "http://127.0.0.1:1/answer"

it("no URL is asked for twice, and each is taken by one", async () => {
  const asked: Array<string> = []
  const client = promises((url) => Promise.resolve(asked.push(url)).then(() => 7))
  const load = new Load(url, 7, 500)
  await client(load)
  expect(load.answers).toBe(500)
  expect(new Set(asked).size).toBe(500)
})

it("fifty are under way at once, and no more", async () => {
  let [running, most] = [0, 0]
  const client = promises(async () => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => setTimeout(resolve, 1))
    running--
    return 7
  })
  await client(new Load(url, 7, 500))
  expect(most).toBe(atOnce)
})

it("a load without a limit ends once its cost is known", async () => {
  const load = new Load(url, 7)
  const { micros, perSecond } = await cost(
    promises(() => new Promise((resolve) => setImmediate(resolve, 7))),
    load,
    0.01
  )
  expect(load.answers).toBeGreaterThanOrEqual(200)
  expect(micros).toBeGreaterThan(0)
  expect(perSecond).toBeGreaterThan(0)
})

it("what a client keeps of its answers is growth of the process", async () => {
  const kept: Array<Buffer> = []
  const client = promises(async () => {
    await new Promise((resolve) => setImmediate(resolve))
    kept.push(Buffer.alloc(4096, 1))
    return 7
  })
  const { bytes } = await growth(client, new Load(url, 7, 25_000))
  // After the first 10,000 came 15,000 of 4 KiB each; what the watch comes too late to see is little of it.
  expect(bytes).toBeGreaterThan(40e6)
  expect(kept).toHaveLength(25_000)
})

describe("misuse", () => {
  it("an answer that was cut short ends the bench", async () => {
    const short = promises(() => Promise.resolve(6))
    await expect(short(new Load(url, 7, 500))).rejects.toThrow("Expected an answer of 7 bytes, got 6")
    await expect(cost(short, new Load(url, 7), 1)).rejects.toThrow("Expected an answer of 7 bytes, got 6")
    await expect(growth(short, new Load(url, 7, 500))).rejects.toThrow("Expected an answer of 7 bytes, got 6")
  })
})
