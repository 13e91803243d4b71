/**
 * `RateWindow` against an oracle that keeps every start for ever and adds them up anew each time: slow and obvious.
 */
import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import { RateWindow } from "@fairlead/core"

const grain = 1e-6

interface Grant {
  /** After how many restarts. */
  readonly era: number
  start: number | undefined
  answer: number | undefined
  /** What it was reserved for, or settled for below that. */
  cost: number
}

class Oracle {
  limit: number
  length: number
  counts: RateWindow.Counts
  /** All that began or still may. */
  grants: Array<Grant> = []
  readonly payments: Array<{ readonly at: number; readonly cost: number }> = []
  hints: Array<{ left: number; until: number }> = []
  debt = 0
  private seen = -Infinity

  constructor({ counts, length, limit }: Omit<Spec, "burst">) {
    this.limit = limit
    this.length = length
    this.counts = counts
  }

  clone(): Oracle {
    const copy = new Oracle(this)
    copy.grants = this.grants.map((grant) => ({ ...grant }))
    copy.payments.push(...this.payments)
    copy.hints = this.hints.map((hint) => ({ ...hint }))
    copy.debt = this.debt
    copy.seen = this.seen
    return copy
  }

  /** From when on it counts for one length; undefined: as now. */
  since(grant: Grant): number | undefined {
    return this.counts === "start" ? grant.start : grant.answer
  }

  get pending(): number {
    return this.grants.reduce((sum, grant) => sum + (this.since(grant) === undefined ? grant.cost : 0), 0)
  }

  used(now: number): number {
    let sum = 0
    for (const grant of this.grants) if ((this.since(grant) ?? -Infinity) + this.length > now + grain) sum += grant.cost
    for (const { at, cost } of this.payments) if (at + this.length > now + grain) sum += cost
    return sum
  }

  /** Debts are paid as soon as there is room for a part of them. */
  pass(now: number): void {
    while (this.debt > 0) {
      if (this.seen > -Infinity) this.pay(this.seen)
      const leaving = [
        ...this.grants.map((grant) => this.since(grant) ?? Infinity),
        ...this.payments.map(({ at }) => at)
      ]
      const next = Math.min(...leaving.map((at) => at + this.length).filter((at) => at > this.seen + grain))
      if (this.debt === 0 || next > now + grain) break
      this.seen = next
    }
    this.seen = now
    if (this.debt > 0) this.pay(now)
  }

  private pay(at: number): void {
    const part = Math.min(this.debt, this.limit - this.used(at) - this.pending)
    if (part <= 1e-9) return
    this.debt = this.debt - part < 1e-9 ? 0 : this.debt - part
    this.payments.push({ at, cost: part })
  }

  permits(now: number, cost: number, slack = 2e-9): boolean {
    this.pass(now)
    const allowed = this.limit * (1 + slack)
    return (
      cost + this.debt + this.used(now) + this.pending <= allowed &&
      this.hints.every(({ left, until }) => until <= now + grain || cost <= left + this.limit * slack)
    )
  }
}

interface Spec {
  readonly limit: number
  readonly length: number
  readonly burst: number
  readonly counts: RateWindow.Counts
}

const cost = fc.constantFrom(0.1, 0.2, 0.3, 0.7, 1, 1, 2, 3)
const spec: fc.Arbitrary<Spec> = fc
  .record({
    limit: fc.constantFrom(1, 2.5, 3, 5, 8, 12),
    length: fc.constantFrom(1000, 1000, 700, 2500),
    burst: fc.constantFrom(1, 1, 1, 0.5, 0.2),
    counts: fc.constantFrom("start" as const, "answer" as const)
  })
  .map(({ burst, ...rest }) => ({ ...rest, burst: burst * rest.limit }))

const step = fc.record({
  pause: fc.constantFrom(0, 0, 0.5, 1, 7, 40, 90, 250, 600, 1500),
  kind: fc.constantFrom(
    ...(["ask", "ask", "ask", "ask", "wait", "wait", "begin", "begin", "begin", "cancel"] as const),
    ...(["answer", "answer", "settle", "settle", "hint", "restart"] as const)
  ),
  cost,
  /** Which of those in question. */
  pick: fc.nat(),
  factor: fc.constantFrom(0, 0.1, 0.5, 0.9, 1, 1.1, 1.5, 3, 12),
  millis: fc.constantFrom(0, 10, 200, 900, 5000),
  jump: fc.constantFrom(0, 0, 1, 400, 3600_000, -1, -400, -3600_000),
  clock: fc.constantFrom("same" as const, "same" as const, "anew" as const, "ahead" as const),
  other: fc.option(spec, { freq: 3 })
})
type Step = typeof step extends fc.Arbitrary<infer A> ? A : never

