/**
 * `pnpm overload`: plays the same load through a gate and straight to the upstream, and draws `docs/overload.svg` from
 * what became of it. The same seed draws the same picture.
 */
import { writeFileSync } from "node:fs"
import { alone, calm, fifty, holding, loud, overloaded } from "./load.ts"
import { goodput, latencies, normalAgain, play, quantile } from "./scenario.ts"
import type { Outcome } from "./scenario.ts"
import { fixed, linear, logarithmic, panel, path, style, text } from "../support/svg.ts"
import type { Axes, Point } from "../support/svg.ts"

const multiples = [0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 8, 10]

interface Curve {
  readonly name: string
  readonly css: string
  readonly outcomes: ReadonlyArray<Outcome>
}

const gated = holding["shares, and the least urgent put out for the others"]
const curves: ReadonlyArray<Curve> = [
  { name: "through the gate", css: "gate", outcomes: multiples.map((multiple) => play(overloaded(multiple, gated))) },
  { name: "straight to the upstream", css: "bare", outcomes: multiples.map((multiple) => play(overloaded(multiple))) }
]

const multipleTicks = [0.5, 1, 2, 3, 5, 10].map((at) => [at, `${at}×`] as const)

const goodputAxes: Axes = {
  left: 60,
  top: 46,
  width: 300,
  height: 190,
  title: "Answered in time, of what could be",
  x: logarithmic(0.5, 10, 60, 360),
  y: linear(0, 1, 236, 46),
  xTicks: multipleTicks,
  yTicks: [0, 0.25, 0.5, 0.75, 1].map((at) => [at, `${at * 100} %`] as const),
  below: "offered load, as multiples of the capacity"
}

const never = 4000
const latencyAxes: Axes = {
  left: 440,
  top: 46,
  width: 300,
  height: 190,
  title: "Urgent calls: 99 of 100 take no longer",
  x: logarithmic(0.5, 10, 440, 740),
  y: logarithmic(100, never, 236, 46),
  xTicks: multipleTicks,
  yTicks: [
    [100, "100 ms"],
    [200, "200 ms"],
    [500, "500 ms"],
    [1000, "1 s"],
    [2000, "2 s"],
    [never, "never"]
  ],
  below: "offered load, as multiples of the capacity"
}

const timeAxes: Axes = {
  left: 60,
  top: 330,
  width: 680,
  height: 170,
  title: "Ten times the capacity for half a minute: answered in time, second by second",
  x: linear(0, 45, 60, 740),
  y: linear(0, 1.2, 500, 330),
  xTicks: [0, 5, 10, 15, 20, 25, 30, 35, 40, 45].map((at) => [at, `${at} s`] as const),
  yTicks: [0, 0.25, 0.5, 0.75, 1].map((at) => [at, `${at * 100} %`] as const),
  below: "time"
}

const byMultiple = (axes: Axes, of: (outcome: Outcome) => number) =>
  curves.flatMap(({ css, outcomes }) => {
    const points = outcomes.map((outcome, i): Point => [multiples[i]!, of(outcome)])
    return [
      path(axes, points, css),
      ...points.map(
        ([a, b]) => `<circle cx="${fixed(axes.x(a))}" cy="${fixed(axes.y(b))}" r="2.5" class="dot ${css}"/>`
      )
    ]
  })

const label = (axes: Axes, a: number, b: number, curve: Curve, dy: number, anchor = "end") =>
  text(axes.x(a), axes.y(b) + dy, curve.name, ` class="${curve.css} name" text-anchor="${anchor}"`)

const [gate, bare] = curves as readonly [Curve, Curve]
const lastOf = (curve: Curve) => curve.outcomes.at(-1)!
const during = (outcome: Outcome) => goodput(outcome, calm, calm + loud)
const slowest = (outcome: Outcome) => Math.min(never, quantile(latencies(outcome, 0, calm, calm + loud), 0.99))
const bySecond = (outcome: Outcome): ReadonlyArray<Point> =>
  Array.from({ length: 45 }, (_, second) => [second + 0.5, goodput(outcome, second, second + 1)])

const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 550" font-family="system-ui, sans-serif" font-size="12">
<title>Goodput and urgent latency under overload, with a gate and without</title>
<style>${style}</style>
${[
  ...panel(goodputAxes),
  ...byMultiple(goodputAxes, during),
  label(goodputAxes, 10, during(lastOf(gate)), gate, 20),
  label(goodputAxes, 10, during(lastOf(bare)), bare, -10),
  ...panel(latencyAxes),
  ...byMultiple(latencyAxes, slowest),
  label(latencyAxes, 10, slowest(lastOf(gate)), gate, -12),
  label(latencyAxes, 10, never, bare, 20),
  `<rect x="${fixed(timeAxes.x(calm))}" y="${timeAxes.top}" width="${fixed(timeAxes.x(loud) - timeAxes.x(0))}" height="${timeAxes.height}" class="loud"/>`,
  ...panel(timeAxes),
  ...curves.map(({ css, outcomes }) => path(timeAxes, bySecond(outcomes.at(-1)!), css)),
  label(timeAxes, 20, 0.62, gate, 0, "middle"),
  label(timeAxes, 20, 0.05, bare, -14, "middle")
].join("\n")}
</svg>
`

writeFileSync(new URL("../../../../docs/overload.svg", import.meta.url), svg)

const seconds = (value: number) => (value === Infinity ? "never" : `${(value / 1000).toFixed(2)} s`)
console.log(
  "| through | load | answered in time, of what could be | urgent calls: 99 of 100 within | normal again after |"
)
console.log("|---|---|---|---|---|")
for (const { name, outcomes } of curves) {
  for (const [i, outcome] of outcomes.entries()) {
    const p99 = seconds(quantile(latencies(outcome, 0, calm, calm + loud), 0.99))
    const normal = normalAgain(outcome, calm + loud, fifty.serviceMillis).toFixed(1)
    console.log(`| ${name} | ${multiples[i]}× | ${(during(outcome) * 100).toFixed(0)} % | ${p99} | ${normal} s |`)
  }
}
const unloaded = quantile(latencies(play(alone), 0, 0, loud), 0.99)
console.log(`| no other load | 0.25× | 25 % | ${seconds(unloaded)} | |`)
