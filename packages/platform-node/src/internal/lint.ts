/** What looks wrong in a live system: each rule a function of what is seen to what it finds. Pure. */
import type { Registry } from "@fairlead/core"
import type { Finding, Rule } from "../Inspect.ts"
import { took } from "./times.ts"

/** All that is looked at. */
export interface Seen {
  readonly snapshot: ReadonlyArray<Registry.Snapshot>
  readonly tree: ReadonlyArray<Registry.Node>
  readonly holds: ReadonlyArray<{ readonly subject: string; readonly holds: ReadonlyArray<Registry.Hold> }>
  /** Wall time in milliseconds. */
  readonly now: number
}

/** From when on something is worth a word; times in milliseconds. */
export interface Marks {
  readonly old: number
  readonly held: number
  readonly open: number
  readonly alarm: number
  /** What part of a line. */
  readonly full: number
}

/** All findings, but those somebody has said are meant. */
export const find = (seen: Seen, marks: Marks): ReadonlyArray<Finding> => {
  const meant = seen.snapshot.filter(({ kind }) => kind === "meant").map(({ statistics }) => statistics as Meaning)
  return rules.flatMap((rule) => rule(seen, marks)).filter((finding) => !meant.some((one) => covers(one, finding)))
}

interface Meaning {
  readonly rule: Rule
  readonly subject: string
}

