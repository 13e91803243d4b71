/**
 * How the event loop fares: how late it is, how busy, and who holds it.
 *
 *     timer ──▶ delay, utilization, iterations, pauses of the collector ──▶ `statistics`, metrics
 *         └───▶ late for seconds ──▶ `signal`: gates shed, the least urgent first
 *     watchdog thread ──▶ nothing gets on ──▶ function, place, span ──▶ an alarm
 *
 *     The event loop was held for 203 ms by parse (src/report.ts:12), in span GET /report
 *
 * A callback that runs for `alarm` or longer is told with the function that ran, where, for how long, and in which span. Waiting for events, the
 * garbage collector, a machine that did not let us run, and turns of many short callbacks are nobody's, and never told so.
 *
 * Interruption: none of what it does is a caller's. When its scope closes, its timer, its thread and its observers end. It never keeps a process alive.
 *
 * Memory: the samples of ten seconds, ten alarms, and a thread of some 10 MB. In an idle process its timer and its thread wake some forty times
 * a second each.
 *
 * What it does not do: it stops nobody (`CpuPool` runs elsewhere what holds the loop), and tells nothing of where a request's time goes.
 */
import { Registry } from "@fairlead/core"
import type { Gate } from "@fairlead/core"
import { Context, Duration, Effect, Layer, Queue, Tracer } from "effect"
import type { Fiber, Scope } from "effect"
import { executionAsyncId } from "node:async_hooks"
import { performance } from "node:perf_hooks"
import { Alarms, say } from "./internal/alarmed.ts"
import type { Alarm } from "./internal/alarmed.ts"
import * as collections from "./internal/collections.ts"
import { callerOfNative, culprit, stackBelow } from "./internal/frames.ts"
import { deafFor, Holds, isNative, nobody } from "./internal/holds.ts"
import type { Hold } from "./internal/holds.ts"
import { Hunt } from "./internal/hunt.ts"
import { Pauses, rates, Samples } from "./internal/lately.ts"
import type { Delay, Reading } from "./internal/lately.ts"
import * as lost from "./internal/lost.ts"
import * as loopMetrics from "./internal/loopMetrics.ts"
import { Profiler } from "./internal/profile.ts"
import * as runs from "./internal/runs.ts"
import * as shedding from "./internal/shedding.ts"
import * as watchdog from "./internal/watchdog.ts"

export type { Alarm } from "./internal/alarmed.ts"

export interface Options {
  /** A callback that holds the loop for so long is told; `Duration.infinity`: none, and there is no watchdog. Default: 100 ms; 25 ms at the least. */
  readonly alarm?: Duration.Input | undefined
  /** What is done with an alarm. Default: a warning in the log. An equal one is told again after 10 seconds. */
  readonly onAlarm?: ((alarm: Alarm) => Effect.Effect<void>) | undefined
  /**
   * When the loop has stood still for so long, standard error is told where, once, by the watchdog: a loop that never ends is told by no
   * alarm. Default: 5 seconds; `Duration.infinity`: never.
   */
  readonly stuck?: Duration.Input | undefined
  /**
   * Whether a CPU profile runs, which names native functions, too (`JSON.parse`): never, for a minute after native code has held the loop, or
   * always. While it runs, everything costs 5 to 10 % more. Default: `afterNative`.
   */
  readonly profile?: "never" | "afterNative" | "always" | undefined
  /** Keeps the figures as metrics, too: `nodejs.eventloop.*` and `v8js.gc.duration`. Default: false. */
  readonly metrics?: boolean | undefined
  /** When the loop is overloaded, for `statistics` and for signals that do not say. */
  readonly overload?: Overload | undefined
}

export interface Overload {
  /** Timers later than this, in one of ten cases over half a second. Default: 50 ms. */
  readonly above?: Duration.Input | undefined
  /** Over when they are not later than this, and the loop has a tenth of its time to spare. Default: 20 ms. */
  readonly below?: Duration.Input | undefined
}

/** Of the last ten seconds, but for the alarms. Plain data. */
export interface Statistics {
  /** Which part of the time the loop did not wait for events: 0 to 1. 1 is no overload by itself. */
  readonly utilization: number
  /** How late timers were. */
  readonly delayMillis: Delay
  readonly iterationsPerSecond: number
  readonly eventsPerIteration: number
  readonly gc: { readonly pauses: number; readonly totalMillis: number; readonly maxMillis: number }
  readonly overloaded: boolean
  /** The latest ten that differ. */
  readonly alarms: ReadonlyArray<Alarm>
}

export interface EventLoopMonitor {
  readonly statistics: Effect.Effect<Statistics>
  /** See `signal`. */
  readonly signal: (overload?: Overload) => Gate.Signal
}

