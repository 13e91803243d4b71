/** What a run has come to, in lines for people. Pure. */
import { printable } from "../ConfigWords.ts"
import * as ConfigValue from "../ConfigValue.ts"
import type { Latencies } from "./Latencies.ts"
import type { Failures, Tally } from "./Tally.ts"
import * as Words from "./Words.ts"

export interface How {
  readonly elapsedMillis: number
  /** Where something is left: how much of the input, as a part, if that is known; and whether another run can go on. */
  readonly stopped: { readonly part: number | undefined; readonly resumes: boolean } | undefined
  readonly columns: number
}

/** Fewer calls than this are no distribution. */
const many = 10

export const render = (tally: Tally, { columns, elapsedMillis, stopped }: How): string => {
  const { bytes, ended, failed, failures, latencies, left, ok, retries, skipped, statuses } = tally
  const rate = elapsedMillis > 0 ? (ended / elapsedMillis) * 1_000 : 0
  const rows: Array<readonly [string, string]> = [
    ["ok", Words.count(ok)],
    ...(failed === 0 ? [] : [["failed", Words.count(failed)] as const]),
    ...(skipped === 0 ? [] : [["skipped", `${Words.count(skipped)}  fetched by an earlier run`] as const]),
    ...(left === 0 ? [] : [["left", `${Words.count(left)}  taken, and not begun or cut`] as const]),
    ...(statuses.size === 0 ? [] : [["status", counted(statuses)] as const]),
    ...(latencies.total === 0 ? [] : [["latency", latency(latencies)] as const])
  ]
  const lines = [
    `${Words.count(ended)} done in ${Words.took(elapsedMillis)} (${Words.perSecond(rate)}), ${ConfigValue.formatBytes(bytes)}${retries === 0 ? "" : `, ${plural(retries, "retry", "retries")}`}`,
    ...rows.map(([name, what]) => `  ${name.padEnd(9)}${what}`),
    ...(latencies.total < many ? [] : ["", ...histogram(latencies, columns)]),
    ...(failed === 0 ? [] : ["", ...told(failures.values(), columns)]),
    ...(stopped === undefined ? [] : ["", ...goOn(stopped)])
  ]
  return lines.join("\n")
}

/** Bars as long as the columns allow, the longest for the most. */
export const histogram = (latencies: Latencies, columns: number): ReadonlyArray<string> => {
  const { rows } = latencies
  const most = Math.max(...rows.map(({ count }) => count))
  const titles = rows.map(({ from, to }) => `${edge(from)} - ${to === Infinity ? "" : edge(to)}`)
  const wide = Math.max(...titles.map(({ length }) => length))
  const digits = Words.count(most).length
  const room = Math.max(5, Math.min(40, columns - wide - digits - 6))
  return rows.map(({ count }, i) => {
    // However few they are, they are seen.
    const bar = "#".repeat(count === 0 ? 0 : Math.max(1, Math.round((count / most) * room)))
    return `  ${titles[i]!.padStart(wide)}  ${Words.count(count).padStart(digits)} ${bar}`.trimEnd()
  })
}

const edge = (millis: number) => (millis < 1_000 ? `${millis} ms` : `${millis / 1_000} s`)

const latency = (latencies: Latencies) =>
  [
    `p50 ${Words.took(latencies.within(0.5))}`,
    `p90 ${Words.took(latencies.within(0.9))}`,
    `p99 ${Words.took(latencies.within(0.99))}`,
    `max ${Words.took(latencies.max)}`
  ].join("  ")

/** The most frequent first. */
const counted = (statuses: ReadonlyMap<number, number>) =>
  [...statuses]
    .toSorted((a, b) => b[1] - a[1])
    .map(([status, n]) => `${status} × ${Words.count(n)}`)
    .join("  ")

/** What failed, by kind, each with its first. */
const told = (failures: Iterable<Failures>, columns: number): ReadonlyArray<string> => {
  const all = [...failures].toSorted((a, b) => b.count - a.count)
  const digits = Words.count(all[0]!.count).length
  const room = Math.max(20, columns - digits - 6)
  return all.flatMap(({ count, message, title, url }) => [
    `  ${Words.count(count).padStart(digits)} × ${title}`,
    ...wrapped(printable(about(url, message), 3 * room), room).map((row) => `  ${" ".repeat(digits)}   ${row}`)
  ])
}

/** In rows, broken at spaces where that is possible: an address may be long, and the reason stands behind it. */
const wrapped = (text: string, room: number): ReadonlyArray<string> =>
  (text.match(new RegExp(`.{1,${room}}(?: |$)|.{${room}}`, "g")) ?? []).map((row) => row.trimEnd())

/** Most messages begin with the URL already; those that do not are told with it. */
const about = (url: string | undefined, message: string) =>
  url === undefined || message.includes(url) ? message : `${url}: ${message}`

const goOn = ({ part, resumes }: NonNullable<How["stopped"]>): ReadonlyArray<string> => [
  `stopped before the end${part === undefined ? "" : `; about ${Math.round(part * 100)} % of the input is left`}.`,
  resumes
    ? "To go on, run the same command with --resume."
    : "Only what was kept with --out DIR can be gone on with, by --resume."
]

const plural = (n: number, one: string, more: string) => `${Words.count(n)} ${n === 1 ? one : more}`
