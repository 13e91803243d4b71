/** A load of GETs from this process on one URL, and what a client pays for it. */
import { setTimeout as sleep } from "node:timers/promises"
import type { Space, Time } from "../harness.ts"

/** How many requests are under way at once. */
export const atOnce = 50

/** Keeps `atOnce` requests under way until there are no more URLs; tells of each answer how long it was. */
export type Client = (load: Load) => Promise<unknown>

/** URLs for as long as it lasts, no two alike, and the count of the answers. */
export class Load {
  answers = 0
  /** One for all who take from it. */
  readonly urls: Iterable<string>
  private readonly size: number
  private over = false

  constructor(url: string, size: number, limit = Infinity) {
    this.size = size
    this.urls = this.each(url, limit)
  }

  private *each(url: string, limit: number) {
    for (let sent = 0; sent < limit && !this.over; sent++) yield `${url}?${sent}`
  }

  /** An answer has come to its end; one that is cut short ends the bench. */
  answered(bytes: number) {
    if (bytes !== this.size) throw new Error(`Expected an answer of ${this.size} bytes, got ${bytes}`)
    this.answers++
  }

  end() {
    this.over = true
  }

  /** Until so many answers have come: in time alone, a slow minute of the machine would measure half-compiled code. */
  async until(answers: number) {
    while (this.answers < answers) await sleep(10)
  }
}

/** A client that is a function from a URL to the length of its answer. */
export const promises =
  (get: (url: string) => Promise<number>): Client =>
  (load) => {
    const one = async () => {
      for (const url of load.urls) load.answered(await get(url))
    }
    return Promise.all(Array.from({ length: atOnce }, one))
  }

/** CPU time of this process, all its threads, for each request; and requests per second. */
export const cost = async (client: Client, load: Load, scale: number): Promise<Time> => {
  const measured = async () => {
    await load.until(20_000 * scale)
    globalThis.gc?.()
    const [usage, answers, at] = [process.cpuUsage(), load.answers, performance.now()]
    await sleep(2000 * scale)
    const { user, system } = process.cpuUsage(usage)
    const [requests, millis] = [load.answers - answers, performance.now() - at]
    load.end()
    return { micros: (user + system) / requests, perSecond: (requests * 1000) / millis }
  }
  const [time] = await Promise.all([measured(), client(load)])
  return time
}

/** By how much the process grows, at most, from the 10,000th answer to the last of a load that ends by itself: bytes of RSS. */
export const growth = async (client: Client, load: Load): Promise<Space> => {
  const running = client(load)
  await Promise.race([load.until(10_000), running])
  const before = process.memoryUsage.rss()
  let most = before
  const watch = setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 10)
  await running
  clearInterval(watch)
  return { bytes: most - before }
}
