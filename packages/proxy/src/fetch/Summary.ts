/** What a run has come to, in lines for people. Pure. */
import { printable } from "../ConfigWords.ts"
import * as ConfigValue from "../ConfigValue.ts"
import type { Latencies } from "./Latencies.ts"
import { titleOf } from "./Tally.ts"
import type { Tally } from "./Tally.ts"
import * as Words from "./Words.ts"

export interface How {
  readonly elapsedMillis: number
  /** Where something is left: how much of the input, as a part, if that is known; and whether another run can go on. */
  readonly stopped: { readonly unread: number | undefined; readonly resumes: boolean } | undefined
  readonly columns: number
}

/** Fewer calls than this are no distribution. */
const many = 10

export const render = (tally: Tally, { columns, elapsedMillis, stopped }: How): string => {
  const { bytes, ended, failed, failures, kinds, latencies, left, ok, retries, skipped, statuses } = tally
  const rate = elapsedMillis > 0 ? (ended / elapsedMillis) * 1_000 : 0
  const rows: Array<readonly [string, string]> = [
    ["ok", Words.count(ok)],
    ...(failed === 0 ? [] : [["failed", `${Words.count(failed)}  ${counted(kinds, (kind) => kind)}`] as const]),
    ...(skipped === 0 ? [] : [["skipped", `${Words.count(skipped)}  fetched by an earlier run`] as const]),
    ...(left === 0 ? [] : [["left", `${Words.count(left)}  taken, and not begun or cut`] as const]),
    ...(statuses.size === 0 ? [] : [["status", counted(statuses, (status) => `${status}`)] as const]),
    ...(latencies.total === 0 ? [] : [["latency", latency(latencies)] as const])
  ]
  const lines = [
    `${Words.count(ended)} done in ${Words.took(elapsedMillis)} (${Words.perSecond(rate)}), ${ConfigValue.formatBytes(bytes)}${retries === 0 ? "" : `, ${plural(retries, "retry", "retries")}`}`,
    ...rows.map(([name, what]) => `  ${name.padEnd(9)}${what}`),
    ...(latencies.total < many ? [] : ["", ...histogram(latencies, columns)]),
    ...(failures.length === 0 ? [] : ["", ...told(tally)]),
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
const counted = <K>(counts: ReadonlyMap<K, number>, title: (key: K) => string) =>
  [...counts]
    .toSorted((a, b) => b[1] - a[1])
    .map(([key, n]) => `${title(key)} × ${Words.count(n)}`)
    .join("  ")

const told = ({ failed, failures }: Tally): ReadonlyArray<string> => {
  const lines = failures.map(({ error, url }) => `  ${titleOf(error)}  ${about(url, error.message)}`)
  const rest = failed - failures.length
  return ["failed:", ...lines, ...(rest === 0 ? [] : [`  and ${Words.count(rest)} more`])]
}

/** Most messages begin with the URL already; those that do not are told with it. */
const about = (url: string | undefined, message: string) =>
  printable(url === undefined || message.includes(url) ? message : `${url}: ${message}`, 160)

const goOn = ({ resumes, unread }: NonNullable<How["stopped"]>): ReadonlyArray<string> => [
  `stopped before the end${unread === undefined ? "" : `; about ${Math.round(unread * 100)} % of the input is left`}.`,
  resumes ? "To go on, run the same command with --resume." : "With --out DIR, --resume could go on from here."
]

const plural = (n: number, one: string, more: string) => `${Words.count(n)} ${n === 1 ? one : more}`
