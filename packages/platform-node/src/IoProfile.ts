/**
 * Where the time of requests and jobs goes: running, or waiting, and for what.
 *
 *     profile.task(work, "GET /orders")          ├── run ──┼─ gate ─┼─ connect ─┼── first byte ──┼─ run ─┼─ sleep ─┤
 *                                                  │
 *                                                  ├─► totals by route · the slowest lately · metrics
 *                                                  └─► a tree of spans: a flame graph, as wide as the time
 *
 * The time of a task is parted without gaps and overlaps: while one of its fibers runs it is `running`, else it waits for what counts most of
 * all that its fibers wait for (`kinds` has the order). Fairlead's waits say by themselves what they are for, and so do `NodeTransport`'s; a
 * `sleep` of Effect is told, others by `Wait.on`; what is not known is `other`.
 *
 * A fiber belongs to the task in which it was forked, for as long as that goes on. A task within another counts there, too. Work that serves
 * many (a batch, a shared call) is nobody's: they wait for it.
 *
 * It changes nothing: interruption, outcome and order are the effect's own. It costs something for every fiber of the process while its
 * scope is open, and nothing before and after. One at a time: of two, each sees its own tasks alone.
 */
import { Clock, Context, Effect, Layer, Tracer } from "effect"
import type { Fiber, Scope } from "effect"
import { dual } from "effect/Function"
import { Registry, Wait } from "@fairlead/core"
import * as disguise from "./internal/disguise.ts"
import { kinds as all, runs as running, states as allStates } from "./internal/meter.ts"
import { Profiler } from "./internal/profiler.ts"
import type { Task } from "./internal/profiler.ts"
import { Routes } from "./internal/routes.ts"
import type { Route } from "./internal/routes.ts"
import * as runs from "./internal/runs.ts"
import { Soon } from "./internal/seconds.ts"
import { Slowest } from "./internal/slowest.ts"
import type { Timed } from "./internal/slowest.ts"
import * as speedscope from "./internal/speedscope.ts"
import type { FiberTimes } from "./internal/tracks.ts"
import * as table_ from "./internal/profileTable.ts"

/** What is waited for, innermost first: of several waits at once, the first in this row counts. */
export const kinds: ReadonlyArray<Wait.Kind> = all

export interface Options {
  /** What the registry calls it. Default: `tasks`. */
  readonly name?: string | undefined
  /** How many names of tasks are told apart; those beyond are one, `…`. Default: 100. */
  readonly maxRoutes?: number | undefined
  /** How many of the slowest tasks of the last five minutes are kept. Default: 20. */
  readonly maxSlowest?: number | undefined
  /** Whether the slowest tasks tell what each of their fibers has spent; it costs something for each fiber. Default: true. */
  readonly fibers?: boolean | undefined
  /** How many spans of the tree are told apart; beyond, the time of a span is its parent's. Default: 2,000. */
  readonly maxSpans?: number | undefined
}

/** Where time went. */
export interface Spent {
  readonly runningMillis: number
  /** Kinds without any are left out. */
  readonly waitingMillis: { readonly [kind in Wait.Kind]?: number }
}

/** All tasks of one name that have ended. */
export interface RouteStatistics extends Spent {
  readonly name: string
  readonly count: number
  /** Of all of them together. Running and waiting come to this. */
  readonly millis: number
  /** Lately; `null` where none has ended. */
  readonly p50Millis: number | null
  readonly p99Millis: number | null
}

/** One task that has ended. */
export interface TaskStatistics extends Spent {
  readonly id: string
  readonly name: string
  readonly millis: number
  /** How long ago it ended. */
  readonly agoMillis: number
  /** Of its fibers, 16 at most, where it had several: the time of each from its first run in the task on. */
  readonly fibers?: ReadonlyArray<Spent & { readonly id: number }>
}

/** One consistent snapshot; plain data. */
export interface Statistics {
  /** How many go on. */
  readonly tasks: number
  /** Those that took most time first. */
  readonly routes: ReadonlyArray<RouteStatistics>
  /** Of the last five minutes; the slowest first. */
  readonly slowest: ReadonlyArray<TaskStatistics>
}

/** A file for https://www.speedscope.app. */
export type Speedscope = speedscope.File

/** What a task is about at any time. */
export type State = "running" | Wait.Kind

/** In the order of `Times`. */
export const states: ReadonlyArray<State> = allStates

/** Milliseconds in each of `states`. */
export type Times = ReadonlyArray<number>

/** A task that goes on. */
export interface Running {
  /** Up to now; written on while it goes on, for who wants it cheap. */
  times(): Times
  /** Ends it; gives what it came to. Only the first call counts. */
  end(): Times
}

/** Where time went, of times. */
export const spent = (times: Times): Spent => {
  const waitingMillis: { [kind in Wait.Kind]?: number } = {}
  for (let i = 0; i < all.length; i++) {
    const millis = times[i + 1]!
    if (millis > 0) waitingMillis[all[i]!] = millis
  }
  return { runningMillis: times[running]!, waitingMillis }
}

