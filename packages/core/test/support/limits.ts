/**
 * `node packages/core/test/support/limits.ts`: what each `ConcurrencyLimit` does with a simulated upstream whose capacity
 * halves and doubles, as the table and the picture of docs/ConcurrencyLimit.md. With `--write` it puts them there.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { ConcurrencyLimit } from "@fairlead/core"
import { mean, service, simulate } from "./upstream.ts"
import type { Options } from "./upstream.ts"

export const docs = join(import.meta.dirname, "../../../../docs")

const most = 20
/** The capacity over the course of a run, in seconds. */
export const capacity = (second: number): number => (second >= 30 && second < 60 ? most / 2 : most)
export const changes = [0, 30, 60]
const seconds = 90

/** The parts of a run in which the capacity stays what it is. */
const stretches = changes.map((from) => ({ from, to: from + 30, capacity: capacity(from) }))

export const limits = {
  aimd: ConcurrencyLimit.aimd({ max: 200 }),
  vegas: ConcurrencyLimit.vegas({ max: 200, initial: 1 }),
  gradient: ConcurrencyLimit.gradient({ max: 200, initial: 1 }),
  "fixed 40": ConcurrencyLimit.fixed(2 * most)
} as const

/** How many seconds after a change the limit is within 20 % of the capacity and stays so; `undefined`: it does not. */
const settles = (run: ReadonlyArray<number>, capacity: number): number | undefined => {
  const last = run.findLastIndex((limit) => Math.abs(limit / capacity - 1) > 0.2)
  return last === run.length - 1 ? undefined : last + 1
}

const kinds = {
  "± 10 %": { of: (millis: number) => service.even(millis), mean: 1 },
  "± 10 %, 2 % of them × 10": { of: (millis: number) => service.outliers(service.even(millis), 0.02, 10), mean: 1.18 },
  "Erlang-4": { of: (millis: number) => service.erlang4(millis), mean: 1 },
  exponential: { of: (millis: number) => service.exponential(millis), mean: 1 }
} as const

const rows: ReadonlyArray<readonly [keyof typeof limits, Options["upstream"], keyof typeof kinds]> = [
  ["aimd", "refusing", "± 10 %"],
  ["vegas", "slots", "± 10 %"],
  ["gradient", "slots", "± 10 %"],
  ["vegas", "shared", "± 10 %"],
  ["gradient", "shared", "± 10 %"],
  ["vegas", "slots", "± 10 %, 2 % of them × 10"],
  ["gradient", "slots", "± 10 %, 2 % of them × 10"],
  ["vegas", "slots", "Erlang-4"],
  ["gradient", "slots", "Erlang-4"],
  ["vegas", "slots", "exponential"],
  ["gradient", "slots", "exponential"],
  ["fixed 40", "slots", "± 10 %"]
]

/** Five seeds of one row. */
const measure = (
  name: keyof typeof limits,
  upstream: Options["upstream"],
  kind: keyof typeof kinds,
  millis: number
): ReadonlyArray<string> => {
  const of = kinds[kind].of(millis)
  const runs = [1, 2, 3, 4, 5].map((seed) => simulate(limits[name], { seed, seconds, upstream, capacity, service: of }))
  const settled = stretches.map((stretch) => {
    const each = runs.map((run) => settles(run.seconds(stretch.from, stretch.to), stretch.capacity))
    return each.includes(undefined) ? "no" : `${Math.max(...each.map((second) => second!))} s`
  })
  const busy = kinds[kind].mean * millis
  const part = (values: ReadonlyArray<number>) => mean(values).toFixed(2)
  return [
    ...settled,
    part(runs.flatMap((run) => run.seconds(15, 30).map((limit) => limit / most))),
    part(runs.map((run) => (run.rate(15, 30) * busy) / (most * 1000))),
    part(runs.map((run) => run.latency(15, 30) / busy))
  ]
}

export const table = (): string => {
  const head = [
    "limit",
    "upstream",
    "service time",
    "settled after",
    "after it halved",
    "after it doubled",
    "limit ÷ capacity",
    "served ÷ possible",
    "latency ÷ service time"
  ]
  const body = rows.flatMap(([name, upstream, kind]) =>
    [10, 100].map((millis) => [
      `\`${name}\``,
      upstream,
      `${millis} ms ${kind}`,
      ...measure(name, upstream, kind, millis)
    ])
  )
  return [head, head.map(() => "---"), ...body].map((cells) => `| ${cells.join(" | ")} |\n`).join("")
}

/** The limit over time, beside the capacity. */
export const picture = (): string => {
  const width = 720
  const height = 260
  const left = 30
  const bottom = 30
  const top = 38
  const x = (second: number) => left + (second / seconds) * (width - left - 20)
  const y = (limit: number) => height - bottom - (limit / top) * (height - bottom - 10)
  const points = (values: ReadonlyArray<readonly [number, number]>) =>
    values.map(([second, limit]) => `${x(second).toFixed(0)},${y(limit).toFixed(0)}`).join(" ")
  const line = (values: ReadonlyArray<readonly [number, number]>, color: string, more = "") =>
    `<polyline fill="none" stroke="${color}" ${more}points="${points(values)}"/>`
  const text = (at: number, level: number, anchor: string, what: string, color = "#777") =>
    `<text x="${x(at).toFixed(0)}" y="${level.toFixed(0)}" text-anchor="${anchor}" fill="${color}">${what}</text>`
  const colors = { aimd: "#c60", vegas: "#06c", gradient: "#293" } as const
  const course = (name: keyof typeof colors) => {
    const upstream = name === "aimd" ? "refusing" : "slots"
    const run = simulate(limits[name], { seed: 1, seconds, upstream, capacity, service: service.even(100) })
    return run.limits.flatMap((limit, tenth) => (tenth % 5 === 0 ? [[tenth / 10, limit] as const] : []))
  }
  const names = ["aimd", "vegas", "gradient"] as const
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...[0, 10, 20, 30].flatMap((limit) => [
      line(
        [
          [0, limit],
          [seconds, limit]
        ],
        "#ddd"
      ),
      text(-0.5, y(limit) + 4, "end", `${limit}`)
    ]),
    ...[0, 30, 60, 90].map((second) => text(second, height - 12, "middle", `${second} s`)),
    line(
      [
        [0, most],
        [30, most],
        [30, most / 2],
        [60, most / 2],
        [60, most],
        [seconds, most]
      ],
      "#000",
      `stroke-dasharray="6 3" `
    ),
    ...names.map((name) => line(course(name), colors[name])),
    text(12, y(35), "middle", "capacity (dashed)", "#000"),
    ...names.map((name, i) => text(32 + 14 * i, y(35), "middle", name, colors[name])),
    "</svg>\n"
  ].join("\n")
}

const [begin, end] = ["<!-- measured -->\n\n", "\n<!-- /measured -->"]

/** The page, with the table in its place. */
export const page = (text: string): string =>
  text.slice(0, text.indexOf(begin) + begin.length) + table() + text.slice(text.indexOf(end))

if (import.meta.main) {
  if (process.argv.includes("--write")) {
    const file = join(docs, "ConcurrencyLimit.md")
    writeFileSync(file, page(readFileSync(file, "utf8")))
    writeFileSync(join(docs, "ConcurrencyLimit.svg"), picture())
  } else process.stdout.write(table())
}