/** Plays a trace on a book and the oracle, and says what happened. */
const play = (first: Spec, steps: ReadonlyArray<Step>) => {
  let { burst, counts, length, limit } = first
  const make = () => new RateWindow.Book(RateWindow.per(limit, length, { burst, counts }))
  let book = make()
  const oracle = new Oracle(first)
  /** True time; the book's clock is `offset` behind it, the wall's is `wall` ahead. */
  let now = 5000
  let offset = 0
  let wall = 1e12
  /** The book knows no less than the oracle: it is to allow no less. */
  let exact = burst === limit
  let bounds: Array<{ readonly cost: number; readonly notBefore: number }> = []
  const seen = { admitted: 0, restarts: 0, debts: 0, hints: 0, exact: 0, closed: 0, changed: false }
  const t = () => now - offset
  const choose = (from: ReadonlyArray<Grant>, pick: number) => from[pick % from.length]

  const admit = (cost: number): void => {
    const opensAt = book.opensAt(t(), cost)
    for (const bound of bounds) {
      if (book.opensAt(t(), bound.cost) <= t()) expect(bound.notBefore).toBeLessThanOrEqual(t() + grain)
    }
    if (opensAt > t()) {
      seen.closed++
      if (opensAt < Infinity) expect(book.notBefore(cost)).toBeLessThanOrEqual(opensAt + grain)
      bounds.push({ cost, notBefore: book.notBefore(cost) })
      if (!exact) return
      expect(oracle.permits(now, cost, 0)).toBe(false)
      // Nothing else happens until then: it opens at that instant, and not before.
      const at = opensAt + offset
      const alone = oracle.clone()
      if (opensAt === Infinity) expect(alone.permits(now + 1e6, cost, 0)).toBe(false)
      else {
        if (at - 0.01 > now) expect(oracle.clone().permits(at - 0.01, cost, 0)).toBe(false)
        expect(alone.permits(at, cost)).toBe(true)
      }
      return
    }
    expect(oracle.permits(now, cost)).toBe(true)
    seen.admitted++
    if (exact) seen.exact++
    book.reserve(t(), cost)
    for (const hint of oracle.hints) hint.left -= cost
    oracle.grants.push({ era: seen.restarts, start: undefined, answer: undefined, cost })
  }

  const restart = ({ clock, jump, millis, other, pick }: Step): void => {
    seen.restarts++
    bounds = []
    const unanswered = oracle.grants.filter(({ answer }) => answer === undefined)
    if (oracle.pending > 0) exact = false
    const snapshot = JSON.parse(JSON.stringify(book.snapshot(t(), wall + now)))
    const taken = now
    now += millis
    // Those that were under way go on until the new one takes over, or end.
    for (const [i, grant] of unanswered.entries()) {
      const going = grant.start !== undefined || (pick + i) % 3 > 0
      if (!going) {
        oracle.grants = oracle.grants.filter((other) => other !== grant)
        for (const hint of oracle.hints) hint.left += grant.cost
      }
      grant.start ??= taken + ((pick % 7) / 7) * millis
      grant.answer ??= Math.max(grant.start, taken + ((pick % 11) / 11) * millis)
    }
    // A window by starts does not see answers: they came when it was taken, at the latest.
    if (counts === "start" && other?.counts === "answer") {
      for (const grant of oracle.grants) {
        if (grant.start! <= taken) grant.answer = grant.start! + length > taken ? taken : grant.start
      }
    }
    // Of a clock that began anew nothing is known but the wall's, and a jump of that forward looks like time passing.
    if (clock === "same") wall += jump
    else {
      wall += Math.min(jump, 0)
      offset = clock === "anew" ? now - 3 : offset - 1e7
      // Nobody can tell a clock that began anew and is not behind from one that has stood still.
      if (clock === "anew" && t() >= snapshot.clockMillis) exact = false
    }
    if (jump < 0) exact = false
    if (other !== null) {
      seen.changed = true
      exact = false
      ;({ burst, counts, length, limit } = other)
      Object.assign(oracle, { limit, length, counts })
      for (const hint of oracle.hints) hint.until = Math.min(hint.until, taken + length)
    }
    book = make()
    book.restore(t(), wall + now, snapshot)
  }

  for (const action of steps) {
    now += action.pause
    oracle.pass(now)
    const { factor, kind, millis, pick } = action
    switch (kind) {
      case "ask": {
        admit(action.cost)
        break
      }
      case "wait": {
        const at = book.opensAt(t(), action.cost)
        if (at > t() && at < t() + 4 * length) now = at + offset
        admit(action.cost)
        break
      }
      case "begin": {
        const grant = choose(
          oracle.grants.filter(({ start }) => start === undefined),
          pick
        )
        if (grant === undefined) break
        book.stamp(t(), grant.cost)
        grant.start = now
        break
      }
      case "cancel": {
        const grant = choose(
          oracle.grants.filter(({ start }) => start === undefined),
          pick
        )
        if (grant === undefined) break
        // It is not told when: where there is a debt, it may have been paid since the last that it was told.
        if (seen.debts > 0) book.statistics(t())
        book.refund(grant.cost)
        oracle.grants = oracle.grants.filter((other) => other !== grant)
        for (const hint of oracle.hints) hint.left += grant.cost
        break
      }
      case "answer": {
        const grant = choose(
          oracle.grants.filter(({ answer, start }) => start !== undefined && answer === undefined),
          pick
        )
        if (grant === undefined) break
        book.answered(t(), grant.cost)
        grant.answer = now
        break
      }
      case "settle": {
        // Across a restart nobody settles: the callers are gone.
        const grant = choose(
          oracle.grants.filter(({ era }) => era === seen.restarts),
          pick
        )
        if (grant === undefined) break
        const actual = grant.cost * factor
        const at = oracle.since(grant)
        const stands = book.settle(t(), at === undefined ? undefined : at - offset, grant.cost, actual)
        expect(stands).toBe(Math.min(grant.cost, actual))
        if (actual < grant.cost) {
          bounds = []
          // What has left the window is spent.
          if (at === undefined || at + length > now + grain) grant.cost = actual
        } else if (actual > grant.cost) {
          seen.debts++
          oracle.debt += actual - grant.cost
          for (const hint of oracle.hints) hint.left -= actual - grant.cost
        }
        break
      }
      case "hint": {
        seen.hints++
        const closed = pick % 3 === 0
        const until = now + Math.min(millis, length)
        const remaining = Math.round(factor * limit)
        book.tighten(t(), closed ? { closedFor: millis } : { remaining, resetsIn: millis })
        // The whole limit for a part of the length says nothing.
        if (closed || remaining < limit)
          oracle.hints.push({ left: closed ? -Infinity : remaining - oracle.pending, until })
        if (oracle.hints.filter((hint) => hint.until > now).length > 6) exact = false
        break
      }
      case "restart": {
        restart(action)
        break
      }
    }
    oracle.pass(now)
    const { debt, pending, used } = book.statistics(t())
    expect(used + pending).toBeLessThanOrEqual(limit * (1 + 1e-9))
    expect(debt + used + pending + 1e-6).toBeGreaterThanOrEqual(
      Math.min(oracle.debt + oracle.used(now) + oracle.pending, limit)
    )
    if (exact) {
      expect(debt).toBeCloseTo(oracle.debt, 6)
      expect(pending).toBeCloseTo(oracle.pending, 6)
      expect(used).toBeCloseTo(oracle.used(now), 6)
    }
  }
  return { ...seen, oracle, now }
}

