/**
 * The calls under way, and how those ended that ended lately: for the tree, and for whoever asks why one waits. Nothing steers by it.
 *
 *     begun ──▶ under way ──▶ ended ──▶ a ring of numbers: how, when, after how long
 *
 * A call costs it two short steps, and nothing that a garbage collector would see: an id is a word of the process and a number, and the
 * number is the place in the ring.
 */
import { Reason } from "@fairlead/core"
import type { Gate, Registry } from "@fairlead/core"
import { Inspect } from "@fairlead/platform-node"
import { Effect } from "effect"
import type { Facts } from "./Call.ts"
import * as Problem from "./Problem.ts"
import * as Target from "./Target.ts"

/** What stands behind an upstream's name. */
export interface Behind {
  readonly gate: Gate.Gate
  /** How often a call is sent at the most. */
  readonly attempts: number
  /** How long a call may stand in its line, unless the client says otherwise. */
  readonly waitMillis: number
}

/** How many are remembered that have ended. */
const remembered = 1_024

/** How many are explained whose clients call them the same. */
const namesakes = 5

const ends = ["open", "complete", "clientGone", "deadline", "shutdown", "failed"] as const
const reasons = [undefined, ...Object.keys(Problem.catalogue)]

export class Calls {
  /** What each id begins with. */
  private readonly word: string
  private readonly upstreams: ReadonlyMap<string, Behind>
  private readonly since = performance.now()
  // As the server's own list: a set that calls enter and leave at a high rate is garbage.
  private readonly underWay: Array<Facts> = []
  private begun = 0
  /** Of each that is remembered. A number that stands here tells that the rest is of that call. */
  private readonly numbers = new Float64Array(remembered)
  private readonly endedAt = new Float64Array(remembered)
  private readonly millis = new Float64Array(remembered)
  private readonly statuses = new Uint16Array(remembered)
  private readonly ends = new Uint8Array(remembered)
  private readonly reasons = new Uint8Array(remembered)

  constructor(word: string, upstreams: ReadonlyMap<string, Behind>) {
    this.word = word
    this.upstreams = upstreams
  }

  /** The id of the call that comes next, to be added. */
  nextId(): string {
    return `${this.word}-${++this.begun}`
  }

  add(facts: Facts): void {
    facts.calls = this
    facts.number = this.begun
    facts.place = this.underWay.push(facts) - 1
  }

  /** It has ended. */
  remove(facts: Facts): void {
    const last = this.underWay.pop()!
    if (last !== facts) {
      this.underWay[facts.place] = last
      last.place = facts.place
    }
    const { number } = facts
    const at = number % remembered
    const now = performance.now()
    this.numbers[at] = number
    this.endedAt[at] = now
    this.millis[at] = now - facts.startedAt
    this.statuses[at] = facts.status
    this.ends[at] = ends.indexOf(facts.request.progress.end)
    this.reasons[at] = reasons.indexOf(facts.reason)
  }

  snapshot(): { readonly underWay: number; readonly ended: number } {
    const underWay = this.underWay.length
    return { underWay, ended: this.begun - underWay }
  }

  /** As a part of the tree: those `most` that have been under way longest. */
  nodes(most: number): ReadonlyArray<Registry.Node> {
    const oldest = oldestFirst(this.underWay).slice(0, most)
    const left = this.underWay.length - oldest.length
    const children = oldest.map(node)
    return [
      {
        ...nothing,
        kind: "calls",
        name: "proxy",
        state: "open",
        ageMillis: since(this.since),
        ...(left === 0 ? {} : { left }),
        children
      }
    ]
  }

