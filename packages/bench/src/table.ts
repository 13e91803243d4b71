/** The samples of a run as Markdown: what, who, how long or how much, and ours beside the others. Pure. */
import type { Contender, Figure, Part, Row, Sample } from "./harness.ts"
import { summarize, timesAsFast, timesAsMuch } from "./statistics.ts"
import type { Summary } from "./statistics.ts"

/** A line of a table: text for the reader, numbers for the JSON. It has a time, or bytes, or is a figure's. */
export interface Line {
  readonly row: string
  readonly contender: string
  /** The median of the rounds: microseconds for each operation, and operations per second. */
  readonly micros?: number
  readonly perSecond?: number
  /** The median of the rounds: bytes for each. */
  readonly bytes?: number
  /** How many times as fast ours is, or how many times as much it takes; in the line of a figure, the figure. */
  readonly ratio?: Summary
  readonly aim?: Aim
}

interface Aim {
  readonly text: string
  readonly met: boolean
}

export const lines = (part: Part, samples: ReadonlyArray<Sample>): ReadonlyArray<Line> => [
  ...part.rows.flatMap((row) => rowLines(row, samples)),
  ...(part.figures ?? []).map((figure) => figureLine(figure, samples))
]

const rowLines = (row: Row, samples: ReadonlyArray<Sample>): ReadonlyArray<Line> => {
  const of = (contender: string) =>
    samples.filter((sample) => sample.row === row.name && sample.contender === contender)
  const ours = of(row.contenders[0]?.name ?? "")
  return row.contenders.map((contender, place) => {
    const theirs = of(contender.name)
    const bytes = theirs.flatMap((sample) => ("bytes" in sample ? [sample.bytes] : []))
    const times = theirs.flatMap((sample) => ("micros" in sample ? [sample] : []))
    const ratio = bytes.length > 0 ? timesAsMuch(ours.map(cost), bytes) : timesAsFast(ours.map(cost), times.map(cost))
    const perSecond = summarize(times.map(({ micros, perSecond }) => perSecond ?? 1e6 / micros)).median
    const aim = aimOf(contender, ratio, bytes, perSecond)
    return {
      row: row.name,
      contender: contender.name,
      ...(bytes.length > 0
        ? { bytes: summarize(bytes).median }
        : {
            micros: summarize(times.map(({ micros }) => micros)).median,
            perSecond
          }),
      ...(place === 0 ? {} : { ratio }),
      ...(aim === undefined ? {} : { aim })
    }
  })
}

const cost = (sample: Sample): number => ("bytes" in sample ? sample.bytes : sample.micros)

const aimOf = (
  { atLeast, atLeastPerSecond, atMost, atMostBytes }: Contender,
  ratio: Summary,
  bytes: ReadonlyArray<number>,
  perSecond: number
): Aim | undefined => {
  if (atLeast !== undefined) return { text: `≥ ${atLeast}`, met: ratio.median >= atLeast }
  if (atMost !== undefined) return { text: `≤ ${atMost}`, met: ratio.median <= atMost }
  if (atLeastPerSecond !== undefined) {
    return { text: `≥ ${rate(atLeastPerSecond)}/s`, met: perSecond >= atLeastPerSecond }
  }
  if (atMostBytes !== undefined) return { text: `≤ ${size(atMostBytes)}`, met: summarize(bytes).median <= atMostBytes }
  return undefined
}

const figureLine = (figure: Figure, samples: ReadonlyArray<Sample>): Line => {
  const rounds = [...new Set(samples.map(({ round }) => round))]
  const ratio = summarize(
    rounds.map((round) =>
      figure.of((row, contender) => {
        const of = samples.filter((sample) => sample.row === row && sample.contender === contender)
        const found = of.find((sample) => sample.round === round)
        return found === undefined ? Number.NaN : cost(found)
      })
    )
  )
  return {
    row: figure.name,
    contender: "",
    ratio,
    aim: { text: `≤ ${figure.atMost}`, met: ratio.median <= figure.atMost }
  }
}

/** One table of times, and one of bytes below it, where there are any. */
export const markdown = (all: ReadonlyArray<Line>): string => {
  const space = all.filter(({ bytes }) => bytes !== undefined)
  const time = all.filter(({ bytes }) => bytes === undefined)
  return [...(time.length > 0 ? [times(time)] : []), ...(space.length > 0 ? [spaces(space)] : [])].join("\n\n")
}

const times = (all: ReadonlyArray<Line>): string =>
  table(["µs each", "per second", "ours is … times as fast"], all, ({ micros, perSecond }) => [
    micros === undefined ? "" : micros.toPrecision(3),
    perSecond === undefined ? "" : rate(perSecond)
  ])

const spaces = (all: ReadonlyArray<Line>): string =>
  table(["bytes each", "ours takes … times as much"], all, ({ bytes = Number.NaN }) => [amount(bytes)])

const table = (
  columns: ReadonlyArray<string>,
  all: ReadonlyArray<Line>,
  figures: (line: Line) => ReadonlyArray<string>
): string =>
  [
    `| what | who | ${columns.join(" | ")} | aim |`,
    `|---|---|${"--:|".repeat(columns.length)}---|`,
    ...all.map((line, place) => {
      const cells = [
        all[place - 1]?.row === line.row ? "" : line.row,
        line.contender,
        ...figures(line),
        line.ratio === undefined ? "" : interval(line.ratio),
        line.aim === undefined ? "" : `${line.aim.text}: ${line.aim.met ? "met" : "**missed**"}`
      ]
      return `| ${cells.join(" | ")} |`
    })
  ].join("\n")

const rate = (perSecond: number) =>
  perSecond >= 1e6 ? `${(perSecond / 1e6).toPrecision(3)} M` : `${(perSecond / 1e3).toPrecision(3)} k`

const amount = (bytes: number) => (bytes >= 1e6 ? size(bytes) : bytes.toFixed(Math.abs(bytes) < 10 ? 2 : 0))

const size = (bytes: number) => (bytes >= 1e6 ? `${(bytes / 1e6).toFixed(0)} MB` : `${bytes} B`)

const interval = ({ median, low, high }: Summary) => `${short(median)} (${short(low)}–${short(high)})`

const short = (ratio: number) => (Math.abs(ratio) >= 10 ? ratio.toFixed(0) : ratio.toFixed(2))
