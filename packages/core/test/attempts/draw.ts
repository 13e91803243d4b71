/**
 * `pnpm hedging`: plays the same calls with and without hedges, and with and without a budget of retries, and draws
 * `docs/hedging.svg` from what became of them. The same seed draws the same picture.
 */
import { writeFileSync } from "node:fs"
import { quantile } from "../overload/scenario.ts"
import { linear, logarithmic, panel, path, style, text } from "../support/svg.ts"
import type { Axes, Point } from "../support/svg.ts"
import { amplification, downForAWhile, play, policies, slowNowAndThen } from "./scenario.ts"
import type { Outcome } from "./scenario.ts"

const plain = play(slowNowAndThen())
const hedged = play(slowNowAndThen(policies.hedges))
const unbounded = play(downForAWhile(policies.unbounded))
const budgeted = play(downForAWhile(policies.retries))
const eager = play(downForAWhile(policies.eager))

const slowerAxes: Axes = {
  left: 60,
  top: 46,
  width: 300,
  height: 190,
  title: "Calls that take longer than …",
  x: logarithmic(10, 2000, 60, 360),
  y: logarithmic(0.001, 1, 236, 46),
  xTicks: [10, 20, 50, 100, 200, 500, 1000, 2000].map((at) => [at, at < 1000 ? `${at}` : `${at / 1000} s`] as const),
  yTicks: [
    [1, "100 %"],
    [0.1, "10 %"],
    [0.01, "1 %"],
    [0.001, "0.1 %"]
  ],
  below: "milliseconds"
}

const loadAxes: Axes = {
  left: 440,
  top: 46,
  width: 300,
  height: 190,
  title: "The upstream is down: requests per call",
  x: linear(0, 50, 440, 740),
  y: linear(0, 3.2, 236, 46),
  xTicks: [0, 10, 20, 30, 40, 50].map((at) => [at, `${at} s`] as const),
  yTicks: [0, 1, 1.2, 2, 3].map((at) => [at, `${at}`] as const),
  below: "time"
}

/** The part of calls that take longer, as steps. */
const slower = ({ took }: Outcome): ReadonlyArray<Point> => {
  const sorted = took.toSorted((a, b) => a - b)
  const points: Array<Point> = []
  for (let millis = 10; millis <= 2000; millis *= 1.02) {
    const part = sorted.filter((each) => each > millis).length / sorted.length
    points.push([millis, Math.max(0.001, part)])
    if (part <= 0.001) break
  }
  return points
}

const bySecond = (outcome: Outcome): ReadonlyArray<Point> =>
  Array.from({ length: 49 }, (_, second) => [second + 1, amplification(outcome, second, second + 2)])

const label = (axes: Axes, x: number, y: number, words: string, css: string, anchor = "middle") =>
  text(axes.x(x), axes.y(y), words, ` class="${css} name" text-anchor="${anchor}"`)

const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 290" font-family="system-ui, sans-serif" font-size="12">
<title>Latency with hedges and without; load on an upstream that is down, with a budget of attempts and without</title>
<style>${style}</style>
${[
  `<rect x="${loadAxes.x(10)}" y="${loadAxes.top}" width="${loadAxes.x(40) - loadAxes.x(10)}" height="${loadAxes.height}" class="loud"/>`,
  ...panel(slowerAxes),
  path(slowerAxes, slower(plain), "bare"),
  path(slowerAxes, slower(hedged), "gate"),
  label(slowerAxes, 300, 0.028, "one attempt each", "bare"),
  label(slowerAxes, 55, 0.0016, "hedged", "gate", "end"),
  ...panel(loadAxes),
  path(loadAxes, bySecond(unbounded), "bare"),
  path(loadAxes, bySecond(budgeted), "gate"),
  label(loadAxes, 25, 2.7, "three attempts each", "bare"),
  label(loadAxes, 25, 1.35, "under a budget", "gate")
].join("\n")}
</svg>
`

writeFileSync(new URL("../../../../docs/hedging.svg", import.meta.url), svg)

const millis = (outcome: Outcome, part: number) => `${quantile(outcome.took, part).toFixed(0)} ms`
console.log("| two in a hundred answers take 1 s | p50 | p95 | p99 | p99.9 | requests |")
console.log("|---|---|---|---|---|---|")
for (const [name, outcome] of Object.entries({ "one attempt each": plain, hedged })) {
  const requests = `${((amplification(outcome) - 1) * 100).toFixed(1)} % more`
  const row = [0.5, 0.95, 0.99, 0.999].map((part) => millis(outcome, part)).join(" | ")
  console.log(`| ${name} | ${row} | ${requests} |`)
}
console.log("\n| the upstream is down for half a minute | requests per call meanwhile | hedges |")
console.log("|---|---|---|")
const down = {
  "three attempts each": unbounded,
  "under a budget": budgeted,
  "and every attempt is slow enough for a hedge": eager
}
for (const [name, outcome] of Object.entries(down)) {
  console.log(`| ${name} | ${amplification(outcome, 10, 40).toFixed(2)} | ${outcome.statistics.hedges} |`)
}
