/**
 * What another process tells of itself, read without trust: what is missing or of another shape is left out, kinds that nobody here knows
 * are not looked at, and no text of it steers a terminal. Pure.
 */
import type { Registry } from "@fairlead/core"
import { Inspect } from "@fairlead/platform-node"
import { Duration } from "effect"

/** One look at a process. */
export interface Look {
  /** When it was taken, in milliseconds of our own clock. */
  readonly at: number
  readonly version: string | undefined
  readonly ready: boolean | undefined
  readonly process: Process
  /** Under way, and ended since its start. */
  readonly calls: { readonly underWay: number; readonly ended: number } | undefined
  readonly loop: Loop | undefined
  readonly memory: Memory | undefined
  readonly profile: ReadonlyArray<{ readonly kind: string; readonly millis: number }> | undefined
  readonly gates: ReadonlyArray<Gate>
  readonly pools: ReadonlyArray<Pool>
  readonly workers: ReadonlyArray<Workers>
  readonly circuits: ReadonlyArray<{ readonly name: string; readonly open: number }>
  readonly tasks: ReadonlyArray<Task>
  readonly findings: ReadonlyArray<{ readonly rule: string; readonly subject: string; readonly found: string }>
}

export interface Process {
  readonly pid: number | undefined
  readonly uptimeMillis: number | undefined
  readonly cpuMillis: number | undefined
  readonly rssBytes: number | undefined
  readonly heapUsedBytes: number | undefined
  readonly heapLimitBytes: number | undefined
}

export interface Loop {
  readonly utilization: number | undefined
  readonly p50: number | undefined
  readonly p99: number | undefined
  readonly iterationsPerSecond: number | undefined
  readonly overloaded: boolean
  /** The newest first. */
  readonly alarms: ReadonlyArray<{ readonly function: string; readonly place: string; readonly millis: number }>
}

export interface Memory {
  readonly level: string
  readonly limitBytes: number | undefined
  readonly budgetLimitBytes: number | undefined
  readonly budgetUsedBytes: number | undefined
}

export interface Gate {
  readonly name: string
  readonly running: number
  readonly limit: number | undefined
  readonly waiting: number
  readonly maxWaiting: number | undefined
  /** Since its start. */
  readonly done: number
  readonly refused: number
  /** Starts per second while callers waited. */
  readonly drainRate: number | undefined
  /** Of its windows the one that is fullest. */
  readonly window: { readonly used: number; readonly limit: number; readonly per: string } | undefined
}

export interface Pool {
  readonly name: string
  readonly busy: number
  readonly idle: number
  readonly connecting: number
  readonly max: number | undefined
  readonly waiting: number
  readonly opened: number
  readonly reused: number
}

export interface Workers {
  readonly name: string
  readonly running: number
  readonly size: number
  readonly waiting: number
  readonly completed: number
  readonly failed: number
  readonly killed: number
  readonly crashed: number
}

/** Something that goes on and has an id. */
export interface Task {
  readonly id: string
  readonly name: string
  readonly ageMillis: number
  readonly waitingFor: string | undefined
  readonly leftMillis: number | undefined
}

type Fields = { readonly [name: string]: unknown }

const fields = (value: unknown): Fields => (typeof value === "object" && value !== null ? (value as Fields) : {})
const list = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : [])
const number = (value: unknown): number | undefined => (typeof value === "number" && value >= 0 ? value : undefined)
const count = (value: unknown): number => number(value) ?? 0
const text = (value: unknown, most = 200): string => Inspect.printable(typeof value === "string" ? value : "", most)

/** How much is taken of a list. */
const many = 1_000

const named = (of: unknown, kind: string): ReadonlyArray<readonly [name: string, statistics: Fields]> =>
  list(of)
    .map(fields)
    .filter((instance) => instance["kind"] === kind)
    .slice(0, many)
    .map((instance) => [text(instance["name"], 60), fields(instance["statistics"])])

/** Of the answers of `/statistics`, `/explain` and `/lint`. */
export const read = (statistics: unknown, tasks: unknown, findings: unknown, at: number): Look => {
  const { instances, process, ready, version } = fields(statistics)
  const all = (kind: string) => named(instances, kind)
  const first = (kind: string) => all(kind)[0]?.[1]
  const calls = first("calls")
  const loop = first("loop")
  const memory = first("memory")
  const profile = first("profile")
  return {
    at,
    version: typeof version === "string" ? text(version, 20) : undefined,
    ready: typeof ready === "boolean" ? ready : undefined,
    process: {
      pid: number(fields(process)["pid"]),
      uptimeMillis: number(fields(process)["uptimeMillis"]),
      cpuMillis: number(fields(process)["cpuMillis"]),
      rssBytes: number(fields(process)["rssBytes"]),
      heapUsedBytes: number(fields(process)["heapUsedBytes"]),
      heapLimitBytes: number(fields(process)["heapLimitBytes"])
    },
    calls: calls && { underWay: count(calls["underWay"]), ended: count(calls["ended"]) },
    loop: loop && loopOf(loop),
    memory: memory && memoryOf(memory),
    profile: profile && profileOf(profile),
    gates: [
      ...all("gate").map(([name, gate]) => gateOf(name, gate)),
      ...all("queue").map(([name, queue]) => gateOf(name, queue)),
      ...all("gate map").flatMap(([map, { gates }]) =>
        list(gates)
          .slice(0, 20)
          .map((gate) => gateOf(`${map}/${text(fields(gate)["name"], 60)}`, fields(gate)))
      )
    ],
    pools: all("pool").map(([name, pool]) => poolOf(name, pool)),
    workers: all("cpu").map(([name, workers]) => workersOf(name, workers)),
    circuits: all("breaker").map(([name, breaker]) => ({ name, open: count(breaker["open"]) })),
    tasks: list(tasks).slice(0, many).map(fields).map(taskOf),
    findings: list(findings)
      .slice(0, many)
      .map(fields)
      .map((finding) => ({
        rule: text(finding["rule"], 30),
        subject: text(finding["subject"]),
        found: text(finding["found"])
      }))
  }
}