const covers = ({ rule, subject }: Meaning, finding: Finding): boolean => {
  if (rule !== finding.rule) return false
  if (subject.endsWith("*")) return finding.subject.startsWith(subject.slice(0, -1))
  return finding.subject === subject || finding.subject.replaceAll(/#\d+(?= \/ |$)/g, "") === subject
}

type Statistics = { readonly [name: string]: any }

/** A rule that looks at the instances of some kinds, one by one. */
const each =
  (
    kinds: ReadonlyArray<string>,
    look: (
      statistics: Statistics,
      marks: Marks,
      now: number
    ) => ReadonlyArray<readonly [rule: Rule, found: string, advice: string]>
  ) =>
  ({ now, snapshot }: Seen, marks: Marks): ReadonlyArray<Finding> =>
    snapshot.flatMap(({ kind, name, statistics }) =>
      kinds.length > 0 && !kinds.includes(kind)
        ? []
        : look(statistics as Statistics, marks, now).map(([rule, found, advice]) => ({
            rule,
            subject: `${kind} ${name}`,
            found,
            advice
          }))
    )

const list = (value: unknown): ReadonlyArray<any> => (Array.isArray(value) ? value : [])

const gates = each(["gate", "queue", "cpu"], ({ limit, maxWaiting, waiting, windows }, { full }) => [
  ...(limit === null && list(windows).length === 0
    ? [["unbounded", "any number may run at once", "Give it a `limit` or a window."] as const]
    : []),
  ...(maxWaiting === null
    ? [["unbounded", "any number may wait", "Give its line `maxItems`: a line that grows for ever is memory."] as const]
    : []),
  ...(maxWaiting > 0 && waiting >= maxWaiting * full
    ? [
        [
          "lineFull",
          `${waiting} of ${maxWaiting} places in the line are taken`,
          "More comes than starts: see what limits it (`limit`, windows), or send less."
        ] as const
      ]
    : [])
])

const pools = each(["pool"], ({ maxSockets, perOrigin, sockets, waiting = 0, waitingForPlace = 0 }) => {
  const open = Object.values(sockets ?? {}).reduce((sum: number, count) => sum + Number(count), 0)
  if (maxSockets === null && perOrigin === null) {
    return [
      [
        "unbounded",
        "any number of sockets may be open",
        "Give it `maxSockets`, or say who bounds it (`Registry.meant`)."
      ]
    ]
  }
  const waits = waiting + waitingForPlace
  return maxSockets !== null && open >= maxSockets && waits > 0
    ? [
        [
          "poolFull",
          `all ${maxSockets} sockets are open, and ${waits} calls wait for one`,
          "Raise `maxSockets`, or send less."
        ]
      ]
    : []
})

/** Whoever registers something of his own says so by `unbounded`: a list of what is. */
const others = each([], ({ unbounded }) =>
  list(unbounded).map(
    (what) => ["unbounded", `${what} has no bound`, "Give it one, or say who bounds it (`Registry.meant`)."] as const
  )
)

const workers = each(["cpu"], ({ running, size, waiting }) =>
  size > 0 && running >= size && waiting > size
    ? [
        [
          "poolFull",
          `all ${size} workers run, and ${waiting} jobs wait`,
          "More workers help where there are idle cores."
        ]
      ]
    : []
)

const circuits = each(["breaker"], ({ circuits }, { open }) =>
  list(circuits)
    .filter(({ sinceMillis, state }) => state === "open" && sinceMillis >= open)
    .map(
      ({ failures, key, sinceMillis }) =>
        [
          "circuitOpen",
          `${key === "" ? "it" : key} has been open for ${took(sinceMillis)}, after ${failures} failures`,
          "What is behind it fails still, or nobody calls it."
        ] as const
    )
)

const loops = each(["loop"], ({ alarms, delayMillis, overloaded }, { alarm }, now) => [
  ...list(alarms)
    .filter(({ at }) => now - Date.parse(at) <= alarm)
    .map(
      (one) =>
        [
          "neverYields",
          `${one.function} (${one.place}) held the loop for ${took(one.millis)}${one.count > 1 ? `, ${one.count} times` : ""}`,
          "Nothing else ran meanwhile: do it in parts (`Effect.yieldNow`), or in another process (`CpuPool`)."
        ] as const
    ),
  ...(overloaded === true
    ? [
        [
          "overloaded",
          `the loop is late by ${took(Number(delayMillis?.p99 ?? 0))} (p99)`,
          "More is asked of the process than it can do."
        ] as const
      ]
    : [])
])

const memory = each(["memory"], ({ heapLimitBytes, heapUsedBytes, level }) =>
  level === "critical"
    ? [
        [
          "memoryCritical",
          `${Math.round(heapUsedBytes / 1_048_576)} of ${Math.round(heapLimitBytes / 1_048_576)} MiB of heap are used`,
          "It sheds now. Give it more memory, or shorter lines."
        ]
      ]
    : []
)

/** A permit in a scope that nobody works in any more. */
const idlePermits = ({ holds }: Seen, { held }: Marks): ReadonlyArray<Finding> =>
  holds.flatMap(({ holds, subject }) => {
    const idle = holds.filter(({ ageMillis, ended }) => ended && ageMillis >= held)
    if (idle.length === 0) return []
    const oldest = Math.max(...idle.map(({ ageMillis }) => ageMillis))
    return [
      {
        rule: "idlePermit" as const,
        subject,
        found: `${idle.length === 1 ? "a permit is" : `${idle.length} permits are`} held by ${idle.length === 1 ? "a fiber that has" : "fibers that have"} ended, for ${took(oldest)} at least`,
        advice:
          "The scope it was taken in is open still: close it, `release` the permit, or say why (`Registry.meant`)."
      }
    ]
  })

/** The innermost of what is old: what is around it is old by that. */
const old = ({ tree }: Seen, { old }: Marks): ReadonlyArray<Finding> => {
  const inside = (node: Registry.Node, around: string): ReadonlyArray<Finding> => {
    const subject = `${around}${node.kind} ${node.name}`
    const found = node.children.flatMap((child) => inside(child, `${subject} / `))
    if (found.length > 0 || node.ageMillis < old || node.kind === "calls" || node.meant !== undefined) return found
    const waits = node.waitingFor === null ? "" : `, and waits for ${node.waitingFor}`
    const it = node.id ?? "it"
    if (node.state === "ending") {
      return [
        {
          rule: "old",
          subject,
          found: `${it} was cut (${node.reason ?? "with what is around it"}) and has not ended${waits}`,
          advice: "Its clean-up hangs: give that a time of its own (`CancelScope.shield`)."
        }
      ]
    }
    // A deadline says how old it may get.
    if (node.deadlineMillis !== null) return found
    return [
      {
        rule: "old",
        subject,
        found: `${it} is ${took(node.ageMillis)} old and has no deadline${waits}`,
        advice:
          node.kind === "call"
            ? "Give such calls one: in the config of a proxy `timeout.total`."
            : "Give it one (`Deadline.within`), or say why it lives long (`Registry.meant`)."
      }
    ]
  }
  return tree.flatMap((node) => inside(node, ""))
}

const rules = [gates, pools, others, workers, idlePermits, old, loops, circuits, memory]