  /** By its own id, or the client's (`X-Request-Id`). */
  explain(id: string): Effect.Effect<ReadonlyArray<string> | undefined> {
    const live = this.underWay.filter((facts) => facts.id === id || facts.received.requestId === id)
    if (live.length === 0) return Effect.succeed(this.ended(id))
    const shown = oldestFirst(live).slice(0, namesakes)
    const names = [...new Set(shown.map(({ upstream = "" }) => upstream))]
    // A line is walked once, however many of it are asked for.
    const lines = Effect.forEach(names, (name) => this.upstreams.get(name)?.gate.explain ?? Effect.succeed([]))
    return Effect.map(lines, (lines) => {
      const left = live.length - shown.length
      return [
        ...shown.flatMap((facts) => this.sentences(facts, lines[names.indexOf(facts.upstream ?? "")]!)),
        ...(left === 0 ? [] : [`${left} more are called so.`])
      ]
    })
  }

  private ended(id: string): ReadonlyArray<string> | undefined {
    const number = Number(id.slice(this.word.length + 1))
    const at = number % remembered
    if (id !== `${this.word}-${number}` || number === 0 || this.numbers[at] !== number) return undefined
    const end = ends[this.ends[at]!]!
    const reason = reasons[this.reasons[at]!]
    return [
      `${id} has ended, ${Inspect.took(since(this.endedAt[at]!))} ago and after ${Inspect.took(this.millis[at]!)}: ${this.statuses[at]}` +
        `${reason === undefined ? "" : `, ${reason}`}${end === "complete" ? "" : `, cut: ${end}`}.`
    ]
  }

  private sentences(facts: Facts, line: ReadonlyArray<Gate.Explanation>): ReadonlyArray<string> {
    const behind = this.upstreams.get(facts.upstream ?? "")
    const one = current(facts)
    const sentences = [
      `${facts.id} is ${title(facts)}, of urgency ${facts.urgency}, under way for ${Inspect.took(since(facts.startedAt))}.`
    ]
    const others = facts.run === undefined ? 0 : this.underWay.filter(({ run }) => run === facts.run).length - 1
    if (others > 0) {
      const calls = others === 1 ? "another identical call" : `${others} other identical calls`
      sentences.push(`It shares one run with ${calls}, and what follows is that run's.`)
    }
    const standing = line.find(({ fiber }) => fiber === one.fiber)
    if (standing === undefined) sentences.push(elsewhere(facts, one))
    else {
      const most = facts.wait === undefined ? ` of at most ${Inspect.took(behind!.waitMillis)}` : ""
      sentences.push(...inLine(standing, line, facts.upstream!, most))
    }
    const attempts = (facts.run ?? facts).attempts
    if (attempts > 1) {
      const idle = facts.backoffMillis > 0 ? `, ${Inspect.took(facts.backoffMillis)} passed between attempts` : ""
      sentences.push(`It is in attempt ${attempts} of ${behind?.attempts ?? attempts}${idle}.`)
    }
    if (facts.wait !== undefined) {
      const left = Math.max(0, facts.waitLeftMillis - (standing?.waitedMillis ?? 0))
      sentences.push(
        `Its client will wait for ${facts.wait} s in all (Prefer), of which ${Inspect.took(left)} are left.`
      )
    }
    sentences.push(
      facts.deadline === Infinity
        ? "It has no deadline."
        : `Its deadline is in ${Inspect.took(Math.max(0, facts.deadline - performance.now()))}.`
    )
    const reason = facts.region?.reasonInForce
    if (reason !== undefined) sentences.push(`It is being cut: ${Reason.format(reason)}.`)
    return sentences
  }
}

const oldestFirst = (calls: ReadonlyArray<Facts>): Array<Facts> => calls.toSorted((a, b) => a.startedAt - b.startedAt)

const since = (at: number): number => Math.round(performance.now() - at)

const nothing = { waitingFor: null, deadlineMillis: null, reason: null }

/** Where its attempt is that goes on; of one that shares a run, where that is. */
const current = (facts: Facts): Facts => {
  const whose = facts.run ?? facts
  return whose.attempt ?? whose
}

const title = (facts: Facts): string => `${nameOf(facts)}${facts.upstream === undefined ? "" : ` to ${facts.upstream}`}`

/** How much of a target is shown: a thousand long ones would be megabytes. */
const shownTarget = 200

