/**
 * A CPU profile that runs in this process and is read without being restarted. It sees native code, where a look of the watchdog cannot; but
 * while it runs, all that the process does costs 5 to 10 % more (docs/decisions/0016).
 *
 *     a ████████▌
 *     b        ▐████████▌         the next begins before one ends: so V8 keeps what it has set up, and each takes 0.1 ms instead of 30
 *     c                ▐████…
 */
import * as inspector from "node:inspector"
import { isForeign, placeOf } from "./frames.ts"
import type { Culprit } from "./frames.ts"
import type { Running } from "./hunt.ts"

/** What is read of a profile, as the inspector tells it. Times are in microseconds of the machine's monotonic clock. */
export interface Profile {
  readonly nodes: ReadonlyArray<Node>
  readonly startTime: number
  readonly samples?: ReadonlyArray<number> | undefined
  readonly timeDeltas?: ReadonlyArray<number> | undefined
}

interface Node {
  readonly id: number
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  readonly children?: ReadonlyArray<number> | undefined
}

/** What a sample says of no function. */
const nobody = new Set(["(root)", "(program)", "(idle)", "(garbage collector)"])

/** Who ran in most of the samples between two instants; `undefined` where there are none, or none on a function. Pure. */
export const culpritOf = (profile: Profile, from: number, to: number, cwd: string): Culprit | undefined => {
  const { samples = [], timeDeltas = [] } = profile
  const counts = new Map<number, number>()
  let at = profile.startTime
  for (const [i, id] of samples.entries()) {
    at += timeDeltas[i] ?? 0
    if (at >= from && at <= to) counts.set(id, (counts.get(id) ?? 0) + 1)
  }
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]))
  const parents = new Map(profile.nodes.flatMap(({ children = [], id }) => children.map((child) => [child, id])))
  const votes = new Map<string, { culprit: Culprit; votes: number }>()
  for (const [id, count] of counts) {
    const culprit = ofStack(stackOf(id, nodes, parents), cwd)
    if (culprit === undefined) continue
    const key = `${culprit.function} ${culprit.place}`
    votes.set(key, { culprit, votes: (votes.get(key)?.votes ?? 0) + count })
  }
  return [...votes.values()].toSorted((a, b) => b.votes - a.votes)[0]?.culprit
}

const stackOf = (leaf: number, nodes: ReadonlyMap<number, Node>, parents: ReadonlyMap<number, number>) => {
  const stack = []
  for (let id: number | undefined = leaf; id !== undefined; id = parents.get(id)) {
    const { functionName, lineNumber, url } = nodes.get(id)!.callFrame
    if (!nobody.has(functionName)) stack.push({ functionName, scriptName: url, lineNumber: lineNumber + 1 })
  }
  return stack
}

/** The program's own function, and what that called which is not. */
const ofStack = (stack: ReturnType<typeof stackOf>, cwd: string): Culprit | undefined => {
  const own = stack.findIndex((frame) => !isForeign(frame))
  if (stack.length === 0) return undefined
  if (own < 0) return { function: nameOf(stack[0]!), place: placeOf(stack[0]!, cwd), own: false }
  const name = nameOf(stack[own]!)
  return {
    function: own === 0 ? name : `${name} calling ${nameOf(stack[own - 1]!)}`,
    place: placeOf(stack[own]!, cwd),
    own: true
  }
}

const nameOf = ({ functionName }: { readonly functionName: string }) => functionName || "(anonymous)"

let last = 0

/** Runs until `stop`. To begin takes some 30 ms of the loop, once. */
export class Profiler implements Running {
  private readonly session = new inspector.Session()
  private title = ""
  private finished: Profile | undefined

  constructor(everyMillis: number) {
    this.session.connect()
    this.session.on("Profiler.consoleProfileFinished", ({ params }) => {
      if (params.title === this.title) this.finished = params.profile
    })
    this.session.post("Profiler.enable")
    this.session.post("Profiler.setSamplingInterval", { interval: everyMillis * 1000 })
    this.begin()
  }

  read(): Profile | undefined {
    const before = this.title
    const next = this.begin()
    this.title = before
    this.finished = undefined
    inspector.console.profileEnd(before)
    this.title = next
    return this.finished
  }

  stop(): void {
    inspector.console.profileEnd(this.title)
    this.session.disconnect()
  }

  private begin(): string {
    this.title = `fairlead ${++last}`
    inspector.console.profile(this.title)
    return this.title
  }
}