export interface TaskOptions {
  /** What it is called among the slowest. Default: a number. */
  readonly id?: string | undefined
}

export interface IoProfile {
  readonly name: string
  /** Measures `self` as a task of this name. */
  readonly task: {
    (name: string, options?: TaskOptions): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
    <A, E, R>(self: Effect.Effect<A, E, R>, name: string, options?: TaskOptions): Effect.Effect<A, E, R>
  }
  /**
   * For servers, whose calls are regions already: from now until its `end` the region that `fiber` is in, which runs now, is a task. Spans
   * are known where the fiber suspends, and Effect's sleeps are `other`. Outside of any region only what the fiber runs is known.
   */
  readonly beginUnsafe: (fiber: Fiber.Fiber<unknown, unknown>, name: string, id?: string) => Running
  readonly statistics: Effect.Effect<Statistics>
  /** The tree of spans so far, with those of tasks that go on: a profile for each route, whose width is the time of its tasks. */
  readonly speedscope: Effect.Effect<Speedscope>
}

/** The profile of the program. */
export class Service extends Context.Service<Service, IoProfile>()("@fairlead/platform-node/IoProfile") {}

/** Measures for as long as the scope is open. Dies where fibers of this Effect cannot be observed. */
export const make = (options: Options = {}): Effect.Effect<IoProfile, never, Scope.Scope> =>
  Effect.gen(function* () {
    const context = (yield* Effect.context<never>()) as Context.Context<never>
    const profile = new Impl(options, context)
    yield* Effect.acquireRelease(
      Effect.sync(() => runs.observe(profile.profiler.switched)),
      (stop) => Effect.sync(() => profile.close(stop))
    )
    yield* Registry.register("profile", profile.name, profile.read)
    // The run that goes on began unobserved.
    yield* Effect.yieldNow
    return profile
  })

export const layer = (options: Options = {}): Layer.Layer<Service> => Layer.effect(Service, make(options))

/** Measures `self` as a task of this name, where the program has a profile; else it is `self`. */
export const task: {
  (name: string, options?: TaskOptions): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string, options?: TaskOptions): Effect.Effect<A, E, R>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string, options?: TaskOptions) =>
    Effect.flatMap(Effect.serviceOption(Service), (profile) =>
      profile._tag === "None" ? self : profile.value.task(self, name, options)
    )
)

/** What is wrong with a snapshot, as sentences; empty when all holds. */
export const check = ({ routes, slowest, tasks }: Statistics): ReadonlyArray<string> => {
  const broken: Array<string> = []
  const expect = (holds: boolean, what: string) => {
    if (!holds) broken.push(`expected ${what}`)
  }
  expect(tasks >= 0, `no less than 0 tasks, got ${tasks}`)
  for (const { millis, name, ...spent } of [...routes, ...slowest]) {
    const total = totalOf(spent)
    expect(
      Math.abs(total - millis) <= 1e-6 * (1 + millis),
      `the ${millis} ms of ${name} to be parted in all, got ${total} ms`
    )
  }
  return broken
}

const totalOf = ({ runningMillis, waitingMillis }: Spent): number =>
  Object.values(waitingMillis).reduce((total, millis) => total + millis, runningMillis)

/** What has come to `before` until it was `after`: times and counts. What lasts a while (`p50Millis`, `slowest`) is that of `after`. */
export const difference = (after: Statistics, before: Statistics): Statistics => {
  const earlier = new Map(before.routes.map((route) => [route.name, route]))
  const routes = after.routes.map((route): RouteStatistics => {
    const then = earlier.get(route.name)
    if (then === undefined) return route
    const waiting = Object.entries(route.waitingMillis).map(
      ([kind, millis]) => [kind, millis - (then.waitingMillis[kind as Wait.Kind] ?? 0)] as const
    )
    return {
      ...route,
      count: route.count - then.count,
      millis: route.millis - then.millis,
      runningMillis: route.runningMillis - then.runningMillis,
      waitingMillis: Object.fromEntries(waiting.filter(([, millis]) => millis > 0))
    }
  })
  return { ...after, routes: byTime(routes.filter(({ count }) => count > 0)) }
}

/** As `difference`, of two trees. */
export const differenceOfTrees: (after: Speedscope, before: Speedscope) => Speedscope = speedscope.difference

/** The totals as a table for a terminal that is so many columns wide: what counts most where not all has room. */
export const table: (statistics: Statistics, width?: number) => string = table_.table

const byTime = (routes: ReadonlyArray<RouteStatistics>) => routes.toSorted((a, b) => b.millis - a.millis)

/** What is kept of a slow task: nothing that holds its fibers. */
interface Ended extends Timed {
  readonly id: string
  readonly name: string
  readonly times: Times
  readonly fibers: ReadonlyArray<FiberTimes>
}

