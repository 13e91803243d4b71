/**
 * A discrete-event simulation of an upstream behind a `ConcurrencyLimit`: its own virtual time, all chance from a seed,
 * no clock and no Effect.
 *
 *     callers ──► limit ──► upstream: `capacity` at a time, each for a service time ──► Sample ──► limit.step
 *
 * Three upstreams, by their latency curve (n: how many it has, c: its capacity, s: a service time):
 *
 *     slots      c servers and a queue, first come first served (G/G/c): s while n ≤ c, beyond that s·n/c
 *     shared     one server that all share: s · max(1, n/c) from the first moment on, for s and n as the call comes
 *     refusing   always s; one that comes when it has c already is refused after a tenth of s (`overload`)
 */
import type { ConcurrencyLimit } from "@fairlead/core"

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export const randomOf = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

type Random = () => number

/** Service times, of a mean of `mean`. */
export const service = {
  /** Evenly spread by `part` of it to both sides. */
  even:
    (mean: number, part = 0.1) =>
    (random: Random) =>
      mean * (1 + part * (2 * random() - 1)),
  /** As if without memory: many short ones, few long ones. */
  exponential: (mean: number) => (random: Random) => -mean * Math.log(1 - random()),
  /** Four exponential stages (Erlang-4): their standard deviation is half of the mean. */
  erlang4: (mean: number) => (random: Random) =>
    (-mean * Math.log((1 - random()) * (1 - random()) * (1 - random()) * (1 - random()))) / 4,
  /** `part` of all take `times` as long. */
  outliers: (of: (random: Random) => number, part: number, times: number) => (random: Random) =>
    of(random) * (random() < part ? times : 1)
}

export interface Options {
  readonly seed: number
  readonly seconds: number
  readonly upstream: "slots" | "shared" | "refusing"
  /** What it can do at a time, at a moment in seconds. Calls it has begun it ends. */
  readonly capacity: (second: number) => number
  /** How long one call takes without others, in milliseconds. */
  readonly service: (random: Random, second: number) => number
  /** How many come a second, at random (Poisson); they wait in line. Default: as many as the limit lets in. */
  readonly offered?: ((second: number) => number) | undefined
}

export interface Report {
  /** The limit, in whole permits, at every tenth of a second. */
  readonly limits: ReadonlyArray<number>
  /** How many the upstream refused. */
  readonly refused: number
  /** What the limit was on average in each second from one to another. */
  seconds(from: number, to: number): ReadonlyArray<number>
  /** How many ended well, a second, from one second to another. */
  rate(from: number, to: number): number
  /** How long those took on average, in milliseconds. */
  latency(from: number, to: number): number
}

interface Event {
  readonly at: number
  readonly call: Call | undefined
}

interface Call {
  readonly began: number
  readonly refused: boolean
}

/** A binary heap of events, the earliest first. */
class Events {
  private readonly heap: Array<Event> = []

  get next(): Event | undefined {
    return this.heap[0]
  }

  push(event: Event): void {
    const { heap } = this
    let i = heap.push(event) - 1
    while (i > 0) {
      const up = (i - 1) >> 1
      if (heap[up]!.at <= event.at) break
      heap[i] = heap[up]!
      i = up
    }
    heap[i] = event
  }

  shift(): void {
    const { heap } = this
    const last = heap.pop()!
    if (heap.length === 0) return
    let i = 0
    for (let down = 1; down < heap.length; down = 2 * i + 1) {
      if (down + 1 < heap.length && heap[down + 1]!.at < heap[down]!.at) down++
      if (heap[down]!.at >= last.at) break
      heap[i] = heap[down]!
      i = down
    }
    heap[i] = last
  }
}

const tick = 100

export const simulate = <S extends ConcurrencyLimit.State>(
  limit: ConcurrencyLimit.ConcurrencyLimit<S>,
  options: Options
): Report => {
  const random = randomOf(options.seed)
  const events = new Events()
  const limits: Array<number> = []
  const done: Array<number> = []
  const spent: Array<number> = []
  let state = limit.initial
  let now = 0
  let inFlight = 0
  let line = 0
  let serving = 0
  let refused = 0
  let doneNow = 0
  let spentNow = 0
  /** Calls that the upstream has queued, from `queueHead` on. */
  let queue: Array<Call> = []
  let queueHead = 0

  const serve = (call: Call, stretch = 1) => {
    serving++
    events.push({ at: now + stretch * options.service(random, now / 1000), call })
  }

  const start = () => {
    inFlight++
    const capacity = options.capacity(now / 1000)
    const full = serving >= capacity
    const call = { began: now, refused: options.upstream === "refusing" && full }
    if (options.upstream === "slots" && full) queue.push(call)
    else if (call.refused) events.push({ at: now + options.service(random, now / 1000) / 10, call })
    else serve(call, options.upstream === "shared" ? Math.max(1, inFlight / capacity) : 1)
  }

  const admit = () => {
    while (inFlight < Math.floor(state.limit) && (options.offered === undefined || line > 0)) {
      line--
      start()
    }
  }

  const end = (call: Call) => {
    if (call.refused) refused++
    else {
      serving--
      doneNow++
      spentNow += now - call.began
    }
    const verdict = call.refused ? "overload" : "ok"
    state = limit.step(state, { now, latencyMillis: now - call.began, inFlight, verdict })
    inFlight--
    while (queueHead < queue.length && serving < options.capacity(now / 1000)) serve(queue[queueHead++]!)
    if (queueHead > 1000) {
      queue = queue.slice(queueHead)
      queueHead = 0
    }
  }

  const arrive = () => {
    const rate = options.offered!(now / 1000)
    line++
    events.push({ at: now + service.exponential(1000 / rate)(random), call: undefined })
  }

  if (options.offered !== undefined) arrive()
  while (now < options.seconds * 1000) {
    admit()
    const event = events.next!
    while (limits.length * tick < event.at && limits.length * tick < options.seconds * 1000) {
      limits.push(Math.floor(state.limit))
      done.push(doneNow)
      spent.push(spentNow)
      doneNow = 0
      spentNow = 0
    }
    now = event.at
    events.shift()
    if (event.call === undefined) arrive()
    else end(event.call)
  }

  const sum = (values: ReadonlyArray<number>, from: number, to: number) =>
    values.slice(from * 10, to * 10).reduce((total, value) => total + value, 0)
  return {
    limits,
    refused,
    seconds: (from, to) => Array.from({ length: to - from }, (_, i) => sum(limits, from + i, from + i + 1) / 10),
    rate: (from, to) => sum(done, from, to) / (to - from),
    latency: (from, to) => sum(spent, from, to) / sum(done, from, to)
  }
}

export const mean = (values: ReadonlyArray<number>): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length