// A value in a query may be a secret.
const nameOf = ({ request: { method, target } }: Facts): string =>
  `${method} ${Target.forLog(target.slice(0, shownTarget))}${target.length > shownTarget ? "…" : ""}`

const node = (facts: Facts): Registry.Node => {
  const { deadline, id, region } = facts
  const waitingFor = queued(region) ?? phase(facts, current(facts)) ?? region?.what
  const reason = region?.reasonInForce
  return {
    kind: "call",
    id,
    name: nameOf(facts),
    state: reason !== undefined ? "ending" : waitingFor === undefined ? "running" : "waiting",
    ageMillis: since(facts.startedAt),
    waitingFor: waitingFor ?? null,
    deadlineMillis: deadline === Infinity ? null : Math.max(0, Math.round(deadline - performance.now())),
    reason: reason === undefined ? null : Reason.format(reason),
    ...(facts.isStream ? { meant: "a stream of events lives as long as its client" } : {}),
    children: []
  }
}

/** The line in which it stands, or the backoff. Of all else the facts know more. */
const queued = (region: Facts["region"]): string | undefined => {
  const what = region?.what
  return what !== undefined && /^gate |^backoff | at gate /.test(what) ? what : undefined
}

/** What it waits for, as far as its facts say. */
const phase = (facts: Facts, { headAt = -Infinity, queueMillis, sentAt = -Infinity }: Facts): string | undefined => {
  if (facts.upstream === undefined) return undefined
  if (facts.request.progress.status !== undefined) return `rest of the answer of ${facts.upstream}`
  if (sentAt > headAt) return `first byte of ${facts.upstream}`
  return queueMillis === undefined ? undefined : `connection to ${facts.upstream}`
}

const inLine = (
  { notBeforeMillis, place, startsInMillis, tenant, waitedMillis, waitsFor }: Gate.Explanation,
  line: ReadonlyArray<Gate.Explanation>,
  gate: string,
  most: string
): ReadonlyArray<string> => {
  const whose = tenant === "" ? "" : ` as tenant ${tenant}`
  const starts =
    startsInMillis !== null
      ? ` It starts in about ${Inspect.took(startsInMillis)}.`
      : notBeforeMillis > 0
        ? ` It starts in ${Inspect.took(notBeforeMillis)} at the earliest.`
        : ""
  const waits = `It has waited for ${Inspect.took(waitedMillis)}${most} at gate ${gate}${whose}`
  if (place === null) return [`${waits}, beside the line, for ${waitsFor}.${starts}`]
  const before = line.slice(0, place - 1)
  if (before.length === 0) return [`${waits}: it is next, and waits for ${waitsFor}.${starts}`]
  return [
    `${waits}: place ${place} of ${line.length}, behind ${byUrgency(before)}.${starts}`,
    `The first in line waits for ${line[0]!.waitsFor}.`
  ]
}

/** `4 of urgency 0, 1 of urgency 3`. */
const byUrgency = (line: ReadonlyArray<Gate.Explanation>): string =>
  Array.from({ length: 8 }, (_, urgency) => [urgency, line.filter((one) => one.urgency === urgency).length] as const)
    .filter(([, count]) => count > 0)
    .map(([urgency, count]) => `${count} of urgency ${urgency}`)
    .join(", ")

/** Where it is that stands in no line. */
const elsewhere = (facts: Facts, one: Facts): string => {
  const { bytes, status } = facts.request.progress
  const what = queued(facts.region)
  if (status !== undefined) {
    return `Its answer (${status}) flows since ${Inspect.took(since(one.headAt ?? facts.startedAt))}, ${bytes} bytes so far.`
  }
  if (what !== undefined) return `It waits for ${what}.`
  const { headAt = -Infinity, sentAt = -Infinity } = one
  if (sentAt > headAt) return `It was sent ${Inspect.took(since(sentAt))} ago, and has no answer yet.`
  return one.queueMillis === undefined ? "It has not come to a gate." : "It has its permit and is not sent yet."
}