/** Watches the event loop of this thread for as long as the scope lives; the registry has it as `loop`. */
export const make = (options: Options = {}): Effect.Effect<EventLoopMonitor, never, Scope.Scope> =>
  Effect.gen(function* () {
    const context = yield* Effect.context<never>()
    const told = yield* Queue.sliding<Alarm>(16)
    const alarmMillis = checked(millisOf(options.alarm ?? 100))
    const monitor = yield* Effect.acquireRelease(
      Effect.sync(() => new Monitor(options, alarmMillis, context, (alarm) => Queue.offerUnsafe(told, alarm))),
      (monitor) => Effect.promise(() => monitor.close())
    )
    const onAlarm = options.onAlarm ?? ((alarm: Alarm) => Effect.logWarning(say(alarm)))
    yield* Queue.take(told).pipe(
      Effect.flatMap((alarm) => Effect.ignoreCause(onAlarm(alarm))),
      Effect.forever,
      Effect.forkScoped
    )
    yield* Registry.register("loop", "event loop", () => monitor.snapshot())
    return monitor
  })

/** The monitor of a program, for the modules that shed by it. */
export class Service extends Context.Service<Service, EventLoopMonitor>()("@fairlead/platform-node/EventLoopMonitor") {}

export const layer = (options: Options = {}): Layer.Layer<Service> => Layer.effect(Service, make(options))

/**
 * For `Gate.Options.protect.shed`: while the loop is overloaded, calls are shed, those of urgency 7 first, then 6 …, one level each half
 * second; those of urgency 0 never. They come back likewise, two seconds apart at first, and slower where that proves wrong.
 */
export const signal = (monitor: EventLoopMonitor, overload?: Overload): Gate.Signal => monitor.signal(overload)

/** The shortest hold that can be told: looks take a millisecond each, and a timer is never quite in time. */
export const leastAlarmMillis = 25

const checked = (alarmMillis: number): number => {
  if (alarmMillis >= leastAlarmMillis) return alarmMillis
  throw new RangeError(`Expected an alarm of ${leastAlarmMillis} ms at the least, got ${alarmMillis} ms`)
}

const millisOf = (input: Duration.Input) => Duration.toMillis(Duration.fromInputUnsafe(input))

const marksOf = ({ above = 50, below = 20 }: Overload = {}): shedding.Marks => {
  const marks = { aboveMillis: millisOf(above), belowMillis: millisOf(below) }
  if (marks.belowMillis <= marks.aboveMillis) return marks
  throw new RangeError(`Expected below to be at most above, got ${marks.belowMillis} ms and ${marks.aboveMillis} ms`)
}

const lookEveryMillis = 500
const keepMillis = 10_000

type AnyFiber = Fiber.Fiber<unknown, unknown>

const spanOf = (fiber: AnyFiber): string | null => {
  const span = Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
  return span?._tag === "Span" ? span.name : null
}

const cpuMillis = () => {
  // The other threads of a process do next to nothing beside a busy loop; and Node counts each by itself since 23.9.
  const { system, user } = (process.threadCpuUsage ?? process.cpuUsage).call(process)
  return (user + system) / 1000
}

const idleMillis = () => performance.eventLoopUtilization().idle

/** Where nobody counts it: neither on the CPU nor waiting for events. So a call that waits (`execFileSync`) is taken for it, too. */
const missing = () => performance.now() - idleMillis() - cpuMillis()

class Shedder implements Gate.Signal {
  readonly name = "the event loop is overloaded"
  private state = shedding.initial
  private readonly marks: shedding.Marks

  constructor(marks: shedding.Marks) {
    this.marks = marks
  }

  readonly urgency = () => this.state.urgency

  saw(measure: shedding.Measure): void {
    this.state = shedding.decide(this.state, measure, this.marks)
  }
}

class Monitor implements EventLoopMonitor {
  private readonly context: Context.Context<never>
  private readonly metrics: boolean
  private readonly tell: (alarm: Alarm) => void
  private readonly usual: Overload | undefined
  private readonly everyMillis: number
  private readonly delays: Samples
  private readonly pauses = new Pauses(keepMillis)
  private readonly alarms = new Alarms()
  private readonly shedders: Array<Shedder> = []
  private readonly own: Shedder
  /** One for each look, oldest first; of the last ten seconds. */
  private readings: ReadonlyArray<Reading>
  private readonly watching: Watching | undefined
  private readonly unobserve: () => void
  private readonly timer: NodeJS.Timeout
  private due: number
  private ticks = 0

  constructor(options: Options, alarmMillis: number, context: Context.Context<never>, tell: (alarm: Alarm) => void) {
    this.context = context
    this.metrics = options.metrics === true
    this.tell = tell
    this.usual = options.overload
    this.own = this.signal()
    this.everyMillis = Math.min(25, Math.max(5, Math.floor(alarmMillis / 4)))
    this.delays = new Samples(Math.ceil(keepMillis / this.everyMillis))
    this.readings = [read()]
    this.unobserve = collections.observe((start, millis, kind) => {
      this.pauses.add({ start, millis })
      if (this.metrics) loopMetrics.collected(kind, millis, this.context)
    })
    this.watching =
      alarmMillis === Infinity
        ? undefined
        : new Watching(alarmMillis, this.everyMillis, millisOf(options.stuck ?? 5000), options.profile ?? "afterNative")
    this.due = performance.now() + this.everyMillis
    this.timer = setInterval(this.tick, this.everyMillis).unref()
  }

