/** The samples of a run as one Markdown table: what, who, how long, and how many times as fast ours is. Pure. */
import type { Figure, Part, Row, Sample } from "./harness.ts"
import { summarize, timesAsFast } from "./statistics.ts"
import type { Summary } from "./statistics.ts"

/** A line of the table: text for the reader, numbers for the JSON. */
export interface Line {
  readonly row: string
  readonly contender: string
  /** The median of the rounds: microseconds for each operation, and operations per second. */
  readonly micros?: number
  readonly perSecond?: number
  /** How many times as fast ours is; in the line of a figure, the figure. */
  readonly ratio?: Summary
  readonly aim?: { readonly text: string; readonly met: boolean }
}

export const lines = (part: Part, samples: ReadonlyArray<Sample>): ReadonlyArray<Line> => [
  ...part.rows.flatMap((row) => rowLines(row, samples)),
  ...(part.figures ?? []).map((figure) => figureLine(figure, samples))
]

const rowLines = (row: Row, samples: ReadonlyArray<Sample>): ReadonlyArray<Line> => {
  const of = (contender: string) =>
    samples.filter((sample) => sample.row === row.name && sample.contender === contender)
  const ours = of(row.contenders[0]?.name ?? "").map(({ micros }) => micros)
  return row.contenders.map(({ name, atLeast }, place) => {
    const theirs = of(name)
    const ratio = timesAsFast(
      ours,
      theirs.map(({ micros }) => micros)
    )
    return {
      row: row.name,
      contender: name,
      micros: summarize(theirs.map(({ micros }) => micros)).median,
      perSecond: summarize(theirs.map(({ micros, perSecond }) => perSecond ?? 1e6 / micros)).median,
      ...(place === 0 ? {} : { ratio }),
      ...(atLeast === undefined ? {} : { aim: { text: `≥ ${atLeast}`, met: ratio.median >= atLeast } })
    }
  })
}

const figureLine = (figure: Figure, samples: ReadonlyArray<Sample>): Line => {
  const rounds = [...new Set(samples.map(({ round }) => round))]
  const ratio = summarize(
    rounds.map((round) =>
      figure.of(
        (row, contender) =>
          samples.find((sample) => sample.round === round && sample.row === row && sample.contender === contender)
            ?.micros ?? Number.NaN
      )
    )
  )
  return {
    row: figure.name,
    contender: "",
    ratio,
    aim: { text: `≤ ${figure.atMost}`, met: ratio.median <= figure.atMost }
  }
}

export const markdown = (all: ReadonlyArray<Line>): string =>
  [
    "| what | who | µs each | per second | ours is … times as fast | aim |",
    "|---|---|--:|--:|--:|---|",
    ...all.map((line, place) => {
      const cells = [
        all[place - 1]?.row === line.row ? "" : line.row,
        line.contender,
        line.micros === undefined ? "" : line.micros.toPrecision(3),
        line.perSecond === undefined ? "" : rate(line.perSecond),
        line.ratio === undefined ? "" : interval(line.ratio),
        line.aim === undefined ? "" : `${line.aim.text}: ${line.aim.met ? "met" : "**missed**"}`
      ]
      return `| ${cells.join(" | ")} |`
    })
  ].join("\n")

const rate = (perSecond: number) =>
  perSecond >= 1e6 ? `${(perSecond / 1e6).toPrecision(3)} M` : `${(perSecond / 1e3).toPrecision(3)} k`

const interval = ({ median, low, high }: Summary) => `${short(median)} (${short(low)}–${short(high)})`

const short = (ratio: number) => (Math.abs(ratio) >= 10 ? ratio.toFixed(0) : ratio.toFixed(2))
