/**
 * Watches how much memory the process has left, and makes its work do with less before there is none.
 *
 *     heap: live ÷ limit ─┐
 *     RSS ÷ max           ├─ the fullest ─▶ tight from 75 %, critical from 90 % ─▶ Pressure ─▶ shorter lines, smaller batches,
 *     cgroup: used ÷ limit┘                                                          │          fewer idle connections
 *                                                                                    └─▶ signal ─▶ gates that heed it shed
 *     ByteBudget: what lines and bodies hold together ─▶ no room: refused, or done without memory
 *
 * `layer` provides both, `Pressure` and `ByteBudget`: what is made in its region heeds them. `make` gives them as values.
 *
 * What counts of the heap is what was live after the last collection of all of it: right before one, half of what is used may be garbage, and
 * all is well. Before the first collection it is what is used.
 *
 * It looks after a collection (where nothing is allocated nothing is collected, and nothing grows), once a second at most while there is
 * plenty; and every 10 s in any case, since buffers, addons and other processes of the control group grow without one. Near a mark it is
 * ten times as often. So an idle process wakes once in 10 s. A look takes some 50 µs.
 *
 * Each change of the level is one line in the log. When its scope closes it is calm. It frees nothing itself, and takes no heap snapshots.
 */
import { Clock, Context, Effect, Layer, Metric } from "effect"
import type { ByteSize, Scope } from "effect"
import { ByteBudget, Pressure, Registry } from "@fairlead/core"
import type { Gate } from "@fairlead/core"
import { ofProcess } from "./internal/readings.ts"
import type * as readings from "./internal/readings.ts"
import * as bytes from "./internal/bytes.ts"

export type Reading = readings.Reading
export type Readings = readings.Readings

export interface Options {
  /** What the registry and those who are shed call it. Default: `memory`. */
  readonly name?: string | undefined
  /** How much the process may take in all (its RSS). Default: what the control group allows, or else what the machine has. */
  readonly max?: ByteSize.Input | undefined
  /** From which part of what there is on it is tight; 0.75. */
  readonly tight?: number | undefined
  /** From which on it is critical; 0.9. */
  readonly critical?: number | undefined
  /** How much lines and bodies hold together; see `ByteBudget`. Default: a quarter of `max`. */
  readonly budget?: ByteSize.Input | undefined
  /** What the levels mean, where that is not what is usual; see `Pressure`. */
  readonly reactions?: Parameters<typeof Pressure.make>[1] | undefined
  /** Who reads the process. Default: by Node. */
  readonly readings?: Readings | undefined
}

export interface MemoryGuard {
  readonly name: string
  readonly pressure: Pressure.Pressure
  readonly budget: ByteBudget.ByteBudget
  /** For `Gate.Options.protect.shed`: at `critical` sheds the least urgent. */
  readonly signal: Gate.Signal
  /** Runs `self` with its pressure and its budget. */
  readonly provide: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** One consistent snapshot. */
  readonly statistics: Effect.Effect<Statistics>
}

/** The guard of the program. */
export const MemoryGuard: Context.Service<MemoryGuard, MemoryGuard> = Context.Service<MemoryGuard, MemoryGuard>(
  "@fairlead/platform-node/MemoryGuard"
)

/** One consistent snapshot; plain data. */
export interface Statistics {
  readonly level: Pressure.Level
  /** What is fullest, and how full: a part from 0 to 1. */
  readonly fullest: Fullest
  readonly heapUsedBytes: number
  /** After the last collection of all of the heap. */
  readonly heapLiveBytes: number
  readonly heapLimitBytes: number
  readonly rssBytes: number
  readonly externalBytes: number
  /** What the RSS is held against, or the control group's limit where that is less; `null` where it is all of the machine. */
  readonly limitBytes: number | null
  /** What all processes of the control group use; `null` where it has no limit. */
  readonly groupBytes: number | null
  /** How often the level has changed. */
  readonly changes: number
  readonly budget: { readonly limitBytes: number; readonly usedBytes: number; readonly refused: number }
}

export interface Fullest {
  readonly of: "heap" | "rss" | "cgroup"
  readonly part: number
}

/** What is fullest of a reading in which so much of the heap is live. Pure. */
export const fullest = (reading: Reading, heapLiveBytes: number, maxBytes: number): Fullest => {
  const { groupBytes, heapLimitBytes, limitBytes, rssBytes } = reading
  const all: ReadonlyArray<Fullest> = [
    { of: "heap", part: heapLiveBytes / heapLimitBytes },
    { of: "rss", part: rssBytes / maxBytes },
    { of: "cgroup", part: groupBytes === null || limitBytes === null ? 0 : groupBytes / limitBytes }
  ]
  return all.reduce((most, one) => (one.part > most.part ? one : most))
}