describe("RateWindow, against the oracle", () => {
  it("is never over in any window, and opens as soon as that allows: 10,000 traces", { timeout: 60_000 }, () => {
    const total = { admitted: 0, restarts: 0, debts: 0, hints: 0, exact: 0, closed: 0 }
    fc.assert(
      fc.property(spec, fc.array(step, { minLength: 10, maxLength: 45, size: "max" }), (first, steps) => {
        const played = play(first, steps)
        for (const key of Object.keys(total) as Array<keyof typeof total>) total[key] += played[key]
        if (played.changed) return
        const { grants, limit, length, payments } = played.oracle
        // As the upstream counts: by starts, or anywhere between start and answer.
        const counted = grants.flatMap(({ answer = played.now, cost, start }, i) => {
          if (start === undefined) return []
          return [
            { at: first.counts === "start" ? start : start + (((i * 7919) % 100) / 100) * (answer - start), cost }
          ]
        })
        const all = [...counted, ...payments]
        for (const { at } of all) {
          const sum = all.reduce(
            (sum, other) => sum + (other.at >= at && other.at + grain < at + length ? other.cost : 0),
            0
          )
          expect(sum).toBeLessThanOrEqual(limit * (1 + 1e-8))
        }
      }),
      { numRuns: 10_000 }
    )
    // The traces do what they are for.
    for (const count of Object.values(total)) expect(count).toBeGreaterThan(4000)
  })
})
