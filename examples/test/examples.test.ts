import { describe, expect, it } from "vitest"
import { execFile } from "node:child_process"
import { readdirSync } from "node:fs"
import { promisify } from "node:util"

const folder = new URL("..", import.meta.url)

/** What each example prints. An example without an entry here fails. */
const output: Record<string, ReadonlyArray<string | RegExp>> = {
  backpressure: [
    "20 requests, 10 per second:",
    "  request 7 was not done: 1 reason",
    "  behind: true",
    "  answer to 20",
    "  behind: false",
    // 3.5 s on an idle machine.
    /^ended after about \d(\.5)? s: 19 done, 1 failed$/,
    "0 running, 0 waiting; never more than 13 in hand: true"
  ],
  batching: [
    "A thousand lookups:",
    "  1000 lookups, 10 statements: user 1, …, nobody, …, user 999",
    "12 items, one each 30 ms, in batches of 5 or after 200 ms:",
    /^ {2}after \d+ ms: 0 1 2 3 4$/,
    /^ {2}after \d+ ms: 5 6 7 8 9$/,
    /^ {2}after \d+ ms: 10 11$/,
    "One of eight rows is poisonous:",
    "  1 2 3 4 5 (6) 7 8, found in 7 runs"
  ],
  "cancellation-scopes": [
    "2 seconds for all:",
    "  A: done after 1 s",
    "  B: cancelled (Deadline)",
    "  C: cancelled (Deadline)",
    "  DeadlineExceeded",
    "By hand after 1 second:",
    "  B: cancelled (Manual: the user pressed stop)",
    "  C: cancelled (Manual: the user pressed stop)",
    "  Cancelled: Manual: the user pressed stop",
    "The time bounds the waiting only:",
    "  time is up",
    "  B: done after 3 s",
    "The time bounds the work:",
    "  B: cancelled (Deadline)",
    "  DeadlineExceeded",
    "  DeadlineExceeded"
  ],
  "cpu-bound": [
    "On the main loop: 25997 25997 25997 25997; the loop stood still",
    "In processes: 25997 25997 25997 25997; the loop went on",
    "A job that loops for ever: DeadlineExceeded, waiting for cpu pool cpu: forever",
    "The next: 25",
    "Its own error: no more than 1000000000",
    "5 done, 1 failed, 1 interrupted; workers killed: 1"
  ],
  "graceful-shutdown": [
    "SIGTERM",
    "  worker 1: some rounds, the last one whole",
    "  worker 2: some rounds, the last one whole",
    "  worker 3: some rounds, the last one whole",
    "  a late call: ShuttingDown",
    "  an early call: answered",
    "  worker 1: cleaned up",
    "  report written",
    "  worker 2: cleaned up",
    "  worker 3: cleaned up",
    "clean",
    "  done: beacon worker 1 × 1",
    "  done: beacon worker 2 × 1",
    "  done: beacon worker 3 × 1",
    "  done: edge http × 1",
    "  done: hook worker 1 × 1",
    "  done: hook report × 1",
    "  done: hook worker 2 × 1",
    "  done: hook worker 3 × 1"
  ],
  observe: [
    "In orders:",
    "  order 1: answer of the shop",
    "  order 2: answer of the shop",
    ...[3, 4, 5, 6, 7, 8].map((n) => `  order ${n}: gate shop`),
    "Held for 200 ms by checksum, in span receipt",
    /^ +count +p50 +p99 +total +running +gate +firstByte +other$/,
    /^order +8 /,
    "",
    "slowest of the last 5 minutes",
    ...Array.from({ length: 5 }, () => /^order \d: .*gate \d+ ms/),
    "",
    "unbounded: gate shop",
    "neverYields: loop event loop",
    "Memory is calm"
  ],
  "parallel-http": [
    "18 calls, five at a time:",
    "  200: 12",
    "  404: 3",
    "  500: 3",
    /^ {2}at once: 5, connections: [1-5]$/,
    "  the last: StatusRejected: /status/500: 500: status 500",
    "Not there at once: flaky page, after 3 attempts",
    "Of endless pages: page 1, page 2, page 3"
  ],
  priority: [
    "Submitted low, high, medium; done in this order:",
    "  high priority task",
    "  medium priority task",
    "  low priority task",
    "  each has its own: result of low, result of high, result of medium",
    "Ten permits:",
    // Ten rounds on an idle machine; a busy one may add some, but never comes near one at a time.
    /^ {2}100 tasks of 50 ms, at most 10 at once: [1-4]\d rounds of 50 ms$/,
    "  100 done, 0 running, 0 waiting",
    "An urgent flood:",
    "  strict: the report had turn 301 of 301",
    "  shares: the report had turn 66 of 301"
  ],
  proxy: [
    "in the first 5 seconds: 10 answers, 5 of them urgent",
    "after that:             5 answers, 0 of them urgent",
    "left at gate api:       0 running, 0 waiting; 15 completed"
  ],
  resilience: [
    "The upstream is down:",
    "  three attempts each: 300 requests for 100 calls",
    "  under a budget: 120 requests for 100 calls",
    "Come back in a minute, and a deadline of 5 s:",
    "  told after 0 s: Busy",
    "A circuit that opens after three failures:",
    "  20 calls, 3 requests; then: CircuitOpen",
    "  100 ms later: paid",
    "A slow answer:",
    "  request 1 was cut (Manual: another attempt won)",
    "  answer 2",
    "  hedges: 1, won: 1"
  ],
  "structured-concurrency": [
    "First result wins:",
    "  worker 1: step 1",
    "  worker 2: step 1",
    "  worker 1: step 2",
    "  worker 2: step 2",
    "  worker 1: step 3",
    "  worker 2: step 3",
    "  worker 1: step 4",
    "  worker 2: step 4",
    "  worker 1: step 5",
    "  worker 2: cancelled (Manual: anySuccess: enough)",
    "  result of worker 1",
    "Worker 1 fails, by hand:",
    "  worker 2: step 1",
    "  worker 2: step 2",
    "  worker 2: step 3",
    "  worker 2: step 4",
    "  worker 2: step 5",
    "  result of worker 2, and not a word of worker 1",
    "Worker 1 fails, in a nursery:",
    "  worker 2: step 1",
    "  worker 2: cancelled (SiblingFailed: worker 1)",
    "  failed: no connection"
  ]
}

const names = readdirSync(folder)
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.slice(0, -3))

// Side by side: they wait more than they do.
describe.concurrent("examples", () => {
  it.each(names)("%s prints what it says, and ends by itself", async (name) => {
    const { stderr, stdout } = await promisify(execFile)("node", [`${name}.ts`], { cwd: folder, timeout: 50_000 })
    expect(stderr).toBe("")
    const lines = stdout.trimEnd().split("\n")
    const expected = output[name] ?? []
    expect(lines.length).toBe(expected.length)
    for (const [i, line] of lines.entries()) {
      const pattern = expected[i]!
      expect(line).toEqual(typeof pattern === "string" ? pattern : expect.stringMatching(pattern))
    }
  })
})