/** How far below a mark a level ends. */
const margin = 0.05

/** How far below the first mark it looks more often. */
const near = 0.1

const rarelyMillis = 10_000
const oftenMillis = 1_000

/** How long it may be until the next look in any case; after a collection a tenth of that. Pure. */
export const intervalMillis = (part: number, { tight }: Pressure.Marks): number =>
  part >= tight - near ? oftenMillis : rarelyMillis

const heapUsed = Metric.gauge("v8js.memory.heap.used", {
  description: "On the heap, garbage included",
  attributes: { unit: "By" }
})
const heapLimit = Metric.gauge("v8js.memory.heap.limit", {
  description: "What the heap may grow to",
  attributes: { unit: "By" }
})
const rss = Metric.gauge("process.memory.usage", { description: "The resident set size", attributes: { unit: "By" } })

interface Parts {
  readonly readings: Readings
  readonly budget: ByteBudget.ByteBudget
  readonly pressure: Pressure.Settable
  readonly marks: Pressure.Marks
  readonly maxBytes: number | undefined
  readonly clock: Clock.Clock
  readonly context: Context.Context<never>
}

class Guard implements MemoryGuard {
  readonly name: string
  private readonly parts: Parts
  private reading: Reading
  /** After the last collection of all of the heap. */
  private live: number | undefined = undefined
  private fullest: Fullest
  private changes = 0
  /** When it looked last, and how long it may be until it looks again. */
  private lookedAt = 0
  private interval = rarelyMillis
  /** What is to be logged. */
  private said: Array<Effect.Effect<void>> = []
  private wakeUp: (() => void) | undefined = undefined

  constructor(name: string, parts: Parts) {
    this.name = name
    this.parts = parts
    this.reading = parts.readings.read()
    this.fullest = this.measure()
    this.provide = this.provide.bind(this)
  }

  get pressure(): Pressure.Pressure {
    return this.parts.pressure
  }

  get budget(): ByteBudget.ByteBudget {
    return this.parts.budget
  }

  get signal(): Gate.Signal {
    return Pressure.signal(this.parts.pressure)
  }