const lately = 300_000

class Impl implements IoProfile {
  readonly name: string
  readonly profiler: Profiler
  private readonly routes: Routes
  private readonly slowest: Slowest<Ended>
  private readonly tracer: (base: Tracer.Tracer) => Tracer.Tracer
  private readonly context: Context.Context<never>
  private readonly soon = new Soon(() => this.write())
  private going = 0
  private closed = false
  private last = 0

  constructor(
    { fibers = true, maxRoutes = 100, maxSlowest = 20, maxSpans = 2_000, name = "tasks" }: Options,
    context: Context.Context<never>
  ) {
    this.name = name
    this.context = context
    this.routes = new Routes(atLeast("maxRoutes", 1, maxRoutes))
    this.slowest = new Slowest(atLeast("maxSlowest", 0, maxSlowest), lately)
    this.profiler = new Profiler(atLeast("maxSpans", 0, maxSpans), fibers, () => performance.now())
    this.tracer = disguise.tracer(this.profiler)
  }

  readonly task: IoProfile["task"] = dual(
    (args) => Effect.isEffect(args[0]),
    <A, E, R>(self: Effect.Effect<A, E, R>, name: string, { id }: TaskOptions = {}) =>
      Effect.suspend(() => {
        if (this.closed) return self
        let one: One | undefined
        const noted = Effect.updateContext(self, (context: Context.Context<R>) =>
          context.pipe(
            Context.add(Clock.Clock, disguise.clock(Context.get(context, Clock.Clock))),
            Context.add(Tracer.Tracer, this.tracer(Context.get(context, Tracer.Tracer)))
          )
        )
        // Begun inside of what ends it: between the two there is no place where an interrupt could land.
        const begun = Effect.withFiber<A, E, R>((fiber) => {
          one = this.begin(fiber, name, id)
          return Wait.observed(noted, one.task)
        })
        return Effect.onExitPrimitive(begun, () => void one?.end())
      })
  )

  readonly beginUnsafe = (fiber: Fiber.Fiber<unknown, unknown>, name: string, id?: string): Running => {
    const one = this.begin(fiber, name, id)
    Wait.observeUnsafe(fiber, one.task)
    this.profiler.enter(fiber, one.task)
    return one
  }

  readonly read = (): Statistics => {
    const now = performance.now()
    const routes = Array.from(this.routes.all.values(), (route): RouteStatistics => ({
      name: route.name,
      count: route.count,
      millis: route.millis,
      ...spent(route.times),
      p50Millis: route.latencies.quantile(0.5) ?? null,
      p99Millis: route.latencies.quantile(0.99) ?? null
    }))
    const slowest = this.slowest.fresh(now).map(({ at, fibers, id, millis, name, times }): TaskStatistics => {
      const told = { id, name, millis, agoMillis: now - at, ...spent(times) }
      return fibers.length < 2 ? told : { ...told, fibers: fibers.map(({ id, times }) => ({ id, ...spent(times) })) }
    })
    return { tasks: this.going, routes: byTime(routes.filter(({ count }) => count > 0)), slowest }
  }

  readonly statistics: Effect.Effect<Statistics> = Effect.sync(this.read)

  readonly speedscope: Effect.Effect<Speedscope> = Effect.sync(() =>
    speedscope.of(
      this.name,
      Array.from(this.routes.all.values(), ({ root }) => root)
    )
  )

  close(stop: () => void): void {
    this.closed = true
    stop()
    this.profiler.close()
    this.soon.flush()
  }

  private begin(fiber: Fiber.Fiber<unknown, unknown>, name: string, id: string | undefined): One {
    const route = this.routes.of(name)
    this.going++
    return new One(this, this.profiler.begin(fiber, id ?? `${++this.last}`, route.root), route)
  }

  finish(task: Task, route: Route): void {
    this.profiler.finish(task)
    this.going--
    if (this.closed) return
    const at = task.since
    const millis = at - task.startedAt
    route.add(millis, task.times)
    if (this.slowest.admits(millis, at)) {
      this.slowest.add({ id: task.id, name: route.name, times: task.times, fibers: task.fibers, millis, at })
    }
    this.soon.touch()
  }

  private write(): void {
    for (const { times, written } of this.routes.all.values()) written.write(times, this.context)
  }
}

class One implements Running {
  readonly task: Task
  private readonly profile: Impl
  private readonly route: Route

  constructor(profile: Impl, task: Task, route: Route) {
    this.profile = profile
    this.task = task
    this.route = route
  }

  times(): Times {
    this.profile.profiler.charge(this.task)
    return this.task.times
  }

  end(): Times {
    if (!this.task.over) this.profile.finish(this.task, this.route)
    return this.task.times
  }
}

const atLeast = (what: string, least: number, value: number): number => {
  if (Number.isInteger(value) && value >= least) return value
  throw new RangeError(`Expected ${what} to be a whole number from ${least} on, got ${value}`)
}