  readonly statistics = Effect.sync(() => this.snapshot())

  readonly signal = (overload?: Overload): Shedder => {
    const shedder = new Shedder(marksOf({ ...this.usual, ...overload }))
    this.shedders.push(shedder)
    return shedder
  }

  snapshot(): Statistics {
    const now = read()
    return {
      ...rates(this.readings[0]!, now),
      delayMillis: this.delays.delay(),
      gc: this.pauses.statistics(now.at),
      overloaded: this.own.urgency() < shedding.none,
      alarms: this.alarms.latest
    }
  }

  close(): Promise<void> {
    clearInterval(this.timer)
    this.unobserve()
    return this.watching?.stop() ?? Promise.resolve()
  }

  private readonly tick = (): void => {
    const now = performance.now()
    this.delays.add(Math.max(0, now - this.due))
    this.due = now + this.everyMillis
    for (const hold of this.watching?.tick(now, this.pauses) ?? []) {
      const { alarm, tell } = this.alarms.add(hold, performance.timeOrigin + hold.end)
      if (tell) this.tell(alarm)
    }
    this.ticks++
    const last = this.readings.at(-1)!
    if (now - last.at >= lookEveryMillis) this.look(last)
  }

  private look(last: Reading): void {
    const now = read()
    const { utilization } = rates(last, now)
    const { p90 } = this.delays.delay(this.ticks)
    this.ticks = 0
    for (const shedder of this.shedders) shedder.saw({ delayMillis: p90, utilization })
    this.readings = [...this.readings.filter(({ at }) => now.at - at < keepMillis), now]
    this.pauses.forget(now.at)
    if (!this.metrics) return
    const activeMillis = now.active - last.active
    const idleMillis = now.at - last.at - activeMillis
    loopMetrics.update({ delayMillis: this.delays.delay(), utilization, activeMillis, idleMillis }, this.context)
  }
}

const read = (): Reading => {
  const { active } = performance.eventLoopUtilization()
  const { events, loopCount } = performance.nodeTiming.uvMetricsInfo
  return { at: performance.now(), active, iterations: loopCount, events }
}

/** Who holds the loop: marks from the fibers and the timer, looks from the watchdog. */
class Watching {
  private readonly dog: watchdog.Watchdog
  private readonly holds: Holds<AnyFiber>
  private readonly hunt: Hunt
  private readonly lost = lost.open(missing)
  private readonly unobserve: () => void
  private readonly cwd = process.cwd()
  private running: AnyFiber | undefined
  /** When the watchdog began to watch: before that it can name nobody, and that is the start of the program. */
  private since = Infinity

  constructor(alarmMillis: number, everyMillis: number, stuckMillis: number, profile: NonNullable<Options["profile"]>) {
    this.dog = watchdog.start({ everyMillis, patienceMillis: alarmMillis * 0.4, stuckMillis, look: this.look })
    const meter = {
      now: () => performance.now(),
      idle: idleMillis,
      cpu: cpuMillis,
      lost: this.lost.read,
      missed: () => this.dog.missedMillis
    }
    this.hunt = new Hunt(profile, () => new Profiler(Math.min(10, alarmMillis / 10)), this.cwd)
    this.holds = new Holds(meter, alarmMillis, spanOf)
    this.unobserve = runs.observe((from, to) => {
      this.running = to
      const stoodMillis = this.dog.beat()
      if (stoodMillis > 0) this.holds.switched(from, stoodMillis, performance.now())
    })
  }

  tick(now: number, pauses: Pauses): ReadonlyArray<Hold> {
    const held = this.holds.tick(this.dog.beat(), now, (from, to) => pauses.between(from, to))
    if (this.dog.watches) this.since = Math.min(this.since, now)
    const named = held.filter(({ end, millis }) => end - millis >= this.since).map((hold) => this.hunt.name(hold, now))
    this.hunt.tick(now)
    // What the monitor itself has done since is nobody's.
    this.dog.beat()
    this.holds.excuse()
    return named
  }

  async stop(): Promise<void> {
    this.unobserve()
    this.hunt.stop()
    this.lost.close()
    await this.dog.stop()
  }

  private readonly look = (lateMillis: number, lostThen: number | undefined): string => {
    const deaf = deafFor(lateMillis, lostThen, this.lost.read())
    const stack = stackBelow(watchdog.askedBy)
    const found = isNative(deaf) ? (callerOfNative(stack, this.cwd) ?? nobody) : culprit(stack, this.cwd)
    // Nothing runs: the loop waits, and its timer is late; or a promise is between two steps.
    if (found === undefined) return ""
    const span = this.running === undefined ? null : spanOf(this.running)
    this.holds.looked({ ...found, callback: executionAsyncId(), span, lateMillis: deaf })
    return `${found.function} (${found.place})${span === null ? "" : `, in span ${span}`}`
  }
}