  provide<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return self.pipe(
      Effect.provideService(Pressure.Pressure, this.parts.pressure),
      Effect.provideService(ByteBudget.ByteBudget, this.parts.budget)
    )
  }

  get statistics(): Effect.Effect<Statistics> {
    return Effect.sync(() => this.snapshot())
  }

  snapshot(): Statistics {
    const { changes, fullest, live, parts, reading } = this
    const { externalBytes, groupBytes, heapLimitBytes, heapUsedBytes, limitBytes, rssBytes } = reading
    const { limitBytes: budgetBytes, refused, usedBytes } = Effect.runSync(parts.budget.statistics)
    return {
      level: parts.pressure.level,
      fullest,
      heapUsedBytes,
      heapLiveBytes: live ?? heapUsedBytes,
      heapLimitBytes,
      rssBytes,
      externalBytes,
      limitBytes: least(parts.maxBytes, limitBytes),
      groupBytes,
      changes,
      budget: { limitBytes: budgetBytes, usedBytes, refused }
    }
  }

  /** Looks for ever: when it is time to, and when somebody wakes it. */
  get watch(): Effect.Effect<never> {
    const rest = Effect.suspend(() =>
      Effect.raceFirst(
        Effect.sleep(this.interval),
        Effect.callback<void>((resume) => {
          this.wakeUp = () => resume(Effect.void)
          // It may have been told on its way here.
          if (this.said.length > 0) resume(Effect.void)
        })
      )
    )
    const look = Effect.suspend(() => {
      if (this.now - this.lookedAt >= this.interval / 10) this.look()
      const { said } = this
      this.said = []
      return Effect.all(said, { discard: true })
    })
    return Effect.forever(Effect.andThen(rest, look))
  }

  /** Some garbage was collected. */
  readonly collected = (major: boolean): void => {
    if (!major && this.now - this.lookedAt < this.interval / 10) return
    const { interval } = this
    this.look(major)
    if (this.said.length > 0 || this.interval < interval) this.wakeUp?.()
  }

  private get now(): number {
    return Number(this.parts.clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  look(major = false): void {
    const { context, marks, pressure, readings } = this.parts
    this.lookedAt = this.now
    this.reading = readings.read()
    const { heapLimitBytes, heapUsedBytes, rssBytes } = this.reading
    if (major) this.live = heapUsedBytes
    heapUsed.updateUnsafe(heapUsedBytes, context)
    heapLimit.updateUnsafe(heapLimitBytes, context)
    rss.updateUnsafe(rssBytes, context)
    this.fullest = this.measure()
    this.interval = intervalMillis(this.fullest.part, marks)
    const before = pressure.level
    if (!pressure.set(Pressure.next(before, this.fullest.part, marks))) return
    this.changes++
    const text = `${this.name} is ${pressure.level}, and was ${before}: ${this.numbers}`
    this.said.push(pressure.level === "calm" ? Effect.logInfo(text) : Effect.logWarning(text))
  }

  private measure(): Fullest {
    const { live, parts, reading } = this
    // What is used can have got less than what was live.
    const heapLiveBytes = Math.min(live ?? Infinity, reading.heapUsedBytes)
    return fullest(reading, heapLiveBytes, parts.maxBytes ?? reading.limitBytes ?? reading.machineBytes)
  }

  private get numbers(): string {
    const { budget, groupBytes, heapLimitBytes, heapLiveBytes, rssBytes } = this.snapshot()
    const { limitBytes, machineBytes } = this.reading
    const group = groupBytes === null ? [] : [`cgroup ${of(groupBytes, limitBytes!)}`]
    return [
      `heap ${of(heapLiveBytes, heapLimitBytes)}`,
      `RSS ${of(rssBytes, this.parts.maxBytes ?? limitBytes ?? machineBytes)}`,
      ...group,
      `budget ${of(budget.usedBytes, budget.limitBytes)}`
    ].join(", ")
  }
}

const of = (bytes: number, limit: number): string =>
  `${Math.round((bytes / limit) * 100)} % of ${Math.round(limit / 1024 / 1024)} MiB`

const least = (a: number | undefined, b: number | null): number | null =>
  a === undefined ? b : b === null ? a : Math.min(a, b)

/** A guard that watches for as long as the scope lives. What is to heed it is given its `pressure` and its `budget`: see `provide`, or `layer`. */
export const make = (options: Options = {}): Effect.Effect<MemoryGuard, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { critical = 0.9, max, name = "memory", reactions, readings = ofProcess(), tight = 0.75 } = options
    const marks = { tight: mark("tight", tight), critical: mark("critical", critical), margin }
    if (!(tight < critical)) throw new RangeError(`Expected tight to be less than critical (${critical}), got ${tight}`)
    const maxBytes = max === undefined ? undefined : atLeastOne("max", max)
    const { limitBytes, machineBytes } = readings.read()
    const budgetBytes =
      options.budget === undefined
        ? Math.ceil((maxBytes ?? limitBytes ?? machineBytes) / 4)
        : atLeastOne("budget", options.budget)
    const budget = yield* ByteBudget.make(`${name} budget`, { max: budgetBytes })
    const pressure = Pressure.make(name, reactions)
    const clock = yield* Clock.Clock
    const context = yield* Effect.context<never>()
    const guard = new Guard(name, { readings, budget, pressure, marks, maxBytes, clock, context })
    yield* Effect.acquireRelease(
      Effect.sync(() => readings.onCollection(guard.collected)),
      (end) =>
        Effect.sync(() => {
          end()
          pressure.set("calm")
        })
    )
    yield* Registry.register("memory", name, () => guard.snapshot())
    guard.look()
    yield* Effect.forkScoped(guard.watch)
    return guard
  })

const mark = (what: string, part: number): number => {
  if (part > 0 && part <= 1) return part
  throw new RangeError(`Expected ${what} to be above 0 and at most 1, got ${part}`)
}

const atLeastOne = (what: string, input: ByteSize.Input): number => {
  const value = bytes.from(input)
  if (value >= 1) return value
  throw new RangeError(`Expected ${what} of at least 1 byte, got ${value}`)
}

/** A guard, and its pressure and its budget for all that is made in the region that the layer is provided to. */
export const layer = (options: Options = {}): Layer.Layer<MemoryGuard> =>
  Layer.effectContext(
    Effect.map(make(options), (guard) =>
      Context.make(MemoryGuard, guard).pipe(
        Context.add(Pressure.Pressure, guard.pressure),
        Context.add(ByteBudget.ByteBudget, guard.budget)
      )
    )
  )
