/** The totals of a profile as text for a terminal. Pure. */
import type { Spent, Statistics } from "../IoProfile.ts"
import { printable } from "./printable.ts"

/** In the order in which a request meets them. */
const states = [
  "running",
  "sleep",
  "gate",
  "window",
  "queue",
  "batch",
  "shared",
  "child",
  "pool",
  "dns",
  "connect",
  "tls",
  "firstByte",
  "body",
  "other"
] as const
type State = (typeof states)[number]

/** How many of the slowest are shown. */
const mostSlow = 5
const longestName = 40

export const table = ({ routes, slowest, tasks }: Statistics, width = 100): string => {
  if (routes.length === 0) return `No task has ended; ${tasks} ${tasks === 1 ? "goes" : "go"} on.\n`
  const total = routes.reduce((sum, { millis }) => sum + millis, 0)
  const shares = new Map(
    states.map((state) => [state, routes.reduce((sum, route) => sum + of(route, state), 0) / Math.max(total, 1e-9)])
  )
  const byShare = states
    .filter((state) => shares.get(state)! >= 0.005)
    .toSorted((a, b) => shares.get(b)! - shares.get(a)!)
  let shown = byShare.length
  let lines = rows(routes, inOrder(byShare), byShare.length < states.length && leavesOut(routes, byShare))
  while (lines[0]!.length > width && shown > 1) {
    shown--
    lines = rows(routes, inOrder(byShare.slice(0, shown)), true)
  }
  const cut = lines.map((line) => line.slice(0, width).trimEnd())
  const slow = slowest.slice(0, mostSlow).map((task) => {
    const spent = states
      .map((state) => [state, of(task, state)] as const)
      .filter(([, millis]) => millis >= 0.005 * task.millis)
      .toSorted(([, a], [, b]) => b - a)
      .map(([state, millis]) => `${state} ${time(millis)}`)
    return `${printable(task.name)} ${printable(task.id)}: ${time(task.millis)}, ${spent.join(" · ")}`.slice(0, width)
  })
  return [...cut, ...(slow.length === 0 ? [] : ["", "slowest of the last 5 minutes", ...slow]), ""].join("\n")
}

const inOrder = (some: ReadonlyArray<State>) => states.filter((state) => some.includes(state))

/** Whether a route has anything that no column would show. */
const leavesOut = (routes: Statistics["routes"], shown: ReadonlyArray<State>) =>
  routes.some((route) =>
    states.some((state) => !shown.includes(state) && of(route, state) >= 0.005 * Math.max(route.millis, 1e-9))
  )

const rows = (routes: Statistics["routes"], shown: ReadonlyArray<State>, withRest: boolean): ReadonlyArray<string> =>
  columns([
    ["", "count", "p50", "p99", "total", ...shown, ...(withRest ? ["rest"] : [])],
    ...routes.map((route) => {
      const parts = shown.map((state) => of(route, state))
      const rest = route.millis - parts.reduce((sum, millis) => sum + millis, 0)
      return [
        printable(route.name, longestName),
        route.count.toLocaleString("en"),
        route.p50Millis === null ? "" : time(route.p50Millis),
        route.p99Millis === null ? "" : time(route.p99Millis),
        time(route.millis),
        ...[...parts, ...(withRest ? [rest] : [])].map((millis) => percent(millis / Math.max(route.millis, 1e-9)))
      ]
    })
  ])

const of = ({ runningMillis, waitingMillis }: Spent, state: State): number =>
  state === "running" ? runningMillis : (waitingMillis[state] ?? 0)

const percent = (part: number) => (part < 0.005 ? "" : `${Math.round(part * 100)} %`)

const time = (millis: number): string => {
  if (millis >= 99_950) return `${Math.round(millis / 1000).toLocaleString("en")} s`
  if (millis >= 999.5) return `${(millis / 1000).toPrecision(3)} s`
  return `${millis >= 99.5 ? Math.round(millis) : Number(millis.toPrecision(2))} ms`
}

/** The first column to the left, the others to the right. */
const columns = (cells: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = cells[0]!.map((_, i) => Math.max(...cells.map((row) => row[i]!.length)))
  return cells.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  ")
  )
}
