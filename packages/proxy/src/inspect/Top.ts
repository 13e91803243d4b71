/**
 * What `fairlead top` shows: two looks at a process, what the user asked for and the size of the terminal → lines. And what keys do. Pure.
 *
 *     fairlead 0.4.0  ready  up 2:13:07  pid 4711                                    412/s  37 under way
 *     cpu 34 %   loop 41 %, late by 3 ms (p99 12 ms)   heap 212 MiB of 4.1 GiB   rss 310 MiB   calm
 *     GATES ▼           running   waiting    done/s  refused/s  drain/s  window
 *     github              20/20  412/1,000      1.3       0.2       1.3  ████████▌  78/80 per 1m
 */
import { Inspect } from "@fairlead/platform-node"
import * as Words from "../fetch/Words.ts"
import type { Gate, Look, Pool, Task, Workers } from "./Look.ts"

/** What the user asked for, and what is known. */
export interface State {
  /** The look before the last, for rates. */
  readonly before: Look | undefined
  readonly now: Look | undefined
  /** Which column the gates are in order of: a place in `columns`. */
  readonly sort: number
  readonly paused: boolean
  readonly help: boolean
  /** Why there is no newer look. */
  readonly trouble: string | undefined
}

export const start: State = {
  before: undefined,
  now: undefined,
  sort: 2,
  paused: false,
  help: false,
  trouble: undefined
}

/** A look has been taken, or could not be. */
export const looked = (state: State, found: Look | string): State => {
  if (typeof found === "string") return { ...state, trouble: found }
  if (state.paused) return { ...state, trouble: undefined }
  return { ...state, before: state.now, now: found, trouble: undefined }
}