const loopOf = (loop: Fields): Loop => ({
  utilization: number(loop["utilization"]),
  p50: number(fields(loop["delayMillis"])["p50"]),
  p99: number(fields(loop["delayMillis"])["p99"]),
  iterationsPerSecond: number(loop["iterationsPerSecond"]),
  overloaded: loop["overloaded"] === true,
  alarms: list(loop["alarms"])
    .map(fields)
    .toSorted((a, b) => text(b["at"]).localeCompare(text(a["at"])))
    .slice(0, 10)
    .map((alarm) => ({
      function: text(alarm["function"], 60),
      place: text(alarm["place"]),
      millis: count(alarm["millis"])
    }))
})

const memoryOf = (memory: Fields): Memory => ({
  level: text(memory["level"], 20),
  limitBytes: number(memory["limitBytes"]),
  budgetLimitBytes: number(fields(memory["budget"])["limitBytes"]),
  budgetUsedBytes: number(fields(memory["budget"])["usedBytes"])
})

/** What all routes together have waited for, and run; the most first. */
const profileOf = ({ routes }: Fields): NonNullable<Look["profile"]> => {
  const sums = new Map<string, number>()
  const add = (kind: string, millis: unknown) => sums.set(kind, (sums.get(kind) ?? 0) + count(millis))
  for (const route of list(routes).slice(0, many).map(fields)) {
    add("running", route["runningMillis"])
    for (const [kind, millis] of Object.entries(fields(route["waitingMillis"])).slice(0, 50))
      add(text(kind, 20), millis)
  }
  return Array.from(sums, ([kind, millis]) => ({ kind, millis })).toSorted((a, b) => b.millis - a.millis)
}

const gateOf = (name: string, gate: Fields): Gate => ({
  name,
  running: count(gate["running"]),
  limit: number(gate["limit"]),
  waiting: count(gate["waiting"]),
  maxWaiting: number(gate["maxWaiting"]),
  done: count(gate["completed"]) + count(gate["failed"]),
  refused: count(gate["refused"]),
  drainRate: number(gate["drainRate"]),
  window: list(gate["windows"])
    .slice(0, 20)
    .map(fields)
    .map(({ lengthMillis, limit, pending, used }) => ({
      used: count(used) + count(pending),
      limit: number(limit) ?? 1,
      per: Duration.format(Duration.millis(count(lengthMillis)))
    }))
    .toSorted((a, b) => b.used / b.limit - a.used / a.limit)[0]
})

const poolOf = (name: string, pool: Fields): Pool => {
  const sockets = fields(pool["sockets"])
  return {
    name,
    busy: count(sockets["busy"]),
    idle: count(sockets["idle"]),
    connecting: count(sockets["connecting"]),
    max: number(pool["maxSockets"]),
    waiting: count(pool["waiting"]) + count(pool["waitingForPlace"]),
    opened: count(pool["opened"]),
    reused: count(pool["reused"])
  }
}

const workersOf = (name: string, workers: Fields): Workers => ({
  name,
  running: count(workers["running"]),
  size: count(workers["size"]),
  waiting: count(workers["waiting"]),
  completed: count(workers["completed"]),
  failed: count(workers["failed"]),
  killed: count(workers["killed"]),
  crashed: count(workers["crashed"])
})

const taskOf = (task: Fields): Task => ({
  id: text(task["id"], 60),
  name: text(task["name"]),
  ageMillis: count(task["ageMillis"]),
  waitingFor: typeof task["waitingFor"] === "string" ? text(task["waitingFor"]) : undefined,
  leftMillis: number(task["deadlineMillis"])
})

/** The answer of `/tree`; what is more than so deep is left out. */
export const tree = (nodes: unknown, depth = 100): ReadonlyArray<Registry.Node> =>
  depth === 0
    ? []
    : list(nodes)
        .map(fields)
        .map((node) => ({
          kind: text(node["kind"], 20) as Registry.Node["kind"],
          name: text(node["name"]),
          ...(typeof node["id"] === "string" ? { id: text(node["id"], 60) } : {}),
          state: text(node["state"], 20) as Registry.Node["state"],
          ageMillis: count(node["ageMillis"]),
          waitingFor: typeof node["waitingFor"] === "string" ? text(node["waitingFor"]) : null,
          deadlineMillis: number(node["deadlineMillis"]) ?? null,
          reason: typeof node["reason"] === "string" ? text(node["reason"]) : null,
          restarts: count(node["restarts"]),
          left: count(node["left"]),
          children: tree(node["children"], depth - 1)
        }))

/** The answer of `/explain/ID`. */
export const sentences = (answer: unknown): ReadonlyArray<string> =>
  list(fields(answer)["sentences"])
    .slice(0, many)
    .map((sentence) => text(sentence, 500))