/** What a terminal has sent: each key by itself. */
export const keys = (input: string): ReadonlyArray<string> =>
  // oxlint-disable-next-line no-control-regex
  input.match(/\u001b(?:\[|O)[\d;]*[A-Za-z~]|[^]/g) ?? []

/** What a key does; `undefined`: it ends. */
export const pressed = (state: State, key: string): State | undefined => {
  switch (key) {
    case "q":
    case "Q":
    // Ctrl-C and Ctrl-D: a raw terminal sends no signal for them.
    case "\u0003":
    case "\u0004":
      return undefined
    case "s":
    case "\u001b[C":
    case "\u001bOC":
      return { ...state, sort: (state.sort + 1) % columns.length }
    case "S":
    case "\u001b[D":
    case "\u001bOD":
      return { ...state, sort: (state.sort + columns.length - 1) % columns.length }
    case "p":
    case " ":
      return { ...state, paused: !state.paused }
    case "?":
    case "h":
      return { ...state, help: !state.help }
    case "\u001b":
      return { ...state, help: false }
    default:
      return state
  }
}

// --- rates ----------------------------------------------------------------------------------------------------------

/** Per second, between two counts; `undefined` where there is no earlier one, or another process has answered since. */
const rate = (seconds: number, before: number | undefined, now: number): number | undefined =>
  before === undefined || seconds <= 0 || now < before ? undefined : (now - before) / seconds

const isSame = (before: Look, now: Look): boolean => before.process.pid === now.process.pid

interface Row {
  readonly gate: Gate
  readonly done: number | undefined
  readonly refused: number | undefined
}

// --- lines ----------------------------------------------------------------------------------------------------------

/** How a part of a line looks. */
export type Style = "plain" | "bold" | "dim" | "good" | "warn" | "bad" | "head"
export type Part = readonly [style: Style, text: string]
export type Line = ReadonlyArray<Part>

const plain = (text: string): Part => ["plain", text]

const lengthOf = (line: Line): number => line.reduce((sum, [, text]) => sum + text.length, 0)

/** No longer than `width`. */
const cut = (line: Line, width: number): Line => {
  let room = width
  return line.flatMap(([style, text]): Line => {
    if (room <= 0 || text === "") return []
    const short = text.length > room ? `${text.slice(0, Math.max(0, room - 1))}…` : text
    room -= text.length
    return [[style, short]]
  })
}

/** One part at each end. */
const ends = (left: Line, right: Line, width: number): Line => {
  const room = width - lengthOf(left) - lengthOf(right)
  return room < 1 ? left : [...left, plain(" ".repeat(room)), ...right]
}

const right = (text: string, width: number): string => text.padStart(width)

const fit = (text: string, width: number): string =>
  (text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…` : text).padEnd(width)

const perSecond = (value: number | undefined): string =>
  value === undefined ? "–" : value === 0 ? "0" : value < 10 ? value.toFixed(1) : Words.count(value)

const percent = (part: number): string => `${Math.round(part * 100)} %`

const mebibyte = 1_048_576

/** `212 MiB`, `4.1 GiB`. */
export const size = (bytes: number): string =>
  bytes >= 1_024 * mebibyte
    ? `${(bytes / mebibyte / 1_024).toFixed(1)} GiB`
    : bytes >= mebibyte || bytes === 0
      ? `${Math.round(bytes / mebibyte)} MiB`
      : `${Math.ceil(bytes / 1_024)} KiB`

/** How full something is, in eighths of a character. */
export const bar = (part: number, width: number): string => {
  const eighths = Math.round(Math.min(1, Math.max(0, part)) * width * 8)
  const rest = eighths % 8
  return ("█".repeat(Math.floor(eighths / 8)) + (rest === 0 ? "" : "▏▎▍▌▋▊▉"[rest - 1]!)).padEnd(width, "░")
}

const of = (n: number, most: number | undefined, written = Words.count): string =>
  most === undefined ? written(n) : `${written(n)}/${written(most)}`

/** `1.2k`, `34k`, `1.9M`: rounded down, so that nothing looks full that is not. */
const short = (n: number): string => {
  if (n < 1_000) return String(n)
  const [part, unit] = n < 1_000_000 ? [n / 1_000, "k"] : [n / 1_000_000, "M"]
  return `${part < 10 ? Math.floor(part * 10) / 10 : Math.floor(part)}${unit}`
}

/** The same in a column: what is too long for that is written short. */
const inColumn = (n: number, most: number | undefined): string => {
  const long = of(n, most)
  return long.length < 11 ? long : of(n, most, short)
}

interface Column {
  readonly name: string
  readonly width: number
  readonly show: (row: Row) => string
  /** What is in front has more of it. */
  readonly by: (row: Row) => number | string
}

/** Of the gates, behind their names. */
const columns: ReadonlyArray<Column> = [
  { name: "name", width: 0, show: ({ gate }) => gate.name, by: ({ gate }) => gate.name },
  {
    name: "running",
    width: 11,
    show: ({ gate }) => inColumn(gate.running, gate.limit),
    by: ({ gate }) => gate.running
  },
  {
    name: "waiting",
    width: 12,
    show: ({ gate }) => inColumn(gate.waiting, gate.maxWaiting),
    by: ({ gate }) => gate.waiting
  },
  { name: "done/s", width: 9, show: ({ done }) => perSecond(done), by: ({ done }) => done ?? -1 },
  { name: "refused/s", width: 11, show: ({ refused }) => perSecond(refused), by: ({ refused }) => refused ?? -1 },
  { name: "drain/s", width: 9, show: ({ gate }) => perSecond(gate.drainRate), by: ({ gate }) => gate.drainRate ?? -1 }
]

const inOrder = (rows: ReadonlyArray<Row>, sort: number): ReadonlyArray<Row> => {
  const { by } = columns[sort]!
  return rows.toSorted((a, b) => {
    const [x, y] = [by(a), by(b)]
    if (typeof x === "string") return x.localeCompare(String(y))
    return Number(y) - x || a.gate.name.localeCompare(b.gate.name)
  })
}

interface Section {
  readonly head: Line
  readonly rows: ReadonlyArray<Line>
  /** How many rows it has at the least, where there is room for no more. */
  readonly least: number
  /** How many more there are of which nothing but that is known. */
  readonly beyond?: number
}

/** All that is known, for a screen of this size; `height` may be infinite. */
export const render = (state: State, width: number, height: number): ReadonlyArray<Line> => {
  const { before, help, now } = state
  const notice = noticeOf(state)
  if (help) return [...notice, ...helpLines].slice(0, height).map((line) => cut(line, width))
  if (now === undefined) return [...notice, [plain("looking …")]].map((line) => cut(line, width))
  const known = before !== undefined && isSame(before, now) ? before : undefined
  const top = [...notice, ...headOf(known, now, width)]
  const sections = [
    gateSection(known, now, state.sort, width),
    poolSection(known, now, width),
    workerSection(known, now, width),
    taskSection(now, width),
    profileSection(now),
    alarmSection(now),
    findingSection(now)
  ].filter((section) => section !== undefined)
  const lines = [...top, ...laidOut(sections, height - top.length)]
  return lines.slice(0, height).map((line) => cut(line[0]?.[0] === "head" ? across(line, width) : line, width))
}

/** A head goes from side to side. */
const across = (line: Line, width: number): Line => [...line, ["head", " ".repeat(Math.max(0, width - lengthOf(line)))]]

/** Each section with as many rows as there is room: first the least of all, then in turns. */
const laidOut = (sections: ReadonlyArray<Section>, height: number): ReadonlyArray<Line> => {
  const shown: Array<number> = sections.map(() => 0)
  let room = height
  // Those on top first: a head without rows says nothing.
  sections.forEach(({ least, rows }, i) => {
    const want = Math.min(least, rows.length)
    if (room < 2 + Math.min(1, want)) return
    shown[i] = Math.min(want, room - 2)
    room -= 2 + shown[i]!
  })
  while (room > 0) {
    const next = sections.flatMap(({ rows }, i) => (shown[i]! > 0 && shown[i]! < rows.length ? [i] : []))
    if (next.length === 0) break
    for (const i of next) {
      if (room === 0) break
      shown[i]!++
      room--
    }
  }
  return sections.flatMap(({ beyond = 0, head, rows }, i): ReadonlyArray<Line> => {
    const count = shown[i]!
    if (count === 0) return []
    const left = rows.length - count + beyond
    return [[], left === 0 ? head : [...head, ["head", `   ${Words.count(left)} more`]], ...rows.slice(0, count)]
  })
}

const noticeOf = ({ paused, trouble }: State): ReadonlyArray<Line> => [
  ...(trouble === undefined ? [] : [[["bad", trouble] as const]]),
  ...(paused ? [[["warn", "paused: p goes on"] as const]] : [])
]

const headOf = (before: Look | undefined, now: Look, width: number): ReadonlyArray<Line> => {
  const { calls, loop, memory, process, ready, version } = now
  const seconds = before === undefined ? 0 : (now.at - before.at) / 1_000
  const ended = calls && rate(seconds, before?.calls?.ended, calls.ended)
  const cpu = process.cpuMillis && rate(seconds * 1_000, before?.process.cpuMillis, process.cpuMillis)
  const open = now.circuits.filter((circuit) => circuit.open > 0)
  const first = ends(
    [
      ["bold", `fairlead${version === undefined ? "" : ` ${version}`}`],
      plain("  "),
      ready === false ? ["warn", "not ready"] : ["good", ready === undefined ? "up" : "ready"],
      plain(process.uptimeMillis === undefined ? "" : `  up ${Inspect.clock(process.uptimeMillis)}`),
      ["dim", process.pid === undefined ? "" : `  pid ${process.pid}`]
    ],
    calls === undefined
      ? []
      : [["bold", `${perSecond(ended)} calls/s`], plain(`  ${Words.count(calls.underWay)} under way`)],
    width
  )
  const second: Array<Part> = []
  const add = (style: Style, text: string) => second.push(plain(second.length === 0 ? "" : "   "), [style, text])
  if (cpu !== undefined) add(cpu > 0.9 ? "warn" : "plain", `cpu ${percent(cpu)}`)
  if (loop?.utilization !== undefined) {
    const late =
      loop.p99 === undefined ? "" : `, late by ${Inspect.took(loop.p50 ?? 0)} (p99 ${Inspect.took(loop.p99)})`
    add(loop.overloaded ? "bad" : "plain", `loop ${percent(loop.utilization)}${late}`)
  }
  if (process.heapUsedBytes !== undefined) {
    const limit = process.heapLimitBytes === undefined ? "" : ` of ${size(process.heapLimitBytes)}`
    add("plain", `heap ${size(process.heapUsedBytes)}${limit}`)
  }
  if (process.rssBytes !== undefined) add("plain", `rss ${size(process.rssBytes)}`)
  if (memory !== undefined) {
    add(memory.level === "calm" ? "good" : memory.level === "critical" ? "bad" : "warn", `memory ${memory.level}`)
    if (memory.budgetLimitBytes !== undefined) {
      add("plain", `budget ${size(memory.budgetUsedBytes ?? 0)} of ${size(memory.budgetLimitBytes)}`)
    }
  }
  const third: ReadonlyArray<Line> =
    open.length === 0 ? [] : [[["bad", `circuits open: ${open.map(({ name }) => name).join(", ")}`]]]
  return [first, ...wrapped(second, width), ...third]
}

/** In as many lines as it takes; it is broken between facts. */
const wrapped = (parts: ReadonlyArray<Part>, width: number): ReadonlyArray<Line> => {
  const lines: Array<Array<Part>> = []
  let line: Array<Part> = []
  for (let i = 0; i < parts.length; i += 2) {
    const pair = [parts[i]!, parts[i + 1]!]
    if (line.length > 0 && lengthOf(line) + lengthOf(pair) > width) {
      lines.push(line)
      line = [pair[1]!]
    } else line.push(...pair)
  }
  return line.length === 0 ? lines : [...lines, line]
}

/** What is left of the width for names. */
const nameWidth = (width: number, taken: number): number => Math.max(8, Math.min(28, width - taken))

const gateSection = (before: Look | undefined, now: Look, sort: number, width: number): Section | undefined => {
  if (now.gates.length === 0) return undefined
  const seconds = before === undefined ? 0 : (now.at - before.at) / 1_000
  const known = new Map(before?.gates.map((gate) => [gate.name, gate]))
  const rows = now.gates.map((gate): Row => {
    const was = known.get(gate.name)
    return { gate, done: rate(seconds, was?.done, gate.done), refused: rate(seconds, was?.refused, gate.refused) }
  })
  const fixed = columns.reduce((sum, column) => sum + column.width, 0)
  const windows = now.gates.some(({ window }) => window !== undefined)
  const names = nameWidth(width, fixed + (windows ? 20 : 0))
  const room = width - names - fixed - 2
  const title = (column: Column, i: number): Part => {
    const name = i === sort ? `▼${i === 0 ? "GATES" : column.name}` : i === 0 ? "GATES" : column.name
    return ["head", i === 0 ? fit(name, names) : right(name, column.width)]
  }
  return {
    head: [...columns.map(title), ["head", windows && room >= 8 ? "  window" : ""]],
    least: 5,
    rows: inOrder(rows, sort).map((row) => {
      const { gate } = row
      const isFull = gate.maxWaiting !== undefined && gate.maxWaiting > 0 && gate.waiting >= gate.maxWaiting * 0.9
      return [
        ["plain", fit(gate.name, names)],
        ...columns.slice(1).map((column): Part => {
          const style: Style =
            column.name === "waiting" && gate.waiting > 0
              ? isFull
                ? "bad"
                : "warn"
              : column.name === "refused/s" && (row.refused ?? 0) > 0
                ? "bad"
                : "plain"
          return [style, right(column.show(row), column.width)]
        }),
        ...(gate.window === undefined || room < 8 ? [] : windowParts(gate.window, room))
      ]
    })
  }
}

const windowParts = ({ limit, per, used }: NonNullable<Gate["window"]>, room: number): Line => {
  const told = ` ${of(Math.round(used), limit)} per ${per}`
  const style: Style = used >= limit ? "warn" : "plain"
  const width = Math.min(12, room - told.length)
  return width < 4
    ? [plain("  "), [style, told.trimStart()]]
    : [plain("  "), [style, bar(used / limit, width)], plain(told)]
}

/** A table whose first column is a name. */
const table = <A extends { readonly name: string }>(
  title: string,
  items: ReadonlyArray<A>,
  least: number,
  width: number,
  cells: ReadonlyArray<readonly [name: string, width: number, show: (item: A) => string, style?: (item: A) => Style]>
): Section | undefined => {
  if (items.length === 0) return undefined
  const names = nameWidth(
    width,
    cells.reduce((sum, [, width]) => sum + width, 0)
  )
  return {
    head: [["head", fit(title, names)], ...cells.map(([name, width]): Part => ["head", right(name, width)])],
    least,
    rows: items.map((item) => [
      ["plain", fit(item.name, names)],
      ...cells.map(([, width, show, style = () => "plain" as const]): Part => [style(item), right(show(item), width)])
    ])
  }
}

const warnIfAny = (n: number): Style => (n > 0 ? "warn" : "plain")

const poolSection = (before: Look | undefined, now: Look, width: number): Section | undefined => {
  const seconds = before === undefined ? 0 : (now.at - before.at) / 1_000
  const was = (pool: Pool) => before?.pools.find(({ name }) => name === pool.name)
  return table("POOLS", now.pools, 2, width, [
    ["busy", 11, ({ busy, max }) => inColumn(busy, max)],
    ["idle", 8, ({ idle }) => Words.count(idle)],
    ["connecting", 12, ({ connecting }) => Words.count(connecting)],
    ["waiting", 9, ({ waiting }) => Words.count(waiting), ({ waiting }) => warnIfAny(waiting)],
    ["opened/s", 10, (pool) => perSecond(rate(seconds, was(pool)?.opened, pool.opened))],
    ["reused/s", 10, (pool) => perSecond(rate(seconds, was(pool)?.reused, pool.reused))]
  ])
}

const workerSection = (before: Look | undefined, now: Look, width: number): Section | undefined => {
  const seconds = before === undefined ? 0 : (now.at - before.at) / 1_000
  const was = (workers: Workers) => before?.workers.find(({ name }) => name === workers.name)
  return table("CPU POOLS", now.workers, 2, width, [
    ["running", 11, ({ running, size }) => inColumn(running, size)],
    ["waiting", 9, ({ waiting }) => Words.count(waiting), ({ waiting }) => warnIfAny(waiting)],
    ["done/s", 8, (workers) => perSecond(rate(seconds, was(workers)?.completed, workers.completed))],
    ["failed", 8, ({ failed }) => Words.count(failed)],
    ["killed", 8, ({ killed }) => Words.count(killed)],
    ["crashed", 9, ({ crashed }) => Words.count(crashed), ({ crashed }) => warnIfAny(crashed)]
  ])
}

const taskSection = (now: Look, width: number): Section | undefined => {
  if (now.tasks.length === 0) return undefined
  const ids = Math.min(30, Math.max(...now.tasks.map(({ id }) => id.length)))
  const rest = Math.max(10, width - ids - 23)
  const names = Math.max(10, Math.floor(rest * 0.55))
  return {
    head: [["head", `${fit("LONGEST", ids)}${right("age", 10)}${right("left", 10)}  ${fit("call", names)} waits for`]],
    least: 4,
    beyond: Math.max(0, (now.calls?.underWay ?? 0) - now.tasks.length),
    rows: now.tasks
      .toSorted((a, b) => b.ageMillis - a.ageMillis)
      .map(({ ageMillis, id, leftMillis, name, waitingFor }: Task) => [
        ["bold", fit(id, ids)],
        plain(right(Inspect.took(ageMillis), 10)),
        [
          leftMillis !== undefined && leftMillis < 1_000 ? "warn" : "dim",
          right(leftMillis === undefined ? "–" : Inspect.took(leftMillis), 10)
        ],
        plain(`  ${fit(name, names)} `),
        waitingFor === undefined ? ["dim", "–"] : plain(waitingFor)
      ])
  }
}

const profileSection = ({ profile }: Look): Section | undefined => {
  const total = profile?.reduce((sum, { millis }) => sum + millis, 0) ?? 0
  if (profile === undefined || total === 0) return undefined
  const most = profile.slice(0, 5).map(({ kind, millis }) => `${kind} ${percent(millis / total)}`)
  return { head: [["head", "WHERE TIME GOES"]], least: 1, rows: [[plain(most.join("   "))]] }
}

const alarmSection = ({ loop }: Look): Section | undefined =>
  loop === undefined || loop.alarms.length === 0
    ? undefined
    : {
        head: [["head", "HELD THE LOOP"]],
        least: 1,
        rows: loop.alarms.map((alarm) => [
          ["bad", right(Inspect.took(alarm.millis), 10)],
          plain(`  ${alarm.function}  `),
          ["dim", alarm.place]
        ])
      }

const findingSection = ({ findings }: Look): Section | undefined =>
  findings.length === 0
    ? undefined
    : {
        head: [["head", "LINT"]],
        least: 1,
        rows: findings.map(({ found, rule, subject }) => [["warn", fit(rule, 15)], plain(`${subject}: ${found}`)])
      }

const helpLines: ReadonlyArray<Line> = [
  [["bold", "fairlead top"]],
  [],
  [plain("q, Ctrl-C     ends it")],
  [plain("s, →          puts the gates in order of the next column; S, ← of the one before")],
  [plain("p, space      stops the picture, and goes on")],
  [plain("?             shows this, and hides it")],
  [],
  [["bold", "What stands there"]],
  [],
  [plain("running       of how many may; waiting: of how many places in the line")],
  [plain("drain/s       how many start per second while others wait, lately")],
  [plain("window        the fullest of the gate's rate windows")],
  [plain("LONGEST       calls that have been under way longest: fairlead explain ID says why")],
  [plain("LINT          what looks wrong; its advice is at /lint of the admin port")]
]

// --- as text --------------------------------------------------------------------------------------------------------

const codes: Record<Style, string> = {
  plain: "",
  bold: "1",
  dim: "2",
  good: "32",
  warn: "33",
  bad: "31;1",
  head: "7"
}

/** One line as text, with colours or without. */
export const paint = (line: Line, colours: boolean): string =>
  line
    .map(([style, text]) => (colours && codes[style] !== "" ? `\u001b[${codes[style]}m${text}\u001b[0m` : text))
    .join("")
